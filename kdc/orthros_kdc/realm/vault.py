"""Turns sealed records into key objects, and new keys into sealed records. The only holder of the master key,
and of the next one while it is being changed.

Knows no storage and no policy: records come in, keys go out, and every row opens only in its own place.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar

from attrs import evolve, field, frozen
from attrs.validators import instance_of

from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.reasons import DATABASE_INVALID, MASTER_KEY_WRONG
from orthros_kdc.store.base import (
    KDC_UIDS,
    KEY_RETIRED,
    JwtKeyRecord,
    KeyRecord,
    OAuthSecretRecord,
    PrincipalRecord,
    RealmKeyRecord,
    Store,
)
from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.keys.role_keys import AsKey, KdcMacKey, RootKey, SyncKey, TgtKey, TicketKey
from orthros_protocol.primitives.derivation import derive, digest, mac_matches
from orthros_protocol.primitives.names import KDC_TGT, Principal

__all__ = [
    "JWT_ALGORITHMS",
    "OPAQUE",
    "ROLE_KDCMAC",
    "ROLE_TGT",
    "ROLE_TICKET",
    "JwtKey",
    "OAuthSecret",
    "Vault",
    "open_vault",
]

ROLE_TGT, ROLE_TICKET, ROLE_KDCMAC = "tgt", "ticket", "kdcmac"
Sealed = KeyRecord | RealmKeyRecord | JwtKeyRecord | OAuthSecretRecord
R = TypeVar("R", KeyRecord, RealmKeyRecord, JwtKeyRecord, OAuthSecretRecord)

OPAQUE: Final = "opaque"
"""In place of an algorithm: tokens are sealed handles, and the key never leaves the KDC."""
JWT_ALGORITHMS: Final = {"HS256": 32, "HS512": 64, OPAQUE: 32}
"""Algorithm -> bytes of key: as long as the hash, as RFC 7518 section 3.2 demands."""

_SECRET_PREFIX: Final = "ort1s_"
_SECRET_BYTES: Final = 32
_CHECKSUM_BYTES: Final = 4


@frozen(eq=False, repr=False, getstate_setstate=False)
class JwtKey:
    """A target's JWT key: a record of its own, never derived from a root, because its holders leak most."""

    material: bytes = field(validator=instance_of(bytes))
    kid: str = field(kw_only=True)
    alg: str = field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        if len(self.material) != JWT_ALGORITHMS.get(self.alg):
            raise LocalMisuse("key-misuse", "an HS256 or opaque key has 32 bytes, an HS512 key 64")

    def __repr__(self) -> str:
        return f"<JwtKey kid={self.kid} alg={self.alg} redacted>"

    def __getstate__(self) -> NoReturn:
        raise LocalMisuse("secret-not-exported")

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise LocalMisuse("secret-not-exported")


@frozen(eq=False, repr=False, getstate_setstate=False)
class OAuthSecret:
    """A client secret: 32 random bytes that are generated here and nowhere else, known to the client as text."""

    material: bytes = field(validator=instance_of(bytes))
    secret_id: str = field(kw_only=True)

    def __attrs_post_init__(self) -> None:
        if len(self.material) != _SECRET_BYTES:
            raise LocalMisuse("key-misuse", f"a client secret has {_SECRET_BYTES} bytes")

    @property
    def text(self) -> str:
        """What the client holds: `ort1s_` and base32 (RFC 4648, lower case) of the 32 bytes and the first 4 of their
        SHA-256. Its 64 ASCII characters are long enough for an HS512 key (RFC 7518 section 3.2)."""
        content = self.material + digest(self.material)[:_CHECKSUM_BYTES]
        return _SECRET_PREFIX + base64.b32encode(content).decode("ascii").rstrip("=").lower()

    def is_text(self, presented: str) -> bool:
        """Whether `presented` is this secret's text, found out in constant time."""
        return mac_matches(self.text.encode("ascii"), presented.encode("utf-8", "replace"))

    def __repr__(self) -> str:
        return f"<OAuthSecret id={self.secret_id} redacted>"

    def __getstate__(self) -> NoReturn:
        raise LocalMisuse("secret-not-exported")

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise LocalMisuse("secret-not-exported")


def _require_kid(found: bytes, recorded: bytes, what: str) -> None:
    if found != recorded:
        raise Misconfigured(DATABASE_INVALID, f"the key id of {what} does not belong to its key")


def _secret_id(material: bytes) -> str:
    return derive(material, "oauth-secret-id", size=8).hex()


def _places(record: Sealed) -> dict[str, tuple[str, tuple[int | str, ...]]]:
    """Each sealed field of a record, with the table and the columns that it is sealed for."""
    if isinstance(record, KeyRecord):
        version = (record.uid, record.kvno, record.created)
        return {"sealed": ("keys", version), "sealed_as": ("keys.as", version)}
    if isinstance(record, RealmKeyRecord):
        return {"sealed": ("realm_keys", (record.role, record.name, record.number, record.created))}
    if isinstance(record, OAuthSecretRecord):
        return {"sealed": ("oauth_secrets", (record.uid, record.secret_id, record.created))}
    return {"sealed": ("jwt_keys", (record.uid, record.kid, record.alg, record.created))}


@frozen(kw_only=True, repr=False)
class Vault:
    """A realm's keys at hand. Every opening raises Misconfigured `database-invalid` for a row that was altered
    or moved, and `key-missing` for a key that was erased.

    `master` seals. With a `next_master`, rows that it has sealed already are opened as well.
    """

    realm: str
    master: MasterKey
    next_master: MasterKey | None = None
    entropy: Callable[[int], bytes] = os.urandom

    def __repr__(self) -> str:
        upcoming = "" if self.next_master is None else f" {self.next_master!r}"
        return f"<Vault {self.realm} {self.master!r}{upcoming}>"

    # Principals

    def new_root(self, principal: PrincipalRecord, *, kvno: int, state: str, now: int) -> tuple[KeyRecord, RootKey]:
        """A fresh root of `principal`, as the row to store and the key to hand over once."""
        root = RootKey(self.entropy(32), principal=self._name(principal), uid=principal.uid, kvno=kvno)
        record = KeyRecord(
            uid=principal.uid,
            kvno=kvno,
            kid_as=root.as_key().kid,
            kid_ticket=root.ticket_key().kid,
            kid_sync=root.sync_key().kid,
            state=state,
            created=now,
            sealed=self._seal("keys", principal.uid, kvno, now, secret=root.material),
        )
        return record, root

    def root_key(self, principal: PrincipalRecord, record: KeyRecord) -> RootKey:
        """The root of one version, every key id checked: for key files."""
        root = self._root(principal, record)
        _require_kid(root.as_key().kid, record.kid_as, "a login key")
        _require_kid(root.ticket_key().kid, record.kid_ticket, "a ticket key")
        _require_kid(root.sync_key().kid, record.kid_sync, "a sync key")
        return root

    def as_key(self, principal: PrincipalRecord, record: KeyRecord) -> AsKey:
        """The login key of one version; of a tombstone it remains for the sealed refusal."""
        if record.state == KEY_RETIRED:
            material = self._open(record, "sealed_as")
            key = AsKey(material, principal=self._name(principal), uid=record.uid, kvno=record.kvno)
        else:
            key = self._root(principal, record).as_key()
        _require_kid(key.kid, record.kid_as, "a login key")
        return key

    def ticket_key(self, principal: PrincipalRecord, record: KeyRecord) -> TicketKey:
        """The key that tickets for this principal are sealed under at this version."""
        key = self._root(principal, record).ticket_key()
        _require_kid(key.kid, record.kid_ticket, "a ticket key")
        return key

    def sync_key(self, principal: PrincipalRecord, record: KeyRecord) -> SyncKey:
        """The polling key of one version."""
        key = self._root(principal, record).sync_key()
        _require_kid(key.kid, record.kid_sync, "a sync key")
        return key

    def tombstone(self, principal: PrincipalRecord, record: KeyRecord, *, now: int) -> KeyRecord:
        """`record` retired: its root erased, its login key kept to tell a late user why."""
        login = self.as_key(principal, record)
        sealed = self._seal("keys.as", record.uid, record.kvno, record.created, secret=login.material)
        return evolve(record, state=KEY_RETIRED, retired=now, sealed=b"", sealed_as=sealed)

    def _root(self, principal: PrincipalRecord, record: KeyRecord) -> RootKey:
        if principal.uid != record.uid:
            raise LocalMisuse("key-misuse", f"a key of uid {record.uid} is not {principal.name}'s")
        return RootKey(self._open(record), principal=self._name(principal), uid=record.uid, kvno=record.kvno)

    def _name(self, principal: PrincipalRecord) -> Principal:
        return Principal(self.realm, principal.name)

    # The realm's own keys

    def new_realm_key(self, role: str, name: str, *, number: int, now: int) -> RealmKeyRecord:
        """A fresh key of the realm, as the row to store."""
        sealed = self._seal("realm_keys", role, name, number, now, secret=self.entropy(32))
        return RealmKeyRecord(role=role, name=name, number=number, created=now, sealed=sealed)

    def tgt_key(self, record: RealmKeyRecord) -> TgtKey:
        """A key that ticket-granting tickets are sealed under."""
        material = self._realm_material(record, ROLE_TGT)
        return TgtKey(material, principal=Principal(self.realm, record.name), uid=KDC_UIDS[KDC_TGT], kvno=record.number)

    def service_key(self, record: RealmKeyRecord) -> TicketKey:
        """The ticket key of one of the KDC's own services, kdc/keys or kdc/admin."""
        material = self._realm_material(record, ROLE_TICKET)
        principal = Principal(self.realm, record.name)
        return TicketKey(material, principal=principal, uid=KDC_UIDS[record.name], kvno=record.number)

    def kdcmac_key(self, record: RealmKeyRecord) -> KdcMacKey:
        """A key that marks what only the KDC can have written."""
        return KdcMacKey(self._realm_material(record, ROLE_KDCMAC), number=record.number)

    def _realm_material(self, record: RealmKeyRecord, role: str) -> bytes:
        if record.role != role:
            raise LocalMisuse("key-misuse", f"a {record.role} key does no {role} work")
        return self._open(record)

    # JWT keys

    def new_jwt_key(self, uid: int, alg: str, *, now: int) -> tuple[JwtKeyRecord, JwtKey]:
        """A fresh JWT key. Raises Misconfigured `value-invalid` for any algorithm but HS256, HS512 and opaque."""
        if alg not in JWT_ALGORITHMS:
            raise Misconfigured("value-invalid", f"JWT algorithm {alg!r}; choose {', '.join(JWT_ALGORITHMS)}")
        material = self.entropy(JWT_ALGORITHMS[alg])
        kid = derive(material[:32], "jwt-kid", size=8).hex()
        sealed = self._seal("jwt_keys", uid, kid, alg, now, secret=material)
        return JwtKeyRecord(uid=uid, kid=kid, alg=alg, created=now, sealed=sealed), JwtKey(material, kid=kid, alg=alg)

    def jwt_key(self, record: JwtKeyRecord) -> JwtKey:
        """The key of one JWT record; the record decides the algorithm."""
        return JwtKey(self._open(record), kid=record.kid, alg=record.alg)

    # Client secrets

    def new_oauth_secret(self, uid: int, now: int) -> tuple[OAuthSecretRecord, OAuthSecret]:
        """A fresh client secret of principal `uid`, as the row to store and the secret to hand over once."""
        secret = OAuthSecret(material := self.entropy(_SECRET_BYTES), secret_id=_secret_id(material))
        sealed = self._seal("oauth_secrets", uid, secret.secret_id, now, secret=material)
        return OAuthSecretRecord(uid=uid, secret_id=secret.secret_id, created=now, sealed=sealed), secret

    def oauth_secret(self, record: OAuthSecretRecord) -> OAuthSecret:
        """The secret of one row."""
        return OAuthSecret(self._open(record), secret_id=record.secret_id)

    # Changing the master key

    def resealed(self, record: R) -> R:
        """`record` with each secret sealed under the next master key. What is so already is opened all the same:
        afterwards nothing is left that only some other key could open."""
        if self.next_master is None:
            raise LocalMisuse("wrong-state", "there is no next master key")
        sealed: dict[str, Any] = {}
        for field_name, (table, ids) in _places(record).items():
            before: bytes = getattr(record, field_name)
            if not before:
                continue  # erased, and remains so
            secret = self._open(record, field_name)
            if not self.next_master.may_open(before):
                sealed[field_name] = self.next_master.seal_row(table, *ids, secret=secret, entropy=self.entropy)
        return evolve(record, **sealed) if sealed else record

    def require_next(self, record: RealmKeyRecord) -> None:
        """Raises Misconfigured `master-key-wrong` unless the next master key opens `record`."""
        if self.next_master is None:
            raise Misconfigured(MASTER_KEY_WRONG, "it is being changed: name the next one as well")
        try:
            self._open(record)
        except Misconfigured:
            raise Misconfigured(MASTER_KEY_WRONG, "the next one does not open what is sealed under it") from None

    def _open(self, record: Sealed, field_name: str = "sealed") -> bytes:
        table, ids = _places(record)[field_name]
        sealed: bytes = getattr(record, field_name)
        upcoming = self.next_master
        holder = upcoming if upcoming is not None and upcoming.may_open(sealed) else self.master
        return holder.open_row(table, *ids, sealed=sealed)

    def _seal(self, table: str, *ids: int | str, secret: bytes) -> bytes:
        return self.master.seal_row(table, *ids, secret=secret, entropy=self.entropy)


async def open_vault(
    store: Store,
    master: MasterKey,
    next_master: MasterKey | None = None,
    *,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Vault:
    """The vault of the realm in `store`, which is brought up to this program's version once its master key is proven.
    Once the master key has been changed, `next_master` is the one that counts.

    Raises Misconfigured `master-key-wrong` when either key is not this database's, or when the database needs a
    next one that was not given, and changes nothing.
    """
    vault = await _checked_vault(store, master, next_master, entropy)
    await store.upgrade()
    return vault


async def _checked_vault(
    store: Store, master: MasterKey, next_master: MasterKey | None, entropy: Callable[[int], bytes]
) -> Vault:
    record, own_keys = await store.read(lambda tx: (tx.realm(), tx.realm_keys()))
    if next_master is not None:
        if next_master.number != master.number + 1:
            detail = (
                f"after number {master.number} comes {master.number + 1}, but the next one has {next_master.number}"
            )
            raise Misconfigured(MASTER_KEY_WRONG, detail)
        if next_master.is_checked_by(record.realm, record.key_check):
            return Vault(realm=record.realm, master=next_master, entropy=entropy)
    master.require_check(record.realm, record.key_check)
    vault = Vault(realm=record.realm, master=master, next_master=next_master, entropy=entropy)
    # A change of the master key begins with the realm's own keys, so they tell whether one is under way.
    for row in own_keys:
        if not master.may_open(row.sealed):
            vault.require_next(row)
    return vault
