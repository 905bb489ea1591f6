from string import ascii_lowercase

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Denial, Grant, Kind, PrincipalCaps, TargetFacts
from orthros_kdc.policy.decide import decide, dropped_scopes
from orthros_kdc.policy.model import RealmLimits, subject_matches
from orthros_kdc.policy.rule_caveats import RequiredDischarge
from orthros_kdc.policy.snapshot import PolicySnapshot
from orthros_kdc.policy.sources import source_allowed
from orthros_kdc.store.base import PolicyRows
from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.tickets.notes import Note, NoteCause, NoteField
from tests.kdc.policy import rows
from tests.kdc.policy.rows import TARGET, ask, decided, granted, refused, rule

ALL = Ask(target="ledger")
LETTERS = tuple(ascii_lowercase)


@pytest.mark.parity("P6")
def test_without_a_rule_nothing_is_granted_and_the_target_is_not_looked_at() -> None:
    """Default deny; policy comes before existence."""
    answers = [decided(ask("read"), target=target) for target in (None, TARGET, TargetFacts(disabled=True))]
    assert answers == [Denial(code="not-granted")] * 3


@pytest.mark.parity("P5")
def test_all_that_the_rules_allow_is_their_union() -> None:
    """No scopes named means all of them."""
    grant = granted(ALL, rule(1, "read"), rule(2, "write", "read"))
    assert grant.scopes == ("read", "write")
    assert grant.notes == ()


@pytest.mark.parity("P5")
def test_no_scopes_means_authentication_only() -> None:
    """An empty list is a request for no rights, not for all."""
    assert granted(ask(), rule(1, "read", "write")).scopes == ()


@pytest.mark.parity("P5", "B3")
def test_a_scope_that_no_rule_grants_is_dropped_and_named() -> None:
    """The reply lists what was dropped, by its position in the request."""
    grant = granted(ask("write", "admin", "read"), rule(1, "read", "write"))
    assert grant.scopes == ("read", "write")
    assert grant.notes == (Note(NoteField.SCOPE, NoteCause.PAIR_RULE, 1),)


@pytest.mark.parity("P5")
def test_nothing_left_of_what_was_asked_is_a_refusal() -> None:
    """The policy for an empty intersection: no silent ticket without rights."""
    assert refused(ask("admin"), rule(1, "read")) == "no-scope-left"


@pytest.mark.parity("P6")
def test_a_scope_lives_as_long_as_its_most_generous_rule() -> None:
    """Rules add up; a second rule never takes away."""
    grant = granted(ask("read"), rule(1, "read", max_ttl_s=60), rule(2, "read", max_ttl_s=600))
    assert grant.ttl_s == 600
    assert grant.rule_ids == (2,)


@pytest.mark.parity("P6")
def test_a_ticket_lives_as_short_as_its_shortest_scope() -> None:
    """Nobody smuggles a short-lived scope into a long-lived ticket."""
    rules = rule(1, "read", max_ttl_s=900), rule(2, "admin", max_ttl_s=60)
    assert granted(ask("read", "admin"), *rules).ttl_s == 60
    assert granted(ask("read"), *rules).ttl_s == 900


@pytest.mark.parity("P6")
def test_authentication_only_lives_as_long_as_the_longest_rule() -> None:
    """Without scopes any rule of the pair will do."""
    grant = granted(ask(), rule(1, "read", max_ttl_s=60), rule(2, max_ttl_s=120))
    assert (grant.ttl_s, grant.rule_ids) == (120, (2,))


@pytest.mark.parity("P3", "B3")
@pytest.mark.parametrize(
    ("changed", "ttl_s", "cause"),
    [
        ({}, 700, NoteCause.PAIR_RULE),
        ({"client_caps": PrincipalCaps(max_ticket_s=600)}, 600, NoteCause.PRINCIPAL_CAP),
        ({"target": TargetFacts(max_ticket_s=500)}, 500, NoteCause.PRINCIPAL_CAP),
        ({"limits": RealmLimits(max_ticket_s=400)}, 400, NoteCause.REALM_CAP),
        ({"remaining_tgt_s": 300}, 300, NoteCause.TGT_EXPIRY),
        ({"caveat_remaining_s": 200}, 200, NoteCause.TGT_CAVEAT),
    ],
)
def test_each_cap_shortens_and_is_blamed(changed: dict[str, object], ttl_s: int, cause: NoteCause) -> None:
    """min(requested, rule, principals, realm, TGT), and the note says which one it was."""
    grant = granted(ask("read", ttl_s=1000), rule(1, "read", max_ttl_s=700), **changed)
    assert grant.ttl_s == ttl_s
    assert grant.notes == (Note(NoteField.TTL, cause),)


@pytest.mark.parity("P3", "H3")
def test_the_default_lifetime_is_the_cap_and_cuts_nothing() -> None:
    """Nothing asked, nothing lost: no note."""
    grant = granted(ask("read"), rule(1, "read"))
    assert (grant.ttl_s, grant.notes) == (3000, ())
    assert granted(ask("read"), rule(1, "read"), remaining_tgt_s=90_000).ttl_s == 3600
    assert granted(ask("read", kind=Kind.JWT), rule(1, "read", jwt=True)).ttl_s == 300


@pytest.mark.parity("P3")
def test_less_than_the_cap_is_given_as_asked() -> None:
    """A client may ask for less."""
    assert granted(ask("read", ttl_s=5), rule(1, "read")).ttl_s == 5


@pytest.mark.parity("P3")
@pytest.mark.parametrize("limit", ["max_ticket_s", "max_tgt_s", "max_jwt_s"])
@pytest.mark.parametrize("seconds", [0, -1, 86_401])
def test_a_realm_cap_beyond_what_verifiers_accept_cannot_be_set(limit: str, seconds: int) -> None:
    """A ticket that every verifier would refuse is never issued."""
    with pytest.raises(Misconfigured, match=f"{limit} is 1 to 86400"):
        RealmLimits(**{limit: seconds})


@pytest.mark.parity("P3")
def test_a_negative_lifetime_is_a_bug_of_the_caller() -> None:
    """The wire cannot carry it."""
    with pytest.raises(LocalMisuse, match="value-invalid"):
        ask("read", ttl_s=-1)


@pytest.mark.parity("P6")
def test_jwt_needs_the_target_and_a_rule_that_exports() -> None:
    """Export is opt-in twice."""
    wanted = ask("read", kind=Kind.JWT)
    exporting = rule(1, "read", jwt=True)
    assert granted(wanted, exporting).scopes == ("read",)
    assert refused(wanted, rule(1, "read")) == "jwt-not-enabled"
    assert refused(wanted, exporting, target=TargetFacts(jwt_alg=None)) == "jwt-not-enabled"
    assert refused(wanted) == "not-granted"


@pytest.mark.parity("P6")
def test_jwt_considers_only_rules_that_export() -> None:
    """A scope that may travel in a ticket need not be exportable."""
    grant = granted(ask("read", "write", kind=Kind.JWT), rule(1, "write"), rule(2, "read", jwt=True))
    assert grant.scopes == ("read",)
    assert grant.notes == (Note(NoteField.SCOPE, NoteCause.PAIR_RULE, 1),)


def test_jwt_works_for_a_target_without_a_ticket_key() -> None:
    """A target that only reads JWTs never activates a ticket key."""
    keyless = TargetFacts(has_key=False, jwt_alg="HS256")
    assert granted(ask("read", kind=Kind.JWT), rule(1, "read", jwt=True), target=keyless).ttl_s == 300
    assert refused(ask("read"), rule(1, "read", jwt=True), target=keyless) == "target-unavailable"


@pytest.mark.parity("P6")
@pytest.mark.parametrize("target", [None, TargetFacts(disabled=True), TargetFacts(has_key=False)])
def test_a_target_that_cannot_receive_is_unavailable(target: TargetFacts | None) -> None:
    """Where a rule exists the answer may be precise."""
    assert refused(ask("read"), rule(1, "read"), target=target) == "target-unavailable"


@pytest.mark.parity("P6")
def test_delegable_needs_a_delegating_rule_for_every_scope() -> None:
    """One scope without it and the flag is dropped, with a note."""
    rules = rule(1, "read", delegable=True), rule(2, "write")
    assert granted(ask("read", delegable=True), *rules).delegable
    both = granted(ask("read", "write", delegable=True), *rules)
    assert not both.delegable
    assert both.notes == (Note(NoteField.FLAG, NoteCause.PAIR_RULE),)


@pytest.mark.parity("P6")
def test_a_delegable_ticket_lives_by_the_delegating_rules_alone() -> None:
    """A long-lived plain rule does not stretch a short-lived permission to delegate."""
    rules = rule(1, "read"), rule(2, "read", delegable=True, max_ttl_s=60)
    assert granted(ask("read", delegable=True), *rules).ttl_s == 60
    assert granted(ask("read"), *rules).ttl_s == 3000


@pytest.mark.parity("P6")
def test_a_jwt_is_delegable_by_rules_that_export_and_delegate() -> None:
    """One rule must say both; two that say one each do not add up."""
    wanted = ask("read", kind=Kind.JWT, delegable=True)
    assert granted(wanted, rule(1, "read", jwt=True, delegable=True)).delegable
    apart = granted(wanted, rule(1, "read", jwt=True), rule(2, "read", delegable=True))
    assert not apart.delegable
    assert apart.notes == (Note(NoteField.FLAG, NoteCause.PAIR_RULE),)


@pytest.mark.parity("P3", "P5")
@pytest.mark.parametrize("wanted", [ask("read", "admin"), ask("read", ttl_s=9999), ask("read", delegable=True)])
def test_exact_refuses_what_would_have_been_cut(wanted: Ask) -> None:
    """Exact means all of it or nothing, and the refusal says what was in the way."""
    clamped = granted(wanted, rule(1, "read"))
    exact = decided(evolve(wanted, exact=True), rule(1, "read"))
    assert exact == Denial(code="exact-not-possible", notes=clamped.notes)


@pytest.mark.parity("P5")
def test_caveats_on_the_tgt_narrow() -> None:
    """An attenuated ticket-granting ticket only narrows."""
    grant = granted(ask("read", "write"), rule(1, "read", "write"), caveat_scopes=["read"])
    assert grant.scopes == ("read",)
    assert grant.notes == (Note(NoteField.SCOPE, NoteCause.TGT_CAVEAT, 1),)
    everything = granted(ALL, rule(1, "read", "write", "admin"), caveat_scopes=["read"])
    assert everything.scopes == ("read",)
    assert everything.notes == (Note(NoteField.SCOPE, NoteCause.TGT_CAVEAT),)


@pytest.mark.parity("P3")
def test_nothing_is_granted_behind_the_end_of_the_tgt_or_its_caveat() -> None:
    """A lifetime is at least a second."""
    assert refused(ask("read"), rule(1, "read"), remaining_tgt_s=0) == "tgt-expired"
    assert refused(ask("read"), rule(1, "read"), caveat_remaining_s=-5) == "excluded-by-your-caveat"


@pytest.mark.parity("P5")
def test_more_scopes_than_a_ticket_carries_are_cut() -> None:
    """Many rules together may allow more than 32."""
    rules = [rule(number, *(f"s{number}{at:02}" for at in range(20))) for number in (1, 2)]
    grant = granted(ALL, *rules)
    assert len(grant.scopes) == 32
    assert grant.notes == (Note(NoteField.SCOPE, NoteCause.REALM_CAP),)


@pytest.mark.parity("P5")
@given(st.sets(st.sampled_from(LETTERS)), st.lists(st.sampled_from(LETTERS), max_size=30), st.booleans())
def test_what_is_granted_is_what_was_asked_and_is_allowed(most: set[str], wanted: list[str], jwt: bool) -> None:
    """Requested and maximum, intersected; an empty intersection of a wish for something is a refusal."""
    one = ask(*wanted, kind=Kind.JWT if jwt else Kind.TICKET)
    rules = [rule(at, scope, jwt=True) for at, scope in enumerate(sorted(most), 1)] or [rule(1, jwt=True)]
    result = decided(one, *rules)
    if wanted and not most & set(wanted):
        assert isinstance(result, Denial)
        assert result.code == "no-scope-left"
        return
    assert isinstance(result, Grant)
    assert set(result.scopes) == most & set(wanted)
    dropped = dropped_scopes(one, result)
    assert set(dropped) == set(wanted) - most
    assert sorted(dropped, key=wanted.index) == list(dropped)


@pytest.mark.parity("P5")
def test_nothing_is_dropped_of_what_was_not_asked_for_by_name() -> None:
    """Who asks for all that is allowed, gets it."""
    assert dropped_scopes(ALL, granted(ALL, rule(1, "read"))) == ()


@pytest.mark.parity("P6")
def test_one_direction_is_granted_and_the_other_is_not() -> None:
    """A rule from A to B is none from B to A."""
    policy = PolicySnapshot(PolicyRows(seq=1, rules=(rule(1, "read"),), groups={}))
    assert granted(ask("read"), *policy.rules_for("billing", "ledger")).scopes == ("read",)
    back = evolve(ask("read"), target="billing")
    assert refused(back, *policy.rules_for("ledger", "billing")) == "not-granted"


@pytest.mark.parity("P3", "P5", "P6", "P8", "B3")
@given(rows.asks, rows.rule_lists, rows.facts)
def test_nothing_beyond_the_union_of_the_rules_and_every_cap(one, rules, facts) -> None:
    """Each granted scope rests on one rule that grants all of it, for all of that time, to that
    subject, along that path, from there, and under no caveat that the grant lacks."""
    result = decide(one, rules, Circumstances(**facts))
    if isinstance(result, Denial):
        return
    jwt = one.kind is Kind.JWT

    def carries(each) -> bool:
        fits = each.max_ttl_s is None or result.ttl_s <= each.max_ttl_s
        named = each.subjects + (each.behalf if one.proven else ())
        fits &= one.subject is None or subject_matches(named, one.subject)
        fits &= facts["address"] is None or source_allowed(each.sources, facts["address"])
        fits &= each.chain.objection(one.path, one.target, also=rows.groups_of) is None
        fits &= set(each.caveats) <= set(result.caveats)
        return fits and (each.jwt or not jwt) and (each.delegable or not result.delegable)

    assert all(any(scope in each.scopes and carries(each) for each in rules) for scope in result.scopes)
    assert any(carries(each) for each in rules)
    assert {each.rule_id for each in rules} >= set(result.rule_ids) != set()
    assert one.scopes is None or set(result.scopes) <= set(one.scopes)
    caveat_scopes = facts.get("caveat_scopes")
    assert caveat_scopes is None or caveat_scopes >= set(result.scopes)
    target = facts["target"]
    caps = [one.ttl_s or None, facts["remaining_tgt_s"], facts.get("caveat_remaining_s")]
    owners = facts["client_caps"], target, facts["limits"]
    caps += [owner.max_jwt_s if jwt else owner.max_ticket_s for owner in owners]
    assert 1 <= result.ttl_s <= min(cap for cap in caps if cap is not None)
    assert not target.disabled
    assert one.delegable or not result.delegable
    assert not (one.exact and result.notes)


@pytest.mark.parity("B3")
@given(rows.asks, rows.rule_lists, rows.facts)
def test_whatever_was_cut_is_noted_and_nothing_else(one, rules, facts) -> None:
    """The notes account for the whole difference between request and grant."""
    result = decide(one, rules, Circumstances(**facts))
    if isinstance(result, Denial):
        return
    fields = {note.field for note in result.notes}
    assert (NoteField.TTL in fields) == (one.ttl_s > result.ttl_s)
    assert (NoteField.FLAG in fields) == (one.delegable and not result.delegable)
    if one.scopes is not None:
        dropped = {note.index for note in result.notes if note.field == NoteField.SCOPE}
        kept = {at for at, scope in enumerate(one.scopes) if scope in result.scopes}
        assert dropped == set(range(len(one.scopes))) - kept


@pytest.mark.parity("P6")
@given(rows.asks, rows.rule_lists.filter(bool), rows.facts)
def test_what_fewer_rules_grant_could_have_been_had_before(one, rules, facts) -> None:
    """Removing a rule never adds a right: the same grant, asked for by name, was there before."""
    less = decide(one, rules[1:], Circumstances(**facts))
    if isinstance(less, Denial):
        return
    named = evolve(one, scopes=less.scopes, ttl_s=less.ttl_s, delegable=less.delegable, exact=True)
    if less.caveats:  # then a rule without caveats, for a shorter time, may have been preferred
        named = evolve(named, exact=False)
    before = decide(named, rules, Circumstances(**facts))
    assert isinstance(before, Grant)
    assert (before.scopes, before.delegable) == (less.scopes, less.delegable)
    assert before.ttl_s == less.ttl_s or less.caveats
    assert less.caveats or not before.caveats


@pytest.mark.parity("P3")
@given(rows.asks, rows.rule_lists, rows.facts, rows.seconds)
def test_a_tighter_cap_never_gives_more(one, rules, facts, cap) -> None:
    """Monotone in every cap."""
    before = decide(one, rules, Circumstances(**facts))
    limits = facts["limits"]
    tighter = evolve(limits, max_ticket_s=min(cap, limits.max_ticket_s), max_jwt_s=min(cap, limits.max_jwt_s))
    scopes = facts.get("caveat_scopes")
    for changed in (
        {"limits": tighter},
        {"remaining_tgt_s": min(cap, facts["remaining_tgt_s"])},
        {"caveat_scopes": frozenset({"read"}) & (frozenset({"read"}) if scopes is None else scopes)},
    ):
        after = decide(one, rules, Circumstances(**{**facts, **changed}))
        if isinstance(after, Denial):
            continue
        assert isinstance(before, Grant)
        if set(after.scopes) == set(before.scopes) and after.delegable == before.delegable:
            assert after.ttl_s <= before.ttl_s
        assert set(after.scopes) <= set(before.scopes)


@pytest.mark.parity("P6", "B3")
def test_a_new_rule_with_a_caveat_changes_nothing_for_those_who_name_no_scopes() -> None:
    """What a rule demands for one more scope is told in a note, and never put on what was obtained before."""
    plain = rule(1, "read", "write")
    refunds = rule(2, "pay:refund", discharges=(RequiredDischarge.parse("approvals=four-eyes"),))
    everything = Ask(target="ledger")
    before, after = granted(everything, plain), granted(everything, plain, refunds)
    assert (after.scopes, after.caveats, after.rule_ids) == (before.scopes, (), (1,))
    assert after.notes == (Note(NoteField.SCOPE, NoteCause.RULE_CAVEAT),)
    named = granted(ask("read", "pay:refund"), plain, refunds)
    assert (named.scopes, named.caveats) == (("read", "pay:refund"), refunds.caveats)
    assert granted(everything, refunds).caveats == refunds.caveats
    assert refused(Ask(target="ledger", exact=True), plain, refunds) == "exact-not-possible"


@pytest.mark.parity("P6", "B3")
def test_what_only_a_rule_with_a_caveat_makes_delegable_is_asked_for_by_name() -> None:
    """The note says what would help, which no new rule would."""
    plain = rule(1, "read")
    careful = rule(2, "read", delegable=True, methods=("GET",))
    everything = granted(Ask(target="ledger", delegable=True), plain, careful)
    assert (everything.delegable, everything.caveats) == (False, ())
    assert everything.notes == (Note(NoteField.FLAG, NoteCause.RULE_CAVEAT),)
    named = granted(Ask(target="ledger", scopes=("read",), delegable=True), plain, careful)
    assert (named.delegable, named.caveats, named.notes) == (True, careful.caveats, ())
    alone = granted(Ask(target="ledger", delegable=True), plain)
    assert alone.notes == (Note(NoteField.FLAG, NoteCause.PAIR_RULE),)


@pytest.mark.parity("B3")
def test_a_caveat_for_scopes_that_a_rule_without_one_grants_too_is_no_news() -> None:
    """Nothing is lost, so nothing is noted."""
    plain = rule(1, "read", "write")
    careful = rule(2, "read", methods=("GET",))
    assert granted(Ask(target="ledger"), plain, careful) == granted(Ask(target="ledger"), plain)
