"""Rules, asks and facts for the policy tests, written by hand or drawn by hypothesis."""

from typing import Any

from attrs import evolve
from hypothesis import strategies as st

from orthros_kdc.policy.decide import Ask, Denial, Grant, Kind, PrincipalCaps, TargetFacts, decide
from orthros_kdc.policy.model import RealmLimits, Rule, Selector

SCOPES = ("read", "write", "admin", "pay:refund")
TARGET = TargetFacts(jwt_alg="HS256")
FACTS: dict[str, Any] = {
    "client_caps": PrincipalCaps(),
    "target": TARGET,
    "limits": RealmLimits(),
    "remaining_tgt_s": 3000,
    "address": None,
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
    return decide(one, rules, **{**FACTS, **changed})


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

rule_lists = st.lists(
    st.builds(
        lambda scopes, **extra: rule(1, *scopes, **extra),
        scope_lists,
        max_ttl_s=caps,
        jwt=st.booleans(),
        delegable=st.booleans(),
        subjects=patterns,
    ),
    max_size=6,
).map(lambda rules: tuple(evolve(one, rule_id=number) for number, one in enumerate(rules, 1)))

asks = st.builds(
    Ask,
    target=st.just("ledger"),
    kind=st.sampled_from(Kind),
    scopes=st.none() | scope_lists,
    ttl_s=st.just(0) | seconds,
    exact=st.booleans(),
    delegable=st.booleans(),
    subject=st.none() | subjects,
)

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
        "address": st.none(),
    },
    optional={
        "caveat_remaining_s": st.none() | st.integers(-1, 5000),
        "caveat_scopes": st.none() | st.frozensets(st.sampled_from(SCOPES)),
    },
)
