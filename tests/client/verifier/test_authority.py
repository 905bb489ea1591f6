"""A verifier where authority travels: the service's own caveats, evidence, paths, and their names in traces."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
from attrs import evolve

from orthros_client import ChainRule, Credentials, Discharges, VerifiedCaller
from orthros_protocol.errors import LocalMisuse, PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import AssertedUser, TargetRefusal, parse_ap_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.tickets.access import Access
from orthros_protocol.tickets.attenuation import tail_of
from orthros_protocol.tickets.evidence import Behalf
from orthros_protocol.tickets.ticket import Hop
from tests.support.parties import ENDPOINT, PREDICATE, HostClock, Parties, call, epoch_of, refused_as


@pytest.fixture
def parties() -> Parties:
    """worker calls orders, which may act for its callers at ledger and approvals, which may go on to auditors."""
    parties = Parties()
    for service, target in (("orders", "ledger"), ("orders", "approvals"), ("ledger", "auditors")):
        parties.realm.allow(service, target, "read", delegable=True, behalf=True)
    parties.realm.allow("ledger", "orders", "read", behalf=True)
    return parties


def onward(parties: Parties, service: str, caller: VerifiedCaller, target: str) -> Credentials:
    """What `service` gets to call `target` on behalf of `caller`, delegable again."""
    return parties.credentials(service, target, flags=2, behalf=caller.behalf())


def served(parties: Parties, **limits: Any) -> VerifiedCaller:
    """worker's call of orders under a delegable ticket."""
    return call(parties.credentials("worker", "orders", flags=2).narrow(**limits), parties.verifier())


# --- the service's own caveats


def even(payload: bytes, _access: Access) -> str | None:
    return None if payload == b"2" else "odd"


@pytest.mark.parity("L7", "L24")
def test_a_registered_caveat_is_judged_by_the_service(parties: Parties) -> None:
    """With its payload and the request as the verifier sees it; an unregistered one refuses."""
    seen: list[tuple[bytes, Access]] = []

    def rule(payload: bytes, access: Access) -> str | None:
        seen.append((payload, access))
        return even(payload, access)

    verifier = parties.verifier(app_caveats={"shop/even": rule})
    web = parties.credentials("web", "orders")
    call(web.narrow(app={"shop/even": b"2"}), verifier, method="GET", path="/a", peer="10.0.0.1")
    ((payload, access),) = seen
    assert (payload, access.method, access.path, str(access.peer)) == (b"2", "GET", "/a", "10.0.0.1")
    with pytest.raises(TargetRefusal, match="odd"):
        call(web.narrow(app={"shop/even": b"3"}), verifier)
    with pytest.raises(TargetRefusal, match="does not know the caveat shop/weight"):
        call(web.narrow(app={"shop/weight": b"3"}), verifier)
    assert refused_as(web.narrow(app={"shop/even": b"2"}), parties.verifier()) == "caveat-refused"


def raises(_payload: bytes, _access: Access) -> str | None:
    raise ZeroDivisionError("row of customer 7")


def says_true(_payload: bytes, _access: Access) -> Any:
    return True


def says_false(_payload: bytes, _access: Access) -> Any:
    return False


@pytest.mark.parametrize("rule", [raises, says_true, says_false])
def test_a_rule_that_breaks_refuses(parties: Parties, rule: Any, daemon_log: io.StringIO) -> None:
    """Fail closed: under MAC, logged by its kind alone, and the next request is judged as before."""
    verifier = parties.verifier(app_caveats={"shop/rule": rule})
    web = parties.credentials("web", "orders")
    with pytest.raises(TargetRefusal, match="could not judge the caveat shop/rule") as refused:
        call(web.narrow(app={"shop/rule": b""}), verifier)
    assert refused.value.code == "caveat-refused"
    assert "customer 7" not in str(refused.value) + daemon_log.getvalue()
    assert "caveat-rule-failed" in daemon_log.getvalue()
    assert refused_as(web, verifier) == "accepted"


def test_a_rule_may_refuse_with_a_code_of_its_own(parties: Parties) -> None:
    def vetoes(_payload: bytes, _access: Access) -> str | None:
        raise Refused("vetoed", "closed on Sundays")

    verifier = parties.verifier(app_caveats={"shop/rule": vetoes})
    narrowed = parties.credentials("web", "orders").narrow(app={"shop/rule": b""})
    with pytest.raises(TargetRefusal, match="closed on Sundays") as refused:
        call(narrowed, verifier)
    assert refused.value.code == "vetoed"


@pytest.mark.parametrize("rules", [{"even": even}, {"Shop/Even": even}, {"shop/even": None}, {"shop/a/b": even}])
def test_a_registration_that_could_never_work(parties: Parties, rules: Any) -> None:
    with pytest.raises(LocalMisuse, match="namespace/name"):
        parties.verifier(app_caveats=rules)


# --- what is kept of opened tickets


def test_opened_tickets_are_kept_with_and_without_discharges(parties: Parties) -> None:
    """A ticket vouches for itself; lists of caveats that anybody can make up do not fill the memory."""
    parties.realm.allow("web", "orders", "read", discharges=[("approvals", PREDICATE)])
    verifier, web = parties.verifier(), parties.credentials("web", "orders")
    full = Discharges(clock=HostClock(parties.realm.clock)).collect(web, parties.obtain("web", parties.discharger()))
    call(full, verifier)
    (kept,) = verifier._opened.values()
    for _call in range(3):
        call(full, verifier)
        call(full.narrow(scopes=["read"]), verifier)
        assert refused_as(web, verifier) == "discharge-mismatch"
    assert list(verifier._opened.values()) == [kept]
    parties.realm.clock.advance(60)
    assert refused_as(full, verifier) == "caveat-refused"  # a hit skips no check


# --- evidence


@pytest.mark.parity("K18", "L20")
def test_a_delegable_call_is_evidence(parties: Parties) -> None:
    """What orders shows is the ticket and the caveats that it verified, with proof of having opened it."""
    caller = served(parties, scopes=["read"], lifetime=600)
    behalf = caller.behalf()
    assert isinstance(behalf, Behalf)
    assert behalf.subject is None
    assert behalf.proof is not None
    assert behalf.proof.hex() not in repr(behalf)
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps(behalf)
    credentials = onward(parties, "orders", caller, "ledger")
    assert credentials.subject is not None
    assert credentials.subject.principal == parties.realm.principal("worker")
    assert (credentials.scopes, credentials.expires_in_s) == (("read",), 600)


def test_a_user_that_a_request_names_is_no_evidence(parties: Parties) -> None:
    """A gateway names the user for one target; what follows is on behalf of the gateway, whomever it named."""
    parties.realm.allow("worker", "orders", "read", "assert-user", delegable=True)
    gateway, verifier = parties.credentials("worker", "orders", flags=2), parties.verifier()
    call(gateway, verifier)  # teaches the epoch
    request = gateway.present(bind_raw(ENDPOINT, b""), user=AssertedUser("alice", 2)).request
    caller = verifier.accept(request, ENDPOINT, accept_user=True)
    assert caller.user == AssertedUser("alice", 2)
    credentials = onward(parties, "orders", caller, "ledger")
    assert credentials.subject is not None
    assert credentials.subject.principal == parties.realm.principal("worker")


def test_the_restriction_of_the_caller_goes_along(parties: Parties) -> None:
    """An honest service called by a restricted worker does not shed the restriction."""
    caller = served(parties, scopes=["write"])
    assert onward(parties, "orders", caller, "ledger").scopes == ()
    confined = call(
        parties.credentials("worker", "orders", flags=2).narrow(peer=["10.0.0.0/8"]),
        parties.verifier(),
        peer="10.0.0.1",
    )
    with pytest.raises(Refused, match="caveat-not-carried"):
        onward(parties, "orders", confined, "ledger")


@pytest.mark.parity("K18")
def test_a_ticket_that_was_not_asked_for_as_delegable_is_none(parties: Parties) -> None:
    """The first caller decides; the refusal goes back to it under MAC."""
    caller = call(parties.credentials("worker", "orders"), parties.verifier())
    with pytest.raises(Refused, match="evidence-refused") as refused:
        caller.behalf()
    assert refused.value.reply is not None
    assert refused.value.remedy


def test_on_behalf_calls_need_a_handler_that_opted_in(parties: Parties) -> None:
    """A ticket with a subject; the same call passes where somebody expects it."""
    credentials = onward(parties, "orders", served(parties), "ledger")
    ledger = parties.verifier("ledger")
    assert refused_as(credentials, ledger) == "user-not-accepted"
    caller = call(credentials, ledger, accept_user=True)
    assert caller.subject is not None
    assert str(caller.subject.principal) == "worker@test.realm"
    assert caller.path == ("worker", "orders")
    assert caller.act == ("orders@test.realm", "worker@test.realm")


@pytest.mark.parity("K18")
def test_evidence_is_good_for_who_was_called_alone(parties: Parties) -> None:
    """Ledger sees orders' evidence pass and cannot use it; nor can orders change whose it is."""
    behalf = served(parties).behalf()
    assert behalf.evidence is not None
    with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
        parties.granted("ledger", "auditors", behalf=behalf)
    guessed = Behalf(evidence=behalf.evidence, caveats=behalf.caveats, proof=bytes(32))
    with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
        parties.granted("orders", "ledger", behalf=guessed)


# --- paths


def hops(parties: Parties) -> VerifiedCaller:
    """worker -> orders -> ledger, as ledger sees it."""
    credentials = onward(parties, "orders", served(parties), "ledger")
    return call(credentials, parties.verifier("ledger"), accept_user=True)


@pytest.mark.parity("B5")
@pytest.mark.parametrize(
    ("rule", "accepted"),
    [
        (ChainRule(), True),
        (ChainRule(deny_via=["orders"]), False),
        (ChainRule(deny_via=["worker"]), False),
        (ChainRule(deny_via=["ledger"]), False),
        (ChainRule(deny_via=["web"]), True),
        (ChainRule(require_via=["orders", "worker"]), True),
        (ChainRule(require_via=["web"]), False),
        (ChainRule(max_depth=2), True),
        (ChainRule(max_depth=1), False),
        (ChainRule(max_depth=0), False),
    ],
)
def test_a_target_judges_the_path(parties: Parties, rule: ChainRule, accepted: bool) -> None:
    """For the whole service, or for one call in its place."""
    credentials = onward(parties, "ledger", hops(parties), "auditors")
    wanted = "accepted" if accepted else "chain-refused"
    assert refused_as(credentials, parties.verifier("auditors", chain=rule), accept_user=True) == wanted
    strict = parties.verifier("auditors", chain=ChainRule(max_depth=0))
    assert refused_as(credentials, strict, accept_user=True, chain=rule) == wanted


@pytest.mark.parity("B5")
def test_own_calls_have_no_path(parties: Parties) -> None:
    """Nothing to deny, and nothing that could be required."""
    web = parties.credentials("web", "orders")
    strict = parties.verifier(chain=ChainRule(deny_via=["web"], max_depth=0))
    assert call(web, strict).path == ()
    assert refused_as(web, parties.verifier(chain=ChainRule(require_via=["web"]))) == "chain-refused"


def test_somebody_is_not_called_again_by_those_that_it_called(parties: Parties) -> None:
    """Target in chain; the KDC refuses it first, and the target on its own."""
    caller = hops(parties)
    with pytest.raises(AssertionError, match="chain-refused"):
        onward(parties, "ledger", caller, "orders")
    realm = parties.realm
    forged = realm.issue(
        "ledger", "orders", scopes=("read",), subject=caller.subject,
        chain=(*caller.chain, Hop(realm.principal("orders"), parties.second)),
    )  # fmt: skip
    looped = evolve(
        parties.credentials("ledger", "orders", behalf=None), ticket=forged.ticket,
        tail=tail_of(forged.session_key, forged.ticket),
    )  # fmt: skip
    assert refused_as(looped, parties.verifier(), accept_user=True) == "chain-refused"
    assert refused_as(looped, parties.verifier(chain=ChainRule(callbacks=True)), accept_user=True) == "accepted"


# --- transactions


@pytest.mark.parity("L20")
def test_one_transaction_runs_through_all_hops(parties: Parties) -> None:
    """The id of the first login, in the tickets of all that follows from it."""
    first = served(parties)
    second = call(onward(parties, "orders", first, "ledger"), parties.verifier("ledger"), accept_user=True)
    assert first.transaction_id == second.transaction_id
    assert len(bytes.fromhex(first.transaction_id)) == 16


# --- who was verified


def test_a_verified_caller_shows_nothing_secret(parties: Parties) -> None:
    caller = served(parties)
    proof = caller.behalf().proof
    assert proof is not None
    for text in (repr(caller), repr(caller.behalf())):
        assert proof.hex() not in text
        assert repr(proof)[2:-1] not in text
    with pytest.raises(LocalMisuse):
        copy.deepcopy(caller.behalf())


def test_caveats_are_no_facts(parties: Parties) -> None:
    """They only ever deny. A handler cannot even read them."""
    caller = served(parties, path=None, scopes=["read"], lifetime=60)
    assert not [name for name in dir(caller) if "caveat" in name]
    assert caller.accepted_at == parties.realm.clock.now()


def test_a_bound_request_of_a_narrowed_ticket_is_still_bound(parties: Parties) -> None:
    """Sections 7 and 9 together: order of checks; the MAC first, then the bind, then what caveats say."""
    verifier, narrowed = parties.verifier(), parties.credentials("web", "orders").narrow(peer=["10.0.0.0/8"])
    epoch = epoch_of(verifier, narrowed)
    request = narrowed.present(bind_raw("orders/other")).request
    assert parse_ap_request(request).epoch == epoch
    with pytest.raises(Refused, match="wrong-binding"):
        verifier.accept(request, ENDPOINT)
