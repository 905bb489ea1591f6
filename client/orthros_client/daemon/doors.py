"""Sockets of the daemon: opened without disturbing a living one, served with caps, deadlines and a drain.

Knows connections and their kernel credentials; what is said over them is the business of two thin servers.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Final

import structlog
import trio
from attrs import define, field

from orthros_client.daemon.peers import SOMEBODY, Peer, peer_of
from orthros_protocol import Misconfigured

__all__ = ["Door", "Visitor", "open_loopback_listener", "open_unix_listener"]

log = structlog.get_logger()

_READ_BYTES: Final = 8192
_BACKLOG: Final = 512
_WRITE_S: Final = 10.0
_TELL_EVERY_S: Final = 10.0
_MOST_PATH: Final = 107  # sun_path is 108 bytes with its NUL (unix(7))


def open_unix_listener(path: str, mode: int) -> trio.SocketListener:
    """A listener at `path`, never wider than `mode`; a dead socket file in its place is removed.

    Raises Misconfigured `conflict` when somebody listens there, or `file-unreadable`.
    """
    if len(os.fsencode(path)) > _MOST_PATH:
        raise Misconfigured("config-invalid", f"socket {path}: longer than {_MOST_PATH} bytes")
    _remove_dead_socket(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A socket file takes its mode from the umask at bind, so it is born closed and opened afterwards.
        before = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        os.chmod(path, mode)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise Misconfigured("file-unreadable", f"socket {path}: {error.strerror or error}") from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def open_loopback_listener(address: str, port: int) -> trio.SocketListener:
    """A listener on a loopback address of this host, which the caller has checked to be one.

    Raises Misconfigured `conflict` when the port is taken, or `file-unreadable`.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Connections that linger from before a restart do not hold the port; a living listener still does.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        code = "conflict" if error.errno == errno.EADDRINUSE else "file-unreadable"
        raise Misconfigured(code, f"{address} port {port}: {error.strerror or error}") from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _remove_dead_socket(path: str) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise Misconfigured("conflict", f"{path} exists and is not a socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            outcome = probe.connect_ex(path)
        if outcome != errno.ECONNREFUSED:
            raise Misconfigured("conflict", f"{path}: somebody listens there already, or it cannot be asked")
        os.unlink(path)


@define(eq=False)
class Visitor:
    """One connection."""

    stream: trio.SocketStream
    peer: Peer
    idle_s: float
    draining: bool = field(default=False, init=False)
    # One scope for the whole connection, whose deadline moves: cheaper than a scope for every read and write.
    scope: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _waiting: bool = field(default=False, init=False)

    async def receive(self) -> bytes:
        """Bytes as they come; empty at the end of the stream and when draining. Silence of `idle_s` cancels."""
        if self.draining:
            return b""
        self.scope.deadline = trio.current_time() + self.idle_s
        self._waiting = True
        try:
            data = await self.stream.receive_some(_READ_BYTES)
        finally:
            self._waiting = False
        self.scope.deadline = inf
        return bytes(data)

    async def send(self, data: bytes) -> None:
        """All of `data`; a peer that does not read for 10 s is cancelled."""
        self.scope.deadline = trio.current_time() + _WRITE_S
        await self.stream.send_all(data)
        self.scope.deadline = inf

    def drain(self) -> None:
        """Lets the request in progress finish, and no other begin."""
        self.draining = True
        if self._waiting:
            self.scope.cancel()


@define(eq=False)
class Door:
    """Serves one listener: `converse` runs once per connection, at most `most` at a time.

    The daemon's own uid and root may use them all, any other uid that is known a half, and all strangers
    together an eighth: whoever may merely connect cannot keep the others out.
    """

    converse: Callable[[Visitor], Awaitable[None]]
    idle_s: float = 300.0
    most: int = 256
    knows: Callable[[Peer], bool] = lambda _peer: True
    _full_until: float = field(default=0.0, init=False)
    _visitors: set[Visitor] = field(factory=set, init=False)
    _accepting: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    async def serve(
        self, listener: trio.SocketListener, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Until `drain` was called and the last connection has ended."""
        async with trio.open_nursery() as handlers:
            with self._accepting:
                task_status.started()
                await trio.serve_listeners(self._handle, [listener], handler_nursery=handlers)

    def drain(self) -> None:
        """Accepts nobody any more and lets running requests finish."""
        self._accepting.cancel()
        for visitor in self._visitors:
            visitor.drain()

    async def _handle(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                visitor = Visitor(stream, _peer_of(stream), self.idle_s)
            except OSError as error:
                log.warning("the system does not say who connected", error=error.strerror)
                return
            if not self._has_room_for(visitor.peer):
                self._tell_that_it_is_full(visitor.peer)
                return
            self._visitors.add(visitor)
            try:
                with visitor.scope:
                    await self.converse(visitor)
            except trio.BrokenResourceError as error:
                log.info("local connection broke", peer=str(visitor.peer), error=type(error).__name__)
            except Exception as error:  # noqa: BLE001  # a fault met by one visitor may not end the others
                log.error("local connection failed", peer=str(visitor.peer), error=type(error).__name__, at=_at(error))
            finally:
                self._visitors.discard(visitor)

    def _has_room_for(self, peer: Peer) -> bool:
        group, share = self._share_of(peer)
        if len(self._visitors) >= self.most:
            return False
        return sum(self._share_of(visitor.peer)[0] == group for visitor in self._visitors) < share

    def _share_of(self, peer: Peer) -> tuple[int | None, int]:
        if peer.uid in (0, os.geteuid()):
            return 0, self.most
        if self.knows(peer):
            return peer.uid, max(1, self.most // 2)
        return None, max(1, self.most // 8)  # one share for all: uids cost nothing where users may make namespaces

    def _tell_that_it_is_full(self, peer: Peer) -> None:
        now = trio.current_time()
        if now >= self._full_until:  # once in a while: who connects in a loop shall not fill the log either
            self._full_until = now + _TELL_EVERY_S
            log.warning("too many local connections", most=self.most, refused=str(peer))


def _at(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else ""


def _peer_of(stream: trio.SocketStream) -> Peer:
    if stream.socket.family != socket.AF_UNIX:
        return SOMEBODY
    # A duplicate shares the kernel's record of the peer; trio's own socket has no getsockopt for buffers of ours.
    with socket.socket(fileno=os.dup(stream.socket.fileno())) as same:
        return peer_of(same)
