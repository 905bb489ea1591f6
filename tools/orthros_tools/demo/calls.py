"""How the clients of the demo call its two services: frames over TCP with a ticket, HTTP with a JWT.

What a team would write around `orthros_client`; knows addresses and credentials, not the story.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any, Final

from attrs import define, field, frozen

from orthros_client import Credentials
from orthros_protocol import FrameReader, frame

__all__ = ["Answered", "Line", "call_orders", "post_to_ledger"]

_TIMEOUT_S: Final = 5.0
_READ_BYTES: Final = 64 * 1024


@define(eq=False)
class Line:
    """One connection to `orders`. `sent` is the last AP-REQ, as somebody on the wire would see it."""

    address: str
    sent: bytes = b""
    _socket: socket.socket | None = field(default=None, init=False)
    _reader: FrameReader = field(factory=FrameReader, init=False)

    def ask(self, operation: str, request: bytes, payload: bytes) -> bytes | None:
        """Sends one call; the service's proof or refusal, or None when it hung up without a word."""
        if self._socket is None:
            host, _, port = self.address.rpartition(":")
            self._socket = socket.create_connection((host, int(port)), _TIMEOUT_S)
        self.sent = request
        self._socket.sendall(frame(operation.encode("ascii")) + frame(request) + frame(payload))
        return self.receive()

    def receive(self) -> bytes | None:
        """The next frame, or None at the end of the connection."""
        while self._socket is not None:
            message = next(self._reader.messages(), None)
            if message is not None:
                return message
            data = self._socket.recv(_READ_BYTES)
            self._reader.feed(data)
            if not data:
                self.close()
        return None

    def close(self) -> None:
        """Hangs up; the next question connects again."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._reader = None, FrameReader()


@frozen
class Answered:
    """What came back from `orders`, once it had proven itself, and how long everything took."""

    body: dict[str, Any]
    took_ms: float
    round_trips: int


def call_orders(line: Line, credentials: Credentials, operation: str, order: int) -> Answered:
    """One authenticated call. Raises TargetRefusal when `orders` refuses, ConnectionError when it hangs up."""
    payload = json.dumps({"order": order}).encode()
    round_trips = 0

    def send(request: bytes) -> bytes:
        nonlocal round_trips
        round_trips += 1
        reply = line.ask(operation, request, payload)
        if reply is None:
            raise ConnectionError("orders hung up without a word")
        return reply

    began = time.perf_counter()
    credentials.call(send, operation, payload, safe=operation == "orders/get")
    body = json.loads(line.receive() or b"{}")
    return Answered(body, (time.perf_counter() - began) * 1000, round_trips)


def post_to_ledger(address: str, token: str) -> tuple[int, dict[str, Any], float]:
    """POSTs with the JWT; status, JSON answer and milliseconds."""
    host, _, port = address.rpartition(":")
    began = time.perf_counter()
    connection = http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT_S)
    try:
        connection.request("POST", "/entries", b"{}", {"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        body = json.loads(response.read())
    finally:
        connection.close()
    return response.status, body, (time.perf_counter() - began) * 1000
