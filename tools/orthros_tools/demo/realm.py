"""The demo's realm: founds it with `orthros-kdc init` and `orthros-admin`, and starts its programs.

Knows which principals, rules and processes there are; tells nothing and calls nobody.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import define, field

from orthros_client import Client
from orthros_tools.demo.stage import Outcome, Process, Stage, StageError

__all__ = ["REALM", "SHORT_S", "Realm"]

REALM: Final = "corp.example"
ISSUER: Final = f"https://{REALM}"
SHORT_S: Final = 3
_CLIENT_TIMEOUT_S: Final = 8.0
_EXPLAIN_S: Final = 5.0
_NOT_FOUND: Final = 5

# Commands of orthros-admin; those of one wave do not depend on each other and run side by side.
_PRINCIPALS: Final = (
    "principal add shop --out {keys}/shop.key",
    "principal add reports --out {keys}/reports.key",
    "principal add orders --out {keys}/orders.key --verify-only-out {keys}/orders.verify.key",
    "principal add ledger --out {keys}/ledger.key",
)
_POLICY: Final = (
    (
        "policy allow shop orders --scope read --scope write",
        f"policy allow reports orders --scope read --max-ttl {SHORT_S}s",
        "group add booking",
        "jwt enable ledger",
    ),
    (
        "group add-member booking shop",
        "policy allow group:booking ledger --scope post --jwt",
        "jwt export ledger --out {keys}/ledger.jwk",
    ),
)
_DAEMON_CONFIG: Final = """\
version = 1
keytab = "{folder}/keys/{client}.key"
kdcs = [{kdcs}]
socket = "{folder}/{client}.sock"
cache_file = "{folder}/{client}.cache"
backoff_most_s = 1.0
"""


@define(eq=False)
class Realm:
    """Everything that the story needs to know of what runs."""

    stage: Stage
    kdc: Process | None = None
    kdc_addresses: tuple[str, ...] = ()
    orders: Process | None = None
    orders_address: str = ""
    ledger_address: str = ""
    ledger_borrowed: int = -1
    daemons: dict[str, Process] = field(factory=dict)

    @property
    def folder(self) -> Path:
        """The stage's folder."""
        return self.stage.folder

    def key_file(self, name: str) -> Path:
        """Where a key file of the realm lies."""
        return self.folder / "keys" / name

    def found(self) -> None:
        """`orthros-kdc init`: the realm on disk, without a single principal."""
        self.stage.run(
            "orthros-kdc", "init", "--realm", REALM, "--data", str(self.folder / "kdc"), "--listen", "127.0.0.1:0"
        ).require()
        (self.folder / "keys").mkdir(mode=0o700)

    def add_principals(self) -> None:
        """Every principal, with its key files."""
        self._administer(_PRINCIPALS)

    def allow(self) -> None:
        """Groups, rules and the JWT key."""
        for wave in _POLICY:
            self._administer(wave)

    def admin(self, *words: str) -> Outcome:
        """One command of `orthros-admin`, however it ends."""
        return self.stage.run("orthros-admin", "--config", str(self.folder / "kdc" / "kdc.toml"), *words)

    def explain(self, ref: str) -> Outcome:
        """`orthros-admin explain`; the KDC writes its audit log in batches, so an entry may take a moment."""
        deadline = time.monotonic() + _EXPLAIN_S
        while (outcome := self.admin("explain", ref)).code == _NOT_FOUND and time.monotonic() < deadline:
            pass  # starting the command takes longer than the batch
        return outcome.require()

    def start_kdc(self) -> None:
        """`orthros-kdc serve`, on a TCP port that the system chooses and on a Unix socket."""
        self.kdc = self.stage.start(
            "kdc", "orthros-kdc", "serve", "--config", f"{self.folder}/kdc/kdc.toml", "--unix", f"{self.folder}/kdc.sock"
        )

    def await_kdc(self) -> None:
        """Until it answers."""
        found = _required(self.kdc).await_line(r"^orthros-kdc ready: realm \S+ at (.+)$")
        self.kdc_addresses = tuple(found[1].split())

    def start_services(self) -> None:
        """`orders` with a verify-only key file, `ledger` with a JWT key; neither is told where the KDC is."""
        self.orders = self.stage.start(
            "orders", sys.executable, "-m", "orthros_tools.demo.orders", "--key", str(self.key_file("orders.verify.key"))
        )
        # As a file, with -P: nothing of this package is on its path, and nothing of it is imported.
        words = ("-P", str(Path(__file__).with_name("ledger.py")), "--key", str(self.key_file("ledger.jwk")))
        expectations = ("--audience", f"ledger@{REALM}", "--issuer", ISSUER)
        ledger = self.stage.start("ledger", sys.executable, *words, *expectations)
        self.orders_address = json.loads(self.orders.await_line('"event": "ready"').string)["address"]
        found = ledger.await_line(r"^ledger ready at (\S+), (\d+) modules of Orthros loaded$")
        self.ledger_address, self.ledger_borrowed = found[1], int(found[2])

    def start_daemons(self, *clients: str) -> None:
        """`orthros-daemon` for each client, as on a host of its own."""
        kdcs = ", ".join(f'"{address}"' for address in self.kdc_addresses)
        for client in clients:
            config = self.folder / f"{client}.toml"
            config.write_text(_DAEMON_CONFIG.format(folder=self.folder, client=client, kdcs=kdcs), encoding="utf-8")
            self.daemons[client] = self.stage.start(f"{client}-daemon", "orthros-daemon", "--config", str(config))
        for client in clients:
            self.daemons[client].await_line(r"^orthros-daemon ready: ")

    def client(self, name: str) -> Client:
        """What a process on the host of `name` would make: a client of the daemon there."""
        return Client(self.folder / f"{name}.sock", _CLIENT_TIMEOUT_S)

    def orders_log(self, count: int) -> dict[str, str]:
        """The refusal that `orders` logged after the first `count` lines: what its operator sees."""
        found = _required(self.orders).await_line('"event": "refused"', after=count)
        entry: dict[str, str] = json.loads(found.string)
        return entry

    def orders_lines(self) -> int:
        """How many lines `orders` has logged."""
        return len(_required(self.orders).lines())

    def _administer(self, commands: Sequence[str]) -> None:
        config = str(self.folder / "kdc" / "kdc.toml")
        words = [
            ("orthros-admin", "--config", config, *shlex.split(line.format(keys=self.folder / "keys")))
            for line in commands
        ]
        for outcome in self.stage.run_all(words):
            outcome.require()


def _required(process: Process | None) -> Process:
    if process is None:
        raise StageError("this program has not been started")
    return process
