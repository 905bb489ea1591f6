"""The clocks and the chance of this host, behind small interfaces, so that tests can turn them.

The wall clock may be wrong and may step; the boot clock counts the sleep of a suspended machine and never steps.
Decides nothing about time; the callers add the offsets that they learnt.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from attrs import frozen

from orthros_protocol.primitives.instants import Timestamp

__all__ = [
    "Clock",
    "Clocks",
    "Entropy",
    "HostClock",
    "RealmTime",
    "boot_clock",
    "fraction",
    "read_clocks",
    "wall_clock",
]

Entropy = Callable[[int], bytes]
"""`entropy(n)` returns n unpredictable bytes; `os.urandom` at the outer edge."""

_MS_IN_NS: Final = 1_000_000
_STEP_MS: Final = 1_000
# A suspended laptop or a paused machine must not keep its tickets longer: count the sleep as well.
_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_MOST_APART_NS: Final = 50 * _MS_IN_NS

Clocks = Callable[[], tuple[Timestamp, int]]
"""Milliseconds since the Unix epoch, and since boot, read at one moment: their difference tells of a step."""


def wall_clock() -> Timestamp:
    """The wall clock of this machine in milliseconds since the Unix epoch."""
    return Timestamp(time.time_ns() // _MS_IN_NS)


def boot_clock() -> int:
    """Milliseconds since boot, suspended time included where the system can tell."""
    return time.clock_gettime_ns(_BOOT) // _MS_IN_NS


def read_clocks() -> tuple[Timestamp, int]:
    """Both clocks of this machine. A process that was stopped between the readings reads again: it would see a step."""
    while True:
        before = time.clock_gettime_ns(_BOOT)
        wall = time.time_ns()
        after = time.clock_gettime_ns(_BOOT)
        if after - before <= _MOST_APART_NS:
            return Timestamp(wall // _MS_IN_NS), after // _MS_IN_NS


class Clock(Protocol):
    """Two readings: what the wall clock says, and what has elapsed since some fixed moment."""

    def wall_ms(self) -> Timestamp:
        """Milliseconds since the Unix epoch; may be wrong, may step."""
        ...

    def elapsed_s(self) -> float:
        """Seconds; never steps back."""
        ...


class HostClock:
    """The clocks of this machine."""

    wall_ms = staticmethod(wall_clock)

    def elapsed_s(self) -> float:
        """Monotonic seconds that include suspended time, where the system can tell."""
        return time.clock_gettime(_BOOT)


@frozen
class RealmTime:
    """The realm's time: `ahead_ms` milliseconds ahead of the monotonic clock, so that no step of the wall clock moves
    it."""

    clock: Clock
    ahead_ms: int

    @classmethod
    def of(cls, clock: Clock, offset_ms: int) -> RealmTime:
        """When the realm's clock is `offset_ms` ahead of the wall clock now."""
        return cls(clock, clock.wall_ms() + offset_ms - round(clock.elapsed_s() * 1000))

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return round(self.clock.elapsed_s() * 1000) + self.ahead_ms

    def second_at(self, elapsed_s: float) -> int:
        """The Unix second at which the monotonic clock shows `elapsed_s`; never a later one."""
        return max(0, int(elapsed_s + self.ahead_ms / 1000))

    def elapsed_at(self, second: int) -> float:
        """What the monotonic clock shows at that Unix second."""
        return second - self.ahead_ms / 1000

    def offset_ms(self) -> int:
        """How far it is ahead of the wall clock now."""
        return self.now_ms() - self.clock.wall_ms()

    def has_stepped(self, offset_ms: int) -> bool:
        """Whether the wall clock moved against the monotonic one since the offset was this."""
        return abs(self.offset_ms() - offset_ms) > _STEP_MS


def fraction(entropy: Entropy) -> float:
    """A number in [0, 1) for jitter."""
    return int.from_bytes(entropy(4), "big") / 2**32
