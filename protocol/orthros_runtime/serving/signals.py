"""Signals to a server: none is lost, those among them that came before it was ready.

Knows no program; a signal to reload is SIGHUP, and every other one stops.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio
from attrs import define, field

from orthros_runtime.program import holding_signals, take_held

__all__ = ["STOPPING", "Orders", "open_orders"]

STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


@define(eq=False)
class Orders:
    """The signals of a process, in their order."""

    until_stop: trio.CancelScope = field(factory=trio.CancelScope)
    """For what is given up when a signal to stop comes; to be entered once."""
    _numbers: deque[signal.Signals] = field(factory=deque)
    _arrived: trio.Event = field(factory=trio.Event)

    async def next(self) -> signal.Signals:
        """The next one."""
        while not self._numbers:
            await self._arrived.wait()
            self._arrived = trio.Event()
        return self._numbers.popleft()

    async def take(self, signals: AsyncIterator[int]) -> None:
        """Puts those that were held before, and then all of `signals`, into their order."""
        for number in take_held():
            self._put(number)
        async for number in signals:
            self._put(number)

    def _put(self, number: int) -> None:
        self._numbers.append(signal.Signals(number))
        self._arrived.set()
        if number in STOPPING:
            self.until_stop.cancel()


@asynccontextmanager
async def open_orders(*numbers: signal.Signals) -> AsyncIterator[Orders]:
    """The signals `numbers`, for as long as the block runs. A second one does not cut short what the first one began:
    trio raises those that nobody took once more when its receiver closes, and then they are held."""
    with holding_signals(*numbers), trio.open_signal_receiver(*numbers) as signals:
        async with trio.open_nursery() as nursery:
            orders = Orders()
            nursery.start_soon(orders.take, signals)
            yield orders
            nursery.cancel_scope.cancel()
