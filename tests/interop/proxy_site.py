"""A realm, its daemon and a proxy as real programs, the proxy configured by its example of the documentation.

Behind the proxy is a small application that says what reached it, in front of it an honest client.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from orthros_client.daemon.listeners.forward_auth import Verdict
from tests.client.forwarding import HOST, ORIGIN, Sender, Sent
from tests.interop.proxies import start_proxy
from tests.interop.proxy_programs import PATIENCE_S
from tests.support.ports import free_port
from tests.support.processes import Estate, found_realm, open_estate
from workshop.stage import Process

_DAEMON: Final = """\
version = 1
keytab = "{folder}/keys/shop.key"
kdcs = ["unix://{folder}/kdc.sock"]
socket = "{folder}/shop.sock"

[[forward_auth]]
{listens}
dialect = "{dialect}"
keytab = "{folder}/keys/ledger.verify.key"
origins = ["{origin}"]
jwk = "{folder}/keys/ledger.jwk"
audience = "ledger@corp.test"
issuer = "https://corp.test"

[[forward_auth.route]]
path = "/api/*"
schemes = ["orthros", "bearer"]
scopes = ["post"]

[[forward_auth.route]]
path = "/audit/*"
scopes = ["audit"]

[[forward_auth.route]]
path = "/desk/*"
scopes = ["post"]
"""


@frozen
class Reached:
    """One request as the application got it."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def values_of(self, name: str) -> list[str]:
        return [value for known, value in self.headers if known.lower() == name]

    def names(self) -> set[str]:
        return {name.lower().replace("_", "-") for name, _ in self.headers}


class _Application(BaseHTTPRequestHandler):
    """Takes everything for good, and claims to have accepted it."""

    def _answer(self) -> None:
        body = self._chunks() if self.headers.get("Transfer-Encoding") else self._counted()
        self.server.reached.append(  # type: ignore[attr-defined]
            Reached(self.command, self.path, tuple(self.headers.items()), body)
        )
        self.send_response(200)
        self.send_header("Orthros-Accepted", "forged")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def _counted(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> bytes:
        body = b""
        while length := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  # the names of http.server

    def log_message(self, *_: Any) -> None:
        pass


def fetch(port: int, trust: ssl.SSLContext | None, sent: Sent, *, host: str = HOST, chunked: bool = False) -> Verdict:
    """The request exactly as it is, over TLS, unless `trust` is None; the answer as the client gets it."""
    raw = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    with closing(HTTPConnection(host, timeout=PATIENCE_S)) as connection:
        connection.sock = raw if trust is None else trust.wrap_socket(raw, server_hostname=host)
        connection.putrequest(sent.method, sent.target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", sent.host)
        for name, value in sent.headers:
            connection.putheader(name, value)
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
        elif sent.body:
            connection.putheader("Content-Length", str(len(sent.body)))
        connection.endheaders(sent.body or None, encode_chunked=chunked)
        answer = connection.getresponse()
        headers = tuple((name.lower(), value) for name, value in answer.getheaders())
        return Verdict(answer.status, headers, answer.read())


@define(eq=False)
class Site:
    """A proxy in front of the application, and an honest client of it. `kind` is its dialect."""

    kind: str
    estate: Estate
    proxy: Process
    forward: str
    port: int
    trust: ssl.SSLContext
    reached: list[Reached]
    sender: Sender = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.sender = Sender(self.estate.client().credentials("ledger"))

    def send(self, sent: Sent, *, chunked: bool = False) -> Verdict:
        return fetch(self.port, self.trust, sent, chunked=chunked)

    def status(self, sent: Sent) -> int:
        return self.send(sent).status

    def meet(self) -> None:
        """First contact: the client learns the epoch of the daemon, by a request that may not be repeated."""
        refused = self.send(self.sender.sign(Sent(method="POST")))
        assert (refused.status, self.sender.told(refused)) == (401, "epoch-required")


@contextmanager
def open_application() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Application)
    server.reached = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(PATIENCE_S)
        server.server_close()


def place_of(folder: Path, kind: str) -> str:
    """Where the daemon is to be asked: Traefik speaks HTTP to ports only."""
    return f"127.0.0.1:{free_port()}" if kind == "traefik" else f"{folder}/forward.sock"


def start_daemon(estate: Estate, kind: str, forward: str) -> Process:
    folder = estate.folder
    config = folder / "shop.toml"
    listens = f'tcp = "{forward}"' if ":" in forward else f'socket = "{forward}"'
    config.write_text(_DAEMON.format(folder=folder, origin=ORIGIN, dialect=kind, listens=listens), "utf-8")
    daemon = estate.stage.start("shop-daemon", "orthros-daemon", "--config", str(config))
    daemon.await_line(f"^orthros-daemon ready: .*, forward auth {forward}$")
    estate.daemons["shop"] = daemon
    return daemon


@contextmanager
def open_site(folder: Path, kind: str) -> Iterator[Site]:
    with open_estate(found_realm(folder)) as estate, open_application() as application:
        estate.start_kdc()
        forward = place_of(estate.folder, kind)
        start_daemon(estate, kind, forward)
        running = start_proxy(estate.stage, kind, application.server_address[1], forward)
        reached = application.reached  # type: ignore[attr-defined]
        yield Site(kind, estate, running.process, forward, running.port, running.trust, reached)
        running.process.stop()
