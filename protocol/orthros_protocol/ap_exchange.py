"""Client to target: present a ticket with a fresh authenticator, accept it offline, prove the target.

Both halves of AP-REQ, AP-REP and AP-ERR, and the order of checks: nothing means anything before the MAC,
and the request is burnt right after it. Knows no clock, no cache policy and no transport.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from orthros_protocol.authenticators import check_window
from orthros_protocol.canonical import (
    Schema,
    array,
    binary,
    const,
    extensions,
    integer,
    nested,
    optional,
    text,
)
from orthros_protocol.caveats import Caveat, parse_caveat, pop_key_of, split_caveats, tail_after, tail_of
from orthros_protocol.derivation import digest, mac, mac_matches, require_mac
from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.instants import Timestamp
from orthros_protocol.keys import not_exported
from orthros_protocol.keytab import Keytab
from orthros_protocol.limits import (
    MAX_AP_REQUEST_BYTES,
    MAX_CAVEATS,
    MAX_CAVEATS_BLOB_BYTES,
    MAX_DISCHARGES,
    MAX_TICKET_BYTES,
    MAX_U32,
)
from orthros_protocol.messages import AP_REQ, DETAIL, VERSION
from orthros_protocol.names import is_name
from orthros_protocol.reasons import reason_by_number, reason_for
from orthros_protocol.replay import Admission, ReplayCache
from orthros_protocol.tickets import (
    SERVICE_TICKET,
    Ticket,
    check_flags,
    check_ticket_times,
    open_ticket,
    peek_unverified_header,
)

__all__ = [
    "ASSERT_USER_SCOPE", "SAFE", "USE_CHANNEL", "USE_HTTP", "USE_KDC", "USE_RAW", "Accepted", "ApReply",
    "ApRequest", "AssertedUser", "PendingAp", "Presented", "TargetRefusal", "accept", "build_ap_error",
    "build_ap_reply", "build_ap_request", "open_ap_reply", "open_presented", "parse_ap_request",
]  # fmt: skip

USE_RAW, USE_HTTP, USE_CHANNEL, USE_KDC = 0, 1, 2, 3
SAFE: Final = 1
_KNOWN_FLAGS: Final = SAFE
ASSERT_USER_SCOPE: Final = "assert-user"
_REQUEST_LABELS: Final = tuple(f"ap-req.{use}" for use in range(4))
_REPLY_LABELS: Final = tuple(f"ap-rep.{use}" for use in range(4))
_ERROR_LABELS: Final = tuple(f"ap-err.{use}" for use in range(4))

_USER: Final = nested(text(is_name), integer(2, 1))
_CAVEATS: Final = binary(0, MAX_CAVEATS_BLOB_BYTES)
_SIGNED: Final = Schema("AP message", binary(4, MAX_AP_REQUEST_BYTES), binary(32), limit=MAX_AP_REQUEST_BYTES)
_REQUEST: Final = Schema(
    "AP-REQ",
    const(VERSION), const(AP_REQ), integer(USE_KDC), binary(16, MAX_TICKET_BYTES), _CAVEATS,
    array(_CAVEATS, MAX_DISCHARGES), integer(), binary(16), optional(binary(8)), integer(MAX_U32),
    optional(binary(32)), optional(_USER), extensions(), extensions(),
    limit=MAX_AP_REQUEST_BYTES,
)  # fmt: skip
_REPLY: Final = Schema(
    "AP-REP", const(VERSION), binary(16), integer(), binary(8), integer(MAX_U32), extensions(), limit=4096
)
_ERROR: Final = Schema(
    "AP-ERR", const(VERSION), integer(0xFFFF), integer(), binary(8), optional(DETAIL), extensions(), limit=4096
)


@frozen
class AssertedUser:
    """The end user that a gateway names per request; `how` says how it knows (1 proven, 2 asserted)."""

    name: str
    how: int


@frozen(eq=False, kw_only=True)
class ApRequest:
    """An AP-REQ whose shape is right. Nothing in it is true before its MAC has been checked."""

    use: int
    ticket: bytes = field(repr=False)
    caveats: bytes
    discharges: int
    ts: Timestamp
    nonce: bytes
    epoch: bytes | None
    flags: int
    bind: bytes | None
    user: AssertedUser | None
    critical: tuple[int, ...]
    body: bytes = field(repr=False)
    mac: bytes = field(repr=False)
    whole: bytes = field(repr=False)


@frozen(eq=False, kw_only=True)
class Presented:
    """An opened ticket with its caveats parsed and K_pop derived: what a verifier may keep in an LRU."""

    ticket: Ticket
    client_name: str
    caveats: tuple[Caveat, ...]
    unsupported: str | None = None  # a caveat that cannot be evaluated here: refused, but only after the MAC
    pop_key: bytes = field(repr=False)


@frozen(eq=False, kw_only=True)
class Accepted:
    """A request that passed every check. `scopes` are those left after all caveats."""

    ticket: Ticket
    scopes: tuple[str, ...]
    user: AssertedUser | None
    request: ApRequest
    pop_key: bytes = field(repr=False)
    epoch: bytes


@frozen(eq=False, kw_only=True)
class PendingAp:
    """What the client keeps until the target answers. `message` is what to send."""

    message: bytes
    use: int
    nonce: bytes
    epoch: bytes | None
    flags: int
    context: bytes = field(repr=False)
    pop_key: bytes = field(repr=False)

    __getstate__ = not_exported


@frozen(kw_only=True)
class ApReply:
    """The target's proof of itself: it opened the ticket. `target_time` may teach its offset."""

    target_time: Timestamp
    epoch: bytes


class TargetRefusal(Refused):
    """The target refused under MAC. `target_time` may teach its offset, `epoch` serves the retry."""

    def __init__(self, number: int, detail: str, *, target_time: Timestamp, epoch: bytes) -> None:
        super().__init__(reason_by_number(number), detail)
        self.target_time = target_time
        self.epoch = epoch


EpochlessRule = Callable[[ApRequest, Timestamp], bool]
"""Decides whether a request without epoch may pass: the named opt-outs of the verifier."""


def build_ap_request(
    ticket: bytes,
    pop_key: bytes,
    *,
    use: int,
    bind: bytes | None,
    now: Timestamp,
    nonce: bytes,
    epoch: bytes | None = None,
    flags: int = 0,
    caveats: bytes = b"",
    user: AssertedUser | None = None,
) -> PendingAp:
    """AP-REQ. `now` is the target's time as far as known, `nonce` 16 fresh random bytes, `bind` 32 bytes.

    Raises LocalMisuse, also when `bind` is missing outside use 2 (channel).
    """
    if bind is None and use != USE_CHANNEL:
        raise LocalMisuse("value-invalid", "a request without bind could be replayed elsewhere")
    asserted = None if user is None else [user.name, user.how]
    body = _REQUEST.encode(VERSION, AP_REQ, use, ticket, caveats, [], now, nonce, epoch, flags, bind, asserted, [], [])
    message = _SIGNED.encode(body, mac(pop_key, _REQUEST_LABELS[use], body))
    return PendingAp(
        message=message,
        use=use,
        nonce=nonce,
        epoch=epoch,
        flags=flags,
        context=digest(message),
        pop_key=pop_key,
    )


def parse_ap_request(message: bytes) -> ApRequest:
    """Size, encoding, types and lengths of an AP-REQ; no key is touched. Raises Malformed."""
    body, received_mac = _SIGNED.decode(message)
    _v, _k, use, ticket, caveats, dis, ts, nonce, epoch, flags, bind, user, crit, _opt = _REQUEST.decode(body)
    return ApRequest(
        use=use,
        ticket=ticket,
        caveats=caveats,
        discharges=len(dis),
        ts=Timestamp(ts),
        nonce=nonce,
        epoch=epoch,
        flags=flags,
        bind=bind,
        user=None if user is None else AssertedUser(user[0], user[1]),
        critical=tuple([entry[0] for entry in crit]) if crit else (),
        body=body,
        mac=received_mac,
        whole=message,
    )


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
    offline = split_caveats(caveats)
    parsed: list[Caveat] = []
    unsupported = None
    if len(content.caveats) + len(offline) > MAX_CAVEATS:
        raise Malformed(f"more than {MAX_CAVEATS} caveats")
    for caveat in (*content.caveats, *offline):
        try:
            parsed.append(parse_caveat(caveat))
        except Refused as refusal:
            unsupported = unsupported or refusal.detail
    return Presented(
        ticket=content,
        client_name=str(content.client),
        caveats=tuple(parsed),
        unsupported=unsupported,
        pop_key=pop_key_of(tail_after(tail_of(content.session_key, ticket), offline)),
    )


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
) -> Accepted:
    """Every check of an AP-REQ, in the normative order (docs/protocol/ap_exchange.md).

    `open_ticket_once` is `open_presented` behind the caller's LRU. `bind` is what the verifier computed
    from the request that it really received. After the MAC every refusal carries an AP-ERR in `.reply`.
    Raises Malformed, PeerMisbehaved or Refused; what is returned passed.
    """
    if request.use != use:
        raise PeerMisbehaved("wrong-mac", f"an authenticator for use {request.use}, expected {use}")
    presented = open_ticket_once(request.ticket, request.caveats)
    if not mac_matches(mac(presented.pop_key, _REQUEST_LABELS[use], request.body), request.mac):
        raise PeerMisbehaved("wrong-mac")
    try:
        return _judge(
            request, presented, now=now, bind=bind, replay=replay, epoch=epoch, epochless=epochless,
            accept_user=accept_user, max_life_s=max_life_s,
        )  # fmt: skip
    except Refused as refusal:
        refusal.reply = build_ap_error(request, presented.pop_key, refusal, now=now, epoch=epoch)
        raise


def _judge(
    request: ApRequest,
    presented: Presented,
    *,
    now: Timestamp,
    bind: bytes | None,
    replay: ReplayCache,
    epoch: bytes,
    epochless: EpochlessRule | None,
    accept_user: bool,
    max_life_s: int,
) -> Accepted:
    ticket = presented.ticket
    # A timestamp behind the ticket's end can never become acceptable, so it needs no place in the set.
    if request.ts > ticket.exp * 1000:
        raise Refused("ticket-expired", "the authenticator is dated after the ticket's end")
    _burn(request, presented, replay, now)
    check_ticket_times(ticket, now, max_life_s=max_life_s)
    check_window(request.ts, now)
    check_flags(request.flags, _KNOWN_FLAGS)
    if request.critical:
        raise Refused("unsupported-critical", f"extension {request.critical[0]}")
    _check_epoch(request, now, epoch, epochless)
    _check_bind(request, bind)
    if request.discharges:
        raise Refused("discharge-mismatch", f"{request.discharges} presented, none expected")
    if presented.unsupported is not None:
        raise Refused("caveat-unsupported", presented.unsupported)
    scopes = ticket.scopes
    for caveat in presented.caveats:
        objection = caveat.prohibits(now)
        if objection is not None:
            raise Refused("caveat-refused", objection)
        scopes = caveat.narrow(scopes)
    if (request.user is not None or ticket.subject is not None) and not accept_user:
        raise Refused("user-not-accepted")
    if request.user is not None and ASSERT_USER_SCOPE not in scopes:
        raise Refused("user-not-accepted", f"the caller lacks the scope {ASSERT_USER_SCOPE}")
    return Accepted(
        ticket=ticket,
        scopes=scopes,
        user=request.user,
        request=request,
        pop_key=presented.pop_key,
        epoch=epoch,
    )


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
    body = _REPLY.encode(VERSION, request.nonce, now, accepted.epoch, 0, [])
    return _SIGNED.encode(body, mac(accepted.pop_key, _REPLY_LABELS[request.use], digest(request.whole) + body))


def build_ap_error(request: ApRequest, pop_key: bytes, refusal: Refused, *, now: Timestamp, epoch: bytes) -> bytes:
    """AP-ERR for a request whose MAC verified. `refusal` has a code that travels."""
    number = refusal.reason.number or reason_for("kdc-fault").number
    body = _ERROR.encode(VERSION, number, now, epoch, refusal.detail[:200] or None, [])
    return _SIGNED.encode(body, mac(pop_key, _ERROR_LABELS[request.use], digest(request.whole) + body))


def open_ap_reply(pending: PendingAp, data: bytes) -> ApReply:
    """The target's answer to `pending`.

    Raises TargetRefusal for an AP-ERR, PeerMisbehaved (`wrong-mac`, `reply-mismatch`) or Malformed for
    anything that is not this target's answer to this request.
    """
    body, received_mac = _SIGNED.decode(data)
    bound = pending.context + body
    if mac_matches(mac(pending.pop_key, _REPLY_LABELS[pending.use], bound), received_mac):
        _version, nonce, target_time, epoch, flags, _opt = _REPLY.decode(body)
        if nonce != pending.nonce:
            raise PeerMisbehaved("reply-mismatch", "it names another request")
        check_flags(flags, 0)
        return ApReply(target_time=Timestamp(target_time), epoch=epoch)
    require_mac(pending.pop_key, _ERROR_LABELS[pending.use], bound, received_mac)
    _version, number, target_time, epoch, detail, _opt = _ERROR.decode(body)
    raise TargetRefusal(number, detail or "", target_time=Timestamp(target_time), epoch=epoch)
