"""Use cases on principals: add, look at, disable, limit, delete.

Knows nothing of later key versions, which are `keys.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any

from attrs import evolve, frozen

from orthros_kdc.admin.context import Admin, change_as_planned, require_principal, require_seen
from orthros_kdc.admin.principal_facts import check_caps, check_sources
from orthros_kdc.admin.rules import numbers, require_unmentioned
from orthros_kdc.policy.model import Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.store.base import (
    KEY_ACTIVE,
    JwtKeyRecord,
    KeyRecord,
    OAuthSecretRecord,
    PrincipalRecord,
    Transaction,
)
from orthros_protocol.keys.keytab import Keytab

__all__ = [
    "PrincipalDeletion",
    "PrincipalShown",
    "add",
    "add_in",
    "delete",
    "delete_in",
    "disable",
    "enable",
    "foresee_deletion",
    "page",
    "set_caps",
    "set_caps_in",
    "set_disabled_in",
    "show",
]


@frozen(kw_only=True)
class PrincipalShown:
    """A principal with all that hangs on it, secrets still sealed."""

    record: PrincipalRecord
    keys: tuple[KeyRecord, ...]
    jwt_keys: tuple[JwtKeyRecord, ...]
    oauth_secrets: tuple[OAuthSecretRecord, ...]
    groups: tuple[str, ...]
    rules: tuple[Rule, ...]


async def add(admin: Admin, name: str, *, max_ticket_s: int | None = None, max_jwt_s: int | None = None) -> Keytab:
    """A new principal with key version 1, active at once. The returned key file is the only copy handed out.

    The caps are those of `set_caps`. Raises Misconfigured `already-exists`, `name-invalid`, `value-invalid`,
    or `conflict` for a name under kdc/.
    """
    caps = check_caps(max_ticket_s=max_ticket_s, max_jwt_s=max_jwt_s)
    return await admin.store.change(lambda tx: add_in(tx, admin, name, caps))


def add_in(tx: Transaction, admin: Admin, name: str, caps: Mapping[str, Any]) -> Keytab:
    """`add` within a transaction, with caps that `check_caps` has seen."""
    tx.realm()  # no principal before `init`
    now = admin.now()
    principal = tx.add_principal(name=name, created=now)
    tx.set_principal(evolve(principal, **caps))
    record, root = admin.vault.new_root(principal, kvno=1, state=KEY_ACTIVE, now=now)
    tx.add_key(record)
    admin.record(tx, "principal.added", principal=name, uid=principal.uid, kid=record.kid_as.hex(), **caps)
    return Keytab.of(root)


async def page(admin: Admin, *, after: str = "", most: int = 1000) -> tuple[PrincipalRecord, ...]:
    """At most `most` principals in name order, beginning behind `after`."""
    return await admin.store.read(lambda tx: tx.principals(after=after, most=most))


async def show(admin: Admin, name: str) -> PrincipalShown:
    """One principal with its keys, groups and rules. Raises Misconfigured `not-found`."""

    def work(tx: Transaction) -> PrincipalShown:
        record = require_principal(tx, name)
        groups = tx.groups_with(name)
        names = (Selector(name), *(Selector(group, is_group=True) for group in groups))
        rules = {rule.rule_id: rule for one in names for rule in tx.rules_naming(one)}
        return PrincipalShown(
            record=record,
            keys=tx.keys_of(record.uid),
            jwt_keys=tx.jwt_keys_of(record.uid),
            oauth_secrets=tx.oauth_secrets_of(record.uid),
            groups=groups,
            rules=tuple(rules[number] for number in sorted(rules)),
        )

    return await admin.store.read(work)


async def disable(admin: Admin, name: str) -> bool:
    """Refuses it everything new, as client and as target. False when it was disabled already."""
    return await admin.store.change(lambda tx: set_disabled_in(tx, admin, name, disabled=True))


async def enable(admin: Admin, name: str) -> bool:
    """Undoes `disable`. False when it was enabled already."""
    return await admin.store.change(lambda tx: set_disabled_in(tx, admin, name, disabled=False))


def set_disabled_in(tx: Transaction, admin: Admin, name: str, *, disabled: bool) -> bool:
    """`disable` or `enable` within a transaction."""
    record = require_principal(tx, name)
    if record.disabled == disabled:
        return False
    tx.set_principal(evolve(record, disabled=disabled))
    event = "principal.disabled" if disabled else "principal.enabled"
    admin.record(tx, event, principal=name, uid=record.uid)
    return True


async def set_caps(
    admin: Admin,
    name: str,
    *,
    max_ticket_s: int | EllipsisType | None = ...,
    max_jwt_s: int | EllipsisType | None = ...,
    sources: Sequence[str] | None = None,
) -> PrincipalRecord:
    """Limits the life of tickets and JWTs for this principal in seconds, and the networks that it may ask from.

    None leaves the limit to realm and rules; `...` leaves it as it is when the change is made. `sources` are in CIDR
    form; an empty sequence lets the principal ask from anywhere, and None leaves them as they are. Raises Misconfigured
    `not-found` or `value-invalid`.
    """
    named = {"max_ticket_s": max_ticket_s, "max_jwt_s": max_jwt_s}
    caps = check_caps(**{what: cap for what, cap in named.items() if not isinstance(cap, EllipsisType)})
    networks = None if sources is None else check_sources(sources)
    return await admin.store.change(lambda tx: set_caps_in(tx, admin, name, caps, networks))


def set_caps_in(
    tx: Transaction, admin: Admin, name: str, caps: Mapping[str, Any], networks: tuple[str, ...] | None
) -> PrincipalRecord:
    """`set_caps` within a transaction, with what `check_caps` and `check_sources` have seen."""
    before = require_principal(tx, name)
    after = evolve(before, **caps, sources=before.sources if networks is None else networks)
    tx.set_principal(after)
    told = " ".join(after.sources)
    admin.record(
        tx,
        "principal.capped",
        principal=name,
        uid=after.uid,
        max_ticket_s=after.max_ticket_s,
        max_jwt_s=after.max_jwt_s,
        sources=told,
    )
    return after


@frozen(kw_only=True)
class PrincipalDeletion:
    """What goes when the principal `uid` is deleted: the rules from it and to it, its memberships, and the default
    target of the OAuth clients called `clients`."""

    uid: int
    rules: tuple[Rule, ...]
    groups: tuple[str, ...]
    clients: tuple[str, ...]


async def foresee_deletion(admin: Admin, name: str) -> PrincipalDeletion:
    """What `delete` would take along. Raises as `delete`."""

    def work(tx: Transaction) -> PrincipalDeletion:
        along = _taken_along(tx, name)
        require_unmentioned(tx, Selector(name))
        return along

    return await admin.store.read(work)


async def delete(admin: Admin, name: str, *, seen: PrincipalDeletion | None = None) -> PrincipalDeletion:
    """Removes it with its keys, secrets, memberships and rules, and returns what went along. A later principal of
    this name is another one, which inherits nothing.

    Raises Misconfigured `not-found`, or `conflict` while the conditions of another's rule name it, and with `seen`
    when something else would go along by now.
    """

    def plan(tx: Transaction) -> PrincipalDeletion:
        along = _taken_along(tx, name)
        require_seen(along, seen)
        require_unmentioned(tx, Selector(name))
        return along

    return await change_as_planned(admin.store, plan, lambda tx, along: _delete(tx, admin, name, along))


def delete_in(tx: Transaction, admin: Admin, name: str) -> PrincipalDeletion:
    """`delete` within a transaction, of a principal that the conditions of no remaining rule name."""
    return _delete(tx, admin, name, _taken_along(tx, name))


def _delete(tx: Transaction, admin: Admin, name: str, along: PrincipalDeletion) -> PrincipalDeletion:
    for client in tx.principals_with_default(name):
        tx.set_principal(evolve(client, default_audience=None))
    tx.delete_principal(along.uid)
    admin.record(
        tx,
        "principal.deleted",
        principal=name,
        uid=along.uid,
        rules=numbers(along.rules),
        groups=" ".join(along.groups),
        default_audience_of=" ".join(along.clients),
    )
    return along


def _taken_along(tx: Transaction, name: str) -> PrincipalDeletion:
    uid = require_principal(tx, name).uid
    clients = (client.name for client in tx.principals_with_default(name) if client.name != name)
    rules, groups = tx.rules_naming(Selector(name)), tx.groups_with(name)
    return PrincipalDeletion(uid=uid, rules=rules, groups=groups, clients=tuple(clients))
