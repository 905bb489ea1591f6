"""Client to target: present a ticket with a fresh authenticator, accept it offline, prove the target.

The shapes of AP-REQ, AP-REP and AP-ERR, and the client's half; `acceptance.py` is the target's.
Knows no clock, no cache policy and no transport.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, PeerMisbehaved, Refused
from orthros_protocol.keys.role_keys import not_exported
from orthros_protocol.primitives.canonical import (
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
from orthros_protocol.primitives.derivation import digest, mac, mac_matches, require_mac
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import (
    MAX_AP_REQUEST_BYTES,
    MAX_CAVEATS_BLOB_BYTES,
    MAX_DISCHARGES,
    MAX_TICKET_BYTES,
    MAX_U32,
)
from orthros_protocol.primitives.messages import AP_REQ, DETAIL, VERSION
from orthros_protocol.primitives.names import is_name
from orthros_protocol.reasons import reason_by_number
from orthros_protocol.tickets.ticket import check_flags

__all__ = [
    "AP_ERROR",
    "AP_REPLY",
    "AP_SIGNED",
    "ASSERT_USER_SCOPE",
    "ERROR_LABELS",
    "KNOWN_AP_FLAGS",
    "REPLY_LABELS",
    "REQUEST_LABELS",
    "SAFE",
    "USE_CHANNEL",
    "USE_HTTP",
    "USE_KDC",
    "USE_RAW",
    "ApReply",
    "ApRequest",
    "AssertedUser",
    "PendingAp",
    "TargetRefusal",
    "build_ap_request",
    "hints_of",
    "open_ap_reply",
    "parse_ap_request",
]

USE_RAW, USE_HTTP, USE_CHANNEL, USE_KDC = 0, 1, 2, 3
SAFE: Final = 1
KNOWN_AP_FLAGS: Final = SAFE
# Entries of `opt` in AP-ERR.
_READY_IN: Final = 1  # u32be, milliseconds
_BEFORE_HANDLER: Final = 2  # empty
ASSERT_USER_SCOPE: Final = "assert-user"
REQUEST_LABELS: Final = tuple(f"ap-req.{use}" for use in range(4))
REPLY_LABELS: Final = tuple(f"ap-rep.{use}" for use in range(4))
ERROR_LABELS: Final = tuple(f"ap-err.{use}" for use in range(4))

_USER: Final = nested(text(is_name), integer(2, 1))
_CAVEATS: Final = binary(0, MAX_CAVEATS_BLOB_BYTES)
AP_SIGNED: Final = Schema("AP message", binary(4, MAX_AP_REQUEST_BYTES), binary(32), limit=MAX_AP_REQUEST_BYTES)
_REQUEST: Final = Schema(
    "AP-REQ",
    const(VERSION),
    const(AP_REQ),
    integer(USE_KDC),
    binary(16, MAX_TICKET_BYTES),
    _CAVEATS,
    array(_CAVEATS, MAX_DISCHARGES),
    integer(),
    binary(16),
    optional(binary(8)),
    integer(MAX_U32),
    optional(binary(32)),
    optional(_USER),
    extensions(),
    extensions(),
    limit=MAX_AP_REQUEST_BYTES,
)
AP_REPLY: Final = Schema(
    "AP-REP", const(VERSION), binary(16), integer(), binary(8), integer(MAX_U32), extensions(), limit=4096
)
AP_ERROR: Final = Schema(
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
    discharges: tuple[bytes, ...]
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
    """The target refused under MAC. `target_time` may teach its offset, `epoch` serves the retry: eight zero bytes when
    the target answered without a look at its replay store, and teaches no epoch.

    `on_behalf` says that the call was made for somebody else, where the caller's side knows; `clocks` whose clock is
    wrong and by how much, empty where that is not the cause.
    """

    on_behalf = False
    clocks = ""

    def __init__(self, number: int, detail: str, *, target_time: Timestamp, epoch: bytes) -> None:
        super().__init__(reason_by_number(number), detail)
        self.target_time = target_time
        self.epoch = epoch


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
    discharges: Sequence[bytes] = (),
    user: AssertedUser | None = None,
) -> PendingAp:
    """AP-REQ. `now` is the target's time as far as known, `nonce` 16 fresh random bytes, `bind` 32 bytes.

    `discharges` are the `caveats` fields of the discharges whose tails are mixed into `pop_key`, in the same order.
    Raises LocalMisuse, also when `bind` is missing outside use 2 (channel).
    """
    if bind is None and use != USE_CHANNEL:
        raise LocalMisuse("value-invalid", "a request without bind could be replayed elsewhere")
    asserted = None if user is None else [user.name, user.how]
    body = _REQUEST.encode(
        VERSION, AP_REQ, use, ticket, caveats, list(discharges), now, nonce, epoch, flags, bind, asserted, [], []
    )
    message = AP_SIGNED.encode(body, mac(pop_key, REQUEST_LABELS[use], body))
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
    body, received_mac = AP_SIGNED.decode(message)
    _v, _k, use, ticket, caveats, dis, ts, nonce, epoch, flags, bind, user, crit, _opt = _REQUEST.decode(body)
    return ApRequest(
        use=use,
        ticket=ticket,
        caveats=caveats,
        discharges=tuple(dis),
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


def open_ap_reply(pending: PendingAp, data: bytes) -> ApReply:
    """The target's answer to `pending`.

    Raises TargetRefusal for an AP-ERR, PeerMisbehaved (`wrong-mac`, `reply-mismatch`) or Malformed for
    anything that is not this target's answer to this request.
    """
    body, received_mac = AP_SIGNED.decode(data)
    bound = pending.context + body
    if mac_matches(mac(pending.pop_key, REPLY_LABELS[pending.use], bound), received_mac):
        _version, nonce, target_time, epoch, flags, _opt = AP_REPLY.decode(body)
        if nonce != pending.nonce:
            raise PeerMisbehaved("reply-mismatch", "it names another request")
        check_flags(flags, 0)
        return ApReply(target_time=Timestamp(target_time), epoch=epoch)
    require_mac(pending.pop_key, ERROR_LABELS[pending.use], bound, received_mac)
    _version, number, target_time, epoch, detail, opt = AP_ERROR.decode(body)
    refusal = TargetRefusal(number, detail or "", target_time=Timestamp(target_time), epoch=epoch)
    _read_hints(refusal, opt)
    raise refusal


def hints_of(refusal: Refused) -> list[list[int | bytes]]:
    """`opt` of the AP-ERR for `refusal`: what it says besides its code."""
    hints: list[list[int | bytes]] = []
    if refusal.ready_in_ms is not None:
        hints.append([_READY_IN, min(refusal.ready_in_ms, MAX_U32).to_bytes(4, "big")])
    if refusal.before_handler:
        hints.append([_BEFORE_HANDLER, b""])
    return hints


def _read_hints(refusal: Refused, opt: list[list[Any]]) -> None:
    # What has another form than this version's is a hint of another version: ignored, as unknown ids are.
    for number, value in opt:
        if number == _READY_IN and len(value) == 4:
            refusal.ready_in_ms = int.from_bytes(value, "big")
        elif number == _BEFORE_HANDLER and not value:
            refusal.before_handler = True
