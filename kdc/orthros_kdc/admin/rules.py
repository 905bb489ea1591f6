"""Use cases on rules: allow a pair, deny it, list what is allowed.

Knows how rules are kept, not how they decide; what no rule allows is refused.
"""

from __future__ import annotations

from attrs import evolve

from orthros_kdc.admin.context import Admin
from orthros_kdc.policy.model import Rule, Selector
from orthros_kdc.store.base import Transaction
from orthros_protocol import Misconfigured

__all__ = ["allow", "deny", "listed", "remove"]


async def allow(admin: Admin, client: str, target: str, *, scopes: tuple[str, ...] = (), max_ttl_s: int | None = None,
                jwt: bool = False, delegable: bool = False, subjects: tuple[str, ...] = ()) -> Rule:  # fmt: skip
    """Adds a rule from `client` to `target`, each a name or `group:name`; one direction only.

    `subjects` are patterns of those in whose name the client may ask as well. Other scopes for the same pair make
    another rule. Raises Misconfigured `already-exists` for a rule that grants exactly the same, `not-found` when a
    selector names nobody, `scope-invalid` or `value-invalid`.
    """
    wanted = Rule(rule_id=0, client=Selector.parse(client), target=Selector.parse(target), scopes=scopes,
                  max_ttl_s=max_ttl_s, jwt=jwt, delegable=delegable, subjects=subjects)  # fmt: skip

    def work(tx: Transaction) -> Rule:
        for present in tx.rules_between(wanted.client, wanted.target):
            if evolve(present, rule_id=0) == wanted:
                raise Misconfigured("already-exists", str(present))
        rule = tx.add_rule(client=wanted.client, target=wanted.target, scopes=wanted.scopes,
                           max_ttl_s=max_ttl_s, jwt=jwt, delegable=delegable, subjects=wanted.subjects)  # fmt: skip
        admin.record(tx, "rule.added", rule=rule.rule_id, client=client, target=target, scopes=" ".join(rule.scopes),
                     max_ttl_s=max_ttl_s, jwt=int(jwt), delegable=int(delegable),
                     subjects=" ".join(rule.subjects))  # fmt: skip
        return rule

    return await admin.store.change(work)


async def deny(admin: Admin, client: str, target: str) -> tuple[Rule, ...]:
    """Removes every rule that names exactly this pair, and returns them. Raises Misconfigured `not-found`.

    A rule by way of a group stays: `orthros-admin policy explain` shows it.
    """
    from_, to = Selector.parse(client), Selector.parse(target)

    def work(tx: Transaction) -> tuple[Rule, ...]:
        found = tx.rules_between(from_, to)
        if not found:
            raise Misconfigured("not-found", f"no rule names {client} and {target}")
        _remove(admin, tx, found)
        return found

    return await admin.store.change(work)


async def remove(admin: Admin, rule_id: int) -> Rule:
    """Removes one rule by its number, and returns it. Raises Misconfigured `not-found`."""

    def work(tx: Transaction) -> Rule:
        found = next((rule for rule in tx.policy().rules if rule.rule_id == rule_id), None)
        if found is None:
            raise Misconfigured("not-found", f"rule {rule_id}")
        _remove(admin, tx, (found,))
        return found

    return await admin.store.change(work)


async def listed(admin: Admin, *, client: str | None = None, target: str | None = None) -> tuple[Rule, ...]:
    """The rules, oldest first; only those that name `client` or `target` exactly where they are given."""
    from_ = None if client is None else Selector.parse(client)
    to = None if target is None else Selector.parse(target)
    rules = await admin.store.read(lambda tx: tx.policy().rules)
    return tuple(
        rule for rule in rules if from_ in (None, rule.client) and to in (None, rule.target)
    )  # fmt: skip


def _remove(admin: Admin, tx: Transaction, rules: tuple[Rule, ...]) -> None:
    for rule in rules:
        tx.delete_rule(rule.rule_id)
    admin.record(tx, "rule.removed", rules=" ".join(str(rule.rule_id) for rule in rules),
                 client=str(rules[0].client), target=str(rules[0].target))  # fmt: skip
