"""Somebody on the wire: what passes, what is kept, what is changed."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from workshop.wire import Wire, deliver

POST = b"POST /a?b=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = f"{self.path} {body.decode()}".encode()
        self.send_response(201)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name that http.server uses
        pass


@pytest.fixture
def upstream() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


def test_it_passes_on_and_remembers(upstream: str) -> None:
    with Wire(upstream) as wire:
        reply = deliver(wire.address, POST)
        assert (reply.status, reply.body) == (201, b"/a?b=1 hello")
        assert wire.sent == [POST]
        assert deliver(upstream, wire.sent[0]).body == reply.body


def test_it_changes_what_passes(upstream: str) -> None:
    with Wire(upstream) as wire:
        wire.change_request = lambda request: request.replace(b"b=1", b"b=2").replace(b"hello", b"world")
        wire.change_reply = lambda reply: reply.replace(b"world", b"mercy")
        assert deliver(wire.address, POST).body == b"/a?b=2 mercy"


def test_nobody_behind_it_is_an_empty_answer() -> None:
    with Wire("127.0.0.1:1") as wire, pytest.raises(ConnectionError):
        deliver(wire.address, POST)
