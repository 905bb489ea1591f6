"""Conditions of a rule: from where, for whom, along which path. Each only takes away."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Denial, Grant, TargetFacts
from orthros_kdc.policy.decide import decide
from orthros_kdc.policy.snapshot import PolicySnapshot
from orthros_kdc.store.base import PolicyRows
from orthros_protocol.errors import Misconfigured
from orthros_protocol.tickets.notes import Note, NoteCause, NoteField
from tests.kdc.policy import rows
from tests.kdc.policy.rows import NOW, TARGET, ask, decided, granted, refused, rule

READ = Ask(target="ledger", scopes=("read",))
GONE: tuple[TargetFacts | None, ...] = (None, TARGET, TargetFacts(disabled=True), TargetFacts(has_key=False))


def through(*callers: str, subject: str = "user/ada", **extra: Any) -> Ask:
    return ask("read", subject=subject, proven=True, path=(*callers, "billing"), **extra)


def along(**chain: Any):
    return rule(1, "read", behalf=["*"], **chain)


# Where it comes from


@pytest.mark.parity("P6")
@pytest.mark.parametrize(
    ("address", "holds"),
    [("10.1.2.3", True), ("::ffff:10.1.2.3", True), ("192.0.2.1", False), ("2001:db8::1", False), ("", False),
     ("10.1.2.3.4", False), (None, True)],
)  # fmt: skip
def test_a_rule_for_some_networks_holds_for_asks_from_there(address: str | None, holds: bool) -> None:
    """A local socket and what cannot be read lie outside; None is for those who only wonder."""
    inside = rule(1, "read", sources=["10.0.0.0/8"])
    if holds:
        assert granted(READ, inside, address=address).scopes == ("read",)
    else:
        assert refused(READ, inside, address=address) == "source-refused"
    assert granted(READ, inside, rule(2, "read"), address=address).scopes == ("read",)


@pytest.mark.parity("P6")
def test_a_scope_of_another_network_is_left_out() -> None:
    """Conditions take away single rules, not the pair."""
    grant = granted(
        ask("read", "write"), rule(1, "read"), rule(2, "write", sources=["10.0.0.0/8"]), address="192.0.2.1"
    )
    assert (grant.scopes, grant.rule_ids) == (("read",), (1,))
    assert grant.notes == (Note(NoteField.SCOPE, NoteCause.PAIR_RULE, 1),)
    assert [str(one) for one in grant.objections] == ["rule 2: source: 192.0.2.1 is outside 10.0.0.0/8"]


# Along which path


@pytest.mark.parity("M5")
def test_a_path_that_a_rule_forbids_is_refused() -> None:
    """A calls through X, and the rule denies X."""
    assert refused(through("gate", "web"), along(deny_via=["web"])) == "chain-refused"
    assert refused(through("gate", "web"), along(deny_via=["gate"])) == "chain-refused"
    assert granted(through("gate", "relay"), along(deny_via=["web"])).scopes == ("read",)


@pytest.mark.parity("M5")
def test_a_path_that_a_rule_requires_must_be_taken() -> None:
    """Only by way of the gate, and then not for the client's own calls either."""
    assert granted(through("relay", "gate"), along(require_via=["gate"])).scopes == ("read",)
    assert refused(through("relay", "web"), along(require_via=["gate"])) == "chain-refused"
    assert refused(through("gate", "web"), along(require_via=["gate", "relay"])) == "chain-refused"
    assert refused(READ, along(require_via=["gate"])) == "chain-refused"
    assert refused(READ, along(require_via=["billing"])) == "chain-refused"


@pytest.mark.parity("M5")
def test_conditions_know_members_of_groups_and_other_realms() -> None:
    """A group stands for its members; a name of another realm for nobody in this one."""
    assert refused(through("web"), along(deny_via=["group:edge"])) == "chain-refused"
    assert granted(through("relay"), along(deny_via=["group:edge"])).scopes == ("read",)
    assert granted(through("relay"), along(require_via=["group:trusted"])).scopes == ("read",)
    assert refused(through("web@other.test"), along(deny_via=["web@other.test"])) == "chain-refused"
    assert granted(through("web@other.test"), along(deny_via=["web", "group:edge"])).scopes == ("read",)
    assert refused(through("gate@other.test"), along(require_via=["gate"])) == "chain-refused"


@pytest.mark.parity("M5")
@pytest.mark.parametrize("chain", [{"deny_via": ["group:edge"]}, {"require_via": ["group:edge"]}])
def test_groups_that_nobody_looked_up_fail_closed(chain: dict[str, Any]) -> None:
    """A forgotten look-up opens nothing."""
    assert refused(through("relay"), along(**chain), groups_of=None) == "chain-refused"
    assert refused(through("web"), along(**chain), groups_of=None) == "chain-refused"


@pytest.mark.parity("M5")
def test_the_groups_of_a_policy_are_those_of_its_rows() -> None:
    """What deny-via knows as group:edge are just its members."""
    groups = {"edge": frozenset({"web"}), "empty": frozenset[str]()}
    policy = PolicySnapshot(PolicyRows(seq=1, rules=(along(deny_via=["group:edge"]),), groups=groups))
    assert (list(policy.groups_of("web")), list(policy.groups_of("edge"))) == (["group:edge"], [])
    assert list(policy.groups_of("web@other.test")) == []
    found = policy.rules_for("billing", "ledger")
    assert refused(through("web"), *found, groups_of=policy.groups_of) == "chain-refused"
    assert granted(through("relay"), *found, groups_of=policy.groups_of).scopes == ("read",)


@pytest.mark.parity("M6")
def test_a_path_has_an_end() -> None:
    """The rule's own depth, and eight for all."""
    callers = [f"s{number}" for number in range(9)]
    assert granted(through(*callers[:2]), along(max_depth=2)).scopes == ("read",)
    assert refused(through(*callers[:3]), along(max_depth=2)) == "chain-refused"
    assert refused(through("web"), along(max_depth=0)) == "chain-refused"
    assert granted(READ, along(max_depth=0)).scopes == ("read",)
    assert granted(through(*callers[:8]), along()).scopes == ("read",)
    assert refused(through(*callers), along()) == "chain-refused"


@pytest.mark.parity("M6")
@pytest.mark.parametrize("callers", [("ledger",), ("web", "ledger", "gate"), ("web", "gate", "web"), ("billing",)])
def test_nobody_is_called_again_unless_the_rule_says_so(callers: tuple[str, ...]) -> None:
    """Loops are found by name, however long they are."""
    assert refused(through(*callers), along()) == "chain-refused"
    assert granted(through(*callers), along(callbacks=True)).scopes == ("read",)


@pytest.mark.parity("M5")
def test_an_asserted_subject_has_no_path() -> None:
    """Only the KDC's word makes a caller of somebody."""
    asserted = ask("read", subject="gate")
    assert refused(asserted, rule(1, "read", subjects=["*"], require_via=["gate"])) == ("chain-refused")
    assert granted(asserted, rule(1, "read", subjects=["*"], deny_via=["gate"])).subject == "gate"


# Until when


@pytest.mark.parity("P6")
def test_a_rule_grants_nothing_past_its_end_and_no_ticket_lives_longer() -> None:
    ended, last = rule(1, "read", until="2026-12-01"), rule(2, "read", until="2026-12-01T00:10:00Z")
    assert refused(READ, ended) == "not-granted"
    denial = decided(READ, ended)
    assert [str(one) for one in denial.objections] == ["rule 1: until: it ended 2026-12-01T00:00:00Z"]
    grant = granted(READ, ended, last)
    assert (grant.ttl_s, grant.rule_ids) == (600, (2,))
    assert min(grant.caps)[:4] == (600, NoteCause.PAIR_RULE, "rule", 2)
    assert str(grant.objections[-1]) == "rule 2: until: it ends 2026-12-01T00:10:00Z"
    assert granted(evolve(READ, ttl_s=900), last).notes == (Note(NoteField.TTL, NoteCause.PAIR_RULE),)
    assert granted(READ, evolve(last, max_ttl_s=60)).ttl_s == 60
    assert granted(READ, last, rule(3, "read")).ttl_s == 3000
    assert (granted(READ, last, now=NOW + 599).ttl_s, refused(READ, last, now=NOW + 600)) == (1, "not-granted")
    assert granted(READ, rule(4, "read", until="2026-12-03")).objections == ()


def test_without_a_clock_a_rule_that_ends_does_not_hold() -> None:
    assert refused(READ, rule(1, "read", until="2027-01-31"), now=None) == "not-granted"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("2027-01-31", "2027-01-31T00:00:00Z"),
        ("2027-01-31T18:00:00+01:00", "2027-01-31T17:00:00Z"),
        ("2027-01-31T18:00:00Z", "2027-01-31T18:00:00Z"),
        ("0027-01-31", "0027-01-31T00:00:00Z"),
    ],
)
def test_an_end_has_one_form(written: str, kept: str) -> None:
    """And is read again as it was written: what a database holds must never be what no rule can say."""
    assert rule(1, until=written).until == kept
    assert rule(1, until=kept).until == kept


@pytest.mark.parametrize(
    "wrong",
    ["", "soon", "2027-02-30", "2027-01-31T18:00:00", "2027-01-31T18:00:00.5Z", 5, "20\u0662\u0667-01-31", "2027"],
)
def test_what_is_no_instant_is_no_end(wrong: Any) -> None:
    """A time without an offset would end at another instant for each reader."""
    with pytest.raises(Misconfigured, match="value-invalid"):
        rule(1, until=wrong)


# Within what the subject itself may


def at_ledger(*own):
    """What subjects may at the ledger by rules of their own."""
    return {"scopes_of": PolicySnapshot(PolicyRows(seq=1, rules=own, groups={})).own_scopes}


@pytest.mark.parity("M5", "K18")
def test_a_subject_gets_no_scope_that_its_own_rules_do_not_grant() -> None:
    bounded = rule(1, "read", "write", behalf=["*"], within_subject=True)
    asked = ask("read", "write", subject="web", proven=True, path=("web", "billing"))
    own = at_ledger(rule(7, "read", "admin", client="web"))
    grant = granted(asked, bounded, **own)
    assert (grant.scopes, grant.rule_ids) == (("read",), (1,))
    assert grant.notes == (Note(NoteField.SCOPE, NoteCause.SUBJECT_RULE, 1),)
    assert [str(one) for one in grant.objections] == ["rule 1: within_subject: web itself may not write at ledger"]
    assert refused(evolve(asked, scopes=("write",)), bounded, **own) == "no-scope-left"
    assert granted(evolve(asked, scopes=None), bounded, **own).scopes == ("read",)
    assert granted(asked, bounded, rule(2, "write", behalf=["web"]), **own).scopes == ("read", "write")


@pytest.mark.parity("M5", "K18")
def test_a_bounded_rule_does_not_hold_for_a_subject_without_rules_or_of_which_nothing_is_known() -> None:
    bounded = rule(1, "read", subjects=["*"], within_subject=True)
    asked = ask("read", subject="web")
    assert refused(asked, bounded, **at_ledger()) == "subject-refused"
    assert refused(asked, bounded) == "subject-refused"
    assert refused(asked, bounded, **at_ledger(rule(7, "read", client="web", target="store"))) == "subject-refused"


@pytest.mark.parity("M5")
@pytest.mark.parametrize("less", [{"sources": ["10.0.0.0/8"]}, {"methods": ["GET"]}, {"require_via": ["gate"]}])
def test_what_the_subject_has_under_a_condition_bounds_to_nothing(less) -> None:
    """Fail closed: the caller would have it without that condition."""
    bounded = rule(1, "read", subjects=["*"], within_subject=True)
    own = at_ledger(rule(7, "read", client="web", **less))
    assert refused(ask("read", subject="web"), bounded, **own) == "subject-refused"
    free = at_ledger(rule(7, "read", client="web", **less), rule(8, client="web"))
    assert refused(ask("read", subject="web"), bounded, **free) == "no-scope-left"


def test_a_rule_of_the_subject_counts_until_it_ends() -> None:
    bounded = rule(1, "read", subjects=["*"], within_subject=True)
    own = at_ledger(rule(7, "read", client="web", until="2026-12-01T00:10:00Z"))
    assert granted(ask("read", subject="web"), bounded, now=NOW + 599, **own).scopes == ("read",)
    assert refused(ask("read", subject="web"), bounded, now=NOW + 600, **own) == "subject-refused"


def test_a_call_in_the_clients_own_name_is_not_bounded_by_a_subject() -> None:
    assert granted(ask("read"), rule(1, "read", within_subject=True)).scopes == ("read",)


# In which order


@pytest.mark.parity("P6", "B3")
def test_the_first_condition_that_leaves_no_rule_names_the_refusal() -> None:
    """Pair, source, subject, chain, and only then the target."""
    away = rule(1, "read", behalf=["*"], sources=["10.0.0.0/8"])
    others = rule(2, "read", behalf=["robot"], max_depth=0)
    deep = rule(3, "read", behalf=["*"], max_depth=0)
    for target in GONE:
        facts = {"target": target, "address": "192.0.2.1"}
        assert refused(through("web"), **facts) == "not-granted"
        assert refused(through("web"), away, **facts) == "source-refused"
        assert refused(through("web"), away, others, **facts) == "subject-refused"
        assert refused(through("web"), away, others, deep, **facts) == "chain-refused"
    open_ = rule(4, "read", behalf=["*"])
    assert refused(through("web"), away, open_, target=None) == "target-unavailable"


# What holds for every policy


@pytest.mark.parity("P6", "M5", "M6", "K18")
@given(rows.asks, rows.rule_lists, rows.facts)
def test_a_rule_whose_condition_fails_never_contributes(one, rules, facts) -> None:
    """The same decision as if it were not there, but for the reason."""
    result = decide(one, rules, Circumstances(**facts))
    failed = {objection.rule_id for objection in result.objections if not objection.bounds}
    silent = tuple(each for each in rules if each.rule_id in failed)
    rest = tuple(each for each in rules if each.rule_id not in failed)
    assert all(isinstance(decide(one, (each,), Circumstances(**facts)), Denial) for each in silent)
    without = decide(one, rest, Circumstances(**facts))
    if isinstance(result, Grant):
        assert not failed & set(result.rule_ids)
        assert isinstance(without, Grant)
        # Which rule a scope was lost by shows in the cause of its note alone.
        assert evolve(result, notes=(), objections=()) == evolve(without, notes=(), objections=())
        assert [(note.field, note.index) for note in result.notes] == [
            (note.field, note.index) for note in without.notes
        ]
    else:
        assert isinstance(without, Denial)
        assert without.code == (result.code if rest else "not-granted")


TIGHTER = st.sampled_from([
    {"sources": ("198.51.100.0/24",)},
    {"within_subject": True},
    {"until": "2026-12-01T00:20:00Z"},
    {"deny_via": ["web"]},
    {"require_via": ["gate"]},
    {"max_depth": 1},
    {"methods": ["GET"], "path": "/a"},
    {"discharges": ["approvals=two"]},
])  # fmt: skip


@pytest.mark.parity("P6", "M5")
@given(rows.asks, rows.rule_lists.filter(bool), rows.facts, st.integers(0, 5), TIGHTER)
def test_a_condition_more_never_widens_a_grant(one, rules, facts, at, tighter) -> None:
    """No scope more; and for one scope no longer life and no caveat less."""
    chosen = rules[at % len(rules)]
    assume(all(getattr(chosen, name) == getattr(rule(1), name) for name in tighter))
    assume(not (chosen.jwt and rule(1, **tighter).caveats))
    assume(not set(chosen.deny_via).intersection(tighter.get("require_via", ())))
    assume(not set(chosen.require_via).intersection(tighter.get("deny_via", ())))
    changed = tuple(evolve(each, **tighter) if each is chosen else each for each in rules)
    after = decide(one, changed, Circumstances(**facts))
    if isinstance(after, Denial):
        return
    # The rules before would have given it: the same rules, less this condition, and the caveats that it brings.
    before = decide(evolve(one, exact=False), rules, Circumstances(**facts))
    assert isinstance(before, Grant)
    assert set(after.scopes) <= set(before.scopes)
    single = evolve(one, scopes=after.scopes[:1], exact=False, delegable=False, ttl_s=0)
    before, after = decide(single, rules, Circumstances(**facts)), decide(single, changed, Circumstances(**facts))
    assert isinstance(before, Grant)
    assert isinstance(after, Grant)
    assert after.caveats or not before.caveats
    if bool(after.caveats) == bool(before.caveats):
        assert after.ttl_s <= before.ttl_s


@pytest.mark.parity("B3")
@given(rows.asks, rows.rule_lists, rows.facts)
def test_an_address_that_is_left_open_is_the_most_that_an_address_can_get(one, rules, facts) -> None:
    """What is wondered about without an address is never less than the answer from one."""
    for_all = decide(evolve(one, exact=False), rules, Circumstances(**{**facts, "address": None}))
    for_one = decide(one, rules, Circumstances(**facts))
    if isinstance(for_one, Grant):
        assert isinstance(for_all, Grant)
        assert set(for_one.scopes) <= set(for_all.scopes)


@pytest.mark.parity("P6")
def test_without_conditions_nothing_is_objected() -> None:
    """The plain rule is as plain as it was."""
    grant = decided(READ, rule(1, "read"), address="192.0.2.1")
    assert isinstance(grant, Grant)
    assert (grant.objections, grant.caveats) == ((), ())
