"""Clocks that jump, at the KDC and on the daemon's host: the agent and its desk on turned clocks."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from orthros_client.daemon.agent import Agent
from orthros_client.daemon.kdc.pool import KdcAddress, KdcPool
from orthros_client.daemon.kdc.realm_clock import RealmClock
from orthros_client.daemon.kdc.session import KdcSession
from orthros_client.daemon.listeners.allow_list import AllowList
from orthros_client.daemon.listeners.local_api import LocalApi
from orthros_client.daemon.tickets.cache import HeldCredential
from orthros_client.daemon.tickets.persistence import CacheStore
from orthros_client.local.api.values import (
    CredentialGrant,
    Op,
    Reported,
    ReportOutcome,
    ReportRequest,
    Status,
    WantRequest,
)
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import CountingEntropy
from orthros_runtime.serving.peers import Peer
from tests.client.world import START, DaemonClock, World, elapse, open_world

pytestmark = pytest.mark.parity("O6")


A, B = "tcp://kdc-a:1", "tcp://kdc-b:1"
TEN_MINUTES, HOUR = 600, 3600
ROOT = Peer(pid=1, uid=0, gids=frozenset())
JUMPS = [TEN_MINUTES, -TEN_MINUTES, HOUR, -HOUR]


def desk_of(world: World) -> LocalApi:
    return LocalApi(world.agent, world.clock, AllowList(0, ()))


async def status_of(world: World) -> Status:
    found = await desk_of(world).status(probe=True)
    assert isinstance(found, Status)
    return found


def report_of(held: HeldCredential, code: str = "ticket-expired") -> ReportRequest:
    return ReportRequest(target=held.key.target, ticket=held.name, code=code, time=0)


async def is_good(world: World, target: str = "orders") -> bool:
    """Whether a local program gets a ticket that targets take, and dates its requests as they do."""
    held = await world.agent.obtain(world.key(target), timeout_s=1)
    now_s = (START + round(trio.current_time() * 1000)) / 1000
    ticket = world.opened(held)
    offset_is_right = abs(world.clock.wall_ms() + world.agent.session.offset_ms - now_s * 1000) < 5000
    return offset_is_right and ticket.iat <= now_s + 300 and ticket.exp > now_s


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_a_kdc_that_is_wrong_for_a_moment_moves_no_clock(
    autojump_clock: trio.testing.MockClock, jump_s: int
) -> None:
    """The claim is no belief: what is held goes on, and 5 s later the KDC says the time again."""
    async with open_world() as world:
        assert await is_good(world)
        world.kdc_clock.wrong_ms = jump_s * 1000
        assert await world.outcome(world.key("billing"), timeout_s=1) == "clock-skew"
        assert await is_good(world)
        world.kdc_clock.wrong_ms = 0
        await elapse(5.1)
        assert await is_good(world, "billing")
        assert (await status_of(world)).ready


@pytest.mark.parity("K11")
@pytest.mark.parametrize("jump_s", JUMPS)
async def test_a_kdc_whose_clock_was_set_is_believed_after_five_seconds(
    autojump_clock: trio.testing.MockClock, jump_s: int
) -> None:
    """The second exchange confirms the first one."""
    async with open_world() as world:
        assert await is_good(world)
        world.kdc_clock.wrong_ms = jump_s * 1000
        assert await world.outcome(world.key("billing"), timeout_s=1) == "clock-skew"
        await elapse(5.1)
        assert await world.outcome(world.key("billing"), timeout_s=1) == "held"
        assert abs(world.agent.session.offset_ms - jump_s * 1000) < 100


async def test_another_kdc_tells_at_once_whose_clock_is_wrong(autojump_clock: trio.testing.MockClock) -> None:
    """The one that contradicts what is known is left aside, and the caller sees nothing of it."""
    async with open_world(kdcs=[A, B]) as world:
        assert await is_good(world)
        world.network.moods = {A: "fast"}
        before = trio.current_time()
        assert await is_good(world, "billing")
        assert trio.current_time() - before < 1
        world.network.moods = {}
        world.kdc_clock.wrong_ms = TEN_MINUTES * 1000
        # Both refuse, and a refusal does not say whose it is: two addresses may lead to one KDC.
        assert await world.outcome(world.key("orders", "read"), timeout_s=1) == "clock-skew"
        await elapse(5.1)
        assert await world.outcome(world.key("orders", "read"), timeout_s=1) == "held"
        assert abs(world.agent.session.offset_ms - TEN_MINUTES * 1000) < 100


@pytest.mark.parametrize("code", ["clock-skew", "ticket-times-invalid", "ticket-expired", "revoked"])
async def test_a_report_ends_what_a_wrong_kdc_left_behind(autojump_clock: trio.testing.MockClock, code: str) -> None:
    """A daemon that began while the KDC was wrong: one report, and within 10 s all tickets and the clock are right."""
    async with open_world() as world:
        world.kdc_clock.wrong_ms = TEN_MINUTES * 1000
        desk = desk_of(world)
        held = await world.agent.obtain(world.key("orders"), timeout_s=1)
        await world.agent.obtain(world.key("billing"), timeout_s=1)
        login = world.agent.session.login
        world.kdc_clock.wrong_ms = 0
        grant = await desk.answer(ROOT, WantRequest(op=Op.TICKET, target="orders", timeout_ms=1000))
        assert isinstance(grant, CredentialGrant)
        assert grant.credential.ticket == held.credential.ticket
        report = ReportRequest(target=held.key.target, ticket=held.name, code=code, time=0)
        reply = await desk.answer(ROOT, report)
        assert isinstance(reply, Reported)
        assert reply.outcome is ReportOutcome.FAILED
        status = await status_of(world)
        assert (status.ready, status.code) == (False, "clock-skew")
        assert "600 s behind" in (status.detail or "")
        assert (await world.agent.obtain(world.key("orders"), timeout_s=1)).credential.ticket == held.credential.ticket
        await elapse(9)
        assert await is_good(world)
        assert await is_good(world, "billing")
        assert world.agent.session.login is not login
        assert (await status_of(world)).ready


async def test_reports_make_the_daemon_log_in_once_in_a_while(autojump_clock: trio.testing.MockClock) -> None:
    """A target whose own clock is wrong refuses everything: two questions in 10 s, however many calls there are."""
    async with open_world() as world:
        desk = desk_of(world)
        await world.agent.obtain(world.key("orders"), timeout_s=1)
        await elapse(20)
        asked = world.realm.handled
        for _ in range(600):
            await desk.answer(ROOT, WantRequest(op=Op.TICKET, target="orders", timeout_ms=1000))
            held = await world.agent.obtain(world.key("orders"), timeout_s=1)
            await desk.answer(
                ROOT, ReportRequest(target=held.key.target, ticket=held.name, code="ticket-expired", time=0)
            )
            await elapse(0.1)
        assert world.realm.handled - asked <= 2 * 6 + 1


@pytest.mark.parametrize("jump_s", JUMPS)
async def test_a_wall_clock_that_is_set_is_no_matter(autojump_clock: trio.testing.MockClock, jump_s: int) -> None:
    """The realm's time is kept by the boot clock, and the KDC is asked which one is right."""
    async with open_world() as world:
        assert await is_good(world)
        world.clock.wrong_ms = jump_s * 1000
        assert await is_good(world)
        await elapse(3)
        assert await is_good(world)
        assert (await status_of(world)).ready
        assert not world.agent.session.realm.has_stepped


async def test_a_step_ends_a_pause_after_failures(autojump_clock: trio.testing.MockClock) -> None:
    """The daemon that was resumed does not wait out a back-off of half a minute."""
    async with open_world() as world:
        assert await is_good(world)
        world.network.moods = {A: "down"}
        with trio.move_on_after(120):
            while True:
                await world.outcome(world.key("billing"), timeout_s=0.1)
                await elapse(0.1)
        assert world.agent.backoff.wait_s(world.clock.elapsed_s()) > 0
        world.network.moods = {}
        world.clock.wrong_ms = TEN_MINUTES * 1000
        await elapse(3)
        assert await is_good(world, "billing")


@pytest.mark.parametrize("lost_s", [TEN_MINUTES, HOUR + 60])
async def test_a_pause_that_the_boot_clock_did_not_count(autojump_clock: trio.testing.MockClock, lost_s: int) -> None:
    """The wall clock was set at the resume: what has ended by it is not given out, and the realm is asked."""
    async with open_world() as world:
        assert await is_good(world)
        await elapse(lost_s)
        world.clock.lost_s = lost_s
        assert await is_good(world)
        await elapse(3)
        assert await is_good(world)
        assert (await status_of(world)).ready


async def test_what_has_ended_by_one_clock_stays_until_the_realm_was_asked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Without a KDC nobody can tell which clock is wrong. As soon as it answers, good tickets serve again."""
    async with open_world() as world:
        held = await world.agent.obtain(world.key("orders"), timeout_s=1)
        world.network.moods = {A: "down"}
        world.clock.wrong_ms = HOUR * 1000
        assert await world.outcome(world.key("orders"), timeout_s=0.1) == "kdc-unreachable"
        world.clock.wrong_ms = 0
        assert await world.agent.obtain(world.key("orders"), timeout_s=0) is not None
        assert (await world.agent.obtain(world.key("orders"), timeout_s=0)).credential.ticket == held.credential.ticket


async def test_a_resumed_host_whose_clocks_both_stood(autojump_clock: trio.testing.MockClock) -> None:
    """No clock of the host tells of the pause, so the target does: its report brings another ticket within 10 s."""
    async with open_world() as world:
        held = await world.agent.obtain(world.key("orders"), timeout_s=1)
        desk = desk_of(world)
        await desk.answer(ROOT, WantRequest(op=Op.TICKET, target="orders", timeout_ms=1000))
        lost_s = HOUR + 60
        await elapse(0)
        world.kdc_clock.wrong_ms = lost_s * 1000  # as the host sees it
        await desk.answer(ROOT, ReportRequest(target=held.key.target, ticket=held.name, code="ticket-expired", time=0))
        await elapse(9)
        after = await world.agent.obtain(world.key("orders"), timeout_s=1)
        assert world.opened(after).iat >= world.opened(held).iat + lost_s
        assert abs(world.agent.session.offset_ms - lost_s * 1000) < 100


async def test_tickets_from_the_future_are_replaced_after_a_restart(
    autojump_clock: trio.testing.MockClock, tmp_path: Path
) -> None:
    """The file was written while the KDC was wrong; the first answer of the KDC tells, and what is held serves until
    the others are here."""
    async with open_world() as world:
        world.kdc_clock.wrong_ms = TEN_MINUTES * 1000
        keys = [world.key("orders"), world.key("billing")]
        before = [await world.agent.obtain(key, timeout_s=1) for key in keys]
        CacheStore(str(tmp_path / "cache"), world.agent, world.clock, CountingEntropy(b"store")).save()
        world.kdc_clock.wrong_ms = 0
        pool = KdcPool((KdcAddress.parse(A),), world.clock, world.network.connect)
        session = KdcSession(world.realm.keytab("web"), pool, world.clock, CountingEntropy(b"restarted"))
        agent = Agent(session, world.clock, CountingEntropy(b"restarted agent"))
        store = CacheStore(str(tmp_path / "cache"), agent, world.clock, CountingEntropy(b"store"))
        assert store.load() == 2
        async with trio.open_nursery() as nursery:
            await nursery.start(agent.run)
            await elapse(3)
            after = [await agent.obtain(key, timeout_s=0) for key in keys]
            nursery.cancel_scope.cancel()
        assert all(new.credential.ticket != old.credential.ticket for new, old in zip(after, before, strict=True))
        assert abs(agent.session.offset_ms) < 100


async def test_a_ticket_of_a_slow_kdc_ends_when_it_ends(autojump_clock: trio.testing.MockClock) -> None:
    """Its end is a second of the realm: 200 s earlier than its life promised."""
    async with open_world() as world:
        assert await is_good(world)
        world.kdc_clock.wrong_ms = -200_000
        held = await world.agent.obtain(world.key("billing"), timeout_s=1)
        assert 3390 < held.credential.life.left_s(world.clock.elapsed_s()) <= 3400
        assert not (await status_of(world)).ready


def test_a_claim_is_confirmed_by_another_kdc_or_after_five_seconds() -> None:
    """And refuted by an answer that agrees with what is known."""
    moment = [100.0]

    class Turned(DaemonClock):
        def wall_ms(self) -> Timestamp:
            return Timestamp(START + round(moment[0] * 1000))

        def elapsed_s(self) -> float:
            return moment[0]

    def told(realm: RealmClock, ahead_s: int, kdc_id: str, round_trip_ms: int = 0, *, at: str = "tcp://a:1") -> bool:
        kdc_time = Timestamp(START + round(moment[0] * 1000) + ahead_s * 1000)
        return realm.learn(kdc_time, sent_s=moment[0], round_trip_ms=round_trip_ms, address=at, kdc_id=kdc_id)

    realm = RealmClock(Turned())
    assert told(realm, 2, "a")
    assert told(realm, 6, "a")  # within 5 s of the last one
    assert not told(realm, 600, "a")
    moment[0] += 4.9
    assert not told(realm, 600, "a")
    assert realm.offset_ms == 6000
    moment[0] += 0.2
    assert told(realm, 601, "a")
    assert realm.offset_ms == 601_000
    assert not told(realm, 0, "a")
    assert told(realm, 1, "b")
    assert not told(realm, 600, "a")
    assert told(realm, 2, "a")
    assert realm.confirms_at is None
    moment[0] += 60
    assert not told(realm, 600, "a")  # that claim was refuted: it begins anew
    moment[0] += 5.1
    assert not told(realm, 600, "a", 6000)  # a slow answer tells nothing
    assert realm.offset_ms == 2000
    assert told(realm, 2, "a")
    assert not told(realm, 600, "a")
    assert not told(realm, 600, "a", at="tcp://b:1")  # the same KDC at another address confirms nothing
    assert not told(realm, 600, "", at="tcp://c:1")  # a refusal does not say whose it is
    assert told(realm, 600, "b")
    assert not told(realm, 0, "")
    assert not told(realm, 0, "b")
    moment[0] += 5.1
    assert told(realm, 0, "")
