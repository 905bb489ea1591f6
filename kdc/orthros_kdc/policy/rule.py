"""The rule table itself: every condition of a rule, one row each with its judge, and the rule that holds their values.

Everything that reads or writes rules walks `CONDITIONS`; `rule_table.py` says what a row is. Knows no store.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve, field, fields, frozen

from orthros_kdc.policy.model import (
    GROUP_PREFIX,
    Selector,
    check_callers,
    check_depth,
    check_life,
    check_subject_patterns,
    check_until,
    second_of,
    subject_matches,
    subject_words,
)
from orthros_kdc.policy.rule_caveats import (
    RequiredDischarge,
    RuleCaveat,
    check_discharges,
    check_methods,
    check_path,
    check_peers,
)
from orthros_kdc.policy.rule_table import ROW, UNDERSTOOD, Condition, ConditionShape, Judge
from orthros_kdc.policy.sources import check_sources, source_allowed
from orthros_kdc.policy.terms import Ask, Circumstances
from orthros_protocol import Misconfigured, check_scopes
from orthros_protocol.primitives.limits import MAX_CHAIN_HOPS, MAX_TICKET_LIFE_S
from orthros_protocol.tickets.call_chain import ChainRule
from orthros_protocol.tickets.caveats import MethodsCaveat, PathCaveat, PeerCaveat

__all__ = ["CONDITIONS", "JUDGES", "Rule", "stated"]

# Judges: why a rule does not hold for an ask, or None.


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


_UNTIL_END: Final = Judge(name="until", code="not-granted", objection=_ended, bound=_ending)
_SOURCE: Final = Judge(name="source", code="source-refused", objection=_source)
_SUBJECT: Final = Judge(
    name="subject", code="subject-refused", objection=_subject, is_about_subjects=True, is_always_asked=True
)
_WITHIN: Final = Judge(
    name="within_subject", code="subject-refused", objection=_own_rules, bound=_within, is_about_subjects=True
)
_CHAIN: Final = Judge(name="chain", code="chain-refused", objection=_chain, is_always_asked=True)

JUDGES: Final = (UNDERSTOOD, _UNTIL_END, _SOURCE, _SUBJECT, _WITHIN, _CHAIN)
"""All of them, in the order in which they judge."""


# The rows.

_MAX_TTL_S: Final = Condition(
    key="max_ttl_s",
    shape=ConditionShape.SECONDS,
    read=check_life,
    sample="600",
    option="--max-ttl TIME",
    help="longest life of what it grants: 90, 15m, 1h",
    text=lambda seconds: f"max {seconds} s",
    fact="max_ttl_s",
    is_column=True,
)
_UNTIL: Final = Condition(
    key="until",
    shape=ConditionShape.TEXT,
    read=check_until,
    sample='"2027-01-31"',
    option="--until DATE",
    help="the end of the rule: 2027-01-31, which is 00:00 UTC, or 2027-01-31T18:00:00+01:00",
    text=lambda end: f"until {end}",
    sentence=lambda end: f"only until {end}, and no ticket of it lives longer",
    judge=_UNTIL_END,
)
_JWT: Final = Condition(
    key="jwt",
    shape=ConditionShape.SWITCH,
    sample="true",
    option="--jwt",
    help="also as JWTs, if they are enabled for the target",
    text=lambda _: "jwt",
    fact="jwt",
    is_column=True,
)
_DELEGABLE: Final = Condition(
    key="delegable",
    shape=ConditionShape.SWITCH,
    sample="true",
    option="--delegable",
    help="the target may act further on the client's behalf",
    text=lambda _: "delegable",
    fact="delegable",
    is_column=True,
)
_SUBJECTS: Final = Condition(
    key="subjects",
    shape=ConditionShape.TEXTS,
    read=check_subject_patterns,
    sample='["user/*"]',
    option="--subject PATTERN",
    help="in whose name it may ask, by its word alone",
    text=lambda patterns: f"for {' '.join(patterns)}",
    judge=_SUBJECT,
    binds_own_calls=False,
    is_pattern=True,
    fact="subjects",
    is_column=True,
)
_BEHALF: Final = Condition(
    key="behalf",
    shape=ConditionShape.TEXTS,
    read=check_subject_patterns,
    sample='["user/*"]',
    option="--behalf PATTERN",
    help="for whom it may act when it proves that it was called for them",
    text=lambda patterns: f"on behalf of {' '.join(patterns)}",
    sentence=lambda patterns: f"on behalf of {subject_words(patterns)} too, when it proves that it was called for them",
    judge=_SUBJECT,
    binds_own_calls=False,
    is_pattern=True,
    fact="behalf",
)
_WITHIN_SUBJECT: Final = Condition(
    key="within_subject",
    shape=ConditionShape.SWITCH,
    sample="true",
    option="--within-subject",
    help="for a subject, only scopes that its own rules for the target grant it",
    text=lambda _: "within the subject's own rules",
    sentence=lambda _: "for a subject only with scopes that the subject's own rules grant it there",
    judge=_WITHIN,
    binds_own_calls=False,
    is_border=True,
)
_SOURCES: Final = Condition(
    key="from",
    attribute="sources",
    shape=ConditionShape.TEXTS,
    read=check_sources,
    sample='["10.0.0.0/8"]',
    option="--from CIDR",
    help="only for asks from this network or address",
    text=lambda networks: f"from {' '.join(networks)}",
    sentence=lambda networks: f"only when it asks from {' or '.join(networks)}",
    judge=_SOURCE,
    fact="sources",
)
_DENY_VIA: Final = Condition(
    key="deny_via",
    shape=ConditionShape.TEXTS,
    read=lambda names: check_callers("deny_via", names),
    sample='["group:edge"]',
    option="--deny-via WHO",
    help="not for calls that came through NAME, NAME@REALM or group:NAME",
    text=lambda names: f"never via {' '.join(names)}",
    sentence=lambda names: f"never for a call that came through {' or '.join(names)}",
    judge=_CHAIN,
    binds_own_calls=False,
    names=str,
    fact="chain",
)
_REQUIRE_VIA: Final = Condition(
    key="require_via",
    shape=ConditionShape.TEXTS,
    read=lambda names: check_callers("require_via", names),
    sample='["gateway"]',
    option="--require-via WHO",
    help="only for calls that came through NAME, NAME@REALM or group:NAME",
    text=lambda names: f"only via {' '.join(names)}",
    sentence=lambda names: f"only for a call that came through {' and '.join(names)}, so not for its own",
    judge=_CHAIN,
    names=str,
    fact="chain",
)
_MAX_DEPTH: Final = Condition(
    key="max_depth",
    shape=ConditionShape.COUNT,
    usual=MAX_CHAIN_HOPS,
    read=check_depth,
    sample="3",
    option="--max-depth N",
    help=f"at most N callers before the client, 0 to {MAX_CHAIN_HOPS}",
    text=lambda hops: f"at most {hops} before the client",
    sentence=lambda hops: f"only with at most {hops} callers before it",
    judge=_CHAIN,
    binds_own_calls=False,
    fact="chain",
)
_CALLBACKS: Final = Condition(
    key="callbacks",
    shape=ConditionShape.SWITCH,
    sample="true",
    option="--callbacks",
    help="also for calls back to those on the way here",
    text=lambda _: "callbacks",
    sentence=lambda _: "also when somebody is called again by those that it called",
    judge=_CHAIN,
    binds_own_calls=False,
    fact="chain",
)
_METHODS: Final = Condition(
    key="methods",
    shape=ConditionShape.TEXTS,
    read=check_methods,
    sample='["GET"]',
    option="--methods METHOD",
    help="its tickets only for this HTTP method",
    text=lambda methods: f"methods {' '.join(methods)}",
    sentence=lambda methods: f"its tickets count for {' and '.join(methods)} only",
    writes=MethodsCaveat,
    fact="caveats",
)
_PATH: Final = Condition(
    key="path",
    shape=ConditionShape.TEXT,
    read=check_path,
    sample='"/orders"',
    option="--path PATH",
    help="its tickets only for this HTTP path and what lies below it",
    text=lambda path: f"path {path}",
    sentence=lambda path: f"its tickets count for {path} and below only",
    writes=PathCaveat,
    fact="caveats",
)
_PEERS: Final = Condition(
    key="peers",
    shape=ConditionShape.TEXTS,
    read=check_peers,
    sample='["10.0.0.0/8"]',
    option="--peer CIDR",
    help="its tickets only from this network or address",
    text=lambda networks: f"peers {' '.join(networks)}",
    sentence=lambda networks: f"its tickets count from {' or '.join(networks)} only",
    writes=PeerCaveat,
    fact="caveats",
)
_DISCHARGES: Final = Condition(
    key="discharges",
    shape=ConditionShape.TEXTS,
    read=check_discharges,
    sample='["approvals=four-eyes"]',
    option="--discharge WHO=WHAT",
    help="its tickets only when the principal WHO attests WHAT",
    text=lambda one: f"discharge {one}",
    sentence=lambda one: f"its tickets count only when {one.discharger} attests {one.predicate}",
    each=True,
    names=lambda one: one.discharger,
    writes=lambda one: one,
    fact="caveats",
)


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
    tickets. `unknown` are the conditions that a later version stored and this one does not know: such a rule grants
    nothing.

    Two rules that differ in `rule_id` alone say the same: every other field has one form. Raises Misconfigured.
    """

    rule_id: int
    client: Selector
    target: Selector
    scopes: tuple[str, ...] = field(converter=check_scopes)
    max_ttl_s: int | None = _MAX_TTL_S.as_field()
    until: str | None = _UNTIL.as_field()
    jwt: bool = _JWT.as_field()
    delegable: bool = _DELEGABLE.as_field()
    subjects: tuple[str, ...] = _SUBJECTS.as_field()
    behalf: tuple[str, ...] = _BEHALF.as_field()
    within_subject: bool = _WITHIN_SUBJECT.as_field()
    sources: tuple[str, ...] = _SOURCES.as_field()
    deny_via: tuple[str, ...] = _DENY_VIA.as_field()
    require_via: tuple[str, ...] = _REQUIRE_VIA.as_field()
    max_depth: int = _MAX_DEPTH.as_field()
    callbacks: bool = _CALLBACKS.as_field()
    methods: tuple[str, ...] = _METHODS.as_field()
    path: str | None = _PATH.as_field()
    peers: tuple[str, ...] = _PEERS.as_field()
    discharges: tuple[RequiredDischarge, ...] = _DISCHARGES.as_field()
    unknown: tuple[str, ...] = ()
    chain: ChainRule = field(init=False, eq=False, repr=False)
    caveats: tuple[RuleCaveat, ...] = field(init=False, eq=False, repr=False)
    binds_own_calls: bool = field(init=False, eq=False, repr=False)
    judges: tuple[Judge, ...] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        both = set(self.deny_via) & set(self.require_via)
        if both:
            raise Misconfigured("value-invalid", f"{min(both)} is both in deny_via and in require_via")
        put = object.__setattr__
        path = ChainRule(
            deny_via=self.deny_via, require_via=self.require_via, max_depth=self.max_depth, callbacks=self.callbacks
        )
        put(self, "chain", path)
        said = stated(self)
        put(self, "caveats", tuple(caveat for row in said for caveat in row.caveats(self)))
        put(self, "binds_own_calls", bool(self.unknown) or any(row.binds_own_calls for row in said))
        asked = {row.judge for row in said} | ({UNDERSTOOD} if self.unknown else set())
        put(self, "judges", tuple([judge for judge in JUDGES if judge.is_always_asked or judge in asked]))
        if self.jwt and self.caveats:
            raise Misconfigured("value-invalid", "a JWT cannot carry caveats: write one rule for JWTs, one for tickets")

    def __str__(self) -> str:
        extras = [f"with {text}" if row.writes else text for row in stated(self) for text in row.texts(self)]
        extras += [f"unknown: {word}" for word in self.unknown]
        tail = f" ({', '.join(extras)})" if extras else ""
        return f"rule {self.rule_id}: {self.client} -> {self.target} [{' '.join(self.scopes) or 'no scopes'}]{tail}"


CONDITIONS: Final[tuple[Condition, ...]] = tuple(one.metadata[ROW] for one in fields(Rule) if ROW in one.metadata)
"""The rows, in the order in which people read them."""


def stated(rule: Rule) -> list[Condition]:
    """The rows of which `rule` says something that is not the usual."""
    return [row for row in CONDITIONS if getattr(rule, row.attribute) != row.usual]
