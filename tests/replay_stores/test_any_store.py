"""What every replay store does: burn once, share fairly; on this host's clocks also forget late, doubt its memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orthros_protocol.exchanges.replay import Admission
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import TOO_FAR_AHEAD_MS, WINDOW_FUTURE_MS, WINDOW_PAST_MS
from tests.replay_stores.conftest import Stand

FRESH, SEEN, STALE = Admission.FRESH, Admission.SEEN, Admission.STALE


def test_a_request_is_fresh_once(make_any: Callable[..., Stand]) -> None:
    stand = make_any()
    entry = stand.entry()
    assert [stand.admit(entry).admission for _ in range(3)] == [FRESH, SEEN, SEEN]


def test_an_answer_has_the_epoch_birth_and_time_of_the_memory(stand: Stand) -> None:
    born = stand.now
    stand.clocks.advance(3)
    first, second = stand.admit(), stand.admit()
    assert (first.epoch, first.born, first.now) == (second.epoch, born, Timestamp(born + 3_000))
    assert len(first.epoch) == 8
    assert first.epoch != bytes(8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(age=st.integers(-WINDOW_FUTURE_MS, WINDOW_PAST_MS), later=st.integers(0, 200_000))
def test_what_the_window_accepts_is_still_remembered(stand: Stand, age: int, later: int) -> None:
    """MIT file2, gokrb5: an entry aged out at insertion + skew, while its timestamp stayed acceptable longer."""
    entry = stand.entry(after_ms=-age)
    assert stand.admit(entry).admission is FRESH
    stand.clocks.advance(later / 1000)
    again = stand.admit(entry)
    assert again.admission in {SEEN, STALE}
    assert again.admission is SEEN or entry.ts < again.now - WINDOW_PAST_MS


def test_what_is_too_old_to_be_remembered_is_stale(stand: Stand) -> None:
    assert stand.admit(stand.entry(after_ms=-WINDOW_PAST_MS)).admission is FRESH
    assert stand.admit(stand.entry(after_ms=-80_000)).admission is STALE


def test_what_is_too_far_ahead_is_not_burnt(stand: Stand) -> None:
    """A delegate with an expired ticket cannot fill the store with dates near the ticket's end."""
    last, beyond = stand.entry(after_ms=TOO_FAR_AHEAD_MS), stand.entry(after_ms=TOO_FAR_AHEAD_MS + 1)
    assert [stand.admit(one).admission for one in (last, last)] == [FRESH, SEEN]
    assert [stand.admit(beyond).admission for _ in range(2)] == [Admission.AHEAD] * 2
    stand.clocks.advance(1)
    assert stand.admit(beyond).admission is FRESH


def test_a_burnt_request_stays_burnt_until_its_own_time_has_passed(stand: Stand) -> None:
    entry = stand.entry(after_ms=TOO_FAR_AHEAD_MS)
    stand.admit(entry)
    for seconds in (60, 300, 60):
        stand.clocks.advance(seconds)
        assert stand.admit(entry).admission is SEEN
    stand.clocks.advance(30)
    assert stand.admit(entry).admission is STALE


def test_shares_are_of_a_ticket_then_of_a_client_then_of_all(make_any: Callable[..., Stand]) -> None:
    stand = make_any(capacity=6, per_client=4, per_ticket=2)
    billing = [stand.entry(ticket=ticket * 16) for ticket in (b"a", b"a", b"a", b"b", b"b", b"c")]
    quota = Admission.QUOTA
    assert [stand.admit(one).admission for one in billing] == [FRESH, FRESH, quota, FRESH, FRESH, quota]
    others = [stand.entry(client="orders@test.realm", ticket=ticket * 16) for ticket in (b"x", b"y", b"z")]
    assert [stand.admit(one).admission for one in others] == [FRESH, FRESH, Admission.FULL]
    assert [stand.admit(one).admission for one in billing] == [SEEN, SEEN, quota, SEEN, SEEN, quota]


def test_a_tickets_flood_leaves_its_client_another_ticket(make_any: Callable[..., Stand]) -> None:
    """Row 7: a delegate shares the ticket of its delegator, who obtains another one."""
    stand = make_any(capacity=1000)
    flood = [stand.admit(stand.entry(ticket=b"d" * 16)).admission for _ in range(200)]
    assert flood.count(FRESH) == 125
    assert set(flood[125:]) == {Admission.QUOTA}
    assert stand.admit(stand.entry(ticket=b"n" * 16)).admission is FRESH


def test_what_has_no_ticket_takes_the_share_of_its_own_client(make_any: Callable[..., Stand]) -> None:
    """RFC 9421 signatures without a known ticket: one client cannot shut the others out."""
    stand = make_any(capacity=80)
    alice = [stand.admit(stand.entry(client="alice@test.realm", ticket=b"")).admission for _ in range(12)]
    assert alice.count(FRESH) == 10
    assert stand.admit(stand.entry(client="bob@test.realm", ticket=b"")).admission is FRESH


def test_what_has_expired_does_not_count(make: Callable[..., Stand]) -> None:
    stand = make(capacity=3, per_client=3, per_ticket=3)
    for _minute in range(4):
        assert [stand.admit().admission for _ in range(4)] == [FRESH] * 3 + [Admission.QUOTA]
        stand.clocks.advance(80)


def test_what_was_pruned_stays_pruned_when_the_request_is_refused(make: Callable[..., Stand]) -> None:
    stand = make(capacity=2, per_client=2, per_ticket=2)
    old = stand.entry()
    stand.admit(old)
    stand.clocks.advance(80)
    assert stand.admit(stand.entry(after_ms=-80_000)).admission is STALE
    stand.clocks.advance(-0.9)
    assert stand.admit(old).admission is STALE
    assert [stand.admit().admission for _ in range(3)] == [FRESH, FRESH, Admission.QUOTA]


@pytest.mark.parametrize("step", [-1.001, 1.001, -3600, 3600])
def test_a_step_of_the_wall_clock_begins_a_new_memory(stand: Stand, step: float) -> None:
    stand.clocks.advance(100)
    before, reached = stand.admit(), stand.now
    stand.clocks.wall.advance(step)
    after = stand.admit()
    assert after.epoch != before.epoch
    assert after.born == max(reached, stand.now)
    assert stand.admit().epoch == after.epoch


@pytest.mark.parametrize("steps", [(0.9,), (-0.9,), (0.5, 0.5), (0.9, -0.9, 0.9), (-1.0,)])
def test_small_corrections_keep_the_memory(stand: Stand, steps: tuple[float, ...]) -> None:
    before = stand.admit()
    for step in steps:
        stand.clocks.wall.advance(step)
        assert stand.admit().epoch == before.epoch


def test_small_steps_add_up(stand: Stand) -> None:
    """In steps too small to be noticed as such, the clock could creep back over what was forgotten."""
    before = stand.admit()
    stand.clocks.wall.advance(-0.9)
    assert stand.admit().epoch == before.epoch
    stand.clocks.wall.advance(-0.9)
    assert stand.admit().epoch != before.epoch


def test_after_a_step_back_the_birth_is_what_the_clock_had_reached(stand: Stand) -> None:
    """What was accepted before is dated up to there, and the memory of it is gone."""
    stand.clocks.wall.advance(0.9)
    reached = stand.now
    stand.admit()
    for step in (-3600, -3600):
        stand.clocks.wall.advance(step)
        assert stand.admit().born == reached


def test_a_forward_glitch_costs_epochs_and_nothing_else(stand: Stand) -> None:
    seen = {stand.admit().epoch}
    for step in (86_400, -86_400):
        stand.clocks.wall.advance(step)
        answer = stand.admit()
        assert answer.admission is FRESH
        seen.add(answer.epoch)
    assert len(seen) == 3


def test_a_new_memory_has_the_whole_room(make: Callable[..., Stand]) -> None:
    stand = make(capacity=2, per_client=2, per_ticket=2)
    assert [stand.admit().admission for _ in range(3)] == [FRESH, FRESH, Admission.QUOTA]
    stand.clocks.wall.advance(5)
    assert [stand.admit().admission for _ in range(3)] == [FRESH, FRESH, Admission.QUOTA]


def test_an_epoch_never_comes_back(stand: Stand) -> None:
    seen = [stand.admit().epoch]
    for step in (-2, 2, -2, 2, 3600, -3600):
        stand.clocks.wall.advance(step)
        seen.append(stand.admit().epoch)
    assert len(set(seen)) == len(seen)
