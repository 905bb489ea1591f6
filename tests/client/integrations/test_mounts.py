"""Applications that stand below a prefix: their rows are those of the paths as they see them, by whoever's word."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import anyio
import django  # type: ignore[import-untyped]
import django.http  # type: ignore[import-untyped]
import flask
import pytest
from a2wsgi import ASGIMiddleware, WSGIMiddleware
from attrs import evolve
from channels.routing import ProtocolTypeRouter, URLRouter  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.core.handlers.asgi import ASGIHandler  # type: ignore[import-untyped]
from django.core.handlers.wsgi import WSGIHandler  # type: ignore[import-untyped]
from django.test.utils import override_settings  # type: ignore[import-untyped]
from django.urls import path, re_path  # type: ignore[import-untyped]
from fastapi import FastAPI
from hypercorn.middleware import DispatcherMiddleware as HypercornDispatcher
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount
from starlette.routing import Route as StarletteRoute
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from orthros_client.http.server.routes import Route
from orthros_client.integrations import asgi, wsgi
from orthros_client.integrations.registered import endpoints_of
from orthros_protocol.errors import Misconfigured
from tests.client.http.world import House
from tests.support import asgi_server, wsgi_server
from tests.support.http_caller import Call, HttpCaller, Received

ROWS = [Route("/admin/*", scopes=["admin"]), Route("/open", public=True)]
Ask = Callable[[Call], Received]


@pytest.fixture
def house() -> House:
    return House()


async def reached(request: Request) -> Response:
    return PlainTextResponse("reached")


def starlette_app() -> Starlette:
    return Starlette(routes=[StarletteRoute("/admin/x", reached), StarletteRoute("/open", reached)])


def fastapi_app(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    app.add_api_route("/admin/x", reached)
    app.add_api_route("/open", reached)
    return app


def flask_app() -> flask.Flask:
    app = flask.Flask("orders")
    app.add_url_rule("/admin/x", "admin", lambda: "reached")
    app.add_url_rule("/open", "open", lambda: "reached")
    return app


def view(_request: Any) -> Any:
    return django.http.HttpResponse("reached")


urlpatterns = [path("admin/x", view), path("open", view)]


def by_asgi(app: Any, **changes: Any) -> Ask:
    """As a server of ASGI calls it: uvicorn tells the prefix in `path` and in `root_path`."""

    def ask(call: Call) -> Received:
        async def run() -> Received:
            return (await asgi_server.ask(app, call, **changes)).received

        return anyio.run(run)

    return ask


def by_wsgi(app: Any, **changes: Any) -> Ask:
    return lambda call: wsgi_server.ask(app, call, **changes)


def guarded(app: Any, house: House, rows: list[Route]) -> Any:
    return asgi.OrthrosMiddleware(app, **house.settings(routes=rows))


def guarded_wsgi(app: Any, house: House, rows: list[Route]) -> Any:
    return wsgi.OrthrosWsgiMiddleware(app, **house.settings(routes=rows))


def starlette_mount(house: House, rows: list[Route]) -> Ask:
    return by_asgi(Starlette(routes=[Mount("/shop", guarded(starlette_app(), house, rows))]))


def mounts_in_mounts(house: House, rows: list[Route]) -> Ask:
    inner = Starlette(routes=[Mount("/op", guarded(fastapi_app(), house, rows))])
    return by_asgi(Starlette(routes=[Mount("/sh", inner)]))


def uvicorn_root_path(house: House, rows: list[Route]) -> Ask:
    return by_asgi(guarded(fastapi_app(), house, rows), root_path="/shop")


def fastapi_root_path(house: House, rows: list[Route]) -> Ask:
    app = fastapi_app(root_path="/shop")
    app.add_middleware(asgi.OrthrosMiddleware, **house.settings(routes=rows))
    return by_asgi(app)


def around_fastapi_root_path(house: House, rows: list[Route]) -> Ask:
    return by_asgi(guarded(fastapi_app(root_path="/shop"), house, rows))


def fastapi_sub_application(house: House, rows: list[Route]) -> Ask:
    outer, inner = FastAPI(), fastapi_app()
    inner.add_middleware(asgi.OrthrosMiddleware, **house.settings(routes=rows))
    outer.mount("/shop", inner)
    return by_asgi(outer)


def hypercorn_dispatcher(house: House, rows: list[Route]) -> Ask:
    return by_asgi(HypercornDispatcher({"/shop": guarded(starlette_app(), house, rows)}))


def path_without_prefix(house: House, rows: list[Route]) -> Ask:
    """As ASGI servers and frameworks had it before `path` was said to be whole."""
    app = guarded(starlette_app(), house, rows)

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        stripped = scope["path"].removeprefix("/shop")
        await app(scope | {"root_path": "/shop", "path": stripped}, receive, send)

    return by_asgi(outer)


def django_forced(house: House, rows: list[Route]) -> Ask:
    return by_asgi(guarded(ASGIHandler(), house, rows))


def gunicorn_script_name(house: House, rows: list[Route]) -> Ask:
    app = guarded_wsgi(flask_app(), house, rows)

    def ask(call: Call) -> Received:
        below = wsgi_server.environ_of(call)["PATH_INFO"].removeprefix("/shop")
        return wsgi_server.ask(app, call, SCRIPT_NAME="/shop", PATH_INFO=below)

    return ask


def werkzeug_dispatcher(house: House, rows: list[Route]) -> Ask:
    return by_wsgi(DispatcherMiddleware(guarded_wsgi(flask_app(), house, rows), {"/shop": flask_app()}))


def inside_a_dispatcher(house: House, rows: list[Route]) -> Ask:
    return by_wsgi(DispatcherMiddleware(nowhere, {"/shop": guarded_wsgi(flask_app(), house, rows)}))


def wsgi_below_asgi(house: House, rows: list[Route]) -> Ask:
    return by_asgi(Starlette(routes=[Mount("/shop", WSGIMiddleware(guarded_wsgi(flask_app(), house, rows)))]))  # type: ignore[arg-type]


def asgi_below_wsgi(house: House, rows: list[Route]) -> Ask:
    app: Any = ASGIMiddleware(guarded(starlette_app(), house, rows))
    return by_wsgi(DispatcherMiddleware(nowhere, {"/shop": app}))


def nowhere(_environ: Any, start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"nowhere"]


STACKS = [
    starlette_mount, mounts_in_mounts, uvicorn_root_path, fastapi_root_path, around_fastapi_root_path,
    fastapi_sub_application, hypercorn_dispatcher, path_without_prefix, django_forced, gunicorn_script_name,
    inside_a_dispatcher, wsgi_below_asgi, asgi_below_wsgi,
]  # fmt: skip


@pytest.fixture(autouse=True)
def django_is_mounted() -> Any:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["orders.test"])
        django.setup(set_prefix=False)
    changes = {"ROOT_URLCONF": __name__, "ALLOWED_HOSTS": ["orders.test"], "MIDDLEWARE": []}
    with override_settings(FORCE_SCRIPT_NAME="/shop", **changes):
        yield


def prefix_of(stack: Any) -> bytes:
    return b"/sh/op" if stack is mounts_in_mounts else b"/shop"


def met(house: House, ask: Ask, prefix: bytes, **options: Any) -> HttpCaller:
    caller = house.caller(**options)
    call = caller.call("OPTIONS", prefix + b"/", flags=0)
    assert caller.refusal(call, ask(call)).code == "epoch-required"
    return caller


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
@pytest.mark.parametrize("stack", STACKS)
def test_rows_hold_for_paths_as_the_application_sees_them(stack: Any, house: House) -> None:
    """Bound is the whole path, as it was sent; the row is that of what is left of it behind the mount point."""
    prefix = prefix_of(stack)
    ask = stack(house, ROWS)
    assert ask(house.caller().call(target=prefix + b"/open").without("authorization")).status == 200
    assert ask(house.caller().call(target=prefix + b"/admin/x").without("authorization")).status == 401
    poor, rich = met(house, ask, prefix), met(house, ask, prefix, scopes=("admin",))
    received = ask(poor.call(target=prefix + b"/admin/x"))
    assert (received.status, json.loads(received.body)["error"]) == (403, "insufficient_scope")
    call = rich.call(target=prefix + b"/admin/x")
    received = ask(call)
    rich.open(call, received)
    assert (received.status, received.body) == (200, b"reached")
    # What was signed is what was sent, with the prefix.
    assert ask(evolve(rich.call(target=b"/admin/x"), target=prefix + b"/admin/x")).status == 401


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
@pytest.mark.parametrize("stack", STACKS)
def test_no_endpoint_has_a_second_name_without_its_prefix(stack: Any, house: House) -> None:
    ask = stack(house, ROWS)
    caller = met(house, ask, prefix_of(stack), scopes=("admin",))
    for target in (b"/admin/x", b"/open", prefix_of(stack) + b"x/open"):
        assert ask(caller.call(target=target)).status in (400, 404), target


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
@pytest.mark.parametrize("stack", STACKS)
def test_a_row_written_with_the_prefix_is_told_and_lets_nothing_pass(stack: Any, house: House) -> None:
    """Otherwise the endpoint that it was to protect would be open to all callers."""
    prefix = prefix_of(stack)
    ask = stack(house, [Route(prefix.decode() + "/admin/*", scopes=["admin"])])
    caller = met(house, ask, prefix)
    received = ask(caller.call(target=prefix + b"/admin/x"))
    assert received.status == 400
    assert "is to be written below it" in str(house.log.lines[-1])


def test_around_a_dispatcher_rows_name_whole_paths(house: House) -> None:
    ask = werkzeug_dispatcher(house, [Route("/admin/*", scopes=["admin"])])
    caller = met(house, ask, b"")
    assert ask(caller.call(target=b"/admin/x")).status == 403


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
async def test_the_start_tells_rows_that_are_written_with_the_prefix(house: House) -> None:
    app = fastapi_app(root_path="/shop")
    app.add_middleware(asgi.OrthrosMiddleware, **house.settings(routes=[Route("/shop/admin/*", scopes=["admin"])]))
    reported: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.shutdown" if reported else "lifespan.startup"}

    async def send(message: Any) -> None:
        reported.append(message)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert "mounted at /shop, so write /admin/*" in reported[0]["message"]
    assert ("route-never-matches", "/shop/admin/*") in [(event, facts["route"]) for event, facts in house.log.lines]


async def test_the_start_of_django_tells_them_as_well(house: House) -> None:
    """Its handler has none: servers go on without, and would serve."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    await guarded(ASGIHandler(), house, [Route("/shop/admin/*", scopes=["admin"])])(scope, receive, send)
    assert "mounted at /shop, so write /admin/*" in sent.pop()["message"]
    with pytest.raises(ValueError, match="lifespan"):
        await guarded(ASGIHandler(), house, ROWS)(scope, receive, send)
    assert sent == []


def test_the_start_under_gunicorn_tells_them_as_well(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """`gunicorn --env SCRIPT_NAME=/shop`: the environment knows before the first request."""
    monkeypatch.setenv("SCRIPT_NAME", "/shop")
    with pytest.raises(Misconfigured, match=r"mounted at /shop, so write /admin/\*"):
        guarded_wsgi(flask_app(), house, [Route("/shop/admin/*", scopes=["admin"])])
    guarded_wsgi(flask_app(), house, ROWS)


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
@pytest.mark.parametrize("make", [lambda: fastapi_app(root_path="/elsewhere"), ASGIHandler])
def test_an_application_that_says_that_it_is_elsewhere_is_not_served(make: Callable[[], Any]) -> None:
    """It would take another prefix off than the one that was judged."""
    app = Starlette(routes=[Mount("/orders", make())])
    with pytest.raises(Misconfigured, match="says that it is at"):
        list(endpoints_of(app))
    assert list(endpoints_of(Starlette(routes=[Mount("/shop", ASGIHandler()), Mount("/wsgi", WSGIHandler())])))


@pytest.fixture
def under_daphne(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What its scopes are like. With the server itself: tests/e2e/test_every_server.py."""
    monkeypatch.setitem(sys.modules, "daphne.http_protocol", ModuleType("daphne.http_protocol"))
    return {"asgi": {"version": "3.0"}}


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
def test_under_daphne_only_the_application_itself_says_where_it_is(house: House, under_daphne: dict[str, Any]) -> None:
    for app in (
        guarded(fastapi_app(), house, ROWS),
        Starlette(routes=[Mount("/secret", guarded(nowhere, house, ROWS))]),
    ):
        ask = by_asgi(app, root_path="/shop", **under_daphne)
        assert ask(house.caller().call(target=b"/shop/secret/open").without("authorization")).status == 400
        assert "may have the mount point from the client" in str(house.log.lines[-1])
    for app in (
        Starlette(routes=[Mount("/shop", guarded(starlette_app(), house, ROWS))]),
        guarded(fastapi_app(root_path="/shop"), house, ROWS),
        guarded(ASGIHandler(), house, ROWS),
    ):
        ask = by_asgi(app, **under_daphne)
        assert ask(house.caller().call(target=b"/shop/open").without("authorization")).status == 200
        assert ask(house.caller().call(target=b"/shop/admin/x").without("authorization")).status == 401
    ask = by_asgi(guarded(fastapi_app(), house, ROWS), root_path="/shop")  # another server, of this process
    assert ask(house.caller().call(target=b"/shop/open").without("authorization")).status == 200


class Outside:
    """A layer that keeps what it wraps under a name of its own."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.inner(scope, receive, send)


def enclosed(inner: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await inner(scope, receive, send)

    return app


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
@pytest.mark.parametrize("root_path", ["", "/shop"])  # the latter as Daphne's runserver passes it
@pytest.mark.parametrize(
    "app",
    [
        lambda: ProtocolTypeRouter({"http": ASGIHandler()}),
        lambda: ProtocolTypeRouter({"http": URLRouter([re_path(r"", ASGIHandler())])}),
        lambda: Outside(enclosed(ASGIHandler())),
        lambda: enclosed(Outside(fastapi_app(root_path="/shop"))),
    ],
)
def test_the_word_of_an_application_counts_through_what_is_around_it(
    app: Callable[[], Any], root_path: str, house: House, under_daphne: dict[str, Any]
) -> None:
    ask = by_asgi(guarded(app(), house, ROWS), root_path=root_path, **under_daphne)
    caller = met(house, ask, b"/shop")
    assert ask(caller.call(target=b"/shop/admin/x")).status == 403
    assert ask(caller.call(target=b"/shop/open").without("authorization")).status == 200


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
def test_under_daphne_a_middleware_inside_of_fastapi_believes_fastapi(
    house: House, under_daphne: dict[str, Any]
) -> None:
    app = fastapi_app(root_path="/shop")
    app.add_middleware(asgi.OrthrosMiddleware, **house.settings(routes=ROWS))
    outer = FastAPI(root_path="/shop")
    outer.mount("/in", guarded(fastapi_app(), house, ROWS))
    for ask, prefix in ((by_asgi(app, **under_daphne), b"/shop"), (by_asgi(outer, **under_daphne), b"/shop/in")):
        assert ask(house.caller().call(target=prefix + b"/open").without("authorization")).status == 200
        assert ask(house.caller().call(target=prefix + b"/admin/x").without("authorization")).status == 401
