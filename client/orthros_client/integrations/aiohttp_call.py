"""aiohttp: the body of one verified request as the application reads it, and the answer as aiohttp writes it.

Both stand where aiohttp keeps its own. Reads and writes what the exchange decides; decides nothing itself.
"""

from __future__ import annotations

import asyncio
import zlib
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final

from orthros_client.http.propagation import Serving
from orthros_client.http.server.answers import Answer
from orthros_client.http.server.bodies import RequestBodyMismatch
from orthros_client.http.server.exchange import Exchange, refusal_in
from orthros_client.http.server.responses import Leaving
from orthros_client.integrations.aiohttp_streams import PulledStream
from orthros_protocol.errors import LocalMisuse
from orthros_runtime.extras import extra

with extra("aiohttp"):
    from aiohttp import web
    from aiohttp.abc import AbstractStreamWriter
    from multidict import CIMultiDict

__all__ = ["AiohttpCall", "response_of"]

_WINDOWS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
# What aiohttp says of the connection itself, also when another answer leaves in the place of the application's.
_OF_THE_CONNECTION: Final = ("connection", "date", "server")


def response_of(answer: Answer) -> web.Response:
    """An answer of this library's own."""
    headers = CIMultiDict((name, value.decode("latin-1")) for name, value in answer.headers)
    headers.pop("content-length", None)  # aiohttp counts by itself
    return web.Response(status=answer.status, headers=headers, body=answer.body)


class AiohttpCall(AbstractStreamWriter):
    """The writer of one verified request: what aiohttp writes is held, proven and let go, or replaced.

    `request` serves the caller until the answer to it has ended.
    """

    def __init__(self, exchange: Exchange, http: web.Request, request: Serving) -> None:
        self._exchange = exchange
        self._http: Any = http
        self._request = request
        self._inner: Any = http.writer
        self._body: PulledStream | None = None
        self._status_line = ""
        self._headers: CIMultiDict[str] = CIMultiDict()
        self._compress: Any = None
        self._chunked = False
        self._replaced = False  # it was not the application's answer that left
        self.length: int | None = None

    async def run(self, handler: Any) -> web.StreamResponse:
        """The application's answer, written already; or a refusal in its place."""
        exchange = self._exchange
        self._stand_in()
        if self._body is not None and exchange.reads_ahead:
            with suppress(RequestBodyMismatch):  # the exchange keeps it as its refusal
                await self._body.read_ahead()
        if exchange.refusal is not None and not exchange.observing:
            return self._instead(exchange.refusal.answer)
        exchange.begin()
        try:
            try:
                response: web.StreamResponse = await handler(self._http)
            except web.HTTPException as raised:  # aiohttp's way to answer
                response = raised
            await response.prepare(self._http)
            await response.write_eof()
        except Exception as error:
            refusal, due = refusal_in(error), exchange.due(error)
            exchange.blame(error)
            if self.output_size:
                raise
            if refusal is not None:
                return self._instead(exchange.answer_to(refusal))
            if due is not None:
                return self._instead(due.answer)
            if not exchange.proves:
                raise  # to aiohttp, which answers
            self._http.protocol.log_exception("Error handling request from %s", self._http.remote)
            return self._instead(exchange.answer_instead(500) or exchange.failure())
        finally:
            self._request.end()
        if isinstance(response, web.HTTPException):
            raise response  # which is written already: aiohttp does not want to have it returned
        return response

    def _stand_in(self) -> None:
        """Takes the places of aiohttp's own, which it has no public way to name. Raises LocalMisuse if they moved."""
        http, exchange = self._http, self._exchange
        http._payload_writer = self
        http._loop = _NoSendfile(http._loop)
        if exchange.body.settled:
            places = http.writer is self
        elif http.body_exists:
            self._body = PulledStream(http.content, self._received, exchange.cut)
            http._cache.pop("content", None)
            http._payload = self._body
            places = http.writer is self and http.content is self._body
        else:
            places = http.writer is self
            with suppress(RequestBodyMismatch):  # the exchange keeps it as its refusal
                exchange.received(b"", more=False)
        if not places:
            raise LocalMisuse("wrong-state", "this version of aiohttp is not known: install the extra aiohttp")

    def _received(self, data: bytes, more: bool) -> bytes:
        self._exchange.require_whole()
        return self._exchange.received(data, more=more)

    def _instead(self, answer: Answer) -> web.StreamResponse:
        self._http._payload_writer = self._inner
        return response_of(answer)

    @property
    def output_size(self) -> int:  # type: ignore[override]
        """How much has left, in bytes: aiohttp may still answer otherwise as long as nothing has."""
        size: int = self._inner.output_size
        return size

    @property
    def transport(self) -> Any:
        """Of the connection."""
        return self._inner.transport

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """The head, which is held until a body follows."""
        if self._replaced:
            return
        self._exchange.require_whole()
        status = int(status_line.split(" ", 2)[1])
        if status < 200:
            raise LocalMisuse("value-invalid", f"a response with status {status} cannot be proven to an Orthros caller")
        self._status_line, self._headers = status_line, headers
        named = [(name.lower(), value.encode("utf-8")) for name, value in headers.items()]
        self._exchange.reply.start(status, tuple(named))

    def send_headers(self) -> None:
        """aiohttp would send the head ahead of the body; here it is held."""

    def enable_chunking(self) -> None:
        """Of the application's own answer."""
        self._chunked = True

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Here and not in aiohttp's writer: what is proven is what travels."""
        level = zlib.Z_DEFAULT_COMPRESSION
        chosen = zlib.Z_DEFAULT_STRATEGY if strategy is None else strategy
        self._compress = zlib.compressobj(level, zlib.DEFLATED, _WINDOWS[encoding], zlib.DEF_MEM_LEVEL, chosen)

    async def write(self, chunk: Any, **_options: Any) -> None:
        """The next piece of the answer."""
        data = bytes(chunk)
        if self._compress is not None:
            data = self._compress.compress(data)
        await self._pass(data, more=True)

    async def write_eof(self, chunk: bytes = b"") -> None:
        """The last piece, and with it the end of the request."""
        data = bytes(chunk)
        if self._compress is not None:
            data = self._compress.compress(data) + self._compress.flush()
            self._compress = None
        await self._pass(data, more=False)
        if not self._replaced:
            await self._inner.write_eof()
        self._request.end()

    def set_eof(self) -> None:
        """aiohttp's word for an answer that has ended."""
        self._inner.set_eof()

    async def drain(self) -> None:
        """Waits until the connection takes more."""
        await self._inner.drain()

    async def _pass(self, data: bytes, *, more: bool) -> None:
        if self._replaced:
            return
        if self.length is not None and self._exchange.reply.status is not None:
            data = data[: self.length]  # aiohttp sends no more than the application has announced
            self.length -= len(data)
        leaving = self._exchange.reply.write(data, more=more)
        if leaving is not None:
            await self._let_go(leaving)

    async def _let_go(self, leaving: Leaving) -> None:
        exchange, head = self._exchange, leaving.head
        if head is not None:
            if head.status < 400 and self._body is not None:
                with suppress(RequestBodyMismatch):  # the exchange keeps it as its refusal
                    await self._body.drain()
            exchange.require_whole()
            instead = exchange.answer_instead(head.status)
            if instead is not None:
                await self._replace(instead)
                return
            if self._chunked:
                self._inner.enable_chunking()
            self._inner.length = None
            await self._inner.write_headers(self._status_line, _written(head.headers))
        if leaving.data:
            await self._inner.write(leaving.data)

    async def _replace(self, answer: Answer) -> None:
        self._replaced = True
        headers = [(name, self._headers[name]) for name in _OF_THE_CONNECTION if name in self._headers]
        version, phrase = self._status_line.split(" ", 1)[0], HTTPStatus(answer.status).phrase
        own = tuple((name, value.encode("latin-1")) for name, value in headers)
        await self._inner.write_headers(f"{version} {answer.status} {phrase}", _written((*own, *answer.headers)))
        await self._inner.write_eof(b"" if self._http.method == "HEAD" else answer.body)


class _NoSendfile:
    """The event loop without `sendfile`, which would write a file past the proof. aiohttp reads it then."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def sendfile(self, *_arguments: Any, **_options: Any) -> None:
        """Says that there is none."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)


def _written(headers: tuple[tuple[str, bytes], ...]) -> CIMultiDict[str]:
    return CIMultiDict((name.title(), value.decode("utf-8")) for name, value in headers)
