"""Use cases on groups: sets of principals that rules can name. Groups hold no groups.

Knows no rules, except that a deleted group takes those that name it along.
"""

from __future__ import annotations

from attrs import frozen

from orthros_kdc.admin.context import Admin, change_as_planned, require_seen
from orthros_kdc.admin.rules import numbers, require_unmentioned
from orthros_kdc.policy.model import Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.reasons import NO_GROUP
from orthros_kdc.store.base import Transaction
from orthros_protocol.errors import Misconfigured

__all__ = [
    "GroupDeletion",
    "add",
    "add_in",
    "add_member",
    "add_member_in",
    "delete",
    "delete_in",
    "foresee_deletion",
    "listed",
    "remove_member",
    "remove_member_in",
    "show",
]


async def add(admin: Admin, group: str) -> None:
    """A new, empty group. Raises Misconfigured `already-exists` or `name-invalid`."""
    await admin.store.change(lambda tx: add_in(tx, admin, group))


def add_in(tx: Transaction, admin: Admin, group: str) -> None:
    """`add` within a transaction."""
    tx.add_group(group)
    admin.record(tx, "group.added", group=group)


@frozen(kw_only=True)
class GroupDeletion:
    """What goes when a group is deleted: its members' places, and the rules from it and to it."""

    members: frozenset[str]
    rules: tuple[Rule, ...]


async def foresee_deletion(admin: Admin, group: str) -> GroupDeletion:
    """What `delete` would take along. Raises as `delete`."""

    def work(tx: Transaction) -> GroupDeletion:
        along = _taken_along(tx, group)
        require_unmentioned(tx, Selector(group, is_group=True))
        return along

    return await admin.store.read(work)


async def delete(admin: Admin, group: str, *, seen: GroupDeletion | None = None) -> GroupDeletion:
    """Removes a group and the rules from it or to it, and returns what went along. Raises Misconfigured `not-found`,
    or `conflict` while the conditions of another rule name it, and with `seen` when something else would go along by
    now."""

    def plan(tx: Transaction) -> GroupDeletion:
        along = _taken_along(tx, group)
        require_seen(along, seen)
        require_unmentioned(tx, Selector(group, is_group=True))
        return along

    return await change_as_planned(admin.store, plan, lambda tx, along: _delete(tx, admin, group, along))


def delete_in(tx: Transaction, admin: Admin, group: str) -> GroupDeletion:
    """`delete` within a transaction, of a group that the conditions of no remaining rule name."""
    return _delete(tx, admin, group, _taken_along(tx, group))


def _delete(tx: Transaction, admin: Admin, group: str, along: GroupDeletion) -> GroupDeletion:
    tx.delete_group(group)
    admin.record(tx, "group.deleted", group=group, members=len(along.members), rules=numbers(along.rules))
    return along


def _taken_along(tx: Transaction, group: str) -> GroupDeletion:
    return GroupDeletion(members=_members(tx, group), rules=tx.rules_naming(Selector(group, is_group=True)))


def _members(tx: Transaction, group: str) -> frozenset[str]:
    members = tx.members_of(group)
    if members is None:
        raise Misconfigured(NO_GROUP, f"group {group}")
    return members


async def add_member(admin: Admin, group: str, principal: str) -> None:
    """Raises Misconfigured `not-found` or `already-exists`."""
    await admin.store.change(lambda tx: add_member_in(tx, admin, group, principal))


def add_member_in(tx: Transaction, admin: Admin, group: str, principal: str) -> None:
    """`add_member` within a transaction."""
    tx.add_member(group, principal)
    admin.record(tx, "group.member-added", group=group, principal=principal)


async def remove_member(admin: Admin, group: str, principal: str) -> None:
    """Raises Misconfigured `not-found`."""
    await admin.store.change(lambda tx: remove_member_in(tx, admin, group, principal))


def remove_member_in(tx: Transaction, admin: Admin, group: str, principal: str) -> None:
    """`remove_member` within a transaction."""
    tx.remove_member(group, principal)
    admin.record(tx, "group.member-removed", group=group, principal=principal)


async def listed(admin: Admin) -> dict[str, frozenset[str]]:
    """Every group and its members, in name order."""
    groups = await admin.store.read(lambda tx: tx.policy().groups)
    return dict(sorted(groups.items()))


async def show(admin: Admin, group: str) -> frozenset[str]:
    """The members of one group. Raises Misconfigured `not-found`."""
    return await admin.store.read(lambda tx: _members(tx, group))
