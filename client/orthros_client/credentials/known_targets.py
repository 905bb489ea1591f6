"""What targets taught us under their MAC: which replay instances answer, and how far their clocks are from the realm's.

Bounded memory, and no locks that a fork could leave held. Knows neither tickets nor how requests travel.
"""

from __future__ import annotations

import math
from typing import Final

from attrs import evolve, frozen

from orthros_protocol.primitives.limits import MAX_TARGET_OFFSET_MS
from orthros_runtime.bounded import BoundedMap
from orthros_runtime.process_lock import ProcessLock

__all__ = ["NO_EPOCH", "KnownTargets", "PeerState"]

NO_EPOCH: Final = bytes(8)
"""The epoch in an answer that was made without a look at the replay store: it teaches nothing."""

_KEPT_FOR_S: Final = 3600.0
_MOST_EPOCHS: Final = 16
_MOST_UNSAFE: Final = 256
_MOST_PLACES: Final = 64


@frozen
class _Known:
    """One moment's knowledge, exchanged whole: of two threads that learn at once, one may be forgotten."""

    newest: bytes | None = None
    met_s: float = -math.inf  # when the newest epoch was met first
    heard_s: float = -math.inf  # and last
    earlier: tuple[tuple[bytes, float], ...] = ()  # other epochs, and when each was heard last
    plural_until_s: float = -math.inf
    ready_s: float = -math.inf
    offset_ms: int = 0
    is_beyond: bool = False  # the target's clock is further off than what a client follows


class PeerState:
    """What one target at one place taught us. All times are monotonic seconds of this host."""

    def __init__(self) -> None:
        self._known = _Known()
        self._unsafe: tuple[tuple[str, str], ...] = ()

    def read(self, now_s: float = -math.inf) -> tuple[bytes | None, int]:
        """The newest epoch (None when none was heard within the hour before `now_s`) and the offset in milliseconds."""
        known = self._known
        return (known.newest if now_s - known.heard_s < _KEPT_FOR_S else None), known.offset_ms

    def is_plural(self, now_s: float) -> bool:
        """Whether replay instances take turns: the next request may meet another one than the last."""
        return now_s < self._known.plural_until_s

    @property
    def is_beyond(self) -> bool:
        """Whether the target's clock was more than 300 s off when it answered last: no new date is acceptable to it."""
        return self._known.is_beyond

    def epoch_to_name(self, now_s: float, *, repeatable: bool) -> bytes | None:
        """What a first attempt names: nothing where a refusal would leave open whether it ran, elsewhere or later."""
        is_open = self.is_plural(now_s) or self.is_beyond
        return None if not repeatable and is_open else self.read(now_s)[0]

    def learn(self, epoch: bytes, offset_ms: int | None, *, sent_s: float, now_s: float) -> None:
        """Takes over what a verified answer said at `now_s` to a request that left at `sent_s`.

        An offset of None teaches none, and neither does one of more than 300 s. A restart shows a second epoch (A, B,
        B); an earlier epoch that answers a request which left after the newer one was met (A, B, A) shows instances
        that take turns.
        """
        known = self._known
        if offset_ms is not None:
            is_beyond = abs(offset_ms) > MAX_TARGET_OFFSET_MS
            known = evolve(known, is_beyond=is_beyond, offset_ms=known.offset_ms if is_beyond else offset_ms)
        if epoch != NO_EPOCH:
            known = _after(known, epoch, sent_s, now_s)
        self._known = known

    def expect_ready(self, at_s: float) -> None:
        """An instance takes repeatable requests that are made after `at_s`; the latest such time is kept."""
        self._known = evolve(self._known, ready_s=max(self._known.ready_s, at_s))

    def ready_in_s(self, now_s: float) -> float:
        """Seconds until every instance that told takes repeatable requests; 0 when that is now, or nothing was told."""
        return max(0.0, self._known.ready_s - now_s)

    def count_as_unsafe(self, method: str, path: str) -> None:
        """The target said that calls like this one must not run twice. The latest 256 are kept."""
        others = [one for one in self._unsafe if one != (method, path)]
        self._unsafe = (*others[1 - _MOST_UNSAFE :], (method, path))

    def is_unsafe(self, method: str, path: str) -> bool:
        """Whether the target said so."""
        return (method, path) in self._unsafe


def _after(known: _Known, epoch: bytes, sent_s: float, now_s: float) -> _Known:
    if now_s - known.heard_s >= _KEPT_FOR_S:
        known = evolve(known, newest=None, earlier=())
    if known.newest in (None, epoch):
        met_s = now_s if known.newest is None else known.met_s
        return evolve(known, newest=epoch, met_s=met_s, heard_s=now_s)
    earlier = {one: heard_s for one, heard_s in known.earlier if now_s - heard_s < _KEPT_FOR_S}
    is_back = earlier.pop(epoch, None) is not None
    if is_back and sent_s < known.met_s:
        return known  # an answer that is older than the news
    kept = [*list(earlier.items())[2 - _MOST_EPOCHS :], (known.newest or NO_EPOCH, known.heard_s)]
    plural_until_s = now_s + _KEPT_FOR_S if is_back else known.plural_until_s
    return evolve(known, newest=epoch, met_s=now_s, heard_s=now_s, earlier=tuple(kept), plural_until_s=plural_until_s)


class KnownTargets:
    """What one target taught us, by the place where it was met: an origin over HTTP, "" for raw calls."""

    def __init__(self) -> None:
        self._raw = PeerState()
        self._states = BoundedMap[str, PeerState](_MOST_PLACES - 1)
        self._lock = ProcessLock()

    def at(self, place: str = "") -> PeerState:
        """The state of one place; of others than "" the latest 63 are kept."""
        state = self._states.get(place) if place else self._raw
        if state is None:
            with self._lock():
                state = self._states.setdefault(place, PeerState())
        return state
