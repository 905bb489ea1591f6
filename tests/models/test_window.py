"""Window, floor, retention and birth as arithmetic over all times at once, by z3.

Modelled: one request with timestamp `ts`, in milliseconds, and moments of its store's clock: accepted at `first` and
once more at `again`, the store's memory lost and born anew at `born` between. The numbers are the design's own: 60 s
of past, 5 s of future, 365 s to the dates that are not burnt, buckets of 16 s.

A lemma is proven when its opposite has no solution. Each names the mechanism that it stands on; without that mechanism
z3 finds the times at which a request would run twice, or a good one would be refused.
"""

from __future__ import annotations

import pytest
import z3  # type: ignore[import-untyped]

from orthros_protocol.primitives.limits import CLOCK_STEP_MS, TOO_FAR_AHEAD_MS, WINDOW_FUTURE_MS, WINDOW_PAST_MS

BUCKET_MS = 16_000
HOSTS_DIFFER_MS = 5_000  # a host refuses a server whose clock is further from its own
MARGIN_MS = 2 * HOSTS_DIFFER_MS

ts, first, again, born, high, pruned_at, host = z3.Ints("ts first again born high pruned_at host")
NATURAL = [moment >= 0 for moment in (ts, first, again, born, high, pruned_at, host)]


def in_window(now: z3.ArithRef) -> z3.BoolRef:
    return z3.And(now - WINDOW_PAST_MS <= ts, ts <= now + WINDOW_FUTURE_MS)


def bucket(moment: z3.ArithRef) -> z3.ArithRef:
    return moment / BUCKET_MS  # z3 rounds down


def floor(now: z3.ArithRef) -> z3.ArithRef:
    return (now - WINDOW_PAST_MS) / BUCKET_MS


def solution(*facts: z3.BoolRef) -> str | None:
    """Times at which all of this is true, or None."""
    solver = z3.Solver()
    solver.add(*NATURAL, *facts)
    answer = solver.check()
    assert answer != z3.unknown
    return str(solver.model()) if answer == z3.sat else None


# One memory: burnt at `first`, its bucket pruned at `pruned_at`, presented again at `again`.
PRUNED = [in_window(first), in_window(again), bucket(ts) < floor(pruned_at)]
FLOOR_IS_KEPT = [bucket(ts) >= floor(pruned_at)]  # else it is refused as stale, whatever the clock says by then


def test_what_was_pruned_is_never_taken_again() -> None:
    """Whether or not the clock goes forward: the floor does."""
    assert solution(*PRUNED, *FLOOR_IS_KEPT) is None


def test_without_a_floor_a_step_back_takes_it_again() -> None:
    assert solution(*PRUNED) is not None
    assert solution(*PRUNED, pruned_at <= again) is None, "and only a step back"


def test_a_request_in_its_window_is_not_stale_while_the_clock_goes_forward() -> None:
    """The floor refuses nothing that the window would take, up to the time that the floor stands for."""
    assert solution(in_window(again), bucket(ts) < floor(again)) is None


def test_a_floor_that_is_rounded_up_refuses_good_requests() -> None:
    assert solution(in_window(again), bucket(ts) < floor(again) + 1) is not None


def test_kept_from_its_arrival_a_request_outlives_its_memory() -> None:
    """It must be kept from its own date on: what arrives early is good for longer."""
    kept_until = first + WINDOW_PAST_MS
    assert solution(in_window(first), in_window(again), again > kept_until) is not None
    kept_until = ts + WINDOW_PAST_MS
    assert solution(in_window(first), in_window(again), again > kept_until) is None


def test_no_entry_is_kept_for_longer_than_425_seconds_and_a_bucket() -> None:
    burnt = ts <= first + TOO_FAR_AHEAD_MS
    still_there = [first <= again, bucket(ts) >= floor(again)]
    most = TOO_FAR_AHEAD_MS + WINDOW_PAST_MS + BUCKET_MS
    assert solution(burnt, *still_there, again - first > most) is None
    assert solution(*still_there, again - first > most) is not None, "were all dates burnt"


def test_a_captured_request_is_dead_425_seconds_after_it_was_refused_for_its_date() -> None:
    sent = [ts <= first + TOO_FAR_AHEAD_MS, in_window(again)]
    assert solution(*sent, again - first > TOO_FAR_AHEAD_MS + WINDOW_PAST_MS) is None


# Two memories: accepted by the first at `first`, which had reached `high`; the second was born at `born`.
ACCEPTED = [in_window(first), first <= high, in_window(again)]
PASSES = ts > born + WINDOW_FUTURE_MS


def test_what_an_earlier_memory_may_have_taken_does_not_pass_by_its_date() -> None:
    assert solution(*ACCEPTED, high <= born, PASSES) is None


@pytest.mark.parametrize(
    "without",
    [ts >= born + WINDOW_FUTURE_MS, ts > born],
    ids=["from exactly five seconds on", "from the birth on"],
)
def test_less_than_more_than_five_seconds_after_the_birth_is_too_early(without: z3.BoolRef) -> None:
    assert solution(*ACCEPTED, high <= born, without) is not None


def test_a_clock_that_was_set_back_is_born_as_late_as_it_had_ever_been() -> None:
    clock = host
    assert solution(*ACCEPTED, clock < first, born == z3.If(clock > high, clock, high), PASSES) is None
    assert solution(*ACCEPTED, clock < first, born == clock, PASSES) is not None


def test_a_small_step_back_counts_as_well() -> None:
    """Too small to be noticed, it still puts the birth before what the lost memory had taken."""
    stepped = [first - CLOCK_STEP_MS <= host, host < first]
    assert solution(*ACCEPTED, *stepped, born == z3.If(host > high, host, high), PASSES) is None
    assert solution(*ACCEPTED, *stepped, born == host, PASSES) is not None


def test_two_masters_may_differ_by_ten_seconds() -> None:
    """A failover at one moment by the host's clock `host`: the old master took the request at `first` by its own."""
    one_failover = [
        host - HOSTS_DIFFER_MS <= first,
        first <= host + HOSTS_DIFFER_MS,
        host - HOSTS_DIFFER_MS <= high,  # here: the new master's clock at its birth
        high <= host + HOSTS_DIFFER_MS,
        in_window(first),
    ]
    assert solution(*one_failover, born == high + MARGIN_MS, PASSES) is None
    assert solution(*one_failover, born == high + MARGIN_MS - 1, PASSES) is not None


def test_only_the_stores_clock_may_judge() -> None:
    """A host whose own clock is ahead takes what is dated later than the birth of the next memory covers."""
    facts = [in_window(host), first <= high, high <= born, PASSES]
    assert solution(*facts, host == first) is None
    assert solution(*facts, host <= first + HOSTS_DIFFER_MS) is not None
