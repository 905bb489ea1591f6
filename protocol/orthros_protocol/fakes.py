"""A clock that moves only when told, and bytes that never repeat: what tests use in place of time and chance.

Never for anything but tests; `testing.py` builds a realm on them.
"""

from __future__ import annotations

from attrs import define

from orthros_protocol.derivation import digest
from orthros_protocol.instants import Timestamp

__all__ = ["CountingEntropy", "ManualClock"]

_START = Timestamp(1_800_000_000_000)


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
