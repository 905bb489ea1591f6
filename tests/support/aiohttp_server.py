"""aiohttp's own server over a pair of connected sockets: one request in, the whole answer out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from http.client import HTTPResponse
from typing import Any

from aiohttp import web

from tests.support.http_caller import Call, Received

__all__ = ["ask", "ask_app"]


def ask(
    middleware: Any, handler: Callable[[web.Request], Awaitable[web.StreamResponse]], call: Call, **options: Any
) -> Received:
    """Sends `call` to a handler for every path behind `middleware`."""
    return asyncio.run(_ask(middleware, handler, call, **options))


async def _ask(
    middleware: Any,
    handler: Any,
    call: Call,
    *,
    state: Iterable[tuple[Any, Any]] = (),
    pieces: list[bytes] | None = None,
) -> Received:
    app = web.Application(middlewares=[middleware], handler_args={"access_log": None})
    for key, value in state:
        app[key] = value
    app.router.add_route("*", "/{rest:.*}", handler)
    return await ask_app(app, call, pieces)


async def ask_app(app: web.Application, call: Call, pieces: list[bytes] | None = None) -> Received:
    """Sends `call` to a whole application, from its start to its end."""
    runner = web.AppRunner(app)
    await runner.setup()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        await loop.connect_accepted_socket(runner.server, theirs)  # type: ignore[arg-type]
        sending = loop.create_task(_send(ours, call, [call.body] if pieces is None else pieces))
        answer = b""
        while piece := await loop.sock_recv(ours, 65536):
            answer += piece
        sending.cancel()
    finally:
        ours.close()
        await runner.cleanup()
    return _parsed(answer, call.method)


async def _send(ours: socket.socket, call: Call, pieces: list[bytes]) -> None:
    loop = asyncio.get_running_loop()
    lines = [call.method.encode() + b" " + call.target + b" HTTP/1.1"]
    lines += [name.encode() + b": " + value for name, value in call.headers]
    head = b"\r\n".join([*lines, b"connection: close", b"", b""])
    chunked = any(name == "transfer-encoding" for name, _value in call.headers)
    await loop.sock_sendall(ours, head)
    for piece in pieces:
        if piece:
            await loop.sock_sendall(ours, b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
            await asyncio.sleep(0)
    if chunked:
        await loop.sock_sendall(ours, b"0\r\n\r\n")
    if sum(map(len, pieces)) < len(call.body):
        ours.shutdown(socket.SHUT_WR)


class _Answer:
    """What `http.client` reads from."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, _mode: str) -> Any:
        import io

        return io.BytesIO(self._answer)


def _parsed(answer: bytes, method: str) -> Received:
    if not answer:
        raise ConnectionError("no answer")
    response = HTTPResponse(_Answer(answer), method=method)  # type: ignore[arg-type]
    response.begin()
    found = tuple((name.lower(), value.encode("latin-1")) for name, value in response.getheaders())
    return Received(status=response.status, headers=found, body=response.read())
