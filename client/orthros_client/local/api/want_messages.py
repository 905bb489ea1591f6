"""The request for a ticket or token as bytes: plain, on behalf of somebody, and with limits.

Encodes and decodes. Knows no socket and no daemon, and judges neither evidence nor limits.
"""

from __future__ import annotations

from typing import Any, Final

from orthros_client.credentials.narrowing import MAX_LIMITS_BYTES
from orthros_client.errors import LocalMisuse
from orthros_client.local.api.values import Op, WantRequest
from orthros_protocol import (
    Behalf,
    Malformed,
    Refused,
    cached_principal,
    is_name,
    is_scope,
    parse_caveat,
    split_caveats,
)
from orthros_protocol.primitives.canonical import Schema, binary, const, integer, nested, optional, text, text_set
from orthros_protocol.primitives.limits import (
    MAX_CAVEATS_BLOB_BYTES,
    MAX_FRAME_BYTES,
    MAX_SCOPES,
    MAX_TICKET_BYTES,
    MAX_U32,
)

__all__ = ["VERSION", "decode_long_want", "decode_want", "encode_want", "is_long_want"]

VERSION: Final = 2

_NAME: Final = text(is_name)
_U32: Final = integer(MAX_U32)
_BODY: Final = binary(0, MAX_FRAME_BYTES)
_WANT: Final = Schema("want", optional(_NAME), _NAME, optional(text_set(is_scope, MAX_SCOPES)), _U32, _U32, _U32)
_PLAIN: Final = Schema("local request", const(VERSION), integer(Op.TOKEN, Op.TICKET), _BODY, limit=MAX_FRAME_BYTES)
# Evidence with its proof or nil twice, the caveats that came with it, and a subject (realm nil: the daemon's) or nil.
_BEHALF: Final = nested(
    optional(binary(16, MAX_TICKET_BYTES)),
    optional(binary(32)),
    binary(0, MAX_CAVEATS_BLOB_BYTES),
    optional(_NAME),
    optional(_NAME),
)
_ON_BEHALF: Final = Schema(
    "local request on behalf of somebody",
    const(VERSION),
    integer(Op.TOKEN, Op.TICKET),
    _BODY,
    _BEHALF,
    limit=MAX_FRAME_BYTES,
)
_LIMITED: Final = Schema(
    "local request with limits",
    const(VERSION),
    const(int(Op.TICKET)),
    _BODY,
    optional(_BEHALF),
    binary(1, MAX_LIMITS_BYTES),
    limit=MAX_FRAME_BYTES,
)
# The number of its items tells which of them a request is: what is absent is not written, so there is one encoding.
_LONG: Final = {b"\x94": _ON_BEHALF, b"\x95": _LIMITED}


def encode_want(request: WantRequest) -> bytes:
    """Raises LocalMisuse for values that do not fit, and for limits of a token."""
    scopes = None if request.scopes is None else list(request.scopes)
    body = _WANT.encode(request.realm, request.target, scopes, request.ttl_s, request.flags, request.timeout_ms)
    behalf = _behalf_items(request)
    if request.limits:
        if request.op is not Op.TICKET:
            raise LocalMisuse("value-invalid", "limits are written into tickets; a token has no place for them")
        return _LIMITED.encode(VERSION, int(request.op), body, behalf, request.limits)
    if behalf is not None:
        return _ON_BEHALF.encode(VERSION, int(request.op), body, behalf)
    return _PLAIN.encode(VERSION, int(request.op), body)


def is_long_want(message: bytes) -> bool:
    """Whether it says more than its body does: on whose behalf, or with what limits."""
    return message[:1] in _LONG


def decode_long_want(message: bytes) -> WantRequest:
    """A request of which `is_long_want` holds. Raises Malformed."""
    _version, number, body, behalf, *limits = _LONG[message[:1]].decode(message)
    return decode_want(Op(number), body, behalf, *limits)


def decode_want(op: Op, body: bytes, behalf: list[Any] | None = None, limits: bytes = b"") -> WantRequest:
    """The request of which these are the items. Raises Malformed, also for a limit of a known type and wrong shape."""
    realm, target, scopes, ttl_s, flags, timeout_ms = _WANT.decode(body)
    evidence, subject = (None, None) if behalf is None else _behalf_of(*behalf)
    _require_shapes(limits)
    return WantRequest(
        op=op,
        realm=realm,
        target=target,
        scopes=None if scopes is None else tuple(scopes),
        ttl_s=ttl_s,
        flags=flags,
        timeout_ms=timeout_ms,
        behalf=evidence,
        subject=subject,
        limits=limits,
    )


def _require_shapes(limits: bytes) -> None:
    # The KDC answers a wrong shape without a seal, and to all that travels in the same request.
    for caveat in split_caveats(limits):
        try:
            parse_caveat(caveat)
        except Refused:  # of an unknown type: refused later, with the reason
            continue


def _behalf_items(request: WantRequest) -> list[Any] | None:
    behalf = request.behalf
    if behalf is None:
        return None if request.subject is None else [None, None, b"", None, request.subject]
    if request.subject is not None:
        raise LocalMisuse("value-invalid", "on behalf of somebody: one of evidence and subject")
    named = behalf.subject
    who = [None, None] if named is None else [named.realm, named.name]
    return [behalf.evidence, behalf.proof, behalf.caveats, *who]


def _behalf_of(
    evidence: bytes | None, proof: bytes | None, caveats: bytes, realm: str | None, name: str | None
) -> tuple[Behalf | None, str | None]:
    if evidence is None and proof is None and not caveats and name is not None:
        return (None, name) if realm is None else (Behalf(subject=cached_principal(realm, name)), None)
    if evidence is None or proof is None or realm is not None or name is not None:
        raise Malformed("on behalf of somebody: either evidence with its proof, or a subject")
    split_caveats(caveats)
    return Behalf(evidence=evidence, caveats=caveats, proof=proof), None
