"""A realm on this machine: its KDC, three services with their daemons, and what they can do to each other and cannot.

Every program is a process of its own, every call goes over a socket, and everything is gone at the end.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NoReturn

import httpx

from orthros_client import Client, PeerMisbehaved
from orthros_client.integrations.httpx_auth import OrthrosAuth
from workshop.stage import INTERRUPTIONS, uninterrupted

_BIN: Final = Path(sys.executable).parent
_SERVICES: Final = ("orders", "ledger", "gateway")
_PR_SET_PDEATHSIG: Final = 1
_CALLS: Final = 100


class DemoFailed(Exception):
    """Something did not come out as the story says."""


class Demo:
    """A folder, and the programs that run in it. What is run is shown as it would be typed there."""

    def __init__(self, folder: str, ends: ExitStack) -> None:
        self.folder, self._ends = Path(folder), ends
        self.environ = os.environ | {"PATH": f"{_BIN}:{os.environ.get('PATH', '')}", "ORTHROS_CONFIG": "realm/kdc.toml"}
        self.environ |= {"ORTHROS_SOCKET": f"{folder}/shop.sock"}
        self.listeners: dict[str, socket.socket] = {}
        for name in _SERVICES:
            self.listeners[name] = listener = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
            # uvicorn takes an inherited listener for a Unix socket, and would leave Nagle's algorithm on.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.environ[name.upper()] = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def run(self, command: str, *, code: int = 0, show: int = 0) -> None:
        """Runs a command to its end, and shows the first `show` lines of what it says."""
        print(f"  $ {command}", flush=True)
        ended = subprocess.run(
            self._words(command), cwd=self.folder, env=self.environ, capture_output=True, text=True, check=False
        )
        said = ended.stdout or ended.stderr
        if ended.returncode != code:
            raise DemoFailed(f"`{command}` ended with {ended.returncode} instead of {code}: {said}")
        for line in said.splitlines()[:show]:
            print(f"    {line}")

    def start(self, command: str) -> subprocess.Popen[str]:
        """Starts a program that says when it is ready."""
        print(f"  $ {command} &", flush=True)
        program = self._started(self._words(command), stdout=subprocess.PIPE)
        if program.stdout is None or "ready" not in program.stdout.readline():
            raise DemoFailed(f"`{command}` did not start: {(self.folder / 'log').read_text()}")
        return program

    def serve(self, name: str, *settings: str) -> None:
        """Starts a service on its listener, which takes connections already: a caller need not wait for the service."""
        command = f"uvicorn --no-proxy-headers workshop.demo.{name}:app"
        port = self.listeners[name].getsockname()[1]
        print(f"  $ {' '.join(settings)} {command} --port {port} &", flush=True)
        number = self.listeners[name].fileno()
        self._started(
            ["env", *self._words(" ".join(settings)), *self._words(command), f"--fd={number}"], inherits=number
        )

    def _started(self, words: list[str], *, stdout: int | None = None, inherits: int = -1) -> subprocess.Popen[str]:
        log = self._ends.enter_context((self.folder / "log").open("a"))
        with uninterrupted():
            program = subprocess.Popen(
                words, cwd=self.folder, env=self.environ, stdout=log if stdout is None else stdout, stderr=log,
                text=True, pass_fds=() if inherits < 0 else (inherits,),
                preexec_fn=_begin,  # noqa: PLW1509  # it takes no lock that another thread could hold
            )  # fmt: skip
            self._ends.callback(program.wait)
            self._ends.callback(program.terminate)
        return program

    def _words(self, command: str) -> list[str]:
        return shlex.split(command.replace("$PWD", str(self.folder)))


def _begin() -> None:
    """Runs between fork and exec: hear signals again, and end with the demo."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTIONS)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def tell(demo: Demo) -> None:
    """The story."""
    print("Every program below is a process of its own, and every call goes over a socket.")
    print("\n1. Found a realm, and start its key distribution centre (KDC).")
    print("  $ export ORTHROS_CONFIG=realm/kdc.toml ORTHROS_SOCKET=$PWD/shop.sock")
    print(f"  $ export {' '.join(f'{name.upper()}={demo.environ[name.upper()]}' for name in _SERVICES)}")
    demo.run("orthros-kdc init --realm demo.example --data realm --listen 127.0.0.1:0")
    kdc = demo.start("orthros-kdc serve --unix $PWD/kdc.sock")

    print("\n2. Add principals, each with a key of its own, and rules: who may call whom, and with which scopes.")
    for name in ("shop", "gateway"):
        demo.run(f"orthros-admin principal add {name}")
    demo.run("orthros-admin principal add orders --out orders.key --verify-only-out orders.verify.key")
    demo.run("orthros-admin principal add ledger --verify-only-out ledger.verify.key")
    for rule in (
        "shop orders --scope read",
        "gateway orders --scope read --delegable --subject 'user/*'",
        "orders ledger --scope read --behalf 'user/*'",
    ):
        demo.run(f"orthros-admin policy allow {rule}", show=1)

    print("\n3. Start a daemon beside each service that calls others, and the services: they check tickets offline.")
    for name in ("shop", "orders", "gateway"):
        demo.start(f"orthros-daemon --keytab {name}.key --kdcs unix://$PWD/kdc.sock --socket $PWD/{name}.sock")
    demo.serve("orders", "ORTHROS_KEY_FILE=orders.verify.key", "ORTHROS_SOCKET=$PWD/orders.sock")
    demo.serve("ledger", "ORTHROS_KEY_FILE=ledger.verify.key")
    demo.serve("gateway", "ORTHROS_SOCKET=$PWD/gateway.sock")

    print("\n4. shop calls orders. The daemon of shop obtains the ticket; orders checks it offline, with its own key.")
    orders, gateway = demo.environ["ORDERS"], demo.environ["GATEWAY"]
    call = f"orthros call --target orders {orders}/orders/7"
    demo.run(call, show=1)
    _calls_of_shop(demo, orders, gateway)
    demo.run(f"orthros call --target ledger {demo.environ['LEDGER']}/invoices/7", code=3, show=3)

    print("\n6. On behalf of a user: alice -> gateway -> orders -> ledger.")
    told = httpx.get(f"{gateway}/invoices/7", headers={"User": "alice"}).raise_for_status()
    print(f"  GET {gateway}/invoices/7, sent by alice:\n    {told.text}")

    print("\n7. Kill the KDC. Calls go on with the tickets at hand, and the audit log has lost nothing.")
    kdc.kill()
    kdc.wait()
    demo.run(call, show=1)
    demo.start("orthros-kdc serve --unix $PWD/kdc.sock")
    demo.run("orthros-admin audit verify", show=3)


def _calls_of_shop(demo: Demo, orders: str, gateway: str) -> None:
    """What shop can do from Python, and what a thief can do who sees all of its requests."""
    sent: list[dict[str, str]] = []
    with (
        Client(demo.folder / "shop.sock") as client,
        httpx.Client() as thief,
        httpx.Client(auth=OrthrosAuth({orders: "orders", gateway: "orders"}, client=client)) as http,
    ):
        http.event_hooks["request"].append(lambda request: sent.append(dict(request.headers)))
        taken = []
        for _ in range(_CALLS):
            begun = time.perf_counter()
            http.get(f"{orders}/orders/7").raise_for_status()
            taken.append(time.perf_counter() - begun)
        median = statistics.median(taken) * 1000
        print(f"  {_CALLS} calls from Python: {median:.1f} ms each, and orders proved that each answer was its own")

        print("\n5. What is refused, and what a refusal says.")
        for what, answer in (
            ("a call without a ticket", thief.get(f"{orders}/orders/7")),
            ("the last call, captured and sent again", thief.get(f"{orders}/orders/7", headers=sent[-1])),
            ("a call beyond the scopes of shop", http.post(f"{orders}/orders/7")),
        ):
            print(f"  {what}: HTTP {answer.status_code}, {answer.json()['code']}")
        http.event_hooks["request"].append(_lose)
        with suppress(_Lost):
            http.get(f"{orders}/orders/7")
        changed = thief.get(f"{orders}/orders/8", headers=sent[-1])
        print(
            f"  a call that was held up, and sent to another path: HTTP {changed.status_code}, {changed.json()['code']}"
        )
        http.event_hooks["request"].remove(_lose)
        try:
            http.get(f"{gateway}/docs")
        except PeerMisbehaved as error:
            print(f"  an answer by another process than orders: {error.code}, so shop does not use the answer")


class _Lost(Exception):
    """A request does not arrive."""


def _lose(_: httpx.Request) -> NoReturn:
    raise _Lost


def main() -> int:
    """Tells the story in a folder that is removed at the end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="orthros-demo-") as folder, ExitStack() as ends:
        tell(Demo(folder, ends))
    print("\nAll programs have ended, and their folder is gone. The longer tour: make demo-tour")
    return 0


if __name__ == "__main__":
    sys.exit(main())
