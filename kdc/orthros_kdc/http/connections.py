"""Connections of the HTTP port: hypercorn speaks HTTP/1.1 on them; caps, deadlines, TLS and the drain are here.

Knows when a request begins and ends, and not what it says. Hypercorn's own handling of connections has no caps,
writes without a deadline, and changes to HTTP/2 or WebSockets for whoever asks; that part of it is not used.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final, cast

import h11
import structlog
import trio
from attrs import define, field
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.logging import Logger
from hypercorn.protocol.events import Body, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState

from orthros_kdc.config import LimitSettings
from orthros_kdc.http.app import CONNECTION, App, failure
from orthros_kdc.http.callers import Caller, peer_of
from orthros_kdc.places import Places

__all__ = ["HttpServer"]

_CHUNK_BYTES: Final = 16 * 1024
_MOST_HEAD_BYTES: Final = 16 * 1024
_MOST_REQUESTS: Final = 10_000
# Requests that wait in a socket's buffer when the drain begins are read within this time.
_DRAIN_READS_S: Final = 0.2
# Who is told early that his request is too large may still be sending it: a reset would destroy the answer.
_LINGER_S: Final = 1.0
_LINGER_BYTES: Final = 1024 * 1024
_LOST: Final = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
_log = structlog.get_logger(__name__)


class _Log(Logger):
    """What hypercorn has to say, without the request that it says it about."""

    async def access(self, *_: Any) -> None:
        """Decisions are in the audit log."""

    async def exception(self, message: str, *_: Any, **__: Any) -> None:
        """Our application raises nothing, so this is about writing its answer."""
        kind = sys.exc_info()[0]
        _log.error("http answer failed", complaint=message, kind=kind.__name__ if kind else "")


class _Settings(HypercornConfig):
    accesslog = None
    errorlog = None
    logger_class = _Log
    include_server_header = False
    h11_max_incomplete_size = _MOST_HEAD_BYTES
    keep_alive_max_requests = _MOST_REQUESTS
    ends = False

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        """During a drain every answer is its connection's last."""
        return super().response_headers(protocol) + ([(b"connection", b"close")] if self.ends else [])


class _Http1(H11Protocol):
    """HTTP/1.1 and nothing else, whatever a request would like to change to.

    `is_answering` between the head of an answer and its last byte: they leave in one piece. `is_last` is asked
    whether the answer that begins is the connection's last.
    """

    is_answering = False
    is_last: Callable[[], bool] = staticmethod(lambda: False)

    async def stream_send(self, event: StreamEvent) -> None:
        self.is_answering = isinstance(event, (Response, Body))
        if isinstance(event, Response) and self.is_last():
            event.headers.append((b"connection", b"close"))
        await super().stream_send(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Neither h2c nor HTTP/2 by its preface."""

    async def _create_stream(self, request: h11.Request) -> None:
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method, target=request.target, headers=headers, http_version=request.http_version
            )
        )

    async def _send_error_response(self, status_code: int) -> None:
        text = "the headers are too large" if status_code == 431 else "this is not HTTP/1.1 as RFC 9112 has it"
        body = failure(status_code, text).body
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
            *HypercornConfig.response_headers(self.config, "h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


@define(eq=False)
class _Connection:
    """One connection. A deadline holds whenever it is the peer's turn, and none while the KDC works."""

    caller: Caller
    places: Places
    opened_at: float
    is_proven: bool = False
    is_busy: bool = False
    ended: bool = False
    answered_at: float | None = None
    begun_at: float | None = None
    scope: trio.CancelScope = field(factory=trio.CancelScope)

    def prove(self) -> None:
        """Its peer has shown a valid credential."""
        if not self.is_proven:
            self.is_proven = True
            self.places.prove(self.caller.source)

    def heard(self, now: float) -> None:
        """Bytes came: the request that they begin must be whole in time, however small the pieces."""
        if not self.is_busy and self.begun_at is None:
            self.begun_at = now

    def overstays(self) -> bool:
        """Whether a stranger has had his time: else a few could hold every place for strangers, just by talking."""
        return not self.is_proven and trio.current_time() >= self.opened_at + self.places.limits.read_deadline_s

    def deadline(self) -> float:
        """Until when the next request's headers must be here."""
        limits = self.places.limits
        if self.answered_at is None:
            return self.opened_at + limits.read_deadline_s
        if self.begun_at is not None:
            return self.begun_at + limits.read_deadline_s
        idle_s = limits.idle_deadline_s if self.is_proven else min(limits.idle_deadline_s, limits.read_deadline_s)
        return self.answered_at + idle_s


class HttpServer:
    """Serves one application on any number of listeners: TLS where there is `tls`, except on Unix sockets.

    `limits` and `tls` may be replaced while it serves; new connections and reads follow.
    """

    def __init__(self, app: App, limits: LimitSettings, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self._app = app
        self._places = Places(limits)
        self._settings = _Settings()
        self._connections: set[_Connection] = set()
        self._accepting = trio.CancelScope()
        self._read_until = inf

    @property
    def limits(self) -> LimitSettings:
        """What connections and requests may take."""
        return self._places.limits

    @limits.setter
    def limits(self, limits: LimitSettings) -> None:
        self._places.limits = limits
        self._app.limits = limits

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
        self._settings.ends = True
        self._read_until = trio.current_time() + _DRAIN_READS_S
        self._accepting.cancel()
        for connection in self._connections:
            if not connection.is_busy:
                connection.scope.deadline = min(connection.scope.deadline, self._read_until)

    async def serve_stream(self, stream: trio.abc.HalfCloseableStream) -> None:
        """One connection, from its first byte to its end. Nothing that a peer does makes it raise."""
        async with stream:
            caller = peer_of(stream)
            is_proxy = self._app.proxies.trusts(caller)
            if self._settings.ends or not self._places.take(caller.source, for_many=is_proxy):
                return
            connection = _Connection(caller, self._places, trio.current_time())
            self._connections.add(connection)
            try:
                with connection.scope:
                    connection.scope.deadline = connection.deadline()
                    await self._converse(stream, connection)
            except Exception as error:  # noqa: BLE001  # logged by its kind
                self._log_end(error, caller)
            finally:
                self._connections.discard(connection)
                self._places.leave(caller.source, proven=connection.is_proven)

    def _log_end(self, error: Exception, caller: Caller) -> None:
        """One connection's trouble must not end the others'; what it was about stays out of the log."""
        left = error.split(_LOST)[1] if isinstance(error, ExceptionGroup) else None
        if isinstance(error, _LOST) or (isinstance(error, ExceptionGroup) and left is None):
            _log.debug("http connection lost", source=caller.source)
        else:
            _log.error("http connection failed", source=caller.source, kind=type(left or error).__name__)

    async def _converse(self, raw: trio.abc.HalfCloseableStream, connection: _Connection) -> None:
        stream: trio.abc.Stream = raw
        is_secure = self.tls is not None and not connection.caller.is_local
        if is_secure and self.tls is not None:
            stream = trio.SSLStream(raw, self.tls, server_side=True, https_compatible=True)
            await stream.do_handshake()
        sending = trio.Lock()
        unsent = bytearray()

        async def send(event: Event) -> None:
            if isinstance(event, RawData):
                unsent.extend(event.data)
                if unsent and not protocol.is_answering:
                    async with sending:
                        await write()
            elif isinstance(event, Updated):
                self._turn(connection, peers_turn=event.idle)
            elif isinstance(event, Closed) and not connection.ended:
                connection.ended = True
                connection.scope.deadline = trio.current_time() + _LINGER_S
                await protocol.handle(Closed())
                async with sending:
                    try:
                        await raw.send_eof()
                    except _LOST:
                        connection.scope.cancel()

        async def write() -> None:
            data = bytes(unsent)
            unsent.clear()
            with trio.move_on_after(self.limits.read_deadline_s) as patience:
                try:
                    await stream.send_all(data)
                except _LOST:
                    patience.cancel()
            if patience.cancel_called:
                connection.scope.cancel()

        async with TaskGroup() as tasks:
            protocol = _Http1(
                ASGIWrapper(cast(ASGIFramework, self._app)),
                self._settings,
                WorkerContext(None),
                tasks,
                ConnectionState({CONNECTION: connection}),
                is_secure,
                None,
                None,
                send,
            )
            protocol.is_last = connection.overstays
            left = _LINGER_BYTES
            while data := bytes(await stream.receive_some(_CHUNK_BYTES)):
                if not connection.ended:
                    connection.heard(trio.current_time())
                    await protocol.handle(RawData(data))
                    if not connection.is_busy and not connection.ended:
                        connection.scope.deadline = min(connection.deadline(), self._read_until)
                    continue
                left -= len(data)
                if left < 0:
                    return
            await protocol.handle(RawData(b""))
            await protocol.handle(Closed())

    def _turn(self, connection: _Connection, *, peers_turn: bool) -> None:
        connection.is_busy = not peers_turn
        connection.begun_at = None
        connection.scope.deadline = inf
        if peers_turn and not connection.ended:
            connection.answered_at = trio.current_time()
            connection.scope.deadline = min(connection.deadline(), self._read_until)
