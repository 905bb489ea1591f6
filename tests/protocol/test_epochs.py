"""Epochs: new after a fork and after a backward step; a forward glitch heals."""

import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol import EPOCH_BYTES, EpochKeeper, Timestamp
from orthros_protocol.testing import CountingEntropy

START = 1_800_000_000_000


FORK = """
import os
from orthros_protocol import EpochKeeper

keeper = EpochKeeper(os.urandom, lambda: None)
epoch = lambda: print(keeper.current(now=1_800_000_000_000, monotonic_ms=0, pid=os.getpid()).hex(), flush=True)
epoch()
child = os.fork()
if child == 0:
    epoch()
    os._exit(0)
os.waitpid(child, 0)
epoch()
"""


class Watched:
    """A keeper with its clocks: `wall` is ahead of `steady` by what the tests say."""

    def __init__(self) -> None:
        self.renewals = 0
        self.keeper = EpochKeeper(CountingEntropy(), self._renewed)
        self.wall, self.steady, self.pid = START, 5_000, 100

    def _renewed(self) -> None:
        self.renewals += 1

    def advance(self, ms: int) -> None:
        self.wall += ms
        self.steady += ms

    def step(self, ms: int) -> None:
        self.wall += ms

    @property
    def epoch(self) -> bytes:
        return self.keeper.current(now=Timestamp(self.wall), monotonic_ms=self.steady, pid=self.pid)


def test_an_epoch_lasts_while_time_passes() -> None:
    process = Watched()
    first = process.epoch
    for _hour in range(100):
        process.advance(3_600_000)
        assert process.epoch == first
    assert len(first) == EPOCH_BYTES
    assert process.renewals == 1


def test_two_processes_never_share_one() -> None:
    entropy = CountingEntropy()
    keepers = [EpochKeeper(entropy, lambda: None) for _ in range(50)]
    assert len({keeper.current(now=Timestamp(START), monotonic_ms=0, pid=1) for keeper in keepers}) == 50


def test_a_fork_begins_a_new_epoch_and_empties_the_set() -> None:
    """Section 7: remembers its pid, renewed after fork."""
    process = Watched()
    parent = process.epoch
    process.pid = 101
    assert process.epoch != parent
    assert process.renewals == 2
    assert process.keeper.reached_before_step == 0


def test_a_real_fork_begins_a_new_epoch() -> None:
    """In a process of its own, because forking one that has threads is another story."""
    outcome = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True)
    parent, child, parent_again = outcome.stdout.split()
    assert parent == parent_again != child


@pytest.mark.parametrize("step", [-1_001, -60_000, -86_400_000])
def test_a_backward_step_begins_a_new_epoch(step: int) -> None:
    process = Watched()
    before = process.epoch
    process.advance(10_000)
    process.step(step)
    assert process.epoch != before
    assert process.renewals == 2
    assert process.keeper.reached_before_step == START + 10_000
    assert process.epoch == process.epoch


@pytest.mark.parametrize("step", [-1_000, -1, 1, 1_000, 5_000, 86_400_000])
def test_small_corrections_and_forward_steps_keep_it(step: int) -> None:
    process = Watched()
    before = process.epoch
    process.step(step)
    assert process.epoch == before
    assert process.renewals == 1


@pytest.mark.parametrize("steps", [(900,), (-900,), (900, 900), (-900, -900, -900), (900, -900), (1, 999)])
def test_small_steps_count_towards_what_the_clock_had_reached(steps: tuple[int, ...]) -> None:
    """What was accepted before a backward step is dated at most a window behind the mark, whatever came before."""
    process = Watched()
    reached = 0
    for step in (0, *steps):
        process.step(step)
        assert process.epoch
        reached = max(reached, process.wall)
    process.step(-5_000)
    assert process.epoch
    assert process.renewals == 2
    assert process.keeper.reached_before_step >= reached


def test_a_backward_step_after_a_small_forward_one_begins_a_new_epoch() -> None:
    process = Watched()
    before = process.epoch
    process.step(900)
    assert process.epoch == before
    process.step(-1_500)
    assert process.epoch != before


def test_a_forward_glitch_heals() -> None:
    """Nothing is pinned to the glitch: one new epoch when it ends, then business as usual."""
    process = Watched()
    first = process.epoch
    process.step(3_600_000)
    assert process.epoch == first
    process.step(-3_600_000)
    second = process.epoch
    assert second != first
    process.advance(7_200_000)
    assert process.epoch == second
    assert process.wall > process.keeper.reached_before_step


@given(st.lists(st.sampled_from([-90_000, -2_000, -900, 0, 10, 900, 2_000, 3_600_000]), max_size=20))
def test_an_epoch_never_comes_back(steps: list[int]) -> None:
    process = Watched()
    seen = [process.epoch]
    for step in steps:
        process.step(step)
        process.advance(50)
        if process.epoch != seen[-1]:
            assert process.epoch not in seen
            assert step < 0
            seen.append(process.epoch)
        assert step >= -1_000 or process.epoch == seen[-1]
    assert process.renewals == len(seen)


def test_threads_agree_on_the_first_epoch() -> None:
    process = Watched()
    barrier, seen = threading.Barrier(16), []

    def ask() -> None:
        barrier.wait()
        seen.append(process.epoch)

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 16
    assert len(set(seen)) == 1
    assert process.renewals == 1
