"""The listeners: frames in, frames out, in order; deadlines, caps and a drain.

Thin and dumb: knows streams and peers, not what a message says.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Sequence
from math import inf
from typing import Final

import structlog
import trio
from attrs import define, field, frozen

from orthros_kdc.config import LimitSettings
from orthros_kdc.places import Places
from orthros_kdc.ratelimit import source_key
from orthros_protocol import FrameReader, Misconfigured, PeerMisbehaved, frame

__all__ = ["Answer", "Handler", "Server", "open_tcp_listeners", "open_unix_listener", "source_of"]

_CHUNK_BYTES: Final = 16 * 1024
# Requests that wait in a socket's buffer when the drain begins are read within this time.
_DRAIN_READS_S: Final = 0.2
_UCRED = struct.Struct("3i")
_log = structlog.get_logger(__name__)


@frozen
class Answer:
    """A reply, and whether its sender has proven a key. Nothing is read behind one that is `last`."""

    message: bytes
    authenticated: bool
    last: bool = False


Handler = Callable[[bytes, str, str], Awaitable[Answer]]
"""From a request, its source and its IP address (empty on a local socket) to the answer.

Never raises for what the request says.
"""


@define(eq=False)
class _Connection:
    source: str
    address: str
    opened_at: float
    authenticated: bool = False
    begun_at: float | None = None
    is_waiting: bool = False
    ends: bool = False
    # One scope whose deadline moves: entering a scope per read and write would cost more than the reading.
    scope: trio.CancelScope = field(factory=trio.CancelScope)


class Server:
    """Serves one handler on any number of listeners.

    `limits` may be replaced while it serves; new connections and reads follow.
    """

    def __init__(self, handler: Handler, limits: LimitSettings) -> None:
        self._handler = handler
        self._places = Places(limits)
        self._connections: set[_Connection] = set()
        self._draining = False
        self._read_until = inf
        self._accepting = trio.CancelScope()

    @property
    def limits(self) -> LimitSettings:
        """What connections may take."""
        return self._places.limits

    @limits.setter
    def limits(self, limits: LimitSettings) -> None:
        self._places.limits = limits

    @property
    def turned_away(self) -> int:
        """How many connections found no place."""
        return self._places.turned_away

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Serves until cancelled; after `drain`, returns when the last connection has got its answers."""
        async with trio.open_nursery() as nursery:
            with self._accepting:
                await trio.serve_listeners(self.serve_stream, list(listeners), handler_nursery=nursery)

    def drain(self) -> None:
        """Accepts nobody and reads only what has been sent already: it is answered, then the connection ends."""
        self._draining = True
        self._read_until = trio.current_time() + _DRAIN_READS_S
        self._accepting.cancel()
        for connection in self._connections:
            # Not cancelled at once: what has arrived may not have been handed to its task yet.
            if connection.is_waiting:
                connection.scope.deadline = min(connection.scope.deadline, self._read_until)

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """One connection, from its first byte to its end. Nothing that a peer does makes it raise."""
        async with stream:
            source = source_of(stream)
            if self._draining or not self._places.take(source):
                return
            connection = _Connection(source, _address_of(stream), trio.current_time())
            self._connections.add(connection)
            try:
                with connection.scope:
                    await self._converse(stream, connection)
            except PeerMisbehaved as error:
                _log.info("connection dropped", source=connection.source, code=error.code, detail=error.detail)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                _log.debug("connection lost", source=connection.source)
            except Exception:  # noqa: BLE001  # logged with its traceback
                # One connection's trouble must not end the others'.
                _log.exception("connection failed", source=connection.source)
            finally:
                self._connections.discard(connection)
                self._places.leave(source, proven=connection.authenticated)

    async def _converse(self, stream: trio.abc.Stream, connection: _Connection) -> None:
        reader = FrameReader(self.limits.max_frame)
        while trio.current_time() < self._read_until:
            connection.scope.deadline = min(self._reading_deadline(connection), self._read_until)
            connection.is_waiting = True
            data = bytes(await stream.receive_some(_CHUNK_BYTES))
            connection.is_waiting = False
            connection.scope.deadline = inf
            if not data:
                reader.end()
                return
            reader.feed(data)
            answers = []
            for message in reader.messages():
                answer = await self._handler(message, connection.source, connection.address)
                if answer.authenticated and not connection.authenticated:
                    connection.authenticated = True
                    self._places.prove(connection.source)
                answers.append(frame(answer.message))
                if answer.last:
                    connection.ends = True
                    break
            if not reader.pending_bytes:
                connection.begun_at = None
            elif answers or connection.begun_at is None:
                connection.begun_at = trio.current_time()
            if answers:
                connection.scope.deadline = trio.current_time() + self.limits.read_deadline_s
                await stream.send_all(b"".join(answers))
            if connection.ends:
                return

    def _reading_deadline(self, connection: _Connection) -> float:
        """A message must arrive whole within its deadline, however many small pieces it comes in."""
        if not connection.authenticated:
            return connection.opened_at + self.limits.read_deadline_s
        if connection.begun_at is not None:
            return connection.begun_at + self.limits.read_deadline_s
        return trio.current_time() + self.limits.idle_deadline_s


def source_of(stream: trio.abc.Stream) -> str:
    """Whom to charge: the network of an IP address, or a local user."""
    sock = getattr(stream, "socket", None)
    if sock is None:
        return "memory"
    if sock.family == socket.AF_UNIX:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        return source_key(_UCRED.unpack(credentials)[1])
    try:
        return source_key(sock.getpeername()[0])
    except OSError:
        return "gone"


def _address_of(stream: trio.abc.Stream) -> str:
    """The IP address of the peer; empty where there is none."""
    sock = getattr(stream, "socket", None)
    if sock is None or sock.family == socket.AF_UNIX:
        return ""
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return ""


async def open_tcp_listeners(host: str, port: int, *, section: str = "listen") -> list[trio.SocketListener]:
    """Listeners on every address of `host`, as `section` wants them.

    Raises Misconfigured `config-invalid` when one cannot be had.
    """
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise Misconfigured("config-invalid", f"{section}.tcp {host}:{port}: {error.strerror or error}") from None


def open_unix_listener(path: str, mode: int, *, section: str = "listen") -> trio.SocketListener:
    """A listener at `path`, which only a dead socket may occupy.

    Raises Misconfigured `config-invalid` when something else, or a living server, is there.
    """
    _clear_dead_socket(path, section)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Bound under a private name first: nobody can connect before the mode is right.
        draft = f"{path}.{os.getpid()}.new"
        sock.bind(draft)
        os.chmod(draft, mode)
        sock.listen(1024)
        os.rename(draft, path)
    except OSError as error:
        sock.close()
        raise Misconfigured("config-invalid", f"{section}.unix {path}: {error.strerror or error}") from None
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _clear_dead_socket(path: str, section: str) -> None:
    try:
        occupied = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Misconfigured("config-invalid", f"{section}.unix {path}: {error.strerror}") from None
    if not stat.S_ISSOCK(occupied.st_mode):
        raise Misconfigured("config-invalid", f"{section}.unix {path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise Misconfigured("config-invalid", f"{section}.unix {path}: {error.strerror}") from None
    raise Misconfigured("config-invalid", f"{section}.unix {path}: another server listens there")
