"""The native port: order, deadlines, shares and the drain, on pairs of sockets and a clock that jumps."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
from attrs import define, evolve, field
from trio.testing import MockClock, wait_all_tasks_blocked

from orthros_kdc.config import LimitSettings
from orthros_kdc.ports.addresses import open_addresses
from orthros_kdc.ports.native_port import NativeAnswer, Server
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.framing import FrameReader, frame
from tests.support.http_port import ignored, stream_pair


@define(eq=False)
class Echo:
    """Answers `re: message`; one that begins with `as NAME` proves a principal; fails and waits when told to."""

    gate: trio.Event | None = None
    sources: list[str] = field(factory=list)
    addresses: list[str] = field(factory=list)
    connections: list[int] = field(factory=list)

    async def __call__(self, message: bytes, source: str, address: str, connection: int) -> NativeAnswer:
        self.sources.append(source)
        self.addresses.append(address)
        self.connections.append(connection)
        if self.gate is not None:
            await self.gate.wait()
        if message == b"fault":
            raise RuntimeError("a bug")
        return NativeAnswer(b"re: " + message, proves=message.decode().partition("as ")[2], last=message == b"last")


LIMITS = LimitSettings(
    max_frame=1024, read_deadline_s=10, idle_deadline_s=300, max_connections=8, max_unauthenticated_connections=4,
    max_unauthenticated_per_source=2, max_connections_per_principal=3,
)  # fmt: skip


def serving(handler: Echo | None = None, limits: LimitSettings = LIMITS) -> Server:
    return Server(handler or Echo(), lambda source, cause: f"{source}: {cause}".encode(), ignored, limits)


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[trio.SocketStream]:
    client, theirs = stream_pair()
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, theirs)
        yield client
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def many(server: Server) -> AsyncIterator[Callable[[], trio.SocketStream]]:
    """Opens connections; they end with the block."""
    opened: list[trio.SocketStream] = []

    def connect() -> trio.SocketStream:
        client, theirs = stream_pair()
        opened.append(client)
        nursery.start_soon(server.serve_stream, theirs)
        return client

    async with trio.open_nursery() as nursery:
        yield connect
        for client in opened:
            await trio.aclose_forcefully(client)
        nursery.cancel_scope.cancel()


async def ask(stream: trio.SocketStream, message: bytes) -> bytes:
    await stream.send_all(frame(message))
    return (await read_messages(stream, 1))[0]


async def read_messages(stream: trio.abc.ReceiveStream, count: int) -> list[bytes]:
    reader = FrameReader()
    found: list[bytes] = []
    while len(found) < count:
        data = await stream.receive_some(4096)
        assert data, f"the stream ended after {found}"
        reader.feed(bytes(data))
        found += list(reader.messages())
    return found


async def ends(stream: trio.SocketStream) -> bool:
    try:
        return not await stream.receive_some()
    except trio.BrokenResourceError:  # closed with bytes that nothing had read
        return True


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with connected(serving()) as client:
        await client.send_all(frame(b"one") + frame(b"two") + frame(b"three")[:3])
        await client.send_all(frame(b"three")[3:])
        assert await read_messages(client, 3) == [b"re: one", b"re: two", b"re: three"]


async def test_a_clean_end_between_messages_ends_the_connection() -> None:
    server = serving()
    async with connected(server) as client:
        await ask(client, b"one")
        await client.send_eof()
        assert await ends(client)
        assert server.connection_count == 0


@pytest.mark.parametrize("bytes_sent", [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\x10\0 too large"])
async def test_an_impossible_frame_drops_the_connection_and_nothing_else(bytes_sent: bytes) -> None:
    server = serving()
    async with connected(server) as hostile, connected(server) as client:
        await hostile.send_all(bytes_sent)
        assert await ends(hostile)
        assert await ask(client, b"one") == b"re: one"


async def test_answers_to_whole_messages_leave_before_a_bad_frame_is_noticed() -> None:
    async with connected(serving()) as client:
        assert await ask(client, b"one") == b"re: one"
        await client.send_all(b"\xff\xff\xff\xff")
        assert await ends(client)


async def test_nothing_is_read_behind_an_answer_that_is_the_last() -> None:
    echo = Echo()
    async with connected(serving(echo)) as client:
        await client.send_all(frame(b"last") + frame(b"more"))
        assert await read_messages(client, 1) == [b"re: last"]
        assert await ends(client)
    assert len(echo.sources) == 1


async def test_a_fault_in_one_connection_leaves_the_others_alone() -> None:
    server = serving()
    async with connected(server) as unlucky, connected(server) as client:
        await unlucky.send_all(frame(b"fault"))
        assert await ends(unlucky)
        assert await ask(client, b"one") == b"re: one"


@pytest.mark.parametrize("first", [b"as shop", b"stranger"])
async def test_a_message_in_small_pieces_must_still_arrive_within_its_deadline(
    autojump_clock: MockClock, first: bytes
) -> None:
    """A slow sender cannot hold a connection by dripping bytes."""
    async with connected(serving()) as client:
        await ask(client, first)
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drip, client)
            assert await ends(client)
            nursery.cancel_scope.cancel()
        assert trio.current_time() - started == pytest.approx(10, abs=1)


async def _drip(client: trio.abc.SendStream) -> None:
    with suppress(trio.BrokenResourceError):
        for second, byte in enumerate(frame(b"x" * 100), int(trio.current_time())):
            await trio.sleep_until(second)
            await client.send_all(bytes([byte]))


async def test_a_stranger_has_one_deadline_and_a_proven_peer_may_idle(autojump_clock: MockClock) -> None:
    server = serving()
    async with connected(server) as stranger, connected(server) as proven:
        await ask(proven, b"as shop")
        await ask(stranger, b"stranger")
        assert await ends(stranger)
        assert trio.current_time() < 20
        assert await ends(proven)
        assert trio.current_time() >= 300


async def test_the_longest_idle_stranger_of_a_source_makes_room() -> None:
    server = serving()
    async with connected(server) as first, connected(server) as second:
        await ask(first, b"one")
        await ask(second, b"two")
        async with connected(server) as third:
            assert await ends(first)
            assert await ask(third, b"three") == b"re: three"
            assert await ask(second, b"more") == b"re: more"


async def test_who_finds_no_room_is_told_what_is_full() -> None:
    gate = trio.Event()
    server = serving(Echo(gate))
    async with connected(server) as first, connected(server) as second:
        for client in (first, second):
            await client.send_all(frame(b"one"))
        await wait_all_tasks_blocked()
        async with connected(server) as third:
            (told,) = await read_messages(third, 1)
            source = f"uid:{os.getuid()}"
            full = f"source {source}, which has proven nothing: 2 of 2 connections open, none idle"
            assert told.decode() == f"{source}: {full}"
            assert await ends(third)
        gate.set()
        assert await read_messages(first, 1) == await read_messages(second, 1) == [b"re: one"]


async def test_one_principal_has_a_share_whatever_it_proves() -> None:
    """4,096 connections of one key left no room for anybody else."""
    server = serving()
    async with many(server) as connect:
        greedy = [connect()]  # says nothing
        for _ in range(3 * LIMITS.max_connections):
            greedy.append(connect())
            assert await ask(greedy[-1], b"as greedy") == b"re: as greedy"
            await wait_all_tasks_blocked()
            assert server.connection_count <= LIMITS.max_connections_per_principal + 1
        other = connect()
        assert await ask(other, b"as other") == b"re: as other"
        assert await ends(greedy[1])
        assert await ask(greedy[-1], b"more") == b"re: more"


async def test_principals_behind_one_address_do_not_share() -> None:
    """256 daemons behind one address were the limit. Only what proves nothing is counted by its source."""
    limits = evolve(LIMITS, max_connections=40)
    server = serving(limits=limits)
    async with many(server) as connect:
        for number in range(30):
            assert await ask(connect(), b"as daemon-%d" % number)
        assert server.connection_count == 30


async def test_one_source_cannot_take_all_places_for_strangers(tmp_path: Path) -> None:
    """A flood of silent connections from one address leaves room for others to prove themselves."""
    gate = trio.Event()
    server = serving(Echo(gate))
    path = str(tmp_path / "kdc.sock")
    opened = await open_addresses(["127.0.0.1:0"], path, 0o600, "listen")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, opened.listeners)
        port = opened.tcp[0].socket.getsockname()[1]
        busy = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(6)]
        for stream in busy:
            await stream.send_all(frame(b"one"))
        await wait_all_tasks_blocked()
        stream = await trio.open_unix_socket(path)
        await stream.send_all(frame(b"two"))
        await wait_all_tasks_blocked()
        gate.set()
        assert await read_messages(stream, 1) == [b"re: two"]
        for each in (stream, *busy):
            await each.aclose()
        server.drain()


async def test_a_peer_that_does_not_read_its_answers_is_dropped(autojump_clock: MockClock) -> None:
    """Its answers fill what the sockets hold, and then wait for nobody."""
    server = serving(limits=evolve(LIMITS, max_frame=65_536))
    async with connected(server) as client:
        await ask(client, b"as shop")

        with suppress(trio.BrokenResourceError):
            while True:
                await client.send_all(frame(b"x" * 60_000))
        await wait_all_tasks_blocked()
        assert server.connection_count == 0
        assert trio.current_time() == pytest.approx(10, abs=1)


async def test_a_drain_answers_what_was_sent_and_then_ends() -> None:
    gate = trio.Event()
    server = serving(Echo(gate))
    async with connected(server) as busy, connected(server) as idle:
        await busy.send_all(frame(b"one") + frame(b"two"))
        await wait_all_tasks_blocked()
        server.drain()
        assert await ends(idle)
        gate.set()
        assert await read_messages(busy, 2) == [b"re: one", b"re: two"]
        assert await ends(busy)


async def test_a_drain_answers_more_than_one_read_can_hold() -> None:
    gate = trio.Event()
    server = serving(Echo(gate))
    async with connected(server) as client:
        await client.send_all(frame(b"x" * 1000) * 60)
        await wait_all_tasks_blocked()
        server.drain()
        gate.set()
        assert len(await read_messages(client, 60)) == 60


async def test_a_draining_server_takes_no_new_connection() -> None:
    server = serving()
    server.drain()
    async with connected(server) as client:
        assert await ends(client)


async def test_unix_peers_are_charged_by_user_and_tcp_peers_by_network(tmp_path: Path) -> None:
    echo = Echo()
    server = serving(echo)
    path = str(tmp_path / "kdc.sock")
    opened = await open_addresses(["[::]:0"], path, 0o600, "listen")
    port = opened.tcp[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, opened.listeners)
        for stream in (await trio.open_unix_socket(path), await trio.open_tcp_stream("127.0.0.1", port)):
            async with stream:
                await ask(stream, b"one")
                await ask(stream, b"two")
        server.drain()
    assert echo.sources == [f"uid:{os.getuid()}"] * 2 + ["127.0.0.1"] * 2
    assert echo.addresses == ["", "", "127.0.0.1", "127.0.0.1"]
    assert echo.connections[0] == echo.connections[1] != echo.connections[2] == echo.connections[3]


async def test_an_address_that_cannot_be_had_is_a_configuration_error_and_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    first = await open_addresses(["127.0.0.1:0"], "", 0o600, "listen")
    port = first.tcp[0].socket.getsockname()[1]
    for tcp, unix, said in (
        (["127.0.0.1:0", f"127.0.0.1:{port}"], "", rf"listen\.tcp 127\.0\.0\.1:{port}"),
        (["no-such-host.invalid:1"], "", r"listen\.tcp no-such-host\.invalid:1"),
        (["127.0.0.1:0"], str(tmp_path / "file"), r"listen\.unix.*is not a socket"),
        (["127.0.0.1:0"], str(tmp_path / "missing" / "kdc.sock"), r"listen\.unix"),
    ):
        with pytest.raises(Misconfigured, match=said):
            await open_addresses(tcp, unix, 0o600, "listen")
    first.close()
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize(
    ("tcp", "reached"), [(["[::]:0"], ["127.0.0.1", "::1"]), (["[::1]:0"], ["::1"]), (["0.0.0.0:0"], ["127.0.0.1"])]
)
async def test_every_address_of_ipv6_is_every_address(tcp: list[str], reached: list[str]) -> None:
    """`[::]` used to leave out IPv4, and said nothing of it."""
    opened = await open_addresses(tcp, "", 0o600, "listen")
    port = opened.tcp[0].socket.getsockname()[1]
    for address in ("127.0.0.1", "::1"):
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as client:
            assert (client.connect_ex((address, port)) == 0) == (address in reached)
    opened.close()


async def test_both_families_can_be_named_on_one_port() -> None:
    with socket.socket() as free:
        free.bind(("0.0.0.0", 0))
        port = free.getsockname()[1]
    opened = await open_addresses([f"0.0.0.0:{port}", f"[::]:{port}"], "", 0o600, "listen")
    assert opened.addresses("tcp") == (f"tcp://0.0.0.0:{port}", f"tcp://[::]:{port}")
    opened.close()
