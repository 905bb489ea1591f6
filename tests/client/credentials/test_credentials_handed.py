from __future__ import annotations

import pytest
from attrs import evolve

from orthros_client import Credentials, Discharges
from orthros_client.credentials.credentials import KnownTargets
from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.tickets.hand_over import HandedOver, open_hand_over
from orthros_protocol.tickets.ticket import Subject
from tests.support.parties import PREDICATE, HostClock, Parties, call, refused_as


@pytest.fixture
def parties() -> Parties:
    return Parties()


def opened(parties: Parties, box: bytes, receiver: str = "worker") -> HandedOver:
    return open_hand_over(box, parties.realm.keytab(receiver), now=parties.realm.clock.now())


def received(parties: Parties, handed: HandedOver, *, wrong_ms: int = 0) -> Credentials:
    """On the receiver's host, whose clock is `wrong_ms` ahead and knows it."""
    return Credentials.of(
        handed.credential,
        realm_offset_ms=-wrong_ms,
        clock=HostClock(parties.realm.clock, wrong_ms),
        entropy=parties.realm.entropy,
    )


@pytest.mark.parity("L23", "B4")
@pytest.mark.parametrize("wrong_ms", [0, -200_000, 200_000])
def test_what_is_handed_over_works_within_its_limits(parties: Parties, wrong_ms: int) -> None:
    """The target sees the delegator's name, the narrowed rights and nothing of the receiver."""
    verifier = parties.verifier()
    narrowed = parties.credentials("web", "orders").narrow(scopes=["read"], lifetime=300)
    handed = opened(parties, narrowed.hand_over(parties.credentials("web", "worker")))
    assert handed.sender == parties.realm.principal("web")
    got = received(parties, handed, wrong_ms=wrong_ms)
    assert got.expires_in_s == pytest.approx(300)
    assert (got.scopes, got.target, got.target_uid) == (("read",), narrowed.target, narrowed.target_uid)
    caller = call(got, verifier)
    assert str(caller.client) == "web@test.realm"
    assert caller.scopes == {"read"}
    parties.realm.clock.advance(300)
    assert got.expires_in_s == 0
    assert refused_as(got, verifier) == "caveat-refused"


@pytest.mark.parity("L23")
def test_it_can_be_handed_on_for_less(parties: Parties) -> None:
    """Web to worker to eve, each with its own ticket to the next."""
    first = opened(parties, parties.credentials("web", "orders").hand_over(parties.credentials("web", "worker")))
    second = received(parties, first).narrow(scopes=["read"])
    handed = opened(parties, second.hand_over(parties.credentials("worker", "eve")), "eve")
    assert (handed.sender, handed.credential.client) == (
        parties.realm.principal("worker"),
        parties.realm.principal("web"),
    )
    got = received(parties, handed)
    assert call(got, parties.verifier()).scopes == {"read"}


@pytest.mark.parity("L8")
def test_a_demand_makes_the_receiver_ask(parties: Parties) -> None:
    """Web demands that `approvals` says something of the worker; the worker cannot do without."""
    verifier, discharger = parties.verifier(), parties.discharger()
    about = parties.realm.principal("worker")
    demanding = parties.credentials("web", "orders").demand(
        parties.credentials("web", "approvals"), PREDICATE, about=about
    )
    got = received(parties, opened(parties, demanding.hand_over(parties.credentials("web", "worker"))))
    assert [one.discharger for one in got.demanded] == [parties.realm.principal("approvals")]
    assert refused_as(got, verifier) == "discharge-mismatch"
    held = Discharges(clock=HostClock(parties.realm.clock))
    full = held.collect(got, parties.obtain("worker", discharger))
    assert refused_as(full, verifier) == "accepted"
    assert refused_as(full.narrow(scopes=["read"]), verifier) == "accepted"
    again = received(parties, opened(parties, full.hand_over(parties.credentials("worker", "eve")), "eve"))
    assert again.discharges == ()
    held.forget(again)
    with pytest.raises(Refused, match="may not ask"):
        held.collect(again, parties.obtain("eve", discharger))


def test_a_subject_goes_along(parties: Parties) -> None:
    parties.realm.allow("web", "orders", "read", subjects=["alice"])
    credentials = evolve(
        parties.credentials("web", "orders"), subject=Subject(parties.realm.principal("alice"), 0, 2)
    )  # fmt: skip
    got = received(parties, opened(parties, credentials.hand_over(parties.credentials("web", "worker"))))
    assert got.subject == credentials.subject


def test_what_has_ended_is_neither_handed_nor_received(parties: Parties) -> None:
    credentials = parties.credentials("web", "orders").narrow(lifetime=60)
    handed = opened(parties, credentials.hand_over(parties.credentials("web", "worker")))
    parties.realm.clock.advance(60)
    with pytest.raises(Refused, match="ticket-expired"):
        received(parties, handed)
    with pytest.raises(Refused, match="ticket-expired"):
        credentials.hand_over(parties.credentials("web", "worker"))


def test_what_is_received_is_checked(parties: Parties) -> None:
    handed = opened(parties, parties.credentials("web", "orders").hand_over(parties.credentials("web", "worker")))
    for tail, error in ((None, Malformed), (b"short", LocalMisuse)):
        with pytest.raises(error):
            received(parties, handed.altered(credential=evolve(handed.credential, tail=tail)))


def test_the_receiver_may_bring_what_it_knows_of_the_target(parties: Parties) -> None:
    """First contact is paid once, whosever ticket it was."""
    verifier, own = parties.verifier(), parties.credentials("worker", "orders")
    call(own, verifier)
    handed = opened(parties, parties.credentials("web", "orders").hand_over(parties.credentials("web", "worker")))
    got = Credentials.of(handed.credential, peers=own.peers, clock=HostClock(parties.realm.clock))
    assert got.peers is own.peers
    assert isinstance(received(parties, handed).peers, KnownTargets)


def test_what_seals_must_be_plain_and_ones_own(parties: Parties) -> None:
    """A narrowed ticket, or one in another's name, does not say who sends."""
    credentials, to = parties.credentials("web", "orders"), parties.credentials("web", "approvals")
    subject = Subject(parties.realm.principal("alice"), 0, 2)
    parties.realm.allow("web", "auditors", discharges=[("approvals", PREDICATE)])
    for bad in (to.narrow(scopes=[]), evolve(to, subject=subject), parties.credentials("web", "auditors")):
        with pytest.raises(LocalMisuse, match="hand anything over"):
            credentials.hand_over(bad)
        with pytest.raises(LocalMisuse, match="demand a discharge"):
            credentials.demand(bad, PREDICATE)


@pytest.mark.parametrize("predicate", ["", "x" * 201, "line\nbreak"])
def test_a_predicate_that_no_demand_can_hold(parties: Parties, predicate: str) -> None:
    with pytest.raises(LocalMisuse, match="value-invalid"):
        parties.credentials("web", "orders").demand(parties.credentials("web", "approvals"), predicate)


@pytest.mark.parity("K18")
def test_tickets_say_whether_they_may_be_passed_on(parties: Parties) -> None:
    """Delegable is what the KDC granted, not what was asked for."""
    assert not parties.credentials("web", "orders").delegable
    assert parties.credentials("web", "orders", flags=2).delegable
    parties.realm.allow("web", "orders", "read")
    assert not parties.credentials("web", "orders", flags=2).delegable


@pytest.mark.parity("B4")
def test_a_request_shows_caveats_and_never_the_tail(parties: Parties) -> None:
    """What travels is a MAC."""
    credentials = parties.credentials("web", "orders").narrow(scopes=["read"])
    request = credentials.authenticate("orders/submit").request
    assert credentials.caveats[0] in request
    assert credentials.tail not in request
    with pytest.raises(PeerMisbehaved):
        parties.verifier("ledger").accept(request, "orders/submit")
