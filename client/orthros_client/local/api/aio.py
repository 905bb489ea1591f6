"""The async front: asks the daemon over pooled Unix connections, under trio and under asyncio.

The only module that imports anyio (extra `async`). What the bytes mean is the session's work.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

from orthros_client.errors import OrthrosError, PeerMisbehaved
from orthros_client.local.api.session import Attempts, exchange, is_turned_away
from orthros_client.local.api.values import AnyRequest, Reply
from orthros_runtime.extras import extra

with extra("async"):
    import anyio
    import anyio.abc

__all__ = ["AsyncLocal"]

_READ_BYTES: Final = 16 * 1024
_MOST_IDLE: Final = 8


class AsyncLocal:
    """A pool of connections to one daemon, for the tasks of one event loop."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._idle: list[anyio.abc.SocketStream] = []
        self._pid = os.getpid()

    async def ask(self, request: AnyRequest, timeout_s: float) -> Reply:
        """One question, one answer. Raises Unavailable (`daemon-unreachable`, `timeout`, `busy`) or PeerMisbehaved.

        Asks again when the blocking front does.
        """
        deadline = anyio.current_time() + timeout_s
        attempts = Attempts(self._path)
        idle = self._take()
        while True:
            error: OSError | OrthrosError
            try:
                with anyio.fail_after(deadline - anyio.current_time()):
                    reply = await self._converse(idle or await self._connect(), request)
                if not is_turned_away(reply):
                    return reply
                error = reply.to_error()
            except TimeoutError:
                raise attempts.timed_out(timeout_s) from None
            except (OSError, PeerMisbehaved) as caught:
                error = caught
            except (anyio.BrokenResourceError, anyio.ClosedResourceError) as caught:
                error = _system_error_of(caught)
            if idle is None:
                await anyio.sleep(attempts.pause_s(error, deadline - anyio.current_time()))
            idle = None

    async def aclose(self) -> None:
        """Closes the idle connections."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.aclose()

    async def _converse(self, connection: anyio.abc.SocketStream, request: AnyRequest) -> Reply:
        kept = False
        try:
            talk = exchange(request)
            outgoing = next(talk)
            while True:
                if outgoing:
                    try:
                        await connection.send(outgoing)
                    except anyio.BrokenResourceError as error:
                        # A daemon without room says so and closes. Its words are here when ours do not leave any more.
                        if _system_error_of(error).errno != errno.EPIPE:
                            raise
                try:
                    received = await connection.receive(_READ_BYTES)
                except anyio.EndOfStream:
                    received = b""
                try:
                    outgoing = talk.send(received)
                except StopIteration as done:
                    reply: Reply = done.value
                    kept = not is_turned_away(reply)
                    return reply
        finally:
            if kept and self._pid == os.getpid() and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
            else:
                await anyio.aclose_forcefully(connection)

    async def _connect(self) -> anyio.abc.SocketStream:
        # Connecting to a Unix socket does not wait. While the daemon's queue is full it fails at once with EAGAIN,
        # which anyio takes for progress: trio then uses a socket that is not connected, asyncio spins.
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(self._path)
            return await anyio.abc.UNIXSocketStream.from_socket(sock)
        except BaseException:
            sock.close()
            raise

    def _take(self) -> anyio.abc.SocketStream | None:
        if self._pid != os.getpid():
            self._idle, self._pid = [], os.getpid()
        return self._idle.pop() if self._idle else None


def _system_error_of(error: Exception) -> OSError:
    """What anyio wraps."""
    cause = error.__cause__
    return cause if isinstance(cause, OSError) else OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
