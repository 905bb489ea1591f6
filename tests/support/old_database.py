"""A database as an earlier program left it: the same rows, without what came later."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from itertools import chain
from pathlib import Path

from orthros_kdc.store.migrations import APPLICATION_ID, MIGRATIONS

__all__ = ["make_earlier_version", "version_of"]


def make_earlier_version(path: Path, version: int) -> None:
    """Rewrites the closed database at `path` in the schema of `version`."""
    old = path.with_name(f"{path.name}.earlier")
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in chain.from_iterable(MIGRATIONS[:version]):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("ATTACH ? AS now", (str(path),))
        for (table,) in connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall():
            columns = ", ".join(row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,)))
            connection.execute(f"DELETE FROM main.{table}")
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM now.{table}")
    old.chmod(0o600)
    os.replace(old, path)


def version_of(path: Path) -> int:
    """The number of the last migration that this database has seen, by its file's own header."""
    return int.from_bytes(path.read_bytes()[60:64], "big")  # sqlite.org/fileformat2.html section 1.3
