"""gRPC, sync and aio: clients and servers over real sockets, in every combination, and a liar in between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from orthros_client import LocalMisuse, MaybeExecuted, Misconfigured, PeerMisbehaved, TargetRefusal
from orthros_client.http.propagation import current
from orthros_client.integrations import grpc_aio_client, grpc_client, grpc_server
from orthros_client.integrations.grpc_server import Route, caller_of
from orthros_client.verifier import Verifier
from orthros_protocol.testing import CountingEntropy, InMemoryRealm
from tests.support.http_target import RealmSource

ORIGIN = "https://orders.test"
ROUTES = (
    Route("/shop.Orders/Open", public=True),
    Route("/shop.Orders/Pour", public=True),
    Route("/shop.Orders/Admin", scopes=["admin"]),
    Route("/shop.Orders/Tenant", covers=["x-tenant"]),
    Route("/*"),
)


class Orders:
    """What the methods saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None, bytes]] = []

    def note(self, name: str, context: Any, request: bytes) -> None:
        caller = caller_of(context)
        if caller is not None:
            assert current() is caller
        self.seen.append((name, None if caller is None else str(caller.client), request))

    def echo(self, request: bytes, context: Any) -> bytes:
        self.note("echo", context, request)
        context.set_trailing_metadata((("x-own", "1"),))
        if request == b"none":
            context.set_code(grpc.StatusCode.NOT_FOUND)  # and the message is not sent
        return b"you sent " + request[:100]

    def refuse(self, request: bytes, context: Any) -> bytes:
        caller = caller_of(context)
        assert caller is not None
        caller.require("write")
        return b""

    def abort(self, request: bytes, context: Any) -> bytes:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such order: é")
        raise AssertionError

    def fail(self, request: bytes, context: Any) -> bytes:
        raise KeyError("secret of the application")

    def wait(self, request: bytes, context: Any) -> bytes:
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(20)
        return b""

    def watch(self, request: bytes, context: Any) -> Iterator[bytes]:
        self.note("watch", context, request)
        for at in range(3):
            yield b"%d" % at
        if request == b"half":
            caller = caller_of(context)
            assert caller is not None
            caller.require("write")
        if request == b"abort":
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "no more")

    def pour(self, requests: Iterator[bytes], context: Any) -> bytes:
        return b"".join(requests)


def handlers(orders: Orders) -> Any:
    unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
    methods = {name: unary(orders.echo) for name in ("Echo", "Open", "Admin", "Tenant")}
    methods |= {"Refuse": unary(orders.refuse), "Abort": unary(orders.abort), "Fail": unary(orders.fail)}
    methods |= {"Wait": unary(orders.wait), "Watch": stream(orders.watch)}
    methods |= {name: grpc.stream_unary_rpc_method_handler(orders.pour) for name in ("Pour", "Fill")}
    return grpc.method_handlers_generic_handler("shop.Orders", methods)


def aio_handlers(orders: Orders) -> Any:
    async def echo(request: bytes, context: Any) -> bytes:
        return orders.echo(request, context)

    async def refuse(request: bytes, context: Any) -> bytes:
        return orders.refuse(request, context)

    async def abort(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such order: é")
        raise AssertionError

    async def fail(request: bytes, context: Any) -> bytes:
        raise KeyError("secret of the application")

    async def wait(request: bytes, context: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def watch(request: bytes, context: Any) -> Any:
        orders.note("watch", context, request)
        for at in range(3):
            yield b"%d" % at
        if request == b"half":
            caller = caller_of(context)
            assert caller is not None
            caller.require("write")
        if request == b"abort":
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "no more")

    async def pour(requests: Any, context: Any) -> bytes:
        return b"".join([each async for each in requests])

    unary = grpc.unary_unary_rpc_method_handler
    methods = {name: unary(echo) for name in ("Echo", "Open", "Admin", "Tenant")}
    methods |= {"Refuse": unary(refuse), "Abort": unary(abort), "Fail": unary(fail), "Wait": unary(wait)}
    methods |= {"Watch": grpc.unary_stream_rpc_method_handler(watch)}
    methods |= {name: grpc.stream_unary_rpc_method_handler(pour) for name in ("Pour", "Fill")}
    return grpc.method_handlers_generic_handler("shop.Orders", methods)


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class House:
    """A realm, a server of either kind, and callers of either kind."""

    def __init__(self, server: str, client: str, loop: Loop) -> None:
        self.kind, self.client_kind, self.loop = server, client, loop
        self.realm = InMemoryRealm()
        for name in ("web", "orders"):
            self.realm.add(name)
        self.source = RealmSource(self.realm)
        self.orders = Orders()
        self.between: Callable[[Any], Any] = lambda channel: channel
        self.port = 0
        self._server: Any = None
        self.start(b"process 1")

    def start(self, process: bytes) -> None:
        """Another replay instance, at the same port."""
        self.stop()
        clock = self.realm.clock.now
        entropy = CountingEntropy(process)
        verifier = Verifier(self.realm.keytab("orders"), clock=clock, monotonic_ms=clock, entropy=entropy)
        options: dict[str, Any] = {"verifier": verifier, "origins": [ORIGIN], "routes": ROUTES}
        if self.kind == "sync":
            self.interceptor: Any = grpc_server.OrthrosServerInterceptor(**options)
            server = grpc.server(
                ThreadPoolExecutor(4), handlers=[handlers(self.orders)], interceptors=[self.interceptor]
            )
            self.port = server.add_insecure_port(f"127.0.0.1:{self.port}")
            server.start()
            self._server = server
        else:
            self.interceptor = grpc_server.OrthrosAioServerInterceptor(**options)
            self.loop.run(self._start_aio())

    async def _start_aio(self) -> None:
        self._server = grpc.aio.server(handlers=[aio_handlers(self.orders)], interceptors=[self.interceptor])
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    def stop(self) -> None:
        if self._server is None:
            return
        if self.kind == "sync":
            self._server.stop(0).wait()
        else:
            self.loop.run(self._server.stop(0))

    @contextmanager
    def channel(self, **options: Any) -> Iterator[Callable[..., Any]]:
        """`call(method, request)`: the answer, or the messages of a stream."""
        options = {"client": self.source} | options
        if self.client_kind == "sync":
            inner = self.between(grpc.insecure_channel(f"127.0.0.1:{self.port}"))
            with grpc_client.OrthrosChannel(inner, {ORIGIN: "orders"}, **options) as channel:

                def call(name: str, request: bytes = b"x", **how: Any) -> Any:
                    if name == "Watch":
                        return list(channel.unary_stream("/shop.Orders/Watch")(request, **how))
                    return channel.unary_unary(f"/shop.Orders/{name}")(request, **how)

                yield call
            return

        async def opened() -> Any:
            inner = self.between(grpc.aio.insecure_channel(f"127.0.0.1:{self.port}"))
            return grpc_aio_client.OrthrosAioChannel(inner, {ORIGIN: "orders"}, **options)

        made = self.loop.run(opened())

        async def acall(name: str, request: bytes = b"x", **how: Any) -> Any:
            if name == "Watch":
                return [each async for each in made.unary_stream("/shop.Orders/Watch")(request, **how)]
            return await made.unary_unary(f"/shop.Orders/{name}")(request, **how)

        try:
            yield lambda *arguments, **how: self.loop.run(acall(*arguments, **how))
        finally:
            self.loop.run(made.close())


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(params=[("sync", "sync"), ("aio", "aio"), ("sync", "aio")], ids="-".join)
def house(request: pytest.FixtureRequest, loop: Loop) -> Iterator[House]:
    server, client = request.param
    house = House(server, client, loop)
    yield house
    house.stop()


@pytest.mark.parity("O11", "L6", "L11")
def test_calls_are_authenticated_and_their_answers_proven(house: House) -> None:
    """Of any size: a call that is refused for its epoch is repeated, and reaches its method once."""
    with house.channel() as call:
        assert call("Echo", b"one") == b"you sent one"
        assert call("Echo", b"x" * 1_000_000).startswith(b"you sent x")
        assert call("Watch", b"") == [b"0", b"1", b"2"]
        assert call("Echo", b"") == b"you sent "
    assert [seen[:2] for seen in house.orders.seen] == [
        (name, "web@test.realm") for name in ("echo", "echo", "watch", "echo")
    ]


@pytest.mark.parity("L19")
def test_refusals_and_errors_say_whose_word_they_are(house: House) -> None:
    """A scope that lacks, a status of the method, a failure, metadata that was not covered."""
    with house.channel(cover=["x-tenant"]) as call:
        for name in ("Admin", "Refuse"):
            with pytest.raises(TargetRefusal, match="insufficient-scope"):
                call(name)
        for name, request, code in (
            ("Abort", b"x", grpc.StatusCode.NOT_FOUND),
            ("Echo", b"none", grpc.StatusCode.NOT_FOUND),
            ("Watch", b"abort", grpc.StatusCode.OUT_OF_RANGE),
            ("Fail", b"x", grpc.StatusCode.UNKNOWN),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                call(name, request)
            assert caught.value.code() is code
            assert "secret" not in str(caught.value)
            proven = grpc_client.proven_of(caught.value)
            assert proven is not None
            assert proven.body_is_proven
        assert call("Tenant", metadata=(("x-tenant", "acme"),)) == b"you sent x"
    with house.channel() as call, pytest.raises(TargetRefusal, match="not-covered"):
        call("Tenant", metadata=(("x-tenant", "acme"),))


def test_a_stream_that_is_refused_half_way_is_no_answer(house: House) -> None:
    """What came before it was handed out, and is not proven."""
    with house.channel() as call:
        assert call("Watch", b"") == [b"0", b"1", b"2"]
        with pytest.raises(PeerMisbehaved, match="refusal behind messages"):
            call("Watch", b"half")


def test_a_stream_that_is_left_is_cancelled(loop: Loop) -> None:
    house = House("sync", "sync", loop)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{house.port}") as inner:
            channel = grpc_client.OrthrosChannel(inner, {ORIGIN: "orders"}, client=house.source)
            messages = channel.unary_stream("/shop.Orders/Watch")(b"")
            assert next(messages) == b"0"
            messages.close()
    finally:
        house.stop()


@pytest.mark.parity("L6")
def test_methods_are_not_repeated_unless_the_caller_says_so(house: House) -> None:
    """After a restart of the target a call may have run; a method in `repeatable` is called again."""
    with house.channel() as call:
        call("Echo")
        house.start(b"process 2")
        with pytest.raises(MaybeExecuted):
            call("Echo", wait_for_ready=True)
    with house.channel(repeatable=["/shop.Orders/Echo"]) as call:
        call("Echo")
        house.start(b"process 3")
        assert call("Echo", wait_for_ready=True) == b"you sent x"


def test_deadlines_and_lost_connections_are_nobodys_word(house: House) -> None:
    with house.channel() as call:
        call("Echo")
        with pytest.raises(grpc.RpcError) as caught:
            call("Wait", timeout=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert grpc_client.proven_of(caught.value) is None
        house.stop()
        with pytest.raises(grpc.RpcError) as caught:
            call("Echo", timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        house.start(b"process 2")


def test_strangers_are_refused_and_public_methods_are_open(house: House) -> None:
    """Streams of requests too: their messages cannot be bound, so only public methods take them."""
    with grpc.insecure_channel(f"127.0.0.1:{house.port}") as channel:
        assert channel.unary_unary("/shop.Orders/Open")(b"x") == b"you sent x"
        assert channel.stream_unary("/shop.Orders/Pour")(iter([b"a", b"b"])) == b"ab"
        for call in (channel.unary_unary("/shop.Orders/Echo"), channel.unary_unary("/shop.Orders/Admin")):
            with pytest.raises(grpc.RpcError) as caught:
                call(b"x")
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
            trailing = dict(caught.value.trailing_metadata())
            assert trailing["www-authenticate"] == 'Orthros realm="test.realm"'
        with pytest.raises(grpc.RpcError, match="not-covered"):
            channel.stream_unary("/shop.Orders/Fill")(iter([b"a"]))
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/shop.Orders/None")(b"x")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert [seen[:2] for seen in house.orders.seen] == [("echo", None)]


class Liar(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Something between that changes what a call sends, or what comes back."""

    def __init__(self, request: Any = None, answer: Any = None) -> None:
        self._request = request or (lambda request: request)
        self._answer = answer or (lambda response: response)

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return _Changed(continuation(details, self._request(request)), self._answer)


class _Changed(grpc.Future):  # type: ignore[misc]
    def __init__(self, call: Any, change: Any) -> None:
        self._call, self._change = call, change

    def result(self, timeout: Any = None) -> Any:
        return self._change(self._call.result())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    def add_done_callback(self, fn: Any) -> None: ...
    def cancel(self) -> Any: ...
    def cancelled(self) -> Any: ...
    def running(self) -> Any: ...
    def done(self) -> Any: ...
    def exception(self, timeout: Any = None) -> Any:
        return self._call.exception()

    def traceback(self, timeout: Any = None) -> Any: ...


@pytest.mark.parity("L11", "L29")
def test_a_liar_between_is_noticed_on_both_sides(loop: Loop) -> None:
    house = House("sync", "sync", loop)
    try:
        house.between = lambda channel: grpc.intercept_channel(channel, Liar(request=lambda request: request + b"!"))
        with house.channel() as call, pytest.raises(TargetRefusal, match="body-mismatch"):
            call("Echo", b"one")
        assert house.orders.seen == []
        house.between = lambda channel: grpc.intercept_channel(channel, Liar(answer=lambda response: b"Y" + response))
        with house.channel() as call, pytest.raises(PeerMisbehaved, match="response-unproven"):
            call("Echo", b"one")
    finally:
        house.stop()


def test_what_cannot_be_bound_is_refused_before_anything_is_sent(loop: Loop) -> None:
    """Streams of requests, futures, two origins, tokens."""
    realm = InMemoryRealm()
    for name in ("web", "orders"):
        realm.add(name)
    source = RealmSource(realm)
    targets = {ORIGIN: "orders"}
    with grpc.insecure_channel("127.0.0.1:1") as inner:
        channel = grpc_client.OrthrosChannel(inner, targets, client=source)
        for make in (channel.stream_unary, channel.stream_stream):
            with pytest.raises(LocalMisuse, match="not-covered"):
                make("/shop.Orders/Pour")(iter([b"a"]))
        with pytest.raises(LocalMisuse, match="no future"):
            channel.unary_unary("/shop.Orders/Echo").future(b"x")
        with pytest.raises(LocalMisuse, match="no tokens"):
            grpc_client.OrthrosChannel(inner, targets, client=source, bearer=[ORIGIN]).unary_unary("/a/B")(b"x")
        with pytest.raises(Misconfigured, match="one origin"):
            grpc_client.OrthrosChannel(inner, {**targets, "https://b.test": "b"}, client=source)
    verifier = Verifier(realm.keytab("orders"), clock=realm.clock.now, monotonic_ms=realm.clock.now)
    with pytest.raises(Misconfigured, match="one origin"):
        grpc_server.OrthrosServerInterceptor(verifier=verifier, origins=[ORIGIN, "https://b.test"])
    assert source.asked == []
