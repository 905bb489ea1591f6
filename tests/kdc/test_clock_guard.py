"""The KDC's clock jumps: nothing is issued until that is settled, and nothing that was used counts again."""

from __future__ import annotations

import pytest
from attrs import define, field

from orthros_kdc.admin import kdc_clock, rules
from orthros_kdc.clock_guard import ClockGuard, Jump, Settled
from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import KDC_SKEW_MS
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.primitives.names import KDC_TGT
from tests.support.kdc_bench import open_bench
from tests.support.oauth_bench import JWT_BEARER, Tokens, body_of, open_tokens

pytestmark = pytest.mark.parity("O6")


START = 1_800_000_000_000
JUMPS = [600, -600, 3600, -3600]


@define
class Host:
    """Two clocks: time passes on both, a step moves the wall clock alone, a pause stops the boot clock alone."""

    wall_ms: int = START
    booted_ms: int = 1_000_000
    told: list[Jump] = field(factory=list)

    def guard(self) -> ClockGuard:
        return ClockGuard(lambda: Timestamp(self.wall_ms), lambda: self.booted_ms, self.told.append)

    def passes(self, seconds: float) -> None:
        self.wall_ms += round(seconds * 1000)
        self.booted_ms += round(seconds * 1000)

    def steps(self, seconds: float) -> None:
        self.wall_ms += round(seconds * 1000)


def is_issuing(guard: ClockGuard) -> bool:
    try:
        guard.require_issuing()
    except Refused:
        return False
    return True


@pytest.mark.parametrize("step_s", [*JUMPS, 5.1, -5.1])
def test_after_a_jump_nothing_is_issued_for_a_minute(step_s: float) -> None:
    """The time that was before goes on meanwhile; then the wall clock counts."""
    host = Host()
    guard = host.guard()
    host.steps(step_s)
    with pytest.raises(Refused, match=r"kdc-fault.*accept-clock"):
        guard.require_issuing()
    for _ in range(59):
        assert not is_issuing(guard)
        assert abs(guard.now() - host.wall_ms + step_s * 1000) < 1
        host.passes(1)
    host.passes(1.1)
    assert is_issuing(guard)
    assert guard.now() == host.wall_ms
    assert [(one.settled, one.count) for one in host.told] == [(None, 1), (Settled.WAITED, 1)]
    assert all(one.moved_ms == round(step_s * 1000) for one in host.told)


@pytest.mark.parametrize("step_s", JUMPS)
def test_a_clock_that_comes_back_is_believed_at_once(step_s: float) -> None:
    host = Host()
    guard = host.guard()
    for glitch_s in (1.5, 45, 300):  # the last one lasts longer than the KDC waits
        host.steps(step_s)
        assert not is_issuing(guard)
        host.passes(glitch_s)
        assert is_issuing(guard) == (glitch_s > 60)
        host.steps(-step_s)
        assert is_issuing(guard)
        assert guard.now() == host.wall_ms
        host.passes(10)


def test_steps_and_slews_that_are_no_jump_are_followed() -> None:
    host = Host()
    guard = host.guard()
    for _ in range(10):
        host.steps(4.9)
        host.passes(1)
        assert is_issuing(guard)
        assert guard.now() == host.wall_ms
    assert host.told == []


def test_a_second_jump_begins_the_minute_anew() -> None:
    host = Host()
    guard = host.guard()
    host.steps(600)
    assert not is_issuing(guard)
    host.passes(50)
    host.steps(600)
    assert not is_issuing(guard)
    host.passes(50)
    assert not is_issuing(guard)
    host.passes(11)
    assert is_issuing(guard)
    assert guard.count == 2


async def test_the_operator_says_that_the_clock_is_right() -> None:
    """What was said before the jump is about another clock."""
    host = Host()
    guard = host.guard()
    bench = await open_bench()
    bench.clock.advance((host.wall_ms - bench.clock.now()) / 1000)
    await kdc_clock.accept(bench.admin)
    host.passes(10)
    host.steps(600)
    assert not is_issuing(guard)
    host.passes(5)
    since = guard.stopped_at
    assert since is not None
    assert not await kdc_clock.is_accepted(bench.store, since=since, now=Timestamp(host.wall_ms))
    bench.clock.advance((host.wall_ms - bench.clock.now()) / 1000)
    await kdc_clock.accept(bench.admin)
    # What others remember by the clock of before does not end it.
    late = host.wall_ms // 1000 + 10_000
    await bench.store.change(lambda tx: tx.remember("assertion", 1, bytes(32), until=late + 60, now=late))
    assert await kdc_clock.is_accepted(bench.store, since=since, now=Timestamp(host.wall_ms))
    guard.accept()
    assert is_issuing(guard)
    assert host.told[-1].settled is Settled.ACCEPTED
    assert "kdc.clock-accepted" in bench.ledger.changes


async def test_a_client_is_told_under_seal_and_learns_no_wrong_time() -> None:
    host = Host()
    bench = await open_bench(guard=(guard := host.guard()))
    await bench.add("shop")
    bench.clock.advance((host.wall_ms - bench.clock.now()) / 1000)
    await bench.log_in("shop")
    host.steps(600)
    with pytest.raises(KdcRefusal, match="accept-clock") as refused:
        await bench.log_in("shop")
    assert (refused.value.code, refused.value.retry_s) == ("kdc-fault", 5)
    assert refused.value.kdc_time == START
    host.steps(-600)
    await bench.log_in("shop")
    assert is_issuing(guard)


async def test_a_login_from_the_future_is_made_anew() -> None:
    """It was issued while the clock was ahead: it would outlive what is revoked before its date."""
    host = Host()
    bench = await open_bench(guard=(guard := host.guard()))
    await bench.add("shop", "orders")
    await rules.allow(bench.admin, "shop", "orders", scopes=("read",))

    def set_clock(seconds: int) -> None:
        host.wall_ms = START + seconds * 1000
        guard.now()
        guard.accept()
        bench.clock.advance((host.wall_ms - bench.clock.now()) / 1000)

    set_clock(600)
    ahead = await bench.log_in("shop")
    set_clock(310)
    await bench.ask_one(ahead, "orders")
    set_clock(290)
    with pytest.raises(KdcRefusal, match="tgt-expired"):
        await bench.ask_one(ahead, "orders")


async def open_house(host: Host) -> tuple[Tokens, ClockGuard]:
    guard = host.guard()
    tokens = await open_tokens(guard=guard)
    tokens.kdc.clock.advance((host.wall_ms - tokens.kdc.clock.now()) / 1000)
    await tokens.add_client("billing", "shop", "orders")
    await tokens.add_target("orders")
    for name in ("billing", "shop"):
        await rules.allow(tokens.kdc.admin, name, "orders", scopes=("read",), jwt=True)
    return tokens, guard


def grant(assertion: str) -> dict[str, str]:
    return {"grant_type": JWT_BEARER, "assertion": assertion, "audience": "orders"}


@pytest.mark.parametrize("step_s", [400, 3600, 10 * 3600, -400, -3600])
async def test_what_was_used_or_revoked_stays_so_over_a_step(step_s: int) -> None:
    """KDC +400 s and back: its ends are kept on both clocks, and the later one counts."""
    host = Host()
    tokens, guard = await open_house(host)
    used = tokens.assertion("billing", exp=tokens.now + 290)
    token = await tokens.token("billing", "orders")
    assert (await tokens.post("token", grant(used))).status == 200
    await tokens.post("revoke", {"token": token}, tokens.basic("billing"))
    host.steps(step_s)
    unused = await tokens.post("token", grant(tokens.assertion("shop")))
    assert unused.status == 503
    assert dict(unused.headers)["retry-after"] == "5"
    guard.accept()
    for _ in range(3):  # others are remembered, and what seems to have ended is forgotten
        host.passes(2)
        tokens.kdc.clock.advance((host.wall_ms - tokens.kdc.clock.now()) / 1000)
        assert (await tokens.post("token", grant(tokens.assertion("shop")))).status == 200
    host.steps(-step_s)
    tokens.kdc.clock.advance((host.wall_ms - tokens.kdc.clock.now()) / 1000)
    assert (await tokens.post("token", grant(used))).status == 400
    answer = await tokens.post("introspect", {"token": token}, tokens.basic("orders"))
    assert body_of(answer) == {"active": False}
    assert tokens.events("request-rejected")[-1]["code"] == "assertion-replayed"


@pytest.mark.parametrize("step_s", JUMPS)
async def test_rates_go_on_over_a_step(step_s: int) -> None:
    """They are counted on the boot clock: a step forward gives nothing back, one backward takes nothing away."""
    host = Host()
    bench = await open_bench(burst=5, guard=(guard := host.guard()))
    await bench.add("shop")
    host.passes(KDC_SKEW_MS / 1000 + 1)  # until then, what is dated before the start pays from elsewhere
    bench.clock.advance((host.wall_ms - bench.clock.now()) / 1000)
    for _ in range(5):
        await bench.log_in("shop")
    host.steps(step_s)
    guard.now()
    guard.accept()
    key = bench.as_key("shop")
    pending = build_as_request(
        key, service=KDC_TGT, ttl_s=0, instance=bytes(16), now=guard.now(), nonce=bench.entropy(16)
    )
    with pytest.raises(KdcRefusal, match="rate-limited"):
        open_as_reply(pending, key, await bench.send(pending.message, "192.0.2.9"))
    host.passes(1)
    bench.clock.advance((host.wall_ms - bench.clock.now()) / 1000)
    await bench.log_in("shop")


async def test_a_copy_stays_a_copy_over_a_step_and_back() -> None:
    """What was seen is forgotten by the earlier clock, so that a captured request is not charged to its maker."""
    host = Host()
    bench = await open_bench(guard=(guard := host.guard()))
    await bench.add("shop")
    key = bench.as_key("shop")
    pending = build_as_request(
        key, service=KDC_TGT, ttl_s=0, instance=bytes(16), now=Timestamp(host.wall_ms), nonce=bench.entropy(16)
    )
    await bench.send(pending.message)
    host.steps(3600)
    guard.now()
    guard.accept()
    bench.clock.advance((host.wall_ms - bench.clock.now()) / 1000)
    await bench.log_in("shop")
    host.steps(-3600)
    host.passes(5)
    assert bench.ledger.named("request-replayed") == []
    await bench.send(pending.message)
    assert len(bench.ledger.named("request-replayed")) == 1


async def test_a_copy_is_a_copy_while_the_clock_is_behind_the_one_of_the_start() -> None:
    """What is dated before that clock's memory is remembered as well: the first is its maker's, the second a copy."""
    host = Host()
    bench = await open_bench(guard=(guard := host.guard()))
    await bench.add("shop")
    host.passes(KDC_SKEW_MS / 1000 + 1)
    bench.clock.advance((host.wall_ms - bench.clock.now()) / 1000)
    await bench.log_in("shop")  # the memory is pruned by the clock that is ahead
    host.steps(-3600)
    guard.now()
    guard.accept()
    key = bench.as_key("shop")
    pending = build_as_request(
        key, service=KDC_TGT, ttl_s=0, instance=bytes(16), now=guard.now(), nonce=bench.entropy(16)
    )
    await bench.send(pending.message)
    assert bench.ledger.named("request-replayed") == []
    await bench.send(pending.message)
    assert len(bench.ledger.named("request-replayed")) == 1
