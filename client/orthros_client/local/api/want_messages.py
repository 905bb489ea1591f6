"""The request for a ticket or token as bytes: plain, on behalf of somebody, and with limits.

Encodes and decodes. Knows no socket and no daemon, and judges neither evidence nor limits.
"""

from __future__ import annotations

from typing import Final

from orthros_client.errors import LocalMisuse
from orthros_client.local.api.values import MAX_LIMITS_BYTES, Op, WantRequest
from orthros_protocol.errors import Malformed, Refused
from orthros_protocol.primitives.limits import (
    MAX_CAVEATS_BLOB_BYTES,
    MAX_FRAME_BYTES,
    MAX_TICKET_BYTES,
)
from orthros_protocol.primitives.names import cached_principal, is_name
from orthros_protocol.primitives.schema import (
    Message,
    Record,
    binary,
    const,
    integer,
    message,
    optional,
    record_of,
    text,
)
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.tickets.attenuation import split_caveats
from orthros_protocol.tickets.caveats import parse_caveat
from orthros_protocol.tickets.evidence import Behalf

__all__ = ["VERSION", "LocalRequest", "decode_long_want", "decode_want", "encode_want", "is_long_want"]

VERSION: Final = 2


@message("behalf")
class BehalfItems(Record):
    """Evidence with its proof or nil twice, the caveats that came with it, and a subject (realm nil: the daemon's)."""

    evidence: bytes | None = optional(binary(16, MAX_TICKET_BYTES), default=None)
    proof: bytes | None = optional(binary(32), default=None, repr=False)
    caveats: bytes = binary(0, MAX_CAVEATS_BLOB_BYTES, default=b"")
    realm: str | None = optional(text(is_name), default=None)
    subject: str | None = optional(text(is_name), default=None)

    __getstate__ = not_exported


@message("local request", limit=MAX_FRAME_BYTES)
class LocalRequest(Message):
    """An operation and its body."""

    version: int = const(VERSION)
    op: int = integer(Op.FORGET, Op.PING)
    body: bytes = binary(0, MAX_FRAME_BYTES, repr=False)


@message("local request on behalf of somebody", limit=MAX_FRAME_BYTES)
class RequestOnBehalf(Message):
    """A ticket or token wanted on somebody's behalf."""

    version: int = const(VERSION)
    op: int = integer(Op.TOKEN, Op.TICKET)
    body: bytes = binary(0, MAX_FRAME_BYTES, repr=False)
    behalf: BehalfItems = record_of(BehalfItems)


@message("local request with limits", limit=MAX_FRAME_BYTES)
class LimitedRequest(Message):
    """A ticket wanted with limits."""

    version: int = const(VERSION)
    op: int = const(int(Op.TICKET))
    body: bytes = binary(0, MAX_FRAME_BYTES, repr=False)
    behalf: BehalfItems | None = optional(record_of(BehalfItems))
    limits: bytes = binary(1, MAX_LIMITS_BYTES)


# The number of its items tells which of them a request is: what is absent is not written, so there is one encoding.
_LONG: Final = (b"\x94", b"\x95")


def encode_want(request: WantRequest) -> bytes:
    """Raises LocalMisuse for values that do not fit, and for limits of a token."""
    body, behalf = request.encode(), _behalf_items(request)
    if request.limits:
        if request.op is not Op.TICKET:
            raise LocalMisuse("value-invalid", "limits are written into tickets; a token has no place for them")
        return LimitedRequest(body=body, behalf=behalf, limits=request.limits).encode()
    if behalf is not None:
        return RequestOnBehalf(op=int(request.op), body=body, behalf=behalf).encode()
    return LocalRequest(op=int(request.op), body=body).encode()


def is_long_want(message: bytes) -> bool:
    """Whether it says more than its body does: on whose behalf, or with what limits."""
    return message[:1] in _LONG


def decode_long_want(message: bytes) -> WantRequest:
    """A request of which `is_long_want` holds. Raises Malformed, also for a limit of a known type and wrong shape."""
    if message[:1] == _LONG[0]:
        one = RequestOnBehalf.decode(message)
        evidence, subject = _behalf_of(one.behalf)
        return WantRequest.decode(one.body, op=Op(one.op), behalf=evidence, subject=subject, limits=b"")
    other = LimitedRequest.decode(message)
    evidence, subject = (None, None) if other.behalf is None else _behalf_of(other.behalf)
    _require_shapes(other.limits)
    return WantRequest.decode(other.body, op=Op.TICKET, behalf=evidence, subject=subject, limits=other.limits)


def decode_want(op: Op, body: bytes) -> WantRequest:
    """A request in the daemon's own name, without limits. Raises Malformed."""
    return WantRequest.decode(body, op=op, behalf=None, subject=None, limits=b"")


def _require_shapes(limits: bytes) -> None:
    # The KDC answers a wrong shape without a seal, and to all that travels in the same request.
    for caveat in split_caveats(limits):
        try:
            parse_caveat(caveat)
        except Refused:  # of an unknown type: refused later, with the reason
            continue


def _behalf_items(request: WantRequest) -> BehalfItems | None:
    behalf = request.behalf
    if behalf is None:
        return None if request.subject is None else BehalfItems(subject=request.subject)
    if request.subject is not None:
        raise LocalMisuse("value-invalid", "on behalf of somebody: one of evidence and subject")
    named = behalf.subject
    return BehalfItems(
        evidence=behalf.evidence,
        proof=behalf.proof,
        caveats=behalf.caveats,
        realm=None if named is None else named.realm,
        subject=None if named is None else named.name,
    )


def _behalf_of(one: BehalfItems) -> tuple[Behalf | None, str | None]:
    realm, name = one.realm, one.subject
    if one.evidence is None and one.proof is None and not one.caveats and name is not None:
        return (None, name) if realm is None else (Behalf(subject=cached_principal(realm, name)), None)
    if one.evidence is None or one.proof is None or realm is not None or name is not None:
        raise Malformed("on behalf of somebody: either evidence with its proof, or a subject")
    split_caveats(one.caveats)
    return Behalf(evidence=one.evidence, caveats=one.caveats, proof=one.proof), None
