"""An attacker against the testing kit: no production service can be talked into taking the tickets of a test.

What this rests on: the kit acts only in a process that runs its code, its keys are random, and they leave it nowhere.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from orthros_client import Verifier
from orthros_client.errors import LocalMisuse, Misconfigured, PeerMisbehaved
from orthros_client.integrations.asgi import OrthrosMiddleware
from orthros_client.testing import TestRealm
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.testing import InMemoryRealm

ROOT = Path(__file__).parents[2]
ORIGIN = "https://orders.example"


async def served(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"let in"})


def production(tmp_path: Path) -> Verifier:
    """A service with a key file of a realm that bears the name of the tests' realms, on the clock of the machine."""
    realm = InMemoryRealm()
    realm.add("orders").verify_only().save(tmp_path / "orders.key")
    return Verifier.from_file(tmp_path / "orders.key", replay="memory")


def test_a_test_ticket_opens_no_production_service(tmp_path: Path) -> None:
    """With a real key, in the same process, while a test realm of the same name runs, and under the same names."""
    with TestRealm("orders") as realm:
        app = OrthrosMiddleware(served, verifier=production(tmp_path), origins=[ORIGIN])
        refusal = realm.client(app, "shop", scopes=["admin"]).refusal("GET", "/")
    assert (refusal.status, refusal.is_proven) == (401, False)


def test_two_test_realms_do_not_open_each_others_services() -> None:
    one, other = TestRealm("orders"), TestRealm("orders")
    verifier = other.verifier()
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        verifier.accept(one.credentials("shop").present(bind_raw("x")).request, "x")


def test_a_production_service_under_a_test_realm_fails_closed() -> None:
    """If a process runs the kit by mistake, real tickets are refused, and nobody outside can make others."""
    real = InMemoryRealm()
    for name in ("shop", "orders"):
        real.add(name)
    issued = real.issue("shop", "orders")
    with TestRealm("orders") as realm:
        mistaken = Verifier.from_environment()
        shown = realm.credentials("shop").present(bind_raw("x")).request
        assert issued.ticket not in shown
        with pytest.raises(PeerMisbehaved, match="unknown-key"):
            mistaken._open(issued.ticket, b"")


def keys() -> set[bytes]:
    keytab: Keytab = TestRealm()._tickets.keytab("orders")
    return {keytab.to_text().encode(), keytab.verify_only().to_text().encode()}


def test_keys_are_new_each_time() -> None:
    """In this process, and in two that are alike to the last variable: nothing of a key can be guessed or repeated."""
    assert not keys() & keys()
    script = "from orthros_client.testing import *; print(TestRealm()._tickets.keytab('orders').to_text())"
    environ = os.environ | {"PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": "0"}
    said = {
        subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, check=True).stdout
        for _time in range(2)
    }
    assert len(said) == 2


WORDS = ("TEST", "TESTING", "DEBUG", "DEV", "MODE", "REALM", "SERVICE", "INSECURE", "KEYS", "TEST_KEYS", "TEST_REALM")


def test_no_variable_switches_it_on() -> None:
    """A service without a key does not start, whatever the environment says: of tests, of this kit, of pytest."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ORTHROS")}
    environ |= {f"ORTHROS_{word}": "1" for word in WORDS}
    environ |= {"PYTEST_CURRENT_TEST": "test_orders.py::test_it (call)", "PYTEST_VERSION": "9", "CI": "true"}
    environ |= {
        "PYTEST_PLUGINS": "orthros_client.testing.fixtures",
        "PYTEST_ADDOPTS": "-p orthros_client.testing.fixtures",
    }
    script = (
        "import sys\n"
        "from orthros_client.integrations import asgi, wsgi, flask, starlette, httpx_auth, requests_auth\n"
        "from orthros_client import Verifier, Client, OrthrosError\n"
        "assert not [name for name in sys.modules if name.startswith('orthros_client.testing')], 'imported'\n"
        "try:\n    Verifier.from_environment()\n"
        "except OrthrosError as error:\n    print(error.code)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True)
    assert said.stdout == "key-missing\n"


def test_to_import_it_changes_nothing() -> None:
    """Only `start` does."""
    script = (
        "import httpx, requests\n"
        "from orthros_client import Verifier, Client, AsyncClient, OrthrosError\n"
        "def seen():\n"
        "    return [vars(Verifier)['from_environment'], Client.credentials, AsyncClient.credentials, Client.token,\n"
        "            httpx.HTTPTransport.handle_request, requests.adapters.HTTPAdapter.send]\n"
        "before = seen()\n"
        "import orthros_client.testing, orthros_client.testing.fixtures\n"
        "realm = orthros_client.testing.TestRealm('orders')\n"
        "print(before == seen())\n"
        "realm.start(); print(before == seen())\n"
        "realm.stop(); print(before == seen())\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True", "False", "True"]


def test_no_pytest_of_the_machine_loads_it_by_itself() -> None:
    """An entry point would: then every test run beside an installed Orthros would have services with test keys."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "entry-points" not in project
    assert not [script for script in project["scripts"].values() if "testing" in script]


def test_a_realm_that_was_not_started_gives_no_service_a_key() -> None:
    TestRealm("orders")
    with pytest.raises(Misconfigured, match="key-missing"):
        OrthrosMiddleware(served, origins=[ORIGIN])
    with pytest.raises(LocalMisuse, match="no test realm runs"):
        TestRealm.current()


def test_no_key_is_shown() -> None:
    with TestRealm("orders") as realm:
        app = OrthrosMiddleware(served, origins=[ORIGIN])
        client = realm.client(app, "shop", scopes=["read"])
        client.get("/")
        refusal = client.send_again()
        shown = "".join(
            map(repr, (realm, realm._tickets, realm._verifiers, client, client.line, refusal, realm._hosts))
        )
    text = realm._tickets.keytab("orders").to_text()
    assert not [piece for piece in text.split(":") if len(piece) > 20 and piece in shown]
    assert text not in shown
