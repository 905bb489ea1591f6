from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import trio
import trio.testing

from orthros_client.daemon.tickets.cache import HeldCredential
from orthros_client.errors import TicketRefused, TicketUnavailable
from orthros_protocol.exchanges.wants import WANT_JWT
from tests.client.world import elapse, open_world

A = "tcp://kdc-a:1"
HALF_AN_HOUR_S = 1800


@pytest.mark.parity("K5")
async def test_a_thousand_callers_cause_one_request(autojump_clock: trio.testing.MockClock) -> None:
    """One login and one ticket request for everybody who waits."""
    async with open_world() as world:
        outcomes: list[HeldCredential] = []

        async def caller() -> None:
            outcomes.append(await world.agent.obtain(world.key("orders"), timeout_s=10))

        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(caller)
        assert len(outcomes) == 1000
        assert len({one.credential.ticket for one in outcomes}) == 1
        assert world.realm.handled == 2


@pytest.mark.parity("K3")
async def test_targets_wanted_at_the_same_moment_travel_together(autojump_clock: trio.testing.MockClock) -> None:
    """100 targets take 4 round trips and the login."""
    async with open_world() as world:
        for number in range(100):
            world.realm.add(f"shard-{number}")
            world.realm.allow("web", f"shard-{number}")
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(world.outcome, world.key(f"shard-{number}"))
        assert len(world.agent.cache) == 100
        assert world.realm.handled == 1 + 4


@pytest.mark.parity("K5")
async def test_a_ticket_and_a_token_for_one_target_are_two_things(autojump_clock: trio.testing.MockClock) -> None:
    """Kind and scopes are part of the question."""
    async with open_world() as world:
        ticket = await world.agent.obtain(world.key("orders"), timeout_s=10)
        token = await world.agent.obtain(world.key("orders", kind=WANT_JWT), timeout_s=10)
        narrow = await world.agent.obtain(world.key("orders", "read"), timeout_s=10)
        assert ticket.credential.scopes == ("read", "write")
        assert narrow.credential.scopes == ("read",)
        assert token.credential.tail is None
        assert token.credential.ticket.startswith(b"jwt-for.orders")


@pytest.mark.parity("B7")
async def test_kdc_gone_keeps_serving_and_says_the_remaining_life(autojump_clock: trio.testing.MockClock) -> None:
    """Down for half a ticket life, no failed call."""
    async with open_world() as world:
        key = world.key("orders")
        await world.agent.obtain(key, timeout_s=10)
        world.network.moods[A] = "down"
        failed = 0
        for _ in range(HALF_AN_HOUR_S // 10):
            await elapse(10)
            failed += await world.outcome(key) != "held"
        assert failed == 0
        with pytest.raises(TicketUnavailable) as caught:
            await world.agent.obtain(world.key("orders", "read"), timeout_s=0.1)
        assert HALF_AN_HOUR_S - 30 <= caught.value.remaining_s <= HALF_AN_HOUR_S


@pytest.mark.parity("B7")
async def test_an_outage_through_the_renewal_window_heals_by_itself(autojump_clock: trio.testing.MockClock) -> None:
    """The ticket and the login are renewed as soon as the KDC is back; no restart, no gap."""
    async with open_world() as world:
        key = world.key("orders")
        first = await world.agent.obtain(key, timeout_s=10)
        await elapse(0.6 * 3600)
        world.network.moods[A] = "hanging"
        await elapse(0.35 * 3600)
        assert (await world.agent.obtain(key, timeout_s=1)).credential.ticket == first.credential.ticket
        world.network.moods[A] = "up"
        await elapse(60)
        assert (await world.agent.obtain(key, timeout_s=1)).credential.ticket != first.credential.ticket
        assert await world.agent.not_ready_because(timeout_s=5) is None


@pytest.mark.parity("K5")
async def test_a_used_ticket_is_renewed_in_its_window_without_a_caller(autojump_clock: trio.testing.MockClock) -> None:
    """Fetched while the old one is still good."""
    async with open_world() as world:
        key = world.key("orders")
        first = await world.agent.obtain(key, timeout_s=10)
        await elapse(0.69 * 3600)
        assert (await world.agent.obtain(key, timeout_s=10)).credential.ticket == first.credential.ticket
        await elapse(0.17 * 3600)
        handled = world.realm.handled
        second = await world.agent.obtain(key, timeout_s=10)
        assert second.credential.ticket != first.credential.ticket
        assert world.realm.handled == handled


@pytest.mark.parity("K5")
async def test_an_idle_daemon_stops_asking(autojump_clock: trio.testing.MockClock) -> None:
    """What nobody wants lapses; only the login is kept."""
    async with open_world() as world:
        await world.agent.obtain(world.key("orders"), timeout_s=10)
        await elapse(6 * 3600)
        assert len(world.agent.cache) == 0
        handled = world.realm.handled
        await elapse(10 * 3600)
        assert world.realm.handled - handled <= 10 / 0.7 + 1


@pytest.mark.parity("K6")
async def test_backoff_grows_and_is_jittered(autojump_clock: trio.testing.MockClock) -> None:
    """A dead KDC is asked ever less often, up to the cap."""
    async with open_world(moods={A: "down"}) as world:
        await elapse(600)
        moments = [at for _, at in world.network.asked]
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        assert all(0.25 * 2**at <= gap <= 0.5 * 2**at + 0.01 for at, gap in enumerate(gaps[:6]))
        assert all(15 <= gap <= 30.01 for gap in gaps[7:])
        assert len({round(gap, 3) for gap in gaps[7:]}) > 5


@pytest.mark.parity("K6")
async def test_callers_do_not_break_the_backoff(autojump_clock: trio.testing.MockClock) -> None:
    """A loop of impatient callers causes no more requests than nobody at all."""
    async with open_world(moods={A: "down"}) as world:
        for _ in range(3000):
            assert await world.outcome(world.key("orders"), timeout_s=0.05) == "kdc-unreachable"
            await elapse(0.05)
        assert len(world.network.asked) < 25


@pytest.mark.parity("K6")
async def test_a_patient_caller_waits_for_the_kdc_to_return(autojump_clock: trio.testing.MockClock) -> None:
    """A short outage costs time, not an error."""
    async with open_world(moods={A: "down"}) as world:
        await elapse(1)
        async with trio.open_nursery() as nursery:

            async def return_soon() -> None:
                await elapse(0.5)
                world.network.moods[A] = "up"

            nursery.start_soon(return_soon)
            assert await world.outcome(world.key("orders"), timeout_s=30) in ("held", "kdc-unreachable")
        assert await world.outcome(world.key("orders"), timeout_s=30) == "held"


@pytest.mark.parity("K5")
async def test_refused_targets_are_remembered_for_a_moment(autojump_clock: trio.testing.MockClock) -> None:
    """not-granted is cached, with its reference; others are not affected."""
    async with open_world() as world:
        await world.outcome(world.key("orders"))
        handled = world.realm.handled
        for _ in range(200):
            with pytest.raises(TicketRefused) as caught:
                await world.agent.obtain(world.key("payroll"), timeout_s=10)
            assert caught.value.code == "not-granted"
            assert len(caught.value.ref) == 16
            assert caught.value.retry_s in (1, 2)
        assert world.realm.handled == handled + 1
        assert await world.outcome(world.key("billing")) == "held"
        world.realm.allow("web", "payroll")
        await elapse(2)
        assert await world.outcome(world.key("payroll")) == "held"


@pytest.mark.parity("B7")
async def test_a_withdrawn_permission_leaves_the_ticket_until_its_end(autojump_clock: trio.testing.MockClock) -> None:
    """Renewal is refused, the ticket in hand is good until it ends; then the refusal shows."""
    async with open_world() as world:
        key = world.key("orders")
        await world.agent.obtain(key, timeout_s=10)
        world.realm.deny("web", "orders")
        await elapse(0.95 * 3600)
        assert await world.outcome(key) == "held"
        await elapse(0.05 * 3600)
        assert await world.outcome(key) == "not-granted"


@pytest.mark.parity("K3")
async def test_one_refusal_in_a_batch_is_its_own(autojump_clock: trio.testing.MockClock) -> None:
    """Each want is granted or refused on its own."""
    async with open_world() as world:
        outcomes: dict[str, str] = {}

        async def caller(target: str) -> None:
            outcomes[target] = await world.outcome(world.key(target))

        async with trio.open_nursery() as nursery:
            for target in ("orders", "payroll", "billing"):
                nursery.start_soon(caller, target)
        assert outcomes == {"orders": "held", "payroll": "not-granted", "billing": "held"}
        assert world.realm.handled == 2


@pytest.mark.parity("K5")
async def test_a_caller_who_leaves_does_not_take_the_flight_along(autojump_clock: trio.testing.MockClock) -> None:
    """A cancelled caller costs the others nothing."""
    async with open_world() as world:
        with trio.move_on_after(0):
            await world.outcome(world.key("orders"))
        assert await world.outcome(world.key("orders")) == "held"
        assert world.realm.handled == 2


@pytest.mark.parity("K6")
async def test_no_answer_in_time_says_so(autojump_clock: trio.testing.MockClock) -> None:
    """Deadlines on everything."""
    async with open_world(moods={A: "hanging"}) as world:
        before = trio.current_time()
        assert await world.outcome(world.key("orders"), timeout_s=2.0) == "timeout"
        assert trio.current_time() - before == pytest.approx(2.0)


@pytest.mark.parity("B7")
async def test_ready_means_that_a_fresh_ticket_can_be_served(autojump_clock: trio.testing.MockClock) -> None:
    """A daemon that only lives off its cache does not call itself ready."""
    async with open_world() as world:
        await world.outcome(world.key("orders"))
        assert await world.agent.not_ready_because(timeout_s=5) is None
        world.network.moods[A] = "down"
        assert await world.agent.not_ready_because(timeout_s=5) is None
        await elapse(31)
        failure = await world.agent.not_ready_because(timeout_s=5)
        assert failure is not None
        assert failure.reason.name == "kdc-unreachable"
        world.network.moods[A] = "up"
        await elapse(5)
        assert await world.agent.not_ready_because(timeout_s=5) is None


@pytest.mark.parity("B7")
async def test_a_machine_that_slept_recovers(autojump_clock: trio.testing.MockClock) -> None:
    """Everything expired together while nobody looked; the key file is enough to go on."""
    async with open_world() as world:
        await world.outcome(world.key("orders"))
        autojump_clock.jump(12 * 3600)
        assert await world.outcome(world.key("orders")) == "held"


@pytest.mark.parity("K5")
async def test_a_short_ticket_is_served_and_fetched_again(autojump_clock: trio.testing.MockClock) -> None:
    """The asked life is part of the question and is honoured."""
    async with open_world() as world:
        key = world.key("orders", ttl_s=2)
        first = await world.agent.obtain(key, timeout_s=10)
        assert first.credential.life.whole_s == 2
        await elapse(3)
        assert (await world.agent.obtain(key, timeout_s=10)).credential.ticket != first.credential.ticket


@pytest.mark.parity("K3")
async def test_many_long_scopes_fit_the_frames(autojump_clock: trio.testing.MockClock) -> None:
    """A local caller cannot make a batch too large to be sent, nor its reply."""
    async with open_world() as world:
        scopes = [f"{number:02}" + "s" * 62 for number in range(32)]
        for number in range(32):
            world.realm.add(f"shard-{number}")
            world.realm.allow("web", f"shard-{number}", *scopes)
        async with trio.open_nursery() as nursery:
            for number in range(32):
                nursery.start_soon(world.outcome, world.key(f"shard-{number}", *scopes))
        assert len(world.agent.cache) == 32
        assert world.realm.handled == 1 + 4


@pytest.mark.parity("K5")
async def test_short_tickets_are_not_renewed_for_hours(autojump_clock: trio.testing.MockClock) -> None:
    """Asked for once, renewed once or twice; somebody who goes on asking finds it fresh."""
    async with open_world() as world:
        for ttl_s in range(1, 21):
            assert await world.outcome(world.key("orders", ttl_s=ttl_s)) == "held"
        handled = world.realm.handled
        await elapse(1800)
        assert world.realm.handled - handled < 80


@pytest.mark.parity("P16")
async def test_a_reload_ends_the_pause(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever corrected the list of KDCs does not wait for the rest of a long back-off."""
    async with open_world(moods={A: "down"}) as world:
        world.agent.backoff.most_s = 3600.0
        for _ in range(14):
            await world.outcome(world.key("orders"), timeout_s=600)
        assert world.agent.backoff.wait_s(trio.current_time()) > 300
        before = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(world.outcome, world.key("orders"), timeout_s=7200))
            await elapse(1)
            world.network.moods.clear()
            world.agent.reconsider()
        assert trio.current_time() - before < 5


@pytest.mark.parity("K6")
async def test_a_login_that_works_is_no_reason_to_go_on_asking_for_tickets(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """back-off on every failure, also where one KDC logs in and another one refuses the TGT."""
    async with open_world() as world:
        assert await world.outcome(world.key("orders")) == "held"
        world.network.moods[A] = "nak-tgs"
        await elapse(0.72 * 3600)
        before = len(world.network.asked)
        await elapse(600)
        assert len(world.network.asked) - before < 100
        assert await world.outcome(world.key("billing"), timeout_s=1) == "unauthenticated-refusal"
        assert await world.agent.not_ready_because(timeout_s=1) is not None
        world.network.moods.clear()
        await elapse(60)
        assert await world.outcome(world.key("billing"), timeout_s=1) == "held"
        assert await world.agent.not_ready_because(timeout_s=1) is None


@pytest.mark.parity("K4")
async def test_a_reload_forgets_refusals(autojump_clock: trio.testing.MockClock) -> None:
    """After `policy allow`, whoever does not want to wait for the end of the memory sends SIGHUP."""
    async with open_world() as world:
        for _ in range(6):
            assert await world.outcome(world.key("payroll")) == "not-granted"
            await elapse(60)
        assert await world.outcome(world.key("payroll")) == "not-granted"
        world.realm.allow("web", "payroll", "read")
        assert await world.outcome(world.key("payroll")) == "not-granted"
        world.agent.reconsider()
        assert await world.outcome(world.key("payroll")) == "held"
