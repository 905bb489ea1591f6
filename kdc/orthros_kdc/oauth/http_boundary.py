"""The boundary between the HTTP shell and the token service: one request as read, one answer to be written.

Plain values; knows neither sockets nor what any endpoint means.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse

__all__ = [
    "DEFAULT_ASSERTION_S",
    "INTROSPECT_PATH",
    "MAX_BODY_BYTES",
    "METADATA_PATH",
    "PALADIN_PATH",
    "REVOKE_PATH",
    "TOKEN_PATH",
    "HttpAnswer",
    "HttpRequest",
    "OAuthOptions",
]

TOKEN_PATH: Final = "/token"
INTROSPECT_PATH: Final = "/introspect"
REVOKE_PATH: Final = "/revoke"
PALADIN_PATH: Final = "/authorize"
METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
"""The paths below the public URL; a path of the issuer itself is inserted behind the last (RFC 8414 section 3.1)."""

MAX_BODY_BYTES: Final = 64 * 1024
DEFAULT_ASSERTION_S: Final = 300


@frozen(kw_only=True)
class HttpRequest:
    """One HTTP request, read whole and bounded by the shell.

    Header names are lower-case, values decoded as latin-1. `source` is the rate-limit key of the caller
    (`rate_limits.source_key`), `address` the caller's IP address as text, empty on a Unix socket.
    """

    path: str
    method: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: bytes = field(default=b"", repr=False)
    body: bytes = field(default=b"", repr=False)
    source: str
    address: str

    @property
    def size(self) -> int:
        """How many bytes were read for it, about."""
        return len(self.body) + len(self.query) + sum(len(name) + len(value) for name, value in self.headers)


@frozen(kw_only=True)
class HttpAnswer:
    """What to send back. The shell adds content-length, date, and the headers that keep answers out of caches.

    `proves` is the client that has authenticated, where the answer gives it what it asked for.
    """

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    proves: str = ""


@frozen(kw_only=True)
class OAuthOptions:
    """What an operator may choose.

    `public_url` is the base of the endpoint URLs, empty for the realm's issuer. `accept_token_url_audience` lets
    assertions name the token endpoint as their audience besides the issuer, as older libraries do. `paladin` and
    `simple_token` switch the two compatibility endpoints on. `max_body` is in bytes, `max_assertion_s` is how many
    seconds ahead the `exp` of an assertion may lie.
    """

    public_url: str = ""
    accept_token_url_audience: bool = False
    paladin: bool = False
    simple_token: bool = False
    max_body: int = MAX_BODY_BYTES
    max_assertion_s: int = DEFAULT_ASSERTION_S

    def __attrs_post_init__(self) -> None:
        if self.max_body < 1 or self.max_assertion_s < 1:
            raise LocalMisuse("value-invalid", "a body has at least one byte, an assertion lives at least a second")
