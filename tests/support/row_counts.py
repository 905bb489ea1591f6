"""What a store is asked, counted: reads, and the rows that came of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

from orthros_kdc.store.base import Store, Transaction

__all__ = ["CountingStore"]


@define(eq=False)
class CountingStore:
    """Another store, whose reads are counted, and the rows that they hand out."""

    store: Store
    reads: int = 0
    rows: int = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    async def read(self, work: Callable[[Transaction], Any]) -> Any:
        self.reads += 1
        return await self.store.read(lambda tx: work(_Counting(tx, self)))


@define(eq=False)
class _Counting:
    """A transaction that passes everything on."""

    tx: Transaction
    count: CountingStore

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.tx, name)

        def counted(*args: Any, **options: Any) -> Any:
            found = method(*args, **options)
            many = hasattr(found, "__iter__") and not isinstance(found, (str, bytes))
            found = tuple(found) if many else found
            self.count.rows += len(found) if many else found is not None
            return found

        return counted
