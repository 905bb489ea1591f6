"""Starlette and FastAPI: scopes per endpoint, wherever in the stack the middleware stands."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
import trio
from fastapi import Depends, FastAPI, Request
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route as StarletteRoute

from orthros_client.errors import Failure, TicketRefused
from orthros_client.integrations.starlette import (
    Caller,
    OrthrosMiddleware,
    Route,
    answer_failed_calls,
    caller_of,
    require,
    self_test,
)
from orthros_client.reasons import KDC_UNREACHABLE
from orthros_client.remedies import Asked
from orthros_protocol.errors import Misconfigured, PeerMisbehaved, Unavailable
from orthros_protocol.primitives.derivation import digest
from tests.client.http.world import House
from tests.support.asgi_server import ask, pieces_of
from tests.support.http_caller import HttpCaller, Received

FORM = ("content-type", b"application/x-www-form-urlencoded")


@pytest.fixture
def house() -> House:
    return House()


def fastapi_app() -> FastAPI:
    app = FastAPI()

    @app.get("/read")
    def read(caller: Annotated[Caller, Depends(require("read"))]) -> dict[str, str]:
        return {"for": str(caller.client)}

    @app.get("/write")
    async def write(caller: Annotated[Caller, Depends(require("write"))]) -> dict[str, str]:
        raise AssertionError("reached without its scope")

    @app.get("/inside")
    async def inside(request: Request) -> dict[str, str]:
        caller = caller_of(request)
        assert caller is not None
        caller.require("write")
        return {}

    @app.post("/body")
    async def body(content: dict[str, Any]) -> dict[str, Any]:
        return content

    return app


def starlette_app() -> Starlette:
    @require("read")
    async def read(request: Request) -> Response:
        return PlainTextResponse("read")

    @require("write")
    def write(request: Request) -> Response:
        raise AssertionError("reached without its scope")

    class Inside(HTTPEndpoint):
        @require("write")
        async def get(self, request: Request) -> Response:
            raise AssertionError("reached without its scope")

    async def body(request: Request) -> Response:
        return PlainTextResponse(await request.body())

    return Starlette(
        routes=[
            StarletteRoute("/read", read),
            StarletteRoute("/write", write),
            StarletteRoute("/inside", Inside),
            StarletteRoute("/body", body, methods=["POST"]),
        ]
    )


def wrapped(app: Any, house: House, inside: bool, **changes: Any) -> Any:
    """The middleware within the framework's own stack, or around everything."""
    if not inside:
        return OrthrosMiddleware(app, **house.settings(**changes))
    app.add_middleware(OrthrosMiddleware, **house.settings(**changes))
    return app


async def met(house: House, app: Any, **options: Any) -> HttpCaller:
    caller = house.caller(**options)
    call = caller.call("OPTIONS", flags=0)
    assert caller.refusal(call, (await ask(app, call)).received).code == "epoch-required"
    return caller


async def get(app: Any, caller: HttpCaller, target: bytes) -> Received:
    call = caller.call("GET", target)
    received = (await ask(app, call)).received
    caller.open(call, received)
    return received


@pytest.mark.parity("L19")
@pytest.mark.parametrize("inside", [True, False], ids=["add_middleware", "around"])
@pytest.mark.parametrize("make", [fastapi_app, starlette_app])
async def test_scopes_of_an_endpoint(make: Any, inside: bool, house: House) -> None:
    """403 and insufficient_scope with what is needed, proven like every other response."""
    app = wrapped(make(), house, inside)
    caller = await met(house, app)
    assert (await get(app, caller, b"/read")).status == 200
    for target in (b"/write", b"/inside"):
        received = await get(app, caller, target)
        told = json.loads(received.body)
        assert (received.status, told["error"]) == (403, "insufficient_scope")
        assert "lacks write" in told["error_description"]
        assert (target == b"/inside" and make is fastapi_app) or told["scope"] == "write"
    assert (await get(app, caller, b"/nowhere")).status == 404


@pytest.mark.parity("B2")
@pytest.mark.parametrize("inside", [True, False], ids=["add_middleware", "around"])
@pytest.mark.parametrize("make", [FastAPI, Starlette])
async def test_a_call_that_an_endpoint_made_and_did_not_get(make: Any, inside: bool, house: House) -> None:
    """Alone and in a group of tasks; what is told to its own caller, and what is a bug, stay what they are."""
    asked = Asked(target="ledger", client="orders", subject="users/ada", on_behalf=True)

    async def refused(request: Request) -> Response:
        error = TicketRefused(Failure.refused("chain-refused"))
        error.asked = asked
        raise error

    async def in_a_group(request: Request) -> Response:
        raise ExceptionGroup("tasks", [Unavailable(KDC_UNREACHABLE)])

    async def own(request: Request) -> Response:
        caller = caller_of(request)
        assert caller is not None
        raise ExceptionGroup("tasks", [caller.refusal("vetoed")])

    async def bug(request: Request) -> Response:
        raise PeerMisbehaved("malformed")

    app = make()
    for endpoint in (refused, in_a_group, own, bug):
        app.add_route(f"/{endpoint.__name__}", endpoint)
    answer_failed_calls(app, log=house.log)
    app = wrapped(app, house, inside)
    caller = await met(house, app)
    told = {}
    for path in (b"/refused", b"/in_a_group", b"/own"):
        received = await get(app, caller, path)
        told[path] = (received.status, json.loads(received.body)["code"])
    assert told == {
        b"/refused": (403, "chain-refused"),
        b"/in_a_group": (503, "kdc-unreachable"),
        b"/own": (403, "vetoed"),
    }
    assert house.log.events == ["onward-refused", "onward-unavailable", "refused"]
    with pytest.raises(PeerMisbehaved):
        await ask(app, caller.call("GET", b"/bug"))


@pytest.mark.parametrize("inside", [True, False], ids=["add_middleware", "around"])
@pytest.mark.parametrize("make", [fastapi_app, starlette_app])
async def test_another_body_is_a_refusal_whatever_the_framework_makes_of_it(
    make: Any, inside: bool, house: House
) -> None:
    app = wrapped(make(), house, inside)
    caller = await met(house, app)
    call = caller.call("POST", b"/body", headers=[("content-type", b"application/json")], body=b'{"pay": 1}')
    received = (await ask(app, call, pieces=pieces_of(b'{"pay": 9}', 4))).received
    caller.open(call, received)
    assert (received.status, json.loads(received.body)["code"]) == (400, "body-mismatch")


async def test_streams_and_background_tasks(house: House) -> None:
    done = trio.Event()

    async def numbers() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d" % number

    async def finish() -> None:
        done.set()

    async def stream(request: Request) -> Response:
        return StreamingResponse(numbers(), background=BackgroundTask(finish))

    app = OrthrosMiddleware(Starlette(routes=[StarletteRoute("/", stream, methods=["POST"])]), **house.settings())
    caller = await met(house, app)
    call = caller.call("POST", body=b"never read by the endpoint")
    assert (await ask(app, call, pieces=[b"ever read by the endpoint?"])).status == 400
    assert not done.is_set()
    call = caller.call("POST", body=b"never read by the endpoint")
    received = (await ask(app, call, pieces=pieces_of(call.body, 5))).received
    assert caller.open(call, received).body_digest == digest(b"012")
    assert done.is_set()


async def test_a_public_endpoint_that_asks_for_a_caller_all_the_same(house: House) -> None:
    app = OrthrosMiddleware(starlette_app(), **house.settings(routes=[Route("/read", public=True)]))
    received = (await ask(app, house.caller().call("GET", b"/read").without("authorization"))).received
    assert received.status == 401
    assert received.header("www-authenticate") == b'Orthros realm="test.realm"'


async def test_without_a_middleware_nobody_is_served(house: House) -> None:
    for app in (starlette_app(), fastapi_app()):
        received = (await ask(app, house.caller().call("GET", b"/read"))).received
        assert (received.status, received.header("www-authenticate")) == (401, b'Orthros realm="none"')
        assert b"no Orthros middleware" in received.body


@pytest.mark.parity("L1")
async def test_observing_counts_what_an_endpoint_would_refuse(house: House) -> None:
    middleware = OrthrosMiddleware(starlette_app(), **house.settings(mode="observe"))
    assert (await ask(middleware, house.caller().call("GET", b"/read").without("authorization"))).status == 200
    assert middleware.guard.counts() == {("/*", "credentials-missing"): 2}  # at the gate, and at the endpoint


@pytest.mark.parity("L12")
async def test_a_wrong_order_of_middlewares_is_flagged_at_start(house: House) -> None:
    """One that answers by itself, and stands outside, shows in the self-test."""

    class Cache:
        def __init__(self, app: Any) -> None:
            self._app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] == "/read":
                await PlainTextResponse("from the cache")(scope, receive, send)
            else:
                await self._app(scope, receive, send)

    for outside in (False, True):
        app = starlette_app()
        if not outside:
            app.add_middleware(Cache)
        app.add_middleware(OrthrosMiddleware, **house.settings(routes=[Route("/read", scopes=["read"])]))
        if outside:
            app.add_middleware(Cache)
        reported: list[dict[str, Any]] = []
        events = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

        async def receive(events: Any = events) -> Any:
            return events.pop()

        async def send(message: Any, reported: Any = reported) -> None:
            reported.append(message)

        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
        assert reported[0]["type"] == ("lifespan.startup.failed" if outside else "lifespan.startup.complete")
        assert not outside or "GET /read without credentials: the application answered 200" in reported[0]["message"]


async def test_no_handler_has_a_second_name_beside_its_mount_point(house: House) -> None:
    """Starlette serves /admin and /api/admin alike where the application says that it is mounted at /api."""
    inner = FastAPI()

    @inner.get("/admin")
    def admin() -> str:
        return "served"

    def mounted(*rows: Route) -> Any:
        guarded = OrthrosMiddleware(inner, **house.settings(routes=rows))

        async def outermost(scope: Any, receive: Any, send: Any) -> None:
            await guarded(scope | {"root_path": "/api/"}, receive, send)

        return outermost

    app = mounted(Route("/admin", scopes=["write"]))
    caller = house.caller()
    call = caller.call("OPTIONS", b"/api/admin", flags=0)
    caller.refusal(call, (await ask(app, call)).received)
    assert (await get(app, caller, b"/api/admin")).status == 403
    for second in (b"/admin", b"/apiadmin"):
        assert (await ask(app, caller.call("GET", second))).status == 400
    rows = [Route("/admin"), Route("/*", scopes=["write"])]
    await self_test(mounted(*rows), rows, host="orders.test", root_path="/api")
    with pytest.raises(Misconfigured, match="mounted at /api, so write /admin"):
        await self_test(app, [Route("/api/admin")], host="orders.test", root_path="/api")


def test_misuse_is_told_at_once(house: House) -> None:
    with pytest.raises(Misconfigured, match="origins"):
        OrthrosMiddleware(starlette_app(), **house.settings(origins=[]))
