"""One service behind the middleware for ASGI, WSGI or aiohttp, and one way to ask it: a story for all is told once.

Knows what an application sees and answers, and nothing of one calling convention's own features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import trio
from aiohttp import web
from attrs import field, frozen

from orthros_client.http.server.callers import Caller
from orthros_client.integrations import aiohttp_server as aiohttp
from orthros_client.integrations import asgi, wsgi
from orthros_protocol.primitives.derivation import digest
from tests.client.http.world import House
from tests.support import aiohttp_server, asgi_server, wsgi_server
from tests.support.http_caller import Call, HttpCaller, Received

__all__ = ["INTERFACES", "Reply", "Service"]

INTERFACES = ("asgi", "wsgi", "aiohttp")
_CERTIFICATE = web.AppKey("test.certificate", bytes)
TEXT = (("content-type", b"text/plain"),)


@frozen
class Reply:
    """What a handler answers."""

    status: int = 200
    body: bytes = b"served"
    headers: tuple[tuple[str, bytes], ...] = field(default=TEXT)


Handler = Callable[[Any], Reply]
"""Is given the verified caller."""


def _served(_caller: Caller | None) -> Reply:
    return Reply()


class Service:
    """`orders`, which remembers who called and what it read. `options` are those of the middleware."""

    def __init__(self, interface: str, house: House, handler: Handler = _served, **options: Any) -> None:
        self._handler = handler
        self._interface = interface
        self.house = house
        self.callers: list[Any] = []
        self.bodies: list[bytes] = []
        settings = house.settings(**options)
        make: dict[str, Callable[..., Any]] = {
            "asgi": partial(asgi.OrthrosMiddleware, self._asgi),
            "wsgi": partial(wsgi.OrthrosWsgiMiddleware, self._wsgi),
            "aiohttp": partial(aiohttp.OrthrosAiohttpMiddleware, web.Application()),
        }
        self.app: Any = make[interface](**settings)

    def counts(self) -> dict[tuple[str, str], int]:
        counted: dict[tuple[str, str], int] = self.app.guard.counts()
        return counted

    def ask(self, call: Call, body: bytes | None = None, *, certificate: bytes = b"") -> Received:
        """The whole answer. Raises what the application raised when nothing of an answer came."""
        if self._interface == "wsgi":
            return wsgi_server.ask(self.app, call, body=body, **{"test.certificate": certificate})
        pieces = None if body is None else [body]
        if self._interface == "aiohttp":
            state = [(_CERTIFICATE, certificate)]
            return aiohttp_server.ask(self.app, self._aiohttp, call, pieces=pieces, state=state)
        raised: list[Exception] = []

        async def outermost(scope: Any, receive: Any, send: Any) -> None:
            try:
                await self.app(scope, receive, send)
            except Exception as error:  # noqa: BLE001  # a server logs it, behind the answer
                raised.append(error)

        extensions = {"tls": {"der": certificate}}
        seen = trio.run(partial(asgi_server.ask, outermost, call, pieces=pieces, extensions=extensions))
        if raised and not seen.sent:
            raise raised[0]
        return seen.received

    def met(self, *caveats: bytes, **changes: Any) -> HttpCaller:
        """A caller that knows the epoch."""
        caller = self.house.caller()
        call = caller.call("OPTIONS", flags=0)
        assert caller.refusal(call, self.ask(call)).code == "epoch-required"
        return self.house.caller(*caveats, epoch=caller.epoch, **changes) if caveats or changes else caller

    @staticmethod
    def channel(carrier: Any) -> bytes:
        """Names the connection by the certificate that `ask` was told."""
        if isinstance(carrier, web.Request):
            return digest(carrier.app[_CERTIFICATE])
        return digest(
            carrier["extensions"]["tls"]["der"] if "type" in carrier else carrier.get("test.certificate", b"")
        )

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        body = await asgi_server.collect(receive)
        reply = self._answer(scope["orthros.caller"], body)
        headers = [(name.encode("ascii"), value) for name, value in reply.headers]
        await asgi_server.respond(send, reply.status, reply.body, headers=headers)

    def _wsgi(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        reply = self._answer(environ["orthros.caller"], body)
        start_response(f"{reply.status} Said", [(name.title(), value.decode("ascii")) for name, value in reply.headers])
        return [reply.body]

    async def _aiohttp(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        reply = self._answer(aiohttp.caller_of(request), body)
        headers = [(name.title(), value.decode("ascii")) for name, value in reply.headers]
        return web.Response(status=reply.status, headers=headers, body=reply.body)

    def _answer(self, caller: Any, body: bytes) -> Reply:
        self.callers.append(caller)
        self.bodies.append(body)
        return self._handler(caller)
