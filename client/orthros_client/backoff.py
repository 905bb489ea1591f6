"""When to try again: exponential, capped, jittered, and the same for every kind of failure.

Pure: time and chance are arguments. Knows no sockets and no reasons.
"""

from __future__ import annotations

import math

from attrs import define, field

__all__ = ["Backoff"]


@define
class Backoff:
    """Counts failures in a row. Delays double from `first_s` to `most_s`; each is cut by up to a half."""

    first_s: float = 0.5
    most_s: float = 30.0
    failures: int = field(default=0, init=False)
    ready_at: float = field(default=0.0, init=False)

    def failed(self, now: float, *, chance: float, at_least_s: float = 0.0, at_most_s: float = math.inf) -> float:
        """Records a failure at `now` (monotonic seconds); returns the moment of the next attempt.

        `chance` is in [0, 1); `at_least_s` is what the peer asked for under seal; `at_most_s` ends the pause when it is
        known that another attempt makes sense then.
        """
        whole = min(self.first_s * 2 ** min(self.failures, 30), self.most_s)
        self.failures += 1
        self.ready_at = now + max(min(whole * (0.5 + 0.5 * chance), at_most_s), at_least_s)
        return self.ready_at

    def succeeded(self) -> None:
        """Forgets the failures."""
        self.failures = 0
        self.ready_at = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until the next attempt may start; 0 when it may start now."""
        return max(0.0, self.ready_at - now)
