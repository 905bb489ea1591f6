"""The epoch of a target process: 8 random bytes that captured requests cannot know in advance.

Remembers its process and watches the wall clock against the monotonic one; reads neither itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from orthros_protocol.instants import Timestamp
from orthros_protocol.limits import CLOCK_STEP_MS

__all__ = ["EPOCH_BYTES", "EpochKeeper"]

EPOCH_BYTES = 8


class EpochKeeper:
    """Hands out the current epoch; a new one after a fork and after the wall clock stepped back.

    `on_renewal` is called, under the keeper's lock, each time a new epoch begins: the place to empty the
    replay set. `entropy` returns that many fresh random bytes.
    """

    def __init__(self, entropy: Callable[[int], bytes], on_renewal: Callable[[], None]) -> None:
        self._entropy = entropy
        self._on_renewal = on_renewal
        self._lock = threading.Lock()
        self._epoch = b""
        self._pid = -1
        self._ahead_ms = 0
        self._most_ahead_ms = 0
        self._mark = Timestamp(0)

    def current(self, *, now: Timestamp, monotonic_ms: int, pid: int) -> bytes:
        """The epoch of this process at `now` (wall clock) and `monotonic_ms` (any steady origin)."""
        ahead = now - monotonic_ms
        if pid == self._pid and self._ahead_ms <= ahead <= self._most_ahead_ms:
            return self._epoch
        with self._lock:
            stepped_back = self._pid == pid and ahead < self._ahead_ms - CLOCK_STEP_MS
            if pid != self._pid or stepped_back:
                self._epoch = self._entropy(EPOCH_BYTES)
                if stepped_back:
                    # From the furthest lead, not the last one: small steps count towards what was reached as well.
                    self._mark = max(self._mark, Timestamp(monotonic_ms + self._most_ahead_ms))
                self._pid = pid
                self._most_ahead_ms = ahead
                self._on_renewal()
            self._ahead_ms = ahead
            self._most_ahead_ms = max(self._most_ahead_ms, ahead)
            return self._epoch

    @property
    def reached_before_step(self) -> Timestamp:
        """How far the wall clock had come before it last stepped back; 0 if it never did."""
        return self._mark
