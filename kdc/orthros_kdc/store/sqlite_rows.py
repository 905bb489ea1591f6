"""The Transaction over one SQLite connection: the rows of realm, principals and keys, on top of policy and audit.

Knows no threads, no files and no transactions' ends; `sqlite.py` begins and commits them.
"""

from __future__ import annotations

from typing import Any

from attrs import define

from orthros_kdc.policy.model import RealmLimits, check_principal_name
from orthros_kdc.reasons import ALREADY_EXISTS, DATABASE_INVALID
from orthros_kdc.store.base import (
    KEY_RETIRED,
    KEY_STATES,
    KeyRecord,
    PrincipalRecord,
    RealmKeyRecord,
    RealmRecord,
)
from orthros_kdc.store.change_log import (
    CHANGED_LOGIN_KEY,
    CHANGED_MEMBER,
    CHANGED_PRINCIPAL,
    CHANGED_REALM,
    CHANGED_RULE,
)
from orthros_kdc.store.sqlite_rules import RuleRows
from orthros_kdc.store.statements import missing
from orthros_protocol.errors import LocalMisuse, Misconfigured

__all__ = ["SqliteRows"]

_PRINCIPALS = """
    SELECT uid, name, created, disabled, max_ticket_s, max_jwt_s, jwt_alg, jwt_audience, sources, oauth, token_claims,
           default_audience
    FROM principals
"""
_KEYS = "SELECT uid, kvno, kid_as, kid_ticket, kid_sync, state, created, retired, sealed, sealed_as FROM keys"


def _principal(row: tuple[Any, ...]) -> PrincipalRecord:
    (
        uid,
        name,
        created,
        disabled,
        max_ticket_s,
        max_jwt_s,
        jwt_alg,
        jwt_audience,
        sources,
        oauth,
        token_claims,
        default_audience,
    ) = row
    return PrincipalRecord(
        uid=uid,
        name=name,
        created=created,
        disabled=bool(disabled),
        max_ticket_s=max_ticket_s,
        max_jwt_s=max_jwt_s,
        jwt_alg=jwt_alg,
        jwt_audience=jwt_audience,
        sources=tuple(sources.split()),
        oauth=bool(oauth),
        token_claims=tuple(token_claims.split()),
        default_audience=default_audience,
    )


def _key(row: tuple[Any, ...]) -> KeyRecord:
    uid, kvno, kid_as, kid_ticket, kid_sync, state, created, retired, sealed, sealed_as = row
    if state not in KEY_STATES:
        raise Misconfigured(DATABASE_INVALID, f"key version {kvno} of uid {uid} is in no state: {state!r}")
    return KeyRecord(
        uid=uid,
        kvno=kvno,
        kid_as=kid_as,
        kid_ticket=kid_ticket,
        kid_sync=kid_sync,
        state=state,
        created=created,
        retired=retired,
        sealed=sealed,
        sealed_as=sealed_as,
    )


@define
class SqliteRows(RuleRows):
    """The rows inside one open transaction."""

    # The realm

    def realm(self) -> RealmRecord:
        row = self._row("SELECT realm, issuer, max_ticket_s, max_tgt_s, max_jwt_s, created, key_check FROM realm")
        if row is None:
            raise Misconfigured(DATABASE_INVALID, "it holds no realm yet")
        realm, issuer, max_ticket_s, max_tgt_s, max_jwt_s, created, key_check = row
        limits = RealmLimits(max_ticket_s=max_ticket_s, max_tgt_s=max_tgt_s, max_jwt_s=max_jwt_s)
        return RealmRecord(realm=realm, issuer=issuer, limits=limits, created=created, key_check=key_check)

    def create_realm(self, record: RealmRecord) -> None:
        limits = record.limits
        self._run(
            "INSERT INTO realm (id, realm, issuer, max_ticket_s, max_tgt_s, max_jwt_s, created, key_check)"
            " VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            record.realm,
            record.issuer,
            limits.max_ticket_s,
            limits.max_tgt_s,
            limits.max_jwt_s,
            record.created,
            record.key_check,
            taken="the place of the realm",
            code=ALREADY_EXISTS,
        )
        self._log(CHANGED_REALM, "")

    def set_realm(self, *, issuer: str, limits: RealmLimits) -> None:
        self.realm()
        self._run(
            "UPDATE realm SET issuer = ?, max_ticket_s = ?, max_tgt_s = ?, max_jwt_s = ?",
            issuer,
            limits.max_ticket_s,
            limits.max_tgt_s,
            limits.max_jwt_s,
        )
        self._log(CHANGED_REALM, "")

    def not_before(self) -> int:
        self.realm()
        ((second,),) = self._rows("SELECT not_before FROM realm")
        return int(second)

    def raise_not_before(self, second: int) -> None:
        self.realm()
        self._run("UPDATE realm SET not_before = max(not_before, ?)", second)
        self._log(CHANGED_REALM, "")

    def set_key_check(self, key_check: bytes) -> None:
        self.realm()
        self._run("UPDATE realm SET key_check = ?", key_check)
        self._log(CHANGED_REALM, "")

    def count_secrets_without(self, head: bytes) -> int:
        ((count,),) = self._rows(
            "SELECT count(*) FROM (SELECT sealed FROM realm_keys UNION ALL SELECT sealed FROM jwt_keys"
            " UNION ALL SELECT sealed FROM oauth_secrets"
            " UNION ALL SELECT sealed FROM keys UNION ALL SELECT sealed_as FROM keys)"
            " WHERE sealed <> x'' AND substr(sealed, 1, ?) <> ?",
            len(head),
            head,
        )
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

    def has_jwt_audience(self, audience: str) -> bool:
        return bool(self._rows("SELECT 1 FROM principals WHERE jwt_audience = ? LIMIT 1", audience))

    def principals_with_default(self, target: str) -> tuple[PrincipalRecord, ...]:
        return tuple(map(_principal, self._rows(f"{_PRINCIPALS} WHERE default_audience = ? ORDER BY name", target)))

    def principals(self, *, after: str = "", most: int = 1000) -> tuple[PrincipalRecord, ...]:
        statement = f"{_PRINCIPALS} WHERE name > ? ORDER BY name LIMIT ?"
        return tuple(map(_principal, self._rows(statement, after, most)))

    def add_principal(self, *, name: str, created: int) -> PrincipalRecord:
        self._run(
            "INSERT INTO principals (name, created) VALUES (?, ?)",
            check_principal_name(name),
            created,
            taken=f"principal {name}",
            code=ALREADY_EXISTS,
        )
        record = self.principal_by_name(name)
        if record is None:
            raise LocalMisuse("wrong-state", "a row vanished inside its own transaction")
        self._log_principals(record.uid)
        return record

    def jump_uids(self, least: int) -> int:
        self._run("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'principals'", least - 1)
        ((last,),) = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'principals'")
        return int(last) + 1

    def set_principal(self, record: PrincipalRecord) -> None:
        touched = self._run(
            "UPDATE principals SET disabled = ?, max_ticket_s = ?, max_jwt_s = ?, jwt_alg = ?, jwt_audience = ?,"
            " sources = ?, oauth = ?, token_claims = ?, default_audience = ?"
            " WHERE uid = ? AND name = ? AND created = ?",
            record.disabled,
            record.max_ticket_s,
            record.max_jwt_s,
            record.jwt_alg,
            record.jwt_audience,
            " ".join(record.sources),
            record.oauth,
            " ".join(record.token_claims),
            record.default_audience,
            record.uid,
            record.name,
            record.created,
        )
        if not touched and self.principal_by_uid(record.uid) is None:
            raise missing(f"principal with uid {record.uid}")
        if not touched:
            raise Misconfigured("conflict", f"the name of uid {record.uid} cannot change")
        self._log_principals(record.uid)

    def delete_principal(self, uid: int) -> None:
        record = self.principal_by_uid(uid)
        kids = self._texts("SELECT lower(hex(kid_as)) FROM keys WHERE uid = ?", uid)
        rules = self._texts("SELECT rule_id FROM rules WHERE client_uid = ? OR target_uid = ?", uid, uid)
        groups = self._texts("SELECT g.name FROM members JOIN groups g USING (group_id) WHERE uid = ?", uid)
        # Keys, secrets, memberships and rules go with it: ON DELETE CASCADE.
        if not self._run("DELETE FROM principals WHERE uid = ?", uid) or record is None:
            raise missing(f"principal with uid {uid}")
        self._log(CHANGED_PRINCIPAL, f"{uid} {record.name}")
        self._log(CHANGED_LOGIN_KEY, *kids)
        self._log(CHANGED_RULE, *rules)
        self._log(CHANGED_MEMBER, *(f"{group} {record.name}" for group in groups))

    # Keys of principals

    def key_by_as_kid(self, kid: bytes) -> KeyRecord | None:
        row = self._row(f"{_KEYS} WHERE kid_as = ?", kid)
        return None if row is None else _key(row)

    def keys_of(self, uid: int) -> tuple[KeyRecord, ...]:
        return tuple(map(_key, self._rows(f"{_KEYS} WHERE uid = ? ORDER BY kvno", uid)))

    def has_login_kid(self, kid: bytes) -> bool:
        return self._row("SELECT 1 FROM keys WHERE kid_as = ?", kid) is not None

    def login_kids(self) -> bytes:
        # Put together over there: a million rows would take longer to hand over than to read.
        statement = "SELECT group_concat(hex(kid_as), '') FROM (SELECT kid_as FROM keys ORDER BY kid_as)"
        ((found,),) = self._rows(statement)
        return bytes.fromhex(found or "")

    def add_key(self, record: KeyRecord) -> None:
        self._run(
            "INSERT INTO keys (uid, kvno, kid_as, kid_ticket, kid_sync, state, created, retired, sealed, sealed_as)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            record.uid,
            record.kvno,
            record.kid_as,
            record.kid_ticket,
            record.kid_sync,
            record.state,
            record.created,
            record.retired,
            record.sealed,
            record.sealed_as,
            taken=f"key version {record.kvno} or one of its key ids",
        )
        self._log_principals(record.uid)
        self._log(CHANGED_LOGIN_KEY, record.kid_as.hex())

    def set_key(self, record: KeyRecord) -> None:
        touched = self._run(
            "UPDATE keys SET state = ?, retired = ?, sealed = ?, sealed_as = ? WHERE uid = ? AND kvno = ?"
            " AND kid_as = ? AND kid_ticket = ? AND kid_sync = ? AND created = ?",
            record.state,
            record.retired,
            record.sealed,
            record.sealed_as,
            record.uid,
            record.kvno,
            record.kid_as,
            record.kid_ticket,
            record.kid_sync,
            record.created,
        )
        if not touched and not self._rows("SELECT 1 FROM keys WHERE uid = ? AND kvno = ?", record.uid, record.kvno):
            raise missing(f"key version {record.kvno}")
        if not touched:
            raise Misconfigured("conflict", f"the ids of key version {record.kvno} cannot change")
        self._log_principals(record.uid)

    def delete_tombstones(self, *, retired_before: int) -> int:
        found = self._rows(
            "SELECT uid, kvno, name, lower(hex(kid_as)), sealed_as <> x'', kvno = (SELECT max(kvno) FROM keys k"
            " WHERE k.uid = keys.uid) FROM keys JOIN principals USING (uid) WHERE retired < ? AND state = ?",
            retired_before,
            KEY_RETIRED,
        )
        older = [(uid, kvno) for uid, kvno, *_, is_newest in found if not is_newest]
        sealed = [(uid, kvno) for uid, kvno, _, _, is_sealed, is_newest in found if is_sealed and is_newest]
        self._run_many("DELETE FROM keys WHERE uid = ? AND kvno = ?", older)
        self._run_many("UPDATE keys SET sealed = x'', sealed_as = x'' WHERE uid = ? AND kvno = ?", sealed)
        self._log(CHANGED_LOGIN_KEY, *(kid for _, _, _, kid, _, is_newest in found if not is_newest))
        gone = [f"{uid} {name}" for uid, _, name, _, is_sealed, is_newest in found if is_sealed or not is_newest]
        self._log(CHANGED_PRINCIPAL, *gone)
        return len(gone)

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
            record.role,
            record.name,
            record.number,
            record.created,
            record.sealed,
            taken=f"realm key {record.role} {record.name} {record.number}",
        )
        self._log(CHANGED_REALM, "")

    def delete_realm_key(self, role: str, name: str, number: int) -> None:
        statement = "DELETE FROM realm_keys WHERE role = ? AND name = ? AND number = ?"
        if not self._run(statement, role, name, number):
            raise missing(f"realm key {role} {name} {number}")
        self._log(CHANGED_REALM, "")
