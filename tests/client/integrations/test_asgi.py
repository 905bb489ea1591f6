"""The ASGI middleware: what streams, events and lifespans bring. What it shares with WSGI: test_middlewares.py."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio

from orthros_client.integrations.asgi import OrthrosMiddleware, RequestBodyMismatch, Route, self_test
from orthros_client.verifier import VerifiedCaller
from orthros_protocol.errors import LocalMisuse, Misconfigured, Refused
from orthros_protocol.exchanges.http_profile import format_content_digest
from orthros_protocol.primitives.derivation import RunningDigest, digest
from tests.client.http.world import House
from tests.support.asgi_server import ask, collect, pieces_of, respond, scope_of
from tests.support.http_caller import HttpCaller
from tests.support.http_changes import BAD_BODIES

MIB = 1024 * 1024


class Service:
    """An application that remembers who called and what it read."""

    def __init__(self) -> None:
        self.callers: list[VerifiedCaller | None] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.callers.append(scope["orthros.caller"])
        self.bodies.append(await collect(receive))
        await respond(send, body=b"served")


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def service() -> Service:
    return Service()


async def met(house: House, app: Any, **options: Any) -> HttpCaller:
    """A caller that has met the service and knows its epoch."""
    extensions = {"tls": {"der": options.pop("der", b"")}}
    caller = house.caller(**options)
    call = caller.call("OPTIONS", flags=0)
    assert caller.refusal(call, (await ask(app, call, extensions=extensions)).received).code == "epoch-required"
    return caller


async def test_a_refusal_leaves_the_connection_usable(house: House, service: Service) -> None:
    """The body is read before its request is refused: servers hang up otherwise, and the repeat goes elsewhere."""
    app = OrthrosMiddleware(service, **house.settings())
    kind, larger = [("content-type", b"text/plain")], b"x" * 65_537

    async def taken(body: bytes, *, stranger: bool = False, length: int | None = None) -> int:
        caller = house.caller()
        call = caller.call("POST", b"/orders", headers=kind, body=body)
        if length is not None:
            call = call.replaced("content-length", b"%d" % length)
        if stranger:
            call = call.without("authorization")
        refused = await ask(app, call, pieces=pieces_of(body, 1000))
        assert refused.status == 401
        assert stranger or caller.refusal(call, refused.received).code == "epoch-required"
        return refused.taken

    assert await taken(b"x" * 5000) == 5
    assert await taken(b"x" * 5000, stranger=True) == 5
    # A caller that has proven its ticket repeats the request, if there is a connection left to do so.
    assert await taken(larger) == 66
    assert await taken(larger, stranger=True) == 0
    assert await taken(larger, length=16 * MIB + 1) == 0
    gone = await ask(app, house.caller().call("POST", b"/orders", body=b"x"), pieces=[], cut=True)
    assert gone.status == 401
    assert service.callers == []


async def test_chunks_of_a_refused_request_are_read_as_far_as_they_are_worth_it(house: House, service: Service) -> None:
    app = OrthrosMiddleware(service, **house.settings())
    for size, expected in ((5000, 5), (70_000, 66)):
        body = b"x" * size
        call = house.caller().call("POST", b"/orders", body=body, sized=False).without("authorization")
        assert (await ask(app, call, pieces=pieces_of(body, 1000))).taken == expected


async def test_over_http_2_an_answer_ends_after_its_request(house: House) -> None:
    """hypercorn's connection breaks otherwise, and under trio the worker ends: at anybody's upload that is refused."""

    async def never_reads(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, 404)

    app = OrthrosMiddleware(never_reads, **house.settings(routes=[Route("/open", public=True)]))
    caller = await met(house, app)
    body = b"x" * 100_000
    stranger = caller.call("POST", body=body).without("authorization")
    other = caller.call("POST", body=b"y" * len(body), sha256=digest(body), sized=False).without("transfer-encoding")
    for call, status in ((stranger, 401), (caller.call("POST", body=body), 404), (other, 401)):
        pieces = pieces_of(call.body, 10_000)
        seen = await ask(app, call, pieces=pieces, last_empty=True, http_version="2")
        assert (seen.status, seen.taken, seen.complete) == (status, 10, True)
        *answer, last = seen.sent
        assert (answer[-1]["body"] != b"", answer[-1]["more_body"], last["body"], last["more_body"]) == (
            True, True, b"", False,
        )  # fmt: skip
    public = caller.call("POST", b"/open", body=body).without("authorization")
    assert (await ask(app, public, pieces=pieces_of(body, 10_000), http_version="2")).taken == 0


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies count as too large to be read before the application begins."""
    monkeypatch.setattr("orthros_client.http.server.exchange.MOST_READ_AHEAD", 0)


async def test_a_route_may_take_bodies_of_unknown_length(house: House, service: Service) -> None:
    app = OrthrosMiddleware(service, **house.settings(routes=[Route("/upload", unsized_bodies=True)]))
    caller = await met(house, app)
    call = caller.call("POST", b"/upload", body=b"abcdef", sized=False)
    assert (await ask(app, call, pieces=[b"ab", b"cd", b"ef"], last_empty=True)).status == 200
    assert service.bodies == [b"abcdef"]
    call = caller.call("POST", b"/upload", body=b"abcdef", sized=False)
    seen = await ask(app, call, pieces=[b"ab", b"cd", b"eX"], last_empty=True)
    assert seen.status == 400
    assert service.bodies == [b"abcdef"]


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("sent", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_another_body_is_an_error_in_the_application_and_a_refusal_outside(
    sent: dict[str, Any], house: House
) -> None:
    """The application cannot answer 2xx to it: not when it lets the error pass, swallows it, or never reads."""
    errors: list[BaseException] = []

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        try:
            await collect(receive)
        except RequestBodyMismatch as error:
            errors.append(error)
            raise
        await respond(send)

    async def swallows(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            try:
                await collect(receive)
            except RequestBodyMismatch as error:
                errors.append(error)
        await respond(send)

    async def answers_first(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)

    for application in (reads, swallows, answers_first):
        app = OrthrosMiddleware(application, **house.settings())
        caller = await met(house, app)
        call = caller.call("POST", body=b"hello world")
        received = (await ask(app, call, **sent)).received
        assert received.status == 400, application
        assert json.loads(received.body)["code"] == "body-mismatch"
        assert caller.open(call, received).body_digest is not None
        assert caller.refusal(call, received).code == "body-mismatch"
    assert len(errors) >= 1
    assert all(isinstance(error, Refused) for error in errors)


@pytest.mark.parametrize("sent", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_a_small_body_that_is_another_one_never_reaches_the_application(
    sent: dict[str, Any], house: House, service: Service
) -> None:
    """Its caller is told so: the call has certainly not been executed."""
    app = OrthrosMiddleware(service, **house.settings())
    caller = await met(house, app)
    call = caller.call("POST", body=b"hello world")
    refusal = caller.refusal(call, (await ask(app, call, **sent)).received)
    assert (refusal.code, refusal.before_handler) == ("body-mismatch", True)
    assert service.callers == []


async def test_a_small_body_reaches_the_application_whole(house: House) -> None:
    read: list[tuple[bytes, bool]] = []

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        read.append((message["body"], message["more_body"]))
        await respond(send)

    app = OrthrosMiddleware(application, **house.settings())
    caller = await met(house, app)
    assert (await ask(app, caller.call("POST", body=b"onetwo"), pieces=[b"one", b"two"], last_empty=True)).status == 200
    assert read == [(b"onetwo", False)]


@pytest.mark.usefixtures("streamed")
async def test_the_last_piece_waits_for_the_digest(house: House) -> None:
    read: list[bytes] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        while True:
            read.append((await receive())["body"])

    app = OrthrosMiddleware(application, **house.settings())
    caller = await met(house, app)
    assert (await ask(app, caller.call("POST", body=b"aabbcc"), pieces=[b"aa", b"bb", b"cX"])).status == 400
    assert read == [b"aa", b"bb"]


@pytest.mark.usefixtures("streamed")
async def test_an_upload_that_is_cut_off_succeeds_nowhere(house: House) -> None:
    kinds: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            kinds.append((await receive())["type"])
            if kinds[-1] == "http.disconnect":
                break
        await respond(send)

    app = OrthrosMiddleware(application, **house.settings())
    caller = await met(house, app)
    seen = await ask(app, caller.call("POST", body=b"hello world"), pieces=[b"hel", b"lo"], cut=True)
    assert kinds == ["http.request", "http.request", "http.disconnect"]
    assert seen.status == 400  # whoever has only stopped sending can still read this
    assert app.guard.counts()["/*", "body-mismatch"] == 1


async def test_an_upload_that_is_cut_off_with_its_connection_is_no_error_of_the_service(house: House) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        while True:
            await receive()

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise ConnectionResetError

    app = OrthrosMiddleware(application, **house.settings())
    caller = await met(house, app)
    await app(scope_of(caller.call("POST", body=b"hello world")), receive, send)
    assert app.guard.counts()["/*", "body-mismatch"] == 1


async def test_work_after_a_response_that_was_refused_does_not_begin(house: House) -> None:
    """Frameworks run background tasks once the response is sent; this one never was."""
    done: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)
        done.append("background")

    app = OrthrosMiddleware(application, **house.settings())
    caller = await met(house, app)
    call = caller.call("POST", body=b"pay 1")
    assert (await ask(app, call, pieces=[b"pay 9"])).status == 400
    assert (await ask(app, caller.call("POST", body=b"pay 1"), pieces=[b"pay"], cut=True)).status == 400
    assert done == []
    assert (await ask(app, caller.call("POST", body=b"pay 1"))).status == 200
    assert done == ["background"]


async def test_a_large_upload_needs_no_memory(house: House) -> None:
    """64 MiB here; nothing in it depends on the size, so a gigabyte takes the same memory."""
    size = 64 * MIB
    piece = bytes(range(256)) * 256
    running = RunningDigest()
    for _ in range(size // len(piece)):
        running.update(piece)
    totals: list[int] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        total = 0
        while True:
            message = await receive()
            total += len(message["body"])
            if not message["more_body"]:
                break
        totals.append(total)
        await respond(send)

    def stream() -> Iterator[bytes]:
        for _ in range(size // len(piece)):
            yield bytes(bytearray(piece))

    app = OrthrosMiddleware(application, **house.settings())
    caller = await met(house, app)
    call = caller.call("POST", body=b"?", sha256=running.digest()).replaced("content-length", b"%d" % size)
    tracemalloc.start()
    try:
        assert (await ask(app, call, pieces=stream())).status == 200
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert totals == [size]
    assert peak < 2 * MIB


async def test_a_streamed_response_is_held_as_long_as_it_is_small(house: House) -> None:
    app = OrthrosMiddleware(streaming(b"x" * 1000, pieces=10), **house.settings())
    caller = await met(house, app)
    call = caller.call()
    assert caller.open(call, (await ask(app, call)).received).body_digest == digest(b"x" * 1000)
    app = OrthrosMiddleware(streaming(b"x" * 1000, pieces=10), **house.settings(hold_bytes=500))
    caller = await met(house, app)
    call = caller.call()
    seen = await ask(app, call)
    assert caller.open(call, seen.received).body_digest is None
    assert seen.received.body == b"x" * 1000
    assert len(seen.sent) == 1 + 5  # the head and what was held, then one by one


async def test_events_are_not_held(house: House) -> None:
    events = ((b"content-type", b"text/event-stream; charset=utf-8"),)
    app = OrthrosMiddleware(streaming(b"data: x\n\n" * 3, pieces=3, headers=events), **house.settings())
    caller = await met(house, app)
    call = caller.call()
    seen = await ask(app, call)
    assert len(seen.sent) == 4
    assert caller.open(call, seen.received).body_digest is None


def streaming(body: bytes, **options: Any) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await respond(send, body=body, **options)

    return application


async def test_the_applications_own_digest_covers_a_stream(house: House) -> None:
    body = b"y" * 1000
    named = ((b"content-digest", format_content_digest(digest(body))), (b"content-length", b"1000"))
    app = OrthrosMiddleware(streaming(body, pieces=10, headers=named), **house.settings(hold_bytes=500))
    caller = await met(house, app)
    call = caller.call()
    seen = await ask(app, call)
    assert caller.open(call, seen.received).body_digest == digest(body)
    assert len(seen.sent) == 1 + 10
    wrong = ((b"content-digest", format_content_digest(digest(b"other"))), (b"content-length", b"1000"))
    app = OrthrosMiddleware(streaming(body, pieces=10, headers=wrong), **house.settings(hold_bytes=500))
    caller = await met(house, app)
    sent: list[Any] = []
    with pytest.raises(Exception, match="Content-Digest"):
        await app(scope_of(caller.call()), never, collector(sent))
    assert len(sent) == 1 + 9  # the last piece never leaves


async def never() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


def collector(sent: list[Any]) -> Callable[[Any], Awaitable[None]]:
    async def send(message: Any) -> None:
        sent.append(message)

    return send


@pytest.mark.parity("L19")
async def test_an_error_page_of_the_framework_does_not_take_the_place_of_a_refusal(house: House) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        try:
            scope["orthros.caller"].require("write")
        except Exception:
            await respond(send, 500, b"oops")
            raise

    app = OrthrosMiddleware(application, **house.settings())
    caller = await met(house, app)
    call = caller.call()
    received = (await ask(app, call)).received
    assert received.status == 403
    assert caller.open(call, received).body_digest == digest(received.body)
    assert caller.refusal(call, received).code == "insufficient-scope"


async def test_an_application_that_raises_is_told_apart_from_an_attacker(house: House) -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("secret of the application")

    async def raises_later(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise KeyError("late")

    app = OrthrosMiddleware(application, **house.settings())
    caller = await met(house, app)
    call = caller.call()
    sent: list[Any] = []
    with pytest.raises(KeyError):
        await app(scope_of(call), never, collector(sent))
    assert sent[0]["status"] == 500
    assert b"secret" not in sent[1]["body"]
    assert any(name == b"orthros-reply" for name, _ in sent[0]["headers"])
    app = OrthrosMiddleware(raises_later, **house.settings())
    caller = await met(house, app)
    sent.clear()
    with pytest.raises(KeyError):
        await app(scope_of(caller.call()), never, collector(sent))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["more_body"] is True


async def test_work_after_the_response_neither_delays_nor_changes_it(house: House) -> None:
    order: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await respond(send)
        order.append("background")

    app = OrthrosMiddleware(application, **house.settings())
    caller = await met(house, app)

    async def send(message: Any) -> None:
        order.append(message["type"])

    await app(scope_of(caller.call()), never, send)
    assert order == ["http.response.start", "http.response.body", "background"]


async def test_a_raw_path_that_the_server_hides_is_put_together_again(house: House, service: Service) -> None:
    app = OrthrosMiddleware(service, **house.settings())
    caller = await met(house, app)
    for target, status in ((b"/%C3%A9/a:b?x=%41", 200), (b"/a%3Ab", 401)):
        call = caller.call(target=target)
        scope = scope_of(call)
        del scope["raw_path"]
        assert (await ask(app, call, scope=scope)).status == status
    assert "does not tell the raw request-target" in str(house.log.lines[-1])
    assert len(service.callers) == 1


async def test_a_rewritten_path_is_noticed(house: House, service: Service) -> None:
    app = OrthrosMiddleware(service, **house.settings())
    caller = await met(house, app)
    call = caller.call("GET", b"/public")
    assert (await ask(app, call, path="/admin")).status == 400
    assert service.callers == []


async def test_concurrent_requests_do_not_mix(house: House) -> None:
    for name in ("a", "b", "c", "d"):
        house.realm.add(name)
    turn = trio.Event()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        body = await collect(receive)
        if body == b"d":
            turn.set()
        await turn.wait()
        await respond(send, body=str(scope["orthros.caller"].client).encode() + b" " + body)

    app = OrthrosMiddleware(application, **house.settings())
    answers: dict[str, bytes] = {}

    async def one(name: str) -> None:
        issued = house.realm.issue(name, "orders", scopes=("read",))
        caller = HttpCaller.of(issued, clock=house.realm.clock.now, entropy=house.realm.entropy)
        first = caller.call("OPTIONS", flags=0)
        caller.refusal(first, (await ask(app, first)).received)
        call = caller.call("POST", body=name.encode())
        received = (await ask(app, call)).received
        caller.open(call, received)
        answers[name] = received.body

    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c", "d"):
            nursery.start_soon(one, name)
    assert answers == {name: f"{name}@test.realm {name}".encode() for name in ("a", "b", "c", "d")}


async def test_draining_waits_for_a_read_of_the_application(house: House) -> None:
    """A framework that listens for the end of the connection while it answers takes pieces of the body."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async def listen() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked()
            await respond(send)

    app = OrthrosMiddleware(application, **house.settings())
    caller = await met(house, app)
    call = caller.call("POST", body=b"hello world")
    received = (await ask(app, call, pieces=pieces_of(call.body, 3))).received
    caller.open(call, received)
    assert received.status == 200


async def test_websockets_are_refused_unless_public(house: House) -> None:
    opened: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        opened.append(scope["orthros.caller"])

    app = OrthrosMiddleware(application, **house.settings(routes=[Route("/feed", public=True)]))
    caller = await met(house, app)

    async def connect() -> Any:
        return {"type": "websocket.connect"}

    denial: dict[str, Any] = {"websocket.http.response": {}}
    for target, extensions in ((b"/ws", {}), (b"/ws", denial), (b"/feed", {})):
        sent: list[Any] = []
        scope = scope_of(caller.call("GET", target), type="websocket", scheme="ws", extensions=extensions)
        del scope["method"]
        await app(scope, connect, collector(sent))
        if target == b"/feed":
            assert sent == []
        elif extensions:
            assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 403)
            assert b"public routes only" in sent[1]["body"]
        else:
            assert sent == [
                {"type": "websocket.close", "code": 1008, "reason": "websockets are served on public routes only"}
            ]
    assert opened == [None]


async def test_what_comes_behind_the_head_is_no_header(house: House) -> None:
    """Trailers: uvicorn with httptools appends them to the list in the scope, others might send a message."""
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await collect(receive))
        seen.append([name for name, _value in scope["headers"]])
        await respond(send)

    app = OrthrosMiddleware(application, **house.settings(routes=[Route("/*", unsized_bodies=True)]))
    caller = await met(house, app)
    call = caller.call("POST", headers=[("content-type", b"text/plain")], body=b"one", sized=False)
    scope = scope_of(call)
    given = scope["headers"]
    trailer = (b"content-type", b"text/html")
    messages = [
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.request.trailers", "headers": [trailer]},
        {"type": "http.request", "body": b"one", "more_body": True},
    ]

    async def receive() -> Any:
        given.append(trailer)
        return messages.pop()

    sent: list[Any] = []
    await app(scope, receive, collector(sent))
    assert (sent[0]["status"], seen) == (200, [b"one", [name.encode() for name, _value in call.headers]])
    assert given[-1] == trailer


async def lifespan(application: Any, **scope: Any) -> list[Any]:
    """What an application reports at its start."""
    reported: list[Any] = []
    events = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]

    async def receive() -> Any:
        return events.pop()

    await application({"type": "lifespan", "asgi": {"version": "3.0"}, **scope}, receive, collector(reported))
    return reported


@pytest.mark.parity("L12")
async def test_a_service_that_answers_strangers_does_not_start(house: House) -> None:
    """A middleware that was forgotten, or stands behind something that answers first, is flagged."""

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            return
        await respond(send, 200 if scope["path"] == "/" else 404)

    app = OrthrosMiddleware(bare, **house.settings())
    assert await lifespan(app) == [{"type": "lifespan.startup.complete"}]
    assert app.guard.counts() == {}
    with pytest.raises(Misconfigured, match="unprotected"):
        await self_test(bare)
    await self_test(app, host="orders.test", paths=["/", "/orders"])

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"].startswith("/static"):
            await respond(send)
            return
        await app(scope, receive, send)

    with pytest.raises(Misconfigured, match="/static without credentials: the application answered 200"):
        await self_test(outer, host="orders.test", paths=["/static"])

    async def only_below(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/api"):
            await respond(send, 404)
            return
        await app(scope, receive, send)

    reported = await lifespan(app, app=only_below)
    assert [message["type"] for message in reported] == ["lifespan.startup.failed"]
    assert "Install the middleware outermost" in reported[0]["message"]


async def test_a_body_that_nobody_announced_is_not_there(house: House, service: Service) -> None:
    """HTTP/2 needs no Content-Length: what was not bound must be empty."""
    app = OrthrosMiddleware(service, **house.settings())
    caller = await met(house, app)
    assert (await ask(app, caller.call("POST"), pieces=[b"smuggled"])).status == 400
    assert service.bodies == []
    assert (await ask(app, caller.call("POST"), last_empty=True)).status == 200


async def test_an_application_may_answer_while_it_reads_as_long_as_that_is_held(house: House) -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({"type": "http.response.body", "body": message["body"], "more_body": more})

    app = OrthrosMiddleware(echo, **house.settings())
    caller = await met(house, app)
    call = caller.call("POST", body=b"hello world")
    received = (await ask(app, call, pieces=pieces_of(call.body, 3))).received
    assert caller.open(call, received).body_digest == digest(b"hello world")
    call = caller.call("POST", body=b"hello world")
    assert (await ask(app, call, pieces=[b"hello ", b"WORLD"])).status == 400


async def test_what_is_no_request_is_not_served(house: House, service: Service) -> None:
    app = OrthrosMiddleware(service, **house.settings())
    with pytest.raises(LocalMisuse, match="not guarded"):
        await app({"type": "webtransport"}, never, collector([]))


@pytest.mark.usefixtures("streamed")
async def test_the_end_of_a_body_is_told_once(house: House) -> None:
    """A server may tell it behind the last piece, which the application was told was the last."""
    told: list[tuple[str, bool | None]] = []

    async def application(_scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            told.append((message["type"], message["more_body"]))
            if not message["more_body"]:
                await respond(send)
        told.append((message["type"], None))

    app = OrthrosMiddleware(application, **house.settings())
    caller = await met(house, app)
    await ask(app, caller.call("POST", body=b"onetwo"), pieces=[b"one", b"two"], last_empty=True)
    assert told == [("http.request", True), ("http.request", False), ("http.disconnect", None)]
