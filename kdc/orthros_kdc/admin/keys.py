"""Use cases on key versions: rotate, activate, retire, export.

Knows no instances: whether every holder has the new version is for the operator, or SYNC, to say.
"""

from __future__ import annotations

from attrs import evolve

from orthros_kdc.admin.context import Admin, require_principal
from orthros_kdc.reasons import NO_KEY_VERSION
from orthros_kdc.store.base import (
    KEY_ACTIVE,
    KEY_DRAINING,
    KEY_PREPARED,
    KEY_RETIRED,
    TOMBSTONE_S,
    KeyRecord,
    PrincipalRecord,
    Transaction,
)
from orthros_protocol.errors import Misconfigured
from orthros_protocol.keys.keytab import Keytab, keytab_of_roots

__all__ = ["activate", "erase_tombstones", "export", "listed", "retire", "rotate"]


async def listed(admin: Admin, name: str) -> tuple[KeyRecord, ...]:
    """Every version, oldest first, tombstones included."""
    return await admin.store.read(lambda tx: tx.keys_of(require_principal(tx, name).uid))


async def rotate(admin: Admin, name: str) -> Keytab:
    """Prepares the next version and returns the full key file with every live one.

    Tickets stay under the old version until `activate`, so there is time to install the file. Tombstones of the
    realm that are older than 30 days go in the same change.
    Raises Misconfigured `conflict` while another version is prepared.
    """

    def work(tx: Transaction) -> Keytab:
        principal = require_principal(tx, name)
        held = tx.keys_of(principal.uid)
        waiting = [key.kvno for key in held if key.state == KEY_PREPARED]
        if waiting:
            raise Misconfigured("conflict", f"version {waiting[0]} is prepared already: activate or retire it first")
        kvno = 1 + max((key.kvno for key in held), default=0)
        record, _ = admin.vault.new_root(principal, kvno=kvno, state=KEY_PREPARED, now=admin.now())
        tx.add_key(record)
        admin.record(
            tx,
            "key.rotated",
            principal=name,
            uid=principal.uid,
            kvno=kvno,
            kid=record.kid_as.hex(),
            tombstones_erased=_erase_tombstones(admin, tx),
        )
        return _full_keytab(admin, tx, principal)

    return await admin.store.change(work)


async def activate(admin: Admin, name: str) -> int:
    """Seals new tickets under the prepared version; older ones drain. Returns the version.

    Raises Misconfigured `not-found` when none is prepared.
    """

    def work(tx: Transaction) -> int:
        principal = require_principal(tx, name)
        held = tx.keys_of(principal.uid)
        prepared = next((key for key in held if key.state == KEY_PREPARED), None)
        if prepared is None:
            raise Misconfigured(
                NO_KEY_VERSION.filled(PRINCIPAL=name), f"{name} has no prepared key version: rotate first"
            )
        for key in held:
            if key.state == KEY_ACTIVE:
                tx.set_key(evolve(key, state=KEY_DRAINING))
        tx.set_key(evolve(prepared, state=KEY_ACTIVE))
        admin.record(tx, "key.activated", principal=name, uid=principal.uid, kvno=prepared.kvno)
        return prepared.kvno

    return await admin.store.change(work)


async def retire(admin: Admin, name: str, kvno: int, *, force: bool = False) -> None:
    """Erases the root of one version; only its login key stays for 30 days, to refuse late users in words.
    Tombstones of the realm that are older go in the same change.

    Raises Misconfigured `not-found`, or `conflict` for a retired version and, unless `force`, for the active
    one: without it no client can obtain tickets for this principal.
    """

    def work(tx: Transaction) -> None:
        principal = require_principal(tx, name)
        key = next((key for key in tx.keys_of(principal.uid) if key.kvno == kvno), None)
        if key is None:
            raise Misconfigured(NO_KEY_VERSION.filled(PRINCIPAL=name), f"{name} has no key version {kvno}")
        if key.state == KEY_RETIRED:
            raise Misconfigured("conflict", f"version {kvno} is retired already")
        if key.state == KEY_ACTIVE and not force:
            raise Misconfigured("conflict", f"version {kvno} is active: activate its successor first, or force")
        tx.set_key(admin.vault.tombstone(principal, key, now=admin.now()))
        admin.record(
            tx,
            "key.retired",
            principal=name,
            uid=principal.uid,
            kvno=kvno,
            was=key.state,
            tombstones_erased=_erase_tombstones(admin, tx),
        )

    await admin.store.change(work)


async def export(admin: Admin, name: str, *, verify_only: bool = False) -> Keytab:
    """The key file of every live version, from the stored roots.

    A right of its own, apart from all others, and an audit event of its own: whoever may do this can become
    `name`, unless `verify_only`, which holds what a target needs and cannot log in.
    Raises Misconfigured `key-missing` when no version is live.
    """

    def work(tx: Transaction) -> Keytab:
        principal = require_principal(tx, name)
        keytab = _full_keytab(admin, tx, principal)
        if verify_only:
            keytab = keytab.verify_only()
        admin.record(
            tx,
            "key.exported",
            principal=name,
            uid=principal.uid,
            kind="verify-only" if verify_only else "full",
            kvnos=" ".join(map(str, keytab.kvnos)),
        )
        return keytab

    # A change, although no row but the audit anchor moves: what leaves is recorded, or does not leave.
    return await admin.store.change(work)


async def erase_tombstones(admin: Admin) -> int:
    """Forgets the versions retired more than 30 days ago; returns how many. Records nothing for none."""

    def work(tx: Transaction) -> int:
        count = _erase_tombstones(admin, tx)
        if count:
            admin.record(tx, "key.tombstones-erased", count=count)
        return count

    return await admin.store.change(work)


def _erase_tombstones(admin: Admin, tx: Transaction) -> int:
    return tx.delete_tombstones(retired_before=admin.now() - TOMBSTONE_S)


def _full_keytab(admin: Admin, tx: Transaction, principal: PrincipalRecord) -> Keytab:
    live = [key for key in tx.keys_of(principal.uid) if key.state != KEY_RETIRED]
    if not live:
        raise Misconfigured("key-missing", f"{principal.name} has no live key version: rotate and activate")
    return keytab_of_roots(admin.vault.root_key(principal, key) for key in live)
