"""Whom the conditions of rules name, by the rule table. Knows no store, so not who exists."""

from __future__ import annotations

from collections.abc import Iterator

from orthros_kdc.policy.model import is_subject
from orthros_kdc.policy.rule import CONDITIONS, Rule
from orthros_kdc.policy.rule_table import Condition

__all__ = ["mentioned", "named_subjects"]


def named_subjects(rule: Rule, row: Condition) -> frozenset[str]:
    """The names that stand in the condition `row` of `rule` themselves; patterns for many names are none."""
    return frozenset(filter(is_subject, row.of(rule))) if row.is_pattern else frozenset()


def mentioned(rule: Rule) -> Iterator[tuple[Condition, str, str]]:
    """Whom the conditions of `rule` name, besides its client and target: the row, the entry, and whom it names, as
    `name`, `name@realm` of another realm, or `group:name`."""
    for row in CONDITIONS:
        if row.names is not None:
            yield from ((row, str(one), row.names(one)) for one in row.of(rule))
