"""Caveats that rules have the KDC write: one spelling, all of every rule behind a grant, and no more than fit."""

import pytest
from attrs import evolve
from hypothesis import given

from orthros_kdc.policy.decide import Grant, Kind, decide
from orthros_kdc.policy.model import Demand, RuleCaveats
from orthros_kdc.policy.rule_caveats import MOST_RULE_CAVEATS, caveat_count, caveat_texts, demands_of, fits_ticket
from orthros_protocol import Misconfigured
from orthros_protocol.exchanges.notes import Note, NoteCause, NoteField
from orthros_protocol.primitives.limits import MAX_DISCHARGES
from tests.kdc.policy import rows
from tests.kdc.policy.rows import ask, granted, refused, rule

GET = RuleCaveats(methods=["GET"])
APPROVED = RuleCaveats(discharges=["approvals=four-eyes"])


def asking(*demands: str) -> RuleCaveats:
    return RuleCaveats(discharges=demands)


@pytest.mark.parity("P6")
def test_caveats_have_one_form() -> None:
    """Two rules that say the same are the same."""
    written = RuleCaveats(
        methods=["POST", "GET", "GET"], path="/a", peers=["192.0.2.7", "10.0.0.0/8"], discharges=["b=x", "a=y", "b=x"]
    )
    assert written.methods == ("GET", "POST")
    assert written.peers == ("10.0.0.0/8", "192.0.2.7/32")
    assert written.discharges == (Demand("a", "y"), Demand("b", "x"))
    assert written == RuleCaveats(
        methods=written.methods, path="/a", peers=written.peers, discharges=written.discharges
    )
    assert written.texts() == (
        "methods GET POST", "path /a", "peers 10.0.0.0/8 192.0.2.7/32", "discharge a=y", "discharge b=x",
    )  # fmt: skip


def test_no_caveats_are_nothing() -> None:
    assert (bool(RuleCaveats()), bool(GET), bool(RuleCaveats(path="/"))) == (False, True, True)
    assert RuleCaveats().texts() == ()


@pytest.mark.parity("P6")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"methods": ["get"]}, "value-invalid"),
        ({"methods": "GET"}, "value-invalid"),
        ({"methods": [f"{'A' * 18}{chr(65 + at)}" for at in range(26)]}, "value-invalid"),
        ({"methods": [f"{'ABCDEFGHIJ'[at % 10]}{'KLMNOPQRST'[at // 10]}" for at in range(33)]}, "value-invalid"),
        ({"methods": [1]}, "value-invalid"),
        ({"path": "orders"}, "value-invalid"),
        ({"path": "/a/../b"}, "value-invalid"),
        ({"path": "/a%2fb"}, "value-invalid"),
        ({"path": ""}, "value-invalid"),
        ({"path": "/" + "a" * 480}, "value-invalid"),
        ({"path": 5}, "value-invalid"),
        ({"peers": ["10.0.0.1/8"]}, "value-invalid"),
        ({"peers": ["example.org"]}, "value-invalid"),
        ({"peers": [f"10.0.{at}.0/24" for at in range(33)]}, "value-invalid"),
        ({"discharges": ["approvals"]}, "value-invalid"),
        ({"discharges": ["approvals="]}, "value-invalid"),
        ({"discharges": ["approvals=Four Eyes"]}, "value-invalid"),
        ({"discharges": ["Approvals=x"]}, "name-invalid"),
        ({"discharges": ["a@other.test=x"]}, "name-invalid"),
        ({"discharges": [f"a=x{at}" for at in range(5)]}, "value-invalid"),
        ({"discharges": "a=x"}, "value-invalid"),
    ],
)
def test_what_no_ticket_can_carry_is_no_rule(changes, code) -> None:
    """What a target could not read is refused where it is written."""
    with pytest.raises(Misconfigured, match=code):
        RuleCaveats(**changes)


@pytest.mark.parity("P6")
def test_a_jwt_carries_no_caveats() -> None:
    """A rule that wants both says so of neither."""
    with pytest.raises(Misconfigured, match="value-invalid"):
        rule(1, "read", jwt=True, caveats=GET)
    both = rule(1, "read", caveats=GET), rule(2, "read", jwt=True)
    assert granted(ask("read", kind=Kind.JWT), *both).caveats == ()


@pytest.mark.parity("P6")
def test_a_grant_comes_under_the_caveats_of_every_rule_behind_it() -> None:
    """Scopes of several rules are used together, so what binds one of them binds them all."""
    rules = rule(4, "write", caveats=APPROVED), rule(2, "read", caveats=GET), rule(3, "admin"), rule(5, caveats=GET)
    assert granted(ask("read", "write", "admin"), *rules).caveats == (GET, APPROVED)
    assert granted(ask("read"), *rules).caveats == (GET,)
    assert granted(ask("admin"), *rules).caveats == ()


@pytest.mark.parity("P6")
def test_two_sets_of_methods_both_hold() -> None:
    """Nothing is merged: a ticket with both caveats allows what both allow."""
    post = RuleCaveats(methods=["GET", "POST"])
    both = granted(ask("read", "write"), rule(1, "read", caveats=GET), rule(2, "write", caveats=post))
    assert both.caveats == (GET, post)
    assert caveat_texts(both.caveats) == ("methods GET", "methods GET POST")


@pytest.mark.parity("P6")
def test_a_rule_without_caveats_is_preferred_even_for_a_shorter_time() -> None:
    """Then the longest life, then the oldest rule."""
    free, bound = rule(2, "read", max_ttl_s=60), rule(1, "read", caveats=GET)
    assert (granted(ask("read"), bound, free).rule_ids, granted(ask("read"), bound, free).ttl_s) == ((2,), 60)
    longer = rule(3, "read", max_ttl_s=60, caveats=APPROVED)
    assert granted(ask("read"), longer, bound).caveats == (GET,)
    assert granted(ask("read"), rule(5, "read", caveats=APPROVED), rule(4, "read", caveats=GET)).caveats == (GET,)
    assert granted(ask(), bound, free).caveats == ()
    assert granted(ask(), bound).caveats == (GET,)


@pytest.mark.parity("P6")
def test_a_delegable_ticket_comes_under_the_caveats_of_the_delegating_rule() -> None:
    """A plain rule does not take them off."""
    rules = rule(1, "read"), rule(2, "read", delegable=True, caveats=GET)
    grant = granted(ask("read", delegable=True), *rules)
    assert (grant.delegable, grant.caveats) == (True, (GET,))


@pytest.mark.parity("P6", "B3")
def test_more_discharges_than_a_ticket_can_demand_cost_the_newest_rule_its_scopes() -> None:
    """Never a caveat less; what was lost is noted where it was asked for."""
    rules = (
        rule(1, "read", caveats=asking("a=1", "a=2", "a=3")),
        rule(2, "write", caveats=asking("a=3", "a=4")),
        rule(3, "admin", caveats=asking("a=5")),
    )
    grant = granted(ask("admin", "read", "write"), *rules)
    assert (grant.scopes, grant.rule_ids) == (("read", "write"), (1, 2))
    assert [str(one) for one in demands_of(grant.caveats)] == ["a=1", "a=2", "a=3", "a=4"]
    assert grant.notes == (Note(NoteField.SCOPE, NoteCause.PAIR_RULE, 0),)
    assert refused(ask("admin", "read", "write", exact=True), *rules) == "exact-not-possible"
    assert granted(ask("admin"), *rules).scopes == ("admin",)
    everything = granted(evolve(ask(), scopes=None), *rules)
    assert everything.notes == (Note(NoteField.SCOPE, NoteCause.PAIR_RULE),)


@pytest.mark.parity("P6")
def test_a_scope_moves_to_another_rule_when_the_newest_does_not_fit() -> None:
    """It is lost only when nobody else grants it."""
    rules = (
        rule(1, "read", caveats=asking("a=1", "a=2", "a=3")),
        rule(2, "write", caveats=asking("a=3"), max_ttl_s=60),
        rule(3, "write", caveats=asking("a=4", "a=5")),
    )
    grant = granted(ask("read", "write"), *rules)
    assert (grant.scopes, grant.rule_ids, grant.notes) == (("read", "write"), (1, 2), ())


@pytest.mark.parity("P6")
def test_more_caveats_than_leave_room_for_those_of_a_holder_are_cut() -> None:
    """Twelve from rules, the rest for what is narrowed later."""
    rules = [rule(at, f"s{at:02}", caveats=RuleCaveats(path=f"/{at}")) for at in range(1, 15)]
    grant = granted(evolve(ask(), scopes=None), *rules)
    assert len(grant.scopes) == caveat_count(grant.caveats) == MOST_RULE_CAVEATS


MANY = [asking(f"a={at}", f"b={at}", f"c={at}") for at in range(6)]


@pytest.mark.parity("P6")
@given(rows.asks, rows.rule_lists, rows.facts)
def test_every_grant_can_be_written_into_one_ticket(one, rules, facts) -> None:
    """Whatever the rules demand, the ticket holds all of what its rules demand."""
    demanding = tuple(
        each if each.jwt else evolve(each, caveats=MANY[each.rule_id % len(MANY)]) for each in rules
    )  # fmt: skip
    result = decide(one, demanding, **facts)
    if not isinstance(result, Grant):
        return
    assert fits_ticket(result.caveats)
    assert len(demands_of(result.caveats)) <= MAX_DISCHARGES
    by_id = {each.rule_id: each for each in demanding}
    behind = [by_id[number] for number in result.rule_ids]
    assert {each.caveats for each in behind if each.caveats} == set(result.caveats)
    assert set(result.scopes) <= {scope for each in behind for scope in each.scopes}
    assert one.scopes is None or set(result.scopes) or not one.scopes
    if one.scopes is not None:
        dropped = {note.index for note in result.notes if note.field == NoteField.SCOPE}
        assert dropped == {at for at, scope in enumerate(one.scopes) if scope not in result.scopes}
