"""The caller's own host: its daemon, its clock, its packages and its HTTP library."""

from __future__ import annotations

import os
import socket
import sys
from base64 import b64encode

from tests.mistakes.house import House, shown
from tests.mistakes.table import Seen, mistake

_FOLLOWS = """\
import httpx, sys
from orthros_client.integrations.httpx_auth import OrthrosAuth
with httpx.Client(auth=OrthrosAuth({sys.argv[1]: "orders"}), follow_redirects=True) as client:
    try:
        client.get(sys.argv[1] + "/moved")
    except Exception as error:
        print(error)
"""
# What the wheel itself depends on.
_BASE = ("attr", "attrs", "cffi", "_cffi_backend", "cryptography", "idna", "msgpack", "outcome", "pycparser", "sniffio",
         "sortedcontainers", "structlog", "trio", "orthros")  # fmt: skip


@mistake(
    "the daemon does not run",
    at="caller",
    mend="Start orthros-daemon, or set `ORTHROS_SOCKET` to its socket.",
    caller=("daemon-unreachable", "nobody.sock: No such file or directory", "Start orthros-daemon"),
)
def no_daemon(house: House) -> Seen:
    return Seen(house.orthros("ticket", "orders", host="nobody"), "")


@mistake(
    "ORTHROS_SOCKET names the socket of another program",
    at="caller",
    mend="Set `ORTHROS_SOCKET` to the daemon's socket; `orthros doctor` checks it.",
    caller=("daemon-unreachable", "kdc.sock: what answers there is no orthros-daemon", "set ORTHROS_SOCKET"),
)
def socket_of_another_program(house: House) -> Seen:
    return Seen(house.orthros("ticket", "orders", host="kdc"), "")


@mistake(
    "the service's clock is half an hour behind",
    at="service",
    mend="Run time synchronisation on the service's host.",
    caller=("the target's clock is 1800 s behind the KDC's", "Fix time synchronisation"),
    service=("client='shop@corp.test'", "this service's clock is 1800 s behind the caller's and the KDC's", "Fix time"),
)
def clock_behind(house: House) -> Seen:
    return house.call("slow-clock")


@mistake(
    "the HTTP library follows redirects by itself",
    at="caller",
    mend="Turn following off, and make a new request for the place that the proven redirect names.",
    caller=("response-unproven", "a redirect was followed to http", "by the HTTP library", "follow_redirects=False"),
    service=("GET /moved",),
)
def redirect_followed(house: House) -> Seen:
    with house.watching("orders") as logged:
        environ = {"ORTHROS_SOCKET": f"unix://{house.folder}/shop.sock"}
        done = house.estate.stage.run(sys.executable, "-c", _FOLLOWS, house.origin("orders"), environ=environ)
        return Seen(shown(done), logged())


@mistake(
    "a JWT of another audience goes to a route for tokens",
    at="caller",
    mend="Ask for a token for the service that is called (`orthros token TARGET`).",
    caller=("401", "invalid_token", "the target did not accept the token for ledger", "reference"),
    service=("reason='token-invalid'", "unverified: for 'ledger@corp.test'", "expected: for orders@corp.test"),
)
def token_for_another(house: House) -> Seen:
    return house.call("orders", "--bearer", "-i", path="/api/7", target="ledger")


@mistake(
    "a websocket goes to a route that is not public",
    at="caller, or the service's routes",
    mend="Make the route public and authenticate inside it, or use requests instead.",
    caller=("401", "websockets are served on public routes only", "reference"),
    service=("websockets are served on public routes only", "public=True"),
)
def websocket(house: House) -> Seen:
    key = b64encode(os.urandom(16)).decode()
    head = (
        f"GET /live HTTP/1.1\r\nHost: 127.0.0.1:{house.ports['orders']}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    with house.watching("orders") as logged:
        with socket.create_connection(("127.0.0.1", house.ports["orders"]), 10.0) as wire:
            wire.sendall(head.encode("ascii"))
            answer = b""
            while data := wire.recv(4096):
                answer += data
        return Seen(answer.decode("latin-1"), logged())


@mistake(
    "an extra is not installed",
    at="caller",
    mend="Run the command that the error shows: it names the wheel that you installed.",
    caller=("extra-missing", "httpx is in the extra httpx of the wheel that you installed", "-m pip install"),
)
def extra_missing(house: House) -> Seen:
    packages = house.folder / "base"
    packages.mkdir()
    site = next(path for path in map(os.path.abspath, sys.path) if path.endswith("site-packages"))
    for name in os.listdir(site):
        if name.partition("-")[0].partition(".")[0].lower() in _BASE:
            os.symlink(f"{site}/{name}", packages / name)
    sources = [path for path in sys.path if path.endswith(("/protocol", "/kdc", "/client", "/tools"))]
    words = ("-S", "-m", "orthros_client.cli", "call", house.origin("orders"), "--target", "orders")
    paths = ":".join([str(packages), *sources])
    return Seen(shown(house.estate.stage.run(sys.executable, *words, environ={"PYTHONPATH": paths})), "")
