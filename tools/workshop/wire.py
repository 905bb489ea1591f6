"""Somebody on the wire: passes HTTP/1.1 on between client and service, keeps what was sent, and changes it at will.

Knows bytes and lengths; no key, and so nothing that could make a changed message pass.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from attrs import frozen

from orthros_protocol.primitives.http_fields import parse_length

__all__ = ["Reply", "Wire", "deliver"]

_TIMEOUT_S: Final = 5.0
_READ_BYTES: Final = 64 * 1024
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH = re.compile(rb"^content-length: *([^\r]*)\r$", re.IGNORECASE | re.MULTILINE)

Change = Callable[[bytes], bytes]


@frozen
class Reply:
    """A response as it came."""

    status: int
    body: bytes


def deliver(address: str, request: bytes) -> Reply:
    """Sends exactly these bytes on a connection of their own. Raises ConnectionError when nothing comes back."""
    with _connect(address) as connection:
        connection.sendall(request)
        raw = _read_message(connection)
    if not raw:
        raise ConnectionError(f"{address} hung up without a word")
    head, _, body = raw.partition(_HEAD_END)
    return Reply(int(head.split(b" ", 2)[1]), body)


class Wire:
    """Listens at `address` and passes requests on to `upstream`, both `host:port`.

    `sent` are the requests that went on, as they went. `change_request` and `change_reply` see each message whole.
    """

    def __init__(self, upstream: str = "") -> None:
        self.upstream = upstream
        self.sent: list[bytes] = []
        self.change_request: Change | None = None
        self.change_reply: Change | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, suppress(OSError), _connect(self.upstream) as far:
            while request := _read_message(near):
                request = _changed(request, self.change_request)
                self.sent.append(request)
                far.sendall(request)
                near.sendall(_changed(_read_message(far), self.change_reply))

    def close(self) -> None:
        """Hears nobody any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), _TIMEOUT_S)


def _read_message(connection: socket.socket) -> bytes:
    """One request or response, empty at the end of the connection. Every one here states its length or has no body."""
    data = b""
    while _HEAD_END not in data:
        piece = connection.recv(_READ_BYTES)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(_HEAD_END)
    found = _LENGTH.search(head + b"\r\n")
    missing = (parse_length(found[1]) if found else 0) - len(body)
    while missing > 0 and (piece := connection.recv(_READ_BYTES)):
        data += piece
        missing -= len(piece)
    return data


def _changed(message: bytes, change: Change | None) -> bytes:
    return message if change is None else change(message)
