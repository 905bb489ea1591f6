"""WSGI: a middleware that verifies every request before the application sees it, and proves every response (PEP 3333).

For Flask, Django and any other WSGI application. Where a server does not tell the raw request-target, it is put
together again from what the server made of it. Decides nothing itself: `orthros_client.http` does.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final, Unpack

from attrs import evolve

from orthros_client.http.propagation import serves_requests
from orthros_client.http.server.bodies import RequestBodyMismatch
from orthros_client.http.server.callers import Caller
from orthros_client.http.server.exchange import CALLER, EXCHANGE, Exchange
from orthros_client.http.server.guard import Admitted, Denied, Guard
from orthros_client.http.server.incoming import IncomingRequest, rebuild_target
from orthros_client.http.server.options import GuardOptions
from orthros_client.http.server.probes import PROBE, Probe, judge_probe, probes_of
from orthros_client.http.server.routes import Route
from orthros_client.integrations.registered import StartCheck
from orthros_client.integrations.wsgi_call import (
    App,
    Environ,
    RequestBody,
    StartResponse,
    WsgiCall,
    discard,
    start_answer,
)
from orthros_client.integrations.wsgi_servers import tells_names_apart
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.derivation import digest

__all__ = [
    "Caller",
    "OrthrosWsgiMiddleware",
    "RequestBodyMismatch",
    "Route",
    "gunicorn_client_certificate",
    "self_test",
]

Channel = Callable[[Environ], bytes | None]
"""Names the connection of a request in 32 bytes, such as the SHA-256 of the client's certificate; None without one."""

_CGI: Final = ("CONTENT_TYPE", "CONTENT_LENGTH")
_TWINS: Final = ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH")
_PIECE: Final = 64 * 1024


class OrthrosWsgiMiddleware:
    """Wraps a WSGI application: `OrthrosWsgiMiddleware(app, origins=[...])`.

    The verified caller is in `environ["orthros.caller"]`, None on public routes.

    channel: names the connection, for caveats that bind to one. The other options are those of `GuardOptions`.
    Raises as `Guard`, and Misconfigured `unprotected` when the application answers without credentials.
    """

    def __init__(
        self,
        app: App,
        *,
        channel: Channel | None = None,
        **options: Unpack[GuardOptions],
    ) -> None:
        serves_requests(from_now_on=True)
        self._app = app
        self._channel = channel
        self.guard = Guard(**options)
        self.start = StartCheck(app, self.guard.routes.rows, self.guard.journal.log)
        if not self.guard.observing:
            self_test(self, self.guard.routes.rows, host=self.guard.origins.hosts[0])

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        verdict = self._judge(environ)
        if isinstance(verdict, Denied):
            if not self.guard.observing or verdict.is_handshake:
                if verdict.is_handshake:  # a stranger could hold the thread by not sending its body
                    discard(environ, verdict)
                start_answer(verdict.answer, start_response)
                return [b"" if environ["REQUEST_METHOD"] == "HEAD" else verdict.answer.body]
            verdict = Admitted(request=verdict.request, route=verdict.route or Route("/*"))
        exchange = Exchange(self.guard, verdict)
        environ[CALLER] = exchange.caller
        environ[EXCHANGE] = exchange
        body = None
        if verdict.checks_body:
            body = RequestBody(environ, exchange, verdict.length)
            environ["wsgi.input"] = io.BufferedReader(body, _PIECE)
            environ["wsgi.input_terminated"] = True
            if exchange.reads_ahead:
                body.read_ahead()
            if exchange.refusal is not None:
                start_answer(exchange.refusal.answer, start_response)
                return [b"" if environ["REQUEST_METHOD"] == "HEAD" else exchange.refusal.answer.body]
        exchange.begin()
        return WsgiCall(self._app, environ, start_response, exchange, body)

    def _judge(self, environ: Environ) -> Admitted | Denied:
        _forget_default_type(environ)
        request = _incoming(environ)
        if self._channel is not None:
            try:
                request = evolve(request, channel=self._channel(environ))
            except Exception as error:  # noqa: BLE001  # the service's own function: what it breaks stays closed
                return self.guard.broken(request, None, error)
        verdict = self.guard.judge(request)
        if isinstance(verdict, Admitted) and not request.is_probe:
            try:
                self.start.at_request()
            except Misconfigured as error:
                return self.guard.broken(request, verdict.route, error)
        return verdict


def _incoming(environ: Environ) -> IncomingRequest:
    mount = environ.get("SCRIPT_NAME", "").encode("latin-1")
    path = mount + environ.get("PATH_INFO", "").encode("latin-1")
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    return IncomingRequest(
        method=environ["REQUEST_METHOD"],
        target=raw.encode("latin-1") or rebuild_target(path, environ.get("QUERY_STRING", "").encode("latin-1")),
        is_rebuilt=not raw,
        headers=tuple(_headers(environ)),
        decoded_path=path.decode("utf-8", "replace"),
        mount=mount.decode("utf-8", "replace"),
        transport_peer=environ.get("REMOTE_ADDR", ""),
        is_probe=PROBE in environ,
    )


def _forget_default_type(environ: Environ) -> None:
    """Takes out the type that wsgiref, and with it Django's runserver, gives to a request that names none.

    A caller that did name it has covered it. Left in, it would be a header that somebody added on the way.
    """
    if environ.get("CONTENT_TYPE") != "text/plain" or not environ.get("SERVER_SOFTWARE", "").startswith("WSGIServer/"):
        return
    authorization: str = environ.get("HTTP_AUTHORIZATION", "")
    if authorization[:8].lower() == "orthros " and "content-type" not in authorization.partition(" r=")[0]:
        del environ["CONTENT_TYPE"]


def _headers(environ: Environ) -> Iterator[tuple[str, bytes]]:
    for name, value in environ.items():
        # uWSGI behind nginx shows the two headers of CGI a second time, with HTTP_. Equal ones are one header.
        if name.startswith("HTTP_") and not (name in _TWINS and value == environ.get(name[5:])):
            # Elsewhere this one may be `X_Forwarded_For`, which a proxy passes on as its caller wrote it.
            is_exact = name != "HTTP_X_FORWARDED_FOR" or tells_names_apart(environ)
            yield (name[5:].replace("_", "-") if is_exact else name[5:]).lower(), value.encode("latin-1")
    for name in _CGI:
        if environ.get(name) or f"HTTP_{name}" in environ:
            yield name.replace("_", "-").lower(), environ.get(name, "").encode("latin-1")


def gunicorn_client_certificate(environ: Environ) -> bytes | None:
    """A `channel` for gunicorn with TLS: the SHA-256 of the client's certificate, None when it showed none."""
    certificate_of = getattr(environ.get("gunicorn.socket"), "getpeercert", None)
    certificate = None if certificate_of is None else certificate_of(binary_form=True)
    return digest(certificate) if certificate else None


def self_test(app: App, routes: Iterable[Route] = (), *, host: str = "localhost", paths: Iterable[str] = ()) -> None:
    """Asks `app` without credentials, as a server would, at every route and at a path that it does not have.

    `app` is the outermost application, the one that the server runs. Raises Misconfigured `unprotected` when it answers
    anything but 401 or 403, and `config-invalid` for a route that is written with the mount point, where the
    environment says that there is one (`SCRIPT_NAME`, for gunicorn and a2wsgi).
    """
    mount = os.environ.get("SCRIPT_NAME", "").rstrip("/")
    for probe in probes_of(routes, host, paths, mount):
        judge_probe(probe, _status_of(app, probe, mount))


def _status_of(app: App, probe: Probe, mount: str) -> int | None:
    found: list[int] = []

    def start_response(status: str, _headers: object, _exc_info: object = None) -> Callable[[bytes], object]:
        found.append(int(status.partition(" ")[0]))
        return lambda _data: None

    with suppress(Exception):  # whatever the application raises, it was reached without credentials
        result = app(_environ_of(probe, mount), start_response)
        try:
            for _piece in result:
                pass
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()
    return found[-1] if found else None


def _environ_of(probe: Probe, mount: str) -> Environ:
    """As a server makes it that does not tell the raw target: what is refused then is refused everywhere."""
    path, mount = (text.encode("utf-8").decode("latin-1") for text in (probe.decoded_path, mount))
    if not (path + "/").startswith(mount + "/"):
        mount = ""
    environ: Environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": mount,
        "PATH_INFO": path.removeprefix(mount),
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
