"""The initial exchange: a principal proves its long-lived key and gets a ticket for the KDC.

Both halves of AS-REQ, AS-REP and AS-ERR. The request's MAC is the pre-authentication; the whole reply,
ticket included, is one box bound to the hash of the whole request. Knows no policy, store or socket.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.keys.role_keys import AsKey, not_exported
from orthros_protocol.primitives.canonical import Schema, binary, const, extensions, integer, nested, text
from orthros_protocol.primitives.derivation import digest, mac, require_mac
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES, MAX_TICKET_BYTES, MAX_U32
from orthros_protocol.primitives.messages import (
    AS_REQ,
    VERSION,
    Signed,
    join_signed,
    open_reply_box,
    outer_reply,
    parse_signed,
    seal_error,
)
from orthros_protocol.primitives.names import KDC_TGT, Principal, is_name
from orthros_protocol.primitives.sealing import seal
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code
from orthros_protocol.tickets.ticket import KNOWN_FLAGS, SERVICE_TICKET, TGT, check_flags, peek_unverified_header

__all__ = [
    "AsReply",
    "AsRequest",
    "PendingAs",
    "UnverifiedAsRequest",
    "build_as_request",
    "check_as_extensions",
    "open_as_reply",
    "parse_as_request",
    "seal_as_error",
    "seal_as_reply",
    "verify_as_request",
]

_REQUEST: Final = Schema(
    "AS-REQ",
    const(VERSION),
    const(AS_REQ),
    text(is_name),
    binary(8),
    binary(16),
    integer(),
    text(is_name),
    integer(MAX_U32),
    integer(MAX_U32),
    binary(16),
    extensions(),
    extensions(),
    limit=4096,
)
_REPLY: Final = Schema(
    "AS-REP",
    binary(16),
    integer(),
    text(is_name),
    nested(integer(SERVICE_TICKET, TGT), text(is_name), text(is_name)),
    text(is_name),
    integer(),
    binary(16, MAX_TICKET_BYTES),
    binary(32),
    integer(MAX_U32),
    integer(MAX_U32),
    integer(MAX_U32, 1),
    extensions(),
    limit=MAX_FRAME_BYTES,
)
_KNOWN_REQUEST_FLAGS: Final = 0


@frozen(eq=False, kw_only=True)
class UnverifiedAsRequest:
    """An AS-REQ whose shape is right. Nothing in it is true before `verify_as_request`."""

    realm: str
    kid: bytes
    nonce: bytes
    ts: Timestamp
    service: str
    ttl_s: int
    flags: int
    instance: bytes
    critical: tuple[int, ...]
    signed: Signed = field(repr=False)


@frozen(eq=False, kw_only=True)
class AsRequest:
    """An AS-REQ that the holder of `key` made. Only `verify_as_request` builds one."""

    key: AsKey
    nonce: bytes
    ts: Timestamp
    service: str
    ttl_s: int
    instance: bytes
    context: bytes = field(repr=False)
    replay_tag: bytes = field(repr=False)


@frozen(eq=False, kw_only=True)
class PendingAs:
    """What the client keeps until the reply arrives. `message` is what to send."""

    message: bytes
    nonce: bytes
    service: str
    context: bytes = field(repr=False)


@frozen(eq=False, kw_only=True)
class AsReply:
    """An opened AS-REP. `ttl_s` counts from the reception; `kdc_time` may teach the offset."""

    kdc_time: Timestamp
    kdc_id: str
    ticket: bytes = field(repr=False)
    session_key: bytes = field(repr=False)
    ttl_s: int
    flags: int
    client: Principal
    client_uid: int
    service: str
    newest_kvno: int

    __getstate__ = not_exported


def build_as_request(
    key: AsKey, *, service: str, ttl_s: int, instance: bytes, now: Timestamp, nonce: bytes
) -> PendingAs:
    """AS-REQ for one of kdc/tgt, kdc/keys, kdc/admin.

    `ttl_s` is the wanted life in seconds (0: as long as allowed), `instance` 16 bytes that name this
    process, `nonce` 16 fresh random bytes. Raises LocalMisuse.
    """
    body = _REQUEST.encode(
        VERSION, AS_REQ, key.principal.realm, key.kid, nonce, now, service, ttl_s, 0, instance, [], []
    )
    message = join_signed(body, mac(key.material, "as-req", body))
    return PendingAs(message=message, nonce=nonce, service=service, context=digest(message))


def parse_as_request(signed: Signed | bytes) -> UnverifiedAsRequest:
    """The shape of an AS-REQ, to find its key by kid. Raises Malformed."""
    if isinstance(signed, bytes):
        signed = parse_signed(signed)
    _version, _kind, realm, kid, nonce, ts, service, ttl_s, flags, instance, crit, _opt = _REQUEST.decode(signed.body)
    return UnverifiedAsRequest(
        realm=realm,
        kid=kid,
        nonce=nonce,
        ts=Timestamp(ts),
        service=service,
        ttl_s=ttl_s,
        flags=flags,
        instance=instance,
        critical=tuple(entry[0] for entry in crit),
        signed=signed,
    )


def verify_as_request(request: UnverifiedAsRequest, key: AsKey) -> AsRequest:
    """The request, once its MAC proved possession of `key`.

    Raises PeerMisbehaved (`unknown-key`, `wrong-mac`), which must be answered by a NAK. Its flags and
    extensions are judged by `check_as_extensions`, after this, so that the refusal can be sealed.
    """
    if key.kid != request.kid or key.principal.realm != request.realm:
        raise PeerMisbehaved("unknown-key", f"kid {request.kid.hex()}")
    require_mac(key.material, "as-req", request.signed.body, request.signed.mac)
    return AsRequest(
        key=key,
        nonce=request.nonce,
        ts=request.ts,
        service=request.service,
        ttl_s=request.ttl_s,
        instance=request.instance,
        context=digest(request.signed.whole),
        replay_tag=request.signed.mac[:16],
    )


def check_as_extensions(request: UnverifiedAsRequest) -> None:
    """Raises Refused `unsupported-critical` for a flag or extension that this version must not ignore."""
    check_flags(request.flags, _KNOWN_REQUEST_FLAGS)
    if request.critical:
        raise Refused("unsupported-critical", f"extension {request.critical[0]}")


def seal_as_reply(
    request: AsRequest,
    *,
    ticket: bytes,
    session_key: bytes,
    ttl_s: int,
    flags: int,
    newest_kvno: int,
    kdc_id: str,
    now: Timestamp,
    entropy: bytes,
) -> bytes:
    """AS-REP to `request`. `entropy` is 24 fresh random bytes."""
    header = peek_unverified_header(ticket)
    client = request.key.principal
    body = _REPLY.encode(
        request.nonce,
        now,
        kdc_id,
        [header.ticket_type, client.realm, request.service],
        client.name,
        request.key.uid,
        ticket,
        session_key,
        ttl_s,
        flags,
        newest_kvno,
        [],
    )
    return outer_reply(seal(request.key.reply_key, "as-rep", request.context, body, entropy=entropy))


def seal_as_error(
    request: AsRequest, code: Code | Reason, *, now: Timestamp, entropy: bytes, retry_s: int = 0, detail: str = ""
) -> bytes:
    """AS-ERR to `request`. Exists only for verified requests: nobody else gets a reason."""
    return seal_error(
        request.key.error_key,
        "as-err",
        request.context,
        code,
        now=now,
        retry_s=retry_s,
        detail=detail,
        entropy=entropy,
    )


def open_as_reply(pending: PendingAs, key: AsKey, data: bytes) -> AsReply:
    """The reply to `pending`, checked against everything that was asked.

    Raises KdcRefusal, PeerMisbehaved (`unauthenticated-refusal`, `reply-mismatch`), Malformed, or Refused
    `unsupported-critical` for a flag that this version must not ignore.
    """
    plain = open_reply_box(
        data,
        reply_key=key.reply_key,
        reply_label="as-rep",
        error_key=key.error_key,
        error_label="as-err",
        context=pending.context,
    )
    nonce, kdc_time, kdc_id, sealed_for, cname, cuid, ticket, session_key, ttl_s, flags, newest, _opt = _REPLY.decode(
        plain
    )
    expected_type = TGT if pending.service == KDC_TGT else SERVICE_TICKET
    if nonce != pending.nonce or sealed_for != [expected_type, key.principal.realm, pending.service]:
        raise PeerMisbehaved("reply-mismatch", "it names another request or service")
    if (cname, cuid) != (key.principal.name, key.uid):
        raise PeerMisbehaved("reply-mismatch", "it names another client")
    check_flags(flags, KNOWN_FLAGS)
    if peek_unverified_header(ticket).ticket_type != expected_type:
        raise Malformed("the ticket is of another type than the reply says")
    return AsReply(
        kdc_time=Timestamp(kdc_time),
        kdc_id=kdc_id,
        ticket=ticket,
        session_key=session_key,
        ttl_s=ttl_s,
        flags=flags,
        client=key.principal,
        client_uid=cuid,
        service=pending.service,
        newest_kvno=newest,
    )
