"""What KDC and daemon write down in a run of real programs: the events of their logs, and every line of the audit log.

The log's events are a set: level, event, and the names of its values. Audit lines are whole and in their order.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import tempfile
from base64 import b64encode
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from orthros_protocol.primitives.framing import frame
from tests.golden.makers.programs import run_apart
from tests.golden.makers.steady import Steady
from tests.golden.makers.street import Street, open_street
from tests.support.processes import eventually, found_realm

_COMMANDS: Final = """\
ticket orders --scope read
ticket orders --scope read --scope admin --ttl 60
ticket orders --scope admin
ticket spy
ticket nobody
token ledger --scope post
token orders
narrow orders --scope read --to ledger --out for-ledger.handed
--socket ledger.sock receive for-ledger.handed --out received.credentials
--socket ledger.sock ticket orders
worker-login --target orders --lifetime 5m --out worker.login
worker-login --target ledger --out ledger.login
renew orders
forget
call --target orders --delegable ORIGIN/orders/7
call --target ledger ORIGIN/orders/7
"""
_CHANGES: Final = """\
principal disable orders
principal enable orders
oauth enable shop --out shop.oauth-secret
policy allow shop orders --scope list --jwt
jwt enable orders
"""


def make(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="orthros-golden-") as own:
        os.environ["ORTHROS_STATE_DIR"] = own
        with open_street(found_realm(Path(own))) as street:
            os.chdir(street.folder)
            _live(street)
            audit = "\n".join(_audit_lines(street.folder / "kdc" / "audit"))
            for name, process in (("kdc", street.kdc), ("daemon", street.daemon)):
                events = "".join(f"{line}\n" for line in sorted(set(_events(process.errors().splitlines()))))
                (folder / f"{name}.txt").write_text(events, encoding="utf-8")
            steady = Steady(exact=((str(street.folder), "FOLDER"),), measured=True)
            (folder / "audit.txt").write_text(steady.of(audit) + "\n", encoding="utf-8")
        os.chdir(own)


def _live(street: Street) -> None:
    """All that is told of: commands, changes, a stranger, OAuth, reloads, and the end."""
    os.environ["ORTHROS_SOCKET"] = f"{street.folder}/shop.sock"
    for line in _COMMANDS.splitlines():
        run_apart("orthros", *shlex.split(line.replace("ORIGIN", street.origin)))
    _send_nonsense(street.estate.kdc_port)
    for number, line in enumerate(_CHANGES.splitlines(), 61):
        seen = _count(street, "realm-applied")
        street.estate.admin(line).require()
        _await_more(street, "realm-applied", seen)
        # A life of its own each time: the daemon remembers what it was given or refused a moment ago.
        run_apart("orthros", "ticket", "orders", "--scope", "write", "--ttl", str(number))
    _ask_for_tokens(street)
    config = street.estate.config
    text = config.read_text("utf-8")
    for wrong in (True, False):
        config.write_text(f"{text}[rate]\nper_source_per_s = {-1 if wrong else 900}\n", encoding="utf-8")
        street.kdc.send(signal.SIGHUP)
        eventually(
            partial(_logs, street, "configuration not reloaded" if wrong else "configuration reloaded"), "SIGHUP"
        )
    seen = _count(street, "as-issued")
    street.daemon.send(signal.SIGHUP)
    _await_more(street, "as-issued", seen)  # the daemon has read its key file again, and logged in
    street.kdc.stop()
    run_apart("orthros", "--timeout", "1", "ticket", "orders", "--ttl", "63")
    street.daemon.stop()


def _count(street: Street, event: str) -> int:
    """How many lines of this event the KDC has written into its audit log."""
    texts = (path.read_text("utf-8") for path in (street.folder / "kdc" / "audit").glob("kdc-1.*.jsonl"))
    return "".join(texts).count(f'"{event}"')


def _await_more(street: Street, event: str, seen: int) -> None:
    eventually(lambda: _count(street, event) > seen, f"one more line of {event}")


def _logs(street: Street, event: str) -> bool:
    return f'"{event}"' in street.kdc.errors()


def _send_nonsense(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as stranger:
        stranger.sendall(frame(b"no message"))
        assert stranger.recv(1024)


def _ask_for_tokens(street: Street) -> None:
    secret = (street.folder / "shop.oauth-secret").read_text("ascii").strip()
    http = street.kdc.await_line(r"http://(127\.0\.0\.1:\d+)")[1]

    def post(path: str, password: str, **fields: str) -> dict[str, Any]:
        basic = b64encode(f"shop:{password}".encode()).decode()
        asked = Request(f"http://{http}/{path}", urlencode(fields).encode(), {"Authorization": f"Basic {basic}"})
        try:
            with urlopen(asked, timeout=10) as answer:
                told = answer.read()
        except HTTPError as refusal:
            with refusal:
                told = refusal.read()
        found: dict[str, Any] = json.loads(told or "{}")
        return found

    grant = {"grant_type": "client_credentials"}
    token = post("token", secret, **grant, audience="orders", scope="list")["access_token"]
    post("token", secret, **grant, audience="spy")
    post("token", secret, grant_type="password")
    post("token", "wrong", **grant)
    for path in ("introspect", "revoke", "introspect"):
        post(path, secret, token=token)


def _events(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("{"):
            told = json.loads(line)
            level, event = told.pop("level"), told.pop("event")
            yield f"{level} {event}: {' '.join(sorted(told))}"


def _audit_lines(folder: Path) -> Iterator[str]:
    """Without the hash of the line before, which is new in each run and would be the greater part of the text, and
    without `clock`: it stands where an event was made a millisecond before the line in front of it was written."""
    for path in sorted(folder.glob("kdc-1.*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            told = json.loads(line)
            del told["prev"]
            told.pop("clock", None)
            yield json.dumps(told)
