"""Real WSGI servers: where the environ may hold a header under another spelling, it is not taken for the exact one."""

from __future__ import annotations

import json
import socket
import sys
from http.client import HTTPResponse
from pathlib import Path

import pytest

from workshop.stage import Stage

PROGRAM = Path(__file__).parent / "programs" / "names_server.py"


def seen(port: int, *lines: bytes) -> tuple[str | None, bool]:
    """What the environ says of X-Forwarded-For, and whether it is believed to be just that."""
    with socket.create_connection(("127.0.0.1", port), 15) as connection:
        connection.sendall(b"\r\n".join([b"GET / HTTP/1.1", b"Host: x", b"Connection: close", *lines, b"", b""]))
        response = HTTPResponse(connection)
        response.begin()
        value, is_exact = json.loads(response.read())
        return value, is_exact


@pytest.mark.parametrize(
    ("server", "tells_apart"),
    [
        ("gunicorn", True), ("waitress", True), ("werkzeug", True), ("gevent", True), ("wsgiref", False),
        ("tornado", False),
    ],
)  # fmt: skip
def test_who_passes_on_an_underscore_is_not_believed(server: str, tells_apart: bool) -> None:
    with Stage("orthros-names-") as stage:
        process = stage.start(server, sys.executable, str(PROGRAM), server)
        port = int(process.await_line(r"listening on ([0-9]+)")[1])
        value, is_exact = seen(port, b"X_Forwarded_For: evil")
        assert (value is None, is_exact) == (tells_apart, tells_apart)
        value, _is_exact = seen(port, b"X-Forwarded-For: 192.0.2.7", b"X_Forwarded_For: evil")
        assert ("evil" in (value or "")) is not tells_apart
