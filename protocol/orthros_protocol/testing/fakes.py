"""A clock that moves only when told, and bytes that never repeat: what tests use in place of time and chance.

Never for anything but tests; `realm.py` builds a realm on them.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from orthros_protocol.exchanges.replay import Entry, ReplaySet, Standing
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp

__all__ = ["CountingEntropy", "ManualClock", "ManualStore"]

_START = Timestamp(1_800_000_000_000)
_EPOCH = Timestamp(0)


@define
class ManualClock:
    """A clock that moves only when told. `now()` is in milliseconds."""

    _now: int = _START

    def now(self) -> Timestamp:
        """The present moment, in milliseconds since the Unix epoch."""
        return Timestamp(self._now)

    def advance(self, seconds: float) -> None:
        """Moves it, also backwards."""
        self._now += round(seconds * 1000)


@define
class CountingEntropy:
    """Bytes that never repeat and are the same in every run. Never use it outside tests."""

    _seed: bytes = b"orthros testing"
    _count: int = 0

    def __call__(self, size: int) -> bytes:
        """`size` bytes."""
        out = b""
        while len(out) < size:
            self._count += 1
            out += digest(self._seed + self._count.to_bytes(8, "big"))
        return out[:size]


@define
class ManualStore:
    """A replay store whose time, epoch and birth are set by hand."""

    now: Callable[[], Timestamp]
    epoch: bytes = b"an epoch"
    born: Timestamp = _EPOCH
    burnt: ReplaySet = field(factory=ReplaySet)

    def admit(self, entry: Entry) -> Standing:
        """See `ReplayStore`."""
        now = self.now()
        return Standing(self.burnt.admit(entry, now), self.epoch, self.born, now)
