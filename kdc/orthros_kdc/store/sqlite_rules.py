"""The rows of policy inside one open SQLite transaction: rules, groups and who is in them.

Who client and target of a rule are stands in columns of its own, by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from attrs import define

from orthros_kdc.policy.model import Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.reasons import ALREADY_EXISTS, NO_GROUP, NO_PRINCIPAL
from orthros_kdc.store.base import PolicyRows
from orthros_kdc.store.change_log import CHANGED_GROUP, CHANGED_MEMBER, CHANGED_RULE
from orthros_kdc.store.rule_rows import GONE, RuleRow, opened, terms_of
from orthros_kdc.store.sqlite_audit import AuditRows
from orthros_kdc.store.statements import missing
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.names import check_name

__all__ = ["RuleRows"]

_MEMBERS: Final = "SELECT g.name, p.name FROM members JOIN groups g USING (group_id) JOIN principals p USING (uid)"
_RULES: Final = """
    SELECT rule_id, coalesce(cp.name, 'group:' || cg.name), coalesce(tp.name, 'group:' || tg.name),
           CAST(terms AS BLOB)
    FROM rules
    LEFT JOIN principals cp ON cp.uid = client_uid LEFT JOIN groups cg ON cg.group_id = client_group
    LEFT JOIN principals tp ON tp.uid = target_uid LEFT JOIN groups tg ON tg.group_id = target_group
"""

_INSERT_RULE: Final = """
    INSERT INTO rules (rule_id, client_uid, client_group, target_uid, target_group, terms)
    VALUES (?, ?, ?, ?, ?, ?)
"""


def _read_rules(rows: Iterable[tuple[Any, ...]]) -> Iterator[RuleRow]:
    """The rules of rows of `_RULES`. What is equal in many of them is kept once: most rules differ in names alone.

    Terms that are not UTF-8 are the terms of no rule, since these are ASCII; SQLite would stop at them.
    """
    texts: dict[str, str] = {}
    for rule_id, client, target, terms in rows:
        said = (client or GONE, target or GONE, terms.decode("utf-8", "replace"))
        kept = [texts.setdefault(text, text) for text in said]
        yield RuleRow(rule_id, *kept)


@define
class RuleRows(AuditRows):
    """A part of the Transaction; `SqliteRows` adds the others."""

    def policy(self) -> PolicyRows:
        groups: dict[str, set[str]] = {name: set() for (name,) in self._rows("SELECT name FROM groups")}
        for group, principal in self.memberships():
            groups[group].add(principal)
        return PolicyRows(
            seq=self.head().feed_seq,
            rules=tuple(map(opened, self.rule_rows())),
            groups={name: frozenset(members) for name, members in groups.items()},
        )

    def rule_rows(self) -> Iterator[RuleRow]:
        return _read_rules(self._connection.execute(f"{_RULES} ORDER BY rule_id"))

    def rule_row(self, rule_id: int) -> RuleRow | None:
        return next(_read_rules(self._rows(f"{_RULES} WHERE rule_id = ?", rule_id)), None)

    def memberships(self) -> Iterator[tuple[str, str]]:
        return iter(self._connection.execute(_MEMBERS))

    def is_member(self, group: str, principal: str) -> bool:
        return self._row(f"{_MEMBERS} WHERE g.name = ? AND p.name = ?", group, principal) is not None

    def members_of(self, group: str) -> frozenset[str] | None:
        if self._group(group) is None:
            return None
        return frozenset(name for _, name in self._rows(f"{_MEMBERS} WHERE g.name = ?", group))

    def rules_mentioning(self, name: str) -> tuple[Rule, ...]:
        rows = self._rows(f"{_RULES} WHERE instr(terms, ?) ORDER BY rule_id", name)
        return tuple(map(opened, _read_rules(rows)))

    def _numbers(self, selector: Selector) -> tuple[int | None, int | None] | None:
        """The uid or the group's number, in the columns' order, or None when no principal or group has this name."""
        if selector.is_group:
            group = self._group(selector.name)
            return None if group is None else (None, group)
        uid = self._uid(selector.name)
        return None if uid is None else (uid, None)

    def _uid(self, name: str) -> int | None:
        row = self._row("SELECT uid FROM principals WHERE name = ?", name)
        return None if row is None else row[0]

    def _group(self, name: str) -> int | None:
        row = self._row("SELECT group_id FROM groups WHERE name = ?", name)
        return None if row is None else row[0]

    def rules_between(self, client: Selector, target: Selector) -> tuple[Rule, ...]:
        from_, to = self._numbers(client), self._numbers(target)
        if from_ is None or to is None:
            return ()
        where = "client_uid IS ? AND client_group IS ? AND target_uid IS ? AND target_group IS ?"
        return tuple(map(opened, _read_rules(self._rows(f"{_RULES} WHERE {where} ORDER BY rule_id", *from_, *to))))

    def rules_naming(self, selector: Selector) -> tuple[Rule, ...]:
        numbers = self._numbers(selector)
        if numbers is None:
            return ()
        kind, number = ("group", numbers[1]) if selector.is_group else ("uid", numbers[0])
        where = f"client_{kind} = ? OR target_{kind} = ?"
        rows = _read_rules(self._rows(f"{_RULES} WHERE {where} ORDER BY rule_id", number, number))
        return tuple(map(opened, rows))

    def groups_with(self, principal: str) -> tuple[str, ...]:
        statement = (
            "SELECT g.name FROM members JOIN groups g USING (group_id) JOIN principals p USING (uid)"
            " WHERE p.name = ? ORDER BY g.name"
        )
        return tuple(self._texts(statement, principal))

    def add_rules(self, rules: Sequence[Rule]) -> range:
        sides: dict[Selector, tuple[int | None, int | None]] = {}
        for side in dict.fromkeys(side for rule in rules for side in (rule.client, rule.target)):
            numbers = self._numbers(side)
            if numbers is None:
                raise missing(side)
            sides[side] = numbers
        last = self._row("SELECT seq FROM sqlite_sequence WHERE name = 'rules'")
        first = 1 if last is None else last[0] + 1
        added = range(first, first + len(rules))
        self._run_many(
            _INSERT_RULE,
            [
                (number, *sides[rule.client], *sides[rule.target], terms_of(rule))
                for number, rule in zip(added, rules, strict=True)
            ],
        )
        self._log(CHANGED_RULE, *map(str, added))
        return added

    def delete_rules(self, rule_ids: Sequence[int]) -> None:
        if self._run_many("DELETE FROM rules WHERE rule_id = ?", [(one,) for one in rule_ids]) != len(rule_ids):
            raise missing("one of the rules")
        self._log(CHANGED_RULE, *map(str, rule_ids))

    def add_group(self, name: str) -> None:
        self._run(
            "INSERT INTO groups (name) VALUES (?)",
            check_name(name, "group"),
            taken=f"group {name}",
            code=ALREADY_EXISTS,
        )
        self._log(CHANGED_GROUP, name)

    def delete_group(self, name: str) -> None:
        group = self._group(name)
        rules = self._texts("SELECT rule_id FROM rules WHERE client_group = ? OR target_group = ?", group, group)
        members = self._texts("SELECT p.name FROM members JOIN principals p USING (uid) WHERE group_id = ?", group)
        if not self._run("DELETE FROM groups WHERE name = ?", name):
            raise Misconfigured(NO_GROUP, f"group {name}")
        self._log(CHANGED_GROUP, name)
        self._log(CHANGED_RULE, *rules)
        self._log(CHANGED_MEMBER, *(f"{name} {member}" for member in members))

    def _membership(self, group: str, principal: str) -> tuple[int, int]:
        place, member = self._group(group), self._uid(principal)
        if place is None:
            raise Misconfigured(NO_GROUP, f"group {group}")
        if member is None:
            raise Misconfigured(NO_PRINCIPAL, f"principal {principal}")
        return place, member

    def add_member(self, group: str, principal: str) -> None:
        place, member = self._membership(group, principal)
        self._run(
            "INSERT INTO members (group_id, uid) VALUES (?, ?)",
            place,
            member,
            taken=f"the place of {principal} in {group}",
            code=ALREADY_EXISTS,
        )
        self._log(CHANGED_MEMBER, f"{group} {principal}")

    def remove_member(self, group: str, principal: str) -> None:
        place, member = self._membership(group, principal)
        if not self._run("DELETE FROM members WHERE group_id = ? AND uid = ?", place, member):
            raise missing(f"{principal} in {group}")
        self._log(CHANGED_MEMBER, f"{group} {principal}")
