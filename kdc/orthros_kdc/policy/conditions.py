"""The conditions of a rule: a row each, with all its words.

Knows neither the rule, whose fields they become, nor its judges: both are in `rule.py`.
"""

from __future__ import annotations

from typing import Final

from orthros_kdc.policy.model import (
    check_callers,
    check_depth,
    check_life,
    check_subject_patterns,
    check_until,
    subject_words,
)
from orthros_kdc.policy.rule_caveats import check_discharges, check_methods, check_path, check_peers
from orthros_kdc.policy.rule_table import Condition, ConditionShape
from orthros_kdc.policy.sources import check_sources
from orthros_protocol.primitives.limits import MAX_CHAIN_HOPS
from orthros_protocol.tickets.caveats import MethodsCaveat, PathCaveat, PeerCaveat

MAX_TTL_S: Final = Condition(
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
UNTIL: Final = Condition(
    key="until",
    shape=ConditionShape.TEXT,
    read=check_until,
    sample='"2027-01-31"',
    option="--until DATE",
    help="the end of the rule: 2027-01-31, which is 00:00 UTC, or 2027-01-31T18:00:00+01:00",
    text=lambda end: f"until {end}",
    sentence=lambda end: f"only until {end}, and no ticket of it lives longer",
    judge="until",
)
JWT: Final = Condition(
    key="jwt",
    shape=ConditionShape.SWITCH,
    sample="true",
    option="--jwt",
    help="also as JWTs, if they are enabled for the target",
    text=lambda _: "jwt",
    fact="jwt",
    is_column=True,
)
DELEGABLE: Final = Condition(
    key="delegable",
    shape=ConditionShape.SWITCH,
    sample="true",
    option="--delegable",
    help="the target may act further on the client's behalf",
    text=lambda _: "delegable",
    fact="delegable",
    is_column=True,
)
SUBJECTS: Final = Condition(
    key="subjects",
    shape=ConditionShape.TEXTS,
    read=check_subject_patterns,
    sample='["user/*"]',
    option="--subject PATTERN",
    help="in whose name it may ask, by its word alone",
    text=lambda patterns: f"for {' '.join(patterns)}",
    judge="subject",
    binds_own_calls=False,
    is_pattern=True,
    fact="subjects",
    is_column=True,
)
BEHALF: Final = Condition(
    key="behalf",
    shape=ConditionShape.TEXTS,
    read=check_subject_patterns,
    sample='["user/*"]',
    option="--behalf PATTERN",
    help="for whom it may act when it proves that it was called for them",
    text=lambda patterns: f"on behalf of {' '.join(patterns)}",
    sentence=lambda patterns: f"on behalf of {subject_words(patterns)} too, when it proves that it was called for them",
    judge="subject",
    binds_own_calls=False,
    is_pattern=True,
    fact="behalf",
)
WITHIN_SUBJECT: Final = Condition(
    key="within_subject",
    shape=ConditionShape.SWITCH,
    sample="true",
    option="--within-subject",
    help="for a subject, only scopes that its own rules for the target grant it",
    text=lambda _: "within the subject's own rules",
    sentence=lambda _: "for a subject only with scopes that the subject's own rules grant it there",
    judge="within_subject",
    binds_own_calls=False,
    is_border=True,
)
SOURCES: Final = Condition(
    key="from",
    attribute="sources",
    shape=ConditionShape.TEXTS,
    read=check_sources,
    sample='["10.0.0.0/8"]',
    option="--from CIDR",
    help="only for asks from this network or address",
    text=lambda networks: f"from {' '.join(networks)}",
    sentence=lambda networks: f"only when it asks from {' or '.join(networks)}",
    judge="source",
    fact="sources",
)
DENY_VIA: Final = Condition(
    key="deny_via",
    shape=ConditionShape.TEXTS,
    read=lambda names: check_callers("deny_via", names),
    sample='["group:edge"]',
    option="--deny-via WHO",
    help="not for calls that came through NAME, NAME@REALM or group:NAME",
    text=lambda names: f"never via {' '.join(names)}",
    sentence=lambda names: f"never for a call that came through {' or '.join(names)}",
    judge="chain",
    binds_own_calls=False,
    names=str,
    fact="chain",
)
REQUIRE_VIA: Final = Condition(
    key="require_via",
    shape=ConditionShape.TEXTS,
    read=lambda names: check_callers("require_via", names),
    sample='["gateway"]',
    option="--require-via WHO",
    help="only for calls that came through NAME, NAME@REALM or group:NAME",
    text=lambda names: f"only via {' '.join(names)}",
    sentence=lambda names: f"only for a call that came through {' and '.join(names)}, so not for its own",
    judge="chain",
    names=str,
    fact="chain",
)
MAX_DEPTH: Final = Condition(
    key="max_depth",
    shape=ConditionShape.COUNT,
    usual=MAX_CHAIN_HOPS,
    read=check_depth,
    sample="3",
    option="--max-depth N",
    help=f"at most N callers before the client, 0 to {MAX_CHAIN_HOPS}",
    text=lambda hops: f"at most {hops} before the client",
    sentence=lambda hops: f"only with at most {hops} callers before it",
    judge="chain",
    binds_own_calls=False,
    fact="chain",
)
CALLBACKS: Final = Condition(
    key="callbacks",
    shape=ConditionShape.SWITCH,
    sample="true",
    option="--callbacks",
    help="also for calls back to those on the way here",
    text=lambda _: "callbacks",
    sentence=lambda _: "also when somebody is called again by those that it called",
    judge="chain",
    binds_own_calls=False,
    fact="chain",
)
METHODS: Final = Condition(
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
PATH: Final = Condition(
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
PEERS: Final = Condition(
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
DISCHARGES: Final = Condition(
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
