"""A database as an earlier program left it: the same rows, without what came later."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Final

from orthros_kdc.store.migrations import APPLICATION_ID, MIGRATIONS

__all__ = ["make_earlier_version", "version_of"]


def _words(key: str) -> str:
    return f"coalesce((SELECT group_concat(value, ' ') FROM json_each(terms, '$.{key}')), '')"


# What versions 1 to 7 had in columns, from the one value that came after.
_RULE_COLUMNS: Final = {
    **{name: _words(name) for name in ("scopes", "subjects", "behalf", "deny_via", "require_via", "methods", "peers")},
    "discharges": _words("discharges"),
    "sources": _words("from"),
    **{name: f"coalesce(json_extract(terms, '$.{name}'), 0)" for name in ("jwt", "delegable", "callbacks")},
    "max_ttl_s": "json_extract(terms, '$.max_ttl_s')",
    "path": "json_extract(terms, '$.path')",
    "max_depth": "coalesce(json_extract(terms, '$.max_depth'), 8)",
}


def make_earlier_version(path: Path, version: int) -> None:
    """Rewrites the closed database at `path` in the schema of `version`."""
    old = path.with_name(f"{path.name}.earlier")
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for step in chain.from_iterable(MIGRATIONS[:version]):
            if isinstance(step, str):
                connection.execute(step)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("ATTACH ? AS now", (str(path),))
        for (table,) in connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall():
            names = [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
            kept = [_RULE_COLUMNS.get(name, name) if table == "rules" else name for name in names]
            connection.execute(f"DELETE FROM main.{table}")
            connection.execute(
                f"INSERT INTO main.{table} ({', '.join(names)}) SELECT {', '.join(kept)} FROM now.{table}"
            )
    old.chmod(0o600)
    os.replace(old, path)


def version_of(path: Path) -> int:
    """The number of the last migration that this database has seen, by its file's own header."""
    return int.from_bytes(path.read_bytes()[60:64], "big")  # sqlite.org/fileformat2.html section 1.3
