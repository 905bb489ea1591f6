"""Refusals of the KDC that rest on no rule of the pair: who is disabled, asks from elsewhere, or cannot discharge.

Pure; `decide.py` judges the rules. A forecast of an answer needs both.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from orthros_kdc.policy.ask_and_grant import Ask, Denial, Grant, TargetFacts
from orthros_kdc.policy.rule_caveats import discharges_of
from orthros_kdc.policy.sources import source_allowed

__all__ = ["FactsOf", "Obstacle", "obstacle_after", "obstacle_before", "revivals"]

FactsOf = Callable[[str], TargetFacts | None]
"""What is known of a principal of this realm, None when no principal has this name."""


@frozen
class Obstacle:
    """Why nothing is issued, and the commands of an admin that would change that."""

    denial: Denial
    remedies: tuple[str, ...] = ()


def obstacle_before(client: str, ask: Ask, address: str | None, facts_of: FactsOf) -> Obstacle | None:
    """What stops `client` before any rule is asked: it is disabled, it may not ask from `address` (an IP address,
    empty for a local socket, None where that is not to be judged), or a principal that it was called through does not
    stand any more."""
    caller = facts_of(client)
    if caller is None:
        return None
    if caller.disabled:
        return Obstacle(Denial(code="principal-disabled"), (_enable(client),))
    if address is not None and not source_allowed(caller.sources, address):
        networks = " ".join(f"--from {network}" for network in (*caller.sources, address))
        return Obstacle(
            Denial(code="source-refused"), (f"orthros-admin principal limit {client} {networks}",) if address else ()
        )
    for name in ask.path[:-1]:
        facts = None if "@" in name else facts_of(name)
        if facts is not None and facts.disabled:
            return Obstacle(Denial(code="evidence-refused"), (_enable(name),))
    return None


def obstacle_after(grant: Grant, facts_of: FactsOf) -> Obstacle | None:
    """What stops a ticket that the rules allow: a discharge is demanded of a principal that cannot give one."""
    for demand in discharges_of(grant.caveats):
        facts = facts_of(demand.discharger)
        if facts is None or facts.disabled or not facts.has_key:
            remedies = () if facts is None else revivals(demand.discharger, facts)
            return Obstacle(Denial(code="discharger-unavailable"), remedies)
    return None


def revivals(name: str, facts: TargetFacts) -> tuple[str, ...]:
    """The commands after which tickets can be sealed for `name`."""
    commands = [_enable(name)] if facts.disabled else []
    if not facts.has_key:
        commands += [f"orthros-admin key rotate {name} --out FILE", f"orthros-admin key activate {name}"]
    return tuple(commands)


def _enable(name: str) -> str:
    return f"orthros-admin principal enable {name}"
