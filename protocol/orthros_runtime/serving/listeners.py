"""A listener: accepts connections, makes room for them or says why there is none, serves them, drains.

Knows connections and their peers, not what is said over them. The rules for room are in `limits`.
"""

from __future__ import annotations

import errno
import os
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

import structlog
import trio
from attrs import define, field

from orthros_runtime.serving.connections import Connection, Deadlines
from orthros_runtime.serving.limits import ConnectionLimits, Group
from orthros_runtime.serving.peers import Peer, peer_of

__all__ = ["MOST_LINGERING", "Listener"]

log = structlog.get_logger()

_TELL_EVERY_S: Final = 10.0
_MOST_TOLD: Final = 8
# A refused peer may still be sending its request. Closed at once, its socket would be reset and the answer destroyed.
_LINGER_S: Final = 1.0
_LINGER_BYTES: Final = 128 * 1024
MOST_LINGERING: Final = 32
"""Refused connections that a listener keeps for a second at most, besides those that it serves."""
_PAUSE_S: Final = 0.1
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
# accept(2): errors of the connection that waited, which is gone now; the next one may be well.
_PASSING: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.EPERM,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
    }
)


@define(eq=False)
class Listener:
    """Serves sockets: `converse` runs once for each connection.

    `group_of` says with whom a peer is counted, and how many connections they may have (see `limits`); it is asked when
    the peer connects and again when the connection has proven to be of use. `busy_answer` makes the last bytes for a
    connection that is refused, from a sentence that says which limit was met, and its peer. `name` is for the log.
    `deadlines` may be replaced; new connections follow.
    """

    converse: Callable[[Connection], Awaitable[None]]
    group_of: Callable[[Connection], Group]
    busy_answer: Callable[[str, Peer], bytes]
    deadlines: Deadlines = field(factory=Deadlines)
    name: str = ""
    _limits: ConnectionLimits[Connection] = field(factory=ConnectionLimits, init=False)
    _connections: set[Connection] = field(factory=set, init=False)
    _lingering: set[trio.CancelScope] = field(factory=set, init=False)
    _accepting: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _notes: _Notes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._notes = _Notes(self.name)

    @property
    def connection_count(self) -> int:
        """How many connections are open, without those that are being refused."""
        return len(self._connections)

    async def serve(
        self, *sockets: trio.SocketListener, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Until `drain` was called and the last connection has ended. Closes the sockets."""
        async with trio.open_nursery() as handlers:
            with self._accepting:
                async with trio.open_nursery() as accepting:
                    for sock in sockets:
                        accepting.start_soon(self._accept, sock, handlers)
                    accepting.start_soon(self._notes.tell)
                    task_status.started()
        self._notes.tell_now()

    def drain(self) -> None:
        """Accepts no more connections and lets running requests finish."""
        self._accepting.cancel()
        for connection in self._connections:
            connection.drain()
        for scope in self._lingering:
            scope.cancel()

    async def _accept(self, sock: trio.SocketListener, handlers: trio.Nursery) -> None:
        async with sock:
            while True:
                try:
                    stream = await sock.accept()
                except OSError as error:
                    await self._recover(error)
                else:
                    handlers.start_soon(self._admit(stream))

    async def _recover(self, error: OSError) -> None:
        """After an accept that failed, until the next one may succeed. Raises `error` if none will."""
        if error.errno not in _EXHAUSTED and error.errno not in _PASSING:
            raise error
        self._notes.failed[errno.errorcode[error.errno]] += 1
        self._notes.wake()
        if error.errno in _PASSING:
            return
        with trio.move_on_after(_PAUSE_S):
            idle = self._limits.to_close_anywhere(Connection.is_idle)
            if idle is None:
                await trio.sleep_forever()
            else:
                self._close(idle)
                await idle.closed.wait()

    async def serve_stream(self, stream: trio.SocketStream) -> None:
        """One connection that was accepted elsewhere, until it ends."""
        await self._admit(stream)()

    def _admit(self, stream: trio.SocketStream) -> Callable[[], Awaitable[None]]:
        """Counts the connection, and returns what is to become of it."""
        try:
            peer = peer_of(stream.socket)
        except OSError as error:
            self._notes.failed[errno.errorcode.get(error.errno or 0, "peer")] += 1
            self._notes.wake()
            return partial(trio.aclose_forcefully, stream)
        connection = Connection(stream, peer, self.deadlines, self._proven, self._limits.answered)
        group = self.group_of(connection)
        full = self._make_room(group)
        if full is not None:
            self._notes.refused[group.name] += 1
            self._notes.wake()
            return partial(self._refuse, stream, self.busy_answer(self._cause(full), peer))
        self._limits.enter(connection, group)
        self._connections.add(connection)
        if self._accepting.cancel_called:  # accepted already when the drain began
            connection.drain()
        return partial(self._serve, connection)

    def _make_room(self, group: Group) -> Group | None:
        """Closes idle connections until there is room for one of `group`; else the group that stays full."""
        while (full := self._limits.full(group)) is not None:
            idle = self._limits.to_close(full, group, Connection.is_idle)
            if idle is None:
                return full
            self._close(idle)
        return None

    def _close(self, idle: Connection) -> None:
        self._notes.closed[self._limits.group_of(idle).name] += 1
        self._notes.wake()
        self._limits.leave(idle)  # its task has yet to end, its place is free
        idle.close_idle()

    def _cause(self, full: Group) -> str:
        return f"{full.name}: {self._limits.open_in(full)} of {full.most} connections open, none idle"

    def _proven(self, connection: Connection) -> None:
        """Counts the connection where it belongs now. One that finds no room there gets its answer, and no other."""
        if connection not in self._limits:
            return  # it has made room already
        self._limits.leave(connection)
        group = self.group_of(connection)
        full = self._make_room(group)
        if full is not None:
            self._notes.refused[group.name] += 1
            self._notes.wake()
            log.debug("connection ends with its answer", peer=str(connection.peer), cause=self._cause(full))
            connection.leaving = True
        self._limits.enter(connection, group)
        self._limits.prove(connection, group)

    async def _serve(self, connection: Connection) -> None:
        try:
            with connection.scope:
                await self.converse(connection)
        except trio.BrokenResourceError:
            self._notes.broken[self.group_of(connection).name] += 1
            self._notes.wake()
        except Exception as error:  # noqa: BLE001  # a fault met by one connection may not end the others
            log.error("connection failed", peer=str(connection.peer), error=type(error).__name__, at=_at(error))
        finally:
            self._limits.leave(connection)
            self._connections.discard(connection)
            await trio.aclose_forcefully(connection.stream)
            connection.closed.set()

    async def _refuse(self, stream: trio.SocketStream, answer: bytes) -> None:
        with trio.move_on_after(_LINGER_S) as scope, suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                await stream.send_all(answer)
                if len(self._lingering) >= MOST_LINGERING:
                    return
                self._lingering.add(scope)
                try:
                    await stream.send_eof()
                    left = _LINGER_BYTES
                    while left > 0 and (data := await stream.receive_some(left)):
                        left -= len(data)
                finally:
                    self._lingering.discard(scope)


@define(eq=False)
class _Notes:
    """What happened to connections, counted, and told at most every ten seconds: peers decide how often."""

    name: str
    refused: Counter[str] = field(factory=Counter, init=False)
    closed: Counter[str] = field(factory=Counter, init=False)
    broken: Counter[str] = field(factory=Counter, init=False)
    failed: Counter[str] = field(factory=Counter, init=False)
    _woken: trio.Event = field(factory=trio.Event, init=False)

    def wake(self) -> None:
        """There is something to tell."""
        self._woken.set()

    async def tell(self) -> None:
        """Tells, for as long as the listener accepts."""
        while True:
            await self._woken.wait()
            self._woken = trio.Event()
            self.tell_now()
            await trio.sleep(_TELL_EVERY_S)

    def tell_now(self) -> None:
        """Tells what has not been told."""
        if self.failed:
            log.error("accepting connections failed", at=self.name, errors=_counts(self.failed))
        if self.refused:
            log.warning("no room for connections", at=self.name, refused=_counts(self.refused))
        if self.closed:
            log.info("idle connections closed to make room", at=self.name, closed=_counts(self.closed))
        if self.broken:
            log.info("connections broke", at=self.name, broken=_counts(self.broken))


def _counts(counter: Counter[str]) -> dict[str, int]:
    """The largest counts; the counter begins again."""
    most = dict(counter.most_common(_MOST_TOLD))
    if len(counter) > len(most):
        most["others"] = counter.total() - sum(most.values())
    counter.clear()
    return most


def _at(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""
