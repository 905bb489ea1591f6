"""The store in memory, for tests and development: every change works on a copy that replaces the original.

Knows no file and no thread; `memory_rows.py` has the rows, and what is lost at exit is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import trio

from orthros_kdc.store.base import Transaction
from orthros_kdc.store.memory_rows import MemoryRows, MemoryState
from orthros_protocol import LocalMisuse

__all__ = ["MemoryStore"]

T = TypeVar("T")


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class MemoryStore:
    """A Store that lives as long as this object."""

    def __init__(self, *, now_ms: Callable[[], int] = _wall_clock_ms) -> None:
        self._state = MemoryState()
        self._now_ms = now_ms
        self._closed = False

    def peek_generation(self) -> int:
        self._require_open()
        return self._state.seq

    async def read(self, work: Callable[[Transaction], T]) -> T:
        await self._checkpoint()
        return work(MemoryRows(self._state, None))

    async def change(self, work: Callable[[Transaction], T]) -> T:
        await self._checkpoint()
        draft = self._state.copy()
        rows = MemoryRows(draft, max(draft.seq + 1, self._now_ms()))
        try:
            outcome = work(rows)
        finally:
            rows.end()
        self._state = draft
        return outcome

    async def upgrade(self) -> None:
        """It is always of this program's version."""
        await self._checkpoint()

    async def aclose(self) -> None:
        self._closed = True
        await trio.lowlevel.checkpoint()

    async def _checkpoint(self) -> None:
        # The only point at which cancellation can strike: afterwards the change happens whole.
        await trio.lowlevel.checkpoint()
        self._require_open()

    def _require_open(self) -> None:
        if self._closed:
            raise LocalMisuse("wrong-state", "the store is closed")
