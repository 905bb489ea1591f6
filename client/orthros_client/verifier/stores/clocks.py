"""The clocks that a replay store hangs on: the wall clock, and one that counts from boot and never steps.

Both are read at one moment, because only their difference tells whether the wall clock was moved.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from orthros_protocol import Timestamp

__all__ = ["Clocks", "read_clocks"]

Clocks = Callable[[], tuple[Timestamp, int]]
"""Milliseconds since the Unix epoch, and since boot, suspended time included."""

_MS_IN_NS: Final = 1_000_000
_MOST_APART_NS: Final = 50 * _MS_IN_NS
_BOOT: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def read_clocks() -> tuple[Timestamp, int]:
    """Those of this machine. A process that was stopped between the readings reads again: it would see a step."""
    while True:
        before = time.clock_gettime_ns(_BOOT)
        wall = time.time_ns()
        after = time.clock_gettime_ns(_BOOT)
        if after - before <= _MOST_APART_NS:
            return Timestamp(wall // _MS_IN_NS), after // _MS_IN_NS
