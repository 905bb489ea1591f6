"""Reads the record of administration within a transaction: its end, what it goes on from, its entries both ways.

Pure but for the transaction; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from orthros_kdc.audit.chain import Head, genesis
from orthros_kdc.store.base import AdminLine, Transaction

__all__ = ["ADMIN_WRITER", "ARCHIVED_CHANGE", "RESTARTED_CHANGE", "base_of", "head_of", "lines_backwards", "lines_of"]

ADMIN_WRITER: Final = "admin"
ARCHIVED_CHANGE: Final = "audit.archived"
RESTARTED_CHANGE: Final = "audit.restarted"
_PAGE: Final = 1000


def base_of(tx: Transaction) -> Head:
    """What the first row goes on from: the anchored end of the file that the record was before, or nothing."""
    anchor = tx.anchor(ADMIN_WRITER)
    return genesis(ADMIN_WRITER) if anchor is None else Head(anchor.seq, anchor.head)


def head_of(tx: Transaction) -> Head:
    """The end of the chain."""
    newest = tx.admin_head()
    return base_of(tx) if newest is None else Head(newest.seq, newest.hash)


def lines_of(tx: Transaction, after: int = 0) -> Iterator[AdminLine]:
    """Every entry behind number `after`, oldest first."""
    while page := tx.admin_lines(after=after, most=_PAGE):
        yield from page
        after = page[-1].seq


def lines_backwards(tx: Transaction) -> Iterator[AdminLine]:
    """Every entry, newest first; read as far back as somebody looks."""
    newest = tx.admin_head()
    last = 0 if newest is None else newest.seq
    while page := tx.admin_lines(after=max(last - _PAGE, 0), most=min(_PAGE, last)):
        yield from reversed(page)
        last = page[0].seq - 1
