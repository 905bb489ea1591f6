"""The rule: its fields, a row of the rule table each, and the judges of their values.

Everything that reads or writes rules walks `CONDITIONS`; `rule_table.py` says what a row is. Knows no store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import evolve, field, fields, frozen

from orthros_kdc.policy import conditions
from orthros_kdc.policy.ask_and_grant import Ask, Circumstances
from orthros_kdc.policy.model import GROUP_PREFIX, Selector, second_of, subject_matches
from orthros_kdc.policy.rule_caveats import RequiredDischarge, RuleCaveat
from orthros_kdc.policy.rule_table import ROW, Condition
from orthros_kdc.policy.sources import source_allowed
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.limits import MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import check_scopes
from orthros_protocol.reasons.table import Code
from orthros_protocol.tickets.call_chain import ChainRule

__all__ = ["CONDITIONS", "JUDGES", "Judge", "Rule", "stated"]


@frozen(kw_only=True)
class Rule:
    """One permission: `client` may call `target` with `scopes`. Everything that no rule allows is refused.

    `max_ttl_s` caps the lifetime in seconds (None: only the other caps apply); `until` is an instant in UTC (None: no
    end), past which it grants nothing and no ticket of it lives; `jwt` allows JWT export; `delegable` allows
    tickets that the target may use as evidence. `subjects` are the patterns of those in whose
    name the client may ask by its word alone, `behalf` of those for whom it must prove to have been called, whether
    the first caller spoke for itself or asserted a name; none by default. With `within_subject` a subject gets only
    scopes that its own rules grant it. The rule holds only for asks from
    `sources` (CIDR; none: from anywhere) and along a path that `chain` allows, and `caveats` are written into its
    tickets. `unknown` are the conditions that a later version stored and this one does not know, and `unreadable` says
    why nothing of what was stored is known; `unusable` is either in words, and such a rule grants nothing.

    Two rules that differ in `rule_id` alone say the same: every other field has one form. Raises Misconfigured.
    """

    rule_id: int
    client: Selector
    target: Selector
    scopes: tuple[str, ...] = field(converter=check_scopes)
    max_ttl_s: int | None = conditions.MAX_TTL_S.as_field()
    until: str | None = conditions.UNTIL.as_field()
    jwt: bool = conditions.JWT.as_field()
    delegable: bool = conditions.DELEGABLE.as_field()
    subjects: tuple[str, ...] = conditions.SUBJECTS.as_field()
    behalf: tuple[str, ...] = conditions.BEHALF.as_field()
    within_subject: bool = conditions.WITHIN_SUBJECT.as_field()
    sources: tuple[str, ...] = conditions.SOURCES.as_field()
    deny_via: tuple[str, ...] = conditions.DENY_VIA.as_field()
    require_via: tuple[str, ...] = conditions.REQUIRE_VIA.as_field()
    max_depth: int = conditions.MAX_DEPTH.as_field()
    callbacks: bool = conditions.CALLBACKS.as_field()
    methods: tuple[str, ...] = conditions.METHODS.as_field()
    path: str | None = conditions.PATH.as_field()
    peers: tuple[str, ...] = conditions.PEERS.as_field()
    discharges: tuple[RequiredDischarge, ...] = conditions.DISCHARGES.as_field()
    unknown: tuple[str, ...] = ()
    unreadable: str | None = None
    unusable: str | None = field(init=False, eq=False, repr=False)
    chain: ChainRule = field(init=False, eq=False, repr=False)
    caveats: tuple[RuleCaveat, ...] = field(init=False, eq=False, repr=False)
    binds_own_calls: bool = field(init=False, eq=False, repr=False)
    judges: frozenset[Judge] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        both = set(self.deny_via) & set(self.require_via)
        if both:
            raise Misconfigured("value-invalid", f"{min(both)} is both in deny_via and in require_via")
        put = object.__setattr__
        path = ChainRule(
            deny_via=self.deny_via, require_via=self.require_via, max_depth=self.max_depth, callbacks=self.callbacks
        )
        put(self, "chain", path)
        unusable = f"this version does not know {' '.join(self.unknown)}" if self.unknown else self.unreadable
        put(self, "unusable", unusable)
        said = stated(self)
        put(self, "caveats", tuple(caveat for row in said for caveat in row.caveats(self)))
        put(self, "binds_own_calls", unusable is not None or any(row.binds_own_calls for row in said))
        asked = {_JUDGES[row.judge] for row in said if row.judge is not None}
        asked |= {judge for judge in JUDGES if judge.is_always_asked or (unusable and judge.name == "condition")}
        put(self, "judges", frozenset(asked))
        if self.jwt and self.caveats:
            raise Misconfigured("value-invalid", "a JWT cannot carry caveats: write one rule for JWTs, one for tickets")

    def __str__(self) -> str:
        extras = [f"with {text}" if row.writes else text for row in stated(self) for text in row.texts(self)]
        extras += [f"unknown: {word}" for word in self.unknown] + ([self.unreadable] if self.unreadable else [])
        tail = f" ({', '.join(extras)})" if extras else ""
        return f"rule {self.rule_id}: {self.client} -> {self.target} [{' '.join(self.scopes) or 'no scopes'}]{tail}"


@frozen(kw_only=True, eq=False)
class Judge:
    """Tells why a rule does not hold for an ask; None when it holds.

    `code` is the refusal when no rule is left. `bound` gives what is left of a rule that holds in part, and what was
    taken from it; None when it holds whole. `is_about_subjects`: what does not hold for this subject may hold for
    another one. `is_always_asked`: also about a rule that states none of its conditions.
    """

    name: str
    code: Code
    objection: Callable[[Rule, Ask, Circumstances], str | None]
    bound: Callable[[Rule, Ask, Circumstances], tuple[Rule, str] | None] | None = None
    is_about_subjects: bool = False
    is_always_asked: bool = False


# Why a rule does not hold for an ask, or None; and what is left of one that holds in part.


def _source(rule: Rule, _ask: Ask, known: Circumstances) -> str | None:
    if known.address is None or source_allowed(rule.sources, known.address):
        return None
    return f"{known.address or 'a local socket'} is outside {' '.join(rule.sources)}"


def _subject(rule: Rule, ask: Ask, _known: Circumstances) -> str | None:
    """A rule for subjects holds in the client's own name as well, and what it may assert it may prove, too."""
    if ask.subject is None or subject_matches(rule.subjects, ask.subject):
        return None
    provable = subject_matches(rule.behalf, ask.subject)
    if provable and ask.proven:
        return None
    return f"{ask.subject} must be proven by evidence" if provable else f"it does not name {ask.subject}"


def _chain(rule: Rule, ask: Ask, known: Circumstances) -> str | None:
    if not ask.path and not rule.require_via:
        return None  # a call of the client's own
    if known.groups_of is None:
        if any(entry.startswith(GROUP_PREFIX) for entry in (*rule.deny_via, *rule.require_via)):
            return "the groups of those on the path are unknown"
        return rule.chain.objection(ask.path, ask.target)
    return rule.chain.objection(ask.path, ask.target, also=known.groups_of)


def _own_rules(rule: Rule, ask: Ask, known: Circumstances) -> str | None:
    if ask.subject is None:
        return None
    if known.scopes_of is None:
        return f"the rules of {ask.subject} are unknown"
    own = known.scopes_of(ask.subject, ask.target, known.now)
    return None if own is not None else f"{ask.subject} has no rule of its own at {ask.target}"


def _within(rule: Rule, ask: Ask, known: Circumstances) -> tuple[Rule, str] | None:
    if ask.subject is None or known.scopes_of is None:
        return None
    own = known.scopes_of(ask.subject, ask.target, known.now) or frozenset()
    beyond = [scope for scope in rule.scopes if scope not in own]
    if not beyond:
        return None
    kept = tuple(scope for scope in rule.scopes if scope in own)
    return evolve(rule, scopes=kept), f"{ask.subject} itself may not {' '.join(beyond)} at {ask.target}"


def _ended(rule: Rule, _ask: Ask, known: Circumstances) -> str | None:
    if known.now is None:
        return "the time is unknown"
    return f"it ended {rule.until}" if second_of(rule.until) <= known.now else None


def _ending(rule: Rule, _ask: Ask, known: Circumstances) -> tuple[Rule, str] | None:
    left = second_of(rule.until) - (known.now or 0)
    if left >= min(rule.max_ttl_s or MAX_TICKET_LIFE_S, MAX_TICKET_LIFE_S):
        return None  # nothing that it grants lives so long
    return evolve(rule, max_ttl_s=left), f"it ends {rule.until}"


JUDGES: Final = (
    Judge(name="condition", code="not-granted", objection=lambda rule, _ask, _known: rule.unusable),
    Judge(name="until", code="not-granted", objection=_ended, bound=_ending),
    Judge(name="source", code="source-refused", objection=_source),
    Judge(name="subject", code="subject-refused", objection=_subject, is_about_subjects=True, is_always_asked=True),
    Judge(name="within_subject", code="subject-refused", objection=_own_rules, bound=_within, is_about_subjects=True),
    Judge(name="chain", code="chain-refused", objection=_chain, is_always_asked=True),
)
"""All of them, in the order in which they judge."""
_JUDGES: Final = {judge.name: judge for judge in JUDGES}


CONDITIONS: Final[tuple[Condition, ...]] = tuple(one.metadata[ROW] for one in fields(Rule) if ROW in one.metadata)
"""The rows, in the order in which people read them."""


def stated(rule: Rule) -> list[Condition]:
    """The rows of which `rule` says something that is not the usual."""
    return [row for row in CONDITIONS if getattr(rule, row.attribute) != row.usual]
