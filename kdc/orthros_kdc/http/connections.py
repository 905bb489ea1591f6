"""Connections of the HTTP port: hypercorn speaks HTTP/1.1 on them; TLS and the deadlines of HTTP are here.

Knows when a request begins and ends, and not what it says. Room and the drain are the listener's. Hypercorn's own
handling of connections has no caps, writes without a deadline, and changes to HTTP/2 or WebSockets on demand; that part
of it is not used.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any, Final, cast

import structlog
import trio
from attrs import define

from orthros_kdc.config import LimitSettings
from orthros_kdc.http.app import CONNECTION, App, failure
from orthros_kdc.http.callers import Caller
from orthros_kdc.oauth.values import Answer
from orthros_kdc.process.native_port import Reject
from orthros_kdc.process.shares import PortShares, deadlines_of
from orthros_protocol import Malformed, OrthrosError, PeerMisbehaved
from orthros_runtime.extras import extra
from orthros_runtime.serving.connections import Connection
from orthros_runtime.serving.listeners import Listener
from orthros_runtime.serving.peers import Peer

with extra("http"):
    import h11
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

__all__ = ["HttpServer"]

_CHUNK_BYTES: Final = 16 * 1024
_MOST_HEAD_BYTES: Final = 16 * 1024
_MOST_REQUESTS: Final = 10_000
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


class _Http1(H11Protocol):
    """HTTP/1.1 and nothing else, whatever a request would like to change to.

    `is_answering` between the head of an answer and its last byte: they leave in one piece. `is_last` is asked
    whether the answer that begins is the connection's last. `reject` is told that what came is no request, and `begun`
    the lines of X-Forwarded-For of a request whose body has yet to come.
    """

    is_answering = False
    is_last: Callable[[], bool] = staticmethod(lambda: False)
    reject: Callable[[OrthrosError], None] = staticmethod(lambda _: None)
    begun: Callable[[list[str]], None] = staticmethod(lambda _: None)

    def lacks_body(self) -> bool:
        """Whether a part of the body of the request that is here has yet to come."""
        return self.connection.their_state is h11.SEND_BODY

    async def stream_send(self, event: StreamEvent) -> None:
        self.is_answering = isinstance(event, (Response, Body))
        if isinstance(event, Response) and self.is_last():
            event.headers.append((b"connection", b"close"))
        await super().stream_send(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Neither h2c nor HTTP/2 by its preface."""

    async def _create_stream(self, request: h11.Request) -> None:
        self.begun([value.decode("latin-1") for name, value in request.headers if name == b"x-forwarded-for"])
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        await super()._create_stream(
            h11.Request(
                method=request.method, target=request.target, headers=headers, http_version=request.http_version
            )
        )

    async def _send_error_response(self, status_code: int) -> None:
        text = "the headers are too large" if status_code == 431 else "this is not HTTP/1.1 as RFC 9112 has it"
        self.reject(Malformed(text))
        body = failure(status_code, text).body
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"cache-control", b"no-store"),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


@define(eq=False)
class _Visit:
    """What the application sees of a connection. A deadline holds whenever it is the peer's turn, and none else."""

    caller: Caller
    connection: Connection
    ended: bool = False
    answered_at: float | None = None
    begun_at: float | None = None
    unread: int = 0
    """How many bytes have come that no request has paid for."""
    awaited: str = "request"
    payer: str = ""
    """The source that pays for what is unread, if a head has named one; else it is the peer's."""

    def prove(self, client: str) -> None:
        """Its peer has shown the valid credential of `client`."""
        self.connection.prove(client)

    def take(self) -> None:
        """The request that has come pays for itself."""
        self.unread, self.payer = 0, ""

    def heard(self, size: int) -> None:
        """Bytes came: the request that they begin must be whole in time, however small the pieces."""
        self.unread += size
        if not self.connection.working and self.begun_at is None:
            self.begun_at = trio.current_time()

    def overstays(self) -> bool:
        """Whether the next answer is its last: in a drain, and when a stranger has had their time.

        Otherwise a few could hold every place for strangers, just by talking.
        """
        return self.connection.leaving or trio.current_time() >= self.connection.stranger_until

    def turn(self, *, peers_turn: bool) -> None:
        """An answer is complete, or a request has begun to be worked on."""
        self.begun_at = None
        self.connection.scope.deadline = inf
        if peers_turn:
            self.connection.working = False
        else:
            self.connection.work()
        if peers_turn and not self.ended:
            self.answered_at = trio.current_time()
            self.connection.answered()
            self.wait()
            if self.connection.leaving:
                self.connection.drain()

    def wait(self) -> None:
        """Until its deadline for the headers of the next request."""
        deadlines = self.connection.deadlines
        if self.begun_at is not None:
            until = self.begun_at + deadlines.request_s
        elif self.connection.proven and self.answered_at is not None:
            until = self.answered_at + deadlines.idle_s
        else:
            until = (self.answered_at or self.connection.opened_at) + min(deadlines.idle_s, deadlines.request_s)
        if self.answered_at is None:
            until = min(until, self.connection.stranger_until)
        self.connection.scope.deadline = until


class _Plain(trio.abc.Stream):
    """A connection as TLS wants it."""

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


class HttpServer:
    """Serves one application on any number of listeners: TLS where there is `tls`, except on Unix sockets.

    `limits` and `tls` may be replaced while it serves; new connections and reads follow.
    """

    def __init__(self, app: App, reject: Reject, limits: LimitSettings, tls: ssl.SSLContext | None = None) -> None:
        """`reject` is told of bytes that the application does not see, because they are no request."""
        self.tls = tls
        self._app = app
        self._reject = reject
        self._shares = PortShares(limits, self._stands_for_many)
        self._settings = _Settings()
        self._listener = Listener(
            self._serve, self._shares.group_of, self._busy_answer, deadlines_of(limits), "the HTTP port"
        )

    @property
    def limits(self) -> LimitSettings:
        """What connections and requests may take."""
        return self._shares.limits

    @limits.setter
    def limits(self, limits: LimitSettings) -> None:
        self._shares.limits = limits
        self._listener.deadlines = deadlines_of(limits)
        self._app.limits = limits

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return self._listener.connection_count

    async def serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Serves until cancelled; after `drain`, returns when the last connection has got its answers."""
        await self._listener.serve(*listeners)

    def drain(self) -> None:
        """Accepts no connection and reads only what has been sent already: it is answered, then the connection ends."""
        self._listener.drain()

    async def serve_stream(self, stream: trio.SocketStream) -> None:
        """One connection, from its first byte to its end. Nothing that a peer does makes it raise."""
        await self._listener.serve_stream(stream)

    def _stands_for_many(self, peer: Peer) -> bool:
        return self._app.proxies.trusts(Caller.of(peer))

    def _busy_answer(self, cause: str, peer: Peer) -> bytes:
        """The last bytes for a connection that there is no room for. Where TLS should begin, there are none."""
        if self.tls is not None and peer.uid < 0:
            return b""
        return _unasked(failure(503, f"the KDC has no room for another connection ({cause})", (("retry-after", "1"),)))

    async def _serve(self, connection: Connection) -> None:
        visit = _Visit(Caller.of(connection.peer), connection)
        visit.wait()
        try:
            await self._converse(visit)
        except trio.Cancelled:
            raise
        except Exception as error:  # noqa: BLE001  # logged by its kind
            self._log_end(error, visit.caller)
        finally:
            if visit.unread and not visit.ended and not connection.leaving:
                cut = PeerMisbehaved("connection-truncated", f"no whole {visit.awaited} came")
                self._refuse(visit, cut, visit.unread)

    def _begin(self, visit: _Visit, forwarded: list[str]) -> None:
        visit.payer = self._app.proxies.caller(visit.caller, forwarded).source

    def _refuse(self, visit: _Visit, error: OrthrosError, size: int) -> None:
        """`size` bytes are no request."""
        source = visit.payer or visit.caller.source
        visit.take()
        self._reject(source, error, size)

    def _log_end(self, error: Exception, caller: Caller) -> None:
        """One connection's trouble must not end the others'; what it was about stays out of the log."""
        left = error.split(_LOST)[1] if isinstance(error, ExceptionGroup) else None
        if isinstance(error, _LOST) or (isinstance(error, ExceptionGroup) and left is None):
            _log.debug("http connection lost", source=caller.source)
        else:
            _log.error("http connection failed", source=caller.source, kind=type(left or error).__name__)

    async def _secured(self, visit: _Visit) -> trio.abc.Stream:
        plain = _Plain(visit.connection)
        if self.tls is None or visit.caller.is_local:
            return plain
        secure = trio.SSLStream(plain, self.tls, server_side=True, https_compatible=True)
        visit.awaited = "TLS handshake"
        try:
            await secure.do_handshake()
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
                self._refuse(visit, Malformed(f"TLS: {cause.reason}"), plain.received)
                plain.received = 0
            raise
        finally:
            visit.unread = plain.received
        visit.awaited = "request"
        return secure

    async def _converse(self, visit: _Visit) -> None:
        connection = visit.connection
        raw, scope = connection.stream, connection.scope
        stream = await self._secured(visit)
        sending = trio.Lock()
        unsent = bytearray()

        async def send(event: Event) -> None:
            if isinstance(event, RawData):
                unsent.extend(event.data)
                if unsent and not protocol.is_answering:
                    async with sending:
                        await write()
            elif isinstance(event, Updated):
                visit.turn(peers_turn=event.idle)
            elif isinstance(event, Closed) and not visit.ended:
                visit.ended = True
                scope.deadline = trio.current_time() + _LINGER_S
                await protocol.handle(Closed())
                async with sending:
                    try:
                        await raw.send_eof()
                    except _LOST:
                        scope.cancel()

        async def write() -> None:
            data = bytes(unsent)
            unsent.clear()
            with trio.move_on_after(connection.deadlines.write_s) as patience:
                try:
                    await stream.send_all(data)
                except _LOST:
                    patience.cancel()
            if patience.cancel_called:
                scope.cancel()

        async with TaskGroup() as tasks:
            protocol = _Http1(
                ASGIWrapper(cast(ASGIFramework, self._app)),
                self._settings,
                WorkerContext(None),
                tasks,
                ConnectionState({CONNECTION: visit}),
                isinstance(stream, trio.SSLStream),
                None,
                None,
                send,
            )
            protocol.is_last = visit.overstays
            protocol.reject = lambda error: self._refuse(visit, error, visit.unread)
            protocol.begun = partial(self._begin, visit)
            connection.is_partial = protocol.lacks_body
            left = _LINGER_BYTES
            while data := bytes(await stream.receive_some(_CHUNK_BYTES)):
                if not visit.ended:
                    visit.heard(len(data))
                    await protocol.handle(RawData(data))
                    if not connection.working and not visit.ended:
                        visit.wait()
                    continue
                left -= len(data)
                if left < 0:
                    return
            await protocol.handle(RawData(b""))
            await protocol.handle(Closed())


def _unasked(answer: Answer) -> bytes:
    """The bytes of an answer to a request that is not read. The connection closes behind it."""
    end = h11.Connection(h11.SERVER)
    length = ("content-length", str(len(answer.body)))
    headers = [*answer.headers, length, ("content-type", "application/json"), ("cache-control", "no-store")]
    head = h11.Response(status_code=answer.status, headers=[*headers, ("connection", "close")])
    return b"".join(end.send(part) or b"" for part in (head, h11.Data(data=answer.body), h11.EndOfMessage()))
