"""A rule as it is stored. Opening one checks it whole, which takes longer than reading it: so only the rules that
somebody asks for are opened.

Lists are words separated by blanks, since none of their words can hold one. Runs no statement.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from attrs import frozen

from orthros_kdc.policy.model import Rule, RuleCaveats, Selector, check_chain

__all__ = ["RuleRow", "opened", "row_of", "terms_of"]

_OPENED: Final = 16_384


@frozen(eq=False)
class RuleRow:
    """Rule `rule_id` from `client` to `target`, each in the text form of a selector; `terms` are as of `terms_of`."""

    rule_id: int
    client: str
    target: str
    terms: tuple[Any, ...]


def terms_of(rule: Rule) -> tuple[Any, ...]:
    """Everything but the number, client and target."""
    chain, caveats = rule.chain, rule.caveats
    return (
        " ".join(rule.scopes),
        rule.max_ttl_s,
        rule.jwt,
        rule.delegable,
        " ".join(rule.subjects),
        " ".join(rule.behalf),
        " ".join(rule.sources),
        " ".join(chain.deny_via),
        " ".join(chain.require_via),
        chain.max_depth,
        chain.callbacks,
        " ".join(caveats.methods),
        caveats.path,
        " ".join(caveats.peers),
        " ".join(map(str, caveats.discharges)),
    )


def row_of(rule: Rule) -> RuleRow:
    """`rule` as a row."""
    return RuleRow(rule.rule_id, str(rule.client), str(rule.target), terms_of(rule))


# A row never changes, and its number is never used again: so an opened rule stays right.
@lru_cache(_OPENED)
def opened(row: RuleRow) -> Rule:
    """The rule of a row. Raises Misconfigured for one that no rule can be."""
    (
        scopes,
        max_ttl_s,
        jwt,
        delegable,
        subjects,
        behalf,
        sources,
        deny_via,
        require_via,
        max_depth,
        callbacks,
        methods,
        path,
        peers,
        discharges,
    ) = row.terms
    return Rule(
        rule_id=row.rule_id,
        client=Selector.parse(row.client),
        target=Selector.parse(row.target),
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
