"""What a decision waits for before its answer leaves: that its line is in the log.

One batch of lines is written and synced at once, so one event serves all who wait for it. Knows no files.
"""

from __future__ import annotations

from typing import Final

import trio
from attrs import define, field, frozen

from orthros_protocol.errors import OrthrosError, Unavailable

__all__ = ["KEPT", "LATEST_S", "Batch", "Receipt"]

LATEST_S: Final = 2.0
"""A credential whose line took longer is not sent, in seconds: it was decided by an old clock and an old policy."""


@define(eq=False)
class Batch:
    """The lines that become durable together, or fail together."""

    _problem: OrthrosError | None = None
    _done: trio.Event = field(factory=trio.Event)

    @property
    def is_settled(self) -> bool:
        """Whether it is known what became of the lines."""
        return self._done.is_set()

    def settle(self, problem: OrthrosError | None = None) -> None:
        """Lets everybody go on who waits: the lines are durable, or `problem` says why not."""
        self._problem = problem
        self._done.set()

    async def settled(self) -> None:
        """Returns when it is known what became of the lines."""
        await self._done.wait()

    def require_kept(self) -> None:
        """Raises what was given to `settle`."""
        if self._problem is not None:
            raise self._problem


@frozen(eq=False)
class Receipt:
    """For one line, and those of `earlier`. `decided_at` is the time of the decision on trio's clock, in seconds.
    Without a batch there is nothing to wait for."""

    batch: Batch | None = None
    decided_at: float = 0.0
    earlier: Receipt | None = None

    @property
    def is_settled(self) -> bool:
        """Whether `wait` would return or raise at once."""
        return (self.batch is None or self.batch.is_settled) and (self.earlier is None or self.earlier.is_settled)

    def after(self, earlier: Receipt, *, decided_at: float) -> Receipt:
        """For the lines of both, which one answer waits for: they may lie in two batches, of which one may fail."""
        if earlier.batch is not None and earlier.batch is self.batch:
            return earlier
        return Receipt(self.batch, decided_at, None if earlier.batch is None else earlier)

    async def wait(self) -> None:
        """Returns when the line is durable.

        Raises Unavailable `kdc-fault` when that took longer than `LATEST_S`, or what kept the line from the log.
        """
        if self.earlier is not None:
            await self.earlier.wait()
        if self.batch is None:
            return
        latest = self.decided_at + LATEST_S
        if not self.batch.is_settled:
            with trio.move_on_at(latest):
                await self.batch.settled()
        if not self.batch.is_settled or trio.current_time() > latest:
            raise Unavailable("kdc-fault", f"the audit log took longer than {LATEST_S:g} s to keep the decision")
        self.batch.require_kept()


KEPT: Final = Receipt()
"""Of what waits for no log."""
