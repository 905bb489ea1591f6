"""The rows behind tokens: JWT keys, client secrets, and what was used or revoked.

Knows principals by their uid, and opens nothing.
"""

from __future__ import annotations

from attrs import define

from orthros_kdc.store.base import (
    MOST_REMEMBERED,
    REMEMBER_MARGIN_S,
    JwtKeyRecord,
    OAuthSecretRecord,
)
from orthros_kdc.store.change_log import CHANGED_PRINCIPAL
from orthros_kdc.store.statements import Statements, missing
from orthros_protocol.errors import Refused

__all__ = ["TokenRows"]


@define
class TokenRows(Statements):
    """A part of the Transaction; `SqliteRows` adds the others."""

    def jwt_keys_of(self, uid: int) -> tuple[JwtKeyRecord, ...]:
        rows = self._rows("SELECT uid, kid, alg, created, sealed FROM jwt_keys WHERE uid = ? ORDER BY id DESC", uid)
        return tuple(
            JwtKeyRecord(uid=uid, kid=kid, alg=alg, created=created, sealed=sealed)
            for uid, kid, alg, created, sealed in rows
        )

    def add_jwt_key(self, record: JwtKeyRecord) -> None:
        self._run(
            "INSERT INTO jwt_keys (uid, kid, alg, created, sealed) VALUES (?, ?, ?, ?, ?)",
            record.uid,
            record.kid,
            record.alg,
            record.created,
            record.sealed,
            taken=f"JWT key id {record.kid}",
        )
        self._log_principals(record.uid)

    def delete_jwt_key(self, uid: int, kid: str) -> None:
        if not self._run("DELETE FROM jwt_keys WHERE uid = ? AND kid = ?", uid, kid):
            raise missing(f"JWT key {kid}")
        self._log_principals(uid)

    def oauth_secrets_of(self, uid: int) -> tuple[OAuthSecretRecord, ...]:
        rows = self._rows(
            "SELECT uid, secret_id, created, sealed FROM oauth_secrets WHERE uid = ? ORDER BY id DESC", uid
        )
        return tuple(
            OAuthSecretRecord(uid=uid, secret_id=secret_id, created=created, sealed=sealed)
            for uid, secret_id, created, sealed in rows
        )

    def add_oauth_secret(self, record: OAuthSecretRecord) -> None:
        self._run(
            "INSERT INTO oauth_secrets (uid, secret_id, created, sealed) VALUES (?, ?, ?, ?)",
            record.uid,
            record.secret_id,
            record.created,
            record.sealed,
            taken=f"client secret {record.secret_id}",
        )
        self._log_principals(record.uid)

    def delete_oauth_secret(self, uid: int, secret_id: str) -> None:
        if not self._run("DELETE FROM oauth_secrets WHERE uid = ? AND secret_id = ?", uid, secret_id):
            raise missing(f"client secret {secret_id}")
        self._log_principals(uid)

    def _log_principals(self, *uids: int) -> None:
        """What hangs on them has changed."""
        for uid in uids:
            ((name,),) = self._rows("SELECT name FROM principals WHERE uid = ?", uid)
            self._log(CHANGED_PRINCIPAL, f"{uid} {name}")

    # What is remembered until it ends. No view of the realm depends on it, so it is not logged.

    def remember(self, kind: str, uid: int, digest: bytes, *, until: int, now: int) -> bool:
        # Each kind by its own clock: an operator's word about the clock is dated by the one that the others distrust.
        self._run("DELETE FROM remembered WHERE kind = ? AND until <= ?", kind, now - REMEMBER_MARGIN_S)
        if until <= now or self.recalls(kind, digest, now=now):
            return False
        statement = "SELECT count(*) FROM remembered WHERE kind = ? AND uid = ? AND until > ?"
        ((held,),) = self._rows(statement, kind, uid, now)
        if held >= MOST_REMEMBERED:
            raise Refused("busy", f"{held} live entries of kind {kind}")
        self._run(
            "INSERT OR REPLACE INTO remembered (kind, digest, uid, until) VALUES (?, ?, ?, ?)",
            kind,
            digest,
            uid,
            until,
        )
        return True

    def recalls(self, kind: str, digest: bytes, *, now: int) -> bool:
        statement = "SELECT 1 FROM remembered WHERE kind = ? AND digest = ? AND until > ?"
        return self._row(statement, kind, digest, now) is not None
