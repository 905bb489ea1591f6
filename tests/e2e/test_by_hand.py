"""The commands of the documentation, typed by hand against a running realm: what they say, and how they end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from attrs import frozen

from tests.support.processes import REALM, Estate, eventually
from workshop.stage import Outcome, Stage

OK, USAGE, REFUSED, UNAVAILABLE = 0, 1, 3, 4


@pytest.fixture(scope="module")
def hand() -> Iterator[Estate]:
    """A realm made from nothing, with the programs alone. Every test leaves it as it was."""
    with Stage("orthros-e2e-") as stage:
        estate = Estate(stage)
        keys = estate.key_file("")
        init = estate.run(f"orthros-kdc init --realm {REALM} --data {{folder}}/kdc --listen 127.0.0.1:0").require()
        assert f"Realm {REALM} founded" in init.out
        estate.start_kdc()
        keys.mkdir(mode=0o700)
        for name in ("shop", "orders"):
            added = estate.admin(f"principal add {name} --out {keys}/{name}.key").require()
            assert f"principal {name}@{REALM} (uid " in added.out
            assert estate.key_file(f"{name}.key").stat().st_mode & 0o777 == 0o600
        allowed = estate.admin("policy allow shop orders --scope read --jwt").require()
        assert "rule 1: shop -> orders [read] (jwt)" in allowed.out
        assert "not the other way round" in allowed.out
        estate.start_daemon()
        yield estate


def test_ticket_by_hand(hand: Estate) -> None:
    ticket = hand.orthros("ticket orders --scope read").require()
    assert re.search(rf"^target +orders@{REALM}$", ticket.out, re.MULTILINE)
    assert re.search(r"^scopes +read$", ticket.out, re.MULTILINE)
    assert ticket.err == ""
    clamped = hand.orthros("ticket orders --scope read --scope admin").require()
    assert "Scope admin was not granted: the rules for this pair do not allow it." in clamped.out


def test_token_by_hand(hand: Estate) -> None:
    check(hand.orthros("token orders"), Expected(REFUSED, "jwt-not-enabled", "orthros-admin jwt enable"))
    hand.admin("jwt enable orders").require()
    # A refusal is remembered for a moment; asking for other scopes is another question.
    token = hand.orthros("token orders --scope read").require()
    assert re.fullmatch(r"(?:[\w-]+\.){2}[\w-]+\n", token.out, re.ASCII)
    listed = json.loads(hand.orthros("--output json list").require().out)
    assert (f"orders@{REALM}", "token") in {(row["target"], row["kind"]) for row in listed}
    hand.admin("jwt disable orders --yes").require()


def test_doctor_by_hand(hand: Estate) -> None:
    healthy = hand.orthros(f"doctor --keytab {hand.key_file('shop.key')} --target orders").require()
    lines = [re.split(r"  +", line) for line in healthy.out.splitlines()]
    assert {name for name, *_ in lines} >= {"socket", "daemon", "kdc", "clock", "key file"}
    assert {verdict for _, verdict, *_ in lines} == {"ok"}


@frozen
class Expected:
    exit_code: int
    code: str
    remedy: str


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ticket ledger", Expected(REFUSED, "not-granted", "orthros-admin policy allow shop")),
        # A target that does not exist is refused in the same words: nobody can list the realm by asking.
        ("ticket nobody", Expected(REFUSED, "not-granted", "orthros-admin policy allow shop")),
        ("ticket orders --scope admin", Expected(REFUSED, "no-scope-left", "orthros-admin policy explain")),
        ("token ledger", Expected(REFUSED, "not-granted", "orthros-admin policy allow shop")),
        ("ticket Orders", Expected(USAGE, "name-invalid", "lower-case letters")),
        ("ticket orders --scope 'not a scope'", Expected(USAGE, "scope-invalid", "at most 64 characters")),
        ("--socket {folder}/nobody.sock ticket orders", Expected(UNAVAILABLE, "daemon-unreachable", "orthros-daemon")),
    ],
    ids=lambda value: value if isinstance(value, str) else value.code,
)
def test_refusals_by_hand(hand: Estate, line: str, expected: Expected) -> None:
    check(hand.orthros(line), expected)


def test_refusals_as_json(hand: Estate) -> None:
    outcome = hand.orthros("--output json ticket ledger")
    said = json.loads(outcome.err)
    assert (outcome.code, outcome.out) == (REFUSED, "")
    assert said["error"] == "not-granted"
    assert said["cause"]
    assert said["remedy"]
    assert re.fullmatch(r"[0-9a-f]{16}", said["reference"])
    explained = hand.admin(f"explain {said['reference']}").require()
    assert "code: not-granted" in explained.out
    assert "next: orthros-admin policy explain shop ledger" in explained.out


def test_wrong_usage_by_hand(hand: Estate) -> None:
    programs = ("orthros", "orthros-admin", "orthros-kdc", "orthros-daemon")
    for outcome in hand.run_all([f"{program} no-such-command" for program in programs]):
        assert outcome.code == USAGE
        assert outcome.words[0] in outcome.err
        assert "Traceback" not in outcome.err


def test_disabled_principals_by_hand(hand: Estate) -> None:
    hand.orthros("ticket orders").require()
    hand.admin("principal disable orders").require()
    refused = hand.orthros("ticket orders --ttl 61")
    check(refused, Expected(UNAVAILABLE, "target-unavailable", "orthros-admin principal show"))
    assert "another ticket for this target" in refused.err, "what is held goes on until its end"
    hand.admin("principal enable orders").require()
    hand.admin("principal disable shop").require()
    check(hand.orthros("ticket orders --ttl 62"), Expected(REFUSED, "principal-disabled", "principal enable"))
    hand.admin("principal enable shop").require()
    eventually(lambda: hand.orthros("ticket orders --ttl 62").code == OK, "the daemon forgets the refusal")


def test_without_a_kdc_by_hand(hand: Estate) -> None:
    """What is held is served, everything else says that nobody can be asked."""
    hand.orthros("ticket orders --scope read").require()
    assert hand.kdc is not None
    hand.kdc.kill()
    hand.orthros("ticket orders --scope read").require()
    check(hand.orthros("--timeout 1 ticket orders --ttl 63"), Expected(UNAVAILABLE, "kdc-unreachable", "the KDC runs"))
    down = hand.orthros("status")
    assert down.code == UNAVAILABLE
    assert "kdc-unreachable" in down.out
    hand.start_kdc()


def check(outcome: Outcome, expected: Expected) -> None:
    """A refusal reads well: cause, remedy, code, exit code, and nothing else."""
    assert (outcome.code, outcome.out) == (expected.exit_code, ""), outcome
    lines = dict(line.split(":", 1) for line in outcome.err.splitlines())
    assert lines["code"].strip() == expected.code
    assert lines["orthros"].strip().endswith((".", ")"))  # what was seen this time follows the cause in parentheses
    assert expected.remedy in lines["remedy"]
    assert lines["remedy"].strip().endswith(".")
