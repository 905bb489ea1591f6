"""In whose name a client may ask: only under rules that say so, and for no more than those allow."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given

from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Denial, Grant, Kind, TargetFacts
from orthros_kdc.policy.decide import decide
from orthros_kdc.policy.model import subject_matches
from orthros_kdc.policy.sources import source_allowed
from orthros_protocol.errors import LocalMisuse
from orthros_protocol.tickets.notes import Note, NoteCause, NoteField
from tests.kdc.policy import rows
from tests.kdc.policy.rows import TARGET, ask, granted, refused, rule


def for_user(*scopes: str, subject: str = "user/ada", **extra: Any) -> Ask:
    return ask(*scopes, kind=Kind.JWT, subject=subject, **extra)


FORGED = [
    "root",
    "user",
    "users/ada",
    "user/",
    "user/*",
    "*",
    "User:1",
    "kdc/tgt",
    "user/ada@corp.test",
    "",
    "user/ada\0",
]


@pytest.mark.parity("P8")
@pytest.mark.parametrize("subject", FORGED)
def test_a_forged_subject_is_refused(subject: str) -> None:
    """What no pattern covers, and what is no name, is named by nobody."""
    rules = rule(1, "read", jwt=True, subjects=["user/*", "robot"]), rule(2, "read", jwt=True)
    assert refused(for_user("read", subject=subject), *rules) == "subject-refused"


@pytest.mark.parity("P8")
@pytest.mark.parametrize("subject", ["user/*", "*", "User:1", "kdc/tgt", "user/ada@corp.test", ""])
def test_even_a_rule_for_every_subject_knows_only_names(subject: str) -> None:
    """`*` is every name, and a pattern, another realm's name or nothing at all is none."""
    everyone = rule(1, "read", jwt=True, subjects=["*"])
    assert refused(for_user("read", subject=subject), everyone) == "subject-refused"


@pytest.mark.parity("P8")
def test_a_subject_has_what_its_own_rules_allow_and_no_more() -> None:
    """What the client may do in its own name is not handed to those in whose name it asks."""
    rules = (
        rule(1, "write", "admin", jwt=True, delegable=True),
        rule(2, "read", jwt=True, max_ttl_s=60, subjects=["user/*"]),
        rule(3, "pay:refund", jwt=True, subjects=["robot"]),
    )
    grant = granted(for_user("read", "write", "pay:refund", ttl_s=90, delegable=True), *rules)
    assert (grant.scopes, grant.ttl_s, grant.delegable, grant.subject) == (("read",), 60, False, "user/ada")
    assert grant.rule_ids == (2,)
    assert grant.notes == (
        Note(NoteField.SCOPE, NoteCause.SUBJECT_RULE, 1),
        Note(NoteField.SCOPE, NoteCause.SUBJECT_RULE, 2),
        Note(NoteField.FLAG, NoteCause.PAIR_RULE),
        Note(NoteField.TTL, NoteCause.PAIR_RULE),
    )


@pytest.mark.parity("P8")
def test_a_rule_for_subjects_holds_in_the_clients_own_name_as_well() -> None:
    """Rules add up; naming patterns takes nothing away."""
    grant = granted(ask("read", kind=Kind.JWT), rule(1, "read", jwt=True, subjects=["user/*"]))
    assert (grant.scopes, grant.subject) == (("read",), None)


@pytest.mark.parity("P6", "P8")
def test_a_subject_changes_nothing_for_who_has_no_rule() -> None:
    """Policy before existence: no rule, no look at the target; no rule for the subject, none either."""
    gone: tuple[TargetFacts | None, ...] = (None, TARGET, TargetFacts(disabled=True))
    assert [refused(for_user("read"), target=target) for target in gone] == ["not-granted"] * 3
    own = rule(1, "read", jwt=True)
    assert [refused(for_user("read"), own, target=target) for target in gone] == ["subject-refused"] * 3


@pytest.mark.parity("P8")
def test_a_subject_needs_a_rule_that_exports() -> None:
    """A rule for tickets that names the subject and one that exports do not add up."""
    rules = rule(1, "read", subjects=["user/*"]), rule(2, "read", jwt=True)
    assert refused(for_user("read"), *rules) == "jwt-not-enabled"


@pytest.mark.parity("P8")
def test_a_ticket_is_issued_in_another_name_under_the_same_patterns() -> None:
    """A gateway asserts its users for tickets as for JWTs."""
    users = rule(1, "read", subjects=["user/*"])
    assert granted(ask("read", subject="user/ada"), users).subject == "user/ada"
    assert refused(ask("read", subject="root"), users) == "subject-refused"


@pytest.mark.parity("P8", "K18")
def test_a_word_is_not_evidence() -> None:
    """`behalf` lets the client act for those whose call it proves, and for nobody by its word alone."""
    proven = rule(1, "read", behalf=["user/*"])
    path = ("web", "billing")
    assert granted(ask("read", subject="user/ada", proven=True, path=path), proven).subject == "user/ada"
    assert refused(ask("read", subject="user/ada"), proven) == "subject-refused"
    assert refused(ask("read", subject="root", proven=True, path=path), proven) == "subject-refused"


@pytest.mark.parity("P8", "K18")
def test_whom_a_client_may_name_it_may_prove_as_well() -> None:
    """Evidence never counts for less than a word."""
    asserted = rule(1, "read", subjects=["user/*"])
    assert granted(ask("read", subject="user/ada", proven=True, path=("web", "billing")), asserted).scopes == ("read",)


@pytest.mark.parity("K18", "L23")
def test_to_act_further_is_opt_in() -> None:
    """Constrained delegation: a rule that says nothing of others is for the client's own calls."""
    one = ask("read", subject="web", proven=True, path=("web", "billing"))
    assert refused(one, rule(1, "read", delegable=True)) == "subject-refused"


@pytest.mark.parity("K18")
def test_nobody_is_proven() -> None:
    """Evidence is always about somebody."""
    with pytest.raises(LocalMisuse, match="value-invalid"):
        ask("read", proven=True)


@pytest.mark.parity("P8")
@given(rows.asks, rows.rule_lists, rows.facts, rows.subjects)
def test_a_rule_without_subjects_never_lets_anybody_name_one(one, rules, facts, subject) -> None:
    """opt-in, rule by rule."""
    named = evolve(one, subject=subject)
    silent = tuple(evolve(each, subjects=(), behalf=(), sources=()) for each in rules)
    result = decide(named, silent, Circumstances(**facts))
    assert isinstance(result, Denial)
    assert result.code == ("subject-refused" if rules else "not-granted")


@pytest.mark.parity("P8")
@given(rows.asks, rows.rule_lists, rows.facts, rows.subjects)
def test_a_subject_never_gets_more_than_the_rules_that_name_it(one, rules, facts, subject) -> None:
    """The very same decision as if only those rules existed, and never beyond their union."""
    named = evolve(one, kind=Kind.JWT, subject=subject)
    address = facts["address"]
    matching = tuple(
        each
        for each in rules
        if subject_matches(each.subjects + (each.behalf if named.proven else ()), subject)
        and (address is None or source_allowed(each.sources, address))
    )
    result, alone = decide(named, rules, Circumstances(**facts)), decide(named, matching, Circumstances(**facts))
    if not matching:
        assert isinstance(result, Denial)
    elif isinstance(result, Grant) and isinstance(alone, Grant):
        assert evolve(result, notes=(), objections=()) == evolve(alone, notes=(), objections=())
        assert set(result.scopes) <= {scope for each in matching for scope in each.scopes}
    else:
        assert isinstance(result, Denial)
        assert isinstance(alone, Denial)
        assert result.code == alone.code
