"""The target's half of the AP exchange: open what is presented, judge it offline, answer.

Holds the order of checks: nothing means anything before the MAC, and the request is burnt right after it.
Knows no clock, no cache policy and no transport.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import evolve, field, frozen

from orthros_protocol.access import Access
from orthros_protocol.ap_exchange import (
    AP_ERROR,
    AP_REPLY,
    AP_SIGNED,
    ASSERT_USER_SCOPE,
    ERROR_LABELS,
    KNOWN_AP_FLAGS,
    REPLY_LABELS,
    REQUEST_LABELS,
    USE_CHANNEL,
    USE_HTTP,
    ApRequest,
    AssertedUser,
)
from orthros_protocol.attenuation import (
    add_caveat,
    mix_discharges,
    pop_key_of,
    split_caveats,
    tail_after,
    tail_of,
)
from orthros_protocol.authenticators import check_window
from orthros_protocol.call_chain import ChainRule, path_of
from orthros_protocol.caveats import Caveat, ThirdPartyCaveat, parse_caveat
from orthros_protocol.derivation import digest, mac, mac_matches
from orthros_protocol.discharges import discharge_root, judge_discharge
from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.evidence import evidence_proof
from orthros_protocol.instants import Timestamp
from orthros_protocol.keys import not_exported
from orthros_protocol.keytab import Keytab
from orthros_protocol.limits import MAX_CAVEATS
from orthros_protocol.messages import VERSION
from orthros_protocol.presenters import Presenter
from orthros_protocol.reasons import reason_for
from orthros_protocol.replay import Admission, ReplayCache
from orthros_protocol.tickets import (
    SERVICE_TICKET,
    Ticket,
    check_flags,
    check_ticket_times,
    open_ticket,
    peek_unverified_header,
)

__all__ = ["Accepted", "Presented", "accept", "build_ap_error", "build_ap_reply", "open_presented"]

ANY_PATH: Final = ChainRule()
"""What holds without a rule of the target's own: no more hops than a ticket can carry, and nobody twice."""

EpochlessRule = Callable[[ApRequest, Timestamp], bool]
"""Decides whether a request without epoch may pass: the named opt-outs of the verifier."""


@frozen(eq=False, kw_only=True)
class Presented:
    """An opened ticket with its caveats parsed and K_pop derived: without caveats of holders, a verifier may keep it.

    `tail` is the one behind all caveats, `roots` are the D0 of the discharges that it demands, in their order.
    """

    ticket: Ticket
    client_name: str
    caveats: tuple[Caveat, ...]
    path: tuple[str, ...] = ()
    unsupported: str | None = None  # a caveat that cannot be evaluated here: refused, but only after the MAC
    tail: bytes = field(repr=False)
    pop_key: bytes = field(repr=False)
    roots: tuple[bytes, ...] = field(default=(), repr=False)

    __getstate__ = not_exported

    def behind(self, caveats: bytes) -> Presented:
        """The same behind the caveats that its holders added, a `caveats` field; structure only. Raises Malformed."""
        added = split_caveats(caveats)
        if len(self.ticket.caveats) + len(added) > MAX_CAVEATS:
            raise Malformed(f"more than {MAX_CAVEATS} caveats")
        parsed, roots, unsupported, tail = list(self.caveats), list(self.roots), self.unsupported, self.tail
        for encoded in added:
            try:
                caveat = parse_caveat(encoded)
            except Refused as refusal:
                unsupported = unsupported or refusal.detail
            else:
                parsed.append(caveat)
                roots += _roots_of(caveat, tail)
            tail = add_caveat(tail, encoded)
        return Presented(
            ticket=self.ticket,
            client_name=self.client_name,
            caveats=tuple(parsed),
            path=self.path,
            unsupported=unsupported,
            tail=tail,
            pop_key=pop_key_of(tail),
            roots=tuple(roots),
        )

    def key_with(self, discharges: Sequence[bytes]) -> bytes:
        """The key that proves possession together with the discharges whose caveats are shown. Raises Malformed.

        One that nobody demanded is not mixed in, so that its presence can be refused under MAC.
        """
        tails = [tail_after(root, split_caveats(shown)) for root, shown in zip(self.roots, discharges, strict=False)]
        return mix_discharges(self.pop_key, tails)


@frozen(eq=False, kw_only=True)
class Accepted:
    """A request that passed every check. `scopes` are those left after all caveats."""

    ticket: Ticket
    scopes: tuple[str, ...]
    user: AssertedUser | None
    request: ApRequest
    pop_key: bytes = field(repr=False)
    epoch: bytes

    __getstate__ = not_exported

    @property
    def proof(self) -> bytes:
        """What proves to the KDC that this service opened the ticket (section 11): 32 bytes, secret."""
        return evidence_proof(self.ticket.session_key, self.request.ticket)


def open_presented(ticket: bytes, caveats: bytes, keytab: Keytab) -> Presented:
    """Opens a service ticket by its kid and walks the caveats down to K_pop; structure only, no verdict.

    Raises Malformed, PeerMisbehaved (`wrong-ticket-type`, `unknown-key`, `box-unopened`) or Refused
    `unsupported-critical` for an extension or flag of the ticket itself.
    """
    header = peek_unverified_header(ticket)
    if header.ticket_type != SERVICE_TICKET:
        raise PeerMisbehaved("wrong-ticket-type", f"type {header.ticket_type} shown to a service")
    key = keytab.ticket_key(header.kid)
    if key is None:
        held = ", ".join(map(str, keytab.kvnos))
        raise PeerMisbehaved("unknown-key", f"ticket kvno {header.kvno}, {keytab.principal} holds kvno {held}")
    content = open_ticket(ticket, key)
    parsed: list[Caveat] = []
    roots: list[bytes] = []
    unsupported = None
    for encoded in content.caveats:
        try:
            caveat = parse_caveat(encoded)
        except Refused as refusal:
            unsupported = unsupported or refusal.detail
        else:
            parsed.append(caveat)
            roots += _roots_of(caveat, None)
    tail = tail_of(content.session_key, ticket)
    presented = Presented(
        ticket=content,
        client_name=str(content.client),
        caveats=tuple(parsed),
        path=path_of(content),
        unsupported=unsupported,
        tail=tail,
        pop_key=pop_key_of(tail),
        roots=tuple(roots),
    )
    return presented.behind(caveats) if caveats else presented


def _roots_of(caveat: Caveat, tail: bytes | None) -> tuple[bytes, ...]:
    """D0 of a third-party caveat: one behind a tail was added by a holder, the others were written by the KDC."""
    if not isinstance(caveat, ThirdPartyCaveat):
        return ()
    if (tail is None) == (caveat.root is None):
        raise Malformed("a third-party caveat in a place that is not its own")
    return (discharge_root(caveat, tail or b""),)


def accept(
    request: ApRequest,
    open_ticket_once: Callable[[bytes, bytes], Presented],
    *,
    now: Timestamp,
    use: int,
    bind: bytes | None,
    replay: ReplayCache,
    epoch: bytes,
    epochless: EpochlessRule | None = None,
    accept_user: bool = False,
    max_life_s: int,
    access: Access | None = None,
    chain: ChainRule = ANY_PATH,
) -> Accepted:
    """Every check of an AP-REQ, in the normative order (docs/protocol/ap_exchange.md).

    `open_ticket_once` is `open_presented` behind the caller's LRU. `bind` is what the verifier computed
    from the request that it really received, `access` what caveats may look at (None: the time alone); of it,
    method and path count only in use 1, the channel not in use 2, and the time is `now`. `chain` is what the path of
    a call on behalf of others may look like.
    After the MAC every refusal carries an AP-ERR in `.reply`, and in `.presenter` whose request it was.
    Raises Malformed, PeerMisbehaved or Refused; what is returned passed.
    """
    if request.use != use:
        raise PeerMisbehaved("wrong-mac", f"an authenticator for use {request.use}, expected {use}")
    presented = open_ticket_once(request.ticket, request.caveats)
    key = presented.key_with(request.discharges) if request.discharges else presented.pop_key
    if not mac_matches(mac(key, REQUEST_LABELS[use], request.body), request.mac):
        raise PeerMisbehaved("wrong-mac")
    try:
        return _judge(
            request, presented, key, now=now, bind=bind, replay=replay, epoch=epoch, epochless=epochless,
            accept_user=accept_user, max_life_s=max_life_s, access=_visible(access, use, now), chain=chain,
        )  # fmt: skip
    except Refused as refusal:
        refusal.reply = build_ap_error(request, key, refusal, now=now, epoch=epoch)
        refusal.presenter = Presenter.of(presented.ticket)
        raise


def _visible(access: Access | None, use: int, now: Timestamp) -> Access:
    # A method and a path exist in HTTP alone, a channel caveat never holds inside a channel of our own, and
    # there is one reading of the clock.
    if access is None:
        return Access(now=now)
    in_http = use == USE_HTTP
    return Access(
        now=now,
        method=access.method if in_http else None,
        path=access.path if in_http else None,
        peer=access.peer,
        channel=None if use == USE_CHANNEL else access.channel,
        app=access.app,
    )


def _judge(
    request: ApRequest,
    presented: Presented,
    key: bytes,
    *,
    now: Timestamp,
    bind: bytes | None,
    replay: ReplayCache,
    epoch: bytes,
    epochless: EpochlessRule | None,
    accept_user: bool,
    max_life_s: int,
    access: Access,
    chain: ChainRule,
) -> Accepted:
    ticket = presented.ticket
    # A timestamp behind the ticket's end can never become acceptable, so it needs no place in the set.
    if request.ts > ticket.exp * 1000:
        raise Refused("ticket-expired", "the authenticator is dated after the ticket's end")
    _burn(request, presented, replay, now)
    check_ticket_times(ticket, now, max_life_s=max_life_s)
    check_window(request.ts, now)
    check_flags(request.flags, KNOWN_AP_FLAGS)
    if request.critical:
        raise Refused("unsupported-critical", f"extension {request.critical[0]}")
    _check_epoch(request, now, epoch, epochless)
    _check_bind(request, bind)
    discharged = _discharged(request, presented)
    if presented.unsupported is not None:
        raise Refused("caveat-unsupported", presented.unsupported)
    if presented.roots:
        access = evolve(access, discharged=True)
    scopes = ticket.scopes
    for caveat in (*presented.caveats, *discharged):
        objection = caveat.prohibits(access)
        if objection is not None:
            raise Refused("caveat-refused", objection)
        scopes = caveat.narrow(scopes)
    if presented.path or chain.require_via:
        objection = chain.objection(presented.path, ticket.server.name)
        if objection is not None:
            raise Refused("chain-refused", objection)
    if (request.user is not None or ticket.subject is not None) and not accept_user:
        raise Refused("user-not-accepted")
    if request.user is not None and ASSERT_USER_SCOPE not in scopes:
        raise Refused("user-not-accepted", f"the caller lacks the scope {ASSERT_USER_SCOPE}")
    return Accepted(
        ticket=ticket,
        scopes=scopes,
        user=request.user,
        request=request,
        pop_key=key,
        epoch=epoch,
    )


def _discharged(request: ApRequest, presented: Presented) -> list[Caveat]:
    """The caveats of the discharges, once there are exactly as many as the ticket demands: the MAC proved each."""
    if len(request.discharges) != len(presented.roots):
        demanded = [str(one.discharger) for one in presented.caveats if isinstance(one, ThirdPartyCaveat)]
        wanted = f"demanded of {', '.join(demanded)}" if demanded else "none demanded"
        raise Refused("discharge-mismatch", f"{len(request.discharges)} presented, {wanted}")
    return [caveat for shown in request.discharges for caveat in judge_discharge(shown)]


def _burn(request: ApRequest, presented: Presented, replay: ReplayCache, now: Timestamp) -> None:
    # Only a verified MAC may be remembered; from here on this request is spent, whatever the verdict.
    admission = replay.admit(request.mac[:16], request.ts, now, presented.client_name)
    if admission is Admission.SEEN:
        raise Refused("replayed")
    if admission is Admission.FULL:
        raise Refused("busy")
    if admission is Admission.STALE:
        raise Refused("clock-skew", f"{(now - request.ts) / 1000:.1f} s old")


def _check_epoch(request: ApRequest, now: Timestamp, epoch: bytes, epochless: EpochlessRule | None) -> None:
    if request.epoch is None:
        if epochless is None or not epochless(request, now):
            raise Refused("epoch-required", "the request names no epoch")
    elif not mac_matches(request.epoch, epoch):
        raise Refused("epoch-required", "the request names another process's epoch")


def _check_bind(request: ApRequest, bind: bytes | None) -> None:
    # A channel is bound by its keys; a binding that is stated all the same must hold.
    if request.use == USE_CHANNEL and request.bind is None and bind is None:
        return
    if request.bind is None or bind is None or not mac_matches(request.bind, bind):
        raise Refused("wrong-binding")


def build_ap_reply(accepted: Accepted, *, now: Timestamp) -> bytes:
    """AP-REP: proves to the client that the target opened its ticket and saw this very request."""
    request = accepted.request
    body = AP_REPLY.encode(VERSION, request.nonce, now, accepted.epoch, 0, [])
    return AP_SIGNED.encode(body, mac(accepted.pop_key, REPLY_LABELS[request.use], digest(request.whole) + body))


def build_ap_error(request: ApRequest, pop_key: bytes, refusal: Refused, *, now: Timestamp, epoch: bytes) -> bytes:
    """AP-ERR for a request whose MAC verified. `refusal` has a code that travels."""
    number = refusal.reason.number or reason_for("kdc-fault").number
    body = AP_ERROR.encode(VERSION, number, now, epoch, refusal.detail[:200] or None, [])
    return AP_SIGNED.encode(body, mac(pop_key, ERROR_LABELS[request.use], digest(request.whole) + body))
