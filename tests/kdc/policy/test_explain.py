import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given

from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Denial, Grant, Kind, PrincipalCaps, TargetFacts
from orthros_kdc.policy.decide import decide
from orthros_kdc.policy.explain import explain
from orthros_protocol.errors import Misconfigured
from tests.kdc.policy import rows
from tests.kdc.policy.rows import FACTS, ask, rule


def explained(one: Ask, *rules, **changed):
    return explain("billing", one, rules, Circumstances(**{**FACTS, **changed}))


@pytest.mark.parity("B3")
@given(rows.asks, rows.rule_lists, rows.facts)
def test_the_explanation_is_the_reply(one, rules, facts) -> None:
    """Explain and reply come from one decision, for every combination."""
    because = explain("billing", one, rules, Circumstances(**facts))
    assert because.decision == decide(one, rules, Circumstances(**facts))
    if isinstance(because.decision, Grant):
        assert because.caps[0].seconds >= because.decision.ttl_s
        assert because.decision.ttl_s in (one.ttl_s, because.caps[0].seconds)
        assert because.remedies == ()
    assert because.lines()
    assert json.loads(json.dumps(because.to_dict())) == because.to_dict()


@pytest.mark.parity("B3")
def test_a_grant_is_explained_with_every_limit_tightest_first() -> None:
    """Requested -> granted, what was cut, and the rule or cap behind it."""
    because = explained(
        ask("read", "admin", ttl_s=4000),
        rule(4, "read", max_ttl_s=900),
        rule(9, "write"),
        client_caps=PrincipalCaps(max_ticket_s=1200),
    )
    assert because.lines() == [
        "billing -> ledger: asks for a ticket with read admin, 4000 s",
        "  rule 4: billing -> ledger [read] (max 900 s)",
        "  rule 9: billing -> ledger [write]",
        "granted: read, 900 s (by rule 4)",
        "  Scope admin was not granted: the rules for this pair do not allow it.",
        "  The lifetime was shortened: the rules for this pair do not allow it.",
        "  limit 900 s: rule 4",
        "  limit 1200 s: the client",
        "  limit 3000 s: the ticket-granting ticket",
        "  limit 3600 s: the realm",
    ]


@pytest.mark.parity("B3", "K17")
def test_a_refusal_quotes_the_rule_that_would_allow_it() -> None:
    """The remedy can be pasted."""
    because = explained(Ask(target="ledger", scopes=("read", "write"), ttl_s=60, delegable=True))
    assert because.lines() == [
        "billing -> ledger: asks for a ticket with read write, 60 s, delegable",
        "  no rule names this pair, directly or by group",
        "refused: not-granted: No rule lets this client reach this target.",
        "  would allow it: orthros-admin policy allow billing ledger"
        " --scope read --scope write --max-ttl 60 --delegable",
    ]
    assert because.to_dict()["answer"] == {"refused": "not-granted"}


@pytest.mark.parity("B3")
def test_a_jwt_that_is_not_enabled_needs_both_commands() -> None:
    """The rule and the target's record each have their own command."""
    because = explained(ask("read", kind=Kind.JWT), rule(1, "read"), target=TargetFacts())
    assert because.remedies == (
        "orthros-admin policy allow billing ledger --scope read --jwt",
        "orthros-admin jwt enable ledger",
    )


@pytest.mark.parity("B3")
@pytest.mark.parametrize(
    ("one", "changed"),
    [
        (ask("read"), {"target": None}),
        (ask("read"), {"remaining_tgt_s": 0}),
        (ask("read"), {"caveat_scopes": []}),
        (ask("read", ttl_s=5000, exact=True), {}),
        (ask("read", "admin", exact=True), {"caveat_scopes": ["read"]}),
        (ask("admin"), {"target": TargetFacts(disabled=True)}),
    ],
)
def test_no_rule_is_offered_where_rules_are_not_the_obstacle(one, changed) -> None:
    """A wrong remedy is worse than none."""
    assert explained(one, rule(1, "read"), **changed).remedies == ()


@pytest.mark.parity("B3")
@given(rows.asks, rows.rule_lists, rows.facts)
def test_the_offered_commands_work(one, rules, facts) -> None:
    """When they have been carried out, the very same request is granted."""
    because = explain("billing", one, rules, Circumstances(**facts))
    if not because.remedies:
        return
    target = facts["target"] or TargetFacts()
    for command in because.remedies:
        words = command.split()
        if words[1] == "jwt":
            target = evolve(target, jwt_alg="HS256")
            continue
        said = {option: [words[at + 1] for at, word in enumerate(words) if word == option]
                for option in ("--scope", "--max-ttl", "--subject", "--behalf", "--from")}  # fmt: skip
        offered = rule(
            99,
            *said["--scope"],
            max_ttl_s=int(said["--max-ttl"][0]) if said["--max-ttl"] else None,
            jwt="--jwt" in words,
            delegable="--delegable" in words,
            subjects=said["--subject"],
            behalf=said["--behalf"],
            sources=said["--from"],
            callbacks="--callbacks" in words,
        )
        rules = (*rules, offered)
    assert isinstance(decide(one, rules, Circumstances(**{**facts, "target": target})), Grant)


@pytest.mark.parity("B3")
@pytest.mark.parametrize("code", ["not-granted", "no-scope-left", "jwt-not-enabled", "exact-not-possible"])
@pytest.mark.parametrize("one", [ask("admin"), ask("admin", kind=Kind.JWT), Ask(target="ledger", ttl_s=99, exact=True)])
def test_where_only_rules_are_missing_there_is_a_remedy(code, one) -> None:
    """Every refusal that a rule can lift quotes it."""
    rules = () if code == "not-granted" else (rule(1, "read", max_ttl_s=50, jwt=code != "jwt-not-enabled"),)
    because = explained(one, *rules)
    if isinstance(because.decision, Denial) and because.decision.code == code:
        assert because.remedies[0].startswith("orthros-admin policy allow billing ledger")


@pytest.mark.parity("P8", "B3")
def test_a_subject_that_no_rule_names_has_the_rule_that_names_it_for_a_remedy() -> None:
    """The explanation says whose name was asked for, which rules there are, and the one that is missing."""
    one = ask("read", kind=Kind.JWT, subject="user/ada", ttl_s=60)
    because = explained(one, rule(1, "read", jwt=True), rule(2, "read", jwt=True, subjects=["robot/*"]))
    assert because.lines() == [
        "billing -> ledger: asks in the name of user/ada for a jwt with read, 60 s",
        "  rule 1: billing -> ledger [read] (jwt)",
        "  rule 2: billing -> ledger [read] (jwt, for robot/*)",
        "refused: subject-refused: Acting for another subject is not allowed here.",
        "  rule 1: subject: it does not name user/ada",
        "  rule 2: subject: it does not name user/ada",
        "  would allow it: orthros-admin policy allow billing ledger"
        " --scope read --max-ttl 60 --jwt --subject user/ada",
    ]
    assert because.to_dict()["asked"]["subject"] == "user/ada"


@pytest.mark.parity("P8", "B3")
def test_a_scope_that_only_the_own_name_would_have_had_is_explained_by_the_subject() -> None:
    """The limit is the subject's, not the pair's."""
    one = ask("read", "write", kind=Kind.JWT, subject="user/ada")
    because = explained(one, rule(1, "write", jwt=True), rule(2, "read", jwt=True, subjects=["user/*"]))
    assert "  Scope write was not granted: the rules for this subject do not allow it." in because.lines()
    assert because.lines()[3] == "granted: read, 300 s (by rule 2)"


@pytest.mark.parity("K18", "B3")
def test_a_subject_with_evidence_has_a_narrower_remedy_than_its_word() -> None:
    """Who can prove for whom it acts is not given the right to name anybody."""
    one = ask("read", subject="user/ada", proven=True, path=("web", "billing"))
    because = explained(one, rule(1, "read"))
    assert because.lines()[0] == (
        "billing -> ledger: asks on behalf of user/ada, through web, for a ticket with read, as long as allowed"
    )
    assert because.remedies == ("orthros-admin policy allow billing ledger --scope read --behalf user/ada",)


@pytest.mark.parity("M5", "M6", "B3")
def test_a_refusal_names_the_condition_of_each_rule_that_failed() -> None:
    """Not only that the chain broke a rule, but which one, and by whom."""
    one = ask("read", subject="user/ada", proven=True, path=("web", "relay", "billing"))
    because = explained(
        one,
        rule(3, "read", sources=["192.0.2.0/24"]),
        rule(5, "read", subjects=["robot"]),
        rule(7, "read", behalf=["*"], deny_via=["group:edge"]),
        rule(8, "read", behalf=["*"], max_depth=1),
        address="10.0.0.1",
    )
    assert because.lines() == [
        "billing -> ledger: asks from 10.0.0.1 on behalf of user/ada, through web relay, for a ticket with read, "
        "as long as allowed",
        "  rule 3: billing -> ledger [read] (from 192.0.2.0/24)",
        "  rule 5: billing -> ledger [read] (for robot)",
        "  rule 7: billing -> ledger [read] (on behalf of *, never via group:edge)",
        "  rule 8: billing -> ledger [read] (on behalf of *, at most 1 before the client)",
        "refused: chain-refused: The call chain breaks a rule on the path.",
        "  rule 3: source: 10.0.0.1 is outside 192.0.2.0/24",
        "  rule 5: subject: it does not name user/ada",
        "  rule 7: chain: it came through web",
        "  rule 8: chain: 2 hops before the caller, at most 1",
        "  would allow it: orthros-admin policy allow billing ledger --scope read --behalf user/ada",
    ]
    assert because.to_dict()["objections"][2] == "rule 7: chain: it came through web"


@pytest.mark.parity("M6", "B3")
def test_a_call_back_is_allowed_by_a_rule_that_says_so() -> None:
    """The remedy has just the option that is missing."""
    one = ask("read", subject="ledger", proven=True, path=("ledger", "billing"))
    because = explained(one, rule(1, "read", behalf=["*"]))
    assert because.decision.code == "chain-refused"
    assert because.remedies == ("orthros-admin policy allow billing ledger --scope read --behalf ledger --callbacks",)


@pytest.mark.parity("M6", "B3")
def test_no_rule_lets_a_chain_grow_beyond_all_bounds() -> None:
    """Nine callers are too many under every rule."""
    one = ask("read", subject="user/ada", proven=True, path=(*(f"s{number}" for number in range(9)), "billing"))
    because = explained(one, rule(1, "read", behalf=["*"]))
    assert (because.decision.code, because.remedies) == ("chain-refused", ())


@pytest.mark.parity("B3")
def test_a_border_is_opened_where_the_ask_came_from() -> None:
    """Not everywhere."""
    because = explained(ask("read"), rule(1, "read", sources=["192.0.2.0/24"]), address="10.0.0.1")
    assert because.decision.code == "source-refused"
    assert because.remedies == ("orthros-admin policy allow billing ledger --scope read --from 10.0.0.1/32",)


@pytest.mark.parity("P6", "B3")
def test_what_the_kdc_writes_into_a_ticket_is_told() -> None:
    """A grant is explained with the caveats that it comes under."""
    caveats: dict[str, Any] = {"methods": ["GET"], "path": "/orders", "discharges": ["approvals=four-eyes"]}
    because = explained(ask("read"), rule(1, "read", **caveats))
    assert because.lines()[1:6] == [
        "  rule 1: billing -> ledger [read] (with methods GET, with path /orders, with discharge approvals=four-eyes)",
        "granted: read, 3000 s (by rule 1)",
        "  the KDC writes into it: methods GET",
        "  the KDC writes into it: path /orders",
        "  the KDC writes into it: discharge approvals=four-eyes",
    ]
    assert because.to_dict()["answer"]["caveats"] == ["methods GET", "path /orders", "discharge approvals=four-eyes"]


@pytest.mark.parity("P8")
def test_a_subject_without_a_canonical_name_is_no_rule_for_anybody() -> None:
    """Nothing that cannot be written down as a rule is offered as one."""
    with pytest.raises(Misconfigured, match="value-invalid"):
        explained(ask("read", kind=Kind.JWT, subject="User:1"), rule(1, "read", jwt=True, subjects=["*"]))


@pytest.mark.parity("B3")
def test_a_target_that_only_lacks_its_jwt_key_needs_no_new_rule() -> None:
    """No more than is missing."""
    because = explained(ask("read", kind=Kind.JWT), rule(1, "read", jwt=True), target=TargetFacts())
    assert because.remedies == ("orthros-admin jwt enable ledger",)


@pytest.mark.parity("B3")
def test_no_rule_is_offered_that_would_undo_the_caveat_of_another() -> None:
    """The note tells the asker to name the scopes; an admin need not give them away."""
    careful = rule(2, "read", "pay:refund", delegable=True, methods=("GET",))
    for one in (Ask(target="ledger", exact=True), Ask(target="ledger", exact=True, delegable=True)):
        explanation = explained(one, rule(1, "read"), careful)
        assert isinstance(explanation.decision, Denial)
        assert explanation.remedies == ()
        assert "must be asked for by name" in "\n".join(explanation.lines())


@pytest.mark.parity("B3")
def test_more_scopes_than_a_rule_holds_have_no_remedy() -> None:
    """No rule lifts the limit of a ticket."""
    many = [rule(number, *(f"s{number}{at:02}" for at in range(20))) for number in (1, 2)]
    assert explained(Ask(target="ledger", exact=True), *many).remedies == ()
