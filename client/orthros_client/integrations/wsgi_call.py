"""WSGI: one request of an application behind the middleware, and its answer (PEP 3333).

Reads and writes what the exchange decides; decides nothing itself.
"""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, cast

from orthros_client.http.propagation import Serving
from orthros_client.http.server.answers import Answer
from orthros_client.http.server.bodies import RequestBodyMismatch
from orthros_client.http.server.exchange import Exchange, most_discarded, refusal_in
from orthros_client.http.server.guard import Denied
from orthros_client.http.server.responses import Leaving
from orthros_protocol.errors import LocalMisuse
from orthros_protocol.primitives.http_fields import stated_length

__all__ = ["App", "Environ", "RequestBody", "StartResponse", "WsgiCall", "discard", "start_answer"]

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]

_PIECE: Final = 64 * 1024
_END: Final = object()


class RequestBody(io.RawIOBase):
    """The request's body as the application may have it: it ends by itself, and fails where the digest does."""

    def __init__(self, environ: Environ, exchange: Exchange, length: int | None) -> None:
        super().__init__()
        self._stream = environ["wsgi.input"]
        self._exchange = exchange
        self._left = length
        # Without a length there is a body only where the server marks its end; elsewhere reading would hang.
        self._ends = bool(environ.get("wsgi.input_terminated")) and "HTTP_TRANSFER_ENCODING" in environ
        self._ready = b""

    def readable(self) -> bool:
        """It is there to be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises RequestBodyMismatch once the body is known to be another one."""
        while not self._ready and self._pull():
            pass
        self._exchange.require_whole()
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size

    def read_ahead(self) -> None:
        """Reads all of it, before the application begins. The exchange keeps a refusal."""
        body = b""
        with suppress(RequestBodyMismatch):
            while self._pull():
                body += self._ready
        self._ready = body

    def drain(self) -> None:
        """Reads what the application left unread."""
        with suppress(RequestBodyMismatch):  # the exchange keeps it as its refusal
            while self._pull():
                pass

    def _pull(self) -> bool:
        if self._exchange.body.settled:
            return False
        if self._left is None:
            data = self._stream.read(_PIECE) if self._ends else b""
            more = bool(data)
        else:
            data = self._stream.read(min(_PIECE, self._left)) if self._left else b""
            self._left -= len(data)
            more = bool(data) and self._left > 0
        self._ready = self._exchange.received(data, more=more)
        return True


def discard(environ: Environ, denied: Denied) -> None:
    """Reads the body of a request that is refused, if it is not too large for that.

    gunicorn's threads close the connection otherwise, mostly before the answer could be read.
    """
    request, most = denied.request, most_discarded(denied)
    left = stated_length(request.fields.values_of("content-length")) or 0
    if not left and environ.get("wsgi.input_terminated") and request.fields.values_of("transfer-encoding"):
        left = most
    if left > most or request.fields.values_of("expect"):
        return
    with suppress(Exception):  # the client is gone, or its body is none: it is answered all the same
        while left > 0 and (data := environ["wsgi.input"].read(min(_PIECE, left))):
            left -= len(data)


class WsgiCall:
    """The application's answer: held, proven and let go, or replaced by the refusal that is due."""

    def __init__(
        self, app: App, environ: Environ, start_response: StartResponse, exchange: Exchange, body: RequestBody | None
    ) -> None:
        self._environ = environ
        self._start_response = start_response
        self._exchange = exchange
        self._body = body
        self._begun = False  # the head has been handed to the server
        self._over = False
        self._write: Callable[[bytes], object] | None = None
        self._reason = ""
        self._result: Iterable[bytes] = ()
        self._pieces: Iterator[bytes] = iter(())
        self._ready: list[bytes] = []
        # Active while the application runs, and not while the server does: its threads serve other requests next.
        self._request = Serving(exchange.caller, traceparent=exchange.traceparent)
        try:
            with self._request.active():
                self._result = app(environ, self._start)
                self._pieces = iter(self._result)
        except Exception as error:  # noqa: BLE001  # answered, or raised again
            self._settle(error)
        try:
            # Some servers (granian) ask for the head as soon as the application has returned.
            while not (self._begun or self._over):
                self._step()
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        while True:
            if self._ready:
                return self._ready.pop(0)
            if self._over:
                raise StopIteration
            self._step()

    def _step(self) -> None:
        try:
            with self._request.active():
                piece = next(self._pieces, _END)
            more = piece is not _END
            # What is not bytes fails there: to leave it out would prove another answer than the application's.
            leaving = self._exchange.reply.write(cast(bytes, piece) if more else b"", more=more)
            if leaving is not None:
                self._ready.append(self._let_go(leaving))
        except Exception as error:  # noqa: BLE001  # answered, or raised again
            self._settle(error)
            return
        if not more:
            self._over = True
            self._request.end()

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        """The `start_response` of the application; what it names is held until a body follows."""
        if exc_info is not None:
            if self._begun:
                raise exc_info[1].with_traceback(exc_info[2])
        elif self._exchange.reply.status is not None:
            raise LocalMisuse("wrong-state", "start_response was called twice")
        code, _, self._reason = status.partition(" ")
        self._exchange.reply.start(int(code), tuple((name.lower(), value.encode("latin-1")) for name, value in headers))
        return self._write_piece

    def _write_piece(self, data: bytes) -> None:
        """The imperative `write` that PEP 3333 keeps for old applications."""
        if self._over:
            return
        leaving = self._exchange.reply.write(data, more=True)
        if leaving is not None:
            data = self._let_go(leaving)
            if data and self._write is not None:
                self._write(data)

    def _let_go(self, leaving: Leaving) -> bytes:
        exchange, head = self._exchange, leaving.head
        if head is not None:
            if head.status < 400 and self._body is not None:
                self._body.drain()
            if exchange.is_spoilt and exchange.refusal is not None:
                return self._answer(exchange.refusal.answer)
            instead = exchange.answer_instead(head.status)
            if instead is not None:
                return self._answer(instead)
            self._begun = True
            headers = [(name, value.decode("latin-1")) for name, value in head.headers]
            self._write = self._start_response(f"{head.status} {self._reason}", headers)
        return leaving.data

    def _settle(self, error: Exception) -> None:
        """Answers for an application that raised before anything of its answer had left; raises afterwards."""
        self._request.end()
        exchange, refusal = self._exchange, refusal_in(error)
        due = exchange.due(error)
        exchange.blame(error)
        instead = None if self._begun else exchange.answer_instead(500)
        if self._begun or not (refusal or due or instead or exchange.proves):
            raise error
        if refusal is not None:
            answer = exchange.answer_to(refusal)
        elif due is not None:
            answer = due.answer
        elif instead is not None:
            answer = instead
        else:
            traceback.print_exception(error, file=self._environ["wsgi.errors"])
            answer = exchange.failure()
        self._ready = [self._answer(answer)]

    def _answer(self, answer: Answer) -> bytes:
        self._over = self._begun = True
        self._write = start_answer(answer, self._start_response)
        return b"" if self._environ["REQUEST_METHOD"] == "HEAD" else answer.body

    def close(self) -> None:
        """Closes the application's iterable, as PEP 3333 promises it, and ends the request."""
        close = getattr(self._result, "close", None)
        try:
            if close is not None:
                with self._request.active():
                    close()
        finally:
            self._request.end()


def start_answer(answer: Answer, start_response: StartResponse) -> Callable[[bytes], object]:
    headers = [(name, value.decode("latin-1")) for name, value in answer.headers]
    return start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers)
