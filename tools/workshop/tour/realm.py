"""The demo's realm: founds it with `orthros-kdc init` and `orthros-admin`, and starts its programs.

Knows which principals, rules and processes there are; tells nothing and calls nobody.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from orthros_client import Client
from workshop.stage import Outcome, Process, Stage, StageError
from workshop.wire import Wire

__all__ = ["ADMIN_SCRIPT", "HTTP_SETTINGS", "REALM", "SHORT_S", "WORKERS", "Realm"]

REALM: Final = "corp.example"
ISSUER: Final = f"https://{REALM}"
SHORT_S: Final = 3
WORKERS: Final = 2
_CLIENT_TIMEOUT_S: Final = 8.0
_EXPLAIN_S: Final = 5.0
_NOT_FOUND: Final = 5
# Processes of their own on one socket, not `--workers`: they end with the demo, however that ends.
_SERVING: Final = ("-m", "uvicorn", "--no-proxy-headers", "--no-access-log")
_LOOPBACK: Final = "127.0.0.1"

ADMIN_SCRIPT: Final = f"""\
orthros-admin principal add shop --out shop.key
orthros-admin principal add reports --out reports.key
orthros-admin principal add orders --out orders.key --verify-only-out orders.verify.key
orthros-admin principal add ledger --out ledger.key
orthros-admin policy allow shop orders --scope read --scope write
orthros-admin policy allow reports orders --scope read --max-ttl {SHORT_S}s
orthros-admin group add booking
orthros-admin group add-member booking shop
orthros-admin policy allow group:booking ledger --scope post --jwt
orthros-admin jwt enable ledger
orthros-admin jwt export ledger --out ledger.jwk
orthros-admin oauth enable shop --out shop.oauth-secret
orthros-admin oauth enable ledger --out ledger.oauth-secret
orthros-admin realm export realm.toml
"""
HTTP_SETTINGS: Final = '[http]\ntcp = "127.0.0.1:0"\n'
_DAEMON_CONFIG: Final = """\
version = 1
keytab = "{folder}/keys/{client}.key"
kdcs = [{kdcs}]
socket = "{folder}/{client}.sock"
cache_file = "{folder}/{client}.cache"
backoff_most_s = 1.0
"""
# What the guard logs of calls that are repeated at once is no news.
_REFUSED: Final = r'"reason": "(?!epoch-required)'


@define(eq=False)
class Realm:
    """Everything that the story needs to know of what runs.

    `orders_address` is where the service listens; somebody at `wire` passes on what is sent there.
    """

    stage: Stage
    kdc: Process | None = None
    kdc_addresses: tuple[str, ...] = ()
    kdc_url: str = ""
    orders: tuple[Process, ...] = ()
    orders_address: str = ""
    ledger: Process | None = None
    ledger_url: str = ""
    ledger_borrowed: int = -1
    daemons: dict[str, Process] = field(factory=dict)
    _doors: dict[str, socket.socket] = field(factory=dict, init=False)
    _wire: Wire | None = field(default=None, init=False)
    _clients: dict[str, Client] = field(factory=dict, init=False)

    @property
    def folder(self) -> Path:
        """The stage's folder."""
        return self.stage.folder

    @property
    def config(self) -> Path:
        """The KDC's settings, which `init` wrote."""
        return self.folder / "kdc" / "kdc.toml"

    @property
    def wire(self) -> Wire:
        """Somebody on the way to `orders`."""
        if self._wire is None:
            self._wire = Wire()
        return self._wire

    @property
    def orders_origin(self) -> str:
        """Where clients reach `orders`."""
        return f"http://{self.orders_address}"

    @property
    def wire_origin(self) -> str:
        """Where they reach it with somebody in between."""
        return f"http://{self.wire.address}"

    def door(self, name: str) -> socket.socket:
        """Where a service is going to listen: a port that the system chooses once, known before the service starts."""
        if name not in self._doors:
            listener = self._doors[name] = socket.create_server((_LOOPBACK, 0))
            # Connections inherit it; asyncio sets it only on listeners that it made itself.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._doors[name]

    def origin(self, name: str) -> str:
        """Where clients reach that service."""
        return f"http://{_LOOPBACK}:{self.door(name).getsockname()[1]}"

    def serve(self, name: str, program: str, *, settings: dict[str, str]) -> Process:
        """A process that serves the ASGI application `program` at that door."""
        words = (*_SERVING, "--fd", str(self.door(name).fileno()), program)
        return self.stage.start(name, sys.executable, *words, environ=settings, listener=self.door(name))

    def key_file(self, name: str) -> Path:
        """Where a key file, a JWK or a client secret of the realm lies."""
        return self.folder / "keys" / name

    def secret(self, name: str) -> str:
        """The OAuth client secret of a principal."""
        return self.key_file(f"{name}.oauth-secret").read_text("ascii").strip()

    def found(self) -> None:
        """`orthros-kdc init`: the realm on disk, without a single principal; its HTTP port is switched on."""
        self.stage.run(
            "orthros-kdc", "init", "--realm", REALM, "--data", str(self.folder / "kdc"), "--listen", f"{_LOOPBACK}:0"
        ).require()
        with self.config.open("a", encoding="utf-8") as config:
            config.write(HTTP_SETTINGS)
        (self.folder / "keys").mkdir(mode=0o700)

    def administer(self, lines: str = ADMIN_SCRIPT) -> Outcome:
        """Runs an admin's script, in the folder of the key files."""
        script = self.folder / "admin.sh"
        script.write_text(lines, encoding="ascii")
        words = ("-m", "workshop.tour.script", str(script), "--config", str(self.config))
        return self.stage.run(sys.executable, *words, cwd=self.folder / "keys").require()

    def admin(self, *words: str) -> Outcome:
        """One command of `orthros-admin`, however it ends."""
        return self.stage.run("orthros-admin", "--config", str(self.config), *words)

    def orthros(self, *words: str, client: str = "shop") -> Outcome:
        """One command of `orthros` on the host of `client`, however it ends."""
        return self.stage.run("orthros", *words, environ={"ORTHROS_SOCKET": f"{self.folder}/{client}.sock"})

    def explain(self, ref: str) -> Outcome:
        """`orthros-admin explain`; the KDC writes its audit log in batches, so an entry may take a moment."""
        deadline = time.monotonic() + _EXPLAIN_S
        while (outcome := self.admin("explain", ref)).code == _NOT_FOUND and time.monotonic() < deadline:
            pass  # starting the command takes longer than the batch
        return outcome.require()

    def start_kdc(self) -> None:
        """`orthros-kdc serve`, on TCP ports that the system chooses and on a Unix socket."""
        words = ("orthros-kdc", "serve", "--config", str(self.config), "--unix", f"{self.folder}/kdc.sock")
        self.kdc = self.stage.start("kdc", *words)

    def await_kdc(self) -> None:
        """Until it answers."""
        found = _required(self.kdc).await_line(r"^orthros-kdc ready: realm \S+ at (.+) http at (\S+)$")
        self.kdc_addresses, self.kdc_url = tuple(found[1].split()), found[2]

    def kill_kdc(self) -> None:
        """SIGKILL: nothing is flushed, closed or said."""
        _required(self.kdc).kill()

    def start_services(self) -> None:
        """`orders` with a verify-only key file, `ledger` with a JWT key; neither is told where the KDC is."""
        self.orders_address = self.wire.upstream = self.origin("orders").removeprefix("http://")
        settings = {
            "ORTHROS_KEY_FILE": str(self.key_file("orders.verify.key")),
            "ORTHROS_SOCKET": f"{self.folder}/orders.sock",
            "ORDERS_ORIGINS": f"{self.orders_origin} {self.wire_origin}",
            "LEDGER": self.origin("ledger"),
        }
        self.orders = tuple(self.serve("orders", "workshop.tour.orders:app", settings=settings) for _ in range(WORKERS))
        # As a file, with -P: nothing of this package is on its path, and nothing of it is imported.
        words = ("-P", str(Path(__file__).with_name("ledger.py")), "--key", str(self.key_file("ledger.jwk")))
        expectations = ("--audience", f"ledger@{REALM}", "--issuer", ISSUER)
        self.ledger = self.stage.start("ledger", sys.executable, *words, *expectations)

    def await_services(self) -> None:
        """Until both serve, `orders` with all its workers."""
        for worker in self.orders:
            worker.await_line('"event": "ready"')
        found = _required(self.ledger).await_line(r"^ledger ready at (\S+), (\d+) modules of Orthros loaded$")
        self.ledger_url, self.ledger_borrowed = f"http://{found[1]}", int(found[2])

    def start_daemon(self, client: str) -> None:
        """`orthros-daemon` for one client, as on a host of its own."""
        kdcs = ", ".join(f'"{address}"' for address in self.kdc_addresses)
        config = self.folder / f"{client}.toml"
        config.write_text(_DAEMON_CONFIG.format(folder=self.folder, client=client, kdcs=kdcs), encoding="utf-8")
        self.daemons[client] = self.stage.start(f"{client}-daemon", "orthros-daemon", "--config", str(config))

    def await_daemon(self, client: str) -> None:
        """Until it listens."""
        self.daemons[client].await_line(r"^orthros-daemon ready: ")

    def client(self, name: str) -> Client:
        """The client that a process on the host of `name` makes once and keeps."""
        if name not in self._clients:
            self._clients[name] = self.fresh_client(name)
        return self._clients[name]

    def close(self) -> None:
        """Hangs up on the daemons and leaves the wire; the stage ends the programs."""
        if self._wire is not None:
            self._wire.close()
        for door in self._doors.values():
            door.close()
        for client in self._clients.values():
            client.close()

    def fresh_client(self, name: str) -> Client:
        """The client of another process there, which has nothing in memory yet. The caller closes it."""
        return Client(self.folder / f"{name}.sock", _CLIENT_TIMEOUT_S)

    def orders_log(self) -> list[dict[str, str]]:
        """The refusals that `orders` has logged: what its operator sees. Each is there before its answer leaves."""
        lines = [line for worker in self.orders for line in worker.lines() if re.search(_REFUSED, line)]
        return [json.loads(line) for line in lines]

    def orders_notes(self, event: str) -> list[dict[str, str]]:
        """What else `orders` has logged under this name."""
        found = [json.loads(line) for worker in self.orders for line in worker.lines() if line.startswith("{")]
        return [entry for entry in found if entry["event"] == event]

    def audited(self, transaction: str, count: int) -> list[dict[str, Any]]:
        """Tickets that the KDC issued for a transaction, by its audit log, once that holds `count` of them."""
        deadline = time.monotonic() + _EXPLAIN_S
        words = ("audit", "tail", "--event", "tgs-issued", "-n", "50", "--output", "json")
        while True:
            entries = json.loads(self.admin(*words).require().out)
            found = [entry for entry in entries if entry["txn"] == transaction]
            if len(found) >= count or time.monotonic() > deadline:
                return found

    def shortened(self, text: str) -> str:
        """`text` without what is different each time: the folder."""
        return re.sub(rf"{re.escape(os.fspath(self.folder))}/?", ".../", text)


def _required(process: Process | None) -> Process:
    if process is None:
        raise StageError("this program has not been started")
    return process
