"""The clock and the chance of this host, behind two small interfaces, so that tests can turn them.

Decides nothing about time; the callers add the offsets that they learnt.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from attrs import frozen

from orthros_protocol import Timestamp

__all__ = ["Clock", "Entropy", "HostClock", "RealmTime", "fraction"]

Entropy = Callable[[int], bytes]
"""`entropy(n)` returns n unpredictable bytes; `os.urandom` at the outer edge."""

_MS_IN_NS: Final = 1_000_000
_STEP_MS: Final = 1_000
# A suspended laptop or a paused machine must not keep its tickets longer: count the sleep as well.
_ELAPSED: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


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

    def wall_ms(self) -> Timestamp:
        """The system's wall clock."""
        return Timestamp(time.time_ns() // _MS_IN_NS)

    def elapsed_s(self) -> float:
        """Monotonic seconds that include suspended time, where the system can tell."""
        return time.clock_gettime(_ELAPSED)


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
