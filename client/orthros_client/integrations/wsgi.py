"""WSGI: a middleware that verifies every request before the application sees it, and proves every response (PEP 3333).

For Flask, Django and any other WSGI application, on servers that tell the raw request-target (gunicorn, waitress,
uWSGI, mod_wsgi). Decides nothing itself: `orthros_client.http` does.
"""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, cast

from attrs import evolve

from orthros_client.http.answers import Answer
from orthros_client.http.bodies import RequestBodyMismatch
from orthros_client.http.callers import Caller
from orthros_client.http.exchange import EXCHANGE, Exchange, refusal_in
from orthros_client.http.guard import Admitted, Bearers, Denied, Guard, Hook
from orthros_client.http.incoming import IncomingRequest
from orthros_client.http.observed import Log
from orthros_client.http.probes import Probe, judge_probe, probes_of
from orthros_client.http.responses import Leaving
from orthros_client.http.routes import Route
from orthros_client.propagation import Serving
from orthros_client.verifier import Verifier
from orthros_protocol import LocalMisuse
from orthros_protocol.derivation import digest

__all__ = [
    "CALLER", "Caller", "OrthrosMiddleware", "RequestBodyMismatch", "Route", "gunicorn_client_certificate", "self_test",
]  # fmt: skip

Environ = dict[str, Any]
StartResponse = Callable[..., Callable[[bytes], object]]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
Channel = Callable[[Environ], bytes | None]
"""Names the connection of a request in 32 bytes, such as the SHA-256 of the client's certificate; None without one."""

CALLER: Final = "orthros.caller"
PROBE: Final = "orthros.probe"
_PIECE: Final = 64 * 1024
_END: Final = object()


class OrthrosMiddleware:
    """Wraps a WSGI application: `OrthrosMiddleware(app, verifier=..., origins=[...])`.

    The verified caller is in `environ["orthros.caller"]`, None on public routes.

    verifier, bearer, origins, routes, mode, trusted_proxies, on_verify, hold_bytes: see `Guard`.
    channel: names the connection, for caveats that bind to one.
    Raises as `Guard`, and Misconfigured `unprotected` when the application answers without credentials.
    """

    def __init__(
        self,
        app: App,
        *,
        verifier: Verifier | None = None,
        bearer: Bearers | None = None,
        origins: Iterable[str],
        routes: Iterable[Route] = (),
        mode: str = "enforce",
        trusted_proxies: Iterable[str] = (),
        on_verify: Hook | None = None,
        hold_bytes: int | None = None,
        channel: Channel | None = None,
        log: Log | None = None,
    ) -> None:
        self._app = app
        self._channel = channel
        self.guard = Guard(
            verifier=verifier,
            bearer=bearer,
            origins=origins,
            routes=routes,
            mode=mode,
            trusted_proxies=trusted_proxies,
            on_verify=on_verify,
            hold_bytes=hold_bytes,
            log=log,
        )
        if not self.guard.observing:
            self_test(self, self.guard.routes.rows, host=self.guard.origins.hosts[0])

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        verdict = self._judge(environ)
        if isinstance(verdict, Denied):
            if not self.guard.observing or verdict.is_handshake:
                start_answer(verdict.answer, start_response)
                return [b"" if environ["REQUEST_METHOD"] == "HEAD" else verdict.answer.body]
            verdict = Admitted(request=verdict.request, route=verdict.route or Route("/*"))
        exchange = Exchange(self.guard, verdict)
        environ[CALLER] = verdict.caller
        environ[EXCHANGE] = exchange
        body = None
        if verdict.checks_body:
            body = _Body(environ, exchange, verdict.length)
            environ["wsgi.input"] = io.BufferedReader(body, _PIECE)
            environ["wsgi.input_terminated"] = True
        return _Response(self._app, environ, start_response, exchange, body)

    def _judge(self, environ: Environ) -> Admitted | Denied:
        request = _incoming(environ)
        if self._channel is not None:
            try:
                request = evolve(request, channel=self._channel(environ))
            except Exception as error:  # noqa: BLE001  # the service's own function: what it breaks stays closed
                return self.guard.broken(request, None, error)
        return self.guard.judge(request)


class _Body(io.RawIOBase):
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


class _Response:
    """The application's answer: held, proven and let go, or replaced by the refusal that is due."""

    def __init__(
        self, app: App, environ: Environ, start_response: StartResponse, exchange: Exchange, body: _Body | None
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
            self._begun = True
            headers = [(name, value.decode("latin-1")) for name, value in head.headers]
            self._write = self._start_response(f"{head.status} {self._reason}", headers)
        return leaving.data

    def _settle(self, error: Exception) -> None:
        """Answers for an application that raised before anything of its answer had left; raises afterwards."""
        self._request.end()
        exchange, refusal = self._exchange, refusal_in(error)
        if self._begun or not (refusal or exchange.refusal or exchange.proves):
            raise error
        if refusal is not None:
            answer = exchange.answer_to(refusal)
        elif exchange.refusal is not None:
            answer = exchange.refusal.answer
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


def _incoming(environ: Environ) -> IncomingRequest:
    target = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return IncomingRequest(
        method=environ["REQUEST_METHOD"],
        target=None if target is None else target.encode("latin-1"),
        headers=tuple(_headers(environ)),
        decoded_path=path.encode("latin-1").decode("utf-8", "replace"),
        transport_peer=environ.get("REMOTE_ADDR", ""),
        is_probe=PROBE in environ,
    )


def _headers(environ: Environ) -> Iterator[tuple[str, bytes]]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-").lower(), value.encode("latin-1")
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            yield name.replace("_", "-").lower(), environ[name].encode("latin-1")


def start_answer(answer: Answer, start_response: StartResponse) -> Callable[[bytes], object]:
    headers = [(name, value.decode("latin-1")) for name, value in answer.headers]
    return start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", headers)


def gunicorn_client_certificate(environ: Environ) -> bytes | None:
    """A `channel` for gunicorn with TLS: the SHA-256 of the client's certificate, None when it showed none."""
    certificate_of = getattr(environ.get("gunicorn.socket"), "getpeercert", None)
    certificate = None if certificate_of is None else certificate_of(binary_form=True)
    return digest(certificate) if certificate else None


def self_test(app: App, routes: Iterable[Route] = (), *, host: str = "localhost", paths: Iterable[str] = ()) -> None:
    """Asks `app` without credentials, as a server would, at every route and at a path that it does not have.

    `app` is the outermost application, the one that the server runs. Raises Misconfigured `unprotected` when it answers
    anything but 401 or 403 (row L12).
    """
    for probe in probes_of(routes, host, paths):
        judge_probe(probe, _status_of(app, probe))


def _status_of(app: App, probe: Probe) -> int | None:
    found: list[int] = []

    def start_response(status: str, _headers: object, _exc_info: object = None) -> Callable[[bytes], object]:
        found.append(int(status.partition(" ")[0]))
        return lambda _data: None

    with suppress(Exception):  # whatever the application raises, it was reached without credentials
        result = app(_environ_of(probe), start_response)
        try:
            for _piece in result:
                pass
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
    return found[-1] if found else None


def _environ_of(probe: Probe) -> Environ:
    environ: Environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": probe.decoded_path.encode("utf-8").decode("latin-1"),
        "RAW_URI": probe.path,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        PROBE: True,
    }
    for name, value in probe.headers:
        environ[f"HTTP_{name.upper().replace('-', '_')}"] = value.decode("ascii")
    return environ
