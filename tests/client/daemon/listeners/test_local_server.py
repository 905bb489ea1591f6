from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import trio

from orthros_client import Client, TicketRefused, Unavailable
from orthros_client.daemon.listeners.allow_list import Allowance, AllowList, AllowRule
from orthros_client.errors import Failure
from orthros_client.local.api.messages import (
    decode_reply,
    encode_request,
)
from orthros_client.local.api.values import (
    CredentialGrant,
    Listing,
    ListRequest,
    Op,
    Ping,
    Pong,
    StatusRequest,
    WantRequest,
)
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.names import Principal
from orthros_runtime.serving.connections import Connection
from orthros_runtime.serving.limits import Group
from orthros_runtime.serving.listeners import Listener
from orthros_runtime.serving.peers import Peer
from orthros_runtime.serving.sockets import open_unix_listener
from tests.client.house import NOBODY, as_user, open_house

ORDERS = Principal("test.realm", "orders")
STRANGER_UID = os.geteuid() + 1
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can connect as somebody else")
not_as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root is always allowed")


async def ask(stream: trio.SocketStream, op: Op, request: bytes) -> object:
    await stream.send_all(frame(request))
    reader = FrameReader()
    with trio.fail_after(10):
        while data := await stream.receive_some(65536):
            reader.feed(bytes(data))
            for message in reader.messages():
                return decode_reply(op, message)
    raise EOFError


@pytest.mark.parity("K4")
async def test_the_own_uid_may_use_every_target() -> None:
    """Real sockets, real kernel credentials."""
    async with open_house() as house:
        with Client(house.socket) as client:
            assert (await house.in_thread(lambda: client.credentials("orders"))).scopes == ("read", "write")
            assert (await house.in_thread(lambda: client.token("orders@test.realm", ["read"]))).scopes == ("read",)


@pytest.mark.parity("K4")
@not_as_root
async def test_an_unknown_uid_is_refused_everything() -> None:
    """Without a rule not even the status is told."""
    async with open_house(own_uid=STRANGER_UID) as house:
        with Client(house.socket) as client:
            for question in (client.ping, client.list, client.status, lambda: client.credentials("orders")):
                with pytest.raises(TicketRefused, match="peer-not-allowed"):
                    await house.in_thread(question)
        assert house.world.realm.handled <= 1


@pytest.mark.parity("K4")
@needs_root
async def test_another_user_is_refused_everything() -> None:
    """The kernel tells the daemon who connected; the same socket, another uid."""
    async with open_house() as house:
        with as_user(NOBODY):
            stream = await trio.open_unix_socket(house.socket)
        async with stream:
            for op, request in (
                (Op.TICKET, WantRequest(op=Op.TICKET, target="orders")),
                (Op.PING, Ping()),
                (Op.STATUS, StatusRequest()),
            ):
                reply = await ask(stream, op, encode_request(request))
                assert isinstance(reply, Failure)
                assert reply.reason.name == "peer-not-allowed"
        assert len(house.world.agent.cache) == 0


@pytest.mark.parity("K4")
@needs_root
async def test_a_rule_opens_its_targets_only() -> None:
    """Per uid, explicit targets; the list shows nothing else."""
    rules = (AllowRule(uid=NOBODY, targets=frozenset({ORDERS})),)
    async with open_house(rules=rules) as house:
        await house.world.outcome(house.world.key("billing"))
        with as_user(NOBODY):
            stream = await trio.open_unix_socket(house.socket)
        async with stream:
            granted = await ask(stream, Op.TICKET, encode_request(WantRequest(op=Op.TICKET, target="orders")))
            refused = await ask(stream, Op.TICKET, encode_request(WantRequest(op=Op.TICKET, target="billing")))
            listing = await ask(stream, Op.LIST, encode_request(ListRequest()))
            assert await ask(stream, Op.PING, encode_request(Ping())) == Pong()
        assert isinstance(granted, CredentialGrant)
        assert granted.credential.target == ORDERS
        assert isinstance(refused, Failure)
        assert refused.reason.name == "peer-not-allowed"
        assert isinstance(listing, Listing)
        assert [entry.target for entry in listing.entries] == [ORDERS]


@pytest.mark.parity("K4")
def test_rules_by_group_cover_supplementary_groups() -> None:
    """Uid rules are about one uid, gid rules about every member."""
    rules = (AllowRule(gid=50, targets=frozenset({ORDERS})), AllowRule(uid=7))
    allow = AllowList(1000, rules)
    billing = Principal("test.realm", "billing")
    member, stranger = Peer(8, frozenset({8, 50})), Peer(9, frozenset({9}))
    assert allow.knows(member)
    assert allow.permits(member, ORDERS)
    assert not allow.permits(member, billing)
    assert allow.permits(Peer(7, frozenset()), billing)
    assert allow.permits(Peer(1000, frozenset()), billing)
    assert allow.permits(Peer(0, frozenset()), billing)
    assert not allow.knows(stranger)
    assert not allow.permits(stranger, ORDERS)


@pytest.mark.parity("K4")
async def test_neither_root_nor_tgt_leaves_the_daemon() -> None:
    """Everything that any operation answers, searched for the host's secrets."""
    async with open_house() as house:
        await house.world.outcome(house.world.key("orders"))
        login = house.world.agent.session.login
        assert login is not None
        stream = await trio.open_unix_socket(house.socket)
        answers = b""
        async with stream:
            for request in (
                WantRequest(op=Op.TICKET, target="orders"),
                WantRequest(op=Op.TOKEN, target="orders"),
                WantRequest(op=Op.TICKET, target="kdc/tgt"),
                ListRequest(),
                StatusRequest(probe=1),
            ):
                await stream.send_all(frame(encode_request(request)))
                answers += bytes(await stream.receive_some(65536))
        for path in ("/v1/ticket?target=orders", "/v1/token?target=orders", "/v1/status", "/readyz"):
            answers += (await house.get(path))[2]
        root = house.world.realm.root("web")
        secrets = [
            root.material,
            root.as_key().material,
            root.ticket_key().material,
            login.credential.ticket,
            login.pop_key,
        ]
        held = next(house.world.agent.cache.entries(0.0))
        secrets.append(house.world.opened(held).session_key)
        assert [secret for secret in secrets if secret in answers or secret.hex() in str(answers)] == []


@pytest.mark.parity("K4")
async def test_a_peer_that_is_not_understood_is_told_and_dropped() -> None:
    """The process goes on; the next connection works."""
    async with open_house() as house:
        for nonsense in (frame(b"\x93\x02\x63\xc4\x00"), b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 8):
            stream = await trio.open_unix_socket(house.socket)
            async with stream:
                await stream.send_all(nonsense)
                data = b""
                with trio.fail_after(10):
                    while more := await stream.receive_some(4096):
                        data += more
            assert b"bad-local-request" in data or b"frame-too-large" in data
        with Client(house.socket) as client:
            await house.in_thread(client.ping)


@pytest.mark.parity("K4")
async def test_silent_connections_are_closed() -> None:
    """Deadlines on everything."""
    async with open_house(idle_s=0.05) as house:
        stream = await trio.open_unix_socket(house.socket)
        async with stream:
            with trio.fail_after(10):
                assert await stream.receive_some(10) == b""


@pytest.mark.parity("K4")
async def test_draining_finishes_what_runs_and_starts_nothing() -> None:
    """SIGTERM costs no caller its answer."""
    async with open_house(moods={"tcp://kdc-a:1": "hanging"}) as house:
        busy = await trio.open_unix_socket(house.socket)
        idle = await trio.open_unix_socket(house.socket)
        await busy.send_all(frame(encode_request(WantRequest(op=Op.TICKET, target="orders", timeout_ms=300))))
        assert await ask(idle, Op.PING, encode_request(Ping())) == Pong()
        house.listener.drain()
        with trio.fail_after(10):
            assert await idle.receive_some(10) == b""
            assert b"timeout" in await busy.receive_some(4096)
            assert await busy.receive_some(10) == b""
        with pytest.raises(OSError, match="refused"):
            await trio.open_unix_socket(house.socket)
        await busy.aclose()
        await idle.aclose()


@pytest.mark.parity("K4")
async def test_a_living_socket_is_not_taken_over(tmp_path: Path) -> None:
    """A second daemon does not steal the first one's callers; a dead file is replaced."""
    path = str(tmp_path / "daemon.sock")
    listener = open_unix_listener(path, 0o600)
    assert Path(path).stat().st_mode & 0o777 == 0o600
    with pytest.raises(Misconfigured, match="conflict"):
        open_unix_listener(path, 0o600)
    await listener.aclose()
    again = open_unix_listener(path, 0o660)
    assert Path(path).stat().st_mode & 0o777 == 0o660
    await again.aclose()


@pytest.mark.parity("P16")
def test_other_files_are_not_removed(tmp_path: Path) -> None:
    """A wrong path in the configuration destroys nothing."""
    precious = tmp_path / "precious"
    precious.write_text("data")
    with pytest.raises(Misconfigured, match="conflict"):
        open_unix_listener(str(precious), 0o600)
    assert precious.read_text() == "data"
    with pytest.raises(Misconfigured, match="file-unreadable"):
        open_unix_listener(str(tmp_path / "missing" / "daemon.sock"), 0o600)
    with pytest.raises(Misconfigured, match="config-invalid"):
        open_unix_listener(f"/tmp/{'x' * 120}", 0o600)


@pytest.mark.parity("K6")
async def test_no_daemon_is_said_as_such(tmp_path: Path) -> None:
    """An unreachable or silent daemon ends in an error in time."""
    with pytest.raises(Unavailable, match="daemon-unreachable"):
        Client(tmp_path / "none.sock").ping()
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen(1)
        with pytest.raises(Unavailable, match="timeout"):
            Client(tmp_path / "deaf.sock", timeout=0.05).ping()


@pytest.mark.parity("K4")
async def test_a_fault_met_by_one_connection_does_not_end_the_others() -> None:
    """The last line of defence; the daemon goes on."""

    async def converse(connection: Connection) -> None:
        if await connection.receive() == b"bad":
            raise ZeroDivisionError
        await connection.send(b"fine")

    async with open_house() as house, trio.open_nursery() as nursery:
        path = house.socket + ".2"
        group = Group("all", 8, "all users together")
        listener = Listener(converse, lambda _connection: group, lambda cause, _peer: cause.encode())
        await nursery.start(listener.serve, open_unix_listener(path, 0o600))
        async with await trio.open_unix_socket(path) as victim, await trio.open_unix_socket(path) as other:
            await victim.send_all(b"bad")
            assert await victim.receive_some() == b""
            await other.send_all(b"good")
            assert await other.receive_some() == b"fine"
        nursery.cancel_scope.cancel()


@pytest.mark.parity("K4")
async def test_one_uid_cannot_use_up_what_the_kdc_gives_to_all() -> None:
    """The KDC counts for the whole host; questions with a known answer cost nothing."""
    house_rules = (AllowRule(uid=NOBODY, targets=frozenset({ORDERS})),)
    async with open_house(rules=house_rules) as house:
        greedy, own = Peer(NOBODY, frozenset()), Peer(os.geteuid(), frozenset())
        house.desk.allowance = Allowance(per_s=0.001, burst=3)

        async def ask_for(peer: Peer, ttl_s: int) -> object:
            return await house.desk.answer(peer, WantRequest(op=Op.TICKET, target="orders", ttl_s=ttl_s))

        granted = [await ask_for(greedy, ttl_s) for ttl_s in (60, 61, 62, 60, 61)]
        refused = await ask_for(greedy, 63)
        assert all(
            isinstance(one, CredentialGrant) for one in (*granted, await ask_for(own, 63), await ask_for(greedy, 63))
        )
        assert isinstance(refused, Failure)
        assert (refused.reason.name, refused.family, refused.retry_s) == ("rate-limited", "unavailable", 1)


@pytest.mark.parity("K5")
async def test_many_who_wait_for_one_answer_ask_once() -> None:
    """A start-up of many processes of one user is no greed."""
    async with open_house(rules=(AllowRule(uid=NOBODY),)) as house:
        house.desk.allowance = Allowance(per_s=0.001, burst=1)
        answers = []

        async def ask_once() -> None:
            request = WantRequest(op=Op.TICKET, target="orders")
            answers.append(await house.desk.answer(Peer(NOBODY, frozenset()), request))

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask_once)
        assert all(isinstance(one, CredentialGrant) for one in answers)


@pytest.mark.parity("K4")
def test_an_allowance_comes_back_also_for_those_who_go_on_asking() -> None:
    """Per uid, bounded."""
    allowance = Allowance(per_s=1.0, burst=2.0)
    assert [allowance.take(7, 0.0) for _ in range(3)] == [True, True, False]
    assert allowance.take(8, 0.0)
    assert [allowance.take(7, 0.25 * quarter) for quarter in range(1, 9)].count(True) == 2
    for uid in range(5000):
        allowance.take(uid, 10.0 * uid)
    assert len(allowance._left) < 1100
