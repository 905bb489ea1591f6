"""The blocking front: asks the daemon over pooled Unix connections, from any thread, with a deadline.

Knows sockets; what the bytes mean is the session's work.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from typing import Final

from orthros_client.errors import OrthrosError, PeerMisbehaved
from orthros_client.local.api.session import Attempts, exchange, is_turned_away
from orthros_client.local.api.values import AnyRequest, Reply

__all__ = ["BlockingLocal"]

_READ_BYTES: Final = 16 * 1024
_MOST_IDLE: Final = 8


class _Pool:
    """The idle connections of one process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.idle: list[socket.socket] = []

    def take(self) -> socket.socket | None:
        with self.lock:
            return self.idle.pop() if self.idle else None

    def give_back(self, connection: socket.socket) -> None:
        with self.lock:
            if len(self.idle) < _MOST_IDLE:
                self.idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self.lock:
            idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()


class BlockingLocal:
    """A pool of connections to one daemon. Thread-safe; a forked child starts with an empty pool."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._own_pool = _Pool()

    def ask(self, request: AnyRequest, timeout_s: float) -> Reply:
        """One question, one answer.

        Raises Unavailable (`daemon-unreachable`, `timeout`, `busy`) or PeerMisbehaved. A connection that the daemon
        closed while it was idle is replaced, and a daemon without room is asked again until `timeout_s` is over:
        questions to the daemon are safe to repeat.
        """
        deadline = time.monotonic() + timeout_s
        pool = self._pool()
        attempts = Attempts(self._path)
        idle = pool.take()
        while True:
            error: OSError | OrthrosError
            try:
                reply = self._converse(pool, idle or self._connect(deadline), request, deadline)
                if not is_turned_away(reply):
                    return reply
                error = reply.to_error()
            except TimeoutError:
                raise attempts.timed_out(timeout_s) from None
            except (OSError, PeerMisbehaved) as caught:
                error = caught
            if idle is None:
                time.sleep(attempts.pause_s(error, deadline - time.monotonic()))
            idle = None

    def close(self) -> None:
        """Closes the idle connections."""
        self._pool().close()

    def _connect(self, deadline: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_left(deadline))
            connection.connect(self._path)
        except OSError:
            connection.close()
            raise
        return connection

    def _converse(self, pool: _Pool, connection: socket.socket, request: AnyRequest, deadline: float) -> Reply:
        kept = False
        try:
            talk = exchange(request)
            outgoing = next(talk)
            while True:
                # Set once for both: nearly every request fits the socket's buffer, and then only receiving waits.
                connection.settimeout(_left(deadline))
                if outgoing:
                    # A daemon without room says so and closes. Its words are here when ours do not leave any more.
                    with suppress(BrokenPipeError):
                        connection.sendall(outgoing)
                try:
                    outgoing = talk.send(connection.recv(_READ_BYTES))
                except StopIteration as done:
                    reply: Reply = done.value
                    kept = not is_turned_away(reply)
                    return reply
        finally:
            pool.give_back(connection) if kept else connection.close()

    def _pool(self) -> _Pool:
        pool = self._own_pool
        if pool.pid != os.getpid():
            # The parent goes on using its sockets; two processes on one connection would mix answers. Its lock
            # stays untouched: another thread may have held it at the fork, and nobody is here to release it.
            for connection in pool.idle:
                connection.close()
            pool = self._own_pool = _Pool()
        return pool


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
