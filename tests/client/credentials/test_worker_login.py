"""Narrowed logins: who gets one, what it is good for, and that nobody makes more of it."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve

from orthros_client import Client, TicketRefused
from orthros_client.credentials.worker_login import WorkerLogin
from orthros_client.daemon.agent import Agent
from orthros_client.daemon.kdc.worker_session import WorkerSession
from orthros_client.daemon.listeners.allow_list import AllowList, AllowRule
from orthros_client.daemon.listeners.local_api import LocalApi
from orthros_client.daemon.worker_terms import WorkerTerms
from orthros_client.errors import Failure, LocalMisuse
from orthros_client.local.api.values import (
    LoginGrant,
    LoginRequest,
    LoginTarget,
    Op,
    ReceiveRequest,
    Reply,
    WantRequest,
)
from orthros_protocol.errors import Misconfigured, Unavailable
from orthros_protocol.exchanges.wants import WANT_DELEGABLE
from orthros_protocol.keys.secret_file import write_secret_file
from orthros_protocol.primitives.names import Principal
from orthros_protocol.testing import CountingEntropy
from orthros_protocol.tickets.attenuation import tail_after
from orthros_protocol.tickets.caveats import ExpiresCaveat, ScopesCaveat, TargetsCaveat
from orthros_protocol.tickets.ticket import TGT, open_ticket
from orthros_runtime.serving.peers import Peer
from tests.client.house import NOBODY, House, open_house
from tests.client.world import World, elapse, evidence_of, open_world
from tests.support.changed import changed

ORDERS, BILLING = (Principal("test.realm", name) for name in ("orders", "billing"))
OWN, GUEST = Peer(os.geteuid(), frozenset()), Peer(NOBODY, frozenset())
A = "tcp://kdc-a:1"


def terms(*targets: Principal, uid: int = OWN.uid, lifetime_s: int = 600) -> WorkerTerms:
    return WorkerTerms(rules=(AllowRule(uid=uid, targets=frozenset(targets) or None),), lifetime_s=lifetime_s)


def login_for(*targets: str, scopes: tuple[str, ...] | None = None, lifetime_s: int = 0) -> LoginRequest:
    return LoginRequest(
        targets=tuple(LoginTarget(None, name) for name in targets), scopes=scopes, lifetime_s=lifetime_s
    )


def code_of(reply: Reply) -> str:
    return reply.reason.name if isinstance(reply, Failure) else type(reply).__name__


def desk_of(world: World, workers: WorkerTerms, *rules: AllowRule) -> LocalApi:
    return LocalApi(world.agent, world.clock, AllowList(os.geteuid(), rules), workers=workers)


async def taken(world: World, *targets: str, scopes: tuple[str, ...] | None = None, lifetime_s: int = 0) -> WorkerLogin:
    """What the host's daemon gives to a worker that may have anything, for up to 600 s."""
    reply = await desk_of(world, terms()).answer(OWN, login_for(*targets, scopes=scopes, lifetime_s=lifetime_s))
    assert isinstance(reply, LoginGrant), reply
    return WorkerLogin.from_bytes(reply.content)


def with_caveats(login: WorkerLogin, *caveats: bytes, **changes: Any) -> WorkerLogin:
    """The login with other caveats, and with other fields of its credential."""
    return login.altered(credential=evolve(login.credential, caveats=caveats, **changes))


def end_of(login: WorkerLogin) -> int:
    return login.credential.life.second


async def test_a_file_with_impossible_times_ends_nobodys_daemon(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """What a file says of its end and of its writer's clock may be beyond every calendar."""
    async with open_world() as world:
        given = await taken(world, "orders")
        ends = 9_000_000_000_000
        odd = with_caveats(given, ExpiresCaveat(ends).to_bytes(), given.credential.caveats[1])
        path = tmp_path / "login"
        write_secret_file(path, odd.altered(offset_ms=2**63 - 1).to_bytes())
        session = WorkerSession.open(str(path), world.agent.session.pool, world.clock, CountingEntropy(b"worker"))
        with pytest.raises(Unavailable, match=f"second {ends}"):
            await session.ensure_login()


@asynccontextmanager
async def open_worker(world: World, path: Path) -> AsyncIterator[World]:
    """The daemon of a worker, over the same network."""
    session = WorkerSession.open(str(path), world.agent.session.pool, world.clock, CountingEntropy(b"worker"))
    agent = Agent(session, world.clock, CountingEntropy(b"worker"))
    async with trio.open_nursery() as nursery:
        await nursery.start(agent.run)
        yield evolve(world, agent=agent)
        nursery.cancel_scope.cancel()


def write(path: Path, login: WorkerLogin) -> Path:
    write_secret_file(path, login.to_bytes(), replace=True)
    return path


# Who gets one


@pytest.mark.parity("K4")
async def test_without_a_workers_section_nobody_gets_a_login() -> None:
    """Not even the daemon's own user, who may use every target."""
    async with open_house() as house:
        with Client(house.socket) as client, pytest.raises(TicketRefused, match="peer-not-allowed"):
            await house.in_thread(lambda: client.login(["orders"]))


@pytest.mark.parity("K4")
@pytest.mark.parametrize(
    ("peer", "allowed", "for_workers", "code"),
    [
        (OWN, None, terms(ORDERS), "LoginGrant"),
        (OWN, None, terms(BILLING), "peer-not-allowed"),
        (GUEST, AllowRule(uid=NOBODY, targets=frozenset({ORDERS})), terms(ORDERS, uid=NOBODY), "LoginGrant"),
        (GUEST, AllowRule(uid=NOBODY, targets=frozenset({ORDERS})), terms(ORDERS), "peer-not-allowed"),
        (GUEST, AllowRule(uid=NOBODY, targets=frozenset({BILLING})), terms(ORDERS, uid=NOBODY), "peer-not-allowed"),
        (GUEST, None, terms(ORDERS, uid=NOBODY), "peer-not-allowed"),
    ],
)
async def test_both_lists_decide_who_gets_a_login_for_what(
    autojump_clock: trio.testing.MockClock, peer: Peer, allowed: AllowRule | None, for_workers: WorkerTerms, code: str
) -> None:
    """Who may use a target may not therefore take a login for it, nor the other way round."""
    async with open_world() as world:
        desk = desk_of(world, for_workers, *([allowed] if allowed else []))
        assert code_of(await desk.answer(peer, login_for("orders"))) == code
        assert code_of(await desk.answer(peer, login_for("orders", "payroll"))) == "peer-not-allowed"


@pytest.mark.parity("L23")
async def test_a_login_always_ends_and_always_names_its_targets(autojump_clock: trio.testing.MockClock) -> None:
    """Capped by the configuration and by the daemon's own login, whatever is asked for."""
    async with open_world() as world:
        second = world.realm.clock.now() // 1000
        for asked_s, given_s in ((0, 600), (60, 60), (86_400, 600)):
            login = await taken(world, "orders", "billing", lifetime_s=asked_s)
            assert given_s - 1 <= end_of(login) - second <= given_s
            assert login.targets == {ORDERS, BILLING}
        reply = await desk_of(world, terms(lifetime_s=86_400)).answer(OWN, login_for("orders"))
        assert isinstance(reply, LoginGrant)
        assert end_of(WorkerLogin.from_bytes(reply.content)) - second <= 3600


@pytest.mark.parity("K17")
async def test_too_many_targets_for_a_caveat_are_named_as_the_mistake(autojump_clock: trio.testing.MockClock) -> None:
    """A typed error, and no login that is good for fewer."""
    async with open_world() as world:
        names = tuple(f"{number:02}" + "x" * 60 for number in range(32))
        assert code_of(await desk_of(world, terms()).answer(OWN, login_for(*names))) == "value-invalid"


@pytest.mark.parity("K6")
async def test_no_login_without_a_kdc(autojump_clock: trio.testing.MockClock) -> None:
    """In time, and with the reason."""
    async with open_world(moods={A: "hanging"}) as world:
        request = changed(login_for("orders"), timeout_ms=2000)
        assert code_of(await desk_of(world, terms()).answer(OWN, request)) == "timeout"


# What it is good for


@pytest.mark.parity("L23", "B4")
async def test_a_worker_obtains_what_its_login_names_and_nothing_else(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """Targets, scopes, time, kinds; the KDC judges, by the caveats that nobody can take off."""
    async with open_world() as world:
        login = await taken(world, "orders", scopes=("read",))
        async with open_worker(world, write(tmp_path / "login", login)) as worker:
            held = await worker.agent.obtain(worker.key("orders"), timeout_s=10)
            ticket = open_ticket(held.credential.ticket, world.realm.root("orders").ticket_key())
            assert (ticket.client.name, ticket.scopes) == ("web", ("read",))
            assert ticket.exp <= end_of(login)
            for key in (
                worker.key("billing"),
                worker.key("orders", kind=1),
                worker.key("orders", flags=WANT_DELEGABLE),
            ):
                assert await worker.outcome(key) == "excluded-by-your-caveat"
            assert await worker.outcome(worker.key("orders", "write")) == "no-scope-left"


@pytest.mark.parity("L23")
async def test_a_worker_speaks_for_nobody(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """Neither with evidence nor by name, at its own desk and at the KDC."""
    async with open_world() as world:
        behalf = evidence_of(world.realm, "shop")
        async with open_worker(world, write(tmp_path / "login", await taken(world, "ledger"))) as worker:
            desk = desk_of(worker, WorkerTerms())
            for request in (
                WantRequest(op=Op.TICKET, target="ledger", behalf=behalf),
                WantRequest(op=Op.TICKET, target="ledger", subject="alice"),
            ):
                assert code_of(await desk.answer(OWN, request)) == "subject-refused"
            assert code_of(await desk.answer(OWN, ReceiveRequest(hand_over=bytes(64)))) == "key-missing"
            assert await worker.outcome(worker.on_behalf(behalf, "ledger"), behalf=behalf) == "subject-refused"
            assert await worker.outcome(worker.key("ledger")) == "held"


def widened(login: WorkerLogin) -> list[WorkerLogin]:
    """Every way in which its holder could try to get rid of a caveat."""
    expires, targets = login.credential.caveats
    wider = TargetsCaveat((ORDERS, BILLING)).to_bytes()
    later = ExpiresCaveat(end_of(login) + 3600).to_bytes()
    return [
        with_caveats(login, expires, wider),
        with_caveats(login, later, targets),
        with_caveats(login, targets, expires),
        with_caveats(login, later, wider, tail=tail_after(login.credential.tail or b"", [later, wider])),
        with_caveats(login, expires, targets, wider),
    ]


@pytest.mark.parity("B4")
async def test_nobody_makes_more_of_a_login(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """Other caveats, another order, appended ones without their tail: none of them is a login of this realm."""
    async with open_world() as world:
        login = await taken(world, "orders", lifetime_s=60)
        for forged in widened(login):
            async with open_worker(world, write(tmp_path / "login", forged)) as worker:
                assert await worker.outcome(worker.key("billing"), timeout_s=1) == "unauthenticated-refusal"
        wide = TargetsCaveat((ORDERS, BILLING)).to_bytes()
        honest = login.altered(credential=login.credential.with_caveats([wide]))
        async with open_worker(world, write(tmp_path / "login", honest)) as worker:
            assert await worker.outcome(worker.key("billing")) == "excluded-by-your-caveat"
            assert await worker.outcome(worker.key("orders")) == "held"


@pytest.mark.parity("B4")
async def test_a_worker_gives_its_own_workers_less(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """The same once more; a target outside is refused at once, and the end stays the first one's."""
    async with open_world() as world:
        first = await taken(world, "orders", "billing", lifetime_s=100)
        async with open_worker(world, write(tmp_path / "login", first)) as worker:
            second = await taken(worker, "orders", scopes=("read",))
            assert end_of(second) <= end_of(first)
            assert (
                code_of(await desk_of(worker, terms()).answer(OWN, login_for("payroll"))) == "excluded-by-your-caveat"
            )
            async with open_worker(world, write(tmp_path / "second", second)) as inner:
                assert (await inner.agent.obtain(inner.key("orders"), timeout_s=5)).credential.scopes == ("read",)
                assert await inner.outcome(inner.key("billing")) == "excluded-by-your-caveat"


# The file


@pytest.mark.parity("B7", "K6")
async def test_an_ended_login_is_said_and_its_successor_is_taken_at_once(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """No key, so no login of its own; whoever writes the file again is noticed without a signal."""
    async with open_world() as world:
        path = write(tmp_path / "login", await taken(world, "orders", lifetime_s=60))
        async with open_worker(world, path) as worker:
            desk = desk_of(worker, WorkerTerms())
            assert await worker.outcome(worker.key("orders")) == "held"
            status = await desk.status(probe=True)
            assert (status.ready, status.login_file, status.kvno) == (True, str(path), 0)
            await elapse(61)
            asked = len(world.network.asked)
            reply = await desk.answer(OWN, WantRequest(op=Op.TICKET, target="orders", timeout_ms=1000))
            assert isinstance(reply, Failure)
            assert (reply.reason.name, reply.family) == ("login-expired", "unavailable")
            assert reply.detail == f"{path}: its end is 2027-01-15T08:01:00Z"
            assert (await desk.status(probe=True)).code == "login-expired"
            assert len(world.network.asked) == asked
            await elapse(600)
            write(path, await taken(world, "orders", "billing", lifetime_s=60))
            assert await worker.outcome(worker.key("billing"), timeout_s=1) == "held"
            assert (await desk.status(probe=True)).ready


@pytest.mark.parity("B7")
async def test_a_successor_is_taken_before_the_end(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """Whoever writes the file in time has no gap, and a new target counts at once."""
    async with open_world() as world:
        path = write(tmp_path / "login", await taken(world, "orders", lifetime_s=60))
        async with open_worker(world, path) as worker:
            assert await worker.outcome(worker.key("billing")) == "excluded-by-your-caveat"
            for _ in range(10):
                await elapse(40)
                write(path, await taken(world, "orders", "billing", lifetime_s=60))
                assert await worker.outcome(worker.key("orders")) == "held"
            assert await worker.outcome(worker.key("billing")) == "held"


@pytest.mark.parity("B7")
@pytest.mark.parametrize("damage", ["gone", "mode", "cut", "foreign"])
async def test_a_bad_successor_takes_nothing_away(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, daemon_log: io.StringIO, damage: str
) -> None:
    """The login at hand goes on to its end; the log says what is wrong, and then every caller is told."""
    codes = {"gone": "file-unreadable", "mode": "key-file-unsafe", "cut": "login-file-invalid", "foreign": "conflict"}
    async with open_world() as world:
        login = await taken(world, "orders", lifetime_s=300)
        path = write(tmp_path / "login", login)
        async with open_worker(world, path) as worker:
            assert await worker.outcome(worker.key("orders", "read")) == "held"
            if damage == "gone":
                path.unlink()
            elif damage == "mode":
                path.chmod(0o640)
            elif damage == "cut":
                write_secret_file(path, login.to_bytes()[:-1], replace=True)
            else:
                write(path, login.altered(uid=login.uid + 1))
            assert await worker.outcome(worker.key("orders")) == "held"
            await elapse(31)
            assert await worker.outcome(worker.key("orders", "write")) == "held"
            assert daemon_log.getvalue().count("login file not taken") == 1
            await elapse(300)
            assert await worker.outcome(worker.key("orders"), timeout_s=1) == codes[damage]
            write(path, await taken(world, "orders"))
            assert await worker.outcome(worker.key("orders"), timeout_s=1) == "held"


@pytest.mark.parity("K6")
async def test_a_login_that_the_realm_no_longer_takes_has_ended(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """The KDC's word counts, whatever this host's clock says."""
    async with open_world() as world:
        login = await taken(world, "orders", lifetime_s=600)
        path = write(tmp_path / "login", login.altered(offset_ms=-500_000))
        async with open_worker(world, path) as worker:
            assert await worker.outcome(worker.key("orders")) == "held"
            assert abs(worker.agent.session.offset_ms) < 1000
            await elapse(601)
            assert await worker.outcome(worker.key("orders"), timeout_s=1) == "login-expired"


@pytest.mark.parity("K17")
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data[:-1] + bytes((data[-1] ^ 1,)), "login-file-invalid"),
        (lambda data: data[:40], "login-file-invalid"),
        (lambda data: b"ORTHROSK" + data[8:], "login-file-invalid"),
        (lambda data: data + bytes(30_000), "login-file-invalid"),
        (lambda data: b"", "login-file-invalid"),
        (lambda data: data[:8] + b"\x01" + data[9:], "login-file-invalid.*version 2"),  # an older one
    ],
)
async def test_a_file_that_is_no_login_is_refused_with_its_path(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, change: object, code: str
) -> None:
    """Cause and remedy, before anything is opened."""
    async with open_world() as world:
        login = await taken(world, "orders")
        path = tmp_path / "login"
        write_secret_file(path, change(login.to_bytes()))  # type: ignore[operator]
        with pytest.raises(Misconfigured, match=code) as caught:
            WorkerSession.open(str(path), world.agent.session.pool, world.clock, CountingEntropy())
        assert str(path) in caught.value.detail
        assert "`orthros worker-login`" in caught.value.remedy


def test_the_login_file_of_another_version_may_be_replaced() -> None:
    """It is a login file, and `orthros worker-login` writes it again."""
    assert WorkerLogin.is_login(b"ORTHROSL\x01 and more")
    assert not WorkerLogin.is_login(b"ORTHROSN\x02 and more")


@pytest.mark.parity("L23")
async def test_a_login_without_end_or_targets_is_none(autojump_clock: trio.testing.MockClock) -> None:
    """Nobody runs a worker with a whole login by mistake; nor with a service ticket."""
    async with open_world() as world:
        login = await taken(world, "orders")
        expires, targets = login.credential.caveats
        ticket = login.credential.ticket
        for changes in (
            {"caveats": ()},
            {"caveats": (expires,)},
            {"caveats": (targets, ScopesCaveat(("read",)).to_bytes())},
            {"caveats": (b"nonsense",)},
            {"ticket": ticket[:2] + bytes((TGT + 1,)) + ticket[3:]},
        ):
            with pytest.raises(Misconfigured, match="login-file-invalid"):
                login.altered(credential=evolve(login.credential, **changes))


@pytest.mark.parity("B7")
async def test_a_login_shows_no_secret(autojump_clock: trio.testing.MockClock, daemon_log: io.StringIO) -> None:
    """Neither in repr nor in the daemon's log, which says who got it for what."""
    async with open_world() as world:
        own = world.agent.session
        login = await taken(world, "orders")
        assert own.login is not None
        assert own.login.pop_key not in login.to_bytes()
        shown = repr(login) + repr(own.login) + repr(own) + daemon_log.getvalue()
        assert "worker's login given" in shown
        for secret in (login.credential.pop_key, login.credential.ticket, own.login.pop_key):
            assert secret.hex() not in shown
            assert repr(secret)[2:-1] not in shown


@pytest.mark.parity("K17")
async def test_a_login_for_less_than_a_second_is_none(autojump_clock: trio.testing.MockClock, tmp_path: Path) -> None:
    """A worker's daemon at the end of its own login says so."""
    async with open_world() as world:
        path = write(tmp_path / "login", await taken(world, "orders", lifetime_s=60))
        async with open_worker(world, path) as worker:
            await elapse(58)
            with pytest.raises(Unavailable, match="login-expired"):
                await worker.agent.login(timeout_s=1)


@pytest.mark.parity("K4")
def test_targets_are_a_list_of_names() -> None:
    """A single string would be taken letter by letter; nothing is asked."""
    with Client("/nowhere") as client:
        with pytest.raises(LocalMisuse, match="value-invalid"):
            client.login("orders")
        with pytest.raises(LocalMisuse, match="value-invalid"):
            client.login([])


@pytest.mark.parity("K4")
async def test_a_login_travels_through_the_socket() -> None:
    """The blocking client's view of it."""
    async with open_house(workers=terms(ORDERS)) as house:
        content = await in_client(house)
        assert WorkerLogin.from_bytes(content).targets == {ORDERS}


async def in_client(house: House) -> bytes:
    with Client(house.socket) as client:
        return await house.in_thread(lambda: client.login(["orders@test.realm"], ["read"], 60))
