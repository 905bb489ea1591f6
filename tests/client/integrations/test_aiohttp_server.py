"""aiohttp's server: streams, files, compression, websockets, its own answers. For all: test_middlewares.py."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from orthros_client.errors import Failure, TicketRefused
from orthros_client.http.propagation import current
from orthros_client.integrations.aiohttp_server import (
    OrthrosAiohttpMiddleware,
    RequestBodyMismatch,
    Route,
    answer_failed_calls,
    caller_of,
    protect,
    require,
)
from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.exchanges.http_profile import HttpReply
from orthros_protocol.primitives.derivation import digest
from tests.client.http.world import House
from tests.support.aiohttp_server import ask, ask_app
from tests.support.http_caller import Call, Received

LARGE = b"0123456789abcdef" * 20_000


@pytest.fixture
def house() -> House:
    return House()


class Orders:
    """One handler behind the middleware, and a caller that knows the epoch."""

    def __init__(self, house: House, handler: Any, **options: Any) -> None:
        self.middleware = OrthrosAiohttpMiddleware(web.Application(), **house.settings(**options))
        self.handler = handler
        self.caller = house.caller()
        first = self.caller.call("OPTIONS", flags=0)
        self.caller.refusal(first, self.ask(first))

    def ask(self, call: Call, **options: Any) -> Received:
        return ask(self.middleware, self.handler, call, **options)

    def get(self, method: str = "GET", **options: Any) -> tuple[Received, HttpReply]:
        call = self.caller.call(method, **options)
        received = self.ask(call)
        return received, self.caller.open(call, received)


@pytest.mark.parity("L11", "O11")
def test_a_stream_is_held_until_it_can_be_proven_or_leaves_without_proof_of_its_body(house: House) -> None:
    """By its size, as everywhere. What a handler announced is not exceeded."""

    async def streams(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        for at in range(0, len(LARGE), 1 << 16):
            await response.write(LARGE[at : at + (1 << 16)])
        return response

    received, reply = Orders(house, streams).get()
    assert (received.body, reply.body_digest, reply.covered) == (LARGE, digest(LARGE), ("content-type",))
    received, reply = Orders(house, streams, hold_bytes=1000).get()
    assert (received.body, reply.body_digest) == (LARGE, None)

    async def announces_less(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "5"})
        await response.prepare(request)
        await response.write(b"hello world")
        return response

    received, reply = Orders(house, announces_less).get()
    assert (received.body, reply.body_digest) == (b"hello", digest(b"hello"))


def test_files_and_generators_are_proven(house: House, tmp_path: Path) -> None:
    """No `sendfile` past the proof; pieces are made while the request still serves its caller."""
    path = tmp_path / "file.txt"
    path.write_bytes(LARGE)

    async def file(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    received, reply = Orders(house, file).get()
    assert (received.body, reply.body_digest) == (LARGE, digest(LARGE))
    received, _reply = Orders(house, file).get("HEAD")
    assert received.header("content-length") == str(len(LARGE)).encode()

    async def generator(request: web.Request) -> web.StreamResponse:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"acts" if current() is caller_of(request) else b"another"

        return web.Response(body=pieces())

    received, reply = Orders(house, generator).get()
    assert (received.body, reply.body_digest) == (b"acts", digest(b"acts"))


@pytest.mark.parametrize("kind", [web.Response, web.StreamResponse])
def test_compression_is_proven_as_it_travels(kind: Any, house: House) -> None:
    async def packs(request: web.Request) -> web.StreamResponse:
        response: web.StreamResponse = kind(headers={"Content-Type": "text/plain"})
        response.enable_compression()
        if isinstance(response, web.Response):
            response.body = b"hello " * 500
            return response
        await response.prepare(request)
        for _ in range(500):
            await response.write(b"hello ")
        await response.write_eof()
        return response

    received, reply = Orders(house, packs).get(headers=[("accept-encoding", b"gzip")])
    assert gzip.decompress(received.body) == b"hello " * 500
    assert (reply.covered, reply.body_digest) == (("content-type", "content-encoding"), digest(received.body))


@pytest.mark.parity("L6")
def test_bodies_are_checked_while_they_are_read_and_before_an_answer_leaves(house: House) -> None:
    """Whichever way aiohttp reads them; also when the handler reads nothing, or swallows the error."""
    read: list[bytes] = []

    async def reads(request: web.Request) -> web.StreamResponse:
        way = request.query.get("way")
        if way == "chunks":
            read.extend([piece async for piece in request.content.iter_chunked(10_000)])
        elif way == "lines":
            with suppress(RequestBodyMismatch):
                while line := await request.content.readline():
                    read.append(line)
        elif way == "all":
            read.append(await request.read())
        return web.Response(text="done")

    orders = Orders(house, reads)
    lines = LARGE.replace(b"f0", b"f\n")
    for way in (b"chunks", b"all"):
        read.clear()
        received, _reply = orders.get("POST", target=b"/?way=" + way, body=LARGE)
        assert (received.body, b"".join(read)) == (b"done", LARGE)
    for way in (b"chunks", b"all", b"none", b"lines"):
        read.clear()
        call = orders.caller.call("POST", b"/?way=" + way, body=lines)
        received = orders.ask(call, pieces=[lines[:200_000], lines[200_000:-1] + b"x"])
        assert (received.status, json.loads(received.body)["code"]) == (400, "body-mismatch")
        orders.caller.open(call, received)
        assert b"x" not in b"".join(read)
    call = orders.caller.call("POST", b"/?way=all", body=LARGE, sized=False)
    assert json.loads(orders.ask(call).body)["code"] == "not-covered"
    chunks = Orders(house, reads, routes=[Route("/*", unsized_bodies=True)])
    received, _reply = chunks.get("POST", target=b"/?way=all", body=LARGE, sized=False)
    assert received.body == b"done"


def test_a_compressed_body_needs_a_server_that_leaves_it_alone(house: House) -> None:
    """What is signed is what travels; aiohttp would decompress it before anything could be checked."""

    async def reads(request: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.decompress(await request.read()))

    packed = gzip.compress(b"hello " * 100)
    orders = Orders(house, reads)
    headers = [("content-encoding", b"gzip")]
    call = orders.caller.call("POST", headers=headers, body=packed)
    assert json.loads(orders.ask(call).body)["code"] == "body-mismatch"
    app = web.Application(middlewares=[orders.middleware], handler_args={"auto_decompress": False, "access_log": None})
    app.router.add_post("/", reads)
    call = orders.caller.call("POST", headers=headers, body=packed)
    assert asyncio.run(ask_app(app, call)).body == b"hello " * 100


def test_what_aiohttp_answers_by_itself_is_proven(house: House) -> None:
    """Errors that it raises, pages that are not there, statuses that it knows."""

    async def raises(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/there")

    received, reply = Orders(house, raises).get()
    assert (received.status, reply.covered) == (302, ("content-type", "location"))
    orders = Orders(house, raises)
    for method, target, status in (("GET", b"/nowhere", 404), ("DELETE", b"/here", 405)):
        app = web.Application(middlewares=[orders.middleware], handler_args={"access_log": None})
        app.router.add_get("/here", raises)
        call = orders.caller.call(method, target)
        received = asyncio.run(ask_app(app, call))
        assert received.status == status
        orders.caller.open(call, received)

    async def switches(request: web.Request) -> web.StreamResponse:
        with pytest.raises(LocalMisuse, match="101"):
            await web.StreamResponse(status=101).prepare(request)
        return web.Response(text="not switched")

    assert Orders(house, switches).get()[0].body == b"not switched"


@pytest.mark.parity("L11")
def test_websockets_are_for_public_routes(house: House) -> None:
    """Nothing proves what is said over one."""
    callers: list[Any] = []

    async def talks(request: web.Request) -> web.StreamResponse:
        callers.append(caller_of(request))
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.send_str("hello")
        return websocket

    async def run() -> None:
        app = web.Application(handler_args={"access_log": None})
        app.router.add_get("/{which}", talks)
        protect(app, **house.settings(routes=[Route("/open", public=True)]))
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host = {"Host": "orders.test"}
        try:
            async with aiohttp.ClientSession() as session:
                port = runner.addresses[0][1]
                with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                    await session.ws_connect(f"http://127.0.0.1:{port}/closed", headers=host)
                async with session.ws_connect(f"http://127.0.0.1:{port}/open", headers=host) as websocket:
                    assert await websocket.receive_str() == "hello"
        finally:
            await runner.cleanup()

    asyncio.run(run())
    assert callers == [None]
    call = (orders := Orders(house, talks)).caller.call("GET", b"/closed", flags=0).with_header("upgrade", b"websocket")
    assert (orders.ask(call).status, callers) == (403, [None])


class Reports(web.View):
    """A handler that is a class."""

    @require("read")
    async def get(self) -> web.StreamResponse:
        caller = caller_of(self.request)
        assert caller is not None
        return web.Response(text=str(caller.client))

    @require("write")
    async def post(self) -> web.StreamResponse:
        raise AssertionError("reached without its scope")


async def called_on(_request: web.Request) -> web.StreamResponse:
    raise TicketRefused(Failure.refused("not-granted"))


def make_app(house: House, **options: Any) -> tuple[web.Application, OrthrosAiohttpMiddleware]:
    app = web.Application(handler_args={"access_log": None})
    app.router.add_view("/reports/{id}", Reports)
    app.router.add_get("/calls-on", called_on)
    answer_failed_calls(app, log=house.log)
    return app, protect(app, **house.settings(**options))


@pytest.mark.parity("L19", "B2")
def test_one_call_protects_an_application_and_each_handler_names_its_scopes(house: House) -> None:
    orders = Orders(house, called_on)
    for method, target, status in (
        ("GET", b"/reports/7", 200),
        ("POST", b"/reports/7", 403),
        ("GET", b"/calls-on", 502),
    ):
        app, _middleware = make_app(house)
        app.middlewares[0] = orders.middleware  # which has met the caller
        app.on_startup.clear()
        call = orders.caller.call(method, target)
        received = asyncio.run(ask_app(app, call))
        assert received.status == status
        orders.caller.open(call, received)
    assert "onward-refused" in house.log.events


@pytest.mark.parity("L12")
def test_an_application_that_is_not_guarded_does_not_start(house: House) -> None:
    """A middleware outside, a handler without its @require; rows that nothing serves are told."""

    async def start(app: web.Application) -> None:
        runner = web.AppRunner(app)
        try:
            await runner.setup()
        finally:
            await runner.cleanup()

    app, _middleware = make_app(
        house, routes=[Route("/raports/*", scopes=["read"]), Route("/reports/*", scopes=["read"])]
    )
    asyncio.run(start(app))
    assert [facts["route"] for event, facts in house.log.lines if event == "route-never-matches"] == ["/raports/*"]

    @web.middleware
    async def outside(request: web.Request, handler: Any) -> web.StreamResponse:
        response: web.StreamResponse = await handler(request)
        return response

    app, _middleware = make_app(house)
    app.middlewares.insert(0, outside)
    with pytest.raises(Misconfigured, match="call protect"):
        asyncio.run(start(app))
    app, _middleware = make_app(house)
    app.router.add_get("/bare", require("read")(called_on).__wrapped__)  # type: ignore[attr-defined]
    with pytest.raises(Misconfigured, match="without its @require"):
        asyncio.run(start(app))
    bare = web.Application(handler_args={"access_log": None})
    bare.router.add_view("/reports/{id}", Reports)
    received = asyncio.run(ask_app(bare, house.caller().call("GET", b"/reports/7")))
    assert (received.status, received.header("www-authenticate")) == (401, b'Orthros realm="none"')
    with pytest.raises(TypeError, match="coroutine"):
        require("read")(lambda _request: None)  # type: ignore[type-var]
