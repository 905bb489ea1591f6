"""The SQLite schema as numbered steps; each runs in one transaction and is never edited once released.

Knows tables, not what they mean. The number of the last step that ran is the database's `user_version`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from orthros_kdc.store.rule_rows import RuleRow, one_form, terms_text

__all__ = ["APPLICATION_ID", "MIGRATIONS", "migrate", "newest"]

Step = str | Callable[[sqlite3.Connection], None]
"""A statement, or what one statement cannot do."""

APPLICATION_ID: Final = 0x4F727468  # "Orth"

# 1: the first schema. Key ids are looked up at every exchange, so each role's have an index of their own;
# rules name principals and groups by number, so that a re-created name inherits nothing.
_FIRST: Final = (
    """CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        seq INTEGER NOT NULL
    ) STRICT""",
    "INSERT INTO meta (id, seq) VALUES (1, 0)",
    """CREATE TABLE realm (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        realm TEXT NOT NULL,
        issuer TEXT NOT NULL,
        max_ticket_s INTEGER NOT NULL,
        max_tgt_s INTEGER NOT NULL,
        max_jwt_s INTEGER NOT NULL,
        created INTEGER NOT NULL,
        key_check BLOB NOT NULL
    ) STRICT""",
    """CREATE TABLE realm_keys (
        role TEXT NOT NULL,
        name TEXT NOT NULL,
        number INTEGER NOT NULL,
        created INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY (role, name, number)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE principals (
        uid INTEGER PRIMARY KEY AUTOINCREMENT CHECK (uid >= 16),
        name TEXT NOT NULL UNIQUE,
        created INTEGER NOT NULL,
        disabled INTEGER NOT NULL DEFAULT 0,
        max_ticket_s INTEGER,
        max_jwt_s INTEGER,
        jwt_alg TEXT,
        jwt_audience TEXT
    ) STRICT""",
    "INSERT INTO sqlite_sequence (name, seq) VALUES ('principals', 15)",
    """CREATE TABLE keys (
        uid INTEGER NOT NULL REFERENCES principals ON DELETE CASCADE,
        kvno INTEGER NOT NULL,
        kid_as BLOB NOT NULL UNIQUE,
        kid_ticket BLOB NOT NULL UNIQUE,
        kid_sync BLOB NOT NULL UNIQUE,
        state TEXT NOT NULL,
        created INTEGER NOT NULL,
        retired INTEGER,
        sealed BLOB NOT NULL,
        sealed_as BLOB NOT NULL,
        PRIMARY KEY (uid, kvno)
    ) STRICT""",
    "CREATE INDEX keys_retired ON keys (retired) WHERE retired IS NOT NULL",
    """CREATE TABLE jwt_keys (
        id INTEGER PRIMARY KEY,
        uid INTEGER NOT NULL REFERENCES principals ON DELETE CASCADE,
        kid TEXT NOT NULL,
        alg TEXT NOT NULL,
        created INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        UNIQUE (uid, kid)
    ) STRICT""",
    """CREATE TABLE groups (
        group_id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE
    ) STRICT""",
    """CREATE TABLE members (
        group_id INTEGER NOT NULL REFERENCES groups ON DELETE CASCADE,
        uid INTEGER NOT NULL REFERENCES principals ON DELETE CASCADE,
        PRIMARY KEY (group_id, uid)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX members_uid ON members (uid)",
    """CREATE TABLE rules (
        rule_id INTEGER PRIMARY KEY AUTOINCREMENT,
        client_uid INTEGER REFERENCES principals ON DELETE CASCADE,
        client_group INTEGER REFERENCES groups ON DELETE CASCADE,
        target_uid INTEGER REFERENCES principals ON DELETE CASCADE,
        target_group INTEGER REFERENCES groups ON DELETE CASCADE,
        scopes TEXT NOT NULL,
        max_ttl_s INTEGER,
        jwt INTEGER NOT NULL,
        delegable INTEGER NOT NULL,
        CHECK ((client_uid IS NULL) <> (client_group IS NULL)),
        CHECK ((target_uid IS NULL) <> (target_group IS NULL))
    ) STRICT""",
    # The first serves the look-up of a pair; the others only the cascades.
    "CREATE INDEX rules_pair ON rules (client_uid, client_group, target_uid, target_group)",
    "CREATE INDEX rules_client_group ON rules (client_group) WHERE client_group IS NOT NULL",
    "CREATE INDEX rules_target_uid ON rules (target_uid) WHERE target_uid IS NOT NULL",
    "CREATE INDEX rules_target_group ON rules (target_group) WHERE target_group IS NOT NULL",
    """CREATE TABLE anchors (
        writer TEXT PRIMARY KEY,
        seq INTEGER NOT NULL,
        head TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
)

# 2: OAuth over HTTP. Lists are words separated by blanks. What is remembered refers to no principal by key: it
# must outlive one that is deleted.
_SECOND: Final = (
    "ALTER TABLE principals ADD COLUMN sources TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE principals ADD COLUMN oauth INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE principals ADD COLUMN token_claims TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE rules ADD COLUMN subjects TEXT NOT NULL DEFAULT ''",
    """CREATE TABLE oauth_secrets (
        id INTEGER PRIMARY KEY,
        uid INTEGER NOT NULL REFERENCES principals ON DELETE CASCADE,
        secret_id TEXT NOT NULL,
        created INTEGER NOT NULL,
        sealed BLOB NOT NULL,
        UNIQUE (uid, secret_id)
    ) STRICT""",
    """CREATE TABLE remembered (
        kind TEXT NOT NULL,
        digest BLOB NOT NULL,
        uid INTEGER NOT NULL,
        until INTEGER NOT NULL,
        PRIMARY KEY (kind, digest)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX remembered_until ON remembered (until)",
    "CREATE INDEX remembered_uid ON remembered (kind, uid, until)",
    "CREATE INDEX jwt_keys_kid ON jwt_keys (kid)",
    "CREATE INDEX principals_audience ON principals (jwt_audience) WHERE jwt_audience IS NOT NULL",
)

# 3: conditions and caveats of rules. Those on a path name people as text: a rule that forbids a path must not lose
# that when a principal is deleted.
_THIRD: Final = (
    "ALTER TABLE rules ADD COLUMN behalf TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE rules ADD COLUMN sources TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE rules ADD COLUMN deny_via TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE rules ADD COLUMN require_via TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE rules ADD COLUMN max_depth INTEGER NOT NULL DEFAULT 8",
    "ALTER TABLE rules ADD COLUMN callbacks INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE rules ADD COLUMN methods TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE rules ADD COLUMN path TEXT",
    "ALTER TABLE rules ADD COLUMN peers TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE rules ADD COLUMN discharges TEXT NOT NULL DEFAULT ''",
)

# 4: the target of an OAuth client's requests that name none, by name: when that target is deleted, these requests are
# refused, and do not silently mean something else.
_FOURTH: Final = ("ALTER TABLE principals ADD COLUMN default_audience TEXT",)

# 5: the record of administration, which was a file before; the anchor of that file is where the chain goes on. Rows are
# only ever added.
_FIFTH: Final = (
    """CREATE TABLE admin_log (
        seq INTEGER PRIMARY KEY,
        hash TEXT NOT NULL,
        at INTEGER NOT NULL,
        line BLOB NOT NULL
    ) STRICT""",
    """CREATE TRIGGER admin_log_kept BEFORE DELETE ON admin_log
        BEGIN SELECT RAISE(ABORT, 'the record of administration is only added to'); END""",
    """CREATE TRIGGER admin_log_unchanged BEFORE UPDATE ON admin_log
        BEGIN SELECT RAISE(ABORT, 'the record of administration is only added to'); END""",
)

# 6: the change log. `meta` is the head row: `change_seq` counts changes without a gap, `seq` follows the clock and is
# what clients are told. What an earlier version changed is in no log; a KDC that begins here loads all of it anyway.
_SIXTH: Final = (
    "ALTER TABLE meta ADD COLUMN change_seq INTEGER NOT NULL DEFAULT 0",
    """CREATE TABLE changes (
        seq INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        key TEXT NOT NULL
    ) STRICT""",
)

# 7: the Unix second before which no login counts any more; a restore raises it.
_SEVENTH: Final = ("ALTER TABLE realm ADD COLUMN not_before INTEGER NOT NULL DEFAULT 0",)

# 8: what a rule says is one value, where each condition had a column.
_CONDITIONS: Final = """
    SELECT rule_id, scopes, max_ttl_s, jwt, delegable, subjects, behalf, sources AS "from", deny_via, require_via,
           max_depth, callbacks, methods, path, peers, discharges
    FROM rules
"""
_SWITCHES: Final = ("jwt", "delegable", "callbacks")
_LISTS: Final = (
    *("scopes", "subjects", "behalf", "from", "deny_via", "require_via"),
    *("methods", "peers", "discharges"),
)


def _gather_terms(connection: sqlite3.Connection) -> None:
    """Raises Misconfigured `database-invalid` for a rule that cannot be read."""
    rows = connection.execute(_CONDITIONS)
    columns = [column[0] for column in rows.description[1:]]
    known: dict[tuple[Any, ...], str] = {}
    written: list[tuple[str, int]] = []
    for rule_id, *values in rows.fetchall():
        said = tuple(values)
        if said not in known:
            found = dict(zip(columns, values, strict=True))
            found |= {name: bool(found[name]) for name in _SWITCHES} | {name: found[name].split() for name in _LISTS}
            stated = {name: value for name, value in found.items() if value is not None}
            known[said] = one_form(RuleRow(rule_id, "any", "any", terms_text(stated)))
        written.append((known[said], rule_id))
    connection.executemany("UPDATE rules SET terms = ? WHERE rule_id = ?", written)


_EIGHTH: Final[tuple[Step, ...]] = (
    "ALTER TABLE rules ADD COLUMN terms TEXT NOT NULL DEFAULT ''",
    _gather_terms,
    *(f"ALTER TABLE rules DROP COLUMN {name}" for name in ("max_ttl_s", "max_depth", "path", *_SWITCHES)),
    *(f"ALTER TABLE rules DROP COLUMN {name}" for name in (*_LISTS[:3], "sources", *_LISTS[4:])),
)

MIGRATIONS: tuple[tuple[Step, ...], ...] = (
    *(_FIRST, _SECOND, _THIRD, _FOURTH, _FIFTH, _SIXTH, _SEVENTH),
    _EIGHTH,
)


def newest() -> int:
    """The version that `migrate` leads to."""
    return len(MIGRATIONS)


def migrate(connection: sqlite3.Connection) -> None:
    """Brings the database up to the newest version. Safe when several processes do it at once.

    The connection is in autocommit mode; each step happens whole or not at all.
    """
    while True:
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read inside the transaction: another process may have been faster.
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version >= newest():
                connection.execute("ROLLBACK")
                return
            for step in MIGRATIONS[version]:
                if isinstance(step, str):
                    connection.execute(step)
                else:
                    step(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
