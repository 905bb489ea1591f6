"""A header under a second spelling of its name: what is bound stays what the application sees.

`Idempotency_Key` is `Idempotency-Key` to a server of the CGI family and to the frameworks behind it, and another header
to everybody else. Who is in between renames one into the other, or adds the other one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from orthros_client.http.server.guard import Admitted, Denied, Guard
from orthros_client.http.server.incoming import IncomingRequest
from orthros_client.http.server.routes import Route
from orthros_client.integrations.asgi import OrthrosMiddleware
from orthros_protocol.tickets.caveats import PeerCaveat
from tests.client.forwarding import Gate, Sent
from tests.client.http.world import House
from tests.support import asgi_server
from tests.support.http_caller import Call, HttpCaller, Received

COVERED = [
    ("idempotency-key", b"k7"), ("content-type", b"text/plain"), ("content-encoding", b"br"), ("x-tenant", b"a"),
    ("x-own-choice", b"b"),
]  # fmt: skip
NAMES = [name for name, _value in COVERED]
SPELLINGS: dict[str, Callable[[str], str]] = {
    "underscores": lambda name: name.replace("-", "_"),
    "one underscore": lambda name: name.replace("-", "_", 1),
    "dots": lambda name: name.replace("-", "."),
    "tildes": lambda name: name.replace("-", "~"),
}


@pytest.fixture
def house() -> House:
    return House()


def guard_of(house: House) -> Guard:
    return Guard(**house.settings(routes=[Route("/*", covers=["x-tenant"])]))


def known(house: House, guard: Guard) -> HttpCaller:
    """A caller that knows the epoch."""
    caller = house.caller()
    call = caller.call("OPTIONS", flags=0)
    denied = guard.judge(incoming(call))
    assert isinstance(denied, Denied)
    caller.refusal(call, received(denied))
    return caller


def incoming(call: Call) -> IncomingRequest:
    return IncomingRequest(method=call.method, target=call.target, headers=call.headers)


def received(denied: Denied) -> Received:
    answer = denied.answer
    return Received(status=answer.status, headers=answer.headers, body=answer.body)


def renamed(call: Call, name: str, spelled: str) -> Call:
    return call.without(name).with_header(spelled, call.header(name))


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("name", NAMES)
def test_a_covered_header_is_not_renamed(name: str, spelling: Callable[[str], str], house: House) -> None:
    """A payment ran twice: its key was bound, and the application never saw it."""
    guard = guard_of(house)
    caller = known(house, guard)
    for change in (
        lambda call: renamed(call, name, spelling(name)),
        lambda call: call.with_header(spelling(name), b"evil"),
        lambda call: call.with_header(spelling(name), call.header(name)),
    ):
        denied = guard.judge(incoming(change(caller.call("POST", headers=COVERED, cover=NAMES, body=b"pay"))))
        assert isinstance(denied, Denied)
        assert (denied.code, denied.answer.status) == ("malformed", 400)
        assert f"could be taken for {name}".encode() in denied.answer.body
    assert isinstance(guard.judge(incoming(caller.call("POST", headers=COVERED, cover=NAMES))), Admitted)


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("name", NAMES[:-1])
def test_the_floor_and_the_route_hold_in_every_spelling(
    name: str, spelling: Callable[[str], str], house: House
) -> None:
    """Of a floor header that is not covered, any spelling may be what the application reads."""
    guard = guard_of(house)
    caller = known(house, guard)
    call = caller.call("POST").with_header(spelling(name), b"evil")
    denied = guard.judge(incoming(call))
    assert isinstance(denied, Denied)
    assert caller.refusal(call, received(denied)).code == "not-covered"


@pytest.mark.parametrize("name", ["content-digest", "content-length", "transfer-encoding"])
@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_what_frames_a_body_has_one_spelling(name: str, spelling: Callable[[str], str], house: House) -> None:
    guard = guard_of(house)
    caller = known(house, guard)
    call = caller.call("POST", body=b"pay")
    for changed in (
        call.with_header(spelling(name), b"3"),
        renamed(call, name, spelling(name)) if name != "transfer-encoding" else call.with_header(spelling(name), b"x"),
    ):
        denied = guard.judge(incoming(changed))
        assert isinstance(denied, Denied)
        assert denied.code == "malformed"


@pytest.mark.parametrize("header", ["x_http_method_override", "x.original.url", "x_rewrite-url", "script_name"])
def test_overrides_are_known_in_every_spelling(header: str, house: House) -> None:
    denied = guard_of(house).judge(incoming(house.caller().call().with_header(header, b"DELETE")))
    assert isinstance(denied, Denied)
    assert denied.code == "malformed"


def test_names_that_nobody_asks_for_are_free(house: House) -> None:
    guard = guard_of(house)
    caller = known(house, guard)
    free = [("x_trace_id", b"1"), ("x-trace-id", b"2"), ("x.trace.id", b"3")]
    assert isinstance(guard.judge(incoming(caller.call(headers=free, cover=()))), Admitted)
    odd = [("x_own", b"1")]
    assert isinstance(guard.judge(incoming(caller.call(headers=odd, cover=["x_own"]))), Admitted)
    denied = guard.judge(incoming(caller.call(headers=odd, cover=["x_own"]).with_header("x-own", b"2")))
    assert isinstance(denied, Denied)
    assert denied.code == "malformed"


async def test_an_asgi_application_sees_no_request_with_a_renamed_header(house: House) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(dict(scope["headers"]))
        await asgi_server.respond(send, 200, b"paid")

    guarded = OrthrosMiddleware(app, **house.settings(routes=[Route("/*", covers=["x-tenant"])]))
    caller = known(house, guarded.guard)
    headers = COVERED[:1]
    call = caller.call("POST", headers=headers, body=b"pay")
    assert (await asgi_server.ask(guarded, renamed(call, "idempotency-key", "idempotency_key"))).status == 400
    assert (await asgi_server.ask(guarded, caller.call("POST", headers=headers, body=b"pay"))).status == 200
    assert [head[b"idempotency-key"] for head in seen] == [b"k7"]


@pytest.mark.parametrize("dialect", ["traefik", "envoy"])
@pytest.mark.parametrize("name", ["content-digest", "content-type"])
def test_forward_auth_lets_no_renamed_header_through(dialect: str, name: str, tmp_path: Path) -> None:
    """The daemon never sees the body: with `Content_Digest` bound and another body sent, the service had no chance."""
    gate = Gate.open(tmp_path, dialect)
    payment = Sent(method="POST", headers=(("content-type", "text/plain"),), body=b"pay")
    sent = gate.sender.sign(payment)
    changed = sent.without(name).with_header((name.replace("-", "_").title(), dict(sent.headers)[name]))
    assert gate.status(changed) == 403
    assert gate.status(sent) == 200


def test_forward_auth_takes_no_second_spelling_of_what_the_proxy_writes(tmp_path: Path) -> None:
    for dialect, name in (("traefik", "X_Forwarded_Uri"), ("traefik", "X-Forwarded_Method")):
        gate = Gate.open(tmp_path, dialect)
        sent = gate.sender.sign(Sent())
        assert gate.status(sent.with_header((name, "/public"))) == 403
        assert gate.status(sent) == 200


@pytest.mark.parametrize("name", ["X_Orthros_Client", "x.orthros.client", "X-Orthros_Scopes"])
def test_forward_auth_takes_no_second_spelling_of_its_own_answers(name: str, tmp_path: Path) -> None:
    gate = Gate.open(tmp_path, "envoy")
    assert gate.status(gate.sender.sign(Sent()).with_header((name, "root"))) == 403


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
def test_no_spelling_of_a_header_lends_its_sender_an_address(spelling: Callable[[str], str], house: House) -> None:
    """A stolen ticket for 10.0.0.0/8, shown from elsewhere through a proxy that passes underscores on, as Caddy."""
    guard = Guard(**house.settings(trusted_proxies=["10.0.0.0/8"]))
    caller = house.caller(PeerCaveat(("10.0.0.0/8",)).to_bytes())
    caller.epoch = known(house, guard).epoch
    real, spoofed = ("x-forwarded-for", b"203.0.113.9"), (spelling("x-forwarded-for"), b"10.0.0.5")
    for headers in ([spoofed], [real, spoofed], [spoofed, real], [real], [("x-forwarded-for", b"10.0.0.5"), real]):
        call = caller.call(headers=headers, cover=())
        denied = guard.judge(evolve(incoming(call), transport_peer="10.0.0.1"))
        assert isinstance(denied, Denied)
        assert caller.refusal(call, received(denied)).code == "caveat-refused"
    call = caller.call(headers=[("x-forwarded-for", b"203.0.113.9, 10.7.7.7")], cover=())
    assert isinstance(guard.judge(evolve(incoming(call), transport_peer="10.0.0.1")), Denied)
    call = caller.call(headers=[("x-forwarded-for", b"10.7.7.7")], cover=())
    assert isinstance(guard.judge(evolve(incoming(call), transport_peer="10.0.0.1")), Admitted)
