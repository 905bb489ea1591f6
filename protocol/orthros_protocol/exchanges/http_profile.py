"""Orthros in HTTP: what an AP-REQ of use 1 is bound to, its header, and the proof on the response.

The problem. An HTTP request is taken apart and put together again on its way: names of headers change their case, hosts
lose their port, paths are decoded, bodies are chunked. What is signed must be what the application acts on, and it must
survive what honest proxies do; and a response must be believed only if it answers this request.

The mechanism. The AP-REQ carries one digest, `bind`: of method, scheme, authority with its port, the raw request
target, the covered headers by name and value in the order that the `Authorization` header names, and the
`Content-Digest` field. The body is bound through that field (RFC 9530), not directly: so a request can be refused, or
judged by a proxy that never sees the body, before the body is read, and the digest is compared while the body streams
by. The answer carries `Orthros-Reply`: status, covered headers and the body's digest, under a MAC that includes the
hash of the request.

A client acts on a refusal only under such a MAC. A 401 that anybody on the way could have made changes nothing: no
epoch is learnt, no clock corrected, no ticket dropped.

Rejected: a canonical form of the whole request (each proxy has its own); covering all headers (proxies add and change
them); the body inside `bind` (nothing could be refused before the last byte); HTTP Message Signatures of RFC 9421 as
the main form (its component language lets the sender choose what is covered; the profile beside it is a leaf,
`orthros_client.http.message_signatures`).

What would break it: an application that reads a header which is not covered; two spellings of one header, of which the
verifier reads the other one; an authority that is taken from the request instead of the configuration.

Pure functions of strings and bytes; knows no framework, no socket and no policy about which headers matter. Structured
text is parsed whole or not at all (docs/protocol/http.md).
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from typing import Any, Final

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved
from orthros_protocol.exchanges.ap_exchange import USE_HTTP, ApSigned, PendingAp
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import digest, mac, mac_matches, require_mac
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_AP_REQUEST_BYTES
from orthros_protocol.primitives.messages import VERSION
from orthros_protocol.primitives.names import check_list, is_name
from orthros_protocol.primitives.schema import (
    Message,
    Record,
    adapted,
    array,
    binary,
    const,
    instant,
    integer,
    message,
    optional,
    record_of,
    text,
)

__all__ = [
    "MAX_COVERED",
    "SAFE_METHODS",
    "HttpAuthorization",
    "HttpBinding",
    "HttpChallenge",
    "HttpReply",
    "HttpResponse",
    "canonical_authority",
    "decode_base64url",
    "encode_base64url",
    "format_authorization",
    "format_challenge",
    "format_content_digest",
    "open_http_reply",
    "parse_authorization",
    "parse_challenge",
    "parse_content_digest",
    "peek_unverified_reply",
    "seal_http_reply",
]

MAX_COVERED: Final = 16
"""Headers that one request or response may cover."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""RFC 9110, section 9.2.1."""

_MOST_TARGET_BYTES: Final = 8192
_MOST_VALUE_BYTES: Final = 8192
_PROFILE = re.compile(r"http/1", re.ASCII)
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}", re.ASCII)
_SCHEME = re.compile(r"https?", re.ASCII)
_AUTHORITY = re.compile(r"(?:[a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\]):[1-9][0-9]{0,4}", re.ASCII)
_LOOSE_AUTHORITY = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::([1-9][0-9]{0,4}))?", re.ASCII)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,64}", re.ASCII)
_PORTS: Final = {"http": 80, "https": 443}
_MOST_PORT: Final = 65_535
_MOST_PROOF_BYTES: Final = 4096
_REPLY_LABEL: Final = "http-rep"

_B64 = "[A-Za-z0-9_-]"
_CODE = "[a-z0-9-]{1,64}"
_AUTHORIZATION = re.compile(rf'(?i:Orthros) v=1, h="([^"\x00-\x1f]*)", r="({_B64}+)"', re.ASCII)
_REPLY_HEADER = re.compile(rf"s=({_B64}+), m=({_B64}+)", re.ASCII)
_CHALLENGE = re.compile(
    rf'(?i:Orthros) realm="([a-z0-9._/-]{{1,128}})"(?:, err="({_CODE})"(?:, s="({_B64}+)", m="({_B64}+)")?)?',
    re.ASCII,
)
_CONTENT_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):", re.ASCII)
_MOST_HEADER_CHARS: Final = 4 * MAX_AP_REQUEST_BYTES // 3 + 2048
_MOST_PROOF_CHARS: Final = 4 * _MOST_PROOF_BYTES // 3 + 512


@message("covered", kw_only=False)
class _Covered(Record):
    name: str = text(_HEADER_NAME)
    value: bytes = binary(0, _MOST_VALUE_BYTES)


def _covered_in(rows: list[Any]) -> tuple[tuple[str, bytes], ...]:
    return tuple([(name, value) for name, value in rows])


def _as_covered(covered: Sequence[tuple[str, bytes]]) -> list[Any]:
    return [list(one) for one in covered]


@message("http/1 binding", eq=True)
class HttpBinding(Message):
    """What an AP-REQ in HTTP is for. Nothing else may be done with it.

    `authority` is lower-case with its port, `target` the raw request-target (path and query as sent), `covered` the
    covered headers as (lower-case name, value) in the order of `h`, `content_digest` the value of that header.
    """

    profile: str = text(_PROFILE, default="http/1", repr=False)
    method: str = text(_METHOD)
    scheme: str = text(_SCHEME)
    authority: str = text(_AUTHORITY, 300)
    target: bytes = binary(1, _MOST_TARGET_BYTES)
    covered: tuple[tuple[str, bytes], ...] = adapted(
        array(record_of(_Covered), MAX_COVERED), _covered_in, _as_covered, default=()
    )
    content_digest: bytes | None = optional(binary(1, 128), default=None)

    def bind(self) -> bytes:
        """bind32 = H(enc("http/1", method, scheme, authority, target, covered, content_digest | nil)).

        Raises Malformed for a part that no well-formed request has: the target asks with what it received.
        """
        try:
            encoded = self.encode()
        except LocalMisuse as error:
            raise Malformed(error.detail) from None
        _check_covered([name for name, _value in self.covered])
        if int(self.authority.rpartition(":")[2]) > _MOST_PORT:
            raise Malformed("a port above 65535")
        if self.content_digest is not None:
            parse_content_digest(self.content_digest)
        return digest(encoded)


@frozen
class HttpAuthorization:
    """A parsed `Authorization: Orthros` header: the names it covers and the AP-REQ. Nothing in it is true yet."""

    covered: tuple[str, ...]
    message: bytes = field(repr=False)


@frozen(kw_only=True)
class HttpResponse:
    """A response as its head says it: `headers` are (lower-case name, value) in order."""

    status: int
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)

    def values_of(self, name: str) -> list[bytes]:
        """Every value of this header, in order."""
        return [value for known, value in self.headers if known == name]


@message("HTTP reply", limit=_MOST_PROOF_BYTES, eq=True)
class HttpReply(Message):
    """A proven response head. `body_digest` is the SHA-256 of the body, None when the body is not covered."""

    version: int = const(VERSION)
    target_time: Timestamp = instant()
    epoch: bytes = binary(8)
    status: int = integer(999, 100)
    covered: tuple[str, ...] = array(text(_HEADER_NAME), MAX_COVERED)
    values_digest: bytes = binary(32)
    body_digest: bytes | None = optional(binary(32))


@frozen
class HttpChallenge:
    """A parsed `WWW-Authenticate: Orthros` header. `reply` is the AP-ERR to verify; without it nothing is proven."""

    realm: str
    code: str | None
    reply: bytes | None = field(repr=False)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise LocalMisuse("value-invalid", otherwise)


def canonical_authority(text: str, scheme: str) -> str:
    """`host:port`, lower-case, the port explicit: 80 for http and 443 for https. Raises Malformed."""
    found = _LOOSE_AUTHORITY.fullmatch(text)
    if found is None or scheme not in _PORTS or int(found[2] or 1) > _MOST_PORT:
        raise Malformed("not a host, or not a port, or neither http nor https")
    return f"{found[1].lower()}:{found[2] or _PORTS[scheme]}"


def encode_base64url(data: bytes) -> str:
    """Base64url without padding (RFC 4648, section 5)."""
    return urlsafe_b64encode(data).decode("ascii").rstrip("=")


def decode_base64url(text: str) -> bytes:
    """The bytes of base64url without padding; raises Malformed for garbage, padding and stray bits."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError):
        raise Malformed("not base64url") from None
    if encode_base64url(data) != text:
        raise Malformed("not base64url in its one form")
    return data


def _check_covered(names: Sequence[str]) -> None:
    check_list(names, "covered")
    if len(names) > MAX_COVERED or len(set(names)) != len(names):
        raise Malformed(f"more than {MAX_COVERED} covered headers, or one of them twice")
    if not all(_HEADER_NAME.fullmatch(name) for name in names):
        raise Malformed("a covered header is not named in lower case")


def format_authorization(message: bytes, covered: Sequence[str] = ()) -> str:
    """The value of the `Authorization` header for an AP-REQ that covers these headers, in this order.

    Raises LocalMisuse for what `parse_authorization` would not read.
    """
    _require(1 <= len(message) <= MAX_AP_REQUEST_BYTES, "an AP-REQ of this size")
    try:
        _check_covered(covered)
    except Malformed as error:
        raise LocalMisuse("value-invalid", error.detail) from None
    return f'Orthros v=1, h="{";".join(covered)}", r="{encode_base64url(message)}"'


def parse_authorization(value: str) -> HttpAuthorization:
    """The parts of an `Authorization: Orthros` header. Raises Malformed for anything but the one form."""
    found = _AUTHORIZATION.fullmatch(value) if len(value) <= _MOST_HEADER_CHARS else None
    if found is None:
        raise Malformed("the Authorization header is not in the form of Orthros v=1")
    covered = tuple(found[1].split(";")) if found[1] else ()
    _check_covered(covered)
    message = decode_base64url(found[2])
    if len(message) > MAX_AP_REQUEST_BYTES:
        raise Malformed(f"an AP-REQ of more than {MAX_AP_REQUEST_BYTES} bytes")
    return HttpAuthorization(covered, message)


def format_content_digest(sha256: bytes) -> bytes:
    """The value of the `Content-Digest` header for this SHA-256 (RFC 9530, section 2). Raises LocalMisuse."""
    _require(len(sha256) == 32, "a SHA-256 of another size")
    return b"sha-256=:" + b64encode(sha256) + b":"


def parse_content_digest(value: bytes) -> bytes:
    """The SHA-256 in a `Content-Digest` header, 32 bytes. Raises Malformed unless it is that one digest, alone."""
    found = _CONTENT_DIGEST.fullmatch(value.decode("latin-1"))
    sha256 = b64decode(found[1]) if found is not None else b""
    # b64decode ignores stray bits; only what it would have written itself is the one form.
    if len(sha256) != 32 or format_content_digest(sha256) != value:
        raise Malformed("Content-Digest is not exactly one sha-256 digest")
    return sha256


def _values_digest(covered: Sequence[str], response: HttpResponse) -> bytes:
    """H over the values of the covered headers; a header that occurs twice or not at all cannot be covered."""
    _check_covered(covered)
    values = []
    for name in covered:
        found = response.values_of(name)
        if len(found) != 1:
            raise Malformed(f"the covered header {name} occurs {len(found)} times")
        values += found
    return digest(encode(*values))


def seal_http_reply(
    pop_key: bytes,
    request: bytes,
    response: HttpResponse,
    *,
    covered: Sequence[str],
    body_digest: bytes | None,
    now: Timestamp,
    epoch: bytes,
) -> str:
    """The value of the `Orthros-Reply` header: the target's proof of itself and of this response.

    `request` is the whole AP-REQ that was accepted; `body_digest` the SHA-256 of the content as it is sent, None
    when it is not known beforehand. Raises LocalMisuse, also when a covered header is not there exactly once.
    """
    try:
        values = _values_digest(covered, response)
    except Malformed as error:
        raise LocalMisuse("value-invalid", error.detail) from None
    reply = HttpReply(
        target_time=now,
        epoch=epoch,
        status=response.status,
        covered=tuple(covered),
        values_digest=values,
        body_digest=body_digest,
    )
    body = reply.encode()
    proof = mac(pop_key, _REPLY_LABEL, digest(request) + body)
    return f"s={encode_base64url(body)}, m={encode_base64url(proof)}"


def open_http_reply(pending: PendingAp, value: str, response: HttpResponse) -> HttpReply:
    """The proven head of the response to `pending`.

    Raises PeerMisbehaved (`wrong-mac`, `reply-mismatch`) or Malformed for a header that does not prove it, and
    LocalMisuse for a request that was not made for HTTP.
    """
    _require(pending.request.use == USE_HTTP, "a request that was not made for HTTP")
    body, proof = _reply_parts(value)
    require_mac(pending.pop_key, _REPLY_LABEL, pending.context + body, proof)
    reply = HttpReply.decode(body)
    if reply.status != response.status:
        raise PeerMisbehaved("reply-mismatch", f"status {response.status}, but the target answered {reply.status}")
    if not mac_matches(reply.values_digest, _values_digest(reply.covered, response)):
        raise PeerMisbehaved("reply-mismatch", "a covered header has been changed")
    return reply


def peek_unverified_reply(value: str) -> HttpReply:
    """What an `Orthros-Reply` header says; nothing in it is verified. Raises Malformed."""
    return HttpReply.decode(_reply_parts(value)[0])


def _reply_parts(value: str) -> tuple[bytes, bytes]:
    found = _REPLY_HEADER.fullmatch(value) if len(value) <= _MOST_PROOF_CHARS else None
    if found is None:
        raise Malformed("Orthros-Reply is not in its form")
    return decode_base64url(found[1]), decode_base64url(found[2])


def format_challenge(realm: str, code: str | None = None, reply: bytes | None = None) -> str:
    """The value of `WWW-Authenticate`. `code` is why, `reply` the AP-ERR when a key was proven.

    Raises LocalMisuse for a realm that is no canonical name, for what is no code, and for a reply without one.
    """
    _require(is_name(realm), "a realm that is not a canonical name")
    _require(code is None or re.fullmatch(_CODE, code) is not None, "an error code that is none")
    challenge = f'Orthros realm="{realm}"'
    if code is None:
        _require(reply is None, "an AP-ERR without its code")
        return challenge
    challenge += f', err="{code}"'
    if reply is None:
        return challenge
    signed = ApSigned.decode(reply)
    _require(len(signed.body) <= _MOST_PROOF_BYTES, "an AP-ERR of this size")
    return f'{challenge}, s="{encode_base64url(signed.body)}", m="{encode_base64url(signed.mac)}"'


def parse_challenge(value: str) -> HttpChallenge:
    """The parts of one `WWW-Authenticate: Orthros` value. Raises Malformed."""
    found = _CHALLENGE.fullmatch(value) if len(value) <= _MOST_PROOF_CHARS else None
    if found is None or not is_name(found[1]):
        raise Malformed("WWW-Authenticate is not in the form of Orthros")
    reply = None
    if found[3] is not None:
        body, proof = decode_base64url(found[3]), decode_base64url(found[4])
        if len(proof) != 32 or not 4 <= len(body) <= _MOST_PROOF_BYTES:
            raise Malformed("WWW-Authenticate carries no MAC")
        reply = ApSigned(body=body, mac=proof).encode()
    return HttpChallenge(found[1], found[2], reply)
