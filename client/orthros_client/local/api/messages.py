"""The messages of the local API as bytes: one canonical array each, in frames of u32be length.

Encodes and decodes. Knows no socket and no daemon; the daemon and both fronts of the library share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final, get_args

from orthros_client.errors import Failure
from orthros_client.local.api.failures import FailureReply
from orthros_client.local.api.values import (
    AnyRequest,
    CredentialGrant,
    Forgotten,
    Listing,
    LoginGrant,
    Op,
    PlainReply,
    PlainRequest,
    Pong,
    Renewed,
    Reply,
    Reported,
    Status,
    WantRequest,
)
from orthros_client.local.api.want_messages import (
    VERSION,
    LocalRequest,
    decode_long_want,
    decode_want,
    encode_want,
    is_long_want,
)
from orthros_protocol.errors import Malformed
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES
from orthros_protocol.primitives.schema import Message, binary, const, integer, message

__all__ = ["decode_reply", "decode_request", "encode_failure", "encode_reply", "encode_request"]

_OK, _ERROR = 0, 1
_REQUESTS: Final[Mapping[int, type[PlainRequest]]] = {one.op: one for one in get_args(PlainRequest)}
_REPLIES: Final[Mapping[Op, type[PlainReply]]] = {
    Op.PING: Pong,
    Op.TICKET: CredentialGrant,
    Op.TOKEN: CredentialGrant,
    Op.LIST: Listing,
    Op.STATUS: Status,
    Op.RECEIVE: CredentialGrant,
    Op.LOGIN: LoginGrant,
    Op.REPORT: Reported,
    Op.RENEW: Renewed,
    Op.FORGET: Forgotten,
}
# Requests of this beginning and size hold no secret, and are worth remembering: a process asks the same few over and
# over. What is asked on behalf of others proves something, and is forgotten.
_OWN_BEGINNINGS: Final = frozenset(bytes((0x93, VERSION, op)) for op in Op if op <= Op.STATUS)
_MOST_REMEMBERED_BYTES: Final = 4096


@message("local reply", limit=MAX_FRAME_BYTES)
class LocalReply(Message):
    """The answer to an operation, or why there is none."""

    version: int = const(VERSION)
    status: int = integer(_ERROR)
    op: int = integer(0xFFFF)
    body: bytes = binary(0, MAX_FRAME_BYTES, repr=False)


def encode_request(request: AnyRequest) -> bytes:
    """Raises LocalMisuse for values that do not fit."""
    if isinstance(request, WantRequest):
        return encode_want(request)
    return LocalRequest(op=int(request.op), body=request.encode()).encode()


def decode_request(message: bytes) -> AnyRequest:
    """Raises Malformed."""
    if message[:3] in _OWN_BEGINNINGS and len(message) <= _MOST_REMEMBERED_BYTES:
        return _decode_own(message)
    if is_long_want(message):
        return decode_long_want(message)
    request = LocalRequest.decode(message)
    if request.op <= Op.STATUS:
        raise Malformed("a local request that is too long")
    return _REQUESTS[request.op].decode(request.body)


@lru_cache(maxsize=1024)
def _decode_own(message: bytes) -> AnyRequest:
    request = LocalRequest.decode(message)
    if request.op in (Op.TICKET, Op.TOKEN):
        return decode_want(Op(request.op), request.body)
    return _REQUESTS[request.op].decode(request.body)


def encode_reply(op: Op, reply: Reply) -> bytes:
    """The answer to a request of `op`."""
    if isinstance(reply, Failure):
        return encode_failure(op, reply)
    return LocalReply(status=_OK, op=int(op), body=reply.encode()).encode()


def encode_failure(op: int, failure: Failure) -> bytes:
    """The answer when there is no other; `op` 0 when the request was not understood."""
    return LocalReply(status=_ERROR, op=int(op), body=FailureReply.of(failure).encode()).encode()


def decode_reply(op: Op, message: bytes) -> Reply:
    """The answer to a request of `op`. Raises Malformed, also for an answer to another operation."""
    reply = LocalReply.decode(message)
    if reply.status == _ERROR:
        return FailureReply.decode(reply.body).failure
    if reply.op != op:
        raise Malformed("a local reply to another operation")
    return _REPLIES[op].decode(reply.body)
