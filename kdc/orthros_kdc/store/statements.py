"""Statements over one SQLite connection inside one transaction: what may change, the log of it, what a failure means.

Knows no table but `meta`, which is the head row, and `changes`, which is the log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import define, field

from orthros_kdc.store.change_log import CHANGES_KEPT, ChangeEntry, ChangeHead
from orthros_kdc.store.lock_limit import Deadline
from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code

__all__ = ["Statements", "missing"]


def missing(what: object) -> Misconfigured:
    """The error of a name or number that stands for nothing."""
    return Misconfigured("not-found", str(what))


@define
class Statements:
    """Statements inside one open transaction. `feed_seq_after` is the feed seq that its changes take, None where
    nothing may be changed. `deadline` is when the transaction has to be over.

    The change log is written once, at the end: a transaction of 100,000 changes would else spend most of its time,
    under the database's lock, on the head row.
    """

    _connection: sqlite3.Connection
    _feed_seq_after: int | None
    _deadline: Deadline | None = None
    _logged: dict[tuple[str, str], None] = field(factory=dict, init=False)  # in the order of their numbers

    def finish(self) -> None:
        """Writes what was logged: the last step before the commit. Forbids further changes.

        Raises Unavailable `change-too-large` past the deadline.
        """
        entries = list(self._pending())
        if entries:
            last = entries[-1].seq
            self._run_many(
                "INSERT INTO changes (seq, kind, key) VALUES (?, ?, ?)",
                [(entry.seq, entry.kind, entry.key) for entry in entries[-CHANGES_KEPT:]],
            )
            self._run("UPDATE meta SET seq = ?, change_seq = ?", self._feed_seq_after, last)
            self._run("DELETE FROM changes WHERE seq <= ?", last - CHANGES_KEPT)
        self._require_time()
        self.end()

    def end(self) -> None:
        """Forbids further changes: the connection belongs to another transaction from now on."""
        self._feed_seq_after = None

    def first_change(self) -> int:
        return self._stored_head().seq + 1

    def head(self) -> ChangeHead:
        stored = self._stored_head()
        if self._feed_seq_after is None or not self._logged:
            return stored
        return ChangeHead(seq=stored.seq + len(self._logged), feed_seq=self._feed_seq_after)

    def _stored_head(self) -> ChangeHead:
        """The head before this transaction."""
        ((feed_seq, seq),) = self._rows("SELECT seq, change_seq FROM meta")
        return ChangeHead(seq=seq, feed_seq=feed_seq)

    def changes(self, *, after: int) -> tuple[ChangeEntry, ...]:
        rows = self._rows("SELECT seq, kind, key FROM changes WHERE seq > ? ORDER BY seq", after)
        stored = [ChangeEntry(seq=seq, kind=kind, key=key) for seq, kind, key in rows]
        return (*stored, *(entry for entry in self._pending() if entry.seq > after))

    def _pending(self) -> Iterator[ChangeEntry]:
        """What this transaction has logged and not yet written."""
        if self._feed_seq_after is not None and self._logged:
            for seq, (kind, key) in enumerate(self._logged, self.first_change()):
                yield ChangeEntry(seq=seq, kind=kind, key=key)

    def _log(self, kind: str, *keys: str) -> None:
        """One number and one entry for each of `keys` that this transaction has not logged already."""
        self._logged.update(dict.fromkeys((kind, key) for key in keys))

    def _require_time(self) -> None:
        if self._deadline is not None:
            self._deadline.require()

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        self._require_time()
        return self._connection.execute(statement, values).fetchall()

    def _texts(self, statement: str, *values: object) -> list[str]:
        """The first column of each row, as text."""
        return [str(row[0]) for row in self._rows(statement, *values)]

    def _row(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        rows = self._rows(statement, *values)
        return rows[0] if rows else None

    def _run(self, statement: str, *values: object, taken: str = "the entry", code: Code | Reason = "conflict") -> int:
        """Runs one changing statement and returns the number of rows that it touched.

        Whoever changes the realm by it calls `_log` as well.
        """
        return self._run_many(statement, [values], taken=taken, code=code)

    def _run_many(
        self,
        statement: str,
        values: Sequence[Sequence[object]],
        *,
        taken: str = "an entry",
        code: Code | Reason = "conflict",
    ) -> int:
        """`_run` once for each of `values`: the number of rows that all of them touched."""
        if self._feed_seq_after is None:
            raise LocalMisuse("wrong-state", "this transaction only reads, or has ended")
        self._require_time()
        try:
            return self._connection.executemany(statement, values).rowcount
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorname == "SQLITE_CONSTRAINT_FOREIGNKEY":
                raise missing(f"what {taken} refers to") from None
            raise Misconfigured(code, f"{taken} is taken") from None
