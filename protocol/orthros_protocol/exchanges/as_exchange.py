"""The initial exchange: a principal proves its long-lived key and gets a ticket for the KDC.

Both halves of AS-REQ, AS-REP and AS-ERR. The request's MAC is the pre-authentication; the whole reply,
ticket included, is one box bound to the hash of the whole request. Knows no policy, store or socket.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.keys.role_keys import AsKey
from orthros_protocol.primitives.derivation import digest, mac, require_mac
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES, MAX_TICKET_BYTES, MAX_U32
from orthros_protocol.primitives.messages import (
    AS_REQ,
    UNSIGNED,
    VERSION,
    Signed,
    open_reply_box,
    outer_reply,
    parse_signed,
    seal_error,
)
from orthros_protocol.primitives.names import KDC_TGT, Principal, cached_principal, is_name
from orthros_protocol.primitives.schema import (
    Extension,
    Message,
    Record,
    binary,
    const,
    extensions,
    instant,
    integer,
    message,
    record_of,
    secret,
    text,
)
from orthros_protocol.primitives.sealing import seal
from orthros_protocol.primitives.secrets import not_exported
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

_KNOWN_REQUEST_FLAGS: Final = 0


@message("AS-REQ", limit=4096)
class UnverifiedAsRequest(Message):
    """An AS-REQ whose shape is right. Nothing in it is true before `verify_as_request`."""

    version: int = const(VERSION)
    kind: int = const(AS_REQ)
    realm: str = text(is_name)
    kid: bytes = binary(8)
    nonce: bytes = binary(16)
    ts: Timestamp = instant()
    service: str = text(is_name)
    ttl_s: int = integer(MAX_U32)
    flags: int = integer(MAX_U32, default=0)
    instance: bytes = binary(16)
    crit: tuple[Extension, ...] = extensions(default=())
    opt: tuple[Extension, ...] = extensions(default=())
    signed: Signed = field(default=UNSIGNED, repr=False)


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
class InitialTicket:
    """What the KDC hands to a client that logged in: a ticket, its key, and its life in seconds."""

    ticket: bytes = field(repr=False)
    session_key: bytes = field(repr=False)
    ttl_s: int
    flags: int

    __getstate__ = not_exported


@frozen(eq=False, kw_only=True)
class PendingAs:
    """What the client keeps until the reply arrives. `message` is what to send."""

    message: bytes
    nonce: bytes
    service: str
    context: bytes = field(repr=False)


@message("sealed for", eq=True, kw_only=False)
class SealedFor(Record):
    """Whose key a ticket is sealed under."""

    ticket_type: int = integer(SERVICE_TICKET, TGT)
    realm: str = text(is_name)
    service: str = text(is_name)


@message("AS-REP", limit=MAX_FRAME_BYTES)
class AsReply(Message):
    """An opened AS-REP. `ttl_s` counts from the reception; `kdc_time` may teach the offset."""

    nonce: bytes = binary(16)
    kdc_time: Timestamp = instant()
    kdc_id: str = text(is_name)
    sealed_for: SealedFor = record_of(SealedFor)
    client_name: str = text(is_name)
    client_uid: int = integer()
    ticket: bytes = binary(16, MAX_TICKET_BYTES, repr=False)
    session_key: bytes = secret(32)
    ttl_s: int = integer(MAX_U32)
    flags: int = integer(MAX_U32)
    newest_kvno: int = integer(MAX_U32, 1)
    opt: tuple[Extension, ...] = extensions(default=())

    @property
    def client(self) -> Principal:
        """The client, which is of the realm of the service."""
        return cached_principal(self.sealed_for.realm, self.client_name)

    @property
    def service(self) -> str:
        """The service of the KDC that the ticket is for."""
        return self.sealed_for.service


def build_as_request(
    key: AsKey, *, service: str, ttl_s: int, instance: bytes, now: Timestamp, nonce: bytes
) -> PendingAs:
    """AS-REQ for one of kdc/tgt, kdc/keys, kdc/admin.

    `ttl_s` is the wanted life in seconds (0: as long as allowed), `instance` 16 bytes that name this
    process, `nonce` 16 fresh random bytes. Raises LocalMisuse.
    """
    request = UnverifiedAsRequest(
        realm=key.principal.realm,
        kid=key.kid,
        nonce=nonce,
        ts=now,
        service=service,
        ttl_s=ttl_s,
        instance=instance,
    )
    body = request.encode()
    message = Signed(body=body, mac=mac(key.material, "as-req", body)).encode()
    return PendingAs(message=message, nonce=nonce, service=service, context=digest(message))


def parse_as_request(signed: Signed | bytes) -> UnverifiedAsRequest:
    """The shape of an AS-REQ, to find its key by kid. Raises Malformed."""
    if isinstance(signed, bytes):
        signed = parse_signed(signed)
    return UnverifiedAsRequest.decode(signed.body, signed=signed)


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
    if request.crit:
        raise Refused("unsupported-critical", f"extension {request.crit[0][0]}")


def seal_as_reply(
    request: AsRequest, issued: InitialTicket, *, newest_kvno: int, kdc_id: str, now: Timestamp, entropy: bytes
) -> bytes:
    """AS-REP to `request`. `entropy` is 24 fresh random bytes."""
    header = peek_unverified_header(issued.ticket)
    client = request.key.principal
    reply = AsReply(
        nonce=request.nonce,
        kdc_time=now,
        kdc_id=kdc_id,
        sealed_for=SealedFor(header.ticket_type, client.realm, request.service),
        client_name=client.name,
        client_uid=request.key.uid,
        ticket=issued.ticket,
        session_key=issued.session_key,
        ttl_s=issued.ttl_s,
        flags=issued.flags,
        newest_kvno=newest_kvno,
    )
    body = reply.encode()
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
    reply = AsReply.decode(plain)
    expected = SealedFor(TGT if pending.service == KDC_TGT else SERVICE_TICKET, key.principal.realm, pending.service)
    if reply.nonce != pending.nonce or reply.sealed_for != expected:
        raise PeerMisbehaved("reply-mismatch", "it names another request or service")
    if (reply.client_name, reply.client_uid) != (key.principal.name, key.uid):
        raise PeerMisbehaved("reply-mismatch", "it names another client")
    check_flags(reply.flags, KNOWN_FLAGS)
    if peek_unverified_header(reply.ticket).ticket_type != expected.ticket_type:
        raise Malformed("the ticket is of another type than the reply says")
    return reply
