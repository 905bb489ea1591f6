"""The clock and the chance of this host, behind two small interfaces, so that tests can turn them.

Decides nothing about time; the callers add the offsets that they learnt.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from orthros_protocol import Timestamp

__all__ = ["Clock", "Entropy", "HostClock", "fraction"]

Entropy = Callable[[int], bytes]
"""`entropy(n)` returns n unpredictable bytes; `os.urandom` at the outer edge."""

_MS_IN_NS: Final = 1_000_000
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


def fraction(entropy: Entropy) -> float:
    """A number in [0, 1) for jitter."""
    return int.from_bytes(entropy(4), "big") / 2**32
