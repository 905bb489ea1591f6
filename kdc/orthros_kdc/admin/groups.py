"""Use cases on groups: sets of principals that rules can name. Groups hold no groups.

Knows no rules, except that a deleted group takes those that name it along.
"""

from __future__ import annotations

from orthros_kdc.admin.context import Admin
from orthros_kdc.admin.rules import require_unmentioned
from orthros_kdc.policy.model import Selector
from orthros_kdc.store.base import Transaction
from orthros_protocol import Misconfigured

__all__ = ["add", "add_member", "delete", "listed", "remove_member", "show"]


async def add(admin: Admin, group: str) -> None:
    """A new, empty group. Raises Misconfigured `already-exists` or `name-invalid`."""

    def work(tx: Transaction) -> None:
        tx.add_group(group)
        admin.record(tx, "group.added", group=group)

    await admin.store.change(work)


async def delete(admin: Admin, group: str) -> None:
    """Removes a group and the rules from it or to it. Raises Misconfigured `not-found`, or `conflict` while the
    conditions of another rule name it."""

    def work(tx: Transaction) -> None:
        before = tx.policy()
        require_unmentioned(tx, Selector(group, is_group=True))
        tx.delete_group(group)
        lost = len(before.rules) - len(tx.policy().rules)
        admin.record(tx, "group.deleted", group=group, members=len(before.groups[group]), rules=lost)

    await admin.store.change(work)


async def add_member(admin: Admin, group: str, principal: str) -> None:
    """Raises Misconfigured `not-found` or `already-exists`."""

    def work(tx: Transaction) -> None:
        tx.add_member(group, principal)
        admin.record(tx, "group.member-added", group=group, principal=principal)

    await admin.store.change(work)


async def remove_member(admin: Admin, group: str, principal: str) -> None:
    """Raises Misconfigured `not-found`."""

    def work(tx: Transaction) -> None:
        tx.remove_member(group, principal)
        admin.record(tx, "group.member-removed", group=group, principal=principal)

    await admin.store.change(work)


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
