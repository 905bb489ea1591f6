"""The smallest services that tell what they were given: `asgi` and `wsgi`, with the same rows. For any server."""

from __future__ import annotations

import json
import os
from typing import Any

from orthros_client import Verifier
from orthros_client.http.server.routes import Route
from orthros_client.integrations.asgi import OrthrosMiddleware as AsgiMiddleware
from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware as WsgiMiddleware

OPTIONS: dict[str, Any] = {
    "verifier": Verifier.from_environment(),
    "origins": ["https://orders.example"],
    "routes": [
        Route("/open", public=True),
        Route("/chunks/*", unsized_bodies=True),
        Route("/admin/*", scopes=["admin"]),
    ],
}


def told(path: str, query: str, names: list[str], body: bytes) -> bytes:
    """What the service answers."""
    content = {"path": path, "query": query, "headers": sorted(names), "body": body.decode(), "pid": os.getpid()}
    return json.dumps(content).encode()


async def echo(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body, more = b"", True
    while more and (message := await receive())["type"] == "http.request":
        body, more = body + message["body"], message["more_body"]
    names = [name.decode() for name, _value in scope["headers"]]
    answer = told(scope["path"], scope["query_string"].decode(), names, body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer})


def echo_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    path = (environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]).encode("latin-1").decode()
    names = [name[5:].replace("_", "-").lower() for name in environ if name.startswith("HTTP_")]
    names += ["content-type"] if environ.get("CONTENT_TYPE") else []
    # Only what the middleware has put there is sure to end by itself.
    body = environ["wsgi.input"].read() if environ.get("orthros.caller") else b""
    answer = told(path, environ.get("QUERY_STRING", ""), names, body)
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer]


asgi = AsgiMiddleware(echo, **OPTIONS)
wsgi = WsgiMiddleware(echo_wsgi, **OPTIONS)
