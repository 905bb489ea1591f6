"""The table of answers, row by row, through the real middlewares: status, challenge, body and proof."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from attrs import evolve

from orthros_client.flows import drive
from orthros_client.http.server.answers import ROWS, Challenge, Proof
from orthros_client.http.server.callers import Caller
from orthros_client.http.server.incoming import IncomingRequest
from orthros_client.http.server.routes import Route
from orthros_client.verifier.bearer import BearerVerifier
from orthros_protocol.exchanges.ap_exchange import AssertedUser
from orthros_protocol.exchanges.http_profile import HttpResponse, open_http_reply, parse_challenge
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.tickets.caveats import MethodsCaveat
from orthros_protocol.tickets.ticket import Hop, Subject
from orthros_tools.reasons import CATALOGUE
from tests.client.http.world import House
from tests.support.http_caller import Call, HttpCaller, Received
from tests.support.middlewares import INTERFACES, Reply, Service

ROUTES = [Route("/*", schemes=["orthros", "bearer"])]
JWK = {"kty": "oct", "kid": "k1", "alg": "HS256", "use": "sig", "k": "A" * 43}
OWN = "another code that a service's own rule chose"
BY_REASON = {row.reason: row for row in ROWS}


class Judged(Service):
    """`orders` behind one of the middlewares, with a rule of its own, which may fail as its handler may."""

    def __init__(self, interface: str) -> None:
        self.rule: Callable[[Caller], object] = lambda _caller: None
        self.fails = False
        bearer = BearerVerifier([JWK], audience="orders", issuer="https://kdc.test")
        super().__init__(interface, House(), self._handle, routes=ROUTES, bearer=bearer, on_verify=self._judge)

    def _judge(self, caller: Caller, _request: IncomingRequest) -> object:
        return self.rule(caller)

    def _handle(self, _caller: Caller | None) -> Reply:
        if self.fails:
            raise OSError("the disk is gone")
        return Reply()


Ask = Callable[[Judged], tuple[Call, Received]]


def asked(service: Judged, caller: HttpCaller, call: Call, body: bytes | None = None) -> tuple[Call, Received]:
    return call, service.ask(call, body)


def by_rule(code: str, service: Judged) -> tuple[Call, Received]:
    def rule(caller: Caller) -> None:
        raise caller.refusal(CATALOGUE[code], "so says the rule")

    caller = service.met()
    service.rule = rule
    return asked(service, caller, caller.call())


def broken(service: Judged) -> tuple[Call, Received]:
    def rule(_caller: Caller) -> None:
        raise OSError("the database of the rule is away")

    caller = service.met()
    service.rule = rule
    return asked(service, caller, caller.call())


def failing(service: Judged) -> tuple[Call, Received]:
    caller = service.met()
    service.fails = True
    return asked(service, caller, caller.call())


def changed(change: Callable[[HttpCaller, Call], Call], **how: Any) -> Ask:
    def ask(service: Judged) -> tuple[Call, Received]:
        caller = service.met()
        return asked(service, caller, change(caller, caller.call(**how)))

    return ask


def with_caveat(*caveats: bytes) -> Ask:
    def ask(service: Judged) -> tuple[Call, Received]:
        caller = service.met(*caveats)
        return asked(service, caller, caller.call())

    return ask


def shown(change: Callable[[HttpCaller], HttpCaller]) -> Ask:
    def ask(service: Judged) -> tuple[Call, Received]:
        caller = change(service.met())
        return asked(service, caller, caller.call())

    return ask


def for_another_service(service: Judged) -> tuple[Call, Received]:
    issued = service.house.realm.issue("billing", "payroll")
    caller = evolve(service.met(), ticket=issued.ticket, pop_key=issued.pop_key)
    return asked(service, caller, caller.call())


def circular(service: Judged) -> tuple[Call, Received]:
    principal = service.house.realm.principal
    chain = tuple(Hop(principal("payroll"), 1) for _ in range(2))
    caller = service.met(chain=chain, subject=Subject(principal("alice"), 0, 2))
    return asked(service, caller, caller.call())


def asserting(service: Judged) -> tuple[Call, Received]:
    caller = service.met(scopes=("assert-user",))
    return asked(service, caller, caller.call(user=AssertedUser("alice", 2)))


def another_body(service: Judged) -> tuple[Call, Received]:
    caller = service.met()
    return asked(service, caller, caller.call("POST", body=b"seven"), b"eight")


def twice(service: Judged) -> tuple[Call, Received]:
    caller = service.met()
    call = caller.call("POST")
    assert service.ask(call).status == 200
    return asked(service, caller, call)


def flipped(ticket: bytes, at: int, byte: int = 1) -> bytes:
    changed = bytearray(ticket)
    changed[at] ^= byte
    return bytes(changed)


REAL: dict[str, Ask] = {
    "credentials-missing": changed(lambda _caller, call: call.without("authorization")),
    "malformed": changed(lambda _caller, call: call.replaced("host", b"evil.test")),
    "malformed, within the AP-REQ or the ticket": changed(
        lambda _caller, call: call.replaced("authorization", b'Orthros v=1, h="", r="AAAA"')
    ),
    "unknown-key": for_another_service,
    "wrong-ticket-type": shown(lambda caller: evolve(caller, ticket=flipped(caller.ticket, 2, 3))),
    "box-unopened": shown(lambda caller: evolve(caller, ticket=flipped(caller.ticket, -1))),
    "wrong-mac": shown(lambda caller: evolve(caller, pop_key=bytes(32))),
    "token-invalid": changed(lambda _caller, call: call.replaced("authorization", b"Bearer a.b.c")),
    "replayed": twice,
    "wrong-binding": changed(lambda _caller, call: evolve(call, target=b"/elsewhere")),
    "not-covered": changed(lambda _caller, call: call.with_header("idempotency-key", b"1")),
    "caveat-refused": with_caveat(MethodsCaveat(("POST",)).to_bytes()),
    "caveat-unsupported": with_caveat(encode(10, [])),
    "chain-refused": circular,
    "user-not-accepted": asserting,
    "body-mismatch": another_body,
    "the verifier or a hook failed": broken,
    "the application failed before it answered": failing,
}
ASKS = {row.reason: REAL.get(row.reason, partial(by_rule, row.reason)) for row in ROWS} | {
    OWN: partial(by_rule, "not-granted")
}
WEBSOCKET = "a websocket, on a route that is not public"


def challenges_of(answer: Received) -> list[str]:
    return [value.decode("ascii") for name, value in answer.headers if name == "www-authenticate"]


def is_proven(caller_call: Call, answer: Received) -> bool:
    value = answer.header("orthros-reply")
    if value is None:
        return False
    head = HttpResponse(status=answer.status, headers=answer.headers)
    return open_http_reply(caller_call.pending, value.decode("ascii"), head).body_digest is not None


@pytest.mark.parametrize("interface", INTERFACES)
@pytest.mark.parametrize("reason", [row.reason for row in ROWS if row.reason != WEBSOCKET])
def test_what_is_answered_is_what_the_table_says(reason: str, interface: str) -> None:
    row = BY_REASON[reason]
    service = Judged(interface)
    call, answer = ASKS[reason](service)
    if row.challenge is Challenge.BARE:  # nobody but the log is told which of these it was
        assert service.house.log.lines[-1][1]["reason"] == reason.partition(",")[0]
    told = json.loads(answer.body)
    assert (answer.status, told["error"]) == (row.status, row.error)
    code = "not-granted" if reason == OWN else row.code
    assert told.get("code") == code
    assert ("retry-after" in dict(answer.headers)) is False
    assert is_proven(call, answer) is (row.proof in (Proof.REPLY, Proof.RESPONSE))
    found = challenges_of(answer)
    if row.challenge is Challenge.NONE:
        assert found == []
    elif row.challenge is Challenge.SCHEMES:
        assert found == ['Orthros realm="test.realm"', 'Bearer realm="test.realm"']
    elif reason == "token-invalid":
        assert found == ['Bearer realm="test.realm", error="invalid_token"']
    else:
        (challenge,) = map(parse_challenge, found)
        assert (challenge.code, challenge.reply is not None) == (
            (None, False) if row.challenge is Challenge.BARE else (code, True)
        )
    if row.proof in (Proof.CHALLENGE, Proof.REPLY):
        assert HttpCaller(b"", b"").refusal(call, answer).code == code
    assert answer.status != 401 or found


def test_the_table_has_every_code_that_a_service_refuses_with() -> None:
    """What the product raises where requests are judged; the rest is a service's own choice."""
    assert len(BY_REASON) == len(ROWS)
    assert {row.proof for row in ROWS if row.status == 401} == {Proof.NONE, Proof.CHALLENGE}
    assert all(row.challenge is not Challenge.NONE for row in ROWS if row.status == 401)


async def test_a_websocket_is_refused_as_the_table_says() -> None:
    row = BY_REASON[WEBSOCKET]
    house = House()
    guard = Service("asgi", house).app.guard
    caller = house.caller()
    met = caller.call("OPTIONS", flags=0)
    first = drive(
        guard.judging(IncomingRequest(method="OPTIONS", target=b"/", headers=met.headers), upgrade=True),
        guard.store.admit,
    )
    caller.refusal(met, received_of(first))
    call = caller.call()
    denied = drive(
        guard.judging(IncomingRequest(method="GET", target=b"/", headers=call.headers), upgrade=True), guard.store.admit
    )
    answer = received_of(denied)
    assert (answer.status, json.loads(answer.body)["error"]) == (row.status, row.error)
    assert challenges_of(answer) == []


def received_of(denied: Any) -> Received:
    return Received(status=denied.answer.status, headers=denied.answer.headers, body=denied.answer.body)
