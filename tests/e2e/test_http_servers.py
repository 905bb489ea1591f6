"""The examples of docs/examples/ under the servers that people run: uvicorn, hypercorn on trio, gunicorn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest
from attrs import evolve

from orthros_protocol.primitives.derivation import digest
from orthros_protocol.tickets.ticket import Hop, Subject
from tests.support.http_caller import Call, HttpCaller, Received
from tests.support.http_servers import SERVERS, Server, open_server
from tests.support.processes import eventually

pytestmark = pytest.mark.stories

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ORDER = b'{"item": "book"}'
JSON = ("content-type", b"application/json")


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with open_server(request.param) as running:
        yield running


def order(caller: HttpCaller, body: bytes = ORDER) -> Call:
    return caller.call("POST", b"/orders", headers=[JSON, ("traceparent", TRACE)], body=body)


def served(server: Server, caller: HttpCaller, make: str = "order") -> tuple[Call, Received]:
    """A call that gets through: repeated with the epoch that it is told, as long as workers take turns."""

    def attempt() -> tuple[Call, Received] | None:
        call = order(caller) if make == "order" else caller.call("GET", b"/orders/7")
        received = server.send(call)
        if received.status != 401:
            return call, received
        assert caller.refusal(call, received).code == "epoch-required"
        return None

    call, received = eventually(attempt, "the worker whose epoch is known")
    return call, received


@pytest.mark.parity("L20")
def test_a_call_is_served_and_proven(server: Server) -> None:
    """The transaction's id and the trace arrive, and are in the log. L11: the service proves itself."""
    caller = server.caller("read", "write", txn=bytes(range(16)))
    call, received = served(server, caller)
    assert received.status == 200, received
    assert json.loads(received.body) == {
        "placed": {"item": "book"}, "txn": bytes(range(16)).hex(), "traceparent": TRACE.decode(),
    }  # fmt: skip
    reply = caller.open(call, received)
    assert reply.body_digest == digest(received.body)
    line = eventually(
        lambda: next((one for one in server.process.lines() if "order-placed" in one), None), "the log line"
    )
    assert "shop@test.realm" in line
    assert bytes(range(16)).hex() in line
    assert TRACE.decode() in line


def test_a_first_unsafe_call_gets_through_over_one_connection(server: Server) -> None:
    """The repeat reaches the process that asked for its epoch, because the refusal leaves the connection open."""
    caller = server.caller("read", "write")

    def post(connection: HTTPConnection) -> tuple[Call, Received]:
        call = order(caller)
        headers = {name: value.decode("latin-1") for name, value in call.headers if name != "connection"}
        connection.request(call.method, call.target.decode("ascii"), call.body, headers)
        response = connection.getresponse()
        found = tuple((name.lower(), value.encode("latin-1")) for name, value in response.getheaders())
        return call, Received(status=response.status, headers=found, body=response.read())

    with closing(HTTPConnection("127.0.0.1", server.port, timeout=15)) as connection:
        call, refused = post(connection)
        assert refused.status == 401
        assert caller.refusal(call, refused).code == "epoch-required"
        # gunicorn's default workers keep no connection; docs/http-services.md says what that costs.
        assert (connection.sock is None) == (server.name == "gunicorn-sync")
        if connection.sock is not None:
            assert post(connection)[1].status == 200


@pytest.mark.parity("B8")
def test_a_captured_request_is_refused_by_every_worker(server: Server) -> None:
    """Accepted once; the same bytes again are refused by the worker that knows them and by the other one."""
    caller = server.caller("read", "write")
    call, received = served(server, caller)
    assert received.status == 200
    # The workers share what they have seen; so many connections reach each of them.
    for _ in range(20 * server.workers):
        again = server.send(call)
        assert again.status == 401
        assert caller.refusal(call, again).code == "replayed"


def test_strangers_are_refused(server: Server) -> None:
    call = server.caller().call("GET", b"/orders/7").without("authorization")
    received = server.send(call)
    assert received.status == 401
    assert received.header("www-authenticate") == b'Orthros realm="test.realm"'
    assert server.send(server.caller().call("GET", b"/nowhere").without("authorization")).status == 401
    public = server.caller().call("GET", b"/health").without("authorization")
    assert json.loads(server.send(public).body) == {"status": "ok"}


def test_a_mount_point_from_a_header_is_refused(server: Server) -> None:
    """gunicorn believes this header from loopback, and would serve another path than the one that was judged."""
    call = order(server.caller("read", "write")).without("authorization")
    received = server.send(evolve(call, target=b"/health/orders").with_header("SCRIPT_NAME", b"/health"))
    assert (received.status, json.loads(received.body)["code"]) == (400, "malformed")


@pytest.mark.parity("L19")
def test_a_missing_scope_is_refused_with_what_is_needed(server: Server) -> None:
    """Under proof, and with the name of the scope."""
    caller = server.caller("read")
    call, received = served(server, caller)
    assert received.status == 403
    told = json.loads(received.body)
    assert (told["error"], told["scope"]) == ("insufficient_scope", "write")
    caller.open(call, received)
    call, received = served(server, caller, "show")
    assert json.loads(received.body) == {"order": 7, "for": "shop@test.realm"}
    caller.open(call, received)


@pytest.mark.parity("P8", "L20")
def test_a_call_on_behalf_of_somebody_needs_a_route_that_serves_others(server: Server) -> None:
    """These examples serve callers for themselves, whatever the KDC vouches for; the caller learns why."""
    portal, alice = server.realm.principal("portal"), server.realm.principal("alice")
    caller = server.caller("read", subject=Subject(alice, 0, 2), chain=(Hop(portal, 1),))
    call, received = served(server, caller, "show")
    assert (received.status, json.loads(received.body)["code"]) == (403, "user-not-accepted")
    assert caller.refusal(call, received).code == "user-not-accepted"


def test_another_body_is_refused(server: Server) -> None:
    caller = server.caller("read", "write")
    served(server, caller)

    def refused() -> Received | None:
        call = order(caller)
        received = server.send(call, body=ORDER.replace(b"book", b"bomb"))
        if received.status == 401:
            caller.refusal(call, received)
            return None
        caller.open(call, received)
        return received

    received = eventually(refused, "the worker whose epoch is known")
    assert (received.status, json.loads(received.body)["code"]) == (400, "body-mismatch")
    assert not any("bomb" in line for line in server.process.lines())


def test_another_target_is_refused(server: Server) -> None:
    caller = server.caller("read", "write")
    served(server, caller)
    call = caller.call("GET", b"/orders/7?full=1")
    for target in (b"/orders/8?full=1", b"/orders/7?full=0", b"/orders/7", b"/%6frders/7?full=1"):
        changed = Call(method="GET", target=target, headers=call.headers, body=b"", pending=call.pending)
        assert caller.refusal(changed, server.send(changed)).code in ("wrong-binding", "replayed", "epoch-required")
    for target in (b"/orders/../orders/7", b"/orders/%2e%2e/orders/7", b"//orders/7", b"/orders%2f7"):
        changed = Call(method="GET", target=target, headers=call.headers, body=b"", pending=call.pending)
        assert server.send(changed).status == 400


def test_head_and_unknown_paths_are_proven(server: Server) -> None:
    caller = server.caller("read", "write")
    served(server, caller)
    for method, target, expected in (("GET", b"/nowhere", 404), ("HEAD", b"/nowhere", 404), ("PUT", b"/orders", 405)):

        def answered(method: str = method, target: bytes = target) -> Received | None:
            call = caller.call(method, target)
            received = server.send(call)
            if received.header("orthros-reply") is None:
                assert caller.refusal(call, received).code == "epoch-required"
                return None
            caller.open(call, received)
            return received

        assert eventually(answered, "the worker whose epoch is known").status == expected
