"""Use cases on the realm itself: create it, change its limits, rotate its own keys.

Knows no principals; the master key is made before and elsewhere.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from orthros_kdc.admin.context import Admin
from orthros_kdc.policy.model import RealmLimits
from orthros_kdc.store.base import RealmKeyRecord, RealmRecord, Transaction
from orthros_kdc.vault import ROLE_KDCMAC, ROLE_TGT, ROLE_TICKET
from orthros_protocol import KDC_ADMIN, KDC_KEYS, KDC_TGT, Misconfigured, check_name
from orthros_protocol.limits import KDC_SKEW_MS

__all__ = ["MAC_NAME", "RealmShown", "change", "change_in", "check_issuer", "erase_old_keys", "init", "rotate_keys",
           "show"]  # fmt: skip

MAC_NAME: Final = "kdc"
"""The name under which the numbered kdcmac keys are stored."""
_OWN_KEYS: Final = (
    (ROLE_TGT, KDC_TGT), (ROLE_TICKET, KDC_KEYS), (ROLE_TICKET, KDC_ADMIN), (ROLE_KDCMAC, MAC_NAME),
)  # fmt: skip
_ISSUER = re.compile(r"https?://[!-~]{1,240}", re.ASCII)


@frozen(kw_only=True)
class RealmShown:
    """The realm and its own keys."""

    record: RealmRecord
    keys: tuple[RealmKeyRecord, ...]


async def init(admin: Admin, *, issuer: str | None = None, limits: RealmLimits | None = None) -> RealmRecord:
    """Creates the realm of `admin.vault` in an empty store, with every key of its own at number 1.

    `issuer` is the URL in JWTs, by default `https://<realm>`. Raises Misconfigured `already-exists`.
    """
    vault, now = admin.vault, admin.now()
    record = RealmRecord(
        realm=check_name(vault.realm, "realm"),
        issuer=check_issuer(f"https://{vault.realm}" if issuer is None else issuer),
        limits=RealmLimits() if limits is None else limits,
        created=now,
        key_check=vault.master.key_check(vault.realm),
    )

    def work(tx: Transaction) -> None:
        tx.create_realm(record)
        for role, name in _OWN_KEYS:
            tx.add_realm_key(vault.new_realm_key(role, name, number=1, now=now))
        admin.record(tx, "realm.initialised", realm=record.realm, issuer=record.issuer, **_caps(record.limits))

    await admin.store.change(work)
    return record


async def show(admin: Admin) -> RealmShown:
    """The realm and its own keys, sealed."""
    return await admin.store.read(lambda tx: RealmShown(record=tx.realm(), keys=tx.realm_keys()))


async def change(admin: Admin, *, issuer: str | None = None, limits: RealmLimits | None = None) -> RealmRecord:
    """Replaces the issuer or the limits, whichever is given."""
    return await admin.store.change(lambda tx: change_in(tx, admin, issuer=issuer, limits=limits))


def change_in(tx: Transaction, admin: Admin, *, issuer: str | None, limits: RealmLimits | None) -> RealmRecord:
    """`change` within a transaction."""
    before = tx.realm()
    tx.set_realm(
        issuer=before.issuer if issuer is None else check_issuer(issuer),
        limits=before.limits if limits is None else limits,
    )
    after = tx.realm()
    admin.record(tx, "realm.changed", issuer=after.issuer, **_caps(after.limits))
    return after


async def rotate_keys(admin: Admin) -> int:
    """Adds the next number of every key of the realm and returns it. The newest seals from the next
    look at the store on; older ones still open what was sealed before."""

    def work(tx: Transaction) -> int:
        number = max(key.number for key in tx.realm_keys()) + 1
        for role, name in _OWN_KEYS:
            tx.add_realm_key(admin.vault.new_realm_key(role, name, number=number, now=admin.now()))
        admin.record(tx, "realm.key-rotated", number=number)
        return number

    return await admin.store.change(work)


async def erase_old_keys(admin: Admin) -> int:
    """Erases the realm's keys that nothing valid can be sealed under any more; returns how many.

    A key is needed until the longest ticket or token under it has ended; no replica seals under it for more than a few
    minutes after its successor was made. After lowering the limits, wait for the old ones before erasing.
    Raises Misconfigured `conflict` while the master key is being changed.
    """

    def work(tx: Transaction) -> int:
        limits = tx.realm().limits
        longest_s = max(limits.max_ticket_s, limits.max_tgt_s, limits.max_jwt_s)
        needed_since = admin.now() - longest_s - KDC_SKEW_MS // 1000
        keys = tx.realm_keys()
        if not all(admin.vault.master.may_open(key.sealed) for key in keys):
            # Those that are sealed anew already are how a vault knows the next master key.
            raise Misconfigured("conflict", "the master key is being changed: finish `realm rewrap` first")
        made = {(key.role, key.name, key.number): key.created for key in keys}
        old = [key for key in keys if made.get((key.role, key.name, key.number + 1), needed_since) < needed_since]
        for key in old:
            tx.delete_realm_key(key.role, key.name, key.number)
        if old:
            admin.record(tx, "realm.key-erased", count=len(old))
        return len(old)

    return await admin.store.change(work)


def _caps(limits: RealmLimits) -> dict[str, int]:
    return {"max_ticket_s": limits.max_ticket_s, "max_tgt_s": limits.max_tgt_s, "max_jwt_s": limits.max_jwt_s}


def check_issuer(issuer: str) -> str:
    """`issuer` itself, or Misconfigured `value-invalid`."""
    if _ISSUER.fullmatch(issuer) is None:
        raise Misconfigured("value-invalid", f"issuer {issuer!r} is not an http(s) URL")
    return issuer
