"""A service that stands behind a proxy: it says what reached it, and writes down what it executed.

`ORIGINS` are its origins, separated by spaces; `EXECUTED` is the file with a line for each execution.
"""

from __future__ import annotations

import os
import signal
from hashlib import sha256
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route as Endpoint

from orthros_client.integrations.starlette import OrthrosMiddleware, Route

ORIGINS = os.environ["ORIGINS"].split()
EXECUTED = Path(os.environ["EXECUTED"])


async def show(request: Request) -> JSONResponse:
    body = await request.body()
    return JSONResponse(
        {
            "method": request.method,
            "target": request.scope["raw_path"].decode() + "?" + request.scope["query_string"].decode(),
            "headers": [[name.decode(), value.decode("latin-1")] for name, value in request.headers.raw],
            "http": request.scope["http_version"],
            "body": sha256(body).hexdigest(),
        }
    )


async def text(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("all work and no play\n" * 1000)


async def large(_request: Request) -> Response:
    return Response(bytes(3 << 20), media_type="application/octet-stream")


async def moved(request: Request) -> RedirectResponse:
    return RedirectResponse(f"http://{request.headers['host']}/show/there")


def execute(request: Request) -> Response:
    """Writes the name down; then its worker is killed, or it fails, as the query wants. The second time it works."""
    name = request.path_params["name"]
    is_first = not EXECUTED.exists() or name not in EXECUTED.read_text("utf-8").split()
    with EXECUTED.open("a", encoding="utf-8") as file:
        file.write(f"{name}\n")
    if is_first and request.url.query == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return PlainTextResponse("done\n", 500 if is_first and request.url.query == "fail" else 200)


app = Starlette(
    routes=[
        Endpoint("/show/{rest:path}", show, methods=["GET", "POST"]),
        Endpoint("/text", text),
        Endpoint("/large", large),
        Endpoint("/moved", moved),
        Endpoint("/execute/{name}", execute, methods=["POST"]),
    ]
)
app.add_middleware(OrthrosMiddleware, origins=ORIGINS, routes=[Route("/show/*", unsized_bodies=True)])
