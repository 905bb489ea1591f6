"""An HTTP service and `orthros call`, typed by hand: what they say, how they end, and what a thief is told."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator

import pytest
from attrs import frozen

from tests.docs.pages import ROOT
from tests.support.http_servers import await_open
from tests.support.processes import REALM, Estate, eventually
from workshop.stage import Outcome, Process, Stage
from workshop.wire import Wire

pytestmark = pytest.mark.stories

OK, USAGE, UNPROVEN, REFUSED, UNAVAILABLE = range(5)
WORKERS = 2
MOST_TRIES = 30
SERVICE = "fastapi_service"
GET = "/orders/7"
POST = """--json '{"item": 7}' /orders"""


@frozen
class Street:
    """A realm with its daemon, a service of two workers, and somebody between the two."""

    hand: Estate
    wire: Wire
    orders: Process

    @property
    def origin(self) -> str:
        return f"http://{self.wire.address}"

    def call(self, words: str, *, host: str = "shop", target: str = "orders") -> Outcome:
        """`orthros call`, in front of the daemon of one host; a path alone is one of the service's."""
        typed = [f"{self.origin}{word}" if word.startswith("/orders") else word for word in shlex.split(words)]
        socket = f"unix://{self.hand.folder}/{host}.sock"
        return self.hand.stage.run("orthros", "call", "--target", target, *typed, environ={"ORTHROS_SOCKET": socket})

    def curl(self, request: bytes) -> tuple[int, dict[str, str]]:
        """A captured request, sent again with curl as it was sent: to the service itself, on a new connection."""
        head, _, body = request.partition(b"\r\n\r\n")
        line, *headers = head.decode("ascii").split("\r\n")
        method, target, _version = line.split(" ")
        # curl writes these two itself, and the rest as it is given.
        lines = [header for header in headers if not header.lower().startswith(("content-length", "connection"))]
        words = [word for header in lines for word in ("-H", header)]
        if body:
            words += ["--data-binary", body.decode("ascii")]
        url = f"http://{self.wire.upstream}{target}"
        outcome = self.hand.stage.run("curl", "-s", "-w", "\n%{http_code}", "-X", method, *words, url).require()
        told, _, status = outcome.out.rpartition("\n")
        return int(status), json.loads(told)


@pytest.fixture(scope="module")
def street() -> Iterator[Street]:
    """Everything from nothing, with the programs alone; the service is the example of the documentation."""
    with Stage("orthros-e2e-") as stage, Wire() as wire:
        hand = Estate(stage)
        keys = hand.key_file("")
        hand.run(f"orthros-kdc init --realm {REALM} --data {{folder}}/kdc --listen 127.0.0.1:0").require()
        hand.start_kdc()
        keys.mkdir(mode=0o700)
        for name in ("shop", "reports"):
            hand.admin(f"principal add {name} --out {keys}/{name}.key").require()
        for name in ("orders", "ledger"):
            added = f"principal add {name} --out {keys}/{name}.key --verify-only-out {keys}/{name}.verify.key"
            hand.admin(added).require()
        for rule in ("shop orders --scope read --scope write", "reports orders --scope read", "shop ledger"):
            hand.admin(f"policy allow {rule}").require()
        for name in ("shop", "reports"):
            hand.start_daemon(name)
        yield Street(hand, wire, start_service(hand, wire))


def start_service(hand: Estate, wire: Wire) -> Process:
    example = (ROOT / "docs" / "examples" / f"{SERVICE}.py").read_text("utf-8")
    assert "https://orders.example" in example
    wanted = example.replace('"https://orders.example"', f'"http://{wire.address}"')
    (hand.folder / f"{SERVICE}.py").write_text(wanted, encoding="utf-8")
    # It writes its log to standard error, and the stage awaits lines of standard output.
    command = (
        f"exec {sys.executable} -m uvicorn --workers {WORKERS} --port 0 --no-proxy-headers fastapi_service:app 2>&1"
    )
    settings = {"ORTHROS_KEY_FILE": str(hand.key_file("orders.verify.key"))}
    orders = hand.stage.start("orders", "sh", "-c", command, environ=settings, cwd=hand.folder)
    eventually(lambda: orders.text().count("Application startup complete") == WORKERS, "all workers serve")
    wire.upstream = f"127.0.0.1:{await_open(orders)}"
    return orders


def test_get_and_post_by_hand(street: Street) -> None:
    got = street.call(GET).require()
    assert (json.loads(got.out), got.err) == ({"order": 7, "for": f"shop@{REALM}"}, "")
    posted = street.call(POST).require()
    assert json.loads(posted.out)["placed"] == {"item": 7}
    told = street.call(f"-v {GET}").require()
    assert re.search(rf"^\* proven by orders@{REALM}: status, content-type, body", told.err, re.MULTILINE)


@pytest.mark.parametrize(("words", "accepted"), [(GET, b"GET"), (POST, b"POST")], ids=["get", "post"])
def test_a_captured_request_is_dead_at_both_workers(street: Street, words: str, accepted: bytes) -> None:
    """The very bytes that were accepted, sent again with curl until both workers have had them."""
    street.call(words).require()
    captured = street.wire.sent[-1]
    assert captured.startswith(accepted)
    found: dict[str, dict[str, str]] = {}
    for _ in range(MOST_TRIES):
        status, told = street.curl(captured)
        assert status == 401, told
        found[told["code"]] = told
    assert set(found) == {"replayed"}  # the workers share what they have seen
    replayed = found["replayed"]
    assert replayed["error_description"] == "This exact request was presented before, or it is too old to tell."
    assert "captured traffic is being replayed" in replayed["remedy"]
    for told in found.values():
        assert re.fullmatch(r"[0-9a-f]{16}", told["reference"])
        assert told["reference"] in street.orders.text() + street.orders.errors(), "the operator finds it in the log"


def test_a_request_that_is_changed_on_its_way_is_refused_in_words(street: Street) -> None:
    street.wire.change_request = lambda request: request.replace(b"?view=brief", b"?view=audit")
    try:
        outcome = street.call(f"{GET}?view=brief")
    finally:
        street.wire.change_request = None
    assert (outcome.code, outcome.out) == (REFUSED, "")
    assert lines_of(outcome)["code"] == "wrong-binding"
    assert "what was signed with what was received" in lines_of(outcome)["remedy"]


def test_a_scope_that_is_lacking_is_named(street: Street) -> None:
    refused = street.call(POST, host="reports")
    told = json.loads(refused.require().out)
    assert (told["error"], told["scope"], told["code"]) == ("insufficient_scope", "write", "insufficient-scope")
    assert f"reports@{REALM} lacks write" in told["error_description"]
    assert "`orthros-admin policy allow reports orders --scope write` grants the scope" in told["remedy"]
    failed = street.call(f"--fail {POST}", host="reports")
    assert (failed.code, failed.out) == (REFUSED, "")
    assert failed.err == "orthros: the target answered 403 Forbidden\n"


def test_another_target_cannot_prove_itself(street: Street) -> None:
    """The name is a mistake, or the address is; either way nothing that comes back is shown."""
    outcome = street.call(GET, target="ledger")
    assert (outcome.code, outcome.out) == (UNPROVEN, "")
    assert lines_of(outcome)["code"] == "response-unproven"
    nobody = street.call(GET, target="payroll")
    assert (nobody.code, lines_of(nobody)["code"]) == (REFUSED, "not-granted")
    assert "orthros-admin policy allow shop payroll" in lines_of(nobody)["remedy"]
    unnamed = street.hand.orthros(f"call {street.origin}/orders/7")
    assert (unnamed.code, lines_of(unnamed)["code"]) == (USAGE, "origin-unknown")
    assert "--target" in unnamed.err


@pytest.mark.parity("L11")
def test_a_changed_answer_is_not_shown(street: Street) -> None:
    """The answer is bound to the request, and so is a file that is written from it."""
    street.wire.change_reply = lambda reply: reply.replace(b'"order":7', b'"order":9')
    try:
        outcome = street.call(f"{GET} -o {street.hand.folder}/answer")
    finally:
        street.wire.change_reply = None
    assert (outcome.code, outcome.out) == (UNPROVEN, "")
    assert lines_of(outcome)["code"] == "response-unproven"
    assert not (street.hand.folder / "answer").exists()


def test_a_service_that_is_down_is_told_in_words(street: Street) -> None:
    street.orders.stop()
    outcome = street.call(f"http://{street.wire.upstream}/orders/7")
    assert (outcome.code, outcome.out) == (UNAVAILABLE, "")
    assert lines_of(outcome)["code"] == "target-unreachable"
    assert "Connection refused" in lines_of(outcome)["orthros"]
    assert "that the target runs" in lines_of(outcome)["remedy"]


def lines_of(outcome: Outcome) -> dict[str, str]:
    return {name: text.strip() for name, text in (line.split(":", 1) for line in outcome.err.splitlines())}
