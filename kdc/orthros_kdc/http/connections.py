"""The HTTP port: each connection's TLS, its requests and answers, and what is charged for bytes that are no request.

Knows when a request begins and ends, and not what it says. Room, deadlines and the drain are the listener's.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Final

import trio
from attrs import define

from orthros_kdc.config import LimitSettings
from orthros_kdc.http.app import App, failure, headers_of
from orthros_kdc.http.callers import Caller
from orthros_kdc.process.native_port import Reject
from orthros_kdc.process.shares import PortShares, deadlines_of
from orthros_protocol import Malformed, OrthrosError, PeerMisbehaved
from orthros_runtime.serving.connections import Connection
from orthros_runtime.serving.http.conversation import HttpConversation
from orthros_runtime.serving.http.messages import Unreadable, answer_bytes
from orthros_runtime.serving.listeners import Listener
from orthros_runtime.serving.peers import Peer

__all__ = ["HttpServer"]

_MOST_HEAD_BYTES: Final = 16 * 1024
_NO_HTTP: Final = "this is not HTTP/1.1 as RFC 9112 has it"


@define(eq=False)
class _Visit:
    """A connection, and the source that pays for what has come: its peer, or whom the head of a request names."""

    connection: Connection
    peer: Caller
    payer: str
    awaited: str = "request"


class HttpServer:
    """Serves one application on any number of listeners: TLS where there is `tls`, except on Unix sockets.

    `limits` and `tls` may be replaced while it serves; new connections follow.
    """

    def __init__(self, app: App, reject: Reject, limits: LimitSettings, tls: ssl.SSLContext | None = None) -> None:
        """`reject` is told of bytes that the application does not see, because they are no request."""
        self.tls = tls
        self._app = app
        self._reject = reject
        self._shares = PortShares(limits, self._stands_for_many)
        self._listener = Listener(
            self.converse, self._shares.group_of, self._busy_answer, deadlines_of(limits), "the HTTP port"
        )

    @property
    def limits(self) -> LimitSettings:
        """What connections and requests may take."""
        return self._shares.limits

    @limits.setter
    def limits(self, limits: LimitSettings) -> None:
        self._shares.limits = limits
        self._listener.deadlines = deadlines_of(limits)

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

    async def converse(self, connection: Connection) -> None:
        """One connection that the listener has room for."""
        peer = Caller.of(connection.peer)
        visit = _Visit(connection, peer, peer.source)
        conversation = HttpConversation(connection, _MOST_HEAD_BYTES)
        try:
            if self.tls is None or peer.is_local or await self._secure(visit, self.tls):
                await self._answer_all(visit, conversation)
        except Unreadable as error:
            if error.status != 408:  # nobody reads an answer to half a head
                text = "the headers are too large" if error.status == 431 else _NO_HTTP
                self._refuse(visit, Malformed(text))
                answer = failure(error.status, text)
                await conversation.answer(answer.status, headers_of(answer), answer.body)
        finally:
            if connection.unpaid and not conversation.ended and not connection.leaving:
                self._refuse(visit, PeerMisbehaved("connection-truncated", f"no whole {visit.awaited} came"))

    async def _answer_all(self, visit: _Visit, conversation: HttpConversation) -> None:
        goes_on = True
        while goes_on and (request := await conversation.next_request()) is not None:
            sender = self._app.sender(request, visit.peer)
            visit.payer = sender.source
            answer = await self._app.answer(request, conversation, sender)
            if answer.proves:
                visit.connection.prove(answer.proves)
            goes_on = await conversation.answer(answer.status, headers_of(answer), answer.body)
            visit.payer = visit.peer.source

    async def _secure(self, visit: _Visit, tls: ssl.SSLContext) -> bool:
        """Whether TLS has begun."""
        visit.awaited = "TLS handshake"
        try:
            await visit.connection.secure(tls)
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
                self._refuse(visit, Malformed(f"TLS: {cause.reason}"))
            return False
        visit.awaited = "request"
        return True

    def _refuse(self, visit: _Visit, error: OrthrosError) -> None:
        """What has come and is not paid for is no request."""
        size, visit.connection.unpaid = visit.connection.unpaid, 0
        self._reject(visit.payer, error, size)

    def _stands_for_many(self, peer: Peer) -> bool:
        return self._app.proxies.trusts(Caller.of(peer))

    def _busy_answer(self, cause: str, peer: Peer) -> bytes:
        """The last bytes for a connection that there is no room for. Where TLS should begin, there are none."""
        if self.tls is not None and peer.uid < 0:
            return b""
        full = failure(503, f"the KDC has no room for another connection ({cause})", (("retry-after", "1"),))
        return answer_bytes(full.status, headers_of(full), full.body, close=True)
