"""How many connections one port may have, and how many of them for peers that have proven nothing.

Counts; knows neither streams nor deadlines.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from orthros_kdc.config import LimitSettings

__all__ = ["Places"]

_SOURCE_SHARE: Final = 2


class Places:
    """The places of one port. `limits` may be replaced at any time; who is in stays in."""

    def __init__(self, limits: LimitSettings) -> None:
        self.limits = limits
        self.taken = 0
        self.turned_away = 0
        self._strangers: Counter[str] = Counter()

    def take(self, source: str, *, for_many: bool = False) -> bool:
        """Takes a place for a stranger from `source`, if there is one.

        Of the places for strangers one source gets a share, never all of them; a source that stands `for_many`
        others, as a trusted proxy does, is not held to that.
        """
        most = self.limits.max_unauthenticated_connections
        share = most if for_many else max(2, most // _SOURCE_SHARE)
        crowded = self.taken >= self.limits.max_connections or self._strangers.total() >= most
        if crowded or self._strangers[source] >= share:
            self.turned_away += 1
            if not self._strangers[source]:
                del self._strangers[source]
            return False
        self.taken += 1
        self._strangers[source] += 1
        return True

    def prove(self, source: str) -> None:
        """The stranger from `source` is none any more."""
        self._strangers[source] -= 1
        if not self._strangers[source]:
            del self._strangers[source]

    def leave(self, source: str, *, proven: bool) -> None:
        """Gives the place back."""
        self.taken -= 1
        if not proven:
            self.prove(source)
