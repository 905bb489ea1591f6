"""The forward-auth endpoint over real sockets: keep-alive, what is not understood, slow proxies, the drain."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from attrs import define, field

from orthros_client.daemon.listeners.forward_auth import ForwardAuth, Verdict
from orthros_client.daemon.listeners.forward_auth_dialects import ProxyQuestion
from orthros_client.daemon.listeners.shares import ListenerShares
from orthros_protocol.errors import Misconfigured
from orthros_protocol.testing import InMemoryRealm
from orthros_runtime.serving.listeners import Listener
from orthros_runtime.serving.sockets import open_tcp_listener, open_unix_listener
from tests.client.forwarding import Sender, Sent, by_envoy, by_nginx, new_forward_realm, settings_of
from tests.client.house import listener_for, read_response


@define
class Proxy:
    """What a test has in place of a proxy: the address, and requests as bytes."""

    realm: InMemoryRealm
    listeners: tuple[Listener, ...]
    sender: Sender
    socket: str
    port: int
    opened_at: float = field(factory=trio.current_time)

    async def connect(self, *, tcp: bool = False) -> trio.SocketStream:
        if tcp:
            return await trio.open_tcp_stream("127.0.0.1", self.port)
        return await trio.open_unix_socket(self.socket)

    async def ask(self, question: ProxyQuestion, stream: trio.SocketStream) -> tuple[int, dict[str, str], bytes]:
        await stream.send_all(raw(question))
        return await read_response(stream)


def raw(question: ProxyQuestion, body: bytes = b"") -> bytes:
    lines = [b"%s %s HTTP/1.1" % (question.method.encode(), question.target)]
    lines += [b"%s: %s" % (name.encode(), value) for name, value in question.headers]
    return b"\r\n".join([*lines, b"", body])


@asynccontextmanager
async def open_proxy(folder: Path, dialect: str = "nginx", *, most: int = 64) -> AsyncIterator[Proxy]:
    realm = new_forward_realm()
    endpoint = ForwardAuth.open(settings_of(folder, realm, dialect))
    listeners = tuple(listener_for(endpoint, ListenerShares(most=most)) for _ in range(2))
    path = str(folder / "forward.sock")
    tcp = open_tcp_listener("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        await nursery.start(listeners[0].serve, open_unix_listener(path, 0o660))
        await nursery.start(listeners[1].serve, tcp)
        yield Proxy(realm, listeners, Sender.of(realm), path, tcp.socket.getsockname()[1])
        nursery.cancel_scope.cancel()


@pytest.mark.parity("L16")
@pytest.mark.parametrize("tcp", [False, True])
async def test_one_connection_serves_many_questions(tmp_path: Path, *, tcp: bool) -> None:
    """Unix socket and loopback port; refusals do not end the connection."""
    async with open_proxy(tmp_path) as proxy, await proxy.connect(tcp=tcp) as stream:
        first, headers, _ = await proxy.ask(by_nginx(proxy.sender.sign(Sent())), stream)
        assert (first, headers["content-type"]) == (401, "application/json")
        assert headers["www-authenticate"].startswith('Orthros realm="test.realm", err="epoch-required"')
        assert (await proxy.ask(by_nginx(Sent()), stream))[0] == 401
        await teach(proxy, stream)
        assert (await proxy.ask(by_nginx(proxy.sender.sign(Sent())), stream))[0] == 200


@pytest.mark.parity("L16")
async def test_the_answers_of_a_permission(tmp_path: Path) -> None:
    """200, no body, and nobody may keep it."""
    async with open_proxy(tmp_path) as proxy, await proxy.connect() as stream:
        await teach(proxy, stream)
        status, headers, body = await proxy.ask(by_nginx(proxy.sender.sign(Sent())), stream)
        assert (status, body, headers["content-length"]) == (200, b"", "0")
        assert headers["x-orthros-client"] == "web@test.realm"
        assert headers["cache-control"] == "no-store"


async def teach(proxy: Proxy, stream: trio.SocketStream) -> None:
    """The sender learns the endpoint's epoch, as any client does."""
    status, headers, body = await proxy.ask(by_nginx(proxy.sender.sign(Sent())), stream)
    assert proxy.sender.told(Verdict(status, tuple(headers.items()), body)) == "epoch-required"


@pytest.mark.parity("L16")
@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET /v1/forward-auth HTTP/1.1\r\n\r\n",
        b"GET /v1/forward-auth HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * 200_000 + b"\r\n\r\n",
        raw(by_nginx(Sent(headers=(("content-length", "3"),))), b"abc"),
        raw(by_nginx(Sent(headers=(("transfer-encoding", "chunked"),))), b"3\r\nabc\r\n0\r\n\r\n"),
        raw(by_nginx(Sent(headers=(("content-length", "3"), ("transfer-encoding", "chunked")))), b"xyz\r\n"),
    ],
)
async def test_what_is_not_understood_is_a_403(tmp_path: Path, data: bytes) -> None:
    """Not 400, 413 or 431, which proxies take for trouble; a body was not asked for."""
    async with open_proxy(tmp_path) as proxy, await proxy.connect() as stream:
        await stream.send_all(data)
        status, headers, _ = await read_response(stream)
        assert (status, headers["connection"]) == (403, "close")


@pytest.mark.parity("L16")
async def test_a_large_head_is_read(tmp_path: Path) -> None:
    """Cookies and tickets with many caveats."""
    async with open_proxy(tmp_path) as proxy, await proxy.connect() as stream:
        await teach(proxy, stream)
        signed = proxy.sender.sign(Sent(headers=(("cookie", "c" * 60_000),)))
        assert (await proxy.ask(by_nginx(signed), stream))[0] == 200


@pytest.mark.parity("L6")
async def test_the_answer_to_head_has_no_body(tmp_path: Path) -> None:
    """Envoy passes the client's method on; what follows on the connection must not be taken for a body."""
    async with open_proxy(tmp_path, "envoy") as proxy, await proxy.connect() as stream:
        await stream.send_all(raw(by_envoy(Sent(method="HEAD"))))
        data = b""
        with trio.fail_after(10):
            while b"\r\n\r\n" not in data:
                data += await stream.receive_some(65536)
        assert data.startswith(b"HTTP/1.1 401")
        assert data.endswith(b"\r\n\r\n")
        assert (await proxy.ask(by_envoy(Sent()), stream))[0] == 401


async def test_a_question_sent_ahead_is_not_answered(tmp_path: Path) -> None:
    """The first one is, and says that it was the last: nothing is lost that a proxy could not ask again."""
    async with open_proxy(tmp_path) as proxy, await proxy.connect() as stream:
        await stream.send_all(raw(by_nginx(Sent())) * 2)
        status, headers, _ = await read_response(stream)
        assert (status, headers["connection"]) == (401, "close")
        with trio.fail_after(10):
            assert await stream.receive_some(1) == b""


@pytest.mark.parity("L16")
async def test_a_proxy_that_stalls_holds_nobody_up(tmp_path: Path) -> None:
    """Half a question on one connection, whole ones on another."""
    async with open_proxy(tmp_path) as proxy, await proxy.connect() as stalled, await proxy.connect() as stream:
        question = raw(by_nginx(Sent()))
        await stalled.send_all(question[:-2])
        for _ in range(3):
            assert (await proxy.ask(by_nginx(Sent()), stream))[0] == 401
        await stalled.send_all(question[-2:])
        assert (await read_response(stalled))[0] == 401


@pytest.mark.parity("L16")
async def test_a_question_that_does_not_arrive_is_given_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Ten seconds after its first byte."""
    async with open_proxy(tmp_path) as proxy, await proxy.connect() as stream:
        await stream.send_all(b"GET /v1/forward-auth HTTP/1.1\r\n")
        assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 403 ")
        assert 10 <= trio.current_time() - proxy.opened_at < 11


@pytest.mark.parity("B7")
async def test_the_drain_ends_connections(tmp_path: Path) -> None:
    async with open_proxy(tmp_path) as proxy, await proxy.connect() as stream:
        assert (await proxy.ask(by_nginx(Sent()), stream))[0] == 401
        proxy.listeners[0].drain()
        with trio.fail_after(10):
            assert await stream.receive_some(1) == b""


@pytest.mark.parity("K17")
async def test_a_port_that_is_taken_is_a_conflict() -> None:
    listener = open_tcp_listener("127.0.0.1", 0)
    async with listener:
        with pytest.raises(Misconfigured, match="conflict"):
            open_tcp_listener("127.0.0.1", listener.socket.getsockname()[1])
