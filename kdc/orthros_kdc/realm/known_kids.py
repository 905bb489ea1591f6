"""Which login keys exist, by their ids: 8 bytes each in a sorted array, so that an unknown id costs no read, and is
found to be unknown in the time in which a known one is found.

Immutable. What came and went since the array was made lies beside it, until there is so much that a new one is made.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final, Self

from attrs import frozen

from orthros_protocol.keys.role_keys import KID_BYTES

__all__ = ["KnownKids"]

_MOST_BESIDE: Final = 4096


@frozen(eq=False)
class KnownKids:
    """The ids of a realm's login keys."""

    _sorted: array[int]
    _added: frozenset[int] = frozenset()
    _removed: frozenset[int] = frozenset()

    @classmethod
    def of(cls, ascending: bytes) -> Self:
        """From all of them in ascending order, one behind the other."""
        found = array("Q", ascending)
        if sys.byteorder == "little":
            found.byteswap()
        return cls(found)

    def __len__(self) -> int:
        return len(self._sorted) + len(self._added) - len(self._removed)

    def __contains__(self, kid: bytes) -> bool:
        if len(kid) != KID_BYTES:
            return False
        number = int.from_bytes(kid)
        if number in self._added:
            return True
        return self._is_sorted_in(number) and number not in self._removed

    def changed(self, news: Mapping[bytes, bool]) -> Self:
        """The ids after each of `news` has come, or has gone."""
        if not news:
            return self
        added, removed = set(self._added), set(self._removed)
        for kid, exists in news.items():
            number = int.from_bytes(kid)
            added.discard(number)
            removed.discard(number)
            if exists and not self._is_sorted_in(number):
                added.add(number)
            elif not exists and self._is_sorted_in(number):
                removed.add(number)
        if len(added) + len(removed) <= _MOST_BESIDE:
            return type(self)(self._sorted, frozenset(added), frozenset(removed))
        left = [number for number in self._sorted if number not in removed]
        return type(self)(array("Q", sorted([*left, *added])))

    def _is_sorted_in(self, number: int) -> bool:
        at = bisect_left(self._sorted, number)
        return at < len(self._sorted) and self._sorted[at] == number
