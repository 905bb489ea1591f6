"""What was refused lately, so that a loop of callers asks the KDC once and not a thousand times.

Pure: moments are monotonic seconds and chance is an argument. Knows refusals as values, not their meaning.
"""

from __future__ import annotations

from math import ceil

from attrs import define, evolve

from orthros_client.backoff import Backoff
from orthros_client.daemon.tickets.cache import CacheKey
from orthros_client.errors import Failure
from orthros_protocol.primitives.names import Principal
from orthros_runtime.bounded import BoundedMap

__all__ = ["RefusalMemory"]


@define
class _Remembered:
    failure: Failure
    backoff: Backoff


class RefusalMemory:
    """At most `capacity` refusals; each is repeated from memory until its back-off has passed."""

    def __init__(self, first_s: float = 2.0, most_s: float = 60.0, capacity: int = 4096) -> None:
        self.first_s = first_s
        self.most_s = most_s
        self._entries = BoundedMap[CacheKey, _Remembered](capacity)

    def __len__(self) -> int:
        return len(self._entries)

    def recall(self, key: CacheKey, now: float) -> Failure | None:
        """The refusal that still stands, with the seconds left until the KDC is asked again."""
        entry = self._entries.get(key)
        wait_s = 0.0 if entry is None else entry.backoff.wait_s(now)
        return None if entry is None or wait_s <= 0 else evolve(entry.failure, retry_s=ceil(wait_s))

    def remember(self, key: CacheKey, failure: Failure, now: float, *, chance: float) -> float:
        """Records a refusal; each one in a row stands longer. Returns when the KDC may be asked again."""
        entry = self._entries.pop(key, None) or _Remembered(failure, Backoff(self.first_s, self.most_s))
        entry.failure = failure
        self._entries[key] = entry
        return entry.backoff.failed(now, chance=chance, at_least_s=failure.retry_s)

    def clear(self) -> None:
        """Everything may be asked again at once."""
        self._entries.clear()

    def forget(self, key: CacheKey) -> None:
        """The key was granted."""
        self._entries.pop(key, None)

    def forget_target(self, target: Principal) -> None:
        """Everything about `target` may be asked again at once."""
        for key in [key for key in self._entries if key.target == target]:
            del self._entries[key]
