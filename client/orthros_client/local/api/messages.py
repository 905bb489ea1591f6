"""The messages of the local API as bytes: one canonical array each, in frames of u32be length.

Encodes and decodes. Knows no socket and no daemon; the daemon and both fronts of the library share it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from orthros_client.errors import Failure
from orthros_client.local.api.entries import (
    ENTRY,
    FAILURE_ITEMS,
    WORDS,
    entry_items,
    entry_of,
    failure_items,
    failure_of,
    plain_words,
)
from orthros_client.local.api.renewal_messages import (
    decode_about_held,
    decode_outcome,
    encode_about_held,
    encode_outcome,
)
from orthros_client.local.api.values import (
    AnyRequest,
    CredentialGrant,
    ForgetRequest,
    Forgotten,
    KdcLine,
    Listing,
    LoginGrant,
    LoginRequest,
    Op,
    Pong,
    ReceiveRequest,
    Renewed,
    RenewRequest,
    Reply,
    Reported,
    ReportRequest,
    Request,
    Status,
    WantRequest,
)
from orthros_client.local.api.want_messages import VERSION, decode_long_want, decode_want, encode_want, is_long_want
from orthros_protocol import Credential, Life, Malformed, Principal, cached_principal, is_name, is_scope
from orthros_protocol.primitives.canonical import (
    Schema,
    array,
    binary,
    const,
    integer,
    nested,
    optional,
    text,
    text_set,
)
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES, MAX_SCOPES, MAX_U32
from orthros_protocol.tickets.credential import CREDENTIAL_ITEMS, NOTES

__all__ = [
    "LIST_PAGE",
    "MOST_LOGIN_TARGETS",
    "decode_reply",
    "decode_request",
    "encode_failure",
    "encode_reply",
    "encode_request",
]

LIST_PAGE: Final = 64
MOST_LOGIN_TARGETS: Final = 32
_OK, _ERROR = 0, 1

_NAME: Final = text(is_name)
_SCOPES: Final = text_set(is_scope, MAX_SCOPES)
_U32: Final = integer(MAX_U32)
_BODY: Final = binary(0, MAX_FRAME_BYTES)

_REQUEST: Final = Schema("local request", const(VERSION), integer(Op.FORGET, Op.PING), _BODY, limit=MAX_FRAME_BYTES)
# Requests of this beginning and size hold no secret, and are worth remembering: a process asks the same few over and
# over. What is asked on behalf of others proves something, and is forgotten.
_OWN_BEGINNINGS: Final = frozenset(bytes((0x93, VERSION, op)) for op in Op if op <= Op.STATUS)
_MOST_REMEMBERED_BYTES: Final = 4096
_REPLY: Final = Schema("local reply", const(VERSION), integer(_ERROR), integer(0xFFFF), _BODY, limit=MAX_FRAME_BYTES)

_LIST: Final = Schema("list", _U32)
_PROBE: Final = Schema("status request", integer(1))
_EMPTY: Final = Schema("no arguments")
_RECEIVE: Final = Schema("hand-over to open", binary(16, MAX_FRAME_BYTES), limit=MAX_FRAME_BYTES)
_LOGIN: Final = Schema(
    "login request",
    array(nested(optional(_NAME), _NAME), MOST_LOGIN_TARGETS, 1),
    optional(_SCOPES),
    _U32,
    _U32,
    limit=MAX_FRAME_BYTES,
)

_GRANT: Final = Schema(
    "grant",
    *CREDENTIAL_ITEMS,
    _U32,
    _U32,
    NOTES,
    integer(),
    integer(),
    integer(),
    optional(nested(_NAME, _NAME)),
    limit=MAX_FRAME_BYTES,
)
_LOGIN_GRANT: Final = Schema("login granted", _BODY, limit=MAX_FRAME_BYTES)
_LISTING: Final = Schema("listing", array(ENTRY, LIST_PAGE), optional(_U32), limit=MAX_FRAME_BYTES)
_KDC: Final = nested(WORDS, optional(integer()), optional(WORDS))
_STATUS: Final = Schema(
    "status",
    _NAME,
    _NAME,
    integer(),
    _U32,
    _U32,
    optional(WORDS),
    optional(WORDS),
    integer(),
    integer(),
    integer(),
    integer(),
    array(_KDC, 64),
    integer(),
    WORDS,
    optional(WORDS),
    limit=MAX_FRAME_BYTES,
)
_FAILURE: Final = Schema("failure", *FAILURE_ITEMS)


def encode_request(request: AnyRequest) -> bytes:
    """Raises LocalMisuse for values that do not fit."""
    if isinstance(request, WantRequest):
        return encode_want(request)
    if isinstance(request, ReceiveRequest):
        body = _RECEIVE.encode(request.data)
    elif isinstance(request, LoginRequest):
        scopes = None if request.scopes is None else list(request.scopes)
        body = _LOGIN.encode(list(map(list, request.targets)), scopes, request.lifetime_s, request.timeout_ms)
    elif isinstance(request, ReportRequest | RenewRequest | ForgetRequest):
        body = encode_about_held(request)
    elif request.op in (Op.LIST, Op.STATUS):
        body = (_LIST if request.op is Op.LIST else _PROBE).encode(request.argument)
    else:
        body = _EMPTY.encode()
    return _REQUEST.encode(VERSION, int(request.op), body)


def decode_request(message: bytes) -> AnyRequest:
    """Raises Malformed."""
    if message[:3] in _OWN_BEGINNINGS and len(message) <= _MOST_REMEMBERED_BYTES:
        return _decode_own(message)
    if is_long_want(message):
        return decode_long_want(message)
    _version, number, body = _REQUEST.decode(message)
    op = Op(number)
    if op is Op.RECEIVE:
        (data,) = _RECEIVE.decode(body)
        return ReceiveRequest(data=data)
    if op is Op.LOGIN:
        targets, scopes, lifetime_s, timeout_ms = _LOGIN.decode(body)
        return LoginRequest(
            targets=tuple((realm, name) for realm, name in targets),
            scopes=None if scopes is None else tuple(scopes),
            lifetime_s=lifetime_s,
            timeout_ms=timeout_ms,
        )
    if op > Op.LOGIN:
        return decode_about_held(op, body)
    raise Malformed("a local request that is too long")


@lru_cache(maxsize=1024)
def _decode_own(message: bytes) -> AnyRequest:
    _version, number, body = _REQUEST.decode(message)
    op = Op(number)
    if op in (Op.TICKET, Op.TOKEN):
        return decode_want(op, body)
    if op is Op.PING:
        _EMPTY.decode(body)
        return Request(op=op)
    (argument,) = (_LIST if op is Op.LIST else _PROBE).decode(body)
    return Request(op=op, argument=argument)


def encode_reply(op: Op, reply: Reply) -> bytes:
    """The answer to a request of `op`."""
    if isinstance(reply, Failure):
        return encode_failure(op, reply)
    if isinstance(reply, CredentialGrant):
        body = _encode_grant(reply)
    elif isinstance(reply, LoginGrant):
        body = _LOGIN_GRANT.encode(reply.content)
    elif isinstance(reply, Listing):
        body = _LISTING.encode([entry_items(entry) for entry in reply.entries], reply.following)
    elif isinstance(reply, Reported | Renewed | Forgotten):
        body = encode_outcome(reply)
    else:
        body = _encode_status(reply) if isinstance(reply, Status) else _EMPTY.encode()
    return _REPLY.encode(VERSION, _OK, int(op), body)


def encode_failure(op: int, failure: Failure) -> bytes:
    """The answer when there is no other; `op` 0 when the request was not understood."""
    body = _FAILURE.encode(*failure_items(failure))
    return _REPLY.encode(VERSION, _ERROR, int(op), body)


def decode_reply(op: Op, message: bytes) -> Reply:
    """The answer to a request of `op`. Raises Malformed, also for an answer to another operation."""
    _version, status, answered, body = _REPLY.decode(message)
    if status == _ERROR:
        return failure_of(_FAILURE.decode(body))
    if answered != op:
        raise Malformed("a local reply to another operation")
    if op in (Op.TICKET, Op.TOKEN, Op.RECEIVE):
        return _decode_grant(body)
    if op is Op.LOGIN:
        (content,) = _LOGIN_GRANT.decode(body)
        return LoginGrant(content=content)
    if op is Op.LIST:
        rows, following = _LISTING.decode(body)
        return Listing(entries=tuple(entry_of(row) for row in rows), following=following)
    if op is Op.STATUS:
        return _decode_status(body)
    if op > Op.LOGIN:
        return decode_outcome(op, body)
    _EMPTY.decode(body)
    return Pong()


def _split(offset_ms: int) -> tuple[int, int]:
    # Integers on the wire are never negative: ahead and behind are two fields, of which one is zero.
    return max(offset_ms, 0), max(-offset_ms, 0)


def _encode_grant(grant: CredentialGrant) -> bytes:
    credential = grant.credential
    return _GRANT.encode(
        *credential.to_items(round(credential.life.boot_end * 1000)),
        credential.flags,
        credential.kvno,
        [note.to_items() for note in credential.notes],
        grant.fresh_ms,
        *_split(grant.offset_ms),
        None if grant.sender is None else [grant.sender.realm, grant.sender.name],
    )


def _decode_grant(body: bytes) -> CredentialGrant:
    *items, flags, kvno, notes, fresh_ms, ahead_ms, behind_ms, sender = _GRANT.decode(body)
    return CredentialGrant(
        credential=Credential.of_items(items, Life.left, flags=flags, kvno=kvno, notes=notes),
        fresh_ms=fresh_ms,
        offset_ms=ahead_ms - behind_ms,
        sender=None if sender is None else cached_principal(*sender),
    )


def _encode_status(status: Status) -> bytes:
    kdcs = [[line.address, line.good_age_s, plain_words(line.failure or "")] for line in status.kdcs]
    return _STATUS.encode(
        status.client.realm,
        status.client.name,
        status.uid,
        status.kvno,
        status.newest_kvno,
        plain_words(status.code or ""),
        plain_words(status.detail or ""),
        status.tgt_remaining_s,
        status.cached,
        *_split(status.offset_ms),
        kdcs,
        status.uptime_s,
        status.version,
        None if status.login_file is None else plain_words(status.login_file),
    )


def _decode_status(body: bytes) -> Status:
    (
        realm,
        name,
        uid,
        kvno,
        newest_kvno,
        code,
        detail,
        tgt_remaining_s,
        cached,
        ahead_ms,
        behind_ms,
        kdcs,
        uptime_s,
        version,
        login_file,
    ) = _STATUS.decode(body)
    return Status(
        client=Principal(realm, name),
        uid=uid,
        kvno=kvno,
        newest_kvno=newest_kvno,
        code=code,
        detail=detail,
        tgt_remaining_s=tgt_remaining_s,
        cached=cached,
        offset_ms=ahead_ms - behind_ms,
        kdcs=tuple(KdcLine(*line) for line in kdcs),
        uptime_s=uptime_s,
        version=version,
        login_file=login_file,
    )
