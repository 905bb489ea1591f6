from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest
import trio

from orthros_client import Attested, Credentials, Discharger, DischargeRefused, Question, Verifier
from orthros_client.credentials.discharging import ask
from orthros_client.errors import Failure
from orthros_protocol.errors import LocalMisuse, PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import USE_HTTP
from orthros_protocol.tickets.attenuation import split_caveats
from orthros_protocol.tickets.caveats import ExpiresCaveat, PathCaveat, ScopesCaveat, ThirdPartyCaveat, parse_caveat
from orthros_protocol.tickets.discharges import DISCHARGE_ENDPOINT, Discharge
from tests.support.parties import BIND, PREDICATE, Parties, call, deliver, epoch_of


@pytest.fixture
def parties() -> Parties:
    parties = Parties()
    parties.realm.allow("web", "orders", "read", "write", discharges=[("approvals", PREDICATE)])
    return parties


def demand_of(parties: Parties) -> bytes:
    (cid,) = parties.credentials("web", "orders").demands
    return cid


def answer(parties: Parties, attest: Any, *, who: str = "web", cid: bytes | None = None, **options: Any) -> Discharge:
    """What `who` gets for web's demand."""
    discharger = parties.discharger(attest, **options)
    return ask(parties.credentials(who, "approvals"), cid or demand_of(parties), deliver(discharger))


def http_call(parties: Parties, verifier: Verifier, client: Credentials, **options: Any) -> Any:
    """A request whose body the middleware has proven, and its verified caller."""
    pending = client.present(BIND, use=USE_HTTP, epoch=epoch_of(verifier, client))
    caller = verifier.accept_http(pending.request, BIND, method="POST", path="/.well-known/x", **options)
    return pending, caller


@pytest.mark.parity("L8")
def test_the_rule_learns_who_asks_what_about_whom(parties: Parties) -> None:
    """And the caller gets what it says, for as long as it says."""
    asked: list[Question] = []

    def attest(question: Question) -> Attested:
        asked.append(question)
        return Attested(lifetime_s=30, caveats=[ScopesCaveat(("read",)), PathCaveat("/releases/7")])

    discharge = answer(parties, attest)
    (question,) = asked
    assert question.about == question.caller.client == parties.realm.principal("web")
    assert (question.predicate, question.adder) == (PREDICATE, None)
    assert question.expires == parties.second + 3600
    kinds = [parse_caveat(one) for one in split_caveats(discharge.caveats)]
    assert kinds == [ExpiresCaveat(parties.second + 30), ScopesCaveat(("read",)), PathCaveat("/releases/7")]


def test_a_holders_demand_names_its_adder(parties: Parties) -> None:
    """The rule can tell who wants to know."""
    asked: list[Question] = []
    about = parties.realm.principal("worker")
    demanding = parties.credentials("web", "ledger").demand(
        parties.credentials("web", "approvals"), PREDICATE, about=about, lifetime=90
    )

    def attest(question: Question) -> Attested:
        asked.append(question)
        return Attested(lifetime_s=600)

    discharge = answer(parties, attest, who="worker", cid=demanding.demands[0])
    assert (asked[0].adder, asked[0].about) == (parties.realm.principal("web"), about)
    assert discharge.expires == parties.second + 90  # never behind the demand's end


def nothing(_question: Question) -> None:
    return None


def broken(_question: Question) -> Attested:
    raise KeyError("approvals table: secret-row")


def truthy(_question: Question) -> bool:
    return True


def too_long(_question: Question) -> Attested:
    return Attested(lifetime_s=10**9)


def nested(_question: Question) -> Attested:
    return Attested(lifetime_s=5, caveats=[ThirdPartyCaveat(_question.about, bytes(16), None, bytes(32))])


def ambiguous(_question: Question) -> Attested:
    return Attested(lifetime_s=5, caveats=[ScopesCaveat(("Read!",))])


async def coroutine(_question: Question) -> Attested:
    return Attested(lifetime_s=5)


@pytest.mark.parametrize("attest", [nothing, broken, truthy, too_long, nested, ambiguous])
def test_whatever_the_rule_breaks_nothing_is_attested(parties: Parties, attest: Any) -> None:
    """Fail closed: the asker learns that, under MAC, and nothing of why."""
    with pytest.raises(DischargeRefused) as refused:
        answer(parties, attest)
    assert refused.value.said == "discharge-refused"
    assert refused.value.discharger == parties.realm.principal("approvals")
    assert "approvals@test.realm" in refused.value.detail
    assert "secret-row" not in str(refused.value)
    assert refused.value.remedy


def test_a_failure_is_logged_by_its_kind(parties: Parties, daemon_log: io.StringIO) -> None:
    """Its text may hold anything."""
    with pytest.raises(DischargeRefused):
        answer(parties, broken)
    logged = daemon_log.getvalue()
    assert "discharge-rule-failed" in logged
    assert "KeyError" in logged
    assert "secret-row" not in logged


def test_the_rule_may_refuse_in_its_own_words(parties: Parties) -> None:
    """A Refused with a code that travels."""

    def attest(question: Question) -> Attested:
        question.caller.require("approve")
        return Attested(lifetime_s=5)

    def vetoes(_question: Question) -> Attested:
        raise Refused("vetoed", "not on Fridays")

    with pytest.raises(DischargeRefused, match=r"insufficient-scope web@test\.realm lacks approve") as refused:
        answer(parties, attest)
    assert refused.value.said == "insufficient-scope"
    with pytest.raises(DischargeRefused, match="not on Fridays"):
        answer(parties, vetoes)


def test_what_the_rule_was_refused_itself_is_not_told(parties: Parties) -> None:
    """By its own KDC, or by a service that it asked: that is the discharger's trouble."""

    def asks_elsewhere(_question: Question) -> Attested:
        raise Failure.refused("insufficient-scope", "approvals lacks admin at payroll").to_error()

    with pytest.raises(DischargeRefused) as refused:
        answer(parties, asks_elsewhere)
    assert refused.value.said == "discharge-refused"
    assert "payroll" not in str(refused.value)


def test_others_ask_only_where_the_service_says_so(parties: Parties) -> None:
    """The authenticated caller is whom it concerns, or allowed to ask."""
    with pytest.raises(DischargeRefused, match="may not ask"):
        answer(parties, None, who="worker")
    answer(parties, None, who="worker", may_ask=lambda question: question.caller.client.name == "worker")
    for refusing in (lambda _question: 1, lambda _question: None, broken):
        with pytest.raises(DischargeRefused):
            answer(parties, None, who="worker", may_ask=refusing)


def test_a_caller_on_behalf_of_another_does_not_ask_in_its_own_name(parties: Parties) -> None:
    """What a service is made to ask for somebody is that one's question, not its own."""
    parties.realm.allow("orders", "approvals", "read", behalf=True)
    caller = call(parties.credentials("worker", "orders", flags=2), parties.verifier())
    onward = parties.credentials("orders", "approvals", behalf=caller.behalf())
    verifier, cid = parties.verifier("approvals"), demand_of(parties)
    parties.realm.allow("orders", "ledger", "read", discharges=[("approvals", PREDICATE)])
    (own,) = parties.credentials("orders", "ledger").demands
    discharger = Discharger(verifier, lambda _question: Attested(lifetime_s=5))
    for demand in (cid, own):
        _pending, served = http_call(parties, verifier, onward, accept_user=True)
        with pytest.raises(Refused, match="may not ask"):
            discharger.answer(served, demand)
    with pytest.raises(DischargeRefused, match="user-not-accepted"):
        ask(onward, own, deliver(discharger))


def test_over_http_the_body_is_the_demand_and_the_answer_opens_it(parties: Parties) -> None:
    """The middleware has proven the body; the box is bound to the request that brought it."""
    verifier, web, cid = parties.verifier("approvals"), parties.credentials("web", "approvals"), demand_of(parties)
    discharger = Discharger(verifier, lambda _question: Attested(lifetime_s=5))
    pending, caller = http_call(parties, verifier, web)
    discharge = pending.finish_discharge(cid, discharger.answer(caller, cid))
    assert discharge.expires == parties.second + 5
    with pytest.raises(Refused, match="discharge-refused") as refused:
        discharger.answer(caller, b"not a demand")
    assert refused.value.reply is not None
    with pytest.raises(Refused, match="only who proves a ticket"):
        discharger.answer(object(), cid)  # type: ignore[arg-type]  # a bearer token's caller


def test_an_async_rule(parties: Parties) -> None:
    """Under asyncio and trio alike; a plain rule passes as well, and a failure refuses."""
    verifier, web, cid = parties.verifier("approvals"), parties.credentials("web", "approvals"), demand_of(parties)

    async def failing(_question: Question) -> Attested:
        raise OSError("database")

    for run in (asyncio.run, lambda flow: trio.run(lambda: flow)):
        for attest in (coroutine, lambda _question: Attested(lifetime_s=5)):
            pending, caller = http_call(parties, verifier, web)
            box = run(Discharger(verifier, attest).aanswer(caller, cid))
            assert pending.finish_discharge(cid, box).expires == parties.second + 5
        _pending, caller = http_call(parties, verifier, web)
        with pytest.raises(Refused, match="could not judge"):
            run(Discharger(verifier, failing).aanswer(caller, cid))


def test_a_demand_that_has_ended(parties: Parties) -> None:
    """It lives no longer than what it was made for."""
    demanding = parties.credentials("web", "ledger").demand(
        parties.credentials("web", "approvals"), PREDICATE, lifetime=10
    )
    parties.realm.clock.advance(10)
    with pytest.raises(DischargeRefused, match="the demand: discharge-refused"):
        answer(parties, None, cid=demanding.demands[0])


def test_a_request_that_proves_nothing_gets_no_answer(parties: Parties) -> None:
    """As everywhere: no MAC, no word."""
    discharger, web, cid = parties.discharger(), parties.credentials("web", "approvals"), demand_of(parties)
    asked = bytearray(web.authenticate(DISCHARGE_ENDPOINT, cid).request)
    asked[-1] ^= 1
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        discharger.serve(bytes(asked), cid)
    with pytest.raises(PeerMisbehaved, match="malformed"):
        discharger.serve(b"", cid)


@pytest.mark.parametrize("lifetime_s", [0, -1, 86_401, True, 1.5])
def test_a_lifetime_that_is_none(lifetime_s: Any) -> None:
    with pytest.raises(LocalMisuse, match="lifetime_s"):
        Attested(lifetime_s=lifetime_s)


def test_rotation_is_the_verifiers(parties: Parties) -> None:
    """A discharger speaks with whatever key file its verifier holds now."""
    verifier = parties.verifier("approvals")
    discharger = Discharger(verifier, lambda _question: Attested(lifetime_s=5))
    verifier.replace_keytab(parties.realm.keytab("approvals"))
    ask(parties.credentials("web", "approvals"), demand_of(parties), deliver(discharger))
