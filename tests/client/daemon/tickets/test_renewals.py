"""When tickets are asked for again before their time, by the turned clock alone."""

from __future__ import annotations

from attrs import evolve

from orthros_client.daemon.tickets.cache import CacheKey, HeldCredential, TicketCache
from orthros_client.daemon.tickets.given_out import GivenOut
from orthros_client.daemon.tickets.renewals import REPORT_INTERVAL_S, Planned, Renewals
from orthros_protocol.primitives.names import Principal
from tests.client.daemon.tickets import test_ticket_cache


def key(name: str, *scopes: str, behalf: bytes = b"") -> CacheKey:
    return CacheKey(kind=0, target=Principal("test.realm", name), scopes=scopes or None, behalf=behalf)


def held(name: str) -> HeldCredential:
    one = test_ticket_cache.held(key(name))
    return evolve(one, credential=evolve(one.credential, ticket=b"a ticket for " + name.encode().ljust(20)))


def test_a_report_is_due_at_once_and_the_next_one_when_the_interval_ends() -> None:
    renewals = Renewals()
    assert renewals.report(key("orders"), 100.0, unless_worse=True) == Planned(100.0, unless_worse=True, early=True)
    assert [one for one, _plan in renewals.take_due(100.0)] == [key("orders")]
    again = renewals.report(key("orders"), 103.0, unless_worse=True)
    assert again is not None
    assert again.at == 100.0 + REPORT_INTERVAL_S
    assert renewals.take_due(109.9) == []
    assert [one for one, _plan in renewals.take_due(110.0)] == [key("orders")]
    assert len(renewals) == 0


def test_what_is_reported_within_the_interval_goes_together() -> None:
    """One request, however many tickets of one target are reported; another target has an interval of its own."""
    renewals = Renewals()
    renewals.report(key("orders"), 0.0, unless_worse=True)
    renewals.take_due(0.0)
    for number in range(20):
        renewals.report(key("orders", f"s{number}"), 1.0 + number / 10, unless_worse=True)
    renewals.report(key("billing"), 2.0, unless_worse=True)
    assert [one.target.name for one, _plan in renewals.take_due(9.9)] == ["billing"]
    assert len(renewals.take_due(10.0)) == 20
    later = renewals.report(key("orders"), 10.5, unless_worse=True)
    assert later is not None
    assert later.at == 20.0


def test_one_request_of_a_target_has_room_for_32() -> None:
    renewals = Renewals()
    plans = [renewals.report(key("orders", f"s{number}"), 0.0, unless_worse=True) for number in range(100)]
    assert sum(plan is not None for plan in plans) == 32
    assert len(renewals) == 32


def test_reports_push_no_plan_into_the_future() -> None:
    """Whoever reports all the time delays nobody beyond the end of the interval."""
    renewals = Renewals()
    for step in range(1000):
        now = step / 10
        renewals.report(key("orders", "mine"), now, unless_worse=True)
        other = renewals.report(key("orders", "yours"), now, unless_worse=True)
        assert other is not None
        assert other.at <= now + REPORT_INTERVAL_S
        renewals.take_due(now)


def test_a_refusal_of_the_whole_ticket_takes_any_successor() -> None:
    renewals = Renewals()
    renewals.report(key("orders"), 0.0, unless_worse=True)
    plan = renewals.report(key("orders"), 0.0, unless_worse=False)
    assert plan == Planned(0.0, unless_worse=False, early=True)


def test_a_report_brings_forward_what_is_planned_for_everything() -> None:
    renewals = Renewals()
    keys = [key("orders", f"s{number}") for number in range(64)]
    renewals.plan(keys, 0.0)
    assert renewals.moment_of(keys[63]) == 0.5
    plan = renewals.report(keys[63], 0.1, unless_worse=True)
    assert plan == Planned(0.1, unless_worse=False, early=True)


def test_thousands_are_spread() -> None:
    renewals = Renewals()
    renewals.plan([key("orders", f"s{number}") for number in range(320)], 50.0)
    assert len(renewals.take_due(50.0)) == 32
    assert renewals.next_moment() == 50.5
    assert len(renewals.take_due(54.5)) == 288


def test_what_is_on_behalf_of_others_waits_for_their_evidence() -> None:
    renewals = Renewals()
    other = key("orders", behalf=b"b" * 32)
    renewals.report(other, 0.0, unless_worse=True)
    assert renewals.take_due(5.0) == []
    assert renewals.next_moment() is None
    assert renewals.is_due(other, 0.0)
    assert renewals.take(other, 0.0)
    assert not renewals.take(other, 0.0)


def test_a_file_of_an_older_policy_is_asked_for_again() -> None:
    """Only the older ones, and the last used, whose reply says how new the policy is."""
    renewals = Renewals()
    rows = [(key("orders"), 7), (key("billing"), 7), (key("ledger"), 5)]
    renewals.revive(rows, 7, 0.0)
    assert {one.target.name for one, _plan in renewals.take_due(0.0)} == {"ledger", "orders"}
    renewals.learn(7, 1.0)
    assert len(renewals) == 0
    renewals.learn(8, 2.0)
    assert {one.target.name for one, _plan in renewals.take_due(2.0)} == {"billing", "orders"}
    renewals.learn(9, 3.0)  # what is asked for once is known to be of this life
    assert (len(renewals), renewals.policy_seq) == (0, 9)


def test_plans_end_with_their_tickets() -> None:
    renewals, cache = Renewals(), TicketCache()
    kept = held("orders")
    cache.put(kept, 0.0)
    renewals.plan([kept.key, key("gone")], 0.0)
    renewals.keep_only(cache)
    assert [one for one, _plan in renewals.take_due(0.0)] == [kept.key]


def test_who_was_given_a_ticket_is_remembered_within_bounds() -> None:
    given = GivenOut(100)
    ticket = held("orders")
    for uid in range(1000, 1200):
        given.note(ticket, uid)
    assert given.key_of(ticket.name, 1199) == ticket.key
    assert given.key_of(ticket.name, 1000) is None  # long ago
    assert given.key_of(ticket.name, 5) is None
    assert not given.is_only_for(ticket, 1199)
    for number in range(500):
        given.note(held(f"shard-{number}"), 1000)
    assert len(given) == 100
    assert given.key_of(ticket.name, 1199) is None
    assert given.is_only_for(held("shard-499"), 1000)
