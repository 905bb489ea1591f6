"""A realm, its daemon and nginx as real programs, nginx configured by the example of the documentation itself.

Behind nginx is a small application that says what reached it, in front of it an honest client.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from attrs import define, field, frozen

from orthros_client.daemon.forward_auth import Verdict
from orthros_tools.demo.stage import Process, Stage
from tests.client.forwarding import HOST, ORIGIN, Sender, Sent
from tests.support.processes import Estate, eventually, found_realm, open_estate

EXAMPLE: Final = Path(__file__).parents[2] / "docs" / "examples" / "forward-auth" / "nginx.conf"
NGINX: Final = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
PATIENCE_S: Final = 15.0

_DAEMON: Final = """\
version = 1
keytab = "{folder}/keys/shop.key"
kdcs = ["unix://{folder}/kdc.sock"]
socket = "{folder}/shop.sock"

[[forward_auth]]
socket = "{folder}/forward.sock"
dialect = "nginx"
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
_NGINX: Final = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr notice;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx-tmp/1;
    proxy_temp_path {folder}/nginx-tmp/2;
    fastcgi_temp_path {folder}/nginx-tmp/3;
    uwsgi_temp_path {folder}/nginx-tmp/4;
    scgi_temp_path {folder}/nginx-tmp/5;
    include {folder}/site.conf;
}}
"""


def require_nginx() -> str:
    """Where nginx is; without it the test is skipped, and says so aloud."""
    if NGINX is None:
        reason = "nginx is not installed: NOTHING BELOW TESTS FORWARD AUTHENTICATION (tools/peers.sh installs it)"
        print(reason)
        pytest.skip(reason)
    return NGINX


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
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.reached.append(  # type: ignore[attr-defined]
            Reached(self.command, self.path, tuple(self.headers.items()), body)
        )
        self.send_response(200)
        self.send_header("Orthros-Accepted", "forged")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815  # the names of http.server

    def log_message(self, *_: Any) -> None:
        pass


def fetch(port: int, trust: ssl.SSLContext, sent: Sent, *, chunked: bool = False) -> Verdict:
    """The request exactly as it is, over TLS; the answer as the client gets it."""
    raw = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    with closing(HTTPConnection(HOST, timeout=PATIENCE_S)) as connection:
        connection.sock = trust.wrap_socket(raw, server_hostname=HOST)
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
    """nginx in front of the application, and an honest client of it."""

    estate: Estate
    nginx: Process
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
        """First contact: the client learns the epoch of the daemon."""
        refused = self.send(self.sender.sign(Sent()))
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


def site_of(folder: Path, port: int, application: int, forward: str) -> str:
    """The example of the documentation, with the places that it says are to be adapted."""
    text = EXAMPLE.read_text("utf-8")
    for shown, real in (
        ("unix:/run/orthros/forward-auth.sock", forward),
        ("127.0.0.1:8080", f"127.0.0.1:{application}"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/nginx/orders.pem", f"{folder}/tls.pem"),
        ("/etc/nginx/orders.key", f"{folder}/tls.key"),
    ):
        assert text.count(shown) == 1, shown
        text = text.replace(shown, real)
    return text


def start_daemon(estate: Estate) -> Process:
    folder = estate.folder
    config = folder / "shop.toml"
    config.write_text(_DAEMON.format(folder=folder, origin=ORIGIN), "utf-8")
    daemon = estate.stage.start("shop-daemon", "orthros-daemon", "--config", str(config))
    daemon.await_line(f"^orthros-daemon ready: .*, forward auth {folder}/forward.sock$")
    estate.daemons["shop"] = daemon
    return daemon


def start_nginx(stage: Stage, application: int, forward: str) -> tuple[Process, int, ssl.SSLContext]:
    program, folder = require_nginx(), stage.folder
    authority = trustme.CA()
    made = authority.issue_cert(HOST)
    (folder / "tls.pem").write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
    (folder / "tls.key").touch(0o600)
    (folder / "tls.key").write_bytes(made.private_key_pem.bytes())
    (folder / "nginx-tmp").mkdir()
    with socket.socket() as holder:  # nobody else is given the port; nginx may listen where this is only bound
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port = int(holder.getsockname()[1])
        (folder / "site.conf").write_text(site_of(folder, port, application, forward), "utf-8")
        # Its workers must reach the sockets and files of this folder, which is the test's own.
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, user=user), "utf-8")
        words = (program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr")
        nginx = stage.start("nginx", *words)
        eventually(lambda: not nginx.is_running or answers(port), f"nginx listens: {nginx.errors()}")
        assert nginx.is_running, nginx.errors()
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return nginx, port, trust


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
    except ConnectionRefusedError:
        return False
    return True


@contextmanager
def open_site(folder: Path) -> Iterator[Site]:
    with open_estate(found_realm(folder)) as estate, open_application() as application:
        estate.start_kdc()
        start_daemon(estate)
        forward = f"unix:{estate.folder}/forward.sock"
        nginx, port, trust = start_nginx(estate.stage, application.server_address[1], forward)
        yield Site(estate, nginx, port, trust, application.reached)  # type: ignore[attr-defined]
        nginx.stop()
