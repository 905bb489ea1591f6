"""The HTTP port: each connection's TLS, its requests and answers, and what is charged for bytes that are no request.

Knows when a request begins and ends, and not what it says. Room, deadlines and the drain are the listener's.
"""

from __future__ import annotations

import ssl
from typing import Final

import trio
from attrs import define

from orthros_kdc.config import LimitSettings
from orthros_kdc.http.app import App, failure, headers_of
from orthros_kdc.http.senders import Sender
from orthros_kdc.ports.native_port import Reject
from orthros_kdc.ports.port_server import PortServer
from orthros_protocol.errors import Malformed, OrthrosError, PeerMisbehaved
from orthros_runtime.serving.connections import Connection
from orthros_runtime.serving.http.conversation import HttpConversation
from orthros_runtime.serving.http.messages import Unreadable, answer_bytes
from orthros_runtime.serving.peers import Peer

__all__ = ["HttpServer"]

_MOST_HEAD_BYTES: Final = 16 * 1024
_NO_HTTP: Final = "this is not HTTP/1.1 as RFC 9112 has it"


@define(eq=False)
class _Visit:
    """A connection, and the source that pays for what has come: its peer, or whom the head of a request names."""

    connection: Connection
    peer: Sender
    payer: str
    awaited: str = "request"


class HttpServer(PortServer):
    """Serves one application: TLS where there is `tls`, except on Unix sockets. `tls` may be replaced as `limits`."""

    def __init__(self, app: App, reject: Reject, limits: LimitSettings, tls: ssl.SSLContext | None = None) -> None:
        """`reject` is told of bytes that the application does not see, because they are no request."""
        super().__init__(limits, "the HTTP port", self._stands_for_many)
        self.tls = tls
        self._app = app
        self._reject = reject

    async def converse(self, connection: Connection) -> None:
        """One connection that the listener has room for."""
        peer = Sender.of(connection.peer)
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
        return self._app.proxies.trusts(Sender.of(peer))

    def busy_answer(self, cause: str, peer: Peer) -> bytes:
        """The last bytes for a connection that there is no room for. Where TLS should begin, there are none."""
        if self.tls is not None and peer.uid < 0:
            return b""
        full = failure(503, f"the KDC has no room for another connection ({cause})", (("retry-after", "1"),))
        return answer_bytes(full.status, headers_of(full), full.body, close=True)
