from __future__ import annotations

import pytest
import trio
import trio.testing
from attrs import evolve

from orthros_client.errors import OrthrosError
from orthros_protocol.errors import Misconfigured
from orthros_protocol.tickets.credential import Life
from tests.client.world import elapse, open_world

A = "tcp://kdc-a:1"
TEN_MINUTES_MS = 600_000


@pytest.mark.parity("K11")
@pytest.mark.parametrize("wrong_ms", [TEN_MINUTES_MS, -TEN_MINUTES_MS, 86_400_000 * 400])
async def test_a_daemon_with_a_wrong_clock_works(autojump_clock: trio.testing.MockClock, wrong_ms: int) -> None:
    """The sealed refusal carries the KDC's time; the offset is learnt and the caller sees nothing."""
    async with open_world(wrong_ms=wrong_ms) as world:
        assert await world.outcome(world.key("orders")) == "held"
        assert world.agent.session.offset_ms == -wrong_ms
        assert world.clock.wrong_ms == wrong_ms


@pytest.mark.parity("K11")
@pytest.mark.parametrize("mood", ["nak", "garbage", "closing", "cut"])
async def test_an_unauthenticated_packet_changes_nothing(autojump_clock: trio.testing.MockClock, mood: str) -> None:
    """No offset, no cached ticket, no TGT and no key is touched; the daemon backs off, that is all."""
    async with open_world(wrong_ms=TEN_MINUTES_MS) as world:
        assert await world.outcome(world.key("orders")) == "held"
        session = world.agent.session
        before = (session.offset_ms, session.login, list(world.agent.cache.entries(0.0)))
        world.network.moods[A] = mood
        for _ in range(5):
            assert await world.outcome(world.key("billing"), timeout_s=0.5) != "held"
            await elapse(60)
        assert (session.offset_ms, session.login, list(world.agent.cache.entries(0.0))) == before
        assert await world.outcome(world.key("orders")) == "held"
        assert world.agent.backoff.failures > 0


@pytest.mark.parity("K11")
async def test_a_slow_answer_teaches_no_time(autojump_clock: trio.testing.MockClock) -> None:
    """A sealed time with a round trip of 6 s may be anything."""
    async with open_world(wrong_ms=100_000, moods={A: "late"}) as world:
        world.agent.session.pool.attempt_s = 30.0
        assert await world.outcome(world.key("orders"), timeout_s=60) == "held"
        assert world.agent.session.offset_ms == 0


@pytest.mark.parity("K11")
async def test_a_wrong_clock_and_a_slow_answer_end_in_a_refusal(autojump_clock: trio.testing.MockClock) -> None:
    """Without a trustworthy measurement asking again would be a loop."""
    async with open_world(wrong_ms=TEN_MINUTES_MS, moods={A: "late"}) as world:
        world.agent.session.pool.attempt_s = 30.0
        assert await world.outcome(world.key("orders"), timeout_s=60) == "clock-skew"
        assert world.agent.session.offset_ms == 0


@pytest.mark.parity("K11")
async def test_the_offset_follows_a_clock_that_is_set_right(autojump_clock: trio.testing.MockClock) -> None:
    """Learnt anew from every sealed reply."""
    async with open_world(wrong_ms=TEN_MINUTES_MS) as world:
        assert await world.outcome(world.key("orders")) == "held"
        world.clock.wrong_ms = 0
        assert await world.outcome(world.key("billing")) == "held"
        assert world.agent.session.offset_ms == 0


@pytest.mark.parity("K5")
async def test_tgt_is_renewed_before_it_ends(autojump_clock: trio.testing.MockClock) -> None:
    """The login is renewed ahead like everything else."""
    async with open_world() as world:
        await world.outcome(world.key("orders"))
        first = world.agent.session.login
        assert first is not None
        await elapse(0.86 * 3600)
        second = world.agent.session.login
        assert second is not None
        assert second is not first
        assert 0.70 * 3600 <= second.credential.life.end - first.credential.life.end <= 0.86 * 3600


@pytest.mark.parity("B7")
async def test_a_half_spent_tgt_is_replaced_before_tickets_are_asked_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A ticket is never cut short by an old login, so that an outage finds it with life left."""
    async with open_world() as world:
        await world.outcome(world.key("orders"))
        await elapse(0.51 * 3600)
        held = await world.agent.obtain(world.key("billing"), timeout_s=5)
        assert held.credential.life.whole_s == 3600


@pytest.mark.parity("K6")
async def test_after_a_nak_the_next_login_is_fresh(autojump_clock: trio.testing.MockClock) -> None:
    """Perhaps the realm's keys changed; only a sealed reply replaces the TGT."""
    async with open_world() as world:
        await world.outcome(world.key("orders"))
        first = world.agent.session.login
        world.network.moods[A] = "nak"
        assert await world.outcome(world.key("billing"), timeout_s=0.2) == "unauthenticated-refusal"
        assert world.agent.session.login is first
        world.network.moods[A] = "up"
        assert await world.outcome(world.key("billing")) == "held"
        assert world.agent.session.login is not first


@pytest.mark.parity("B2")
async def test_a_disabled_principal_is_told_so(autojump_clock: trio.testing.MockClock) -> None:
    """A sealed refusal is shown with its code and stands for its back-off; nobody hammers the KDC."""
    async with open_world() as world:
        world.realm.disable("web")
        assert await world.outcome(world.key("orders")) == "principal-disabled"
        asked = len(world.network.asked)
        for _ in range(100):
            assert await world.outcome(world.key("orders")) == "principal-disabled"
        assert len(world.network.asked) == asked
        world.realm.enable("web")
        await elapse(31)
        assert await world.outcome(world.key("orders")) == "held"


@pytest.mark.parity("B9")
async def test_a_verify_only_key_file_cannot_log_in(autojump_clock: trio.testing.MockClock) -> None:
    """Said as what it is, not as an outage."""
    async with open_world() as world:
        world.agent.session.replace_keytab(world.realm.keytab("web").verify_only())
        assert await world.outcome(world.key("orders")) == "key-missing"
        with pytest.raises(Misconfigured):
            await world.agent.session.ensure_login(renew=True)


@pytest.mark.parity("K2")
async def test_a_new_key_file_is_used_at_once(autojump_clock: trio.testing.MockClock) -> None:
    """After a reload the next exchange logs in with the new key; held tickets stay."""
    async with open_world() as world:
        await world.outcome(world.key("orders"))
        first = world.agent.session.login
        world.agent.session.replace_keytab(world.realm.keytab("web"))
        assert await world.outcome(world.key("orders")) == "held"
        assert world.agent.session.login is first
        assert await world.outcome(world.key("billing")) == "held"
        assert world.agent.session.login is not first


@pytest.mark.parity("B7")
async def test_nothing_of_a_login_shows_in_a_repr(autojump_clock: trio.testing.MockClock) -> None:
    """Neither key nor TGT."""
    async with open_world() as world:
        await world.outcome(world.key("orders"))
        session = world.agent.session
        assert session.login is not None
        shown = repr(session) + repr(session.login) + repr(world.agent)
        for secret in (session.login.credential.ticket, session.login.pop_key, session.keytab.root_key().material):
            assert repr(secret)[2:-1] not in shown
            assert secret.hex() not in shown


@pytest.mark.parity("K5")
async def test_a_want_refused_by_the_encoding_is_no_outage(autojump_clock: trio.testing.MockClock) -> None:
    """Names are checked before anything travels."""
    async with open_world() as world:
        with pytest.raises(OrthrosError, match="name-invalid"):
            world.key("Orders")


@pytest.mark.parity("K5")
async def test_a_tgt_that_the_kdc_refuses_is_replaced_within_the_call(autojump_clock: trio.testing.MockClock) -> None:
    """The caller sees a ticket, not the stale login."""
    async with open_world() as world:
        await world.outcome(world.key("orders"))
        login = world.agent.session.login
        assert login is not None
        world.agent.session.login = evolve(
            login, credential=evolve(login.credential, life=Life(10**9, 1e9)), renew_at=1e9
        )
        await elapse(3700)
        assert await world.outcome(world.key("billing")) == "held"


@pytest.mark.parity("K2")
async def test_a_reload_logs_in_again_by_itself(autojump_clock: trio.testing.MockClock) -> None:
    """Whether the new key file works is known at once, not at the next ticket."""
    async with open_world() as world:
        await world.outcome(world.key("orders"))
        first = world.agent.session.login
        world.agent.session.replace_keytab(world.realm.keytab("web"))
        world.agent.reconsider()
        await elapse(1)
        assert world.agent.session.login is not first


@pytest.mark.parity("K11")
async def test_a_clock_that_is_set_while_the_daemon_runs(autojump_clock: trio.testing.MockClock) -> None:
    """Local callers use the offset, so a step is noticed within half a minute and not at the next login."""
    async with open_world() as world:
        assert await world.outcome(world.key("orders")) == "held"
        world.clock.wrong_ms = -TEN_MINUTES_MS
        await elapse(45)
        assert world.agent.session.offset_ms == TEN_MINUTES_MS
        handled = world.realm.handled
        await elapse(600)
        assert world.realm.handled == handled


@pytest.mark.parity("K6")
async def test_many_batches_behind_one_login_fail_with_it(autojump_clock: trio.testing.MockClock) -> None:
    """back-off on every failure; those who waited for a login do not knock one after the other."""
    async with open_world(moods={A: "hanging"}) as world:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(world.outcome, world.key(f"shard-{number}"))
                await elapse(0.1)
        before = len(world.network.asked)
        await elapse(60)
        assert len(world.network.asked) - before <= 6
        assert before <= 4
