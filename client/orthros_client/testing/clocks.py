"""The clocks of a caller in a test: those of the realm, which move only when told, and as wrong as a test wants.

Waiting moves them: nothing sleeps.
"""

from __future__ import annotations

from attrs import frozen

from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import ManualClock

__all__ = ["CallerClock"]


@frozen
class CallerClock:
    """What a caller's host shows: `skew_ms` ahead of the realm's clock."""

    realm: ManualClock
    skew_ms: int = 0

    def wall_ms(self) -> Timestamp:
        """See `Clock`."""
        return Timestamp(self.realm.now() + self.skew_ms)

    def elapsed_s(self) -> float:
        """See `Clock`."""
        return self.realm.now() / 1000

    def block(self, seconds: float) -> None:
        """A pause between two requests: see `Rest`."""
        self.realm.advance(seconds)

    async def sleep(self, seconds: float) -> None:
        """The same in a task."""
        self.realm.advance(seconds)
