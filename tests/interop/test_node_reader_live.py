"""The reader in JavaScript speaks with the real programs: as a client of the KDC and of services, and as a service."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from attrs import define

from orthros_client import OrthrosError
from orthros_client.integrations.httpx_auth import OrthrosAuth, proven_of
from orthros_tools.admin.__main__ import main as orthros_admin
from tests.interop.house import ROOT
from tests.support.http_servers import await_open
from tests.support.peers import NODE_FOLDER, require
from tests.support.processes import REALM, Dialogue, Estate, Founded, found_realm, open_estate
from workshop.stage import Process
from workshop.wire import Wire, deliver

PROGRAMS = NODE_FOLDER / "reader" / "programs"
E2E_PROGRAMS = ROOT / "tests" / "e2e" / "programs"
SHOP = f"shop@{REALM}"
ORDERS = f"orders@{REALM}"
JSON = {"Content-Type": "application/json"}

Ask = Callable[..., dict[str, Any]]


@define(eq=False)
class Town:
    """A realm with its KDC and a daemon, and two services behind a wire each: one of Python, one of Node."""

    node: str
    founded: Founded
    estate: Estate
    python: Wire
    javascript: Wire

    @contextmanager
    def caller(self, key: str = "shop.key") -> Iterator[Ask]:
        """A client in Node, with a key file and the KDC's address and nothing else."""
        words = ("--key", self.estate.key_file(key), "--kdc", f"127.0.0.1:{self.estate.kdc_port}")
        with Dialogue(self.node, PROGRAMS / "caller.mjs", *words) as dialogue:
            yield lambda do, **given: dialogue.ask({"do": do, **given})

    @contextmanager
    def client(self, target: str = "orders", *, wire: Wire | None = None, **options: Any) -> Iterator[httpx.Client]:
        """The real client in front of a service of Node, which it takes for `target`."""
        origin = origin_of(wire or self.javascript)
        auth = OrthrosAuth({origin: target}, client=self.estate.client(), **options)
        with httpx.Client(auth=auth, base_url=origin, trust_env=False) as client:
            yield client


def administer(estate: Estate, *lines: str) -> None:
    for line in lines:
        assert orthros_admin(["--config", str(estate.config), "--quiet", *shlex.split(line)]) == 0


def origin_of(wire: Wire) -> str:
    return f"http://{wire.address}"


@contextmanager
def changing(wire: Wire, *, request: Any = None, reply: Any = None) -> Iterator[None]:
    """Somebody on the wire changes what passes."""
    wire.change_request, wire.change_reply = request, reply
    try:
        yield
    finally:
        wire.change_request = wire.change_reply = None


@contextmanager
def listening(wire: Wire) -> Iterator[list[bytes]]:
    """What the service answers meanwhile."""
    heard: list[bytes] = []

    def hear(reply: bytes) -> bytes:
        heard.append(reply)
        return reply

    with changing(wire, reply=hear):
        yield heard


def sent_ahead(wire: Wire) -> Callable[[bytes], bytes]:
    """Somebody on the wire sends a copy of each request ahead of it, and keeps the answer."""

    def send(request: bytes) -> bytes:
        deliver(wire.upstream, request)
        return request

    return send


def start_python_service(estate: Estate, wire: Wire) -> Process:
    example = (ROOT / "docs" / "examples" / "fastapi_service.py").read_text("utf-8")
    wanted = example.replace('"https://orders.example"', f'"{origin_of(wire)}"')
    assert wanted != example
    (estate.folder / "fastapi_service.py").write_text(wanted, encoding="utf-8")
    command = f"exec {sys.executable} -m uvicorn --port 0 --no-proxy-headers fastapi_service:app 2>&1"
    settings = {"ORTHROS_KEY_FILE": str(estate.key_file("orders.verify.key"))}
    service = estate.stage.start("orders", "sh", "-c", command, environ=settings, cwd=estate.folder)
    wire.upstream = f"127.0.0.1:{await_open(service)}"
    return service


def start_node_service(estate: Estate, node: str, wire: Wire) -> Process:
    words = ("--key", str(estate.key_file("orders.verify.key")), "--origin", origin_of(wire))
    service = estate.stage.start("node-orders", node, str(PROGRAMS / "target.mjs"), *words)
    wire.upstream = service.await_line(r"^ready at (\S+)$")[1]
    return service


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    node = require("node")
    with ExitStack() as stack:
        founded = found_realm(tmp_path_factory.mktemp("realm"))
        estate = stack.enter_context(open_estate(founded))
        python, javascript = (stack.enter_context(Wire()) for _ in range(2))
        estate.start_kdc()
        estate.start_daemon()
        start_python_service(estate, python)
        start_node_service(estate, node, javascript)
        yield Town(node, founded, estate, python, javascript)


@pytest.fixture
def shop(town: Town) -> Iterator[Ask]:
    """A client in Node that has logged in and has a ticket for orders."""
    with town.caller() as ask:
        assert "done" in ask("login")
        assert ask("ticket", target=ORDERS) == {"done": {"scopes": ["read", "write"]}}
        yield ask


# The exchanges with the KDC.


def test_node_logs_in_and_gets_tickets(town: Town) -> None:
    with town.caller() as ask:
        told = ask("login")["done"]
        assert told["client"] == "shop"
        assert 0 < told["ttl_s"] <= 86_400
        wants = [
            {"kind": 0, "target": f"{name}@{REALM}", "scopes": scopes, "ttl_s": 0, "flags": 0}
            for name, scopes in (("orders", ["read"]), ("nobody", None), ("ledger", None))
        ]
        assert ask("ask", wants=wants)["done"] == [
            {"target": ORDERS, "scopes": ["read"]},
            {"target": f"nobody@{REALM}", "code": "not-granted"},
            {"target": f"ledger@{REALM}", "scopes": ["post"]},
        ]


def test_node_gets_a_short_ticket_for_the_keys_of_its_own(town: Town) -> None:
    with town.caller() as ask:
        keys, tgt, again = ask("initial", services=["kdc/keys", "kdc/tgt", "kdc/keys"])["done"]
        assert (keys["type"], keys["realm"], keys["service"]) == (2, REALM, "kdc/keys")
        assert 0 < keys["ttl_s"] <= 120 < tgt["ttl_s"]
        assert (tgt["type"], tgt["service"], again) == (1, "kdc/tgt", keys)  # in the order of the requests


def test_node_gets_a_token_in_its_one_form(town: Town) -> None:
    """Header and claims are canonical JSON, so the reader can compare them with its own writing."""
    jwk = json.loads(town.estate.key_file("ledger.jwk").read_text("utf-8"))
    given = {"target": f"ledger@{REALM}", "jwk": jwk, "aud": f"ledger@{REALM}", "iss": f"https://{REALM}"}
    with town.caller() as ask:
        ask("login")
        claims = ask("token", **given)["done"]
        assert (claims["client_id"], claims["sub"], claims["scope"]) == (SHOP, SHOP, "post")
        assert claims["exp"] - claims["iat"] == 300
        assert re.fullmatch(r"[1-9][0-9]*\.[A-Za-z0-9_-]{22}", claims["kdc"])
        assert ask("token", **given | {"aud": ORDERS})["refused"] == "token-for-another"
        assert ask("token", **given | {"jwk": jwk | {"k": 43 * "A"}})["refused"] == "wrong-mac"
        assert ask("token", **given | {"jwk": jwk | {"kid": "other"}})["refused"] == "unknown-key"


def test_node_reads_why_the_kdc_refuses(town: Town) -> None:
    """Under seal with the key that made the request, and otherwise without a word."""
    with town.caller() as ask:
        refused = ask("initial", services=["orders"])
        assert (refused["refused"], refused["stage"]) == ("unknown-service", "refused-by-peer")
    renewed = town.estate.key_file("spy.new.key")
    administer(town.estate, f"key rotate spy --out {renewed}", "key activate spy", "key retire spy 1")
    with town.caller("spy.key") as ask:
        refused = ask("login")
        assert (refused["refused"], refused["stage"]) == ("key-retired", "refused-by-peer")
    with town.caller("spy.new.key") as ask:
        assert ask("login")["done"]["client"] == "spy"
    with open_estate(town.founded) as elsewhere:  # a copy of the realm, in which a principal is added
        administer(elsewhere, f"principal add stranger --out {town.estate.key_file('stranger.key')}")
    with town.caller("stranger.key") as ask:
        refused = ask("login")
        assert (refused["refused"], refused["stage"]) == ("unauthenticated-refusal", "nak")


# Node calls a service of Python.


@pytest.mark.parity("O10")
def test_node_calls_a_python_service_that_it_never_met(town: Town) -> None:
    """A POST names no epoch at first contact, so it ran nowhere when it is repeated with the one that it is told."""
    with town.caller() as ask:
        ask("login")
        ask("ticket", target=ORDERS)
        order = {"method": "POST", "path": "/orders", "headers": JSON, "body": '{"item": 7}'}
        posted = ask("http", target=ORDERS, origin=origin_of(town.python), **order)["done"]
        assert (posted["status"], posted["attempts"]) == (200, ["epoch-required"])
        assert json.loads(posted["body"])["placed"] == {"item": 7}
        got = ask("http", target=ORDERS, origin=origin_of(town.python), method="GET", path="/orders/7?view=brief")
        assert (got["done"]["status"], got["done"]["attempts"]) == (200, [])
        assert json.loads(got["done"]["body"]) == {"order": 7, "for": SHOP}


def test_node_believes_a_proven_refusal_of_the_application(town: Town) -> None:
    with town.caller() as ask:
        ask("login")
        assert ask("ticket", target=ORDERS, scopes=["read"])["done"] == {"scopes": ["read"]}
        order = {"method": "POST", "path": "/orders", "headers": JSON, "body": "{}"}
        refused = ask("http", target=ORDERS, origin=origin_of(town.python), **order)["done"]
        assert (refused["status"], refused["code"]) == (403, "insufficient-scope")
        lost = ask("http", target=ORDERS, origin=origin_of(town.python), method="GET", path="/nowhere")["done"]
        assert (lost["status"], lost["code"]) == (404, None)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda request: request.replace(b"/orders/7", b"/orders/9"), "wrong-binding"),
        (lambda request: request.replace(b"GET ", b"PUT "), "wrong-binding"),
        (lambda request: request.replace(b'r="ksU', b'r="ksV'), "response-unproven"),
    ],
    ids=["path", "method", "message"],
)
def test_python_refuses_what_of_node_was_changed(town: Town, shop: Ask, change: Any, code: str) -> None:
    get = {"target": ORDERS, "origin": origin_of(town.python), "method": "GET", "path": "/orders/7"}
    assert "done" in shop("http", **get)
    assert change(town.python.sent[-1]) != town.python.sent[-1]
    with changing(town.python, request=change):
        assert shop("http", **get)["refused"] == code


def test_python_refuses_a_body_of_node_that_was_changed(town: Town, shop: Ask) -> None:
    order = {"target": ORDERS, "origin": origin_of(town.python), "method": "POST", "path": "/orders", "headers": JSON}
    assert "done" in shop("http", **order, body='{"item": 7}')
    with changing(town.python, request=lambda request: request.replace(b'{"item": 7}', b'{"item": 9}')):
        refused = shop("http", **order, body='{"item": 7}')["done"]
    assert (refused["status"], refused["code"]) == (400, "body-mismatch")


def test_python_refuses_a_second_copy_of_what_node_sent(town: Town, shop: Ask) -> None:
    get = {"target": ORDERS, "origin": origin_of(town.python), "method": "GET", "path": "/orders/7"}
    assert "done" in shop("http", **get)
    again = deliver(town.python.upstream, town.python.sent[-1])
    assert (again.status, json.loads(again.body)["code"]) == (401, "replayed")
    with changing(town.python, request=sent_ahead(town.python)):
        refused = shop("http", **get)
    assert (refused["refused"], refused["stage"]) == ("replayed", "refused-by-peer")


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: reply.replace(b'"order":7', b'"order":9'),
        lambda reply: reply.replace(b"200 OK", b"202 OK"),
        lambda reply: reply.replace(b"application/json", b"application/yaml"),
        lambda reply: reply.replace(b"rthros-reply:", b"rthros-answer:").replace(b"rthros-Reply:", b"rthros-Answer:"),
    ],
    ids=["body", "status", "covered field", "no proof"],
)
def test_node_believes_no_changed_response_of_python(town: Town, shop: Ask, change: Any) -> None:
    get = {"target": ORDERS, "origin": origin_of(town.python), "method": "GET", "path": "/orders/7"}
    with listening(town.python) as heard:
        assert "done" in shop("http", **get)
    assert change(heard[-1]) != heard[-1]
    with changing(town.python, reply=change):
        assert shop("http", **get)["refused"] == "response-unproven"


# The AP exchange by itself.


def test_node_makes_an_exchange_with_a_python_verifier(town: Town, shop: Ask) -> None:
    key = town.estate.key_file("orders.verify.key")
    about = {"endpoint": "orders/get", "payload": "{}"}
    with Dialogue(sys.executable, "-P", E2E_PROGRAMS / "verifier.py", "--key", key, "--replay", "memory") as verifier:

        def exchange(**request: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            made = shop("raw", target=ORDERS, **about | request)["done"]["request"]
            said = verifier.ask({"request": made, **about})
            return said, shop("open", request=made, reply=said["reply"])

        said, opened = exchange()
        assert (said["code"], opened["refused"]) == ("epoch-required", "epoch-required")
        epoch = opened["epoch"]
        said, opened = exchange(epoch=epoch)
        assert (said["code"], said["client"], said["scopes"]) == ("accepted", SHOP, ["read", "write"])
        assert opened == {"done": {"epoch": epoch}}
        said, opened = exchange(epoch=epoch, payload="{ }")
        assert (said["code"], opened["refused"]) == ("wrong-binding", "wrong-binding")

        made = shop("raw", target=ORDERS, epoch=epoch, **about)["done"]["request"]
        first, second = (verifier.ask({"request": made, **about}) for _ in range(2))
        assert (first["code"], second["code"]) == ("accepted", "replayed")
        other = shop("raw", target=ORDERS, epoch=epoch, **about)["done"]["request"]
        assert shop("open", request=other, reply=first["reply"])["refused"] == "wrong-mac"


# The real client calls a service of Node.


@pytest.mark.parity("O10")
def test_orthros_call_calls_a_node_service(town: Town) -> None:
    line = f"""call -v --target orders --json '{{"item": 7}}' {origin_of(town.javascript)}/orders?view=brief"""
    posted = town.estate.orthros(line.replace("{", "{{").replace("}", "}}")).require()
    assert json.loads(posted.out) == {
        "client": SHOP, "scopes": ["read", "write"], "target": "/orders?view=brief", "body": '{"item": 7}',
    }  # fmt: skip
    assert f"proven by {ORDERS}: status, content-type, body" in posted.err


def test_httpx_calls_a_node_service(town: Town) -> None:
    with town.client() as client:
        got = client.get("/orders/7?view=brief")
        posted = client.post("/orders", json={"item": 7})
    assert (got.status_code, got.json()["target"], got.json()["body"]) == (200, "/orders/7?view=brief", "")
    assert (posted.status_code, posted.json()["client"]) == (200, SHOP)
    assert json.loads(posted.json()["body"]) == {"item": 7}
    assert proven_of(posted) is not None


def test_a_node_service_refuses_a_second_copy(town: Town) -> None:
    with town.client() as client:
        assert client.post("/orders", json={"item": 7}).status_code == 200
        again = deliver(town.javascript.upstream, town.javascript.sent[-1])
        assert (again.status, json.loads(again.body)) == (401, {"code": "replayed"})
        with changing(town.javascript, request=sent_ahead(town.javascript)), pytest.raises(OrthrosError) as raised:
            client.post("/orders", json={"item": 7})
        assert raised.value.code == "maybe-executed"


def test_a_node_service_tells_its_epoch_at_first_contact(town: Town) -> None:
    """A client that knows no epoch names none, and repeats what ran nowhere with the one that it is told."""
    with Wire() as wire:
        start_node_service(town.estate, town.node, wire)
        with town.client(wire=wire) as client:
            assert client.post("/orders", json={"item": 7}).status_code == 200
            assert len(wire.sent) == 2
            assert client.post("/orders", json={"item": 7}).status_code == 200
            assert len(wire.sent) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda request: request.replace(b"/orders/7", b"/orders/9"),
        lambda request: request.replace(b"?view=brief", b"?view=audit"),
        lambda request: request.replace(b"dempotency-Key: a7", b"dempotency-Key: a9"),
        lambda request: request.replace(b"GET ", b"PUT "),
    ],
    ids=["path", "query", "covered field", "method"],
)
def test_a_node_service_refuses_a_changed_request_under_proof(town: Town, change: Any) -> None:
    with town.client() as client:

        def get() -> httpx.Response:
            return client.get("/orders/7?view=brief", headers={"Idempotency-Key": "a7"})

        assert get().status_code == 200
        with changing(town.javascript, request=change), pytest.raises(OrthrosError) as raised:
            get()
        assert raised.value.code == "wrong-binding"


def test_a_node_service_refuses_a_changed_body_and_proves_that(town: Town) -> None:
    with town.client() as client:
        assert client.post("/orders", content=b"item 7").status_code == 200
        with changing(town.javascript, request=lambda request: request.replace(b"item 7", b"item 9")):
            refused = client.post("/orders", content=b"item 7")
    assert (refused.status_code, refused.json()) == (400, {"code": "body-mismatch"})
    assert proven_of(refused) is not None


def test_a_node_service_names_a_scope_that_is_lacking(town: Town) -> None:
    with town.client(scopes=["read"]) as client:
        assert client.get("/orders/7").status_code == 200
        refused = client.post("/orders", json={"item": 7})
    assert (refused.status_code, refused.json()) == (403, {"code": "insufficient-scope"})
    assert proven_of(refused) is not None


def test_a_node_service_does_not_answer_for_another(town: Town) -> None:
    """A ticket under a key that it does not hold: it can prove nothing, and the client believes nothing."""
    with town.client("ledger") as client, pytest.raises(OrthrosError) as raised:
        client.get("/orders/7")
    assert raised.value.code == "response-unproven"
    again = deliver(town.javascript.upstream, town.javascript.sent[-1])
    assert (again.status, json.loads(again.body)) == (401, {"code": "unknown-key"})
    bare = deliver(town.javascript.upstream, b"GET /orders/7 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (bare.status, json.loads(bare.body)) == (401, {"code": "credentials-missing"})


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: reply.replace(rb'"target":"/orders/7"', rb'"target":"/orders/9"'),
        lambda reply: reply.replace(b"200 OK", b"202 OK"),
        lambda reply: reply.replace(b"application/json", b"application/yaml"),
        lambda reply: reply.replace(b"orthros-reply:", b"orthros-other:"),
    ],
    ids=["body", "status", "covered field", "no proof"],
)
def test_the_client_believes_no_changed_response_of_node(town: Town, change: Any) -> None:
    with town.client() as client:
        with listening(town.javascript) as heard:
            assert client.get("/orders/7").status_code == 200
        assert change(heard[-1]) != heard[-1]
        with changing(town.javascript, reply=change), pytest.raises(OrthrosError) as raised:
            client.get("/orders/7")
        assert raised.value.code == "response-unproven"
