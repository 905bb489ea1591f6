"""A map that keeps its bound: whoever can choose the keys cannot make a process grow.

The problem: caches are filled by what arrives, and what arrives can be made up. The mechanism: entries stand in a row,
a new one at its end, and one too many drops the first. Where an entry that was used is moved to the end
(`move_to_end`), the first is the one that was used longest ago; where none is moved, it is the oldest.

Rejected: a bound by bytes (each kind of entry here has a largest size) and one by time (what is out of date is told
by its own clock, where it is looked up).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

__all__ = ["BoundedMap"]

K = TypeVar("K")
V = TypeVar("V")


class BoundedMap(OrderedDict[K, V]):
    """At most `capacity` entries. Setting a known key leaves it in its place, as in every OrderedDict.

    `dropped` is called with each entry that had to make room. Single look-ups may run in any thread; for a change, the
    owner holds a lock.
    """

    def __init__(self, capacity: int, dropped: Callable[[K, V], object] | None = None) -> None:
        super().__init__()
        self.capacity = capacity
        self._dropped = dropped

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        while len(self) > self.capacity:
            first = self.popitem(last=False)
            if self._dropped is not None:
                self._dropped(*first)
