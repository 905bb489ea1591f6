"""A row that says what no row can say is an error with a code, whatever column it stands in, and never a traceback."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from orthros_kdc.policy.model import RealmLimits, Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.store.base import (
    KEY_ACTIVE,
    AdminLine,
    AuditAnchor,
    JwtKeyRecord,
    KeyRecord,
    OAuthSecretRecord,
    RealmKeyRecord,
    RealmRecord,
    Transaction,
)
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import OrthrosError

DAMAGE: Final = {
    "TEXT": ["''", "'\n\x7f'", "CAST(x'ff' AS TEXT)", "'x y z'", "'group:'", "'{}'", "'[1]'"],
    "INTEGER": ["-1", "9223372036854775807", "0"],
    "BLOB": ["x''", "x'00'", "zeroblob(300)"],
}


class UndoneError(Exception):
    """Ends a transaction of which nothing is to stay."""


def fill(tx: Transaction) -> None:
    limits = RealmLimits()
    tx.create_realm(RealmRecord(realm="corp.test", issuer="https://x", limits=limits, created=1, key_check=b"k"))
    tx.add_realm_key(RealmKeyRecord(role="tgt", name="kdc/tgt", number=1, created=1, sealed=b"s"))
    uids = [tx.add_principal(name=name, created=1).uid for name in ("billing", "orders")]
    kids: dict[str, Any] = {name: name.encode() for name in ("kid_as", "kid_ticket", "kid_sync")}
    tx.add_key(KeyRecord(uid=uids[0], kvno=1, state=KEY_ACTIVE, created=1, sealed=b"s", **kids))
    tx.add_jwt_key(JwtKeyRecord(uid=uids[1], kid="k", alg="HS256", created=1, sealed=b"s"))
    tx.add_oauth_secret(OAuthSecretRecord(uid=uids[0], secret_id="i", created=1, sealed=b"s"))
    tx.add_group("edge")
    tx.add_member("edge", "billing")
    chain: dict[str, Any] = {"deny_via": ["group:edge"]}
    caveats: dict[str, Any] = {"methods": ["GET"], "path": "/x", "peers": ["10.0.0.0/8"], "discharges": ["orders=x"]}
    rule = Rule(rule_id=0, client=Selector("billing"), target=Selector("orders"), scopes=("read",), subjects=("u/*",),
                behalf=("v",), sources=("10.0.0.0/8",), **chain, **caveats)  # fmt: skip
    tx.add_rules([rule])
    tx.set_anchor(AuditAnchor(writer="kdc-1", seq=1, head="h"))
    tx.add_admin_lines([AdminLine(seq=1, hash="h", at=1, line=b"{}")])


def read_everything(tx: Transaction) -> None:
    people = tx.principals()
    looks: tuple[Any, ...] = (
        tx.realm, tx.realm_keys, tx.policy, tx.anchors, tx.admin_head, tx.admin_lines,
        *(lambda uid=one.uid: (tx.keys_of(uid), tx.jwt_keys_of(uid), tx.oauth_secrets_of(uid)) for one in people),
        lambda: tx.rules_naming(Selector("billing")), lambda: tx.groups_with("billing"),
    )  # fmt: skip
    for look in looks:
        look()


def columns(path: Path) -> Iterator[tuple[str, str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for (table,) in connection.execute(tables).fetchall():
            for _, column, kind, *_ in connection.execute(f"PRAGMA table_info({table})").fetchall():
                yield table, column, kind


async def test_a_damaged_column_is_a_typed_error(tmp_path: Path) -> None:
    store = SqliteStore.create(tmp_path / "kdc.db")
    try:
        await store.change(fill)
        await store.read(read_everything)
        found = []
        for table, column, kind in columns(tmp_path / "kdc.db"):
            for value in DAMAGE[kind]:

                def work(tx: Any, statement: str = f"UPDATE {table} SET {column} = {value}") -> None:
                    try:
                        tx._connection.execute(statement)
                    except sqlite3.Error:  # a constraint or a trigger does not let it be
                        raise UndoneError from None
                    read_everything(tx)
                    raise UndoneError

                try:
                    await store.change(work)
                except (UndoneError, OrthrosError):
                    continue
                except Exception as error:  # noqa: BLE001  # whatever it is, it would be a traceback
                    found.append(f"{table}.{column} = {value}: {error!r}")
        assert found == []
    finally:
        await store.aclose()


async def test_text_that_is_none_says_that_the_database_is_damaged(tmp_path: Path) -> None:
    store = SqliteStore.create(tmp_path / "kdc.db")
    try:
        await store.change(fill)
        with closing(sqlite3.connect(tmp_path / "kdc.db")) as connection, connection:
            connection.execute("UPDATE principals SET sources = CAST(x'ff' AS TEXT)")
        with pytest.raises(OrthrosError, match="database-invalid"):
            await store.read(lambda tx: tx.principals())
        with closing(sqlite3.connect(tmp_path / "kdc.db")) as connection, connection:
            connection.execute("UPDATE keys SET state = 'lively'")
        with pytest.raises(OrthrosError, match="database-invalid"):
            await store.read(lambda tx: tx.keys_of(16))
    finally:
        await store.aclose()


async def test_a_rule_whose_terms_are_no_text_is_unusable_and_the_others_are_not(tmp_path: Path) -> None:
    store = SqliteStore.create(tmp_path / "kdc.db")
    try:
        await store.change(fill)
        pair = Selector("orders"), Selector("billing")
        await store.change(lambda tx: tx.add_rules([Rule(rule_id=0, client=pair[0], target=pair[1], scopes=("a",))]))
        with closing(sqlite3.connect(tmp_path / "kdc.db")) as connection, connection:
            connection.execute("UPDATE rules SET terms = CAST(x'ff' AS TEXT) WHERE rule_id = 1")
        rules = (await store.read(lambda tx: tx.policy())).rules
        assert [(rule.rule_id, rule.unusable) for rule in rules] == [
            (1, "its terms are not what a rule is stored as"),
            (2, None),
        ]
        await store.change(lambda tx: tx.delete_rules([1]))
    finally:
        await store.aclose()


async def test_text_that_is_none_is_named_during_a_change_as_well(tmp_path: Path) -> None:
    store = SqliteStore.create(tmp_path / "kdc.db")
    try:
        await store.change(fill)
        with closing(sqlite3.connect(tmp_path / "kdc.db")) as connection, connection:
            connection.execute("UPDATE principals SET sources = CAST(x'ff' AS TEXT)")
        with pytest.raises(OrthrosError, match="database-invalid"):
            await store.change(lambda tx: tx.principals())
    finally:
        await store.aclose()
