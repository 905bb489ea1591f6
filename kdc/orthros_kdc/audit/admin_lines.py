"""Reads the record of administration within a transaction: its end, what it goes on from, its entries both ways, and
which changes of the realm they name.

Each entry says which numbers of the change log its transaction had taken by then. A number that no entry names was
taken by somebody who wrote into the database past `orthros-admin`. Pure but for the transaction; writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from orthros_kdc.audit.chain import Head, genesis
from orthros_kdc.store.base import AdminLine, Transaction

__all__ = [
    "ADMIN_WRITER",
    "ARCHIVED_CHANGE",
    "RESTARTED_CHANGE",
    "all_unnamed",
    "base_of",
    "changes_of",
    "head_of",
    "lines_backwards",
    "lines_of",
    "unnamed",
]

ADMIN_WRITER: Final = "admin"
ARCHIVED_CHANGE: Final = "audit.archived"
RESTARTED_CHANGE: Final = "audit.restarted"
_PAGE: Final = 1000
# Quotes within a text are escaped in a line, so no text can look like either field.
_CHANGES: Final = re.compile(rb'"(?:changes":\[|accepts":")([0-9]+)[,-]([0-9]+)[\]"]')


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
    """Every entry, newest first; read as far back as the caller looks."""
    newest = tx.admin_head()
    last = 0 if newest is None else newest.seq
    while page := tx.admin_lines(after=max(last - _PAGE, 0), most=min(_PAGE, last)):
        yield from reversed(page)
        last = page[0].seq - 1


def changes_of(line: bytes) -> range:
    """The numbers of the change log that an entry names: those that its transaction took, or, of `audit restart admin`,
    those that an operator has accepted."""
    found = _CHANGES.search(line)
    return range(0) if found is None else range(int(found[1]), int(found[2]) + 1)


def unnamed(due: range, lines: Iterable[bytes]) -> tuple[range, ...]:
    """The numbers of `due` that none of `lines` names. These are the newest entries, newest first: what a later one
    names never ends before what an earlier one names. They are read as far back as `due` begins."""
    gaps: list[range] = []
    end = due.stop
    for line in lines:
        if end <= due.start:
            break
        named = changes_of(line)
        if not named:
            continue
        if named.stop < end:
            gaps.append(range(max(named.stop, due.start), end))
        end = min(end, named.start)
    if end > due.start:
        gaps.append(range(due.start, end))
    return tuple(reversed(gaps))


def all_unnamed(newest: int, lines: Sequence[bytes], *, first: int = 1) -> tuple[range, ...]:
    """The changes up to `newest` that none of `lines`, newest first, names, from `first` on and from the first one that
    any of them names: what is older was recorded by a program that did not say so."""
    starts = [named.start for named in map(changes_of, lines) if named]
    return unnamed(range(max(first, min(starts)), newest + 1), lines) if starts else ()
