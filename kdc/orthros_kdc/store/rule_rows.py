"""A rule as it is stored. Opening one checks it whole, which takes longer than reading it: so only the rules that
somebody asks for are opened.

Everything but its number, client and target is one text, `terms`: JSON with sorted keys and without blanks, by the
words of the rule table, of which only the unusual stand there. So a new condition needs no column, and equal terms are
equal texts. Runs no statement.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Final

from attrs import frozen

from orthros_kdc.policy.model import Selector
from orthros_kdc.policy.rule import CONDITIONS, Rule, stated
from orthros_kdc.policy.rule_table import ConditionShape
from orthros_kdc.reasons import DATABASE_INVALID
from orthros_protocol.errors import Misconfigured, OrthrosError

__all__ = ["GONE", "RuleRow", "one_form", "opened", "row_of", "terms_of", "terms_text"]

GONE: Final = "kdc/gone"
"""Stands for a client or target whose principal or group is gone: a name under kdc/, which no principal can have."""
_OPENED: Final = 16_384
_SCOPES: Final = "scopes"
_ROWS: Final = {row.key: row for row in CONDITIONS}
_TYPES: Final = {
    ConditionShape.SWITCH: bool,
    ConditionShape.COUNT: int,
    ConditionShape.SECONDS: int,
    ConditionShape.TEXT: str,
    ConditionShape.TEXTS: list,
}


@frozen(eq=False)
class RuleRow:
    """Rule `rule_id` from `client` to `target`, each in the text form of a selector, or `GONE`; `terms` are as of
    `terms_of`."""

    rule_id: int
    client: str
    target: str
    terms: str


def terms_of(rule: Rule) -> str:
    """Everything but the number, client and target. Raises Misconfigured `conflict` for a rule that is not known whole:
    what is written again would grant more."""
    if rule.unusable is not None:
        raise Misconfigured("conflict", f"{rule}: this version cannot write what it does not know")
    return terms_text({_SCOPES: rule.scopes} | {row.key: row.plain(rule) for row in stated(rule)})


def terms_text(terms: dict[str, Any]) -> str:
    """The one text of `terms`."""
    return json.dumps(terms, sort_keys=True, separators=(",", ":"))


def row_of(rule: Rule) -> RuleRow:
    """`rule` as a row."""
    return RuleRow(rule.rule_id, str(rule.client), str(rule.target), terms_of(rule))


# A row never changes, and its number is never used again: so an opened rule stays right.
@lru_cache(_OPENED)
def opened(row: RuleRow) -> Rule:
    """The rule of a row. Of one that this version does not understand `Rule.unusable` says why, and it grants nothing:
    it can be shown and removed, and stops no other rule."""
    if GONE in (row.client, row.target):
        return _unreadable(row, "its client or target is gone")
    try:
        rule = _read(row)
    except Misconfigured as error:
        return _unreadable(row, error.detail)
    if rule.unusable is None and terms_of(rule) != row.terms:
        return _unreadable(row, "its terms are not in their one form")
    return rule


def _unreadable(row: RuleRow, cause: str) -> Rule:
    client, target = _selector(row.client), _selector(row.target)
    return Rule(rule_id=row.rule_id, client=client, target=target, scopes=(), unreadable=cause)


def _selector(text: str) -> Selector:
    try:
        return Selector.parse(text)
    except OrthrosError:
        return Selector(GONE)


def one_form(row: RuleRow) -> str:
    """The terms of `row`, which may also say what is usual, as they are to be stored. Raises Misconfigured
    `database-invalid` for what no rule can be."""
    try:
        return terms_of(_read(row))
    except Misconfigured as error:
        raise Misconfigured(DATABASE_INVALID, f"rule {row.rule_id}: {error.detail}") from None


def _read(row: RuleRow) -> Rule:
    try:
        terms = json.loads(row.terms)
        scopes = terms.pop(_SCOPES)
        values = {_ROWS[key].attribute: _value(key, value) for key, value in terms.items() if key in _ROWS}
        return Rule(
            rule_id=row.rule_id,
            client=Selector.parse(row.client),
            target=Selector.parse(row.target),
            scopes=scopes,
            unknown=tuple(sorted(terms.keys() - _ROWS.keys())),
            **values,
        )
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OrthrosError) as error:
        seen = error.detail if isinstance(error, OrthrosError) else "its terms are not what a rule is stored as"
        raise Misconfigured(DATABASE_INVALID, seen) from None


def _value(key: str, value: object) -> Any:
    if type(value) is not _TYPES[_ROWS[key].shape]:
        raise TypeError(key)
    return value
