"""The listeners: order, deadlines, caps and the drain, on memory streams and a clock that jumps."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import define, evolve, field
from trio.testing import MemorySendStream, MockClock, memory_stream_pair, wait_all_tasks_blocked

from orthros_kdc.config import LimitSettings
from orthros_kdc.server import Answer, Server, open_tcp_listeners, open_unix_listener
from orthros_protocol import FrameReader, Misconfigured, frame


@define(eq=False)
class Echo:
    """Answers `who: message`; proves the sender when the message says so; fails when told to."""

    gate: trio.Event | None = None
    sources: list[str] = field(factory=list)
    addresses: list[str] = field(factory=list)

    async def __call__(self, message: bytes, source: str, address: str) -> Answer:
        self.sources.append(source)
        self.addresses.append(address)
        if self.gate is not None:
            await self.gate.wait()
        if message == b"fault":
            raise RuntimeError("a bug")
        return Answer(b"re: " + message, authenticated=message != b"stranger")


LIMITS = LimitSettings(
    max_frame=1024, read_deadline_s=10, idle_deadline_s=300, max_connections=3, max_unauthenticated_connections=2
)


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[trio.StapledStream[MemorySendStream, trio.abc.ReceiveStream]]:
    client, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, theirs)
        yield client  # type: ignore[misc]
        nursery.cancel_scope.cancel()


async def read_messages(stream: trio.abc.ReceiveStream, count: int) -> list[bytes]:
    reader = FrameReader()
    found: list[bytes] = []
    while len(found) < count:
        data = await stream.receive_some(4096)
        assert data, f"the stream ended after {found}"
        reader.feed(bytes(data))
        found += list(reader.messages())
    return found


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with connected(Server(Echo(), LIMITS)) as client:
        await client.send_all(frame(b"one") + frame(b"two") + frame(b"three")[:3])
        await client.send_all(frame(b"three")[3:])
        assert await read_messages(client, 3) == [b"re: one", b"re: two", b"re: three"]


async def test_a_clean_end_between_messages_ends_the_connection() -> None:
    server = Server(Echo(), LIMITS)
    async with connected(server) as client:
        await client.send_all(frame(b"one"))
        await read_messages(client, 1)
        await client.send_stream.aclose()
        assert await client.receive_some() == b""
        assert server.connection_count == 0


@pytest.mark.parametrize("bytes_sent", [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\x10\0 too large"])
async def test_an_impossible_frame_drops_the_connection_and_nothing_else(bytes_sent: bytes) -> None:
    server = Server(Echo(), LIMITS)
    async with connected(server) as hostile, connected(server) as client:
        await hostile.send_all(bytes_sent)
        assert await hostile.receive_some() == b""
        await client.send_all(frame(b"one"))
        assert await read_messages(client, 1) == [b"re: one"]


async def test_answers_to_whole_messages_leave_before_a_bad_frame_is_noticed() -> None:
    async with connected(Server(Echo(), LIMITS)) as client:
        await client.send_all(frame(b"one"))
        assert await read_messages(client, 1) == [b"re: one"]
        await client.send_all(b"\xff\xff\xff\xff")
        assert await client.receive_some() == b""


async def test_a_fault_in_one_connection_leaves_the_others_alone() -> None:
    server = Server(Echo(), LIMITS)
    async with connected(server) as unlucky, connected(server) as client:
        await unlucky.send_all(frame(b"fault"))
        assert await unlucky.receive_some() == b""
        await client.send_all(frame(b"one"))
        assert await read_messages(client, 1) == [b"re: one"]


async def test_a_message_in_small_pieces_must_still_arrive_within_its_deadline(autojump_clock: MockClock) -> None:
    """A slow sender cannot hold a connection by dripping bytes."""
    async with connected(Server(Echo(), LIMITS)) as client:
        await client.send_all(frame(b"hello"))
        await read_messages(client, 1)
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drip, client)
            assert await client.receive_some() == b""
            nursery.cancel_scope.cancel()
        assert trio.current_time() - started == pytest.approx(10, abs=1)


async def _drip(client: trio.abc.SendStream) -> None:
    for byte in frame(b"x" * 100):
        with trio.move_on_after(1):
            await client.send_all(bytes([byte]))
            await trio.sleep_forever()


async def test_a_stranger_has_one_deadline_and_a_proven_peer_may_idle(autojump_clock: MockClock) -> None:
    server = Server(Echo(), LIMITS)
    async with connected(server) as stranger, connected(server) as proven:
        await proven.send_all(frame(b"one"))
        await read_messages(proven, 1)
        await stranger.send_all(frame(b"stranger"))
        await read_messages(stranger, 1)
        assert await stranger.receive_some() == b""
        assert trio.current_time() < 20
        assert await proven.receive_some() == b""
        assert trio.current_time() >= 300


async def test_strangers_cannot_take_the_places_of_proven_peers(autojump_clock: MockClock) -> None:
    server = Server(Echo(), LIMITS)
    async with connected(server) as first, connected(server):
        await wait_all_tasks_blocked()
        async with connected(server) as third:
            assert await third.receive_some() == b""  # two strangers are in already
        assert server.turned_away == 1
        await first.send_all(frame(b"one"))
        await read_messages(first, 1)
        async with connected(server) as fourth:
            await fourth.send_all(frame(b"two"))
            assert await read_messages(fourth, 1) == [b"re: two"]
            async with connected(server) as fifth:
                assert await fifth.receive_some() == b""  # all three places are taken


async def test_one_source_cannot_take_all_places_for_strangers(tmp_path: Path) -> None:
    """A flood of silent connections from one address leaves room for others to prove themselves."""
    server = Server(Echo(), evolve(LIMITS, max_connections=20, max_unauthenticated_connections=8))
    path = str(tmp_path / "kdc.sock")
    listeners = [open_unix_listener(path, 0o600), *await open_tcp_listeners("127.0.0.1", 0)]
    port = listeners[1].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, listeners)
        silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(6)]
        await wait_all_tasks_blocked()
        for turned_away in silent[4:]:
            assert await turned_away.receive_some() == b""
        stream = await trio.open_unix_socket(path)
        await stream.send_all(frame(b"one"))
        assert await read_messages(stream, 1) == [b"re: one"]
        for each in (stream, *silent):
            await each.aclose()
        server.drain()


async def test_a_peer_that_does_not_read_its_answers_is_dropped(autojump_clock: MockClock) -> None:
    client, theirs = memory_stream_pair()
    stuck = trio.Event()

    async def never_taken() -> None:
        await stuck.wait()

    theirs.send_stream.send_all_hook = never_taken
    server = Server(Echo(), LIMITS)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, theirs)
        await client.send_all(frame(b"one"))
    assert server.connection_count == 0
    assert trio.current_time() == pytest.approx(10, abs=1)


async def test_a_drain_answers_what_was_sent_and_then_ends() -> None:
    gate = trio.Event()
    server = Server(Echo(gate), LIMITS)
    async with connected(server) as busy, connected(server) as idle:
        await busy.send_all(frame(b"one") + frame(b"two"))
        await wait_all_tasks_blocked()
        server.drain()
        assert await idle.receive_some() == b""
        gate.set()
        assert await read_messages(busy, 2) == [b"re: one", b"re: two"]
        assert await busy.receive_some() == b""


async def test_a_drain_answers_more_than_one_read_can_hold() -> None:
    gate = trio.Event()
    server = Server(Echo(gate), LIMITS)
    here, there = socket.socketpair()
    async with trio.SocketStream(trio.socket.from_stdlib_socket(here)) as client, trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, trio.SocketStream(trio.socket.from_stdlib_socket(there)))
        await client.send_all(frame(b"x" * 1000) * 60)  # four reads of 16 KiB
        await wait_all_tasks_blocked()
        server.drain()
        gate.set()
        assert len(await read_messages(client, 60)) == 60


async def test_a_draining_server_takes_no_new_connection() -> None:
    server = Server(Echo(), LIMITS)
    server.drain()
    async with connected(server) as client:
        assert await client.receive_some() == b""


async def test_unix_peers_are_charged_by_user_and_tcp_peers_by_network(tmp_path: Path) -> None:
    echo = Echo()
    server = Server(echo, LIMITS)
    path = str(tmp_path / "kdc.sock")
    listeners = [open_unix_listener(path, 0o600), *await open_tcp_listeners("127.0.0.1", 0)]
    port = listeners[1].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, listeners)
        for stream in (await trio.open_unix_socket(path), await trio.open_tcp_stream("127.0.0.1", port)):
            async with stream:
                await stream.send_all(frame(b"one"))
                await read_messages(stream, 1)
        server.drain()
    assert echo.sources == [f"uid:{os.getuid()}", "127.0.0.1"]
    assert echo.addresses == ["", "127.0.0.1"]


async def test_a_unix_socket_has_its_mode_and_replaces_only_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "kdc.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listener = open_unix_listener(str(path), 0o640)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    with pytest.raises(Misconfigured, match="another server listens there"):
        open_unix_listener(str(path), 0o640)
    await listener.aclose()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(Misconfigured, match="is not a socket"):
        open_unix_listener(str(path), 0o640)
    assert path.read_text() == "precious"
    with pytest.raises(Misconfigured, match="config-invalid"):
        open_unix_listener(str(tmp_path / "missing" / "kdc.sock"), 0o640)


async def test_an_address_in_use_is_a_configuration_error() -> None:
    (listener,) = await open_tcp_listeners("127.0.0.1", 0)
    port = listener.socket.getsockname()[1]
    with pytest.raises(Misconfigured, match=f"listen.tcp 127.0.0.1:{port}"):
        await open_tcp_listeners("127.0.0.1", port)
    await listener.aclose()
