"""Frameworks that know nothing of refusals: what a handler demands of its caller is answered there as everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import blacksheep
import bottle  # type: ignore[import-untyped]
import falcon
import falcon.asgi
import litestar
import pytest
import quart
import sanic
from aiohttp import web
from blacksheep.server.routing import Router
from fastapi import FastAPI, HTTPException
from flask import Flask, request
from starlette.requests import Request
from starlette.responses import StreamingResponse

from orthros_client.http.propagation import current
from orthros_client.http.server.callers import Caller
from orthros_client.integrations import aiohttp_server as aiohttp
from orthros_client.integrations import asgi, wsgi
from orthros_protocol.errors import Refused
from tests.client.http.world import House
from tests.support import aiohttp_server, asgi_server, wsgi_server
from tests.support.http_caller import HttpCaller, Received

Handler = Callable[[Caller], str]


@pytest.fixture
def house() -> House:
    return House()


def demands(caller: Caller) -> str:
    caller.require("write")
    return "reached without its scope"


def demands_further_down(caller: Caller) -> str:
    return demands(caller)


def vetoes(caller: Caller) -> str:
    raise caller.refusal("vetoed", "not on Sundays")


def hides_it(caller: Caller) -> str:
    try:
        return demands(caller)
    except Refused as error:
        raise ValueError("could not") from error


def goes_on(caller: Caller) -> str:
    try:
        caller.require("write")
    except Refused:
        return "without"
    return "with"


def fails_later(caller: Caller) -> str:
    with suppress(Refused):
        caller.require("write")
    raise KeyError("a bug")


def acts_for_it(caller: Caller) -> str:
    return "acts" if current() is caller else "acts for another"


def by_litestar(handle: Handler) -> Any:
    @litestar.get("/")
    async def endpoint(request: litestar.Request[Any, Any, Any]) -> str:
        return handle(request.scope["orthros.caller"])  # type: ignore[typeddict-item]

    endpoint.fn.__annotations__["request"] = litestar.Request
    return litestar.Litestar([endpoint])


def by_litestar_in_a_thread(handle: Handler) -> Any:
    @litestar.get("/", sync_to_thread=True)
    def endpoint(request: litestar.Request[Any, Any, Any]) -> str:
        return handle(request.scope["orthros.caller"])  # type: ignore[typeddict-item]

    endpoint.fn.__annotations__["request"] = litestar.Request
    return litestar.Litestar([endpoint])


def by_quart(handle: Handler) -> Any:
    app = quart.Quart(__name__)

    @app.get("/")
    async def endpoint() -> str:
        return handle(quart.request.scope["orthros.caller"])  # type: ignore[typeddict-item]

    return app


def by_quart_in_a_thread(handle: Handler) -> Any:
    app = quart.Quart(__name__)

    @app.get("/")
    def endpoint() -> str:
        return handle(quart.request.scope["orthros.caller"])  # type: ignore[typeddict-item]

    return app


def by_falcon(handle: Handler) -> Any:
    class Resource:
        async def on_get(self, req: Any, resp: Any) -> None:
            resp.text = handle(req.scope["orthros.caller"])

    app = falcon.asgi.App()
    app.add_route("/", Resource())
    return app


def by_sanic(handle: Handler) -> Any:
    sanic.Sanic._app_registry.clear()
    app = sanic.Sanic("orders", configure_logging=False)
    app.config.TOUCHUP = False  # it rewrites methods of Sanic itself, once in a process

    @app.get("/")
    async def endpoint(request: Any) -> Any:
        return sanic.text(handle(request.scope["orthros.caller"]))

    return app


def by_blacksheep(handle: Handler) -> Any:
    app = blacksheep.Application(router=Router())

    async def endpoint(request: blacksheep.Request) -> blacksheep.Response:
        return blacksheep.text(handle(request.scope["orthros.caller"]))  # type: ignore[typeddict-item]

    endpoint.__annotations__["request"] = blacksheep.Request
    app.router.add_get("/", endpoint)
    return app


def by_fastapi(handle: Handler) -> Any:
    app = FastAPI()

    @app.get("/")
    def endpoint() -> str:
        caller = current()
        assert caller is not None
        return handle(caller)

    return app


def by_fastapi_behind_a_middleware(handle: Handler) -> Any:
    """Starlette's base class runs the endpoint in a task of its own; the response is made in threads."""
    app = FastAPI()

    @app.middleware("http")
    async def pass_on(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    @app.get("/")
    def endpoint(request: Request) -> StreamingResponse:
        first = handle(request.scope["orthros.caller"])
        return StreamingResponse(iter([first, f" {handle(request.scope['orthros.caller'])}"]))

    return app


def by_fastapi_with_a_handler_of_its_own(handle: Handler) -> Any:
    app = FastAPI()

    @app.get("/")
    async def endpoint(request: Request) -> str:
        try:
            return handle(request.scope["orthros.caller"])
        except Exception:  # noqa: BLE001  # as applications do that hide what went wrong
            raise HTTPException(502, "no details") from None

    return app


def by_aiohttp(handle: Handler) -> Any:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        caller = aiohttp.caller_of(request)
        assert caller is not None
        return web.Response(text=handle(caller))

    return endpoint


def by_aiohttp_with_an_error_of_its_own(handle: Handler) -> Any:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        caller = aiohttp.caller_of(request)
        assert caller is not None
        try:
            return web.Response(text=handle(caller))
        except Exception:  # noqa: BLE001  # as applications do that hide what went wrong
            raise web.HTTPBadGateway from None

    return endpoint


def by_aiohttp_in_pieces(handle: Handler) -> Any:
    """A stream that was begun before the handler asked its caller."""

    async def endpoint(request: web.Request) -> web.StreamResponse:
        caller = aiohttp.caller_of(request)
        assert caller is not None
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(handle(caller).encode())
        return response

    return endpoint


def by_bottle(handle: Handler) -> Any:
    app = bottle.Bottle()
    app.get("/", callback=lambda: handle(bottle.request.environ["orthros.caller"]))
    return app


def by_falcon_wsgi(handle: Handler) -> Any:
    class Resource:
        def on_get(self, req: Any, resp: Any) -> None:
            resp.text = handle(req.env["orthros.caller"])

    app = falcon.App()
    app.add_route("/", Resource())
    return app


def by_flask(handle: Handler) -> Any:
    app = Flask("orders")
    app.add_url_rule("/", "endpoint", lambda: handle(request.environ["orthros.caller"]))
    return app


ASGI = [
    by_litestar, by_litestar_in_a_thread, by_quart, by_quart_in_a_thread, by_falcon, by_sanic, by_blacksheep,
    by_fastapi, by_fastapi_behind_a_middleware, by_fastapi_with_a_handler_of_its_own,
]  # fmt: skip
AIOHTTP = [by_aiohttp, by_aiohttp_with_an_error_of_its_own, by_aiohttp_in_pieces]
WSGI = [by_bottle, by_falcon_wsgi, by_flask]


async def met(house: House, app: Any) -> HttpCaller:
    caller = house.caller()
    call = caller.call("OPTIONS", flags=0)
    assert caller.refusal(call, (await asgi_server.ask(app, call)).received).code == "epoch-required"
    return caller


def called(house: House, make: Any, handle: Handler) -> Received:
    """What a proven caller gets from an endpoint of this framework that runs `handle`."""
    if make in AIOHTTP:
        middleware, handler = aiohttp.OrthrosAiohttpMiddleware(web.Application(), **house.settings()), make(handle)
        caller = house.caller()
        first = caller.call("OPTIONS", flags=0)
        caller.refusal(first, aiohttp_server.ask(middleware, handler, first))
        call = caller.call()
        received = aiohttp_server.ask(middleware, handler, call)
        caller.open(call, received)
        return received
    if make in WSGI:
        app = wsgi.OrthrosWsgiMiddleware(make(handle), **house.settings())
        caller = house.caller()
        first = caller.call("OPTIONS", flags=0)
        caller.refusal(first, wsgi_server.ask(app, first))
        call = caller.call()
        received = wsgi_server.ask(app, call)
        caller.open(call, received)
        return received

    async def run() -> Received:
        inner = asgi.OrthrosMiddleware(make(handle), **house.settings())

        async def app(scope: Any, receive: Any, send: Any) -> None:
            with suppress(KeyError, ValueError):  # servers log what comes behind an answer
                await inner(scope, receive, send)

        async with asgi_server.started(app):
            caller = await met(house, app)
            call = caller.call()
            received = (await asgi_server.ask(app, call)).received
            caller.open(call, received)
            return received

    return anyio.run(run)


@pytest.mark.parity("L19")
@pytest.mark.parametrize("make", [*ASGI, *WSGI, *AIOHTTP])
@pytest.mark.parametrize("handle", [demands, demands_further_down, vetoes, hides_it])
def test_a_refusal_of_the_caller_is_answered_as_one(make: Any, handle: Handler, house: House) -> None:
    """What frameworks make of an exception that they do not know is a 500; its caller gets 403, under proof."""
    received = called(house, make, handle)
    expected = "vetoed" if handle is vetoes else "insufficient-scope"
    assert (received.status, json.loads(received.body)["code"]) == (403, expected)
    assert house.log.events == ["refused"]


@pytest.mark.parametrize("make", [*ASGI, *WSGI, *AIOHTTP])
def test_a_handler_that_catches_it_has_decided(make: Any, house: House) -> None:
    received = called(house, make, goes_on)
    assert (received.status, b"without" in received.body) == (200, True)
    assert house.log.events == []


@pytest.mark.parametrize("make", [*ASGI, *WSGI, *AIOHTTP])
def test_what_fails_after_that_is_no_refusal(make: Any, house: House) -> None:
    received = called(house, make, fails_later)
    assert received.status in (500, 502)
    assert b"insufficient" not in received.body
    assert house.log.events == []


@pytest.mark.parity("K18")
@pytest.mark.parametrize("make", [*ASGI, *WSGI, *AIOHTTP])
def test_a_handler_acts_for_its_caller(make: Any, house: House) -> None:
    """In whatever task or thread the framework runs it."""
    received = called(house, make, acts_for_it)
    assert (received.status, {*received.body.decode().strip('"').split()}) == (200, {"acts"})
