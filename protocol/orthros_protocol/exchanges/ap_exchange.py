"""Client to target: present a ticket with a fresh authenticator, accept it offline, prove the target.

The shapes of AP-REQ, AP-REP and AP-ERR, and the client's half; `acceptance.py` is the target's.
Knows no clock, no cache policy and no transport.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, PeerMisbehaved, Refused
from orthros_protocol.primitives.derivation import digest, mac, mac_matches, require_mac
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import (
    MAX_AP_REQUEST_BYTES,
    MAX_CAVEATS_BLOB_BYTES,
    MAX_DISCHARGES,
    MAX_TICKET_BYTES,
    MAX_U32,
)
from orthros_protocol.primitives.messages import AP_REQ, MAX_DETAIL_CHARS, VERSION
from orthros_protocol.primitives.names import is_name
from orthros_protocol.primitives.schema import (
    Extension,
    Message,
    Record,
    array,
    binary,
    const,
    extensions,
    instant,
    integer,
    message,
    optional,
    record_of,
    text,
)
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.reasons.table import reason_by_number
from orthros_protocol.tickets.ticket import check_flags

__all__ = [
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
    "ApError",
    "ApReply",
    "ApRequest",
    "ApSigned",
    "AssertedUser",
    "PendingAp",
    "TargetRefusal",
    "hints_of",
    "open_ap_reply",
    "parse_ap_request",
    "sign_ap_request",
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


@message("AP message", limit=MAX_AP_REQUEST_BYTES)
class ApSigned(Message):
    """The body of an AP-REQ, AP-REP or AP-ERR and its MAC, which is not verified yet."""

    body: bytes = binary(4, MAX_AP_REQUEST_BYTES)
    mac: bytes = binary(32)


@message("user", eq=True, kw_only=False)
class AssertedUser(Record):
    """The end user that a gateway names per request; `how` says how it knows (1 proven, 2 asserted)."""

    name: str = text(is_name)
    how: int = integer(2, 1)


@message("AP-REQ", limit=MAX_AP_REQUEST_BYTES)
class ApRequest(Message):
    """An AP-REQ whose shape is right. Nothing in it is true before its MAC has been checked.

    `body`, `mac` and `whole` are as they were received; empty in one that is about to be sent.
    """

    version: int = const(VERSION)
    kind: int = const(AP_REQ)
    use: int = integer(USE_KDC)
    ticket: bytes = binary(16, MAX_TICKET_BYTES, repr=False)
    caveats: bytes = binary(0, MAX_CAVEATS_BLOB_BYTES, default=b"")
    discharges: tuple[bytes, ...] = array(binary(0, MAX_CAVEATS_BLOB_BYTES), MAX_DISCHARGES, default=())
    ts: Timestamp = instant()
    nonce: bytes = binary(16)
    epoch: bytes | None = optional(binary(8), default=None)
    flags: int = integer(MAX_U32, default=0)
    bind: bytes | None = optional(binary(32))
    user: AssertedUser | None = optional(record_of(AssertedUser), default=None)
    crit: tuple[Extension, ...] = extensions(default=())
    opt: tuple[Extension, ...] = extensions(default=())
    body: bytes = field(default=b"", repr=False)
    mac: bytes = field(default=b"", repr=False)
    whole: bytes = field(default=b"", repr=False)


@message("AP-REP", limit=4096, eq=True)
class ApReply(Message):
    """The target's proof of itself: it opened the ticket. `target_time` may teach its offset."""

    version: int = const(VERSION)
    nonce: bytes = binary(16)
    target_time: Timestamp = instant()
    epoch: bytes = binary(8)
    flags: int = integer(MAX_U32, default=0)
    opt: tuple[Extension, ...] = extensions(default=())


@message("AP-ERR", limit=4096)
class ApError(Message):
    """Why the target refused. `opt` holds hints, which `hints_of` makes."""

    version: int = const(VERSION)
    number: int = integer(0xFFFF)
    target_time: Timestamp = instant()
    epoch: bytes = binary(8)
    detail: str | None = optional(text(str.isprintable, MAX_DETAIL_CHARS))
    opt: tuple[Extension, ...] = extensions(default=())


@frozen(eq=False, kw_only=True)
class PendingAp:
    """What the client keeps until the target answers. `message` is what to send."""

    message: bytes
    request: ApRequest
    context: bytes = field(repr=False)
    pop_key: bytes = field(repr=False)

    __getstate__ = not_exported


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


def sign_ap_request(request: ApRequest, pop_key: bytes) -> PendingAp:
    """AP-REQ of a holder of K_pop.

    `request.ts` is the target's time as far as known, `nonce` 16 fresh random bytes, `bind` 32 bytes; `discharges` are
    the `caveats` fields of the discharges whose tails are mixed into `pop_key`, in the same order.
    Raises LocalMisuse, also when `bind` is missing outside use 2 (channel).
    """
    if request.bind is None and request.use != USE_CHANNEL:
        raise LocalMisuse("value-invalid", "a request without bind could be replayed elsewhere")
    body = request.encode()
    message = ApSigned(body=body, mac=mac(pop_key, REQUEST_LABELS[request.use], body)).encode()
    return PendingAp(message=message, request=request, context=digest(message), pop_key=pop_key)


def parse_ap_request(message: bytes) -> ApRequest:
    """Size, encoding, types and lengths of an AP-REQ; no key is touched. Raises Malformed."""
    signed = ApSigned.decode(message)
    return ApRequest.decode(signed.body, body=signed.body, mac=signed.mac, whole=message)


def open_ap_reply(pending: PendingAp, data: bytes) -> ApReply:
    """The target's answer to `pending`.

    Raises TargetRefusal for an AP-ERR, PeerMisbehaved (`wrong-mac`, `reply-mismatch`) or Malformed for
    anything that is not this target's answer to this request.
    """
    signed = ApSigned.decode(data)
    bound = pending.context + signed.body
    if mac_matches(mac(pending.pop_key, REPLY_LABELS[pending.request.use], bound), signed.mac):
        reply = ApReply.decode(signed.body)
        if reply.nonce != pending.request.nonce:
            raise PeerMisbehaved("reply-mismatch", "it names another request")
        check_flags(reply.flags, 0)
        return reply
    require_mac(pending.pop_key, ERROR_LABELS[pending.request.use], bound, signed.mac)
    error = ApError.decode(signed.body)
    refusal = TargetRefusal(error.number, error.detail or "", target_time=error.target_time, epoch=error.epoch)
    _read_hints(refusal, error.opt)
    raise refusal


def hints_of(refusal: Refused) -> tuple[Extension, ...]:
    """`opt` of the AP-ERR for `refusal`: what it says besides its code."""
    hints = []
    if refusal.ready_in_ms is not None:
        hints.append((_READY_IN, min(refusal.ready_in_ms, MAX_U32).to_bytes(4, "big")))
    if refusal.before_handler:
        hints.append((_BEFORE_HANDLER, b""))
    return tuple(hints)


def _read_hints(refusal: Refused, opt: Iterable[Extension]) -> None:
    # What has another form than this version's is a hint of another version: ignored, as unknown ids are.
    for number, value in opt:
        if number == _READY_IN and len(value) == 4:
            refusal.ready_in_ms = int.from_bytes(value, "big")
        elif number == _BEFORE_HANDLER and not value:
            refusal.before_handler = True
