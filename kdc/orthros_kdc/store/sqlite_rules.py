"""A rule as a row of SQLite: lists are words separated by blanks, since none of their words can hold one.

Runs nothing; who client and target are stands in columns of its own, beside the others.
"""

from __future__ import annotations

from typing import Any, Final

from orthros_kdc.policy.model import Rule, RuleCaveats, Selector, check_chain

__all__ = ["INSERT_RULE", "RULES", "read_rule", "rule_values"]

RULES: Final = """
    SELECT rule_id, coalesce(cp.name, cg.name), client_group IS NOT NULL,
           coalesce(tp.name, tg.name), target_group IS NOT NULL,
           scopes, max_ttl_s, jwt, delegable, subjects, behalf, rules.sources,
           deny_via, require_via, max_depth, callbacks, methods, path, peers, discharges
    FROM rules
    LEFT JOIN principals cp ON cp.uid = client_uid LEFT JOIN groups cg ON cg.group_id = client_group
    LEFT JOIN principals tp ON tp.uid = target_uid LEFT JOIN groups tg ON tg.group_id = target_group
"""
"""The rows that `read_rule` reads."""

INSERT_RULE: Final = """
    INSERT INTO rules (client_uid, client_group, target_uid, target_group,
                       scopes, max_ttl_s, jwt, delegable, subjects, behalf, sources,
                       deny_via, require_via, max_depth, callbacks, methods, path, peers, discharges)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
"""Takes the columns of client and target, and then `rule_values`."""


def rule_values(rule: Rule) -> tuple[object, ...]:
    """Everything but the number, client and target."""
    chain, caveats = rule.chain, rule.caveats
    return (
        " ".join(rule.scopes), rule.max_ttl_s, rule.jwt, rule.delegable,
        " ".join(rule.subjects), " ".join(rule.behalf), " ".join(rule.sources),
        " ".join(chain.deny_via), " ".join(chain.require_via), chain.max_depth, chain.callbacks,
        " ".join(caveats.methods), caveats.path, " ".join(caveats.peers), " ".join(map(str, caveats.discharges)),
    )  # fmt: skip


def read_rule(row: tuple[Any, ...]) -> Rule:
    """The rule of a row of `RULES`."""
    (
        rule_id, client, client_is_group, target, target_is_group,
        scopes, max_ttl_s, jwt, delegable, subjects, behalf, sources,
        deny_via, require_via, max_depth, callbacks, methods, path, peers, discharges,
    ) = row  # fmt: skip
    return Rule(
        rule_id=rule_id,
        client=Selector(client, is_group=bool(client_is_group)),
        target=Selector(target, is_group=bool(target_is_group)),
        scopes=scopes.split(),
        max_ttl_s=max_ttl_s,
        jwt=bool(jwt),
        delegable=bool(delegable),
        subjects=subjects.split(),
        behalf=behalf.split(),
        sources=sources.split(),
        chain=check_chain(
            deny_via=deny_via.split(),
            require_via=require_via.split(),
            max_depth=max_depth,
            callbacks=bool(callbacks),
        ),
        caveats=RuleCaveats(methods=methods.split(), path=path, peers=peers.split(), discharges=discharges.split()),
    )
