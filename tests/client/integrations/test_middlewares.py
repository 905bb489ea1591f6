"""What both middlewares do, told once: verified callers in, proven responses out, and nothing slips through between.

What only one of the two calling conventions can do stands in test_asgi.py and test_wsgi.py; what is answered for which
reason, in tests/client/http/test_answers.py.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve

from orthros_client.errors import Failure, TicketRefused
from orthros_client.integrations.asgi import Route
from orthros_protocol.errors import PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import TargetRefusal
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.reasons.table import reason_for
from orthros_protocol.tickets.caveats import ChannelCaveat
from tests.client.http.world import House
from tests.support.http_changes import MALFORMED, TAMPERED, UNCOVERED, changed_proof, replace_last
from tests.support.middlewares import INTERFACES, Reply, Service

TEXT = [("content-type", b"text/plain")]
# Of these two headers WSGI shows one value: what is bound is what the application sees.
SHOWN_ONCE = {"two lengths", "covered header twice"}
# aiohttp's parser refuses these before any middleware.
NEVER_PARSED = {
    "no host",
    "two hosts",
    "length and chunks",
    "no length",
    "two lengths",
    "asterisk form",
    "covered header twice",
}


@pytest.fixture(params=INTERFACES)
def interface(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def service(interface: str, house: House) -> Service:
    return Service(interface, house)


def test_first_contact_costs_one_refusal_and_reaches_no_handler(house: House, service: Service) -> None:
    caller = house.caller()
    first = caller.call("POST", b"/orders?x=1", headers=TEXT, body=b"one")
    refused = service.ask(first)
    assert refused.status == 401
    assert caller.refusal(first, refused).code == "epoch-required"
    assert service.callers == []
    again = caller.call("POST", b"/orders/1?x=%41", headers=TEXT, body=b"one")
    served = service.ask(again)
    assert (served.status, served.body) == (200, b"served")
    reply = caller.open(again, served)
    assert (reply.covered, reply.body_digest) == (("content-type",), digest(b"served"))
    assert [(str(who.client), who.scheme) for who in service.callers] == [("billing@test.realm", "orthros")]
    assert service.bodies == [b"one"]


def test_nothing_passes_without_credentials(house: House, service: Service) -> None:
    received = service.ask(house.caller().call().without("authorization"))
    assert received.status == 401
    assert received.header("www-authenticate") == b'Orthros realm="test.realm"'
    told = json.loads(received.body)
    assert (told["error"], told["code"]) == ("unauthorized", "credentials-missing")
    assert "Authorization: Orthros" in told["remedy"]
    assert service.callers == []


def test_a_captured_request_is_dead(interface: str, house: House, service: Service) -> None:
    """Here, without its credentials, and at another instance of the service."""
    caller = service.met()
    call = caller.call("POST", body=b"pay")
    assert service.ask(call).status == 200
    assert caller.refusal(call, service.ask(call)).code == "replayed"
    assert service.ask(call.without("authorization")).status == 401
    other_instance = Service(interface, house)
    assert caller.refusal(call, other_instance.ask(call)).code == "epoch-required"
    assert (len(service.callers), other_instance.callers) == (1, [])


@pytest.mark.parametrize("name", TAMPERED)
def test_a_changed_request_is_refused_under_mac(name: str, interface: str, house: House) -> None:
    service = Service(interface, house, origins=["http://orders.test", "http://other.test"])
    caller = service.met()
    headers = [*TEXT, ("idempotency-key", b"1")]
    changed = TAMPERED[name](caller.call("POST", b"/orders/1?x=1", headers=headers, body=b"one"))
    received = service.ask(changed)
    assert (received.status, caller.refusal(changed, received).code) == (401, "wrong-binding")
    assert service.callers == []


@pytest.mark.parametrize(
    ("interface", "name"),
    [(one, name) for one in INTERFACES for name in MALFORMED if one != "wsgi" or name not in SHOWN_ONCE],
)
def test_a_request_that_could_be_read_in_two_ways_is_no_request(interface: str, name: str, house: House) -> None:
    service = Service(interface, house)
    caller = service.met()
    received = service.ask(MALFORMED[name](caller.call("POST", b"/orders/1", headers=TEXT, body=b"one")))
    own = interface == "aiohttp" and name in NEVER_PARSED
    assert received.status in ((400, 404) if own else (400,))
    assert own or json.loads(received.body)["error"] == "invalid_request"
    assert service.callers == []


def test_stray_bits_in_the_proof(service: Service) -> None:
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    lengths = set()
    for size in range(1, 4):
        call = service.met(scopes=("a" * size,)).call()
        text = call.header("authorization").rsplit(b'r="', 1)[1][:-1]
        lengths.add(len(text) % 4)
        at = alphabet.index(text[-1])
        stray = alphabet[at ^ 1 : (at ^ 1) + 1]  # the last bit counts only when the length is a multiple of four
        expected = 400 if len(text) % 4 else 401
        assert service.ask(changed_proof(call, replace_last(stray))).status == expected
    assert lengths == {0, 2, 3}


@pytest.mark.parametrize("name", UNCOVERED)
def test_what_matters_must_be_covered(name: str, interface: str, house: House) -> None:
    options, change, named = UNCOVERED[name]
    service = Service(interface, house, routes=[Route("/*", covers=["x-tenant"])])
    caller = service.met()
    call = change(caller.call("POST", **options))
    refusal = caller.refusal(call, service.ask(call))
    assert (refusal.code, named in refusal.detail) == ("not-covered", True)
    assert service.callers == []


@pytest.mark.parametrize("sent", [b"hello WORLD", b"hello", b""], ids=["another one", "ends early", "empty"])
def test_a_small_body_that_is_another_one_never_reaches_the_application(
    sent: bytes, interface: str, service: Service
) -> None:
    """Its caller is told so: the call has certainly not been executed."""
    caller = service.met()
    call = caller.call("POST", body=b"hello world")
    if interface == "aiohttp" and len(sent) < len(call.body):  # there the connection ends with it
        with pytest.raises(ConnectionError):
            service.ask(call, sent)
        assert service.callers == []
        return
    refusal = caller.refusal(call, service.ask(call, sent))
    assert (refusal.code, refusal.before_handler) == ("body-mismatch", True)
    assert service.callers == []


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 302)])
def test_responses_without_a_body_are_proven_as_such(method: str, status: int, interface: str, house: House) -> None:
    there = (("location", b"/there"),)
    service = Service(interface, house, lambda _caller: Reply(status, b"", there))
    caller = service.met()
    call = caller.call(method)
    reply = caller.open(call, service.ask(call))
    assert (reply.body_digest, reply.covered) == (digest(b""), ("location",))


@pytest.mark.parity("L11")
def test_a_changed_response_does_not_open(service: Service) -> None:
    """Whoever cannot open the ticket cannot answer for the service."""
    caller = service.met()
    call = caller.call()
    received = service.ask(call)
    caller.open(call, received)
    with pytest.raises(PeerMisbehaved, match="status"):
        caller.open(call, evolve(received, status=201))
    swapped = tuple((name, b"text/html" if name == "content-type" else value) for name, value in received.headers)
    with pytest.raises(PeerMisbehaved, match="changed"):
        caller.open(call, evolve(received, headers=swapped))
    other = caller.call()
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        caller.open(other, received)


def demands_more(caller: Any) -> Reply:
    caller.require("write")
    raise AssertionError


@pytest.mark.parity("L19")
@pytest.mark.parametrize("by", ["handler", "route"])
def test_a_handler_that_demands_more_refuses_under_proof(by: str, interface: str, house: House) -> None:
    """403 and insufficient_scope, with what is needed; also when nothing catches the refusal."""
    options = {"handler": demands_more} if by == "handler" else {"routes": [Route("/orders", scopes=["write"])]}
    service = Service(interface, house, **options)
    caller = service.met()
    service.callers.clear()
    call = caller.call("GET", b"/orders")
    received = service.ask(call)
    assert received.status == 403
    told = json.loads(received.body)
    assert (told["error"], "write" in told["error_description"]) == ("insufficient_scope", True)
    assert caller.open(call, received).body_digest == digest(received.body)
    assert caller.refusal(call, received).code == "insufficient-scope"
    assert len(service.callers) == (by == "handler")


def test_an_application_that_raises_is_told_apart_from_an_attacker(interface: str, house: House) -> None:
    def fails(_caller: Any) -> Reply:
        raise KeyError("secret of the application")

    service = Service(interface, house, fails)
    caller = service.met()
    call = caller.call()
    received = service.ask(call)
    assert (received.status, b"secret" in received.body) == (500, False)
    caller.open(call, received)


@pytest.mark.parametrize(
    "error",
    [
        TargetRefusal(reason_for("user-not-accepted").number or 0, "", target_time=Timestamp(0), epoch=bytes(8)),
        TicketRefused(Failure.refused("not-granted")),
    ],
    ids=["by a target", "by the KDC"],
)
def test_a_refusal_that_the_application_met_is_not_that_of_its_caller(
    error: Refused, interface: str, house: House
) -> None:
    """A handler that calls on, and is refused there, has failed: its own caller did nothing wrong."""

    def meets_it(_caller: Any) -> Reply:
        raise error

    service = Service(interface, house, meets_it)
    caller = service.met()
    call = caller.call()
    received = service.ask(call)
    assert received.status == 500
    caller.open(call, received)
    assert house.log.events == []


def test_a_broken_verifier_is_503_and_says_so_only_in_the_log(interface: str, house: House) -> None:
    class Down:
        def admit(self, *_: object) -> Any:
            raise ConnectionError("cache at 10.0.0.5 with password hunter2")

    service = Service(interface, house, verifier=house.verifier(replay=Down()))
    received = service.ask(house.caller().call())
    assert (received.status, json.loads(received.body)["error"]) == (503, "temporarily_unavailable")
    assert house.log.events[-1] == "verifier-failed"
    assert "hunter2" not in str(house.log.lines) + received.body.decode()
    assert json.loads(received.body)["reference"] == house.log.lines[-1][1]["ref"]


def test_a_public_route_needs_no_credentials_and_checks_those_that_come(interface: str, house: House) -> None:
    service = Service(interface, house, routes=[Route("/health", public=True)])
    assert service.ask(house.caller().call("GET", b"/health").without("authorization")).status == 200
    caller = house.caller()
    call = caller.call("GET", b"/health")
    assert caller.refusal(call, service.ask(call)).code == "epoch-required"
    call = caller.call("GET", b"/health")
    caller.open(call, service.ask(call))
    assert [who and str(who.client) for who in service.callers] == [None, "billing@test.realm"]


def test_a_public_application_that_raises_is_the_servers_business(interface: str, house: House) -> None:
    def fails(_caller: Any) -> Reply:
        raise KeyError("a bug")

    service = Service(interface, house, fails, routes=[Route("/open", public=True)])
    if interface == "aiohttp":  # which is its own server
        received = service.ask(house.caller().call("GET", b"/open").without("authorization"))
        assert (received.status, received.header("orthros-reply")) == (500, None)
        return
    with pytest.raises(KeyError):
        service.ask(house.caller().call("GET", b"/open").without("authorization"))


@pytest.mark.parity("L1")
def test_observe_lets_everything_pass_and_counts_it(interface: str, house: House) -> None:
    """Nothing is blocked; what would have been is logged without secrets, and counted."""
    service = Service(interface, house, mode="observe", routes=[Route("/orders/*", scopes=["write"])])
    caller = house.caller()
    anonymous = caller.call("POST", b"/orders/1?token=hunter2", body=b"one").without("authorization")
    assert service.ask(anonymous).status == 200
    assert service.ask(caller.call("GET", b"/other").replaced("authorization", b"Orthros ?")).status == 200
    assert service.callers == [None, None]
    assert service.counts() == {("/orders/*", "credentials-missing"): 1, ("/*", "malformed"): 1}
    assert set(house.log.events) == {"would-refuse"}
    assert "hunter2" not in str(house.log.lines)


def test_observe_still_proves_itself_and_reports_bodies(interface: str, house: House) -> None:
    service = Service(interface, house, mode="observe")
    caller = service.met()  # who proves a ticket is told the epoch, or could never be verified
    call = caller.call("POST", body=b"one")
    received = service.ask(call, b"two")
    assert (received.status, service.bodies) == (200, [b"two"])
    caller.open(call, received)
    assert service.counts() == {("/*", "body-mismatch"): 1}


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_a_channel_that_cannot_be_named_closes_the_service(mode: str, interface: str, house: House) -> None:
    lost: list[OSError] = []

    def channel(_carrier: Any) -> None:
        if lost:
            raise lost[0]

    service = Service(interface, house, mode=mode, channel=channel)
    lost.append(OSError("no such connection"))
    status = service.ask(house.caller().call()).status
    assert (status, len(service.callers)) == ((503, 0) if mode == "enforce" else (200, 1))
    assert service.counts() == {("-", "verifier-failed"): 1}


@pytest.mark.parity("K9", "L14")
def test_the_channel_of_a_request_is_what_the_service_says(interface: str, house: House) -> None:
    """Here it is named by the certificate that the server tells."""
    service = Service(interface, house, channel=Service.channel)
    caller = service.met(ChannelCaveat(digest(b"certificate")).to_bytes())
    for certificate, expected in ((b"certificate", 200), (b"another", 403)):
        assert service.ask(caller.call(), certificate=certificate).status == expected
