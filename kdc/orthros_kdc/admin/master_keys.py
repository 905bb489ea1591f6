"""Use cases of changing the master key while KDCs go on issuing.

Every row says which master key sealed it, so old and new ones live side by side: each step leaves a database that
both keys together open, and the stored check moves to the new key only when no row needs the old one any more.
Knows no services: whether every KDC holds both keys before the rewrap is for the operator to say.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Final

from attrs import evolve, frozen

from orthros_kdc.admin.context import Admin
from orthros_kdc.realm.master_key import MasterKey, create_master_key_file
from orthros_kdc.realm.vault import Vault
from orthros_kdc.store.base import Transaction
from orthros_protocol.errors import Misconfigured

__all__ = ["Rewrapped", "create", "rewrap"]

_BATCH: Final = 100
"""Principals in one transaction: some ten milliseconds during which other changes wait."""


@frozen(kw_only=True)
class Rewrapped:
    """The number of the master key that counts now, and how many records this run sealed anew."""

    number: int
    rows: int


def create(admin: Admin, path: str | os.PathLike[str]) -> int:
    """Writes the next master key to a new file and returns its number. The database learns nothing of it yet.

    Raises Misconfigured `file-exists`, or `conflict` while a next one is at hand already.
    """
    if admin.vault.next_master is not None:
        raise Misconfigured("conflict", f"master key {admin.vault.next_master.number} is at hand already")
    return create_master_key_file(path, entropy=admin.vault.entropy, number=admin.vault.master.number + 1).number


async def rewrap(admin: Admin, *, batch: int = _BATCH) -> Rewrapped:
    """Seals every stored secret under the next master key, `batch` principals at a time, then lets it take over.

    Begins again where an earlier run was interrupted. Raises Misconfigured `conflict` without a next master key;
    whatever it raises, both keys together open everything.
    """
    upcoming = admin.vault.next_master
    if upcoming is None:
        raise Misconfigured("conflict", f"master key {admin.vault.master.number} counts, and no next one is at hand")
    rows = await admin.store.change(lambda tx: _begin(tx, admin, upcoming))
    # Others may go on adding rows under the old key, behind us too: the last step finds out and we pass once more.
    while True:
        after: str | None = ""
        while after is not None:
            sealed, after = await admin.store.change(partial(_page, admin=admin, after=after, most=batch))
            rows += sealed
        last = await admin.store.change(lambda tx: _finish(tx, admin, upcoming))
        if last is not None:
            return Rewrapped(number=upcoming.number, rows=rows + last)


def _begin(tx: Transaction, admin: Admin, upcoming: MasterKey) -> int:
    """The realm's own keys come first: from here on, `open_vault` asks for both keys and knows them."""
    if _is_over(tx, upcoming):
        return 0
    is_first = not any(upcoming.may_open(key.sealed) for key in tx.realm_keys())
    sealed = _reseal_realm_keys(tx, admin.vault)
    if is_first:
        admin.record(tx, "realm.rewrap-started", number=upcoming.number)
    else:
        _record(tx, admin, sealed)
    return sealed


def _record(tx: Transaction, admin: Admin, sealed: int) -> None:
    """The entry of a step on the way: no row changes without one."""
    if sealed:
        admin.record(tx, "realm.rewrapped", count=sealed)


def _page(tx: Transaction, *, admin: Admin, after: str, most: int) -> tuple[int, str | None]:
    """The principals behind `after`: how many records were sealed anew, and where to go on."""
    found, vault = tx.principals(after=after, most=most), admin.vault
    sealed = 0
    for principal in found:
        for key in tx.keys_of(principal.uid):
            fresh = vault.resealed(key)
            if fresh is not key:
                tx.set_key(fresh)
                sealed += 1
        sealed += _reseal_jwt_keys(tx, vault, principal.uid) + _reseal_oauth_secrets(tx, vault, principal.uid)
    _record(tx, admin, sealed)
    return sealed, found[-1].name if len(found) == most else None


def _reseal_realm_keys(tx: Transaction, vault: Vault) -> int:
    sealed = 0
    for key in tx.realm_keys():
        fresh = vault.resealed(key)
        if fresh is not key:
            tx.delete_realm_key(key.role, key.name, key.number)
            tx.add_realm_key(fresh)
            sealed += 1
    return sealed


def _reseal_jwt_keys(tx: Transaction, vault: Vault, uid: int) -> int:
    held = tx.jwt_keys_of(uid)
    fresh = [vault.resealed(key) for key in held]
    changed = sum(1 for before, after in zip(held, fresh, strict=True) if after is not before)
    if changed:
        # All of them, oldest first: the one that was added last signs.
        for key in reversed(fresh):
            tx.delete_jwt_key(uid, key.kid)
            tx.add_jwt_key(key)
    return changed


def _reseal_oauth_secrets(tx: Transaction, vault: Vault, uid: int) -> int:
    held = tx.oauth_secrets_of(uid)
    fresh = [vault.resealed(secret) for secret in held]
    changed = sum(1 for before, after in zip(held, fresh, strict=True) if after is not before)
    if changed:
        # As JWT keys: a rotation keeps the one that was added last.
        for secret in reversed(fresh):
            tx.delete_oauth_secret(uid, secret.secret_id)
            tx.add_oauth_secret(secret)
    return changed


def _finish(tx: Transaction, admin: Admin, upcoming: MasterKey) -> int | None:
    """Lets the new key take over, unless a row still needs the old one: then None."""
    if _is_over(tx, upcoming):
        return 0
    sealed = _reseal_realm_keys(tx, admin.vault)
    if tx.count_secrets_without(upcoming.row_head):
        _record(tx, admin, sealed)
        return None
    tx.set_key_check(upcoming.key_check(admin.vault.realm))
    after = evolve(admin, vault=evolve(admin.vault, master=upcoming, next_master=None))
    after.record(tx, "realm.master-key-changed", number=upcoming.number)
    return sealed


def _is_over(tx: Transaction, upcoming: MasterKey) -> bool:
    """Whether another run was faster."""
    realm = tx.realm()
    return upcoming.is_checked_by(realm.realm, realm.key_check)
