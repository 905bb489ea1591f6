"""The blocking front: asks the daemon over pooled Unix connections, from any thread, with a deadline.

Knows sockets; what the bytes mean is the session's work.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from typing import Final

from orthros_client.errors import PeerMisbehaved, Unavailable
from orthros_client.local_api.session import exchange
from orthros_client.local_api.values import (
    Reply,
    Request,
    WantRequest,
)

__all__ = ["BlockingLocal"]

_READ_BYTES: Final = 16 * 1024
_MOST_IDLE: Final = 8


class BlockingLocal:
    """A pool of connections to one daemon. Thread-safe; a forked child starts with an empty pool."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        self._pid = os.getpid()

    def ask(self, request: Request | WantRequest, timeout_s: float) -> Reply:
        """One question, one answer.

        Raises Unavailable (`daemon-unreachable`, `timeout`) or PeerMisbehaved. A connection that the daemon
        closed while it lay idle is replaced once: questions to the daemon are safe to repeat.
        """
        deadline = time.monotonic() + timeout_s
        connection = self._take()
        if connection is not None:
            try:
                return self._converse(connection, request, deadline)
            except (OSError, PeerMisbehaved) as error:
                if isinstance(error, TimeoutError):
                    raise Unavailable("timeout", f"no answer within {timeout_s:g} s") from None
        try:
            return self._converse(self._connect(deadline), request, deadline)
        except TimeoutError:
            raise Unavailable("timeout", f"no answer within {timeout_s:g} s") from None
        except OSError as error:
            raise Unavailable("daemon-unreachable", f"{self._path}: {error.strerror or error}") from None

    def close(self) -> None:
        """Closes the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _connect(self, deadline: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        return connection

    def _converse(self, connection: socket.socket, request: Request | WantRequest, deadline: float) -> Reply:
        kept = False
        try:
            talk = exchange(request)
            outgoing = next(talk)
            while True:
                # Set once for both: a request is smaller than the socket's buffer, so only receiving waits.
                connection.settimeout(_left(deadline))
                if outgoing:
                    connection.sendall(outgoing)
                try:
                    outgoing = talk.send(connection.recv(_READ_BYTES))
                except StopIteration as done:
                    reply: Reply = done.value
                    kept = True
                    return reply
        finally:
            self._give_back(connection) if kept else connection.close()

    def _take(self) -> socket.socket | None:
        with self._lock:
            if self._pid != os.getpid():
                # The parent goes on using its sockets; two processes on one connection would mix answers.
                inherited, self._idle, self._pid = self._idle, [], os.getpid()
                for connection in inherited:
                    connection.close()
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: socket.socket) -> None:
        with self._lock:
            if self._pid == os.getpid() and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
