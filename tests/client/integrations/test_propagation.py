"""Through real applications: a handler serves its own caller, however many requests there are at once."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import django  # type: ignore[import-untyped]
import django.http  # type: ignore[import-untyped]
import fastapi
import flask
import httpx
import pytest
from attrs import define, field
from django.conf import settings  # type: ignore[import-untyped]
from django.core.handlers.asgi import ASGIHandler  # type: ignore[import-untyped]
from django.test.utils import override_settings  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route as Path_

from orthros_client.http.propagation import current
from orthros_client.http.server.routes import Route
from orthros_client.integrations import asgi, wsgi
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.verifier import Verifier
from orthros_protocol.errors import LocalMisuse
from orthros_protocol.testing import CountingEntropy, InMemoryRealm
from tests.support.asgi_transport import InProcess
from tests.support.http_caller import HttpCaller
from tests.support.http_target import RealmSource
from tests.support.wsgi_server import ask

ORIGIN = "http://orders.test"
AT_ONCE = 24
NAMES = [f"caller-{number}" for number in range(AT_ONCE)]
BACKENDS = ("asyncio", "trio")


@pytest.fixture
def realm() -> InMemoryRealm:
    realm = InMemoryRealm()
    for name in ("orders", *NAMES):
        realm.add(name)
    return realm


def options_of(realm: InMemoryRealm, **more: Any) -> dict[str, Any]:
    clock = realm.clock.now
    verifier = Verifier(realm.keytab("orders"), clock=clock, monotonic_ms=clock, entropy=CountingEntropy(b"orders"))
    return {"verifier": verifier, "origins": [ORIGIN], **more}


def served() -> str:
    """The name of whose request this code serves."""
    caller = current()
    return "nobody" if caller is None else caller.client.name


@define
class Meeting:
    """Nobody goes on before everybody is there: each of the requests is then being served."""

    inside: int = 0
    full: anyio.Event = field(factory=anyio.Event)

    async def join(self) -> None:
        self.inside += 1
        if self.inside == AT_ONCE:
            self.full.set()
        await self.full.wait()


async def call_at_once(app: Any, realm: InMemoryRealm, path: str) -> dict[str, str]:
    """What each of the callers got, when all of them call at the same time."""
    answers: dict[str, str] = {}

    async def call(name: str) -> None:
        auth = OrthrosAuth({ORIGIN: "orders"}, client=RealmSource(realm, name), accept_unproven_bodies=True)
        async with httpx.AsyncClient(auth=auth, transport=InProcess({ORIGIN: app}), base_url=ORIGIN) as client:
            answers[name] = (await client.get(path)).text

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for name in NAMES:
                group.start_soon(call, name)
    return answers


async def waiting(request: Request) -> Response:
    await request.app.state.meeting.join()
    return PlainTextResponse(served())


async def streaming(request: Request) -> Response:
    async def pieces() -> AsyncIterator[str]:
        yield served()
        await request.app.state.meeting.join()
        yield f" {served()}"

    return StreamingResponse(pieces(), media_type="text/plain")


async def in_a_group(request: Request) -> Response:
    seen: list[str] = []

    async def look() -> None:
        await request.app.state.meeting.join()
        seen.append(await anyio.to_thread.run_sync(served))

    async with anyio.create_task_group() as group:
        group.start_soon(look)
    return PlainTextResponse(seen[0])


@pytest.mark.parity("K18")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("streams", [False, True], ids=["held", "streamed"])
@pytest.mark.parametrize(
    ("endpoint", "told"), [(waiting, "{0}"), (streaming, "{0} {0}"), (in_a_group, "{0}")], ids=lambda one: str(one)[:20]
)
def test_asgi_requests_never_see_one_anothers_caller(
    endpoint: Callable[[Request], Awaitable[Response]], told: str, streams: bool, backend: str, realm: InMemoryRealm
) -> None:
    """Whatever one handler calls on behalf of its caller, it cannot call on behalf of another one's."""

    async def run() -> dict[str, str]:
        inner = Starlette(routes=[Path_("/", endpoint)])
        inner.state.meeting = Meeting()
        routes = [Route("/*", stream_responses=streams)]
        return await call_at_once(asgi.OrthrosMiddleware(inner, **options_of(realm, routes=routes)), realm, "/")

    assert anyio.run(run, backend=backend) == {name: told.format(name) for name in NAMES}


@pytest.mark.parity("K18")
@pytest.mark.parametrize("backend", BACKENDS)
def test_endpoints_in_threads_neither(backend: str, realm: InMemoryRealm) -> None:
    """FastAPI runs plain functions in a pool of threads, with a copy of the request's context."""
    everybody = threading.Barrier(AT_ONCE, timeout=20)
    inner = fastapi.FastAPI()

    @inner.get("/", response_class=PlainTextResponse)
    def endpoint() -> str:
        everybody.wait()
        return served()

    app = asgi.OrthrosMiddleware(inner, **options_of(realm))

    async def run() -> list[dict[str, str]]:
        return [await call_at_once(app, realm, "/") for _ in range(2)]  # the second time, in used threads

    assert anyio.run(run, backend=backend) == [{name: name for name in NAMES}] * 2


def call_in_threads(app: Any, realm: InMemoryRealm) -> tuple[dict[str, str], dict[str, str]]:
    """What each caller got from a server with a thread for each, twice; and whom the threads serve afterwards."""
    answers, afterwards = {}, {}
    options = {"origin": ("http", "orders.test:80"), "clock": realm.clock.now}
    callers = {name: HttpCaller.of(realm.issue(name, "orders"), **options) for name in NAMES}
    for caller in callers.values():
        first = caller.call()
        caller.refusal(first, ask(app, first))

    def call(name: str) -> None:
        answers[name] = ask(app, callers[name].call()).body.decode()
        afterwards[name] = served()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(2):
            assert list(pool.map(call, NAMES)) == [None] * AT_ONCE
    return answers, afterwards


@pytest.mark.parity("K18")
def test_threads_of_a_wsgi_server_neither(realm: InMemoryRealm) -> None:
    """Before, between and behind the pieces of a response, in threads that serve one request after the other."""
    everybody = threading.Barrier(AT_ONCE, timeout=20)

    def application(_environ: Any, start_response: Any) -> Iterator[bytes]:
        def pieces() -> Iterator[bytes]:
            yield served().encode()
            everybody.wait()
            yield f" {served()}".encode()

        everybody.wait()
        start_response("200 OK", [("Content-Type", served())])
        return pieces()

    for streams in (False, True):
        routes = [Route("/*", stream_responses=streams)]
        app = wsgi.OrthrosWsgiMiddleware(application, **options_of(realm, routes=routes))
        answers, afterwards = call_in_threads(app, realm)
        assert answers == {name: f"{name} {name}" for name in NAMES}
        assert set(afterwards.values()) == {"nobody"}


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_flask_views(is_async: bool, realm: InMemoryRealm) -> None:
    everybody = threading.Barrier(AT_ONCE, timeout=20)
    application = flask.Flask(__name__)

    def plain() -> str:
        everybody.wait()
        return served()

    async def asynchronous() -> str:
        await asyncio.to_thread(everybody.wait)
        return served()

    application.add_url_rule("/", view_func=asynchronous if is_async else plain)
    answers, afterwards = call_in_threads(wsgi.OrthrosWsgiMiddleware(application, **options_of(realm)), realm)
    assert answers == {name: name for name in NAMES}
    assert set(afterwards.values()) == {"nobody"}


MEETINGS: list[Meeting] = []


async def django_async(_request: Any) -> Any:
    await MEETINGS[-1].join()
    return django.http.HttpResponse(served())


def django_plain(_request: Any) -> Any:
    return django.http.HttpResponse(served())


async def django_bridged(_request: Any) -> Any:
    """Waits for nobody: Django has one thread for plain code."""
    await asyncio.sleep(0)
    return django.http.HttpResponse(served())


urlpatterns = [path("async", django_async), path("plain", django_plain), path("bridged", django_bridged)]


def plain_middleware(get_response: Any) -> Any:
    """Of Django's older kind: what it wraps runs in a thread, and asynchronous views back on the loop."""

    def respond(request: Any) -> Any:
        response = get_response(request)
        response["X-Served"] = served()
        return response

    return respond


@pytest.mark.parametrize(("view", "middlewares"), [("async", 0), ("plain", 0), ("plain", 2), ("bridged", 2)])
def test_django_views(view: str, middlewares: int, realm: InMemoryRealm) -> None:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["orders.test"])
        django.setup(set_prefix=False)

    async def run() -> dict[str, str]:
        MEETINGS.append(Meeting())
        app = asgi.OrthrosMiddleware(ASGIHandler(), **options_of(realm))
        return await call_at_once(app, realm, f"/{view}")

    names = [f"{__name__}.plain_middleware"] * middlewares
    with override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["orders.test"], MIDDLEWARE=names):
        assert anyio.run(run) == {name: name for name in NAMES}


@pytest.mark.parity("K18")
def test_a_task_that_outlives_its_request_has_no_authority(realm: InMemoryRealm) -> None:
    """Neither one of the framework, which begins when the answer has left, nor one that is left running."""
    seen: list[str] = []

    def look() -> None:
        try:
            seen.append(served())
        except LocalMisuse as error:
            seen.append(error.code)

    async def run() -> None:
        answered = asyncio.Event()
        left: list[asyncio.Task[None]] = []

        async def stays() -> None:
            look()
            await answered.wait()
            look()

        async def endpoint(_request: Request) -> Response:
            left.append(asyncio.create_task(stays()))
            await asyncio.sleep(0)
            return PlainTextResponse("done", background=BackgroundTask(look))

        app = asgi.OrthrosMiddleware(Starlette(routes=[Path_("/", endpoint)]), **options_of(realm))
        auth = OrthrosAuth({ORIGIN: "orders"}, client=RealmSource(realm, NAMES[0]))
        async with httpx.AsyncClient(auth=auth, transport=InProcess({ORIGIN: app}), base_url=ORIGIN) as client:
            assert (await client.get("/")).text == "done"
        answered.set()
        await left[0]

    asyncio.run(run())
    assert seen == ["wrong-state"] * 3


def test_under_wsgi_it_ends_with_the_last_piece(realm: InMemoryRealm) -> None:
    kept: list[contextvars.Context] = []
    told: list[str] = []

    class Pieces:
        """A body whose close comes after its end, as PEP 3333 has it."""

        def __iter__(self) -> Iterator[bytes]:
            kept.append(contextvars.copy_context())
            yield b"one"
            told.append(kept[0].run(served))
            yield b"two"

        def close(self) -> None:
            with pytest.raises(LocalMisuse):
                served()
            told.append("closed")

    def application(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return Pieces()

    app = wsgi.OrthrosWsgiMiddleware(application, **options_of(realm, routes=[Route("/*", stream_responses=True)]))
    caller = HttpCaller.of(realm.issue(NAMES[0], "orders"), clock=realm.clock.now)
    first = caller.call()
    caller.refusal(first, ask(app, first))
    assert ask(app, caller.call()).body == b"onetwo"
    assert told == [NAMES[0], "closed"]
    with pytest.raises(LocalMisuse):
        kept[0].run(served)


@pytest.mark.parametrize("kind", ["public", "observed"])
def test_who_was_not_verified_is_nobody(kind: str, realm: InMemoryRealm) -> None:
    """Also inside of a request of somebody else, as with applications that call one another in one process."""
    inner_options = {"routes": [Route("/*", public=True)]} if kind == "public" else {"mode": "observe"}
    told: list[str] = []

    async def endpoint(_request: Request) -> Response:
        return PlainTextResponse(served())

    inner = asgi.OrthrosMiddleware(Starlette(routes=[Path_("/", endpoint)]), **options_of(realm, **inner_options))

    async def outer(_request: Request) -> Response:
        async with httpx.AsyncClient(transport=InProcess({ORIGIN: inner}), base_url=ORIGIN) as client:
            told.append((await client.get("/")).text)
        return PlainTextResponse(served())

    async def run() -> str:
        app = asgi.OrthrosMiddleware(Starlette(routes=[Path_("/", outer)]), **options_of(realm))
        auth = OrthrosAuth({ORIGIN: "orders"}, client=RealmSource(realm, NAMES[1]))
        async with httpx.AsyncClient(auth=auth, transport=InProcess({ORIGIN: app}), base_url=ORIGIN) as client:
            return (await client.get("/")).text

    assert anyio.run(run) == NAMES[1]
    assert told == ["nobody"]
