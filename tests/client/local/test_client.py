from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from typing import Any

import anyio
import pytest
import trio
from attrs import define

from orthros_client import AsyncClient, Client, Credentials, Misconfigured, TicketRefused, Token, Unavailable
from orthros_client.errors import Failure, LocalMisuse
from orthros_client.local.api.values import (
    CredentialGrant,
    Op,
    Ping,
    WantRequest,
)
from orthros_client.local.conversation import Conversation, socket_path
from orthros_client.reasons import DAEMON_UNREACHABLE, PEER_NOT_ALLOWED
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.credential import Credential, Life
from tests.client.house import House, open_house

A = "tcp://kdc-a:1"


@define
class StillClock:
    """A clock that moves when told."""

    at_s: float = 1000.0

    def wall_ms(self) -> Timestamp:
        return Timestamp(round(self.at_s * 1000))

    def elapsed_s(self) -> float:
        return self.at_s


def grant(
    *, number: int = 1, remaining_s: float = 3600, fresh_s: float = 2700, tail: bytes | None = b"t" * 32, **more: Any
) -> CredentialGrant:
    credential = Credential(
        target=Principal("test.realm", "orders"),
        target_uid=17,
        client=Principal("test.realm", "web"),
        ticket=b"credential %06d" % number,
        tail=tail,
        life=Life.left(round(remaining_s * 1000), 3600),
        kvno=1,
        scopes=("read",),
        **more,
    )
    return CredentialGrant(credential=credential, fresh_ms=round(fresh_s * 1000), offset_ms=250)


def settle(
    conversation: Conversation, reply: CredentialGrant | Exception | None, scopes: Iterable[str] | None = None
) -> Credentials:
    """Drives one question; `reply` None: the daemon must not be asked."""
    flow = conversation.credentials("orders", scopes, 0)
    try:
        request = next(flow)
        assert reply is not None, f"asked the daemon: {request}"
        if isinstance(reply, Exception):
            flow.throw(reply)
        else:
            flow.send(reply)
    except StopIteration as done:
        credentials: Credentials = done.value
        return credentials
    raise AssertionError("one question, one answer")


@pytest.mark.parity("K5")
def test_a_loop_does_not_ask_the_daemon_each_time() -> None:
    """Kept for a minute at most, so that a renewed ticket is noticed."""
    clock = StillClock()
    conversation = Conversation(10, clock=clock)
    first = settle(conversation, grant())
    assert settle(conversation, None) is first
    clock.at_s += 59
    assert settle(conversation, None) is first
    clock.at_s += 2
    second = settle(conversation, grant(number=2))
    assert second.ticket != first.ticket
    assert second.peer is first.peer
    assert (second.realm_offset_ms, second.expires_in_s) == (250, 3600)


@pytest.mark.parity("K5")
@pytest.mark.parametrize(
    ("remaining_s", "fresh_s", "kept_s"), [(3600, 20, 20), (4, 3, 2), (3600, 0, 1), (1, 0, 0.5), (3600, 3000, 60)]
)
def test_renewed_tickets_are_fetched_in_time(remaining_s: float, fresh_s: float, kept_s: float) -> None:
    """Never kept beyond the daemon's renewal, nor beyond half of the life left."""
    clock = StillClock()
    conversation = Conversation(10, clock=clock)
    settle(conversation, grant(remaining_s=remaining_s, fresh_s=fresh_s))
    clock.at_s += kept_s - 0.01
    settle(conversation, None)
    clock.at_s += 0.02
    settle(conversation, grant(number=2))


@pytest.mark.parity("B7")
def test_a_daemon_that_is_away_costs_nothing_while_the_ticket_lives() -> None:
    """What is in hand stays good until its own end."""
    clock = StillClock()
    conversation = Conversation(10, clock=clock)
    first = settle(conversation, grant(remaining_s=600))
    away = Unavailable(DAEMON_UNREACHABLE)
    clock.at_s += 500
    assert settle(conversation, away) is first
    clock.at_s += 101
    with pytest.raises(Unavailable, match="daemon-unreachable"):
        settle(conversation, away)


@pytest.mark.parity("K5")
def test_different_questions_have_different_answers() -> None:
    """Scopes are part of the question; None is not the same as none."""
    conversation = Conversation(10, clock=StillClock())
    first = settle(conversation, grant(number=1))
    second = settle(conversation, grant(number=2), ["read"])
    third = settle(conversation, grant(number=3), [])
    assert len({first.ticket, second.ticket, third.ticket}) == 3
    assert settle(conversation, None, ("read",)) is second


@pytest.mark.parity("K6")
def test_the_daemon_is_given_less_time_than_the_caller_has() -> None:
    """It knows why, so it should speak first."""
    request = next(Conversation(10).token("orders@other.realm", ["b", "a"]))
    assert request == WantRequest(op=Op.TOKEN, target="orders", realm="other.realm", scopes=("a", "b"), timeout_ms=9000)
    assert next(Conversation(10).ping()) == Ping()


@pytest.mark.parity("K4")
@pytest.mark.parametrize("target", ["", "Orders", "orders@", "@realm", "a b"])
def test_bad_names_are_local_errors(target: str) -> None:
    """Nothing is asked."""
    with pytest.raises(Misconfigured, match="name-invalid"):
        next(Conversation(10).credentials(target, None, 0))


@pytest.mark.parity("K4")
def test_scopes_are_a_list() -> None:
    """A single string would be taken letter by letter."""
    with pytest.raises(Misconfigured, match="scope-invalid"):
        next(Conversation(10).credentials("orders", "read", 0))


@pytest.mark.parity("P16")
def test_where_the_socket_is_looked_for() -> None:
    """Argument, ORTHROS_SOCKET, default; as path or unix:///path."""
    assert socket_path(None, {}) == "/run/orthros/daemon.sock"
    assert socket_path(None, {"ORTHROS_SOCKET": "unix:///x/y.sock"}) == "/x/y.sock"
    assert socket_path("z.sock", {"ORTHROS_SOCKET": "unix:///x/y.sock"}) == "z.sock"
    for bad in ("tcp://localhost:1", "unix://relative"):
        with pytest.raises(Misconfigured, match="config-invalid"):
            socket_path(bad, {})


@pytest.mark.parity("K4")
def test_a_token_does_not_show_itself() -> None:
    """Bearer, so not in a log by accident."""
    token = Token(value="eyJ.secret", target=Principal("r", "t"), scopes=(), life=Life(9, 5.0), clock=StillClock(2.0))
    assert "secret" not in repr(token)
    assert token.expires_in_s == 3.0


@pytest.mark.parity("K5")
async def test_threads_share_a_client() -> None:
    """One client per process, asked from everywhere."""
    async with open_house() as house:
        failures: list[BaseException] = []

        def work(client: Client) -> None:
            def one() -> None:
                try:
                    for _ in range(20):
                        client.status()
                        client.credentials("orders")
                except BaseException as error:  # noqa: BLE001  # handed to the test
                    failures.append(error)

            threads = [threading.Thread(target=one) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        with Client(house.socket) as client:
            await house.in_thread(lambda: work(client))
        assert failures == []
        assert house.world.realm.handled == 2


@pytest.mark.parity("K6")
async def test_a_restarted_daemon_is_found_again() -> None:
    """A connection that the daemon closed while idle is replaced without an error."""
    async with open_house(idle_s=0.02) as house:
        with Client(house.socket) as client:
            await house.in_thread(client.ping)
            with trio.fail_after(10):
                while house.listener._connections:
                    await trio.lowlevel.checkpoint()
            await house.in_thread(client.ping)
        async with AsyncClient(house.socket) as other:
            await other.ping()
            with trio.fail_after(10):
                while house.listener._connections:
                    await trio.lowlevel.checkpoint()
            await other.ping()


@pytest.mark.parity("K5")
async def test_a_forked_child_has_connections_of_its_own() -> None:
    """Parent and child never read each other's answers."""
    script = (
        "import os, sys; from orthros_client import Client\n"
        "client = Client(sys.argv[1]); client.ping(); pid = os.fork()\n"
        "for _ in range(50): assert client.status().cached == 0\n"
        "if pid == 0: os._exit(0)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    async with open_house() as house:
        done = await trio.run_process([sys.executable, "-c", script, house.socket], check=False)
        assert done.returncode == 0


async def use_async_client(socket: str) -> None:
    async with AsyncClient(socket, timeout=5) as client:
        await client.ping()
        credentials = await client.credentials("orders", ["read"])
        assert credentials.scopes == ("read",)
        assert await client.credentials("orders", ["read"]) is credentials
        assert (await client.token("orders")).value.startswith("jwt-for.orders")
        assert [str(entry.target) for entry in await client.list()] == ["orders@test.realm"] * 2
        assert (await client.status(probe=True)).ready
        with pytest.raises(TicketRefused, match="not-granted") as caught:
            await client.credentials("payroll")
        assert len(caught.value.ref) == 16
        with pytest.raises(Misconfigured, match="name-invalid"):
            await client.token("Payroll")


@pytest.mark.parity("K4")
async def test_the_async_client_under_trio() -> None:
    """One sans-IO session, anyio around it."""
    async with open_house() as house:
        await use_async_client(house.socket)


@pytest.mark.parity("K4")
async def test_the_async_client_under_asyncio() -> None:
    """The same under the other loop."""
    async with open_house() as house:
        await house.in_thread(lambda: anyio.run(use_async_client, house.socket, backend="asyncio"))


@pytest.mark.parity("K6")
async def test_the_async_client_without_a_daemon(tmp_path: os.PathLike[str]) -> None:
    async with AsyncClient(f"{tmp_path}/none.sock") as client:
        with pytest.raises(Unavailable, match="daemon-unreachable"):
            await client.ping()


@pytest.mark.parity("K6")
async def test_the_async_client_has_a_deadline() -> None:
    """A default timeout everywhere."""
    async with open_house(moods={A: "hanging"}) as house, AsyncClient(house.socket, timeout=0.2) as client:
        with pytest.raises(Unavailable, match="timeout"):
            await client.credentials("orders")


def list_pages(house: House) -> int:
    with Client(house.socket) as client:
        return len(client.list())


@pytest.mark.parity("K4")
async def test_long_lists_come_in_pages() -> None:
    """More than one frame's worth of entries."""
    async with open_house() as house:
        async with trio.open_nursery() as nursery:
            for ttl_s in range(1000, 1150):
                nursery.start_soon(house.world.outcome, house.world.key("orders", ttl_s=ttl_s))
        assert await house.in_thread(lambda: list_pages(house)) == 150


@pytest.mark.parity("K4")
async def test_pages_stay_below_the_frame_size() -> None:
    """Whoever asks for the longest scopes cannot make a list that does not fit."""
    scopes = [f"{number:02}" + "s" * 62 for number in range(32)]
    async with open_house() as house:
        house.world.realm.allow("web", "billing", *scopes)
        async with trio.open_nursery() as nursery:
            for ttl_s in range(1000, 1060):
                nursery.start_soon(house.world.outcome, house.world.key("billing", *scopes, ttl_s=ttl_s))
        assert await house.in_thread(lambda: list_pages(house)) == 60


def test_importing_the_library_imports_little() -> None:
    """A service pays for what it uses: neither trio nor anyio nor structlog for a client."""
    script = (
        "import sys, orthros_client; first = set(sys.modules)\n"
        "assert not {'orthros_protocol', 'trio', 'anyio'} & first\n"
        "orthros_client.Client; orthros_client.Credentials\n"
        "print(*({'trio', 'anyio', 'structlog', 'asyncio', 'h11', 'rich'} & set(sys.modules)))\n"
        "assert set(orthros_client.__all__) <= {name for name in dir(orthros_client)}\n"
        "assert all(getattr(orthros_client, name) for name in orthros_client.__all__)\n"
        "assert not hasattr(orthros_client, 'nothing')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


@pytest.mark.parity("B7")
def test_a_daemon_that_hangs_is_not_waited_for_before_every_call() -> None:
    """What is in hand stays good; one caller asks again after a while, the others do not wait."""
    clock = StillClock()
    conversation = Conversation(10.0, clock=clock)
    first = settle(conversation, grant(remaining_s=3600))
    clock.at_s += 61
    asking = conversation.credentials("orders", None, 0)
    next(asking)
    assert settle(conversation, None) is first
    clock.at_s += 10
    with pytest.raises(StopIteration):
        asking.throw(Unavailable("timeout"))
    assert settle(conversation, None) is first
    clock.at_s += 31
    assert settle(conversation, grant(number=2)) is not first


@pytest.mark.parity("K4")
def test_a_refusal_is_not_passed_over() -> None:
    """After it, the next caller asks as well."""
    clock = StillClock()
    conversation = Conversation(10.0, clock=clock)
    settle(conversation, grant(remaining_s=3600))
    clock.at_s += 61
    for _ in range(2):
        with pytest.raises(TicketRefused):
            settle(conversation, Failure.refused(PEER_NOT_ALLOWED).to_error())


@pytest.mark.parity("K5")
async def test_a_fork_while_another_thread_holds_the_locks() -> None:
    """Nobody in the child could ever release the parent's locks."""
    script = (
        "import os, signal, sys, threading; from orthros_client import Client\n"
        "client = Client(sys.argv[1]); client.credentials('orders'); client.ping()\n"
        "conversation, pool = client._conversation, client._local._pool()\n"
        "held, done = threading.Event(), threading.Event()\n"
        "def hold():\n"
        "    with conversation._kept.lock(), pool.lock: held.set(); done.wait()\n"
        "thread = threading.Thread(target=hold); thread.start(); held.wait(); pid = os.fork()\n"
        "if pid == 0: signal.alarm(5); client.credentials('orders'); client.ping(); client.close(); os._exit(0)\n"
        "done.set(); thread.join(); sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))"
    )
    async with open_house() as house:
        command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, house.socket]
        done = await trio.run_process(command, check=False)
        assert done.returncode == 0


@pytest.mark.parity("K17")
@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), 1e12, -1.0])
def test_a_timeout_that_is_none_is_refused_at_once(timeout: float) -> None:
    """A typed error, and none that only shows at the first call."""
    with pytest.raises(LocalMisuse, match="value-invalid"):
        Client("/nowhere", timeout=timeout)
