"""Statements over one SQLite connection inside one transaction: what may change, the log of it, what a failure means.

Knows no table but `meta`, which is the head row, and `changes`, which is the log.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from attrs import define, field

from orthros_kdc.store.change_log import CHANGES_KEPT, ChangeEntry, ChangeHead
from orthros_protocol import LocalMisuse, Misconfigured

__all__ = ["Statements", "missing"]


def missing(what: object) -> Misconfigured:
    """The error of a name or number that stands for nothing."""
    return Misconfigured("not-found", str(what))


@define
class Statements:
    """Statements inside one open transaction. `feed_seq_after` is the feed seq that its changes take, None where
    nothing may be changed."""

    _connection: sqlite3.Connection
    _feed_seq_after: int | None
    _logged: set[tuple[str, str]] = field(factory=set)

    def end(self) -> None:
        """Forbids further changes: the connection belongs to another transaction from now on."""
        self._feed_seq_after = None

    def head(self) -> ChangeHead:
        ((feed_seq, seq),) = self._rows("SELECT seq, change_seq FROM meta")
        return ChangeHead(seq=seq, feed_seq=feed_seq)

    def changes(self, *, after: int) -> tuple[ChangeEntry, ...]:
        rows = self._rows("SELECT seq, kind, key FROM changes WHERE seq > ? ORDER BY seq", after)
        return tuple(ChangeEntry(seq=seq, kind=kind, key=key) for seq, kind, key in rows)

    def _log(self, kind: str, *keys: str) -> None:
        """One number and one entry for each of `keys` that this transaction has not logged already."""
        fresh = [key for key in dict.fromkeys(keys) if (kind, key) not in self._logged]
        if not fresh:
            return
        self._logged.update((kind, key) for key in fresh)
        last = self.head().seq
        self._connection.executemany(
            "INSERT INTO changes (seq, kind, key) VALUES (?, ?, ?)",
            [(seq, kind, key) for seq, key in enumerate(fresh, last + 1)],
        )
        seq = last + len(fresh)
        self._connection.execute("UPDATE meta SET seq = ?, change_seq = ?", (self._feed_seq_after, seq))
        self._connection.execute("DELETE FROM changes WHERE seq <= ?", (seq - CHANGES_KEPT,))

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    def _texts(self, statement: str, *values: object) -> list[str]:
        """The first column of each row, as text."""
        return [str(row[0]) for row in self._rows(statement, *values)]

    def _row(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        rows = self._rows(statement, *values)
        return rows[0] if rows else None

    def _run(self, statement: str, *values: object, taken: str = "the entry", code: str = "conflict") -> int:
        """Runs one changing statement and returns the number of rows that it touched.

        Whoever changes the realm by it calls `_log` as well.
        """
        if self._feed_seq_after is None:
            raise LocalMisuse("wrong-state", "this transaction only reads, or has ended")
        try:
            touched = self._connection.execute(statement, values).rowcount
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorname == "SQLITE_CONSTRAINT_FOREIGNKEY":
                raise missing(f"what {taken} refers to") from None
            raise Misconfigured(code, f"{taken} is taken") from None
        return touched
