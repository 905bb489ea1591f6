"""WSGI: serves a `Discharger` at its well-known path, inside an application that the middleware protects.

Knows neither predicates nor who may ask: the `Discharger` does.
"""

from __future__ import annotations

from collections.abc import Iterable

from orthros_client.credentials.discharger import Discharger
from orthros_client.http.client.discharges import PATH, answered, asker_of
from orthros_client.http.server.exchange import CALLER, EXCHANGE, answer_in
from orthros_client.integrations.wsgi_call import App, Environ, StartResponse, start_answer
from orthros_protocol.errors import Refused
from orthros_protocol.primitives.http_fields import parse_length

__all__ = ["WsgiDischargeEndpoint"]


class WsgiDischargeEndpoint:
    """Answers at `/.well-known/orthros/discharge`, and passes everything else to `app`.

    In Flask `app.wsgi_app = WsgiDischargeEndpoint(app.wsgi_app, discharger=...)`, before `protect(app, ...)`: without a
    middleware around it nobody is answered. The rule of `discharger` is a plain function here.
    """

    def __init__(self, app: App, *, discharger: Discharger) -> None:
        self._app = app
        self._discharger = discharger

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "") != PATH:
            return self._app(environ, start_response)
        try:
            kind, length = environ.get("CONTENT_TYPE", ""), environ.get("CONTENT_LENGTH", "")
            caller = asker_of(environ.get(CALLER), environ["REQUEST_METHOD"], kind, length)
            answer = answered(self._discharger.answer(caller, environ["wsgi.input"].read(parse_length(length))))
        except Refused as refusal:
            answer = answer_in(environ.get(EXCHANGE), refusal)
        start_answer(answer, start_response)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer.body]
