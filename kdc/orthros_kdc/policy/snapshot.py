"""All of policy at one moment, indexed for the look-up of a pair.

Built from rows; decides nothing and reads no store.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

from orthros_kdc.policy.model import GROUP_PREFIX, Rule
from orthros_kdc.store.base import PolicyRows

__all__ = ["PolicySnapshot"]

_MEMO_PAIRS: Final = 4096


class PolicySnapshot:
    """The policy of one moment, indexed once, so that a look-up does not depend on the number of rules."""

    def __init__(self, rows: PolicyRows) -> None:
        self.seq = rows.seq
        # Keys keep groups apart from principals: a name on the wire can never select a group.
        self._rules: dict[tuple[bool, str], dict[tuple[bool, str], list[Rule]]] = {}
        for rule in rows.rules:
            by_target = self._rules.setdefault((rule.client.is_group, rule.client.name), {})
            by_target.setdefault((rule.target.is_group, rule.target.name), []).append(rule)
        self._groups: dict[str, list[tuple[bool, str]]] = {}
        for group, members in rows.groups.items():
            for member in members:
                self._groups.setdefault(member, []).append((True, group))
        self._memo: dict[tuple[str, str], tuple[Rule, ...]] = {}

    def rules_for(self, client: str, target: str) -> tuple[Rule, ...]:
        """Every rule that lets `client` call `target`, in order of rule id. Names match whole or not at all."""
        known = self._memo.get((client, target))
        if known is not None:
            return known
        by_target = [self._rules[one] for one in self._selectors(client) if one in self._rules]
        targets = self._selectors(target)
        found = [rule for rules, one in product(by_target, targets) for rule in rules.get(one, ())]
        result = tuple(sorted(found, key=lambda rule: rule.rule_id))
        # Misses are not kept: whoever guesses names cannot push out the pairs that work.
        if result:
            if len(self._memo) >= _MEMO_PAIRS:
                del self._memo[next(iter(self._memo))]
            self._memo[client, target] = result
        return result

    def _selectors(self, name: str) -> list[tuple[bool, str]]:
        return [(False, name), *self._groups.get(name, ())]

    def groups_of(self, name: str) -> Iterator[str]:
        """The groups that `name` is a member of, as `group:x`. None for a `name@realm` of another realm."""
        return (f"{GROUP_PREFIX}{group}" for _, group in self._groups.get(name, ()))
