"""A target needs no network to check a ticket, and no line of Orthros to check a JWT."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orthros_client import Credentials
from tests.support.processes import REALM, Dialogue, Estate, isolation

pytestmark = pytest.mark.parity("P1", "Z1")


PYTHON = (sys.executable, "-P")


ISOLATION = isolation()


@pytest.fixture
def verifier(running: Estate, programs: Path) -> Iterator[Dialogue]:
    key = running.key_file("orders.verify.key")
    with Dialogue(*ISOLATION, *PYTHON, programs / "verifier.py", "--offline", "--key", key) as dialogue:
        yield dialogue


def call(verifier: Dialogue, credentials: Credentials, payload: str = "{}") -> list[dict[str, Any]]:
    """One call with the repeats that the library allows; every answer of the verifier."""
    answers: list[dict[str, Any]] = []

    def send(request: bytes) -> bytes:
        answers.append(verifier.ask({"request": request.hex(), "endpoint": "orders/get", "payload": payload}))
        return bytes.fromhex(answers[-1]["reply"])

    credentials.call(send, "orders/get", payload.encode(), safe=True)
    return answers


def test_verifier_process_has_no_network(verifier: Dialogue) -> None:
    seen = verifier.ask({"network": "?"})
    assert not seen["sockets"]
    if ISOLATION:
        assert seen["interfaces"] == ["lo"]


@pytest.mark.parity("L5", "L10")
def test_ticket_is_accepted_without_a_network(running: Estate, verifier: Dialogue) -> None:
    """What the ticket carries in its sealed body is all that the service needs; nobody is asked."""
    ticket = running.client().credentials("orders")
    first, second = call(verifier, ticket)
    assert first["code"] == "epoch-required"
    assert second["code"] == "accepted"
    assert second["client"] == f"shop@{REALM}"
    assert second["scopes"] == ["read", "write"]
    (third,) = call(verifier, ticket)
    assert third["code"] == "accepted"


def test_bad_requests_are_refused_without_a_network(running: Estate, verifier: Dialogue) -> None:
    client = running.client()
    ticket = client.credentials("orders")
    call(verifier, ticket)
    request = ticket.authenticate("orders/get", b"{}").request
    question = {"request": request.hex(), "endpoint": "orders/get", "payload": "{}"}
    assert verifier.ask(question | {"request": request[:-1].hex() + "00"})["code"] in ("wrong-mac", "malformed")
    assert verifier.ask(question)["code"] == "accepted"
    assert verifier.ask(question)["code"] == "replayed"
    foreign = client.credentials("ledger").authenticate("orders/get", b"{}").request
    assert verifier.ask(question | {"request": foreign.hex()})["code"] == "unknown-key"


def check_with_stock_libraries(estate: Estate, programs: Path, token: str, **changes: Any) -> dict[str, Any]:
    given = {
        "token": token,
        "jwk": json.loads(estate.key_file("ledger.jwk").read_text()),
        "audience": f"ledger@{REALM}",
        "issuer": f"https://{REALM}",
    }
    ended = subprocess.run(
        [*PYTHON, programs / "stock_jwt.py"],
        input=json.dumps(given | changes),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    said: dict[str, Any] = json.loads(ended.stdout)
    assert said["orthros_modules"] == []
    return said


def test_token_is_accepted_by_stock_libraries(running: Estate, programs: Path) -> None:
    token = running.client().token("ledger")
    said = check_with_stock_libraries(running, programs, token.value)
    for library in ("pyjwt", "joserfc"):
        claims = said[library]["claims"]
        assert claims["sub"] == claims["client_id"] == f"shop@{REALM}"
        assert claims["scope"] == "post"
        assert claims["aud"] == f"ledger@{REALM}"
        assert 0 < claims["exp"] - claims["iat"] <= 300


@pytest.mark.parametrize(
    ("changes", "pyjwt", "joserfc"),
    [
        ({"audience": f"orders@{REALM}"}, "InvalidAudienceError", "InvalidClaimError"),
        ({"issuer": "https://other.test"}, "InvalidIssuerError", "InvalidClaimError"),
        ({"jwk": {"kty": "oct", "alg": "HS256", "k": "A" * 43}}, "InvalidSignatureError", "BadSignatureError"),
    ],
    ids=["audience", "issuer", "key"],
)
def test_token_is_refused_by_stock_libraries(
    running: Estate, programs: Path, changes: dict[str, Any], pyjwt: str, joserfc: str
) -> None:
    token = running.client().token("ledger")
    said = check_with_stock_libraries(running, programs, token.value, **changes)
    assert (said["pyjwt"]["refused"], said["joserfc"]["refused"]) == (pyjwt, joserfc)
