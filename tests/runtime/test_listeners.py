"""A listener over real sockets, with a server of four words: who gets in, who makes room, what is never cut."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
import trio
import trio.testing
from attrs import define, field

from orthros_runtime.serving.connections import Connection, Deadlines
from orthros_runtime.serving.limits import Group
from orthros_runtime.serving.listeners import MOST_LINGERING, Listener
from orthros_runtime.serving.sockets import open_tcp_listener, open_unix_listener
from tests.support.files import few_files

HUGE = bytes(16 * 1024 * 1024)


@define
class Shop:
    """Answers `ping` with `pong`, `hold` once `release` is set, `huge` with 16 MiB; `bye` and what is unknown ends it.

    A connection counts in the group that `next_group` names when it connects.
    """

    path: str
    most: int = 8
    release: trio.Event = field(factory=trio.Event)
    next_group: Group = field(init=False)
    everyone: Group = field(init=False)
    working: int = 0
    accepted: int = 0
    port: int = 0
    closed: trio.Event = field(factory=trio.Event)
    on_connect: Callable[[], None] = lambda: None
    streams: list[trio.SocketStream] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.everyone = Group("all", self.most, "all users together")
        self.next_group = self.everyone

    def group_of(self, connection: Connection) -> Group:
        if not connection.proven:
            self.accepted += 1
            self.on_connect()
        return self.next_group

    async def converse(self, connection: Connection) -> None:
        begun = b""
        while data := await connection.receive(begun=bool(begun)):
            *lines, begun = (begun + data).split(b"\n")
            for line in lines:
                if line == b"hold":
                    self.working += 1
                    await self.release.wait()
                elif line not in (b"ping", b"huge"):
                    return
                connection.prove()
                await connection.send(HUGE if line == b"huge" else b"pong\n")

    async def connect(self, group: Group | None = None) -> trio.SocketStream:
        """A connection that the listener has seen."""
        self.next_group = group or self.next_group
        before = self.accepted
        stream = await trio.open_unix_socket(self.path)
        self.streams.append(stream)
        await until(lambda: self.accepted > before)
        return stream


@asynccontextmanager
async def open_shop(folder: Path, *, most: int = 8, **deadlines: float) -> AsyncIterator[tuple[Shop, Listener]]:
    shop = Shop(str(folder / "shop.sock"), most)
    listener = Listener(
        shop.converse, shop.group_of, lambda cause, _: f"busy: {cause}\n".encode(), Deadlines(**deadlines), "the shop"
    )
    sockets = open_unix_listener(shop.path, 0o600), open_tcp_listener("127.0.0.1", 0)
    shop.port = sockets[1].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:

        async def serve(task_status: trio.TaskStatus[None]) -> None:
            await listener.serve(*sockets, task_status=task_status)
            shop.closed.set()

        await nursery.start(serve)
        try:
            yield shop, listener
        finally:
            for stream in shop.streams:
                await trio.aclose_forcefully(stream)
        nursery.cancel_scope.cancel()


async def say(stream: trio.SocketStream, words: bytes) -> bytes:
    """The answer to `words`; empty when the connection ends without one."""
    try:
        await stream.send_all(words)
        return await hear(stream)
    except trio.BrokenResourceError:
        return b""


async def hear(stream: trio.SocketStream) -> bytes:
    with trio.fail_after(10):
        return bytes(await stream.receive_some(4096))


async def passed(clock: trio.testing.MockClock, seconds: float) -> None:
    clock.jump(seconds)
    await trio.testing.wait_all_tasks_blocked()


async def until(condition: Any) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.lowlevel.checkpoint()


async def test_the_longest_idle_connection_makes_room(tmp_path: Path) -> None:
    """Silent ones before those that have asked something, and each of them in the order of its last turn."""
    async with open_shop(tmp_path, most=4) as (shop, listener):
        asked, silent, silent_too, asked_later = [await shop.connect() for _ in range(4)]
        assert await say(asked, b"ping\n") == b"pong\n"
        assert await say(asked_later, b"ping\n") == b"pong\n"
        for expected in (silent, silent_too, asked, asked_later):
            newcomer = await shop.connect()
            assert await say(newcomer, b"ping\n") == b"pong\n"
            assert await hear(expected) == b""
            assert listener.connection_count == 4


async def test_300_silent_connections_keep_no_other_out(tmp_path: Path) -> None:
    async with open_shop(tmp_path, most=16) as (shop, listener):
        for _ in range(300):
            await shop.connect()
        honest = await shop.connect()
        for _ in range(3):
            assert await say(honest, b"ping\n") == b"pong\n"
        assert listener.connection_count == 16


async def test_what_is_being_worked_on_is_never_cut(tmp_path: Path) -> None:
    """Not for the hundredth newcomer either, who is told why there is no room for it."""
    async with open_shop(tmp_path, most=3) as (shop, _listener):
        working = [await shop.connect() for _ in range(3)]
        for stream in working:
            await stream.send_all(b"hold\n")
        await until(lambda: shop.working == 3)
        for _ in range(100):
            refused = await shop.connect()
            told = await say(refused, b"ping\n")
            assert told == b"busy: all users together: 3 of 3 connections open, none idle\n"
            await refused.aclose()
        shop.release.set()
        assert [await hear(stream) for stream in working] == [b"pong\n"] * 3
        assert await say(await shop.connect(), b"ping\n") == b"pong\n"


async def test_a_request_that_has_arrived_is_served_although_nothing_has_read_it(tmp_path: Path) -> None:
    """Many at once: whoever has sent its request gets an answer, or finds that it could not send it."""
    async with open_shop(tmp_path, most=4) as (shop, _listener):
        outcomes: list[bytes] = []

        async def ask() -> None:
            stream = await trio.open_unix_socket(shop.path)
            async with stream:
                outcomes.append(await say(stream, b"ping\n"))

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask)
        assert len(outcomes) == 100
        assert outcomes.count(b"pong\n") >= 50
        assert all(answer in (b"pong\n", b"") or answer.startswith(b"busy") for answer in outcomes)


async def test_a_full_share_is_its_own_groups_trouble(tmp_path: Path) -> None:
    async with open_shop(tmp_path, most=8) as (shop, _listener):
        ann, bob = (Group(name, 3, name, shop.everyone) for name in ("ann", "bob"))
        bobs = await shop.connect(bob)
        anns = [await shop.connect(ann) for _ in range(3)]
        for stream in anns:
            await stream.send_all(b"hold\n")
        await until(lambda: shop.working == 3)
        fourth = await shop.connect(ann)
        assert await hear(fourth) == b"busy: ann: 3 of 3 connections open, none idle\n"
        assert await say(bobs, b"ping\n") == b"pong\n"
        assert await say(await shop.connect(bob), b"ping\n") == b"pong\n"


async def test_places_that_are_kept_back_are_for_root(tmp_path: Path) -> None:
    async with open_shop(tmp_path, most=8) as (shop, _listener):
        others = Group("others", 6, "others", shop.everyone)
        root = Group("root", 8, "root", shop.everyone)
        for _ in range(6):
            await (await shop.connect(others)).send_all(b"hold\n")
        await until(lambda: shop.working == 6)
        assert (await hear(await shop.connect(others))).startswith(b"busy: others: 6 of 6 connections")
        for _ in range(2):
            await (await shop.connect(root)).send_all(b"hold\n")
        await until(lambda: shop.working == 8)
        assert (await hear(await shop.connect(root))).startswith(b"busy: all users together: 8 of 8 connections")


async def test_half_a_request_holds_no_place(tmp_path: Path) -> None:
    """Slowloris: it makes room like a silent connection, and a byte now and then does not make it younger."""
    async with open_shop(tmp_path, most=2) as (shop, _listener):
        slow, silent = await shop.connect(), await shop.connect()
        for byte in (b"p", b"i", b"n"):
            await slow.send_all(byte)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert await say(await shop.connect(), b"ping\n") == b"pong\n"
        assert await hear(slow) == b""
        assert await say(silent, b"ping\n") == b"pong\n"


async def test_a_request_that_is_arriving_is_not_cut(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """Of a peer that has asked before. After a second the part that came holds no place any more."""
    async with open_shop(tmp_path, most=1) as (shop, _listener):
        stream = await shop.connect()
        assert await say(stream, b"ping\n") == b"pong\n"
        await stream.send_all(b"pi")
        await trio.testing.wait_all_tasks_blocked()
        assert (await hear(await shop.connect())).startswith(b"busy: ")
        assert await say(stream, b"ng\n") == b"pong\n"
        await stream.send_all(b"pi")
        await trio.testing.wait_all_tasks_blocked()
        await passed(mock_clock, 1)
        assert await say(await shop.connect(), b"ping\n") == b"pong\n"
        assert await hear(stream) == b""


async def test_half_a_request_is_given_up(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """10 s after its first byte, however many bytes follow; also behind a whole request."""
    async with open_shop(tmp_path, idle_s=10_000, request_s=10) as (shop, _listener):
        for beginning in (b"p", b"ping\np"):
            stream = await shop.connect()
            await stream.send_all(beginning)
            if beginning.startswith(b"ping"):
                assert await hear(stream) == b"pong\n"
            sent = 0
            with suppress(trio.BrokenResourceError):
                while sent < 20:
                    await passed(mock_clock, 3)
                    await stream.send_all(b"p")
                    sent += 1
            assert 3 <= sent <= 4


async def test_an_idle_connection_is_closed(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_shop(tmp_path, idle_s=30) as (shop, _listener):
        stream = await shop.connect()
        assert await say(stream, b"ping\n") == b"pong\n"
        with trio.fail_after(31):
            assert await stream.receive_some() == b""


async def test_a_peer_that_does_not_take_its_answer_makes_room(tmp_path: Path) -> None:
    """As long as nothing needs its place, it has `write_s` for it."""
    async with open_shop(tmp_path, most=1) as (shop, listener):
        deaf = await shop.connect()
        await deaf.send_all(b"huge\n")
        connection = next(iter(listener._connections))
        await until(connection.is_idle)
        assert await say(await shop.connect(), b"ping\n") == b"pong\n"


async def test_a_peer_that_does_not_take_its_answer_is_given_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_shop(tmp_path, write_s=10) as (shop, listener):
        deaf = await shop.connect()
        await deaf.send_all(b"huge\n")
        connection = next(iter(listener._connections))
        with trio.fail_after(11):
            await connection.closed.wait()


async def test_a_peer_that_is_told_to_go_may_still_be_sending(tmp_path: Path) -> None:
    """The cause must not be lost to a reset."""
    async with open_shop(tmp_path, most=1) as (shop, _listener):
        working = await shop.connect()
        await working.send_all(b"hold\n")
        await until(lambda: shop.working == 1)
        refused = await shop.connect()
        await refused.send_all(bytes(100_000))
        assert (await hear(refused)).startswith(b"busy: ")
        await refused.send_all(b"more")


async def test_a_crowd_of_refused_peers_costs_little(tmp_path: Path) -> None:
    """Only so many are waited for; all are told."""
    async with open_shop(tmp_path, most=1) as (shop, listener):
        working = await shop.connect()
        await working.send_all(b"hold\n")
        await until(lambda: shop.working == 1)
        refused = [await shop.connect() for _ in range(3 * MOST_LINGERING)]
        for stream in refused:
            assert (await hear(stream)).startswith(b"busy: ")
        assert len(listener._lingering) <= MOST_LINGERING


async def test_peers_that_hang_up_in_the_queue_hold_nothing(tmp_path: Path) -> None:
    """Connected and gone before the listener has seen them: 400 at once, over a Unix socket and over TCP."""
    async with open_shop(tmp_path, most=4) as (shop, _listener):
        for family, place in ((socket.AF_UNIX, shop.path), (socket.AF_INET, ("127.0.0.1", shop.port))):
            for _ in range(200):
                with socket.socket(family) as gone:
                    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # TCP resets
                    gone.connect(place)
        assert await say(await shop.connect(), b"ping\n") == b"pong\n"
        async with await trio.open_tcp_stream("127.0.0.1", shop.port) as stream:
            assert await say(stream, b"ping\n") == b"pong\n"


async def test_out_of_files_the_longest_idle_connection_makes_room(tmp_path: Path) -> None:
    """EMFILE neither ends the listener nor makes it spin: it closes an idle connection, and tells."""
    async with open_shop(tmp_path, most=1000) as (shop, listener):
        with structlog.testing.capture_logs() as logs, few_files(41):
            ours = [socket.socket(socket.AF_UNIX) for _ in range(30)]  # leaves 11 for the listener's ends
            for sock in ours:
                sock.connect(shop.path)
            await until(lambda: shop.accepted == 30)
            assert listener.connection_count <= 11
            assert any(log["event"] == "accepting connections failed" and "EMFILE" in log["errors"] for log in logs)
            ours[-1].sendall(b"ping\n")
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours[-1]))
            assert await hear(stream) == b"pong\n"
        for sock in ours[:-1]:
            sock.close()
        await stream.aclose()


async def test_out_of_files_and_none_idle_the_next_one_waits(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    """Until there is a file again: nothing is lost that the queue holds."""
    async with open_shop(tmp_path, most=1000) as (shop, listener):
        with few_files(5):
            held = socket.socket(socket.AF_UNIX)
            held.connect(shop.path)
            held.sendall(b"hold\n")
            await until(lambda: shop.working == 1)
            waiting = socket.socket(socket.AF_UNIX)
            waiting.connect(shop.path)
            waiting.sendall(b"ping\n")
            with few_files(0):
                await passed(mock_clock, 1)
                assert listener.connection_count == 1
            await passed(mock_clock, 1)
            stream = trio.SocketStream(trio.socket.from_stdlib_socket(waiting))
            assert await hear(stream) == b"pong\n"
        held.close()
        await stream.aclose()


async def test_an_error_that_stays_ends_the_listener() -> None:
    """What no waiting helps against is for the supervisor."""
    shop = Shop("")
    sock = open_tcp_listener("127.0.0.1", 0)
    sock.socket.shutdown(socket.SHUT_RDWR)
    with pytest.raises(ExceptionGroup) as caught, trio.fail_after(10):
        await Listener(shop.converse, shop.group_of, lambda _, _peer: b"").serve(sock)
    assert caught.group_contains(OSError, match="Invalid argument")


async def test_the_drain_of_a_full_listener(tmp_path: Path) -> None:
    """Idle ones end at once, what runs is answered, what has arrived is served; refused peers hold nothing up."""
    async with open_shop(tmp_path, most=3) as (shop, listener):
        idle, working, arrived = [await shop.connect() for _ in range(3)]
        await working.send_all(b"hold\n")
        await until(lambda: shop.working == 1)
        await say(idle, b"ping\n")
        await arrived.send_all(b"ping\n")  # the listener's task has not run since
        listener.drain()
        with trio.fail_after(10):
            assert await hear(arrived) == b"pong\n"
            assert await hear(arrived) == b""
            assert await hear(idle) == b""
            assert not shop.closed.is_set()
            shop.release.set()
            assert await hear(working) == b"pong\n"
            await shop.closed.wait()
        with pytest.raises(OSError, match="refused"):
            await trio.open_unix_socket(shop.path)


@pytest.mark.parametrize(("words", "answer"), [(b"ping\n", b"pong\n"), (b"", b"")])
async def test_a_connection_that_was_accepted_when_the_drain_began(tmp_path: Path, words: bytes, answer: bytes) -> None:
    """What it has sent is answered, and it ends like the others."""
    async with open_shop(tmp_path) as (shop, listener):
        shop.on_connect = listener.drain
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(shop.path)
            sock.sendall(words)
            with trio.fail_after(10):
                await shop.closed.wait()
            assert sock.recv(100) == answer


async def test_refusals_are_told_at_a_bounded_rate_with_counts(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    """The first at once, the rest in a sum after ten seconds."""
    async with open_shop(tmp_path, most=1) as (shop, _listener):
        with structlog.testing.capture_logs() as logs:
            working = await shop.connect()
            await working.send_all(b"hold\n")
            await until(lambda: shop.working == 1)
            for _ in range(50):
                await hear(await shop.connect())
            await passed(mock_clock, 11)
        told = [log for log in logs if log["event"] == "no room for connections"]
        assert len(told) == 2
        assert {log["at"] for log in told} == {"the shop"}
        assert sum(log["refused"]["all users together"] for log in told) == 50


async def test_connections_that_made_room_are_told_as_well(tmp_path: Path) -> None:
    """At the end at the latest."""
    with structlog.testing.capture_logs() as logs:
        async with open_shop(tmp_path, most=1) as (shop, listener):
            for _ in range(5):
                await say(await shop.connect(), b"ping\n")
            listener.drain()
            await until(lambda: listener.connection_count == 0)
            await trio.testing.wait_all_tasks_blocked()
    closed = [log["closed"]["all users together"] for log in logs if "closed to make room" in log["event"]]
    assert sum(closed) == 4
