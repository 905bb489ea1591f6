"""Use cases on groups: sets of principals that rules can name. Groups hold no groups.

Knows no rules, except that a deleted group takes those that name it along.
"""

from __future__ import annotations

from orthros_kdc.admin.context import Admin
from orthros_kdc.admin.rules import require_unmentioned
from orthros_kdc.policy.model import Selector
from orthros_kdc.store.base import Transaction
from orthros_protocol import Misconfigured

__all__ = ["add", "add_in", "add_member", "add_member_in", "delete", "delete_in", "listed", "remove_member",
           "remove_member_in", "show"]  # fmt: skip


async def add(admin: Admin, group: str) -> None:
    """A new, empty group. Raises Misconfigured `already-exists` or `name-invalid`."""
    await admin.store.change(lambda tx: add_in(tx, admin, group))


def add_in(tx: Transaction, admin: Admin, group: str) -> None:
    """`add` within a transaction."""
    tx.add_group(group)
    admin.record(tx, "group.added", group=group)


async def delete(admin: Admin, group: str) -> None:
    """Removes a group and the rules from it or to it. Raises Misconfigured `not-found`, or `conflict` while the
    conditions of another rule name it."""

    def work(tx: Transaction) -> None:
        require_unmentioned(tx, Selector(group, is_group=True))
        delete_in(tx, admin, group)

    await admin.store.change(work)


def delete_in(tx: Transaction, admin: Admin, group: str) -> None:
    """`delete` within a transaction, of a group that no rule's conditions name."""
    before = tx.policy()
    tx.delete_group(group)
    lost = len(before.rules) - len(tx.policy().rules)
    admin.record(tx, "group.deleted", group=group, members=len(before.groups[group]), rules=lost)


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
    groups = await listed(admin)
    if group not in groups:
        raise Misconfigured("not-found", f"group {group}")
    return groups[group]
