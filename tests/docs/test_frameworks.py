"""docs/http-services.md, the table of other frameworks: each line is executed, and the caller read as it says."""

from __future__ import annotations

import re
from collections.abc import Callable
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
from blacksheep.server.routing import Router

from orthros_client.integrations.asgi import OrthrosMiddleware
from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware
from tests.client.http.world import House
from tests.docs.pages import ROOT
from tests.support import asgi_server, wsgi_server

PAGE = ROOT / "docs" / "http-services.md"
ROW = re.compile(r"^\| ([A-Z][\w, ]+) \| `([^`]+)` \| `([^`]+)` \|$", re.MULTILINE)
ROWS = {name: (around, caller) for name, around, caller in ROW.findall(PAGE.read_text("utf-8"))}
Say = Callable[..., str]


def litestar_app(say: Say) -> Any:
    @litestar.get("/")
    async def endpoint(request: litestar.Request[Any, Any, Any]) -> str:
        return say(request=request)

    endpoint.fn.__annotations__["request"] = litestar.Request
    return litestar.Litestar([endpoint])


def quart_app(say: Say) -> Any:
    app = quart.Quart(__name__)

    @app.get("/")
    async def endpoint() -> str:
        return say(quart=quart)

    return app


def falcon_app(say: Say) -> Any:
    class Resource:
        async def on_get(self, req: Any, resp: Any) -> None:
            resp.text = say(req=req)

    app = falcon.asgi.App()
    app.add_route("/", Resource())
    return app


def falcon_wsgi_app(say: Say) -> Any:
    class Resource:
        def on_get(self, req: Any, resp: Any) -> None:
            resp.text = say(req=req)

    app = falcon.App()
    app.add_route("/", Resource())
    return app


def blacksheep_app(say: Say) -> Any:
    app = blacksheep.Application(router=Router())

    async def endpoint(request: blacksheep.Request) -> blacksheep.Response:
        return blacksheep.text(say(request=request))

    endpoint.__annotations__["request"] = blacksheep.Request
    app.router.add_get("/", endpoint)
    return app


def sanic_app(say: Say) -> Any:
    sanic.Sanic._app_registry.clear()
    app = sanic.Sanic("orders", configure_logging=False)
    app.config.TOUCHUP = False  # it rewrites methods of Sanic itself, once in a process

    @app.get("/")
    async def endpoint(request: Any) -> Any:
        return sanic.text(say(request=request))

    return app


def bottle_app(say: Say) -> Any:
    app = bottle.Bottle()
    app.get("/", callback=lambda: say(bottle=bottle))
    return app


APPS: dict[str, Callable[[Say], Any]] = {
    "Litestar": litestar_app,
    "Quart": quart_app,
    "Falcon, ASGI": falcon_app,
    "Falcon, WSGI": falcon_wsgi_app,
    "BlackSheep": blacksheep_app,
    "Sanic": sanic_app,
    "Bottle": bottle_app,
}


def test_the_table_has_each_of_these() -> None:
    assert set(ROWS) == set(APPS)


@pytest.mark.parametrize("name", APPS)
def test_two_lines_protect_an_application_and_name_its_caller(name: str) -> None:
    """A stranger is refused; the caller is named, and what it lacks is 403 under proof."""
    around, expression = ROWS[name]
    house, wanted = House(), ["read"]

    def say(**names: Any) -> str:
        caller = eval(expression, names)
        caller.require(*wanted)
        return str(caller.client)

    app = APPS[name](say)
    places: dict[str, Any] = {
        "app": app,
        "options": house.settings(),
        "OrthrosMiddleware": OrthrosMiddleware,
        "OrthrosWsgiMiddleware": OrthrosWsgiMiddleware,
    }
    exec(around, places)
    served = places.get("served", app)
    caller = house.caller()

    async def ask(call: Any) -> Any:
        if "Wsgi" in around:
            return wsgi_server.ask(served, call)
        return (await asgi_server.ask(served, call)).received

    async def story() -> None:
        stranger = await ask(caller.call().without("authorization"))
        assert (stranger.status, stranger.header("www-authenticate")) == (401, b'Orthros realm="test.realm"')
        first = caller.call("OPTIONS", flags=0)
        caller.refusal(first, await ask(first))
        for scope, status, body in (("read", 200, b"billing@test.realm"), ("write", 403, b"insufficient_scope")):
            wanted[:] = [scope]
            received = await ask(call := caller.call())
            caller.open(call, received)
            assert (received.status, body in received.body) == (status, True)

    async def run() -> None:
        if "Wsgi" in around:
            await story()
            return
        async with asgi_server.started(served):
            await story()

    anyio.run(run)
