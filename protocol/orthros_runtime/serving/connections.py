"""One connection of a server: bytes in, bytes out, with deadlines, and whether it may be closed now.

Knows neither other connections nor what is said.
"""

from __future__ import annotations

import fcntl
import os
import socket
import ssl
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Final

import trio
from attrs import define, field, frozen

from orthros_runtime.serving.peers import Peer

__all__ = ["Connection", "Deadlines"]

_READ_BYTES: Final = 8192
# A peer that leaves its answer unread for this long counts as idle. Answers fit into the socket's buffer, so an honest
# peer never comes here.
_UNREAD_S: Final = 1.0
_PART_S: Final = 1.0
_LINGER_S: Final = 1.0
_LINGER_BYTES: Final = 1024 * 1024


@frozen(kw_only=True)
class Deadlines:
    """In seconds: how long a peer may be idle, how long one request may take to arrive, and an answer to be taken.

    `stranger_s`: how long a connection lasts that proves nothing.
    """

    idle_s: float = 300.0
    request_s: float = 10.0
    write_s: float = 10.0
    stranger_s: float = inf


@define(eq=False)
class Connection:
    """One connection. `on_proof` and `on_answer` are called when it proves to be of use, and when it was answered."""

    stream: trio.SocketStream
    peer: Peer
    deadlines: Deadlines
    on_proof: Callable[[Connection], None]
    on_answer: Callable[[Connection], None]
    proven: bool = field(default=False, init=False)
    """Whether the peer has asked something that makes sense here."""
    owner: str = field(default="", init=False)
    """Who it proved to be; empty where that is not asked."""
    unpaid: int = field(default=0, init=False)
    """How many bytes have come since a conversation that charges for them set this to 0."""
    leaving: bool = field(default=False, init=False)
    """No further request is served: the server drains, or this connection makes room for another."""
    closed: trio.Event = field(factory=trio.Event, init=False)
    # One scope for the whole connection, whose deadline moves: cheaper than a scope for every read and write.
    scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _fd: int = field(init=False)
    _secure: trio.SSLStream[trio.abc.Stream] | None = field(default=None, init=False)
    # Whether it is the peer's turn: from the beginning, and then while its task waits for bytes.
    _receiving: bool = field(default=True, init=False)
    _sending_since: float = field(default=inf, init=False)
    opened_at: float = field(factory=trio.current_time, init=False)
    _turn_at: float = field(factory=trio.current_time, init=False)
    _begun: bool = field(default=False, init=False)
    # A request that is read to its end also when the connection is `leaving`.
    _working: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._fd = self.stream.socket.fileno()

    async def secure(self, context: ssl.SSLContext) -> None:
        """Speaks TLS from now on, as the server. Raises BrokenResourceError for a handshake that fails.

        A peer that does not complete it in a stranger's time is cancelled.
        """
        self.scope.deadline = self.stranger_until
        plain = _Plain(self)
        self._secure = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
        try:
            await self._secure.do_handshake()
        finally:
            self.unpaid += plain.received

    async def receive(self, *, begun: bool = False, until: float | None = None) -> bytes:
        """Bytes as they come; empty at the end of the stream, and when the connection is `leaving`.

        A peer that is idle for `idle_s` is cancelled. `begun` says that a part of a request is here: then TooSlowError
        is raised when the rest has not come within `request_s` of its first byte, in however many pieces. `until`, in
        seconds of trio's clock, takes the place of the moment when a peer is cancelled.
        """
        self._begun = begun
        read = self.read if self._secure is None else partial(self._secure.receive_some, _READ_BYTES)
        if begun:
            self.scope.deadline = self.stranger_until if until is None else until
            with trio.fail_at(self._turn_at + self.deadlines.request_s):
                data = bytes(await read())
        else:
            idle_until = min(self.stranger_until, trio.current_time() + self.deadlines.idle_s)
            self.scope.deadline = idle_until if until is None else until
            data = bytes(await read())
            self._turn_at = trio.current_time()
        self.scope.deadline = inf
        self.unpaid += len(data)
        return data

    @property
    def stranger_until(self) -> float:
        """Until when it may be open with what it has proven so far, in seconds of trio's clock."""
        return inf if self.proven else self.opened_at + self.deadlines.stranger_s

    async def send(self, data: bytes, *, is_answer: bool = True) -> None:
        """All of `data`. A peer that does not take it within `write_s` is cancelled."""
        self._sending_since = trio.current_time()
        self.scope.deadline = self._sending_since + self.deadlines.write_s
        await (self._secure or self.stream).send_all(data)
        self.scope.deadline = self._sending_since = inf
        if is_answer:
            self._working = False
            self._turn_at = trio.current_time()
            self.on_answer(self)

    async def linger(self) -> None:
        """Ends this side, and for a moment throws away what still comes: a reset would destroy the last answer."""
        self.scope.deadline = trio.current_time() + _LINGER_S
        await self.stream.send_eof()
        left = _LINGER_BYTES
        while left > 0 and (data := await self.read()):
            left -= len(data)

    def work(self) -> None:
        """The first part of a request is here and worked on: the next one has as much time, also in a drain."""
        self._working = True
        self._turn_at = trio.current_time()

    def prove(self, owner: str = "") -> None:
        """Its peer has asked something that makes sense here: it is closed after those that have not.

        The first `owner` counts: who shares a connection with others pays for it.
        """
        if not self.proven:
            self.proven = True
            self.owner = owner
            self.on_proof(self)

    def is_idle(self) -> bool:
        """Whether no request is lost if it closes now: nothing came from the peer, or it does not take its answer.

        A part of a request counts for a second, and only if its peer has asked something before: the rest of an honest
        request is on its way, while parts that are never completed cost nothing and would hold a place like silence.
        """
        now = trio.current_time()
        if self._receiving:
            is_arriving = self._begun and self.proven and now - self._turn_at < _PART_S
            return not is_arriving and not self._holds_bytes()
        return now - self._sending_since >= _UNREAD_S

    def close_idle(self) -> None:
        """Closes the connection, which must be idle."""
        self.leaving = True
        with suppress(OSError):  # the peer has closed it already
            # At once, and not when the task runs: what the peer sends from now on fails where it is, and can be sent
            # again over another connection.
            self.stream.socket.shutdown(socket.SHUT_RDWR)
        self.scope.cancel()

    def drain(self) -> None:
        """Lets the request that runs or has arrived finish, and no other begin."""
        self.leaving = True
        if self._receiving and not self._working and not self._holds_bytes():
            self.scope.cancel()

    async def read(self) -> bytes:
        """Bytes off the socket; empty at its end, and when the connection is `leaving` and none is held."""
        while not self.leaving or self._working or self._holds_bytes():
            # Not the stream's receive_some: it may hold bytes already while it lets other tasks run, and a request
            # among them would be lost if the connection closed meanwhile. Here bytes are in the socket or returned.
            self._receiving = True
            try:
                await trio.lowlevel.wait_readable(self._fd)
            finally:
                self._receiving = False
            try:
                return os.read(self._fd, _READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise trio.BrokenResourceError(f"reading failed: {error.strerror}") from error
        return b""

    def _holds_bytes(self) -> bool:
        """Whether bytes have come that nothing has read. The end of the stream is none."""
        return bool(int.from_bytes(fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)), sys.byteorder))


class _Plain(trio.abc.Stream):
    """A connection as TLS wants it, which counts the bytes that come."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.received = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Bytes as they come; TLS takes as many as there are."""
        del max_bytes
        data = await self._connection.read()
        self.received += len(data)
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """All of `data`."""
        await self._connection.stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """When `send_all` may go on."""
        await self._connection.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """The listener closes the connection."""
        await trio.lowlevel.checkpoint()
