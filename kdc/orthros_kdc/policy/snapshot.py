"""All of policy at one moment, indexed for the look-up of a pair; after a change, a new one that shares the rest.

Built from rows; decides nothing and reads no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Final

from orthros_kdc.policy.ask_and_grant import Ask, Circumstances
from orthros_kdc.policy.holding import holding
from orthros_kdc.policy.model import GROUP_PREFIX
from orthros_kdc.policy.rule import Rule
from orthros_kdc.policy.shards import Shards
from orthros_kdc.store.base import PolicyRows, Transaction
from orthros_kdc.store.rule_rows import RuleRow, opened, row_of

__all__ = ["PolicySnapshot"]

_MEMO_PAIRS: Final = 4096
# By target, the rules of one client, oldest first. Both are selectors in text form: names hold no colon, so a name on
# the wire can never select a group.
_ByTarget = dict[str, tuple[RuleRow, ...]]


class PolicySnapshot:
    """The policy of one moment: immutable, and a look-up does not depend on the number of rules. `seq` is what clients
    are told of it (`ChangeHead.feed_seq`)."""

    __slots__ = ("_groups", "_memo", "_places", "_rules", "seq")

    def __init__(self, rows: PolicyRows) -> None:
        members = ((group, member) for group, names in rows.groups.items() for member in names)
        self._fill(rows.seq, map(row_of, rows.rules), members)

    @classmethod
    def read(cls, tx: Transaction) -> PolicySnapshot:
        """All of policy in the store."""
        made = cls.__new__(cls)
        made._fill(tx.head().feed_seq, tx.rule_rows(), tx.memberships())
        return made

    def _fill(self, seq: int, rules: Iterable[RuleRow], members: Iterable[tuple[str, str]]) -> None:
        by_client: dict[str, dict[str, list[RuleRow]]] = {}
        places: list[tuple[int, RuleRow]] = []
        for row in rules:
            by_client.setdefault(row.client, {}).setdefault(row.target, []).append(row)
            places.append((row.rule_id, row))
        groups: dict[str, list[str]] = {}
        for group, member in members:
            groups.setdefault(member, []).append(f"{GROUP_PREFIX}{group}")
        self.seq = seq
        self._rules: Shards[str, _ByTarget] = Shards(
            (client, {target: tuple(found) for target, found in by_target.items()})
            for client, by_target in by_client.items()
        )
        self._places: Shards[int, RuleRow] = Shards(places)
        self._groups: Shards[str, tuple[str, ...]] = Shards((member, tuple(held)) for member, held in groups.items())
        self._memo: dict[tuple[str, str], tuple[Rule, ...]] = {}

    def changed(
        self, seq: int, rules: Mapping[int, RuleRow | None], members: Mapping[tuple[str, str], bool]
    ) -> PolicySnapshot:
        """The policy at `seq`, in which `rules` are as given, by number, None for one that is gone, and each pair of
        a group and a principal of `members` belongs together or not."""
        by_client: dict[str, _ByTarget | None] = {}

        def rules_of(client: str) -> _ByTarget:
            found = by_client.get(client)
            if found is None:
                found = by_client[client] = dict(self._rules.get(client) or {})
            return found

        for rule_id, row in rules.items():
            before = self._places.get(rule_id)
            if before is not None:
                by_target = rules_of(before.client)
                left = tuple(one for one in by_target[before.target] if one.rule_id != rule_id)
                if left:
                    by_target[before.target] = left
                else:
                    del by_target[before.target]
            if row is not None:
                by_target = rules_of(row.client)
                by_target[row.target] = (*by_target.get(row.target, ()), row)
        groups: dict[str, tuple[str, ...] | None] = {}
        for (group, member), belongs in members.items():
            held = groups[member] if member in groups else self._groups.get(member)
            others = tuple(one for one in held or () if one != f"{GROUP_PREFIX}{group}")
            groups[member] = ((*others, f"{GROUP_PREFIX}{group}") if belongs else others) or None
        made = PolicySnapshot.__new__(PolicySnapshot)
        made.seq = seq
        made._rules = self._rules.changed({client: found or None for client, found in by_client.items()})
        made._places = self._places.changed(rules)
        made._groups = self._groups.changed(groups)
        made._memo = {}
        return made

    def rules_for(self, client: str, target: str) -> tuple[Rule, ...]:
        """Every rule that lets `client` call `target`, in order of rule id. Names match whole or not at all.

        One that is stored as no rule can be is among them, and grants nothing (`Rule.unusable`).
        """
        known = self._memo.get((client, target))
        if known is not None:
            return known
        by_target = [rules for one in self._selectors(client) if (rules := self._rules.get(one)) is not None]
        targets = self._selectors(target) if by_target else ()
        found = [row for rules, one in product(by_target, targets) for row in rules.get(one, ())]
        result = tuple(map(opened, sorted(found, key=lambda row: row.rule_id)))
        # Misses are not kept: a client that guesses names cannot push out the pairs that work.
        if result:
            if len(self._memo) >= _MEMO_PAIRS:
                del self._memo[next(iter(self._memo))]
            self._memo[client, target] = result
        return result

    def own_scopes(self, name: str, target: str, now: int | None) -> frozenset[str] | None:
        """The scopes that `name` can have at `target` in its own name at the second `now`, wherever it asks from and
        without a caveat; None when no such rule lets it call `target`."""
        ask = Ask(target=target)
        free = [rule for rule in self.rules_for(name, target) if not rule.caveats]
        held = holding(ask, free, Circumstances(address="", now=now)).rules if free else ()
        return frozenset(scope for rule in held for scope in rule.scopes) if held else None

    def _selectors(self, name: str) -> tuple[str, ...]:
        # A name that spells like a group would select one: none on the wire does, and none that is refused here.
        return () if name.startswith(GROUP_PREFIX) else (name, *(self._groups.get(name) or ()))

    def groups_of(self, name: str) -> Iterator[str]:
        """The groups that `name` is a member of, as `group:x`. None for a `name@realm` of another realm."""
        return iter(self._groups.get(name) or ())
