"""The Transaction over one SQLite connection: the rows of realm, principals, keys, policy and audit.

Knows no threads, no files and no transactions' ends; `sqlite.py` begins and commits them.
"""

from __future__ import annotations

from typing import Any

from attrs import define

from orthros_kdc.policy.model import RealmLimits, Rule, Selector
from orthros_kdc.store.base import (
    KEY_RETIRED,
    AuditAnchor,
    KeyRecord,
    PolicyRows,
    PrincipalRecord,
    RealmKeyRecord,
    RealmRecord,
    check_principal_name,
)
from orthros_kdc.store.sqlite_rules import INSERT_RULE, RULES, read_rule, rule_values
from orthros_kdc.store.sqlite_tokens import TokenRows
from orthros_kdc.store.statements import missing
from orthros_protocol import LocalMisuse, Misconfigured, check_name

__all__ = ["SqliteRows"]

_PRINCIPALS = """
    SELECT uid, name, created, disabled, max_ticket_s, max_jwt_s, jwt_alg, jwt_audience, sources, oauth, token_claims
    FROM principals
"""
_KEYS = "SELECT uid, kvno, kid_as, kid_ticket, kid_sync, state, created, retired, sealed, sealed_as FROM keys"


def _principal(row: tuple[Any, ...]) -> PrincipalRecord:
    uid, name, created, disabled, max_ticket_s, max_jwt_s, jwt_alg, jwt_audience, sources, oauth, token_claims = row
    return PrincipalRecord(uid=uid, name=name, created=created, disabled=bool(disabled), max_ticket_s=max_ticket_s,
                           max_jwt_s=max_jwt_s, jwt_alg=jwt_alg, jwt_audience=jwt_audience,
                           sources=tuple(sources.split()), oauth=bool(oauth),
                           token_claims=tuple(token_claims.split()))  # fmt: skip


def _key(row: tuple[Any, ...]) -> KeyRecord:
    uid, kvno, kid_as, kid_ticket, kid_sync, state, created, retired, sealed, sealed_as = row
    return KeyRecord(uid=uid, kvno=kvno, kid_as=kid_as, kid_ticket=kid_ticket, kid_sync=kid_sync, state=state,
                     created=created, retired=retired, sealed=sealed, sealed_as=sealed_as)  # fmt: skip


@define
class SqliteRows(TokenRows):
    """The rows inside one open transaction."""

    # The realm

    def realm(self) -> RealmRecord:
        row = self._row("SELECT realm, issuer, max_ticket_s, max_tgt_s, max_jwt_s, created, key_check FROM realm")
        if row is None:
            raise Misconfigured("database-invalid", "it holds no realm yet")
        realm, issuer, max_ticket_s, max_tgt_s, max_jwt_s, created, key_check = row
        limits = RealmLimits(max_ticket_s=max_ticket_s, max_tgt_s=max_tgt_s, max_jwt_s=max_jwt_s)
        return RealmRecord(realm=realm, issuer=issuer, limits=limits, created=created, key_check=key_check)

    def create_realm(self, record: RealmRecord) -> None:
        limits = record.limits
        self._run(
            "INSERT INTO realm (id, realm, issuer, max_ticket_s, max_tgt_s, max_jwt_s, created, key_check)"
            " VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            record.realm, record.issuer, limits.max_ticket_s, limits.max_tgt_s, limits.max_jwt_s, record.created,
            record.key_check, taken="the place of the realm", code="already-exists",
        )  # fmt: skip

    def set_realm(self, *, issuer: str, limits: RealmLimits) -> None:
        self.realm()
        self._run(
            "UPDATE realm SET issuer = ?, max_ticket_s = ?, max_tgt_s = ?, max_jwt_s = ?",
            issuer, limits.max_ticket_s, limits.max_tgt_s, limits.max_jwt_s,
        )  # fmt: skip

    def set_key_check(self, key_check: bytes) -> None:
        self.realm()
        self._run("UPDATE realm SET key_check = ?", key_check)

    def count_secrets_without(self, head: bytes) -> int:
        ((count,),) = self._rows(
            "SELECT count(*) FROM (SELECT sealed FROM realm_keys UNION ALL SELECT sealed FROM jwt_keys"
            " UNION ALL SELECT sealed FROM oauth_secrets"
            " UNION ALL SELECT sealed FROM keys UNION ALL SELECT sealed_as FROM keys)"
            " WHERE sealed <> x'' AND substr(sealed, 1, ?) <> ?",
            len(head), head,
        )  # fmt: skip
        return int(count)

    # Principals

    def principal_by_name(self, name: str) -> PrincipalRecord | None:
        row = self._row(f"{_PRINCIPALS} WHERE name = ?", name)
        return None if row is None else _principal(row)

    def principal_by_uid(self, uid: int) -> PrincipalRecord | None:
        row = self._row(f"{_PRINCIPALS} WHERE uid = ?", uid)
        return None if row is None else _principal(row)

    def principal_by_jwt_kid(self, kid: str) -> PrincipalRecord | None:
        uids = self._rows("SELECT uid FROM jwt_keys WHERE kid = ? LIMIT 2", kid)
        return self.principal_by_uid(uids[0][0]) if len(uids) == 1 else None

    def principal_by_jwt_audience(self, audience: str) -> PrincipalRecord | None:
        rows = self._rows(f"{_PRINCIPALS} WHERE jwt_audience = ? LIMIT 2", audience)
        return _principal(rows[0]) if len(rows) == 1 else None

    def principals(self, *, after: str = "", most: int = 1000) -> tuple[PrincipalRecord, ...]:
        statement = f"{_PRINCIPALS} WHERE name > ? ORDER BY name LIMIT ?"
        return tuple(map(_principal, self._rows(statement, after, most)))

    def add_principal(self, *, name: str, created: int) -> PrincipalRecord:
        self._run("INSERT INTO principals (name, created) VALUES (?, ?)", check_principal_name(name), created,
                  taken=f"principal {name}", code="already-exists")  # fmt: skip
        record = self.principal_by_name(name)
        if record is None:
            raise LocalMisuse("wrong-state", "a row vanished inside its own transaction")
        return record

    def set_principal(self, record: PrincipalRecord) -> None:
        touched = self._run(
            "UPDATE principals SET disabled = ?, max_ticket_s = ?, max_jwt_s = ?, jwt_alg = ?, jwt_audience = ?,"
            " sources = ?, oauth = ?, token_claims = ? WHERE uid = ? AND name = ? AND created = ?",
            record.disabled, record.max_ticket_s, record.max_jwt_s, record.jwt_alg, record.jwt_audience,
            " ".join(record.sources), record.oauth, " ".join(record.token_claims),
            record.uid, record.name, record.created,
        )  # fmt: skip
        if not touched and self.principal_by_uid(record.uid) is None:
            raise missing(f"principal with uid {record.uid}")
        if not touched:
            raise Misconfigured("conflict", f"the name of uid {record.uid} cannot change")

    def delete_principal(self, uid: int) -> None:
        # Keys, secrets, memberships and rules go with it: ON DELETE CASCADE.
        if not self._run("DELETE FROM principals WHERE uid = ?", uid):
            raise missing(f"principal with uid {uid}")

    # Keys of principals

    def key_by_as_kid(self, kid: bytes) -> KeyRecord | None:
        row = self._row(f"{_KEYS} WHERE kid_as = ?", kid)
        return None if row is None else _key(row)

    def key_by_ticket_kid(self, kid: bytes) -> KeyRecord | None:
        row = self._row(f"{_KEYS} WHERE kid_ticket = ?", kid)
        return None if row is None else _key(row)

    def keys_of(self, uid: int) -> tuple[KeyRecord, ...]:
        return tuple(map(_key, self._rows(f"{_KEYS} WHERE uid = ? ORDER BY kvno", uid)))

    def add_key(self, record: KeyRecord) -> None:
        self._run(
            "INSERT INTO keys (uid, kvno, kid_as, kid_ticket, kid_sync, state, created, retired, sealed, sealed_as)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            record.uid, record.kvno, record.kid_as, record.kid_ticket, record.kid_sync, record.state,
            record.created, record.retired, record.sealed, record.sealed_as,
            taken=f"key version {record.kvno} or one of its key ids",
        )  # fmt: skip

    def set_key(self, record: KeyRecord) -> None:
        touched = self._run(
            "UPDATE keys SET state = ?, retired = ?, sealed = ?, sealed_as = ? WHERE uid = ? AND kvno = ?"
            " AND kid_as = ? AND kid_ticket = ? AND kid_sync = ? AND created = ?",
            record.state, record.retired, record.sealed, record.sealed_as, record.uid, record.kvno,
            record.kid_as, record.kid_ticket, record.kid_sync, record.created,
        )  # fmt: skip
        if not touched and not self._rows("SELECT 1 FROM keys WHERE uid = ? AND kvno = ?", record.uid, record.kvno):
            raise missing(f"key version {record.kvno}")
        if not touched:
            raise Misconfigured("conflict", f"the ids of key version {record.kvno} cannot change")

    def delete_tombstones(self, *, retired_before: int) -> int:
        erased = self._run(
            "UPDATE keys SET sealed = x'', sealed_as = x'' WHERE retired < ? AND state = ? AND sealed_as <> x''"
            " AND NOT EXISTS (SELECT 1 FROM keys newer WHERE newer.uid = keys.uid AND newer.kvno > keys.kvno)",
            retired_before, KEY_RETIRED,
        )  # fmt: skip
        return erased + self._run(
            "DELETE FROM keys WHERE retired < ? AND state = ?"
            " AND EXISTS (SELECT 1 FROM keys newer WHERE newer.uid = keys.uid AND newer.kvno > keys.kvno)",
            retired_before, KEY_RETIRED,
        )  # fmt: skip

    # Keys of the realm

    def realm_keys(self) -> tuple[RealmKeyRecord, ...]:
        rows = self._rows("SELECT role, name, number, created, sealed FROM realm_keys ORDER BY role, name, number")
        return tuple(
            RealmKeyRecord(role=role, name=name, number=number, created=created, sealed=sealed)
            for role, name, number, created, sealed in rows
        )

    def add_realm_key(self, record: RealmKeyRecord) -> None:
        self._run(
            "INSERT INTO realm_keys (role, name, number, created, sealed) VALUES (?, ?, ?, ?, ?)",
            record.role, record.name, record.number, record.created, record.sealed,
            taken=f"realm key {record.role} {record.name} {record.number}",
        )  # fmt: skip

    def delete_realm_key(self, role: str, name: str, number: int) -> None:
        statement = "DELETE FROM realm_keys WHERE role = ? AND name = ? AND number = ?"
        if not self._run(statement, role, name, number):
            raise missing(f"realm key {role} {name} {number}")

    # Policy

    def policy(self) -> PolicyRows:
        ((seq,),) = self._rows("SELECT seq FROM meta")
        groups: dict[str, set[str]] = {name: set() for (name,) in self._rows("SELECT name FROM groups")}
        for group, principal in self._rows(
            "SELECT g.name, p.name FROM members JOIN groups g USING (group_id) JOIN principals p USING (uid)"
        ):
            groups[group].add(principal)
        return PolicyRows(
            seq=seq,
            rules=tuple(map(read_rule, self._rows(f"{RULES} ORDER BY rule_id"))),
            groups={name: frozenset(members) for name, members in groups.items()},
        )

    def _numbers(self, selector: Selector) -> tuple[int | None, int | None] | None:
        """The uid or the group's number, in the columns' order, or None when there is nobody of this name."""
        if selector.is_group:
            group = self._group(selector.name)
            return None if group is None else (None, group)
        uid = self._uid(selector.name)
        return None if uid is None else (uid, None)

    def _uid(self, name: str) -> int | None:
        row = self._row("SELECT uid FROM principals WHERE name = ?", name)
        return None if row is None else row[0]

    def _group(self, name: str) -> int | None:
        row = self._row("SELECT group_id FROM groups WHERE name = ?", name)
        return None if row is None else row[0]

    def rules_between(self, client: Selector, target: Selector) -> tuple[Rule, ...]:
        from_, to = self._numbers(client), self._numbers(target)
        if from_ is None or to is None:
            return ()
        where = "client_uid IS ? AND client_group IS ? AND target_uid IS ? AND target_group IS ?"
        return tuple(map(read_rule, self._rows(f"{RULES} WHERE {where} ORDER BY rule_id", *from_, *to)))

    def add_rule(self, rule: Rule) -> Rule:
        from_, to = self._numbers(rule.client), self._numbers(rule.target)
        if from_ is None or to is None:
            raise missing(rule.client if from_ is None else rule.target)
        self._run(INSERT_RULE, *from_, *to, *rule_values(rule))
        return self.rules_between(rule.client, rule.target)[-1]

    def delete_rule(self, rule_id: int) -> None:
        if not self._run("DELETE FROM rules WHERE rule_id = ?", rule_id):
            raise missing(f"rule {rule_id}")

    def add_group(self, name: str) -> None:
        self._run("INSERT INTO groups (name) VALUES (?)", check_name(name, "group"),
                  taken=f"group {name}", code="already-exists")  # fmt: skip

    def delete_group(self, name: str) -> None:
        if not self._run("DELETE FROM groups WHERE name = ?", name):
            raise missing(f"group {name}")

    def _membership(self, group: str, principal: str) -> tuple[int, int]:
        place, member = self._group(group), self._uid(principal)
        if place is None:
            raise missing(f"group {group}")
        if member is None:
            raise missing(f"principal {principal}")
        return place, member

    def add_member(self, group: str, principal: str) -> None:
        place, member = self._membership(group, principal)
        self._run("INSERT INTO members (group_id, uid) VALUES (?, ?)", place, member,
                  taken=f"the place of {principal} in {group}", code="already-exists")  # fmt: skip

    def remove_member(self, group: str, principal: str) -> None:
        place, member = self._membership(group, principal)
        if not self._run("DELETE FROM members WHERE group_id = ? AND uid = ?", place, member):
            raise missing(f"{principal} in {group}")

    # Audit

    def anchor(self, writer: str) -> AuditAnchor | None:
        row = self._row("SELECT writer, seq, head FROM anchors WHERE writer = ?", writer)
        return None if row is None else AuditAnchor(writer=row[0], seq=row[1], head=row[2])

    def anchors(self) -> tuple[AuditAnchor, ...]:
        rows = self._rows("SELECT writer, seq, head FROM anchors ORDER BY writer")
        return tuple(AuditAnchor(writer=writer, seq=seq, head=head) for writer, seq, head in rows)

    def set_anchor(self, anchor: AuditAnchor) -> None:
        self._run(
            "INSERT INTO anchors (writer, seq, head) VALUES (?, ?, ?)"
            " ON CONFLICT (writer) DO UPDATE SET seq = excluded.seq, head = excluded.head",
            anchor.writer, anchor.seq, anchor.head, counts=False,
        )  # fmt: skip
