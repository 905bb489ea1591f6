"""The target's half of the AP exchange: open what is presented, judge it offline, answer.

The problem. A service decides about a request from bytes that a stranger sent, without asking anybody. Every check
that is made on bytes which nobody has proven is a question that a stranger may ask: of a parser, of a clock, of the
list of principals. And a verdict that could be another one a second later lets the same request be refused first and
executed afterwards.

The mechanism is an order, and it is normative (docs/protocol/ap_exchange.md). First what is cheap and needs no secret:
size and shape. Then the ticket is opened, the caveats are walked for their structure alone, K_pop is derived, and the
MAC is checked. Until here there is one error, and it says nothing. From here on the sender is known, and refusals are
told to it under a MAC of their own. Then, before anything is judged, the request is *burnt*: the replay store takes its
tag. Only then come times, epoch, binding, caveats, path and subject, in this order.

Burning first looks wasteful, for a request that is refused as too early could have been taken a second later. That is
the point: its honest sender makes a new one, and a copy of the old one must find it spent.

It comes in two halves, because a replay store may have to be waited for: `prove` needs no store, the caller asks the
store once with `Possession.entry`, and `judge` goes on by the store's answer, its epoch and its time, all of one
moment. `accept` does the three for stores that answer at once.

Rejected: to judge first and burn what is accepted (the second copy of what was refused would run); several errors
before the MAC (an oracle); a verdict as a bool (it is forgotten): a refusal is an exception, and what is accepted is
an object that cannot be made otherwise.

What would break it: any use of what the request says before `mac_matches`; a clock that is read twice; an await
between the store's answer and the window that uses its `now`.

Knows no clock, no store and no transport.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import field, frozen

from orthros_protocol.errors import PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import (
    ASSERT_USER_SCOPE,
    ERROR_LABELS,
    KNOWN_AP_FLAGS,
    REPLY_LABELS,
    REQUEST_LABELS,
    USE_CHANNEL,
    USE_HTTP,
    ApError,
    ApReply,
    ApRequest,
    ApSigned,
    AssertedUser,
    hints_of,
)
from orthros_protocol.exchanges.authenticators import check_window
from orthros_protocol.exchanges.epochs import Repetition, check_epoch
from orthros_protocol.exchanges.replay import NO_EPOCH, Entry, ReplayStore, Standing, check_admission
from orthros_protocol.exchanges.whose_clock import name_clock_at_service
from orthros_protocol.primitives.derivation import digest, mac, mac_matches
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.messages import MAX_DETAIL_CHARS
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.reasons.table import reason_for
from orthros_protocol.tickets.access import Access, AppRule, PeerSource
from orthros_protocol.tickets.call_chain import ChainRule
from orthros_protocol.tickets.caveats import Caveat, ThirdPartyCaveat
from orthros_protocol.tickets.discharges import judge_discharge
from orthros_protocol.tickets.evidence import evidence_proof
from orthros_protocol.tickets.presented import Presented
from orthros_protocol.tickets.presenters import Presenter
from orthros_protocol.tickets.ticket import (
    Ticket,
    check_flags,
    check_ticket_times,
)

__all__ = [
    "AcceptanceRules",
    "Accepted",
    "Possession",
    "Received",
    "accept",
    "build_ap_error",
    "build_ap_reply",
    "judge",
    "prove",
]

ANY_PATH: Final = ChainRule()
"""What holds without a rule of the target's own: no more hops than a ticket can carry, and nobody twice."""


@frozen(kw_only=True)
class AcceptanceRules:
    """What a target accepts at all: the same for every request, or for every request of a route.

    max_life_s: tickets issued for longer are refused, in seconds.
    accept_user: whether calls on behalf of others are served.
    chain: what the path of such a call may look like.
    app_caveats: the service's own kinds of caveats, by name.
    """

    max_life_s: int
    accept_user: bool = False
    chain: ChainRule = ANY_PATH
    app_caveats: Mapping[str, AppRule] = field(factory=dict, repr=False)


@frozen(kw_only=True)
class Received:
    """A request as the target itself received it; what the client signed must agree with it. None is unknown.

    use: the profile in which it came: USE_RAW, USE_HTTP, USE_CHANNEL, USE_KDC.
    bind: the 32-byte digest that the target computed of what it received; None in a channel alone.
    repetition: whether such a request may be executed twice.
    method, path: count in use 1 only. channel: does not count in use 2. These and `peer` are what caveats may look at.
    mismatch: is given the binding that was signed instead, and returns the detail of `wrong-binding`.
    """

    use: int
    bind: bytes | None
    repetition: Repetition = Repetition.UNSAFE
    method: str | None = None
    path: str | None = None
    peer: PeerSource = None
    channel: bytes | None = field(default=None, repr=False)
    mismatch: Callable[[bytes], str] | None = None


@frozen(eq=False, kw_only=True)
class Accepted:
    """A request that passed every check. `scopes` are those left after all caveats."""

    ticket: Ticket
    scopes: tuple[str, ...]
    user: AssertedUser | None
    request: ApRequest
    pop_key: bytes = field(repr=False)
    epoch: bytes
    now: Timestamp  # when it was accepted, by the replay store's clock

    __getstate__ = not_exported

    @property
    def proof(self) -> bytes:
        """What proves to the KDC that this service opened the ticket (section 11): 32 bytes, secret."""
        return evidence_proof(self.ticket.session_key, self.request.ticket)


@frozen(eq=False, kw_only=True)
class Possession:
    """A request whose MAC is right: its sender holds the ticket's key. Nothing else in it has been judged.

    `entry` is what to ask the replay store, before anything else and once.
    """

    request: ApRequest
    presented: Presented
    key: bytes = field(repr=False)

    __getstate__ = not_exported

    @property
    def entry(self) -> Entry:
        """The question for the replay store: from its answer on this request is spent, whatever the verdict."""
        request, presented = self.request, self.presented
        return Entry(request.mac[:16], request.ts, presented.client_name, presented.ticket.tid)

    def refused(self, refusal: Refused, *, now: Timestamp, epoch: bytes) -> Refused:
        """`refusal` with the AP-ERR that proves it to the sender, whose request it was, and whose clock is wrong."""
        ticket = self.presented.ticket
        name_clock_at_service(refusal, dated=self.request.ts, iat=ticket.iat, exp=ticket.exp, now=now)
        refusal.reply = build_ap_error(self.request, self.key, refusal, now=now, epoch=epoch)
        refusal.presenter = Presenter.of(ticket)
        return refusal


def prove(
    request: ApRequest, open_ticket_once: Callable[[bytes, bytes], Presented], *, use: int, now: Timestamp
) -> Possession:
    """The checks up to the MAC, in the normative order (docs/protocol/ap_exchange.md). Then ask the store, and `judge`.

    `open_ticket_once` is `open_presented` behind the caller's LRU. `now` is for the answer to a request that is dated
    after its ticket's end: the one refusal that needs no store.
    Raises Malformed or PeerMisbehaved for bytes that prove nothing, Refused `ticket-expired`.
    """
    if request.use != use:
        raise PeerMisbehaved("wrong-mac", f"an authenticator for use {request.use}, expected {use}")
    presented = open_ticket_once(request.ticket, request.caveats)
    key = presented.key_with(request.discharges) if request.discharges else presented.pop_key
    if not mac_matches(mac(key, REQUEST_LABELS[use], request.body), request.mac):
        raise PeerMisbehaved("wrong-mac")
    possession = Possession(request=request, presented=presented, key=key)
    # A timestamp behind the ticket's end can never become acceptable, so it needs no place in the store.
    if request.ts > presented.ticket.exp * 1000:
        left_s = presented.ticket.exp - now / 1000
        still = f"; by this clock the ticket lives {left_s:.0f} s more" if left_s > 1 else ""
        refusal = Refused("ticket-expired", f"the authenticator is dated after the ticket's end{still}")
        raise possession.refused(refusal, now=now, epoch=NO_EPOCH)
    return possession


def judge(possession: Possession, standing: Standing, received: Received, rules: AcceptanceRules) -> Accepted:
    """The checks after the MAC, in the normative order, by what the replay store answered to `possession.entry`.

    Every Refused carries an AP-ERR in `.reply`, and in `.presenter` whose request it was.
    """
    request, presented, now = possession.request, possession.presented, standing.now
    ticket = presented.ticket
    try:
        check_admission(request.ts, standing)
        check_ticket_times(ticket, now, max_life_s=rules.max_life_s)
        check_window(request.ts, now)
        check_flags(request.flags, KNOWN_AP_FLAGS)
        if request.crit:
            raise Refused("unsupported-critical", f"extension {request.crit[0][0]}")
        check_epoch(request, standing, received.repetition)
        _check_bind(request, received)
        discharged = _discharged(request, presented)
        if presented.unsupported is not None:
            raise Refused("caveat-unsupported", presented.unsupported)
        access = _access(request.use, received, rules, now, discharged=bool(presented.roots))
        scopes = ticket.scopes
        for caveat in (*presented.caveats, *discharged):
            objection = caveat.prohibits(access)
            if objection is not None:
                raise Refused("caveat-refused", objection)
            scopes = caveat.narrow(scopes)
        if presented.path or rules.chain.require_via:
            objection = rules.chain.objection(presented.path, ticket.server.name)
            if objection is not None:
                raise Refused("chain-refused", objection)
        if (request.user is not None or ticket.subject is not None) and not rules.accept_user:
            raise Refused("user-not-accepted")
        if request.user is not None and ASSERT_USER_SCOPE not in scopes:
            raise Refused("user-not-accepted", f"the caller lacks the scope {ASSERT_USER_SCOPE}")
    except Refused as refusal:
        raise possession.refused(refusal, now=now, epoch=standing.epoch) from None
    return Accepted(
        ticket=ticket,
        scopes=scopes,
        user=request.user,
        request=request,
        pop_key=possession.key,
        epoch=standing.epoch,
        now=now,
    )


def accept(
    request: ApRequest,
    open_ticket_once: Callable[[bytes, bytes], Presented],
    *,
    now: Timestamp,
    replay: ReplayStore,
    received: Received,
    rules: AcceptanceRules,
) -> Accepted:
    """Every check of an AP-REQ: `prove`, the question to `replay`, and `judge`.

    Raises Malformed, PeerMisbehaved or Refused; what is returned passed.
    """
    possession = prove(request, open_ticket_once, use=received.use, now=now)
    return judge(possession, replay.admit(possession.entry), received, rules)


def _access(use: int, received: Received, rules: AcceptanceRules, now: Timestamp, *, discharged: bool) -> Access:
    # A method and a path exist in HTTP alone, a channel caveat never holds inside a channel of our own, and there is
    # one reading of the clock, the store's. `use` is the one that was proven, whatever was received.
    in_http = use == USE_HTTP
    return Access(
        now=now,
        method=received.method if in_http else None,
        path=received.path if in_http else None,
        peer=received.peer,
        channel=None if use == USE_CHANNEL else received.channel,
        app=rules.app_caveats,
        discharged=discharged,
    )


def _discharged(request: ApRequest, presented: Presented) -> list[Caveat]:
    """The caveats of the discharges, once there are exactly as many as the ticket demands: the MAC proved each."""
    if len(request.discharges) != len(presented.roots):
        demanded = [str(one.discharger) for one in presented.caveats if isinstance(one, ThirdPartyCaveat)]
        wanted = f"demanded of {', '.join(demanded)}" if demanded else "none demanded"
        raise Refused("discharge-mismatch", f"{len(request.discharges)} presented, {wanted}")
    return [caveat for shown in request.discharges for caveat in judge_discharge(shown)]


def _check_bind(request: ApRequest, received: Received) -> None:
    # A channel is bound by its keys; a binding that is stated all the same must hold.
    if request.use == USE_CHANNEL and request.bind is None and received.bind is None:
        return
    if request.bind is None or received.bind is None or not mac_matches(request.bind, received.bind):
        explained = "" if request.bind is None or received.mismatch is None else received.mismatch(request.bind)
        raise Refused("wrong-binding", explained)


def build_ap_reply(accepted: Accepted, *, now: Timestamp) -> bytes:
    """AP-REP: proves to the client that the target opened its ticket and saw this very request."""
    request = accepted.request
    body = ApReply(nonce=request.nonce, target_time=now, epoch=accepted.epoch).encode()
    proof = mac(accepted.pop_key, REPLY_LABELS[request.use], digest(request.whole) + body)
    return ApSigned(body=body, mac=proof).encode()


def build_ap_error(request: ApRequest, pop_key: bytes, refusal: Refused, *, now: Timestamp, epoch: bytes) -> bytes:
    """AP-ERR for a request whose MAC verified. `refusal` has a code that travels."""
    number = refusal.reason.number or reason_for("kdc-fault").number
    detail = refusal.detail[:MAX_DETAIL_CHARS] or None
    error = ApError(number=number, target_time=now, epoch=epoch, detail=detail, opt=hints_of(refusal))
    body = error.encode()
    return ApSigned(body=body, mac=mac(pop_key, ERROR_LABELS[request.use], digest(request.whole) + body)).encode()
