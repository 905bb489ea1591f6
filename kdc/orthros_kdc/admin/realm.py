"""Use cases on the realm itself: create it, change its limits, rotate its own keys.

Knows no principals; the master key is made before and elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from attrs import evolve, field, fields, frozen

from orthros_kdc.admin.context import Admin, require_seen
from orthros_kdc.policy.model import RealmLimits
from orthros_kdc.realm.vault import ROLE_KDCMAC, ROLE_TGT, ROLE_TICKET
from orthros_kdc.store.base import RealmKeyRecord, RealmRecord, Transaction, default_issuer
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.limits import KDC_SKEW_MS
from orthros_protocol.primitives.names import KDC_ADMIN, KDC_KEYS, KDC_TGT, check_name

__all__ = [
    "LIMITS",
    "MAC_NAME",
    "RealmChange",
    "RealmShown",
    "change",
    "change_in",
    "check_issuer",
    "erase_old_keys",
    "foresee_change",
    "init",
    "rotate_keys",
    "show",
]

MAC_NAME: Final = "kdc"
"""The name under which the numbered kdcmac keys are stored."""
LIMITS: Final = tuple(one.name for one in fields(RealmLimits))
"""The names of the limits that `change` takes."""
_OWN_KEYS: Final = (
    (ROLE_TGT, KDC_TGT),
    (ROLE_TICKET, KDC_KEYS),
    (ROLE_TICKET, KDC_ADMIN),
    (ROLE_KDCMAC, MAC_NAME),
)
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
        issuer=check_issuer(default_issuer(vault.realm) if issuer is None else issuer),
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


@frozen(kw_only=True)
class RealmChange:
    """The realm's record before a change and after it. `cut_rules` are the numbers of the rules that allow a longer
    life than a limit that gets shorter."""

    before: RealmRecord
    after: RealmRecord
    cut_rules: tuple[int, ...] = field(default=(), eq=False)

    @property
    def shortened(self) -> dict[str, tuple[int, int]]:
        """The limits that get shorter, by name: seconds before and after."""
        pairs = {one: (getattr(self.before.limits, one), getattr(self.after.limits, one)) for one in LIMITS}
        return {one: pair for one, pair in pairs.items() if pair[1] < pair[0]}


async def foresee_change(
    admin: Admin, *, issuer: str | None = None, limits: Mapping[str, int] | None = None
) -> RealmChange:
    """What `change` would do. Raises as `change`."""

    def work(tx: Transaction) -> RealmChange:
        before = tx.realm()
        wanted = RealmChange(before=before, after=_changed(before, issuer, limits or {}))
        most = max((seconds for _, seconds in wanted.shortened.values()), default=None)
        rules = tx.policy().rules if most is not None else ()
        return evolve(
            wanted,
            cut_rules=tuple(
                rule.rule_id for rule in rules if rule.max_ttl_s is not None and rule.max_ttl_s > (most or 0)
            ),
        )

    return await admin.store.read(work)


async def change(
    admin: Admin, *, issuer: str | None = None, limits: Mapping[str, int] | None = None, seen: RealmChange | None = None
) -> RealmRecord:
    """Replaces the issuer, and the limits that are named (`LIMITS`, in seconds); what is not given stays as it is
    when the change is made. Raises Misconfigured `value-invalid`, and with `seen` `conflict` when the realm was changed
    meanwhile."""

    def work(tx: Transaction) -> RealmRecord:
        before = tx.realm()
        require_seen(RealmChange(before=before, after=_changed(before, issuer, limits or {})), seen)
        return change_in(tx, admin, issuer=issuer, limits=limits or {})

    return await admin.store.change(work)


def change_in(tx: Transaction, admin: Admin, *, issuer: str | None, limits: Mapping[str, int]) -> RealmRecord:
    """`change` within a transaction."""
    after = _changed(tx.realm(), issuer, limits)
    tx.set_realm(issuer=after.issuer, limits=after.limits)
    admin.record(tx, "realm.changed", issuer=after.issuer, **_caps(after.limits))
    return after


def _changed(before: RealmRecord, issuer: str | None, limits: Mapping[str, int]) -> RealmRecord:
    unknown = sorted(set(limits) - set(LIMITS))
    if unknown:
        raise Misconfigured("value-invalid", f"{unknown[0]} is no limit of a realm")
    return evolve(
        before, issuer=before.issuer if issuer is None else check_issuer(issuer), limits=evolve(before.limits, **limits)
    )


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
