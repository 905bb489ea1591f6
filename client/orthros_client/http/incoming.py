"""An HTTP request as a server received it, and the strict reading of its head: target, host, body, peer.

Values and pure functions; knows no framework, and believes no header about where the request came from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from attrs import field, frozen

from orthros_client.http.tracing import TRACEPARENT
from orthros_protocol import (
    Address,
    HttpBinding,
    LocalMisuse,
    Malformed,
    Misconfigured,
    canonical_authority,
    canonical_path,
    parse_address,
    parse_content_digest,
)
from orthros_protocol.access import Network, canonical_network

__all__ = [
    "IncomingRequest", "OwnOrigins", "Sent", "binding_of", "check_networks", "one_value", "peer_of", "read_path",
    "read_sent",
]  # fmt: skip

_TARGET = re.compile(rb"/[\x21-\x7e]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
# Each of them makes some framework or proxy act on another method or path than the one that is bound.
_OVERRIDES: Final = (
    "x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url",
    "script-name", "path-info",
)  # fmt: skip
_SCHEMES: Final = ("https", "http")


@frozen(kw_only=True)
class IncomingRequest:
    """One request head. `headers` are (lower-case name, value) in order, as received.

    `target` is the raw request-target as sent, None when the server does not tell; `decoded_path` the path that the
    application will route by, None when unknown. `transport_peer` is the address of the connection's other end as
    text, empty on a Unix socket; `channel` 32 bytes that name the connection, None without; `is_probe` says that
    the self-test asks, which is not worth a log line.
    """

    method: str
    target: bytes | None
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)
    decoded_path: str | None = None
    transport_peer: str = ""
    channel: bytes | None = field(default=None, repr=False)
    is_probe: bool = False
    _by_name: dict[str, list[bytes]] = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        by_name: dict[str, list[bytes]] = {}
        for name, value in self.headers:
            # As in CGI, where many applications look: there `x_tenant` is `x-tenant`.
            by_name.setdefault(name.replace("_", "-"), []).append(value)
        object.__setattr__(self, "_by_name", by_name)

    def values_of(self, name: str) -> list[bytes]:
        """Every value of this header, in order, whether it is spelled with `-` or with `_`."""
        return self._by_name.get(name.replace("_", "-"), [])

    @property
    def traceparent(self) -> str | None:
        """What it says of its trace, if it says so once (W3C Trace Context, section 3.2): decides nothing."""
        values = self.values_of(TRACEPARENT)
        return values[0].decode("latin-1") if len(values) == 1 else None


@frozen(kw_only=True)
class Sent:
    """What the head says of the body. `length` None: its end is not known beforehand, or there is none."""

    length: int | None
    chunked: bool
    content_digest: bytes | None
    sha256: bytes | None

    @property
    def has_body(self) -> bool:
        """Whether a body is announced."""
        return self.chunked or bool(self.length)


class OwnOrigins:
    """The names that this service answers to, from its configuration: `https://orders.example`, ...

    Raises Misconfigured for none, for what is no origin, and for two between which a Host header cannot decide.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._by_scheme: dict[str, set[str]] = {scheme: set() for scheme in _SCHEMES}
        known = list(origins)
        for origin in known:
            scheme, found, authority = origin.partition("://")
            if not found or scheme not in self._by_scheme:
                raise Misconfigured("config-invalid", f"{origin[:80]!r} is not an origin such as https://host:port")
            try:
                self._by_scheme[scheme].add(canonical_authority(authority, scheme))
            except Malformed:
                raise Misconfigured("config-invalid", f"{origin[:80]!r} is not an origin") from None
        if not known:
            raise Misconfigured("config-invalid", "name the origins of this service, such as https://orders.example")
        self.hosts = tuple(origin.partition("://")[2] for origin in known)
        for authority in (each for authorities in self._by_scheme.values() for each in authorities):
            for spelled in (authority, authority.rpartition(":")[0]):
                if len(self._meanings(spelled)) > 1:
                    raise Misconfigured("config-invalid", f"Host: {spelled} could mean http and https")

    def _meanings(self, host: str) -> list[tuple[str, str]]:
        found = []
        for scheme, authorities in self._by_scheme.items():
            authority = canonical_authority(host, scheme)
            if authority in authorities:
                found.append((scheme, authority))
        return found

    def find(self, request: IncomingRequest) -> tuple[str, str]:
        """Scheme and authority of the own origin that the Host header names. Raises Malformed for another one."""
        host = one_value(request, "host")
        found = [] if host is None else self._meanings(host.decode("latin-1"))
        if not found:
            raise Malformed("the Host header names no origin of this service")
        return found[0]


def one_value(request: IncomingRequest, name: str) -> bytes | None:
    """The value of a header that may occur once. Raises Malformed when it occurs more often."""
    values = request.values_of(name)
    if len(values) > 1:
        raise Malformed(f"the header {name} occurs {len(values)} times")
    return values[0] if values else None


def read_path(request: IncomingRequest) -> tuple[str, tuple[str, ...]]:
    """The raw path and its segments.

    Raises Malformed for headers that put another method or path in the place of what was sent, for a target that is
    not in origin-form (RFC 9112, section 3.2.1), for a path that could be read in two ways and for one that the
    application would read in another; Misconfigured when there is no raw one.
    """
    for name in _OVERRIDES:
        if request.values_of(name):
            raise Malformed(f"the header {name} would change what the request is")
    if request.target is None:
        raise Misconfigured(
            "config-invalid", "this server does not tell the raw request-target (ASGI raw_path, WSGI RAW_URI)"
        )
    if _TARGET.fullmatch(request.target) is None:
        raise Malformed("the request-target is not a path")
    path = request.target.partition(b"?")[0].decode("ascii")
    segments = canonical_path(path)
    if request.decoded_path is not None and request.decoded_path != decode_path(path):
        raise Malformed("something between has rewritten the path")
    return path, segments


def decode_path(path: str) -> str:
    """The path as an application sees it: `canonical_path` has made sure that the escapes are UTF-8."""
    return unquote(path)


def read_sent(request: IncomingRequest) -> Sent:
    """What the head says of the body, and that nothing in it makes two readers see two requests.

    Raises Malformed for lengths that contradict each other, and digests not in the one form.
    """
    length, coding = one_value(request, "content-length"), one_value(request, "transfer-encoding")
    if length is not None and _LENGTH.fullmatch(length) is None:
        raise Malformed("Content-Length is not a number")
    if length is not None and coding is not None:
        raise Malformed("Content-Length and Transfer-Encoding contradict each other")
    content_digest = one_value(request, "content-digest")
    return Sent(
        length=None if length is None else int(length),
        chunked=coding is not None,
        content_digest=content_digest,
        sha256=None if content_digest is None else parse_content_digest(content_digest),
    )


def binding_of(
    request: IncomingRequest, origin: tuple[str, str], covered: Collection[str], content_digest: bytes | None
) -> bytes:
    """bind32 of the request that was really received. Raises Malformed, also for a covered header that is not there."""
    values = []
    for name in covered:
        value = one_value(request, name)
        if value is None:
            raise Malformed(f"the covered header {name} is missing")
        values.append((name, value))
    binding = HttpBinding(
        method=request.method,
        scheme=origin[0],
        authority=origin[1],
        target=request.target or b"",
        covered=tuple(values),
        content_digest=content_digest,
    )
    try:
        return binding.bind()
    except LocalMisuse as error:
        raise Malformed(f"no request that could be bound: {error.detail}") from None


def check_networks(networks: Iterable[str]) -> tuple[Network, ...]:
    """Networks of trusted proxies, in CIDR form. Raises Misconfigured."""
    try:
        return tuple(canonical_network(network) for network in networks)
    except Malformed as error:
        raise Misconfigured("config-invalid", f"trusted_proxies: {error.detail}") from None


def peer_of(request: IncomingRequest, trusted_proxies: tuple[Network, ...]) -> Address | None:
    """The address of the caller, None when it is unknown (row L15).

    The transport's other end, unless that is a trusted proxy: then the last address in X-Forwarded-For that is not
    one. A server that has put an address of that header in the transport's place makes it unknown.
    """
    peer = _transport_address(request.transport_peer)
    entries = b",".join(request.values_of("x-forwarded-for")).decode("latin-1")
    forwarded = [_address(entry.strip()) for entry in entries.split(",")] if entries else []
    if peer is None or not forwarded:
        return peer
    if not _is_within(peer, trusted_proxies):
        named = any(peer == entry for entry in forwarded) or str(peer) in entries
        return None if named else peer
    for entry in reversed(forwarded):
        peer = entry
        if entry is None or not _is_within(entry, trusted_proxies):
            break
    return peer


@lru_cache(maxsize=1024)  # the other ends of connections are few, and no caller chooses their spelling
def _transport_address(text: str) -> Address | None:
    return _address(text)


def _address(text: str) -> Address | None:
    try:
        return parse_address(text)
    except LocalMisuse:
        return None


def _is_within(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)
