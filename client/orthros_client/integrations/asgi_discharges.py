"""ASGI: serves a `Discharger` at its well-known path, inside an application that the middleware protects.

Knows neither predicates nor who may ask: the `Discharger` does.
"""

from __future__ import annotations

from orthros_client.credentials.discharger import Discharger
from orthros_client.http.client.discharges import PATH, answered, asker_of
from orthros_client.http.server.exchange import CALLER, EXCHANGE, answer_in
from orthros_client.integrations.asgi_call import App, Receive, Scope, Send, send_answer
from orthros_protocol.errors import Refused

__all__ = ["DischargeEndpoint"]


class DischargeEndpoint:
    """Answers at `/.well-known/orthros/discharge`, and passes everything else to `app`.

    `app.add_middleware(DischargeEndpoint, discharger=...)`, before `OrthrosMiddleware` is added: what is added later
    stands outside, and without it nobody is answered.
    """

    def __init__(self, app: App, *, discharger: Discharger) -> None:
        self._app = app
        self._discharger = discharger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        try:
            headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
            kind, length = headers.get(b"content-type", ""), headers.get(b"content-length", "")
            caller = asker_of(scope.get(CALLER), scope["method"], kind, length)
            answer = answered(await self._discharger.aanswer(caller, await _read(receive)))
        except Refused as refusal:
            answer = answer_in(scope.get(EXCHANGE), refusal)
        await send_answer(answer, send)


async def _read(receive: Receive) -> bytes:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    return body
