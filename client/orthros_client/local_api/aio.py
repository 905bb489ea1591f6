"""The async front: asks the daemon over pooled Unix connections, under trio and under asyncio.

The only module that imports anyio (extra `async`). What the bytes mean is the session's work.
"""

from __future__ import annotations

import os
from typing import Final

import anyio
import anyio.abc

from orthros_client.errors import PeerMisbehaved, Unavailable
from orthros_client.local_api.session import exchange
from orthros_client.local_api.values import AnyRequest, Reply

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
        """One question, one answer. Raises Unavailable (`daemon-unreachable`, `timeout`) or PeerMisbehaved."""
        try:
            with anyio.fail_after(timeout_s):
                connection = self._take()
                if connection is not None:
                    try:
                        return await self._converse(connection, request)
                    except (OSError, anyio.ClosedResourceError, anyio.BrokenResourceError, PeerMisbehaved):
                        pass  # the daemon closed it while it lay idle; asking again is safe
                return await self._converse(await anyio.connect_unix(self._path), request)
        except TimeoutError:
            raise Unavailable("timeout", f"no answer within {timeout_s:g} s") from None
        except (OSError, anyio.BrokenResourceError) as error:
            why = getattr(error, "strerror", None) or "the connection broke"
            raise Unavailable("daemon-unreachable", f"{self._path}: {why}") from None

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
                    await connection.send(outgoing)
                try:
                    received = await connection.receive(_READ_BYTES)
                except anyio.EndOfStream:
                    received = b""
                try:
                    outgoing = talk.send(received)
                except StopIteration as done:
                    reply: Reply = done.value
                    kept = True
                    return reply
        finally:
            if kept and self._pid == os.getpid() and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
            else:
                await anyio.aclose_forcefully(connection)

    def _take(self) -> anyio.abc.SocketStream | None:
        if self._pid != os.getpid():
            self._idle, self._pid = [], os.getpid()
        return self._idle.pop() if self._idle else None
