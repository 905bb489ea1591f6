"""How long one transaction may hold the database's write lock.

SQLite has one writer: while it works, the KDC can note no used assertion and no revoked token, and other commands wait,
for at most five seconds. So a transaction that takes longer is undone, and the error tells the admin to make the
change in parts. Knows no connection; `statements.py` and `sqlite.py` ask it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from attrs import frozen

from orthros_kdc.reasons import CHANGE_TOO_LARGE
from orthros_protocol.errors import Unavailable

__all__ = ["MOST_LOCKED_S", "Deadline", "LockLimit"]

MOST_LOCKED_S: Final = 4.0
"""Seconds of work under the lock. Other commands wait for 5: the rest is for the commit, which nothing cuts short."""


@frozen
class LockLimit:
    """A transaction may work for `most_s` seconds of the clock `monotonic`, in seconds."""

    most_s: float = MOST_LOCKED_S
    monotonic: Callable[[], float] = time.monotonic

    def begin(self) -> Deadline:
        """The end of a transaction that has the lock from now on."""
        return Deadline(self, self.monotonic() + self.most_s)


@frozen
class Deadline:
    """When one transaction has to be over."""

    _limit: LockLimit
    _at: float

    @property
    def is_over(self) -> bool:
        return self._limit.monotonic() > self._at

    def require(self) -> None:
        """Raises Unavailable `change-too-large` when it is over."""
        if self.is_over:
            raise self.error()

    def error(self) -> Unavailable:
        """What a transaction that was cut short ends with."""
        return Unavailable(CHANGE_TOO_LARGE, f"it was undone after {self._limit.most_s:g} s")
