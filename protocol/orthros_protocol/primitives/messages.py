"""The envelopes that several exchanges share: signed requests, boxed replies, sealed errors, NAK.

Knows shapes and which kind a message claims to be; the exchanges know what the kinds mean.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.primitives.canonical import Schema, binary, const, extensions, integer, optional, text
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES, MAX_U32
from orthros_protocol.primitives.sealing import open_box, seal
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code, reason_by_number, reason_for

__all__ = ["AP_REQ", "AS_REQ", "SYNC_REQ", "TGS_REQ", "KdcRefusal", "Signed", "build_nak", "parse_signed"]

AS_REQ, TGS_REQ, AP_REQ, SYNC_REQ = 1, 2, 3, 4
VERSION: Final = 1
REF_BYTES: Final = 8
REPLY, SEALED_ERROR, NAK = 0, 1, 2

MAX_DETAIL_CHARS: Final = 200
DETAIL: Final = text(str.isprintable, MAX_DETAIL_CHARS)
_SIGNED = Schema("signed message", binary(4, MAX_FRAME_BYTES), binary(32), limit=MAX_FRAME_BYTES)
_OUTER = Schema("reply", const(VERSION), integer(NAK), binary(REF_BYTES, MAX_FRAME_BYTES), limit=MAX_FRAME_BYTES)
_ERROR = Schema(
    "sealed error", integer(0xFFFF), integer(), integer(MAX_U32), optional(DETAIL), extensions(), limit=4096
)
_SHORT_ARRAY, _ARRAY16 = 0x90, 0xDC


@frozen
class Signed:
    """A request as received: its body, its MAC (not verified yet) and the kind it claims to be."""

    kind: int
    body: bytes
    mac: bytes
    whole: bytes


def parse_signed(message: bytes) -> Signed:
    """Takes enc(body, mac32) apart without judging the body. Raises Malformed."""
    body, mac = _SIGNED.decode(message)
    # Version and kind are small integers behind an array header of one byte, or three from 16 items on.
    at = 3 if body[0] == _ARRAY16 else 1
    if body[0] != _ARRAY16 and body[0] & 0xF0 != _SHORT_ARRAY:
        raise Malformed("a request body is not an array")
    if len(body) < at + 2 or body[at] != VERSION:
        raise Malformed("a message of an unknown version")
    return Signed(body[at + 1], body, mac, message)


def join_signed(body: bytes, mac: bytes) -> bytes:
    """enc(body, mac32)."""
    return _SIGNED.encode(body, mac)


class KdcRefusal(Refused):
    """The KDC refused under seal. `kdc_time` may teach the offset; `retry_s` is when to try again."""

    def __init__(self, reason: Reason, detail: str, *, kdc_time: Timestamp, retry_s: int) -> None:
        super().__init__(reason, detail)
        self.kdc_time = kdc_time
        self.retry_s = retry_s


def outer_reply(box: bytes) -> bytes:
    """enc(1, 0, box)."""
    return _OUTER.encode(VERSION, REPLY, box)


def build_nak(ref: bytes) -> bytes:
    """The one unauthenticated refusal: enc(1, 2, ref8), whatever the reason. `ref` finds it in the log."""
    if len(ref) != REF_BYTES:
        raise LocalMisuse("value-invalid", "a reference has 8 bytes")
    return _OUTER.encode(VERSION, NAK, ref)


def seal_error(
    key: bytes,
    label: str,
    context: bytes,
    code: Code | Reason,
    *,
    now: Timestamp,
    retry_s: int,
    detail: str,
    entropy: bytes,
) -> bytes:
    """enc(1, 1, SEAL(key, label, context, enc(code, kdc_time_ms, retry_s, detail|nil, opt[])))."""
    reason = reason_for(code)
    if not reason.number:
        raise LocalMisuse("value-invalid", f"{reason.name} never travels")
    body = _ERROR.encode(reason.number, now, min(retry_s, MAX_U32), detail[:MAX_DETAIL_CHARS] or None, [])
    return _OUTER.encode(VERSION, SEALED_ERROR, seal(key, label, context, body, entropy=entropy))


def open_reply_box(
    data: bytes, *, reply_key: bytes, reply_label: str, error_key: bytes, error_label: str, context: bytes
) -> bytes:
    """The plaintext of a reply.

    Raises KdcRefusal for a sealed error, PeerMisbehaved `unauthenticated-refusal` for a NAK (a reason to
    fail over and back off, nothing else), `reply-mismatch` for a box that is not for this request.
    """
    _version, kind, content = _OUTER.decode(data)
    if kind == NAK:
        if len(content) != REF_BYTES:
            raise Malformed("a NAK carries 8 bytes")
        raise PeerMisbehaved("unauthenticated-refusal", f"reference {content.hex()}")
    try:
        if kind == SEALED_ERROR:
            raise _refusal_in(open_box(error_key, error_label, context, content, limit=4096))
        return open_box(reply_key, reply_label, context, content, limit=MAX_FRAME_BYTES)
    except Malformed:
        raise
    except PeerMisbehaved:
        raise PeerMisbehaved("reply-mismatch", "its box does not open for this request") from None


def _refusal_in(plain: bytes) -> KdcRefusal:
    number, kdc_time, retry_s, detail, _opt = _ERROR.decode(plain)
    return KdcRefusal(reason_by_number(number), detail or "", kdc_time=Timestamp(kdc_time), retry_s=retry_s)
