"""A WSGI service whose callers are bound to the certificate of their connection, for gunicorn with TLS."""

from __future__ import annotations

from typing import Any

from orthros_client import Verifier
from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware, gunicorn_client_certificate


def service(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(environ["orthros.caller"].client).encode("ascii")]


application = OrthrosWsgiMiddleware(
    service,
    verifier=Verifier.from_environment(),
    origins=["https://orders.example"],
    channel=gunicorn_client_certificate,
)
