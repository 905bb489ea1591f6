"""Rules on the command line: the options that describe one, the row that shows it, the words that say what it means.

Keeps nothing and decides nothing.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping
from typing import Any, Final

from orthros_kdc.policy.model import subject_words
from orthros_kdc.policy.rule import CONDITIONS, Rule, stated
from orthros_kdc.policy.rule_table import ConditionShape
from orthros_runtime.command_line import Parser, duration

__all__ = ["add_rule_options", "columns_for", "described_rule", "rule_remarks", "rule_row"]

_ALWAYS: Final = ("rule", "client", "target", "scopes", *(row.key for row in CONDITIONS if row.is_column))
_SELDOM: Final = (*(row.key for row in CONDITIONS if not row.is_column), "unusable")
_ARGUMENTS: Final[Mapping[ConditionShape, dict[str, Any]]] = {
    ConditionShape.SWITCH: {"action": "store_true"},
    ConditionShape.COUNT: {"type": int},
    ConditionShape.SECONDS: {"type": duration},
    ConditionShape.TEXT: {},
    ConditionShape.TEXTS: {"action": "append"},
}


def add_rule_options(parser: Parser) -> None:
    """Everything that a rule says besides its client, target and scopes."""
    for row in CONDITIONS:
        option, _, metavar = row.option.partition(" ")
        words = f"{row.help}; may be repeated" if row.shape is ConditionShape.TEXTS else row.help
        usual = [] if row.shape is ConditionShape.TEXTS else row.usual
        named: dict[str, Any] = {"metavar": metavar} if metavar else {}
        parser.add_argument(option, dest=row.attribute, default=usual, help=words, **named, **_ARGUMENTS[row.shape])


def described_rule(options: Namespace) -> dict[str, Any]:
    """The conditions of `rules.allow` from these options."""
    return {row.attribute: getattr(options, row.attribute) for row in CONDITIONS}


def rule_row(rule: Rule) -> dict[str, object]:
    """One rule as JSON shows it, in the words of the realm file."""
    row: dict[str, object] = {
        "rule": rule.rule_id,
        "client": str(rule.client),
        "target": str(rule.target),
        "scopes": list(rule.scopes),
    }
    for one in CONDITIONS:
        is_usual_count = one.shape is ConditionShape.COUNT and one.of(rule) == one.usual
        row[one.key] = None if is_usual_count else one.plain(rule)
    if rule.unknown:
        row["unknown"] = list(rule.unknown)
    return row | ({"unusable": rule.unusable} if rule.unusable else {})


def columns_for(rows: Iterable[dict[str, object]]) -> tuple[str, ...]:
    """The columns of a table of rules: what is seldom said only where one of them says it."""
    shown = list(rows)
    return _ALWAYS + tuple(name for name in _SELDOM if any(_says(row.get(name)) for row in shown))


def _says(value: object) -> bool:
    return bool(value) or (value == 0 and value is not False)  # a depth of 0 says a lot


def rule_remarks(rule: Rule) -> list[str]:
    """What the rule means, in sentences."""
    who = f"every member of {rule.client.name}" if rule.client.is_group else rule.client.name
    whom = f"every member of {rule.target.name}" if rule.target.is_group else rule.target.name
    what = f"with {' '.join(rule.scopes)}" if rule.scopes else "to prove who it is, with no scope"
    life = "as long as realm and principals allow" if rule.max_ttl_s is None else f"for at most {rule.max_ttl_s} s"
    form = "tickets or JWTs" if rule.jwt else "tickets"
    onward = f", and {whom} may act further on its behalf" if rule.delegable else ""
    named = f", also in the name of {subject_words(rule.subjects)}" if rule.subjects else ""
    said = [f"{who} may call {whom} {what}, by {form} that live {life}{onward}{named}; not the other way round"]
    return said + [row.sentence(one) for row in stated(rule) if row.sentence is not None for one in row.entries(rule)]
