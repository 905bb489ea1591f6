"""aiohttp: a middleware that verifies every request before a handler sees it, and proves every response.

For `aiohttp.web`. Needs the extra `aiohttp`. Decides nothing itself: `orthros_client.http` does.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final, TypeVar, Unpack, cast
from urllib.parse import unquote

from attrs import evolve

from orthros_client.http.propagation import serves_requests, serving
from orthros_client.http.server.bodies import RequestBodyMismatch
from orthros_client.http.server.callers import Caller
from orthros_client.http.server.exchange import CALLER, EXCHANGE, Exchange, answer_in, require_in
from orthros_client.http.server.failed_calls import answer_onward
from orthros_client.http.server.guard import Admitted, Denied, Guard
from orthros_client.http.server.incoming import IncomingRequest
from orthros_client.http.server.options import GuardOptions
from orthros_client.http.server.refusal_log import Log
from orthros_client.http.server.routes import Route
from orthros_client.integrations.aiohttp_call import AiohttpCall, response_of
from orthros_client.integrations.async_judge import judge_async
from orthros_client.integrations.registered import StartCheck, mark
from orthros_client.reasons import UNPROTECTED
from orthros_protocol.errors import Misconfigured, Refused
from orthros_protocol.primitives.names import check_scopes
from orthros_runtime.extras import extra

with extra("aiohttp"):
    from aiohttp import web

__all__ = [
    "Caller",
    "OrthrosAiohttpMiddleware",
    "RequestBodyMismatch",
    "Route",
    "answer_failed_calls",
    "caller_of",
    "protect",
    "require",
]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Awaitable[Any]])
Channel = Callable[[web.Request], bytes | None]
"""Names the connection of a request in 32 bytes, such as the SHA-256 of the client's certificate; None without one."""

_CALLER: Final[web.RequestKey[Any]] = web.RequestKey(CALLER, object)
_EXCHANGE: Final[web.RequestKey[Any]] = web.RequestKey(EXCHANGE, object)


class OrthrosAiohttpMiddleware:
    """The middleware that `protect` adds. `channel` and `options` as there."""

    __middleware_version__ = 1  # aiohttp: it takes a request and the next handler

    def __init__(
        self, app: web.Application, *, channel: Channel | None = None, **options: Unpack[GuardOptions]
    ) -> None:
        serves_requests(from_now_on=True)
        self._channel = channel
        self.guard = Guard(**options)
        self.start = StartCheck(app, self.guard.routes.rows, self.guard.journal.log)

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        upgrade = "websocket" in request.headers.get("Upgrade", "").lower()
        verdict = await self._judge(request, upgrade=upgrade)
        if isinstance(verdict, Denied):
            if not self.guard.observing or (verdict.is_handshake and not upgrade):
                return response_of(verdict.answer)
            verdict = Admitted(request=verdict.request, route=verdict.route or Route("/*"))
        if upgrade:  # what is said over it carries no proof, and is nobody's
            request[_CALLER] = None
            with serving(None, traceparent=verdict.request.traceparent):
                return await handler(request)
        exchange = Exchange(self.guard, verdict)
        request[_CALLER] = exchange.caller
        request[_EXCHANGE] = exchange
        with serving(exchange.caller, traceparent=exchange.traceparent) as served:
            return await AiohttpCall(exchange, request, served).run(handler)

    async def _judge(self, request: web.Request, *, upgrade: bool) -> Admitted | Denied:
        incoming = _incoming(request)
        if self._channel is not None:
            try:
                incoming = evolve(incoming, channel=self._channel(request))
            except Exception as error:  # noqa: BLE001  # the service's own function: what it breaks stays closed
                return self.guard.broken(incoming, None, error)
        verdict = await judge_async(self.guard, incoming, upgrade=upgrade)
        if isinstance(verdict, Admitted):
            try:
                self.start.at_request()
            except Misconfigured as error:
                return self.guard.broken(incoming, verdict.route, error)
        return verdict

    async def at_startup(self, app: web.Application) -> None:
        """For `on_startup`. Raises Misconfigured `unprotected` where another middleware stands outside of this one."""
        if not self.guard.observing:
            if app.middlewares[0] is not self:
                raise Misconfigured(UNPROTECTED, "a middleware was inserted before Orthros: call protect(app) last")
            self.start.at_start(app)


def protect(
    app: web.Application, *, channel: Channel | None = None, **options: Unpack[GuardOptions]
) -> OrthrosAiohttpMiddleware:
    """Puts the middleware around `app`; call it last. At its start, `app` is asked whether the middleware is outermost.

    The verified caller is `caller_of(request)`. Websockets are refused unless their route is public.

    channel: names the connection, for caveats that bind to one. The other options are those of `GuardOptions`.
    Raises as `Guard`; at the start of `app` Misconfigured `unprotected`, and as `check_marks`.
    """
    middleware = OrthrosAiohttpMiddleware(app, channel=channel, **options)
    app.middlewares.insert(0, middleware)
    app.on_startup.append(middleware.at_startup)
    return middleware


def _incoming(request: web.Request) -> IncomingRequest:
    peer = request.get_extra_info("peername")
    return IncomingRequest(
        method=request.method,
        target=request.raw_path.encode("utf-8", "surrogateescape"),
        headers=tuple((name.lower().decode("latin-1"), value) for name, value in request.raw_headers),
        # aiohttp routes by the raw path, and a middleware around this one may have put another there.
        decoded_path=unquote(request.rel_url.raw_path),
        transport_peer=peer[0] if isinstance(peer, tuple) else "",
    )


def caller_of(request: web.Request) -> Caller | None:
    """The verified caller; None on public routes and when refusals are merely observed."""
    caller: Caller | None = request.get(_CALLER)
    return caller


def require(*scopes: str) -> Callable[[Endpoint], Endpoint]:
    """Demands a caller with all of `scopes` before the handler runs: 403 `insufficient_scope` otherwise.

    For functions, and for the methods of a `web.View`. Raises Misconfigured for what is no scope, such as "read write".
    """
    check_scopes(scopes)

    def decorate(handler: Endpoint) -> Endpoint:
        @wraps(handler)
        async def guarded(first: Any, *args: Any, **kwargs: Any) -> Any:
            request = first.request if isinstance(first, web.View) else args[0] if args else first
            exchange = request.get(_EXCHANGE)
            try:
                require_in(exchange, *scopes)
            except Refused as refusal:
                if exchange is not None:
                    raise  # the middleware answers it
                return response_of(answer_in(None, refusal))
            return await handler(first, *args, **kwargs)

        if not inspect.iscoroutinefunction(handler):
            raise TypeError("@require is for coroutine functions, which handlers of aiohttp are")
        mark(guarded, handler)
        return cast(Endpoint, guarded)

    return decorate


def answer_failed_calls(app: web.Application, *, log: Log | None = None) -> None:
    """`app` answers when a call that a handler made was refused or failed: 403, 502 or 503 (see `onward_answer`).

    Call it before `protect`. `log` is told what the answer leaves out; by default `orthros.http`.
    """

    @web.middleware
    async def answering(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:
            answer = answer_onward(error, caller_of(request), log=log)
            if answer is None:
                raise
            return response_of(answer)

    app.middlewares.insert(0, answering)
