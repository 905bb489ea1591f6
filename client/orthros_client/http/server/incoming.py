"""An HTTP request as a server received it, and the strict reading of its head: target, host, body, peer.

Values and pure functions; knows no framework, and believes no header about where the request came from.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final
from urllib.parse import quote, unquote

from attrs import field, frozen

from orthros_client.http.tracing import TRACEPARENT
from orthros_protocol.errors import LocalMisuse, Malformed, Misconfigured
from orthros_protocol.exchanges.http_profile import HttpBinding, canonical_authority, parse_content_digest
from orthros_protocol.primitives.http_fields import FRAMING, HttpFields, parse_length
from orthros_protocol.primitives.names import check_texts
from orthros_protocol.tickets.access import decoded_path

__all__ = [
    "IncomingRequest",
    "OwnOrigins",
    "Sent",
    "binding_of",
    "read_mount",
    "read_path",
    "read_sent",
    "rebuild_target",
]

MOST_FIELDS: Final = 256
MOST_HEAD_BYTES: Final = 128 * 1024
"""What a head may have: servers differ, and some have no limit of their own."""

_TARGET = re.compile(rb"/[\x21-\x7e]*")
_COVERED_AS_THEY_CAME: Final = (
    "Let the proxies between pass covered headers on once and under their own names (nginx drops names with an "
    "underscore without `underscores_in_headers on`)."
)
# Each of them makes some framework or proxy act on another method or path than the one that is bound.
_OVERRIDES: Final = (
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "script-name",
    "path-info",
)
_MOST_SHOWN: Final = 100
_SCHEMES: Final = ("https", "http")


@frozen(kw_only=True)
class IncomingRequest:
    """One request head. `headers` are (lower-case name, value) in order, as received.

    `target` is the raw request-target as sent, or as it `is_rebuilt` where the server does not tell; `decoded_path` the
    path that the application will route by, None when unknown, and `mount` the beginning of it that a server or an
    application around this one takes off (ASGI root_path, WSGI SCRIPT_NAME), None where the client may have named that.
    `transport_peer` is the address of the connection's other end as text, empty on a Unix socket; `channel` 32 bytes
    that name the connection, None without; `is_probe` says that the self-test asks, which is not worth a log line;
    `tells_upgrade` that an Upgrade of the client would be among `headers`, which not every proxy passes on.
    """

    method: str
    target: bytes | None
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)
    decoded_path: str | None = None
    mount: str | None = ""
    is_rebuilt: bool = False
    transport_peer: str = ""
    channel: bytes | None = field(default=None, repr=False)
    is_probe: bool = False
    tells_upgrade: bool = True
    fields: HttpFields = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "fields", HttpFields(self.headers))

    @property
    def traceparent(self) -> str | None:
        """What it says of its trace, if it says so once (W3C Trace Context, section 3.2): decides nothing."""
        values = self.fields.values_of(TRACEPARENT)
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
        known = check_texts(origins, "origins")
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
        self.known = known
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

    @property
    def bound(self) -> Iterator[tuple[str, str]]:
        """Each as (scheme, authority), as requests are bound to it."""
        return ((scheme, each) for scheme, known in self._by_scheme.items() for each in sorted(known))

    def find(self, request: IncomingRequest) -> tuple[str, str]:
        """Scheme and authority of the own origin that the Host header names. Raises Malformed for another one."""
        host = request.fields.one("host")
        found = [] if host is None else self._meanings(host.decode("latin-1"))
        if not found:
            error = Malformed("the Host header names no origin of this service")
            given = "no Host or several" if host is None else f"Host {host[:_MOST_SHOWN].decode('latin-1')!a}"
            error.log_detail = f"received {given}, origins here: {', '.join(self.known)}"
            error.log_remedy = (
                "Call the service by one of its `origins`, add this one to them, or let the proxy pass Host on (nginx: "
                "`proxy_set_header Host $http_host`)."
            )
            raise error
        return found[0]


def read_path(request: IncomingRequest) -> tuple[str, tuple[str, ...]]:
    """The raw path and its segments.

    Raises Malformed for a head that is too large, for headers that put another method or path in the place of what was
    sent, for a target that is not in origin-form (RFC 9112, section 3.2.1), for a path that could be read in two ways
    and for one that the application would read in another; Misconfigured when there is no raw one.
    """
    size = sum([len(name) + len(value) for name, value in request.headers])
    if len(request.headers) > MOST_FIELDS or size > MOST_HEAD_BYTES:
        raise Malformed(f"a head has at most {MOST_FIELDS} fields and {MOST_HEAD_BYTES} bytes of them")
    for name in request.fields.found(_OVERRIDES):
        raise Malformed(f"the header {name} would change what the request is")
    if request.target is None:
        raise Misconfigured(
            "config-invalid", "this server does not tell the raw request-target (ASGI raw_path, WSGI RAW_URI)"
        )
    if _TARGET.fullmatch(request.target) is None:
        raise Malformed("the request-target is not a path")
    path = request.target.partition(b"?")[0].decode("ascii")
    decoded = decoded_path(path)
    if request.decoded_path is not None and request.decoded_path != decoded:
        raise Malformed("something between has rewritten the path")
    return path, tuple(path[1:].split("/"))


def read_mount(request: IncomingRequest, segments: tuple[str, ...]) -> int:
    """How many of the segments of its path belong to the mount point.

    Raises Malformed for a path that is not below it, since frameworks serve such a path as if it were, and for a mount
    point that the client may have named: it would choose the row.
    """
    if request.mount is None:
        raise Malformed("Daphne may have the mount point from the client: let the application say where it is")
    mount = request.mount.strip("/")
    if not mount:
        return 0
    size = mount.count("/") + 1
    if "/".join(map(unquote, segments[:size])) != mount:
        raise Malformed("the path is not below the mount point of the application")
    return size


def rebuild_target(path: bytes, query: bytes) -> bytes:
    """The request-target of a path that a server has decoded, and of the query, which it has not.

    As RFC 3986 has it: what may stand in a segment (section 3.3) stands for itself, all else is escaped in upper case.
    A caller that spelled it differently has signed something else, and is refused; a path that could be read in two
    ways stays one. Of an empty query nothing is left.
    """
    target = quote(path, safe="/:@!$&'()*+,;=").encode("ascii")
    return target + b"?" + query if query else target


def read_sent(request: IncomingRequest) -> Sent:
    """What the head says of the body, and that nothing in it makes two readers see two requests.

    Raises Malformed for lengths that contradict each other, digests not in the one form, and another spelling of
    either name.
    """
    fields = request.fields
    fields.require_exact(FRAMING)
    length, coding = fields.one("content-length"), fields.one("transfer-encoding")
    announced = None if length is None else parse_length(length)
    if length is not None and coding is not None:
        raise Malformed("Content-Length and Transfer-Encoding contradict each other")
    content_digest = fields.one("content-digest")
    return Sent(
        length=announced,
        chunked=coding is not None,
        content_digest=content_digest,
        sha256=None if content_digest is None else parse_content_digest(content_digest),
    )


def binding_of(
    request: IncomingRequest, origin: tuple[str, str], covered: Collection[str], content_digest: bytes | None
) -> tuple[HttpBinding, bytes]:
    """The request that was really received, and its bind32.

    Raises Malformed for a covered header that is not there, and when no well-formed request has such parts.
    """
    try:
        values = request.fields.covered(covered)
    except Malformed as error:
        error.log_remedy = _COVERED_AS_THEY_CAME
        raise
    binding = HttpBinding(
        method=request.method,
        scheme=origin[0],
        authority=origin[1],
        target=request.target or b"",
        covered=values,
        content_digest=content_digest,
    )
    try:
        return binding, binding.bind()
    except LocalMisuse as error:
        raise Malformed(f"no request that could be bound: {error.detail}") from None
