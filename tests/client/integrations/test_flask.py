"""Flask: one call protects an application, and each view names its scopes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask, request

from orthros_client.errors import Failure, TicketRefused
from orthros_client.http.propagation import traceparent
from orthros_client.integrations.flask import Route, answer_failed_calls, current_caller, protect, require
from orthros_client.reasons import KDC_UNREACHABLE
from orthros_protocol.errors import Malformed, Misconfigured, Unavailable
from tests.client.http.world import House
from tests.support.http_caller import HttpCaller, Received
from tests.support.wsgi_server import ask


@pytest.fixture
def house() -> House:
    return House()


def make_app() -> Flask:
    app = Flask("orders")

    @app.get("/read")
    @require("read")
    def read() -> dict[str, str]:
        caller = current_caller()
        assert caller is not None
        return {"for": str(caller.client)}

    @app.get("/write")
    @require("write")
    def write() -> str:
        raise AssertionError("reached without its scope")

    @app.get("/inside")
    def inside() -> str:
        caller = current_caller()
        assert caller is not None
        caller.require("write")
        return ""

    @app.get("/calls-on")
    def calls_on() -> str:
        raise TicketRefused(Failure.refused("not-granted"))

    @app.post("/body")
    def body() -> Any:
        return request.get_json()

    return app


def met(house: House, app: Any) -> HttpCaller:
    caller = house.caller()
    call = caller.call("OPTIONS", flags=0)
    assert caller.refusal(call, ask(app, call)).code == "epoch-required"
    return caller


def get(app: Any, caller: HttpCaller, target: bytes) -> Received:
    call = caller.call("GET", target)
    received = ask(app, call)
    caller.open(call, received)
    return received


@pytest.mark.parity("L19")
def test_scopes_of_a_view(house: House) -> None:
    app = make_app()
    protect(app, **house.settings())
    caller = met(house, app)
    assert json.loads(get(app, caller, b"/read").body) == {"for": "billing@test.realm"}
    for target in (b"/write", b"/inside"):
        received = get(app, caller, target)
        assert (received.status, json.loads(received.body)["error"]) == (403, "insufficient_scope")
    assert get(app, caller, b"/nowhere").status == 404
    assert get(app, caller, b"/calls-on").status == 500  # refused elsewhere: no fault of this caller


@pytest.mark.parity("B2")
def test_a_call_that_a_view_made_and_did_not_get(house: House) -> None:
    """502 with the code, under proof; refusals of its own caller and other errors stay what they are."""
    app = make_app()

    @app.get("/away")
    def away() -> str:
        raise Unavailable(KDC_UNREACHABLE, "kdc-a:1")

    @app.get("/bug")
    def bug() -> str:
        raise Malformed("of a file")

    answer_failed_calls(app, log=house.log)
    protect(app, **house.settings())
    caller = met(house, app)
    refused = get(app, caller, b"/calls-on")
    assert (refused.status, json.loads(refused.body)["code"]) == (502, "not-granted")
    waits = get(app, caller, b"/away")
    assert (waits.status, waits.header("retry-after")) == (503, b"5")
    assert b"kdc-a" not in waits.body
    assert get(app, caller, b"/bug").status == 500
    assert json.loads(get(app, caller, b"/inside").body)["error"] == "insufficient_scope"
    assert house.log.events == ["onward-refused", "onward-unavailable", "refused"]
    assert house.log.lines[0][1]["client"] == "billing@test.realm"


@pytest.mark.parity("L20")
def test_the_trace_of_a_request_is_that_of_its_calls(house: House) -> None:
    """Under WSGI the header comes by another name."""
    app = make_app()
    app.add_url_rule("/trace", view_func=lambda: traceparent() or "none")
    protect(app, **house.settings())
    caller = met(house, app)
    trace = b"4bf92f3577b34da6a3ce929d0e0e4736"
    call = caller.call("GET", b"/trace").with_header("traceparent", b"00-%s-00f067aa0ba902b7-01" % trace)
    told = ask(app, call).body
    assert told.startswith(b"00-" + trace)
    assert told.endswith(b"-01")
    assert b"00f067aa0ba902b7" not in told
    assert traceparent() is None


def test_another_body_is_a_refusal(house: House) -> None:
    app = make_app()
    protect(app, **house.settings())
    caller = met(house, app)
    call = caller.call("POST", b"/body", headers=[("content-type", b"application/json")], body=b'{"pay": 1}')
    received = ask(app, call, body=b'{"pay": 9}')
    caller.open(call, received)
    assert (received.status, json.loads(received.body)["code"]) == (400, "body-mismatch")
    call = caller.call("POST", b"/body", headers=[("content-type", b"application/json")], body=b'{"pay": 1}')
    assert json.loads(ask(app, call).body) == {"pay": 1}


def test_without_a_middleware_nobody_is_served(house: House) -> None:
    received = ask(make_app(), house.caller().call("GET", b"/read"))
    assert (received.status, received.header("www-authenticate")) == (401, b'Orthros realm="none"')
    assert b"no Orthros middleware" not in received.body or b"credentials-missing" in received.body


@pytest.mark.parity("L12")
def test_what_answers_before_the_middleware_is_flagged(house: House) -> None:
    app = make_app()
    protect(app, **house.settings(routes=[Route("/health", public=True)]), paths=["/read", "/write"])
    again = make_app()
    inner = again.wsgi_app

    def outer(environ: Any, start_response: Any) -> Any:
        return inner(environ, start_response)

    middleware = protect(again, **house.settings())
    again.wsgi_app = outer  # type: ignore[method-assign]
    from orthros_client.integrations.wsgi import self_test

    with pytest.raises(Misconfigured, match="unprotected"):
        self_test(again, middleware.guard.routes.rows, host="orders.test")
