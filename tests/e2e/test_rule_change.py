"""A change of rules reaches a process that is running: no restart, at its next call but one; and what can be done by
hand about tickets that the daemon holds."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from orthros_client import TargetRefusal
from orthros_client.integrations.httpx_auth import OrthrosAuth, proven_of
from tests.docs.pages import ROOT
from tests.support.http_servers import await_open
from tests.support.ports import free_port
from tests.support.processes import REALM, Dialogue, Estate, eventually

pytestmark = pytest.mark.stories

ORDER = {"item": 7}
NOT_FOUND = 5


@pytest.fixture
def hand(estate: Estate) -> Estate:
    """shop may read and write at orders."""
    estate.start_kdc()
    estate.start_daemon()
    return estate


@contextmanager
def raw_service(hand: Estate, programs: Path) -> Iterator[Callable[[str], str]]:
    """Calls to a verifier that requires a scope, from this process: "accepted", or what the refusal says."""
    key = hand.key_file("orders.verify.key")
    with Dialogue(sys.executable, "-P", programs / "verifier.py", "--key", key, "--replay", "memory") as service:

        def call(scope: str) -> str:
            def send(request: bytes) -> bytes:
                question = {"request": request.hex(), "endpoint": "orders", "payload": "{}", "require": [scope]}
                return bytes.fromhex(service.ask(question)["reply"])

            try:
                hand.client().credentials("orders").call(send, "orders", b"{}")
            except TargetRefusal as refusal:
                return refusal.remedy if refusal.code == "insufficient-scope" else refusal.code
            return "accepted"

        yield call


def scopes_held(hand: Estate) -> list[str]:
    listed = json.loads(hand.orthros("--output json list").require().out)
    return [" ".join(row["scopes"]) for row in listed if row["target"] == f"orders@{REALM}"]


def test_the_next_call_but_one_passes(hand: Estate, programs: Path) -> None:
    """Raw calls. The first refusal says what will happen, in commands that can be pasted."""
    with raw_service(hand, programs) as call:
        assert call("read") == "accepted"
        hand.admin("policy allow shop orders --scope refund").require()
        said = call("refund")
        assert said.startswith("If a rule was changed a moment ago, the next call works: the daemon has ")
        assert "`orthros-admin policy allow shop orders --scope refund`" in said
        assert call("refund") == "accepted"


def test_without_a_new_rule_the_refusal_names_the_command_that_makes_one(hand: Estate, programs: Path) -> None:
    with raw_service(hand, programs) as call:
        assert call("read") == "accepted"
        said = call("refund")
        assert said.startswith("The daemon has just asked the KDC again, and the rules grant no more than this ticket.")
        command = said.partition("`orthros-admin ")[2].partition("`")[0]
        assert command == "policy allow shop orders --scope refund"
        hand.admin(command).require()
        # The KDC is asked once in 10 s for a target: the next refusal says when.
        again = call("refund")
        assert again == "accepted" or "If a rule was changed a moment ago, " in again
        eventually(lambda: call("refund") == "accepted", "the new rule")


def test_over_http_a_proven_403_is_as_good(hand: Estate) -> None:
    """The service refuses with its own response, which is proven: httpx hands it out, and the daemon hears of it."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    example = (ROOT / "docs" / "examples" / "fastapi_service.py").read_text("utf-8")
    wanted = example.replace("https://orders.example", origin).replace('require("write")', 'require("refund")')
    (hand.folder / "fastapi_service.py").write_text(wanted, encoding="utf-8")
    words = f"exec {sys.executable} -m uvicorn --port {port} --no-proxy-headers fastapi_service:app 2>&1"
    settings = {"ORTHROS_KEY_FILE": str(hand.key_file("orders.verify.key"))}
    service = hand.stage.start("orders", "sh", "-c", words, environ=settings, cwd=hand.folder)
    await_open(service)
    with httpx.Client(auth=OrthrosAuth({origin: "orders"}, client=hand.client())) as client:
        assert client.get(f"{origin}/orders/7").status_code == 200
        hand.admin("policy allow shop orders --scope refund").require()
        refused = client.post(f"{origin}/orders", json=ORDER)
        assert (refused.status_code, refused.json()["code"]) == (403, "insufficient-scope")
        assert proven_of(refused) is not None
        assert "If a rule was changed a moment ago, call again" in refused.json()["remedy"]
        assert "orthros-admin policy allow shop orders --scope refund" in refused.json()["remedy"]
        assert client.post(f"{origin}/orders", json=ORDER).json()["placed"] == ORDER


def test_renew_and_forget_by_hand(hand: Estate) -> None:
    """What was renewed until when, what was forgotten, and what is not there."""
    hand.orthros("ticket orders").require()
    hand.orthros("ticket ledger").require()
    hand.admin("policy allow shop orders --scope refund").require()
    renewed = hand.orthros("renew orders").require()
    assert renewed.out.splitlines()[0].split() == ["TARGET", "KIND", "ASKED", "SCOPES", "EXPIRES", "RESULT"]
    assert f"orders@{REALM}" in renewed.out
    assert "read write refund" in renewed.out
    assert renewed.out.rstrip().endswith("renewed")
    assert scopes_held(hand) == ["read write refund"]
    everything = json.loads(hand.orthros("--output json renew").require().out)
    assert {row["target"]: row["result"] for row in everything} == {
        f"ledger@{REALM}": "renewed", f"orders@{REALM}": "renewed",
    }  # fmt: skip
    forgotten = hand.orthros("forget orders").require()
    assert forgotten.out.splitlines()[1].split() == ["orders", "1", "0"]
    assert scopes_held(hand) == []
    missing = hand.orthros("renew orders")
    assert missing.code == NOT_FOUND
    assert "orthros ticket orders" in missing.err
    hand.admin("policy deny shop ledger").require()
    failed = hand.orthros("renew ledger")
    assert failed.code == 3
    assert "not-granted" in failed.out
    assert f"ledger@{REALM}" in hand.orthros("list").require().out


def test_sighup_drops_nothing_and_asks_again(hand: Estate) -> None:
    hand.orthros("ticket orders").require()
    hand.admin("policy allow shop orders --scope refund").require()
    assert scopes_held(hand) == ["read write"]
    hand.daemons["shop"].popen.send_signal(signal.SIGHUP)
    eventually(lambda: scopes_held(hand) == ["read write refund"], "the new rule")


def test_a_cache_file_does_not_revive_old_rules(hand: Estate, programs: Path) -> None:
    """The daemon that is started again asks again; with a KDC that is away it goes on with what it has."""
    with raw_service(hand, programs) as call:
        assert call("read") == "accepted"
        daemon = hand.daemons["shop"]
        daemon.popen.send_signal(signal.SIGTERM)
        assert daemon.ends(60.0)
        hand.admin("policy allow shop orders --scope refund").require()
        hand.start_daemon()
        eventually(lambda: scopes_held(hand) == ["read write refund"], "the new rule")
        assert hand.kdc is not None
        hand.kdc.popen.send_signal(signal.SIGTERM)
        assert hand.kdc.ends(60.0)
        hand.daemons["shop"].popen.send_signal(signal.SIGTERM)
        assert hand.daemons["shop"].ends(60.0)
        hand.start_daemon()
        assert scopes_held(hand) == ["read write refund"]
        eventually(lambda: call("refund") == "accepted", "the ticket from the file")
