"""Who is told what of a refusal: the caller, a stranger, and the service's own log."""

from __future__ import annotations

import pytest
from attrs import evolve

from orthros_client.http.server.guard import Denied, Guard
from tests.client.http.test_guard import incoming, judge, received
from tests.client.http.world import House


@pytest.fixture
def house() -> House:
    return House()


@pytest.mark.parity("O14")
def test_the_log_alone_names_the_origins_of_a_service(house: House) -> None:
    """A stranger with another Host reads no more than before."""
    guard = Guard(**house.settings(origins=["http://orders.test", "http://hidden.test:8080"]))
    verdict = guard.judge(incoming(house.caller().call().replaced("host", b"elsewhere.test")))
    assert isinstance(verdict, Denied)
    assert verdict.answer.status == 400
    assert b"hidden.test" not in verdict.answer.body
    assert b"elsewhere" not in verdict.answer.body
    event, facts = house.log.lines[-1]
    assert (event, facts["reason"]) == ("refused", "malformed")
    assert "received Host 'elsewhere.test', origins here: http://orders.test, http://hidden.test:8080" in str(
        facts["detail"]
    )
    assert "add this one to them" in str(facts["remedy"])


@pytest.mark.parity("O14")
def test_the_log_alone_names_the_keys_that_are_held(house: House) -> None:
    """A ticket for another service is told to its caller as nothing but a failure."""
    guard = Guard(**house.settings(verifier=house.verifier("payroll")))
    verdict = guard.judge(incoming(house.caller().call()))
    assert isinstance(verdict, Denied)
    assert verdict.answer.status == 401
    assert b"kvno" not in verdict.answer.body
    assert b"unknown-key" not in verdict.answer.body
    _event, facts = house.log.lines[-1]
    assert facts["reason"] == "unknown-key"
    assert "sealed under kvno 1, the key file here is of payroll@test.realm, kvno 1" in str(facts["detail"])
    assert str(facts["remedy"]).startswith("If this service is not payroll, install its own key file")


@pytest.mark.parity("O14")
def test_a_proven_caller_is_told_what_was_received(house: House) -> None:
    """Under the MAC of the refusal, so that whoever reads it can believe it."""
    guard = Guard(**house.settings())
    caller = house.caller()
    assert judge(guard, caller, caller.call()) == "epoch-required"
    moved = evolve(caller.call("GET", b"/orders/7?secret=1"), target=b"/7?secret=1")
    verdict = guard.judge(incoming(moved))
    assert isinstance(verdict, Denied)
    refusal = caller.refusal(moved, received(verdict.answer))
    assert (refusal.code, refusal.detail[:45]) == ("wrong-binding", "received: GET http://orders.test/7?...; path,")
    _event, facts = house.log.lines[-1]
    assert str(facts["detail"]).startswith("received: GET http://orders.test/7?...; ")
    assert "secret" not in str(facts)
