"""The envelopes that several exchanges share: signed requests, boxed replies, sealed errors, NAK.

Knows shapes and which kind a message claims to be; the exchanges know what the kinds mean.
"""

from __future__ import annotations

from typing import Final

from attrs import field

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES, MAX_U32
from orthros_protocol.primitives.schema import (
    Extension,
    Message,
    binary,
    const,
    extensions,
    instant,
    integer,
    message,
    optional,
    text,
)
from orthros_protocol.primitives.sealing import open_box, seal
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code, reason_by_number, reason_for

__all__ = ["AP_REQ", "AS_REQ", "SYNC_REQ", "TGS_REQ", "KdcRefusal", "Signed", "build_nak", "parse_signed"]

AS_REQ, TGS_REQ, AP_REQ, SYNC_REQ = 1, 2, 3, 4
VERSION: Final = 1
REF_BYTES: Final = 8
REPLY, SEALED_ERROR, NAK = 0, 1, 2

MAX_DETAIL_CHARS: Final = 200
_SHORT_ARRAY, _ARRAY16 = 0x90, 0xDC


@message("signed message", limit=MAX_FRAME_BYTES)
class Signed(Message):
    """A request as received: its body, and its MAC, which is not verified yet. `whole` is empty in one to be sent."""

    body: bytes = binary(4, MAX_FRAME_BYTES)
    mac: bytes = binary(32)
    whole: bytes = field(default=b"", repr=False)

    @property
    def kind(self) -> int:
        """The kind that its body claims to be."""
        return self.body[_kind_at(self.body)]


UNSIGNED: Final = Signed(body=b"", mac=b"")
"""Of a request that is about to be signed."""


@message("reply", limit=MAX_FRAME_BYTES)
class _Outer(Message):
    version: int = const(VERSION)
    kind: int = integer(NAK)
    content: bytes = binary(REF_BYTES, MAX_FRAME_BYTES)


@message("sealed error", limit=4096)
class _SealedError(Message):
    number: int = integer(0xFFFF)
    kdc_time: Timestamp = instant()
    retry_s: int = integer(MAX_U32)
    detail: str | None = optional(text(str.isprintable, MAX_DETAIL_CHARS))
    opt: tuple[Extension, ...] = extensions(default=())


def _kind_at(body: bytes) -> int:
    # Version and kind are small integers behind an array header of one byte, or three from 16 items on.
    return 4 if body[0] == _ARRAY16 else 2


def parse_signed(message: bytes) -> Signed:
    """Takes enc(body, mac32) apart without judging the body. Raises Malformed."""
    signed = Signed.decode(message, whole=message)
    body = signed.body
    if body[0] != _ARRAY16 and body[0] & 0xF0 != _SHORT_ARRAY:
        raise Malformed("a request body is not an array")
    at = _kind_at(body)
    if len(body) <= at or body[at - 1] != VERSION:
        raise Malformed("a message of an unknown version")
    return signed


class KdcRefusal(Refused):
    """The KDC refused under seal. `kdc_time` may teach the offset; `retry_s` is when to try again."""

    def __init__(self, reason: Reason, detail: str, *, kdc_time: Timestamp, retry_s: int) -> None:
        super().__init__(reason, detail)
        self.kdc_time = kdc_time
        self.retry_s = retry_s


def outer_reply(box: bytes) -> bytes:
    """enc(1, 0, box)."""
    return _Outer(kind=REPLY, content=box).encode()


def build_nak(ref: bytes) -> bytes:
    """The one unauthenticated refusal: enc(1, 2, ref8), whatever the reason. `ref` finds it in the log."""
    if len(ref) != REF_BYTES:
        raise LocalMisuse("value-invalid", "a reference has 8 bytes")
    return _Outer(kind=NAK, content=ref).encode()


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
    words = detail[:MAX_DETAIL_CHARS] or None
    error = _SealedError(number=reason.number, kdc_time=now, retry_s=min(retry_s, MAX_U32), detail=words)
    return _Outer(kind=SEALED_ERROR, content=seal(key, label, context, error.encode(), entropy=entropy)).encode()


def open_reply_box(
    data: bytes, *, reply_key: bytes, reply_label: str, error_key: bytes, error_label: str, context: bytes
) -> bytes:
    """The plaintext of a reply.

    Raises KdcRefusal for a sealed error, PeerMisbehaved `unauthenticated-refusal` for a NAK (a reason to
    fail over and back off, nothing else), `reply-mismatch` for a box that is not for this request.
    """
    reply = _Outer.decode(data)
    content = reply.content
    if reply.kind == NAK:
        if len(content) != REF_BYTES:
            raise Malformed("a NAK carries 8 bytes")
        raise PeerMisbehaved("unauthenticated-refusal", f"reference {content.hex()}")
    try:
        if reply.kind == SEALED_ERROR:
            raise _refusal_in(open_box(error_key, error_label, context, content, limit=4096))
        return open_box(reply_key, reply_label, context, content, limit=MAX_FRAME_BYTES)
    except Malformed:
        raise
    except PeerMisbehaved:
        raise PeerMisbehaved("reply-mismatch", "its box does not open for this request") from None


def _refusal_in(plain: bytes) -> KdcRefusal:
    error = _SealedError.decode(plain)
    reason = reason_by_number(error.number)
    return KdcRefusal(reason, error.detail or "", kdc_time=error.kdc_time, retry_s=error.retry_s)
