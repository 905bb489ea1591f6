"""Which rules hold for an ask: where it comes from, in whose name, along which path.

Conditions only ever take rules away, and one that cannot be judged does not hold. Knows nothing of the target.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from attrs import frozen

from orthros_kdc.policy.model import GROUP_PREFIX, Rule, subject_matches
from orthros_kdc.policy.sources import source_allowed
from orthros_kdc.policy.terms import Ask, Objection
from orthros_protocol import Code

__all__ = ["GroupsOf", "Held", "holding"]

GroupsOf = Callable[[str], Iterable[str]]
"""The groups of a name, as `group:x`."""

_SOURCE: Final = "source"
_SUBJECT: Final = "subject"
_CHAIN: Final = "chain"


@frozen(kw_only=True)
class Held:
    """The rules that hold, and why the others do not. With none, `code` names the condition that left none.

    `for_others` are those that do not hold for the subject, but would for another.
    """

    rules: Sequence[Rule]
    code: Code | None = None
    for_others: Sequence[Rule] = ()
    objections: tuple[Objection, ...] = ()


def holding(ask: Ask, rules: Sequence[Rule], *, address: str | None, groups_of: GroupsOf | None) -> Held:
    """The rules of `rules`, not empty, that hold for `ask` from `address`: an IP address as text, empty for a local
    socket, None where conditions on it are not to be judged."""
    if ask.subject is None and not ask.path and not any(rule.sources or rule.chain.require_via for rule in rules):
        return Held(rules=rules)  # nothing else binds a call of the client's own, which is most of them
    objections: list[Objection] = []
    for_others: list[Rule] = []
    judges: tuple[tuple[str, Code, Callable[[Rule], str | None]], ...] = (
        (_SOURCE, "source-refused", lambda rule: _source(rule, address)),
        (_SUBJECT, "subject-refused", lambda rule: _subject(rule, ask)),
        (_CHAIN, "chain-refused", lambda rule: _chain(rule, ask, groups_of)),
    )
    for condition, code, judge in judges:
        kept: list[Rule] = []
        for rule in rules:
            why = judge(rule)
            if why is None:
                kept.append(rule)
                continue
            objections.append(Objection(rule.rule_id, condition, why))
            if condition is _SUBJECT:
                for_others.append(rule)
        if not kept:
            return Held(rules=(), code=code, objections=tuple(objections))
        rules = kept
    return Held(rules=rules, for_others=for_others, objections=tuple(objections))


def _source(rule: Rule, address: str | None) -> str | None:
    if address is None or source_allowed(rule.sources, address):
        return None
    return f"{address or 'a local socket'} is outside {' '.join(rule.sources)}"


def _subject(rule: Rule, ask: Ask) -> str | None:
    """A rule for subjects holds in the client's own name as well, and what it may assert it may prove, too."""
    if ask.subject is None or subject_matches(rule.subjects, ask.subject):
        return None
    provable = subject_matches(rule.behalf, ask.subject)
    if provable and ask.proven:
        return None
    return f"{ask.subject} must be proven by evidence" if provable else f"it does not name {ask.subject}"


def _chain(rule: Rule, ask: Ask, groups_of: GroupsOf | None) -> str | None:
    chain = rule.chain
    if not ask.path and not chain.require_via:
        return None  # a call of the client's own
    if groups_of is None:
        if any(entry.startswith(GROUP_PREFIX) for entry in (*chain.deny_via, *chain.require_via)):
            return "the groups of those on the path are unknown"
        return chain.objection(ask.path, ask.target)
    return chain.objection(ask.path, ask.target, also=groups_of)
