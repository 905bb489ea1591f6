"""Which rules hold for an ask, by their conditions: when and from where it comes, in whose name, along which path.

Conditions only ever take rules away, and one that cannot be judged does not hold. Knows no condition by name: the rule
table names the judges.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Objection
from orthros_kdc.policy.rule import JUDGES, Rule
from orthros_protocol.reasons.table import Code

__all__ = ["HoldingRules", "holding"]


@frozen(kw_only=True)
class HoldingRules:
    """The rules that hold, and why others do not, or for less than they say. With none, `code` names the condition that
    left none.

    `for_others` are those that do not hold for the subject, but would for another.
    """

    rules: Sequence[Rule]
    code: Code | None = None
    for_others: Sequence[Rule] = ()
    objections: tuple[Objection, ...] = ()


def holding(ask: Ask, rules: Sequence[Rule], known: Circumstances) -> HoldingRules:
    """The rules of `rules`, not empty, that hold for `ask` in the circumstances `known`."""
    if ask.subject is None and not ask.path and not any(rule.binds_own_calls for rule in rules):
        return HoldingRules(rules=rules)  # nothing else binds a call of the client's own, which is most of them
    objections: list[Objection] = []
    for_others: list[Rule] = []
    for judge in JUDGES:
        kept: list[Rule] = []
        for rule in rules:
            why = judge.objection(rule, ask, known) if judge in rule.judges else None
            if why is not None:
                objections.append(Objection(rule.rule_id, judge.name, why))
            else:
                less = judge.bound(rule, ask, known) if judge.bound is not None and judge in rule.judges else None
                kept.append(rule if less is None else less[0])
                if less is None:
                    continue
                objections.append(Objection(rule.rule_id, judge.name, less[1], bounds=True))
            if judge.is_about_subjects:
                for_others.append(rule)
        if not kept:
            return HoldingRules(rules=(), code=judge.code, objections=tuple(objections))
        rules = kept
    return HoldingRules(rules=rules, for_others=for_others, objections=tuple(objections))
