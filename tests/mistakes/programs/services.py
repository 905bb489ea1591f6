"""Every service of the table, each in a process of its own: they share the time that importing takes, and nothing else.

Usage: services.py FILE. The file is a JSON list of `name`, `kind`, `port`, `log` and what the kind needs.
"""

from __future__ import annotations

import ctypes
import http.server
import json
import os
import signal
import sys
import time
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route as Endpoint
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from orthros_client import Verifier
from orthros_client.integrations.starlette import OrthrosMiddleware, Route, require
from orthros_client.verifier.bearer import BearerVerifier
from orthros_protocol.primitives.instants import Timestamp

_PR_SET_PDEATHSIG = 1


async def show(request: Request) -> JSONResponse:
    return JSONResponse({"order": request.path_params["name"]})


async def place(request: Request) -> JSONResponse:
    return JSONResponse({"placed": await request.json()})


@require("admin")
async def administer(_request: Request) -> JSONResponse:
    return JSONResponse({"done": True})


async def moved(_request: Request) -> RedirectResponse:
    return RedirectResponse("/orders/7")


async def live(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("live")
    await socket.close()


def application() -> Starlette:
    return Starlette(
        routes=[
            Endpoint("/orders/{name}", show),
            Endpoint("/orders", place, methods=["POST"]),
            Endpoint("/api/{name}", show),
            Endpoint("/admin", administer),
            Endpoint("/moved", moved),
            WebSocketRoute("/live", live),
        ]
    )


def guarded(told: dict[str, Any]) -> Starlette:
    """As a page of the documentation would have it. `behind_s`: the clock of this host is so many seconds behind."""
    behind_ms = told.get("behind_s", 0) * 1000
    options: dict[str, Any] = {"replay": "memory"}
    if behind_ms:
        options["clock"] = lambda: Timestamp(time.time_ns() // 1_000_000 - behind_ms)
    app, verifier = application(), Verifier.from_file(told["key"], **options)
    bearer, routes = None, []
    if "jwk" in told:
        bearer = BearerVerifier.from_file(told["jwk"], audience="orders@corp.test", issuer="https://corp.test")
        routes = [Route("/api/*", schemes=["bearer"])]
    app.add_middleware(OrthrosMiddleware, verifier=verifier, bearer=bearer, origins=told["origins"], routes=routes)
    return app


def reencoding(told: dict[str, Any]) -> Starlette:
    """A gateway that reads JSON and writes it again, as validating gateways do. All else goes through as it came."""

    def forward(request: Request, body: bytes) -> Response:
        upstream = HTTPConnection("127.0.0.1", told["upstream"], timeout=20)
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        again = json.dumps(json.loads(body), indent=1).encode() if body else b""
        upstream.request(request.method, request.url.path, again, headers)
        got = upstream.getresponse()
        kept = {name: value for name, value in got.getheaders() if name.lower() not in ("content-length", "connection")}
        return Response(got.read(), got.status, kept)

    async def pass_on(request: Request) -> Response:
        return forward(request, await request.body())

    return Starlette(routes=[Endpoint("/{rest:path}", pass_on, methods=["GET", "POST", "OPTIONS"])])


def serve(told: dict[str, Any]) -> None:
    log = os.open(told["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    structlog.configure(
        processors=[structlog.processors.KeyValueRenderer(key_order=["event", "reason", "client"], drop_missing=True)]
    )
    kind = told["kind"]
    if kind == "stranger":
        with http.server.ThreadingHTTPServer(("127.0.0.1", told["port"]), http.server.SimpleHTTPRequestHandler) as one:
            one.serve_forever()
    app = {"guarded": guarded, "bare": lambda _told: application(), "reencoding": reencoding}[kind](told)
    uvicorn.run(app, host="127.0.0.1", port=told["port"], proxy_headers=False)


def main() -> None:
    pids = []
    for told in json.loads(Path(sys.argv[1]).read_text("utf-8")):
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            serve(told)
            os._exit(0)
        pids.append(pid)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        print("started", flush=True)
        signal.pause()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
