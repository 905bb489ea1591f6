"""The replay set: one atomic question, `admit`, that burns a request on first sight.

Bucketed by the authenticator's own second, never by arrival. Knows tags and times, not messages.
"""

from __future__ import annotations

import threading
from enum import Enum
from typing import Final, Protocol

from orthros_protocol.instants import Timestamp
from orthros_protocol.limits import WINDOW_PAST_MS

__all__ = ["Admission", "ReplayCache", "ReplaySet"]

_BUCKET_MS: Final = 1_000


class Admission(Enum):
    """The answer of `admit`."""

    FRESH = "fresh"
    SEEN = "seen"
    STALE = "stale"
    FULL = "full"


class ReplayCache(Protocol):
    """Anything that can burn requests: this process's set, or one that several processes share."""

    def admit(self, tag: bytes, ts: Timestamp, now: Timestamp, client: str) -> Admission:
        """Burns `tag` and says whether it was new. Atomic: of equal tags, one is FRESH, ever."""
        ...


class ReplaySet:
    """A bounded, thread-safe replay set in memory.

    A tag is kept until its own timestamp plus the window has passed. A timestamp below the prune floor
    is STALE (its bucket is gone, so nothing can be said about it), and a full set refuses rather than
    evicts: `capacity` entries in all and `per_client` for one client.
    """

    def __init__(self, *, capacity: int = 1_000_000, per_client: int = 250_000, past_ms: int = WINDOW_PAST_MS) -> None:
        self._past_ms = past_ms
        self._capacity = capacity
        self._per_client = per_client
        # The lock also makes the set safe without a global interpreter lock.
        self._lock = threading.Lock()
        self._buckets: dict[int, dict[str, set[int]]] = {}
        self._count = 0
        self._counts: dict[str, int] = {}
        self._floor = 0

    def __len__(self) -> int:
        return self._count

    def admit(self, tag: bytes, ts: Timestamp, now: Timestamp, client: str) -> Admission:
        """Prunes with `now`, then burns `tag` in the bucket of `ts`."""
        number = int.from_bytes(tag, "big")
        second = ts // _BUCKET_MS
        with self._lock:
            floor = (now - self._past_ms) // _BUCKET_MS
            if floor > self._floor:
                self._prune(floor)
            if second < self._floor:
                return Admission.STALE
            if number in self._buckets.get(second, {}).get(client, ()):
                return Admission.SEEN
            mine = self._counts.get(client, 0)
            if self._count >= self._capacity or mine >= self._per_client:
                return Admission.FULL  # and no trace of it: what is refused costs no memory
            self._buckets.setdefault(second, {}).setdefault(client, set()).add(number)
            self._count += 1
            self._counts[client] = mine + 1
            return Admission.FRESH

    def clear(self) -> None:
        """Forgets everything, the floor included. Only safe together with a new epoch."""
        with self._lock:
            self._buckets.clear()
            self._counts.clear()
            self._count = 0
            self._floor = 0

    def _prune(self, floor: int) -> None:
        for second in [second for second in self._buckets if second < floor]:
            for client, tags in self._buckets.pop(second).items():
                self._count -= len(tags)
                left = self._counts[client] - len(tags)
                if left:
                    self._counts[client] = left
                else:
                    del self._counts[client]
        self._floor = floor
