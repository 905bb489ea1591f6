"""Who gets in when connections are many: each of the daemon's sockets, and what clients see of it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path

import anyio
import pytest
import trio
import trio.testing

from orthros_client import AsyncClient, Client, TicketUnavailable
from orthros_client.cli.__main__ import main
from orthros_client.daemon.listeners.allow_list import AllowRule
from orthros_client.daemon.listeners.local_server import LocalServer
from orthros_client.daemon.listeners.shares import ListenerShares
from orthros_client.errors import Failure
from orthros_client.local.api.messages import encode_request
from orthros_client.local.api.values import Op, Ping, Pong, WantRequest
from orthros_client.reasons import DAEMON_BUSY
from orthros_protocol.primitives.framing import frame
from orthros_runtime.serving.connections import Connection, Deadlines
from orthros_runtime.serving.limits import Group
from orthros_runtime.serving.peers import UNKNOWN_PEER, Peer
from tests.client.daemon.listeners.test_forward_auth_listener import Proxy, open_proxy, raw
from tests.client.daemon.listeners.test_local_server import ask, needs_root
from tests.client.forwarding import Sent, by_nginx
from tests.client.house import NOBODY, House, as_user, listener_for, open_house, read_response

WWW = 33
PING = encode_request(Ping())
A = "tcp://kdc-a:1"


def waiting_for_the_kdc(timeout_ms: int = 60_000) -> bytes:
    return frame(encode_request(WantRequest(op=Op.TICKET, target="orders", timeout_ms=timeout_ms)))


@contextmanager
def connected(count: int, path: str, uid: int | None = None) -> Iterator[list[socket.socket]]:
    """Connections that say nothing."""
    with ExitStack() as stack:
        with nullcontext() if uid is None else as_user(uid):
            sockets = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(count)]
            for sock in sockets:
                sock.connect(path)
        yield sockets


@asynccontextmanager
async def open_working(house: House, *, timeout_ms: int = 60_000) -> AsyncIterator[trio.SocketStream]:
    """A connection whose request the daemon works on."""
    async with await trio.open_unix_socket(house.socket) as stream:
        await stream.send_all(waiting_for_the_kdc(timeout_ms))
        await trio.testing.wait_all_tasks_blocked()
        yield stream


async def seen(house: House) -> None:
    """Until the listener has met everything that was connected or sent before."""
    async with await trio.open_unix_socket(house.socket) as stream:
        await ask(stream, Op.PING, PING)


# The forward-auth endpoint, over TCP.

USERS = [pytest.param(None, None, id="one user")]
USERS += [
    pytest.param(NOBODY, proxy, id=name, marks=needs_root)
    for proxy, name in ((WWW, "two users"), (NOBODY, "one user, not the daemon's"))
]


@pytest.mark.parity("L16")
@pytest.mark.parametrize(("stranger", "proxy_uid"), USERS)
async def test_300_silent_connections_do_not_shut_the_proxy_out(
    tmp_path: Path, stranger: int | None, proxy_uid: int | None
) -> None:
    """Neither its open connection nor a new one, whoever the stranger is."""

    async def connect(uid: int | None, proxy: Proxy) -> trio.SocketStream:
        with nullcontext() if uid is None else as_user(uid):
            return await proxy.connect(tcp=True)

    async with open_proxy(tmp_path, most=256) as proxy:
        kept = await connect(proxy_uid, proxy)
        assert (await proxy.ask(by_nginx(Sent()), kept))[0] == 401
        silent = [await connect(stranger, proxy) for _ in range(300)]
        new = await connect(proxy_uid, proxy)
        for _ in range(3):
            assert (await proxy.ask(by_nginx(Sent()), new))[0] == 401
            assert (await proxy.ask(by_nginx(Sent()), kept))[0] == 401
        assert proxy.listeners[1].connection_count <= 256
        for stream in (kept, new, *silent):
            await stream.aclose()


@pytest.mark.parity("L16")
async def test_a_question_of_the_dialect_keeps_a_connection_longer(tmp_path: Path) -> None:
    """Other words do not, however many."""
    async with open_proxy(tmp_path, most=16) as proxy:
        kept = await proxy.connect(tcp=True)
        assert (await proxy.ask(by_nginx(Sent()), kept))[0] == 401
        others = []
        for _ in range(40):
            others.append(await proxy.connect(tcp=True))
            await others[-1].send_all(b"GET /v1/forward-auth HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await read_response(others[-1]))[0] == 403
        assert (await proxy.ask(by_nginx(Sent()), kept))[0] == 401
        for stream in (kept, *others):
            await stream.aclose()


@pytest.mark.parity("L16")
async def test_no_room_is_a_403_for_a_proxy(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    """503 would be a permission where a proxy lets pass what the daemon does not answer; the body says why."""
    async with open_proxy(tmp_path, most=1) as proxy, await proxy.connect() as asking:
        # It has asked, and asks again. The clock stands still, so the rest of its question is on its way.
        await proxy.ask(by_nginx(Sent()), asking)
        await asking.send_all(raw(by_nginx(Sent()))[:-2])
        await trio.testing.wait_all_tasks_blocked()
        async with await proxy.connect() as stream:
            status, headers, body = await read_response(stream)
    assert (status, headers["retry-after"], headers["connection"]) == (403, "1", "close")
    assert json.loads(body)["error"] == "busy"
    assert "1 of 1 connections open" in json.loads(body)["detail"]


# The two local sockets.


@pytest.mark.parity("K4")
@needs_root
async def test_strangers_cannot_keep_the_others_out() -> None:
    """Silent connections of users who may only connect use up their own share, under any number of uids."""
    async with open_house(most=16) as house:
        with ExitStack() as stack:
            for number in range(40):
                stack.enter_context(connected(1, house.socket, NOBODY - number))
            with Client(house.socket, timeout=5) as client:
                await house.in_thread(client.ping)
            assert house.listener.connection_count <= 2 + 1


@pytest.mark.parity("K4")
@needs_root
async def test_a_user_who_fills_a_share_with_requests_is_told_and_root_gets_in() -> None:
    """The answer names the limit that was met; nobody else notices."""
    rules = (AllowRule(uid=NOBODY), AllowRule(uid=WWW))
    async with open_house(most=16, rules=rules, moods={A: "hanging"}) as house:
        with connected(8, house.socket, NOBODY) as sockets:
            for sock in sockets:
                sock.sendall(waiting_for_the_kdc())
            await seen(house)
            with as_user(NOBODY):
                ninth = await trio.open_unix_socket(house.socket)
            async with ninth:
                refused = await ask(ninth, Op.PING, PING)
            with as_user(WWW):
                other = await trio.open_unix_socket(house.socket)
            async with other:
                assert await ask(other, Op.PING, PING) == Pong()
            with Client(house.socket) as client:
                await house.in_thread(client.ping)
    assert isinstance(refused, Failure)
    assert (refused.reason, refused.family, refused.retry_s) == (DAEMON_BUSY, "unavailable", 1)
    assert refused.detail == f"user {NOBODY}: 8 of 8 connections open, none idle"


@pytest.mark.parity("K4")
@needs_root
async def test_what_others_may_have_together_leaves_places_for_root() -> None:
    """Two users with requests in progress, as many as they may have."""
    async with open_house(most=16, rules=(AllowRule(uid=NOBODY), AllowRule(uid=WWW)), moods={A: "hanging"}) as house:
        with connected(7, house.socket, NOBODY) as some, connected(6, house.socket, WWW) as more:
            for sock in (*some, *more):
                sock.sendall(waiting_for_the_kdc())
            await seen(house)
            with as_user(WWW):
                eighth = await trio.open_unix_socket(house.socket)
            async with eighth:
                refused = await ask(eighth, Op.PING, PING)
            with connected(2, house.socket) as roots:
                for sock in roots:
                    sock.sendall(waiting_for_the_kdc())
                await trio.testing.wait_all_tasks_blocked()
                assert house.listener.connection_count == 15
    assert isinstance(refused, Failure)
    assert refused.detail.startswith("all users without a place of their own: 13 of 13 connections open")


@pytest.mark.parity("K4")
@needs_root
async def test_the_daemons_own_user_leaves_places_for_root() -> None:
    """A service of the daemon's user, with more requests in progress than there are places."""
    async with open_house(most=16, own_uid=NOBODY, moods={A: "hanging"}) as house:
        with connected(20, house.socket, NOBODY) as sockets:
            for sock in sockets:
                with suppress(BrokenPipeError):  # refused, and closed
                    sock.sendall(waiting_for_the_kdc())
            with Client(house.socket) as client:
                await house.in_thread(client.ping)
            assert house.listener.connection_count <= 16
            refused = [sock for sock in sockets if b"user 65534: 14 of 14 connections open" in waiting_bytes(sock)]
    assert len(refused) == 6


def waiting_bytes(sock: socket.socket) -> bytes:
    with suppress(BlockingIOError):
        return sock.recv(4096, socket.MSG_DONTWAIT)
    return b""


@pytest.mark.parity("K4")
async def test_silent_connections_of_ones_own_make_room() -> None:
    """300 of them, on each socket."""
    async with open_house(most=32) as house:
        with connected(300, house.socket), connected(300, house.http_socket):
            with Client(house.socket) as client:
                await house.in_thread(client.ping)
            assert (await house.get("/livez"))[0] == 200
            assert house.listener.connection_count <= 32
            assert house.http_listener.connection_count <= 32


@pytest.mark.parity("K4", "B2")
async def test_no_room_is_a_503_over_http() -> None:
    """With the cause, a remedy and when to come again."""
    async with open_house(most=1, moods={A: "hanging"}) as house:
        async with await trio.open_unix_socket(house.http_socket) as working:
            await working.send_all(b"GET /v1/ticket?target=orders HTTP/1.1\r\nHost: x\r\nOrthros-Local: 1\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked()
            status, headers, body = await house.get("/livez")
        assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close")
        facts = json.loads(body)
        assert (facts["error"], facts["retry"], facts["retry_after_s"]) == ("busy", True, 1)
        assert facts["detail"].endswith(": 1 of 1 connections open, none idle")
        assert "`connections`" in facts["remedy"]


@pytest.mark.parity("K4")
@pytest.mark.parametrize("beginning", [b"\x00\x00\x00\x20half", b"GET /livez HTTP/1.1\r\n"])
async def test_half_a_request_is_given_up(autojump_clock: trio.testing.MockClock, beginning: bytes) -> None:
    """10 s after its first byte, however many follow, and also behind a whole request."""
    whole = frame(PING), b"GET /livez HTTP/1.1\r\nHost: x\r\nOrthros-Local: 1\r\n\r\n"
    async with open_house() as house:
        is_http = beginning.startswith(b"GET")
        for before in (b"", whole[is_http]):
            stream = await trio.open_unix_socket(house.http_socket if is_http else house.socket)
            async with stream:
                await stream.send_all(before + beginning)
                with trio.fail_after(11):
                    while await stream.receive_some(4096):
                        pass


# What clients see.


@pytest.mark.parity("K6", "K17")
async def test_a_client_without_room_says_so_and_not_that_there_is_no_daemon(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Library and command line, when the time that they have is over."""
    async with open_house(most=1, moods={A: "hanging"}) as house, open_working(house):
        with Client(house.socket, timeout=1) as client, pytest.raises(TicketUnavailable) as caught:
            await house.in_thread(client.ping)
        async with AsyncClient(house.socket, timeout=1) as other:
            with pytest.raises(TicketUnavailable, match="busy"):
                await other.ping()
        code = await house.in_thread(lambda: main(["--socket", house.socket, "--timeout", "1", "status"]))
    assert (caught.value.reason, caught.value.retry_s) == (DAEMON_BUSY, 1)
    assert code == 4
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("orthros: The local daemon has no room for another connection. (")
    assert told[0].endswith(": 1 of 1 connections open, none idle)")
    assert "code: busy" in told


@pytest.mark.parity("K6")
async def test_a_client_waits_for_room() -> None:
    """What was refused for lack of room has not been looked at, so it is asked again in the time that is left."""
    async with (
        open_house(most=1, moods={A: "hanging"}) as house,
        open_working(house, timeout_ms=200) as working,
        AsyncClient(house.socket, timeout=10) as other,
    ):
        with Client(house.socket, timeout=10) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(house.in_thread, client.ping)
                nursery.start_soon(other.ping)
                assert b"timeout" in await working.receive_some(4096)


@pytest.mark.parity("K6")
async def test_clients_that_take_each_others_place_notice_nothing() -> None:
    """There is one connection, and each of them finds the one that it kept closed."""
    async with open_house(most=1) as house, AsyncClient(house.socket) as third:
        with Client(house.socket) as first, Client(house.socket) as second:
            for _ in range(10):
                await house.in_thread(first.ping)
                await house.in_thread(second.ping)
                await third.ping()


@contextmanager
def full_queue(path: str) -> Iterator[socket.socket]:
    """A socket that listens, does not accept, and whose queue takes no more."""
    with ExitStack() as stack:
        deaf = stack.enter_context(socket.socket(socket.AF_UNIX))
        deaf.bind(path)
        deaf.listen(0)
        while True:
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.setblocking(False)
            if sock.connect_ex(path):
                break
        yield deaf


@pytest.mark.parity("K6")
async def test_a_full_queue_is_no_missing_daemon(tmp_path: Path) -> None:
    """The system says EAGAIN when more clients connect at once than the daemon has accepted yet."""
    path = str(tmp_path / "daemon.sock")
    with full_queue(path):
        with Client(path, timeout=1) as client, pytest.raises(TicketUnavailable, match="queue of new connections"):
            await trio.to_thread.run_sync(client.ping)
        async with AsyncClient(path, timeout=1) as other:
            with pytest.raises(TicketUnavailable, match="queue of new connections"):
                await other.ping()


@pytest.mark.parity("K6")
def test_a_full_queue_is_no_missing_daemon_under_asyncio(tmp_path: Path) -> None:
    """Whatever loop there is."""
    path = str(tmp_path / "daemon.sock")

    async def ping() -> None:
        async with AsyncClient(path, timeout=1) as client:
            with pytest.raises(TicketUnavailable, match="queue of new connections"):
                await client.ping()

    with full_queue(path):
        anyio.run(ping, backend="asyncio")


@pytest.mark.parity("K6")
async def test_a_client_gets_through_a_queue_that_was_full() -> None:
    """As soon as the daemon accepts again."""
    async with open_house() as house, trio.open_nursery() as serving:
        path = house.socket + ".2"
        with full_queue(path) as deaf, Client(path, timeout=10) as client:
            async with trio.open_nursery() as asking:
                asking.start_soon(house.in_thread, client.ping)
                await trio.testing.wait_all_tasks_blocked()
                sock = trio.SocketListener(trio.socket.from_stdlib_socket(deaf.dup()))
                await serving.start(listener_for(LocalServer(house.desk), ListenerShares(most=8)).serve, sock)
        serving.cancel_scope.cancel()


# ListenerShares.


def connection_of(peer: Peer) -> Connection:
    ours, theirs = socket.socketpair()
    theirs.close()
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    return Connection(stream, peer, Deadlines(), lambda _: None, lambda _: None)


@pytest.mark.parity("K4")
def test_the_sum_of_the_others_leaves_a_place_for_each() -> None:
    """Root, the proxy and the daemon's own user, whatever all others have at once."""
    shares = ListenerShares(most=64, proxy_uid=lambda: WWW, own_uid=1000)

    def full(*uids: int) -> int:
        """How many connections these users can have together."""
        counts: dict[object, int] = {}
        for uid in uids:
            for _ in range(64):
                group: Group | None = shares.group_for(Peer(uid, frozenset()))
                path = []
                while group is not None:
                    path.append(group)
                    group = group.within
                if all(counts.get(one.key, 0) < one.most for one in path):
                    counts.update({one.key: counts.get(one.key, 0) + 1 for one in path})
        return counts["all"]

    assert 64 - full(2001, 2002, 2003, 1000, WWW) >= 4  # root
    assert 60 - full(2001, 2002, 2003, 1000) >= 4  # the proxy
    assert 56 - full(2001, 2002, 2003) >= 4  # the daemon's own user


@pytest.mark.parity("K4", "L16")
async def test_shares() -> None:
    """Root, the daemon's own user and the proxy, other users, users without a rule, and the nameless."""
    own, known, unknown = os.geteuid() or 1, 66_000, 70_000

    async def group_of(shares: ListenerShares, peer: Peer) -> tuple[int, str, str]:
        connection = connection_of(peer)
        group = shares.group_of(connection)
        await connection.stream.aclose()
        assert isinstance(group, Group)
        assert group.within is not None
        return group.most, group.name, group.within.name

    shares = ListenerShares(most=256, knows=lambda peer: peer.uid < unknown, proxy_uid=lambda: WWW)
    everyone, others = "all users together", "all users without a place of their own"
    not_root, not_proxy = "all users but root", "all users but root and the proxy"
    for peer, expected in (
        (Peer(0, frozenset()), (256, "root", everyone)),
        (Peer(WWW, frozenset()), (224, "user 33", not_root)),
        (Peer(-1, frozenset(), tcp_owner=WWW), (224, "user 33", not_root)),
        (Peer(-1, frozenset(), tcp_owner=0), (256, "root", everyone)),
        (Peer(known, frozenset()), (128, f"user {known}", others)),
        (Peer(unknown, frozenset()), (32, "all users without a rule", others)),
        (Peer(unknown + 1, frozenset()), (32, "all users without a rule", others)),
        (UNKNOWN_PEER, (128, "all programs whose user is not known", others)),
    ):
        assert await group_of(shares, peer) == expected
    if own == os.geteuid():
        assert await group_of(shares, Peer(own, frozenset())) == (224, f"user {own}", not_proxy)
    for most in range(1, 40):
        few = ListenerShares(most=most, knows=lambda peer: peer.uid < unknown)
        for uid in (0, own, known, unknown):
            assert 1 <= (await group_of(few, Peer(uid, frozenset())))[0] <= most
