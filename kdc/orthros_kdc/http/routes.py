"""Which path does what: the OAuth endpoints, the realm's metadata, the probes.

Knows names and content types; reads no request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol
from urllib.parse import urlsplit

from orthros_kdc.http.app import Find, Handler, HttpPath
from orthros_kdc.http.health import Health
from orthros_kdc.oauth.http_boundary import (
    INTROSPECT_PATH,
    METADATA_PATH,
    PALADIN_PATH,
    REVOKE_PATH,
    TOKEN_PATH,
    HttpAnswer,
    HttpRequest,
    OAuthOptions,
)
from orthros_protocol.errors import OrthrosError

__all__ = ["Tokens", "routes"]

_FORM: Final = "application/x-www-form-urlencoded"
_JSON: Final = "application/json"


class Tokens(Protocol):
    """The token service, as far as the HTTP port needs it. Nothing here raises for what a request says.

    `admit` waits for the turn of the source of a request, charges the source, and returns the refusal of one that has
    sent too much. The endpoints that take an `ask` do that themselves. `reject` counts bytes that are no request.
    """

    async def admit(self, ask: HttpRequest) -> HttpAnswer | None: ...
    def reject(self, source: str, error: OrthrosError, size: int) -> None: ...
    async def token(self, ask: HttpRequest) -> HttpAnswer: ...
    async def introspect(self, ask: HttpRequest) -> HttpAnswer: ...
    async def revoke(self, ask: HttpRequest) -> HttpAnswer: ...
    async def paladin(self, ask: HttpRequest) -> HttpAnswer: ...
    async def simple_token(self, ask: HttpRequest) -> HttpAnswer: ...
    async def metadata(self) -> HttpAnswer: ...


def routes(tokens: Tokens, health: Health, options: OAuthOptions, issuer: Callable[[], Awaitable[str]]) -> Find:
    """From a path to its endpoint. `issuer` is the realm's, as of now.

    The metadata is found where RFC 8414, section 3.1 puts it: the issuer's own path comes behind the well-known one.
    """

    async def metadata(_ask: HttpRequest) -> HttpAnswer:
        return await tokens.metadata()

    def admitted(handler: Handler) -> Handler:
        async def answer(ask: HttpRequest) -> HttpAnswer:
            return await tokens.admit(ask) or await handler(ask)

        return answer

    simple = {_JSON: tokens.simple_token} if options.simple_token else {}
    fixed = {
        TOKEN_PATH: HttpPath(post={_FORM: tokens.token, **simple}),
        INTROSPECT_PATH: HttpPath(post={_FORM: tokens.introspect}),
        REVOKE_PATH: HttpPath(post={_FORM: tokens.revoke}),
        "/livez": HttpPath(get=admitted(health.live)),
        "/readyz": HttpPath(get=admitted(health.ready)),
        **{f"/readyz/{name}": HttpPath(get=admitted(health.component)) for name in health.components},
    }
    if options.paladin:
        fixed[PALADIN_PATH] = HttpPath(post={_JSON: tokens.paladin})
    described = HttpPath(get=admitted(metadata))

    async def find(path: str) -> HttpPath | None:
        if path.startswith(METADATA_PATH):
            own = urlsplit(await issuer()).path.rstrip("/")
            return described if path == METADATA_PATH + own else None
        return fixed.get(path)

    return find
