"""Real HTTP servers on loopback, each with a service from docs/examples/, and a client made of a socket.

Every wait has a deadline, and every process ends with the stage.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Final

from attrs import frozen

from orthros_protocol.testing import InMemoryRealm, ManualClock
from tests.support.http_caller import Call, HttpCaller, Received, wall_clock
from tests.support.processes import eventually
from workshop.stage import Process, Stage

__all__ = ["EXAMPLES", "SERVERS", "Server", "await_open", "caller_of", "open_server", "transfer"]

EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"
_DEADLINE_S: Final = 15.0
_UVICORN: Final = "uvicorn --port 0 --no-proxy-headers --no-access-log"
_HYPERCORN: Final = "hypercorn -b 127.0.0.1:0"
_GUNICORN: Final = "gunicorn -b 127.0.0.1:0 -w 2"
SERVERS: Final = {
    "uvicorn": f"{_UVICORN} fastapi_service:app",
    "uvicorn-2-workers": f"{_UVICORN} --workers 2 fastapi_service:app",
    "hypercorn-trio": f"{_HYPERCORN} --worker-class trio fastapi_service:app",
    "gunicorn-flask": f"{_GUNICORN} --threads 4 flask_service:app",
    "gunicorn-django": f"{_GUNICORN} --threads 4 django_service:application",
    "gunicorn-sync": f"{_GUNICORN} flask_service:app",  # no connection stays; what is captured is dead there as well
}


@frozen(kw_only=True)
class Server:
    """One service behind one server. `workers` is how many processes answer."""

    name: str
    port: int
    process: Process
    realm: InMemoryRealm
    workers: int

    def caller(self, *scopes: str, **changes: object) -> HttpCaller:
        return caller_of(self.realm, *scopes, **changes)

    def send(self, call: Call, *, body: bytes | None = None) -> Received:
        return transfer(self.port, call, body=body)


def caller_of(realm: InMemoryRealm, *scopes: str, **changes: object) -> HttpCaller:
    issued = realm.issue("shop", "orders", scopes=scopes, **changes)  # type: ignore[arg-type]
    return HttpCaller.of(issued, origin=("https", "orders.example:443"))


def transfer(port: int, call: Call, *, body: bytes | None = None, tls: ssl.SSLContext | None = None) -> Received:
    """One request on a connection of its own, byte for byte."""
    head = [f"{call.method} {call.target.decode('ascii')} HTTP/1.1".encode("ascii")]
    head += [name.encode("ascii") + b": " + value for name, value in (*call.headers, ("connection", b"close"))]
    content = call.body if body is None else body
    with ExitStack() as stack:
        connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), _DEADLINE_S))
        if tls is not None:
            connection = stack.enter_context(tls.wrap_socket(connection, server_hostname="orders.example"))
        connection.sendall(b"\r\n".join([*head, b"", content]))
        response = HTTPResponse(connection, method=call.method)
        response.begin()
        found = response.read()
        headers = tuple((name.lower(), value.encode("latin-1")) for name, value in response.getheaders())
        return Received(status=response.status, headers=headers, body=found)


def await_open(process: Process) -> int:
    """The port of a server that has started, as soon as it accepts connections."""
    found = process.await_line(r"(?:unning on|Listening at:) https?://127\.0\.0\.1:([1-9][0-9]*)")
    port = int(found[1])
    # Some print the port before anybody listens there.
    eventually(lambda: _is_open(port), f"{process.name} accepts connections")
    return port


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), _DEADLINE_S).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def open_server(name: str) -> Iterator[Server]:
    """A server that accepts connections; its service verifies offline, with a key file of its own."""
    realm = InMemoryRealm(clock=ManualClock(wall_clock()))
    for principal in ("shop", "orders"):
        realm.add(principal)
    with Stage("orthros-http-") as stage:
        key = stage.folder / "orders.verify.key"
        realm.keytab("orders").verify_only().save(key)
        environ = {"ORTHROS_KEY_FILE": str(key), "PYTHONPATH": str(EXAMPLES), "PYTHONDONTWRITEBYTECODE": "1"}
        command = f'exec "$0" -m {SERVERS[name]} 2>&1'
        process = stage.start(name, "sh", "-c", command, sys.executable, environ=environ)
        port = await_open(process)
        workers = 2 if "2" in SERVERS[name].split() else 1
        yield Server(name=name, port=port, process=process, realm=realm, workers=workers)
