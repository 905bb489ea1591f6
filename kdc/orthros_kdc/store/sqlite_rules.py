"""The statements on rules. Who client and target are stands in columns of its own, by number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from orthros_kdc.store.rule_rows import RuleRow

__all__ = ["INSERT_RULE", "RULES", "read_rules"]

RULES: Final = """
    SELECT rule_id, coalesce(cp.name, 'group:' || cg.name), coalesce(tp.name, 'group:' || tg.name),
           scopes, max_ttl_s, jwt, delegable, subjects, behalf, rules.sources,
           deny_via, require_via, max_depth, callbacks, methods, path, peers, discharges
    FROM rules
    LEFT JOIN principals cp ON cp.uid = client_uid LEFT JOIN groups cg ON cg.group_id = client_group
    LEFT JOIN principals tp ON tp.uid = target_uid LEFT JOIN groups tg ON tg.group_id = target_group
"""
"""The rows that `read_rules` reads."""

INSERT_RULE: Final = """
    INSERT INTO rules (client_uid, client_group, target_uid, target_group,
                       scopes, max_ttl_s, jwt, delegable, subjects, behalf, sources,
                       deny_via, require_via, max_depth, callbacks, methods, path, peers, discharges)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
"""Takes the columns of client and target, and then `terms_of`."""


def read_rules(rows: Iterable[tuple[Any, ...]]) -> Iterator[RuleRow]:
    """The rules of rows of `RULES`. What is equal in many of them is kept once: most rules differ in names alone."""
    names: dict[str, str] = {}
    terms: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for rule_id, client, target, *rest in rows:
        kept = tuple(rest)
        yield RuleRow(
            rule_id, names.setdefault(client, client), names.setdefault(target, target), terms.setdefault(kept, kept)
        )
