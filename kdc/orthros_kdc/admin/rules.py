"""Use cases on rules: allow a pair, deny it, list what is allowed.

Knows how rules are kept, not how they decide; what no rule allows is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from attrs import evolve

from orthros_kdc.admin.context import Admin, Fact, change_as_planned, require_seen
from orthros_kdc.policy.model import GROUP_PREFIX, Selector, second_of
from orthros_kdc.policy.named import mentioned, named_subjects
from orthros_kdc.policy.rule import CONDITIONS, Rule, stated
from orthros_kdc.policy.rule_table import SHARED_FACT
from orthros_kdc.reasons import ALREADY_EXISTS, NO_GROUP, NO_PRINCIPAL, NO_RULE
from orthros_kdc.store.base import Transaction
from orthros_kdc.store.rule_rows import opened
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.limits import MAX_INT

__all__ = [
    "add",
    "allow",
    "deny",
    "foresee_denial",
    "listed",
    "numbers",
    "removal_facts",
    "remove",
    "require_unmentioned",
    "rule_facts",
]


async def allow(admin: Admin, client: str, target: str, *, scopes: tuple[str, ...] = (), **conditions: Any) -> Rule:
    """Adds a rule from `client` to `target`, each a name or `group:name`; one direction only.

    `conditions` are fields of `Rule`. Other scopes for the same pair make another rule. Raises Misconfigured
    `already-exists` for a rule that says exactly the same, `not-found` when anybody that it names is nobody,
    `name-invalid`, `scope-invalid` or `value-invalid`.
    """
    wanted = Rule(rule_id=0, client=Selector.parse(client), target=Selector.parse(target), scopes=scopes, **conditions)

    def work(tx: Transaction) -> Rule:
        rule = add(tx, wanted)
        admin.record(tx, "rule.added", **rule_facts(rule, rule.rule_id))
        return rule

    return await admin.store.change(work)


def add(tx: Transaction, wanted: Rule) -> Rule:
    """Adds `wanted` under a number of its own, inside a change; the caller records it. Raises as `allow`."""
    for present in tx.rules_between(wanted.client, wanted.target):
        if evolve(present, rule_id=0) == evolve(wanted, rule_id=0):
            raise Misconfigured(ALREADY_EXISTS, str(present))
    # A slip of the pen in a condition would be a path that nobody forbids, or a discharge that nobody gives.
    realm = tx.realm().realm
    for text in sorted({whom for _, _, whom in mentioned(wanted)}):
        name, _, where = text.partition("@")
        if where == realm:
            raise Misconfigured("value-invalid", f"{text} is of this realm: write {name}")
        if not where and not _exists(tx, Selector.parse(text)):
            raise Misconfigured(NO_GROUP if text.startswith(GROUP_PREFIX) else NO_PRINCIPAL, text)
    (number,) = tx.add_rules([wanted])
    return evolve(wanted, rule_id=number)


def require_unmentioned(tx: Transaction, gone: Selector) -> None:
    """Raises Misconfigured `conflict` when a rule would go on naming `gone` after its deletion: a later one of this
    name would stand in its place, and until then a condition would hold for nobody.

    That goes for `subjects` and `behalf` as well, where a name need not be a principal: a pattern such as `users/*`
    names no principal and stays.
    """
    for rule in tx.rules_mentioning(gone.name):
        named = {whom for _, _, whom in mentioned(rule)}.union(*(named_subjects(rule, row) for row in CONDITIONS))
        if str(gone) in named and gone not in (rule.client, rule.target):
            raise Misconfigured("conflict", f"{rule}; remove it before {gone}")


def numbers(rules: Iterable[Rule]) -> str:
    """The numbers of `rules` as one fact of an event."""
    return " ".join(str(rule.rule_id) for rule in rules)


def rule_facts(rule: Rule, rule_id: int) -> dict[str, Fact]:
    """A new rule, which was given the number `rule_id`, as the audit trail keeps it: conditions that share a fact are
    told together, and those without one of their own only when they say something."""
    facts: dict[str, Fact] = {
        "rule": rule_id,
        "client": str(rule.client),
        "target": str(rule.target),
        "scopes": " ".join(rule.scopes),
    }
    shared: dict[str, list[str]] = {row.fact: [] for row in CONDITIONS if row.fact != row.attribute}
    for row in CONDITIONS:
        if row.fact not in shared:
            value = getattr(rule, row.attribute)
            words = " ".join(value) if isinstance(value, tuple) else None
            facts[row.fact] = words if words is not None or value is None else int(value)
    for row in stated(rule):
        if row.fact in shared:
            shared[row.fact] += row.texts(rule)
    return facts | {name: ", ".join(texts) for name, texts in shared.items() if texts or name != SHARED_FACT}


def removal_facts(rules: Sequence[Rule]) -> dict[str, Fact]:
    """The rules of one pair that go, as the audit trail keeps them."""
    return {"rules": numbers(rules), "client": str(rules[0].client), "target": str(rules[0].target)}


def _exists(tx: Transaction, selector: Selector) -> bool:
    if selector.is_group:
        return tx.members_of(selector.name) is not None
    return tx.principal_by_name(selector.name) is not None


async def foresee_denial(admin: Admin, client: str, target: str) -> tuple[Rule, ...]:
    """The rules that `deny` would remove. Raises Misconfigured `not-found`."""
    return await admin.store.read(lambda tx: _between(tx, client, target))


async def deny(admin: Admin, client: str, target: str, *, seen: tuple[Rule, ...] | None = None) -> tuple[Rule, ...]:
    """Removes every rule that names exactly this pair, and returns them. Raises Misconfigured `not-found`, and with
    `seen` `conflict` when these are other rules by now.

    A rule by way of a group stays: `orthros-admin policy explain` shows it.
    """

    def plan(tx: Transaction) -> tuple[Rule, ...]:
        found = _between(tx, client, target)
        require_seen(found, seen)
        return found

    def make(tx: Transaction, found: tuple[Rule, ...]) -> tuple[Rule, ...]:
        _remove(admin, tx, found)
        return found

    return await change_as_planned(admin.store, plan, make)


def _between(tx: Transaction, client: str, target: str) -> tuple[Rule, ...]:
    found = tx.rules_between(Selector.parse(client), Selector.parse(target))
    if not found:
        raise Misconfigured(NO_RULE, f"no rule names {client} and {target}")
    return found


async def remove(admin: Admin, rule_id: int) -> Rule:
    """Removes one rule by its number, and returns it. Raises Misconfigured `not-found`."""

    def work(tx: Transaction) -> Rule:
        row = tx.rule_row(rule_id)
        if row is None:
            raise Misconfigured(NO_RULE, f"rule {rule_id}")
        found = opened(row)
        _remove(admin, tx, (found,))
        return found

    return await admin.store.change(work)


async def listed(
    admin: Admin, *, client: str | None = None, target: str | None = None, ending_s: int | None = None
) -> tuple[Rule, ...]:
    """The rules, oldest first; only those that name `client` or `target` exactly where they are given, and with
    `ending_s` only those that have ended or end within so many seconds."""
    for name in (client, target):
        if name is not None:
            Selector.parse(name)

    last = MAX_INT if ending_s is None else admin.now() + ending_s

    def work(tx: Transaction) -> tuple[Rule, ...]:
        rows = (row for row in tx.rule_rows() if client in (None, row.client) and target in (None, row.target))
        return tuple(rule for rule in map(opened, rows) if second_of(rule.until) <= last)

    return await admin.store.read(work)


def _remove(admin: Admin, tx: Transaction, rules: tuple[Rule, ...]) -> None:
    tx.delete_rules([rule.rule_id for rule in rules])
    admin.record(tx, "rule.removed", **removal_facts(rules))
