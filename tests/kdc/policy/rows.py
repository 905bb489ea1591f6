"""Rules, asks and facts for the policy tests, written by hand or drawn by hypothesis."""

from typing import Any

from attrs import evolve
from hypothesis import strategies as st

from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Denial, Grant, Kind, PrincipalCaps, TargetFacts
from orthros_kdc.policy.decide import decide
from orthros_kdc.policy.model import RealmLimits, Selector
from orthros_kdc.policy.rule import Rule

SCOPES = ("read", "write", "admin", "pay:refund")
TARGET = TargetFacts(jwt_alg="HS256")
GROUPS = {"web": ("group:edge",), "gate": ("group:edge", "group:trusted"), "relay": ("group:trusted",)}


def groups_of(name: str) -> tuple[str, ...]:
    return GROUPS.get(name, ())


NOW = 1_796_083_200
"""2026-12-01T00:00:00Z."""
FACTS: dict[str, Any] = {
    "now": NOW,
    "client_caps": PrincipalCaps(),
    "target": TARGET,
    "limits": RealmLimits(),
    "remaining_tgt_s": 3000,
    "address": None,
    "groups_of": groups_of,
}


def rule(rule_id: int, *scopes: str, client: str = "billing", target: str = "ledger", **extra: Any) -> Rule:
    return Rule(
        rule_id=rule_id,
        client=Selector.parse(client),
        target=Selector.parse(target),
        scopes=scopes,
        **extra,
    )


def ask(*scopes: str, **extra: Any) -> Ask:
    return Ask(target="ledger", scopes=scopes, **extra)


def decided(one: Ask, *rules: Rule, **changed: Any) -> Grant | Denial:
    return decide(one, rules, Circumstances(**{**FACTS, **changed}))


def granted(one: Ask, *rules: Rule, **changed: Any) -> Grant:
    result = decided(one, *rules, **changed)
    assert isinstance(result, Grant), result
    return result


def refused(one: Ask, *rules: Rule, **changed: Any) -> str:
    result = decided(one, *rules, **changed)
    assert isinstance(result, Denial), result
    return result.code


seconds = st.integers(1, 5000)
caps = st.none() | seconds
subjects = st.sampled_from(["user/ada", "user/ada/home", "users/ada", "user", "robot"])
patterns = st.lists(st.sampled_from(["user/ada", "user/*", "users/*", "robot", "*"]), max_size=2).map(tuple)
scope_lists = st.lists(st.sampled_from(SCOPES), max_size=4).map(tuple)

addresses = st.sampled_from([None, "", "10.1.2.3", "192.0.2.7", "2001:db8::1"])
networks = st.lists(st.sampled_from(["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]), max_size=2).map(tuple)
callers = st.sampled_from(["web", "gate", "relay", "far@other.test", "billing", "ledger"])
entries = st.sampled_from(["web", "gate", "far@other.test", "group:edge", "group:trusted"])
few_entries = st.lists(entries, max_size=2).map(frozenset)


@st.composite
def chains(draw: st.DrawFn) -> Any:
    denied = draw(few_entries)
    return {
        "deny_via": denied,
        "require_via": draw(few_entries) - denied,
        "max_depth": draw(st.sampled_from([0, 1, 2, 8])),
        "callbacks": draw(st.booleans()),
    }


nothing: st.SearchStrategy[dict[str, Any]] = st.just({})
# Small enough that the caveats of all rules together go into one ticket.
rule_caveats = st.fixed_dictionaries(
    {
        "methods": st.sampled_from([(), ("GET",), ("GET", "POST")]),
        "path": st.sampled_from([None, "/a", "/a/b"]),
        "peers": st.sampled_from([(), ("10.0.0.0/8",)]),
        "discharges": st.lists(st.sampled_from(["approvals=two", "consent=seen"]), max_size=2),
    }
)


@st.composite
def rules_drawn(draw: st.DrawFn) -> Rule:
    jwt = draw(st.booleans())
    return rule(
        1,
        *draw(scope_lists),
        max_ttl_s=draw(caps),
        jwt=jwt,
        until=draw(st.sampled_from([None, None, "2026-12-01T00:00:09Z", "2027-01-31"])),
        delegable=draw(st.booleans()),
        subjects=draw(patterns),
        behalf=draw(patterns),
        sources=draw(st.just(()) | networks),
        **draw(nothing | chains()),
        **({} if jwt else draw(nothing | rule_caveats)),
    )


rule_lists = st.lists(rules_drawn(), max_size=6).map(
    lambda rules: tuple(evolve(one, rule_id=number) for number, one in enumerate(rules, 1))
)


@st.composite
def asks_drawn(draw: st.DrawFn) -> Ask:
    subject = draw(st.none() | subjects)
    proven = subject is not None and draw(st.booleans())
    return Ask(
        target="ledger",
        kind=draw(st.sampled_from(Kind)),
        scopes=draw(st.none() | scope_lists),
        ttl_s=draw(st.just(0) | seconds),
        exact=draw(st.booleans()),
        delegable=draw(st.booleans()),
        subject=subject,
        proven=proven,
        path=(*draw(st.lists(callers, min_size=1, max_size=3)), "billing") if proven else (),
    )


asks = asks_drawn()

targets = st.builds(
    TargetFacts,
    max_ticket_s=caps,
    max_jwt_s=caps,
    disabled=st.sampled_from([False, False, False, True]),
    has_key=st.sampled_from([True, True, True, False]),
    jwt_alg=st.sampled_from(["HS256", None]),
)

facts = st.fixed_dictionaries(
    {
        "client_caps": st.builds(PrincipalCaps, max_ticket_s=caps, max_jwt_s=caps),
        "target": st.none() | targets,
        "limits": st.builds(RealmLimits, max_ticket_s=seconds, max_jwt_s=seconds),
        "remaining_tgt_s": st.integers(-1, 5000),
        "address": addresses,
        "now": st.just(NOW),
        "groups_of": st.just(groups_of),
    },
    optional={
        "caveat_remaining_s": st.none() | st.integers(-1, 5000),
        "caveat_scopes": st.none() | st.frozensets(st.sampled_from(SCOPES)),
    },
)
