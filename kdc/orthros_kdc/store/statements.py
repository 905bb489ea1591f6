"""Statements over one SQLite connection inside one transaction: what may change, and what a failure means.

Knows no table but `meta`.
"""

from __future__ import annotations

import sqlite3
from typing import Any

from attrs import define

from orthros_protocol import LocalMisuse, Misconfigured

__all__ = ["Statements", "missing"]


def missing(what: object) -> Misconfigured:
    """The error of a name or number that stands for nothing."""
    return Misconfigured("not-found", str(what))


@define
class Statements:
    """Statements inside one open transaction; `seq_after` is None where nothing may be changed."""

    _connection: sqlite3.Connection
    _seq_after: int | None
    _counted: bool = False

    def end(self) -> None:
        """Forbids further changes: the connection belongs to another transaction from now on."""
        self._seq_after = None

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()

    def _row(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        rows = self._rows(statement, *values)
        return rows[0] if rows else None

    def _run(self, statement: str, *values: object, taken: str = "the entry", code: str = "conflict",
             counts: bool = True) -> int:  # fmt: skip
        """Runs one changing statement and returns the number of rows that it touched.

        One that does not count leaves the sequence as it is: nobody's view of the realm is out of date after it.
        """
        if self._seq_after is None:
            raise LocalMisuse("wrong-state", "this transaction only reads, or has ended")
        try:
            touched = self._connection.execute(statement, values).rowcount
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorname == "SQLITE_CONSTRAINT_FOREIGNKEY":
                raise missing(f"what {taken} refers to") from None
            raise Misconfigured(code, f"{taken} is taken") from None
        if touched and counts and not self._counted:
            self._connection.execute("UPDATE meta SET seq = ?", (self._seq_after,))
            self._counted = True
        return touched
