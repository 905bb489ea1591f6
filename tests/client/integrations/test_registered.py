"""What an application serves, compared with what its author has marked and with the rows of its routes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import django  # type: ignore[import-untyped]
import django.http  # type: ignore[import-untyped]
import flask
import pytest
from django.conf import settings  # type: ignore[import-untyped]
from django.core.handlers.wsgi import WSGIHandler  # type: ignore[import-untyped]
from django.test.utils import override_settings  # type: ignore[import-untyped]
from django.urls import include, path, re_path  # type: ignore[import-untyped]
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount
from starlette.routing import Route as StarletteRoute
from starlette.staticfiles import StaticFiles
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from orthros_client.http.server.routes import Route, Routes
from orthros_client.integrations import asgi, wsgi
from orthros_client.integrations.flask import protect
from orthros_client.integrations.flask import require as require_flask
from orthros_client.integrations.registered import (
    StartCheck,
    check_marks,
    doubtful_rows,
    endpoints_of,
    served_both_ways,
)
from orthros_client.integrations.starlette import require
from orthros_protocol.errors import Misconfigured
from tests.client.http.world import House
from tests.support import wsgi_server
from tests.support.asgi_server import ask

PLAIN = "put @require below"


@pytest.fixture
def house() -> House:
    return House()


async def show(request: Request) -> Response:
    return PlainTextResponse("shown")


def open_view() -> str:
    return "shown"


def other(function: Any) -> Any:
    """A decorator as others write them."""

    @wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def by_decorator(app: FastAPI) -> None:
    @require("admin")
    @app.get("/admin")
    async def admin(request: Request) -> Response:
        raise AssertionError("reached without its scope")


def under_another_decorator(app: FastAPI) -> None:
    @require("admin")
    @app.get("/admin")
    @other
    def admin(request: Request) -> Response:
        raise AssertionError("reached without its scope")


def with_another_decorator_between(app: FastAPI) -> None:
    @require("admin")
    @other
    @app.get("/admin")
    async def admin(request: Request) -> Response:
        raise AssertionError("reached without its scope")


def beside_what_cannot_be_compared(app: FastAPI) -> None:
    @dataclass
    class Health:  # which has no hash
        ok: bool = True

        async def __call__(self, request: Request) -> Response:
            return PlainTextResponse("ok")

    app.add_api_route("/health", Health(), response_model=None)
    by_decorator(app)


def in_an_application_that_is_mounted_in_itself(app: FastAPI) -> None:
    app.mount("/self", app)
    by_decorator(app)


def bound_beforehand(app: FastAPI) -> None:
    async def admin(request: Request, _times: int = 1) -> Response:
        raise AssertionError("reached without its scope")

    require("admin")(admin)
    app.add_route("/admin", partial(admin, _times=2))


def in_a_router(app: FastAPI) -> None:
    router = APIRouter(prefix="/v1")
    by_decorator(router)  # type: ignore[arg-type]
    outer = APIRouter(prefix="/api")
    outer.include_router(router)
    app.include_router(outer)


def in_a_mount(app: FastAPI) -> None:
    inner = FastAPI()
    by_decorator(inner)
    app.mount("/inner", inner)


WRONG: list[Callable[[FastAPI], None]] = [
    by_decorator, under_another_decorator, with_another_decorator_between, beside_what_cannot_be_compared,
    in_an_application_that_is_mounted_in_itself, bound_beforehand, in_a_router, in_a_mount,
]  # fmt: skip


async def start(app: Any) -> list[Any]:
    reported: list[Any] = []
    events = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

    async def receive() -> Any:
        return events.pop()

    async def send(message: Any) -> None:
        reported.append(message)

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return reported


@pytest.mark.parametrize("register", WRONG)
async def test_a_function_that_was_registered_before_it_was_marked_fails_the_start(
    register: Callable[[FastAPI], None], house: House
) -> None:
    app = FastAPI()
    register(app)
    app.add_middleware(asgi.OrthrosMiddleware, **house.settings())
    failed, *_ = await start(app)
    assert failed["type"] == "lifespan.startup.failed"
    assert PLAIN in failed["message"]
    assert "admin" in failed["message"]


async def test_where_no_start_is_told_it_fails_with_the_first_request(house: House) -> None:
    app = FastAPI()
    by_decorator(app)
    outside = asgi.OrthrosMiddleware(app, **house.settings())
    house.realm.clock.advance(10)
    for _ in range(2):
        assert (await ask(outside, house.caller().call("GET", b"/admin"))).status == 503
        assert PLAIN in str(house.log.lines[-1])


async def test_the_right_order_starts(house: House) -> None:
    app = FastAPI()
    router = APIRouter()

    @app.get("/admin")
    @require("admin")
    @other
    async def admin(request: Request) -> Response:
        return PlainTextResponse("shown")

    @router.get("/other")
    @other
    @require("admin")
    def another(request: Request) -> Response:
        return PlainTextResponse("shown")

    app.include_router(router)
    app.add_middleware(asgi.OrthrosMiddleware, **house.settings())
    assert (await start(app))[0] == {"type": "lifespan.startup.complete"}
    assert house.log.lines == []


def test_a_function_may_be_served_both_ways(house: House) -> None:
    """A view that comes with a framework, say: guarded here, and open there."""

    def shared() -> str:
        return "shown"

    app = flask.Flask("orders")
    app.add_url_rule("/open", "open", shared)
    app.add_url_rule("/guarded", "guarded", require_flask("admin")(shared))
    check_marks(endpoints_of(app))
    assert [(event, facts["route"]) for event, facts in served_both_ways(endpoints_of(app))] == [
        ("endpoint-is-open", "/open")
    ]


def test_a_decorator_above_require_that_registers_is_not_enough(house: House) -> None:
    """The lower one has registered the function as it was: that may be meant, so it is told."""
    app = flask.Flask("orders")

    @app.get("/v2/admin", endpoint="second")
    @require_flask("admin")
    @app.get("/admin")
    def admin() -> str:
        return "shown"

    StartCheck(app, (), house.log).at_start()
    assert [(event, facts["route"]) for event, facts in house.log.lines] == [("endpoint-is-open", "/admin")]


def test_flask_does_not_start_either(house: House) -> None:
    app = flask.Flask("orders")

    @require_flask("admin")
    @app.get("/admin")
    def admin() -> str:
        raise AssertionError("reached without its scope")

    with pytest.raises(Misconfigured, match=PLAIN):
        protect(app, **house.settings())


def test_what_is_added_below_the_line_that_protects_is_found_with_the_first_request(house: House) -> None:
    app = flask.Flask("orders")
    app.add_url_rule("/open", "open", open_view)
    protect(app, **house.settings(routes=[Route("/open", scopes=["read"])]))
    assert house.log.lines == []
    # A stranger does not choose the time of the second look: Flask takes routes until a request has reached it.
    stranger = house.caller().call("GET", b"/open").without("authorization")
    assert wsgi_server.ask(app.wsgi_app, stranger).status == 401
    house.realm.clock.advance(10)

    @require_flask("admin")
    @app.get("/admin")
    def admin() -> str:
        raise AssertionError("reached without its scope")

    app.add_url_rule("/open/below", "below", open_view)
    for _ in range(2):
        assert wsgi_server.ask(app.wsgi_app, house.caller().call("GET", b"/admin")).status == 503
        assert PLAIN in str(house.log.lines[-1])


async def test_a_stranger_does_not_choose_the_time_of_the_second_look(house: House) -> None:
    app = FastAPI()
    app.add_middleware(asgi.OrthrosMiddleware, **house.settings())
    await start(app)
    house.realm.clock.advance(10)
    assert (await ask(app, house.caller().call("GET", b"/admin").without("authorization"))).status == 401
    by_decorator(app)
    assert (await ask(app, house.caller().call("GET", b"/admin"))).status == 503


def test_rows_are_told_once_and_again_when_there_is_more(house: House) -> None:
    app = flask.Flask("orders", static_folder=None)
    app.add_url_rule("/exact/users", "users", open_view)
    start = StartCheck(app, [Route("/exact", scopes=["admin"])], house.log)
    start.at_start()
    told = [event for event, _facts in house.log.lines]
    assert told == ["route-never-matches", "route-is-exact"]
    start.at_start()
    assert len(house.log.lines) == 2
    app.add_url_rule("/exact/keys", "keys", open_view)
    start.at_request()
    assert house.log.lines[2:] == [("route-is-exact", house.log.lines[-1][1])]
    assert house.log.lines[-1][1]["without_its_scopes"] == "/exact/keys, /exact/users"


def test_a_function_that_is_marked_after_the_start_is_found(house: House) -> None:
    app = flask.Flask("orders")
    app.add_url_rule("/open", "open", open_view)
    start = StartCheck(app, (), house.log)
    start.at_start()

    def late() -> str:
        return "shown"

    app.add_url_rule("/late", "late", late)
    start.at_start()
    guarded = require_flask("admin")(late)
    with pytest.raises(Misconfigured, match=PLAIN):
        start.at_request()
    assert guarded is not late


def test_wsgi_without_a_start_fails_with_the_first_request(house: House) -> None:
    app = flask.Flask("orders")
    middleware = wsgi.OrthrosWsgiMiddleware(DispatcherMiddleware(open_view, {"/in": app}), **house.settings())  # type: ignore[arg-type]

    @require_flask("admin")
    @app.get("/admin")
    def admin() -> str:
        raise AssertionError("reached without its scope")

    house.realm.clock.advance(10)
    assert wsgi_server.ask(middleware, house.caller().call("GET", b"/in/admin")).status == 503
    assert "/in/admin" in str(house.log.lines[-1])


def starlette_app() -> Any:
    return Starlette(
        routes=[
            StarletteRoute("/exact", show),
            StarletteRoute("/exact/users", show),
            StarletteRoute("/exact/{name}/keys", show),
            Mount("/exact/below", routes=[StarletteRoute("/deep", show)]),
            StarletteRoute("/{name}", show),
            Mount("/files", StaticFiles(check_dir=False)),
        ]
    )


def flask_app() -> Any:
    app = flask.Flask("orders", static_folder=None)
    for number, rule in enumerate(("/exact", "/exact/users", "/exact/<name>/keys", "/exact/below/deep", "/<name>")):
        app.add_url_rule(rule, f"view-{number}", open_view)
    app.add_url_rule("/files/<path:name>", "files", open_view)
    return app.wsgi_app


def django_app() -> Any:
    return WSGIHandler()


def view(_request: Any) -> Any:
    return django.http.HttpResponse("shown")


urlpatterns = [
    path("exact", view), path("exact/users/", view), re_path(r"^exact/(?P<name>\w+)/keys$", view),
    path("exact/below/", include([path("deep", view)])), path("<name>", view),
    path("files/<path:name>", view),
]  # fmt: skip


@pytest.fixture(params=[starlette_app, flask_app, django_app])
def app(request: pytest.FixtureRequest) -> Any:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["orders.test"])
        django.setup(set_prefix=False)
    with override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["orders.test"], MIDDLEWARE=[]):
        yield request.param()


def warned(app: Any, *rows: Route) -> list[tuple[str, str, str | None]]:
    doubts = doubtful_rows(endpoints_of(app), Routes(rows))
    return [(event, facts["route"], facts.get("without_its_scopes")) for event, facts in doubts]


def test_endpoints_are_found(app: Any) -> None:
    assert {endpoint.path for endpoint in endpoints_of(app)} == {
        "/exact", "/exact/users", "/exact/*/keys", "/exact/below/deep", "/*", "/files/*",
    }  # fmt: skip


def test_a_scoped_row_that_stops_short_of_what_is_below_is_told(app: Any) -> None:
    """`/exact` holds for that path alone; what is below would be open to every caller."""
    below = "/exact/*/keys, /exact/below/deep, /exact/users"
    assert warned(app, Route("/exact", scopes=["admin"])) == [("route-is-exact", "/exact", below)]
    assert warned(app, Route("/exact", scopes=["admin"]), Route("/exact/users", scopes=["read", "admin"])) == [
        ("route-is-exact", "/exact", "/exact/*/keys, /exact/below/deep")
    ]
    for rows in (
        [Route("/exact/*", scopes=["admin"])],
        [Route("/exact")],
        [Route("/exact", scopes=["admin"]), Route("/exact/*", scopes=["admin"])],
        [Route("/exact", scopes=["admin"]), Route("/*", scopes=["admin"])],
        [Route("/name", scopes=["admin"])],
    ):
        assert warned(app, *rows) == [], rows


def test_a_row_that_matches_nothing_is_told(app: Any) -> None:
    """Such as one below another mount, or with the prefix that the server takes off."""
    assert warned(app, Route("/shop/exact/*", scopes=["admin"]), Route("/other/none")) == [
        ("route-never-matches", "/shop/exact/*", None),
        ("route-never-matches", "/other/none", None),
    ]
    assert warned(app, Route("/anything"), Route("/files/a/b/c"), Route("/files/*"), Route("/exact/below/*")) == []


def test_of_another_application_nothing_is_said() -> None:
    """No row is taken for wrong where nothing is known."""
    for unknown in (object(), open_view, partial(open_view), None):
        assert list(endpoints_of(unknown)) == []
        assert warned(unknown, Route("/exact", scopes=["admin"])) == []
