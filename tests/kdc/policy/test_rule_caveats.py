"""Caveats that rules have the KDC write: one spelling, all of every rule behind a grant, and no more than fit."""

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given

from orthros_kdc.policy.ask_and_grant import Circumstances, Grant, Kind
from orthros_kdc.policy.decide import decide
from orthros_kdc.policy.rule_caveats import (
    MOST_RULE_CAVEATS,
    RequiredDischarge,
    discharges_of,
    fit_ticket,
)
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.limits import MAX_DISCHARGES
from orthros_protocol.tickets.notes import Note, NoteCause, NoteField
from tests.kdc.policy import rows
from tests.kdc.policy.rows import ask, granted, refused, rule

GET: dict[str, Any] = {"methods": ["GET"]}
APPROVED: dict[str, Any] = {"discharges": ["approvals=four-eyes"]}


def asking(*demands: str) -> dict[str, Any]:
    return {"discharges": demands}


def texts(grant: Grant) -> list[str]:
    return [caveat.text for caveat in grant.caveats]


@pytest.mark.parity("P6")
def test_caveats_have_one_form() -> None:
    """Two rules that say the same are the same."""
    written = rule(
        1,
        methods=["POST", "GET", "GET"],
        path="/a",
        peers=["192.0.2.7", "10.0.0.0/8"],
        discharges=["b=x", "a=y", "b=x"],
    )
    assert written.methods == ("GET", "POST")
    assert written.peers == ("10.0.0.0/8", "192.0.2.7/32")
    assert written.discharges == (RequiredDischarge("a", "y"), RequiredDischarge("b", "x"))
    assert written == rule(1, methods=written.methods, path="/a", peers=written.peers, discharges=written.discharges)
    assert tuple(caveat.text for caveat in written.caveats) == (
        "methods GET POST", "path /a", "peers 10.0.0.0/8 192.0.2.7/32", "discharge a=y", "discharge b=x",
    )  # fmt: skip


def test_no_caveats_are_nothing() -> None:
    assert rule(1).caveats == ()
    assert [len(rule(1, **one).caveats) for one in (GET, {"path": "/"})] == [1, 1]


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
        rule(1, **changes)


@pytest.mark.parity("P6")
def test_a_jwt_carries_no_caveats() -> None:
    """A rule that wants both says so of neither."""
    with pytest.raises(Misconfigured, match="value-invalid"):
        rule(1, "read", jwt=True, **GET)
    both = rule(1, "read", **GET), rule(2, "read", jwt=True)
    assert texts(granted(ask("read", kind=Kind.JWT), *both)) == []


@pytest.mark.parity("P6")
def test_a_grant_comes_under_the_caveats_of_every_rule_behind_it() -> None:
    """Scopes of several rules are used together, so what binds one of them binds them all."""
    rules = rule(4, "write", **APPROVED), rule(2, "read", **GET), rule(3, "admin"), rule(5, **GET)
    assert texts(granted(ask("read", "write", "admin"), *rules)) == ["methods GET", "discharge approvals=four-eyes"]
    assert texts(granted(ask("read"), *rules)) == ["methods GET"]
    assert texts(granted(ask("admin"), *rules)) == []


@pytest.mark.parity("P6")
def test_two_sets_of_methods_both_hold() -> None:
    """Nothing is merged: a ticket with both caveats allows what both allow."""
    post: dict[str, Any] = {"methods": ["GET", "POST"]}
    both = granted(ask("read", "write"), rule(1, "read", **GET), rule(2, "write", **post))
    assert texts(both) == ["methods GET", "methods GET POST"]


@pytest.mark.parity("P6")
def test_a_rule_without_caveats_is_preferred_even_for_a_shorter_time() -> None:
    """Then the longest life, then the oldest rule."""
    free, bound = rule(2, "read", max_ttl_s=60), rule(1, "read", **GET)
    assert (granted(ask("read"), bound, free).rule_ids, granted(ask("read"), bound, free).ttl_s) == ((2,), 60)
    longer = rule(3, "read", max_ttl_s=60, **APPROVED)
    assert texts(granted(ask("read"), longer, bound)) == ["methods GET"]
    assert texts(granted(ask("read"), rule(5, "read", **APPROVED), rule(4, "read", **GET))) == ["methods GET"]
    assert texts(granted(ask(), bound, free)) == []
    assert texts(granted(ask(), bound)) == ["methods GET"]


@pytest.mark.parity("P6")
def test_a_delegable_ticket_comes_under_the_caveats_of_the_delegating_rule() -> None:
    """A plain rule does not take them off."""
    rules = rule(1, "read"), rule(2, "read", delegable=True, **GET)
    grant = granted(ask("read", delegable=True), *rules)
    assert (grant.delegable, texts(grant)) == (True, ["methods GET"])


@pytest.mark.parity("P6", "B3")
def test_more_discharges_than_a_ticket_can_demand_cost_the_newest_rule_its_scopes() -> None:
    """Never a caveat less; what was lost is noted where it was asked for."""
    rules = (
        rule(1, "read", **asking("a=1", "a=2", "a=3")),
        rule(2, "write", **asking("a=3", "a=4")),
        rule(3, "admin", **asking("a=5")),
    )
    grant = granted(ask("admin", "read", "write"), *rules)
    assert (grant.scopes, grant.rule_ids) == (("read", "write"), (1, 2))
    assert [str(one) for one in discharges_of(grant.caveats)] == ["a=1", "a=2", "a=3", "a=4"]
    assert grant.notes == (Note(NoteField.SCOPE, NoteCause.PAIR_RULE, 0),)
    assert refused(ask("admin", "read", "write", exact=True), *rules) == "exact-not-possible"
    assert granted(ask("admin"), *rules).scopes == ("admin",)
    everything = granted(evolve(ask(), scopes=None), *rules)
    assert everything.notes == (Note(NoteField.SCOPE, NoteCause.PAIR_RULE),)


@pytest.mark.parity("P6")
def test_a_scope_moves_to_another_rule_when_the_newest_does_not_fit() -> None:
    """It is lost only when nobody else grants it."""
    rules = (
        rule(1, "read", **asking("a=1", "a=2", "a=3")),
        rule(2, "write", **asking("a=3"), max_ttl_s=60),
        rule(3, "write", **asking("a=4", "a=5")),
    )
    grant = granted(ask("read", "write"), *rules)
    assert (grant.scopes, grant.rule_ids, grant.notes) == (("read", "write"), (1, 2), ())


@pytest.mark.parity("P6")
def test_more_caveats_than_leave_room_for_those_of_a_holder_are_cut() -> None:
    """Twelve from rules, the rest for what is narrowed later."""
    rules = [rule(at, f"s{at:02}", path=f"/{at}") for at in range(1, 15)]
    grant = granted(evolve(ask(), scopes=None), *rules)
    assert len(grant.scopes) == len(grant.caveats) == MOST_RULE_CAVEATS


MANY = [asking(f"a={at}", f"b={at}", f"c={at}") for at in range(6)]


@pytest.mark.parity("P6")
@given(rows.asks, rows.rule_lists, rows.facts)
def test_every_grant_can_be_written_into_one_ticket(one, rules, facts) -> None:
    """Whatever the rules demand, the ticket holds all of what its rules demand."""
    demanding = tuple(
        each if each.jwt else evolve(each, **MANY[each.rule_id % len(MANY)]) for each in rules
    )  # fmt: skip
    result = decide(one, demanding, Circumstances(**facts))
    if not isinstance(result, Grant):
        return
    assert fit_ticket(result.caveats)
    assert len(discharges_of(result.caveats)) <= MAX_DISCHARGES
    by_id = {each.rule_id: each for each in demanding}
    behind = [by_id[number] for number in result.rule_ids]
    assert {caveat for each in behind for caveat in each.caveats} == set(result.caveats)
    assert set(result.scopes) <= {scope for each in behind for scope in each.scopes}
    assert one.scopes is None or set(result.scopes) or not one.scopes
    if one.scopes is not None:
        dropped = {note.index for note in result.notes if note.field == NoteField.SCOPE}
        assert dropped == {at for at, scope in enumerate(one.scopes) if scope not in result.scopes}
