"""A minimal ASGI server in memory: one request in, what was sent out, nothing else.

Delivers the body in the pieces that a test asks for, and can go away in the middle.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

import anyio
import anyio.lowlevel

from orthros_client.integrations.asgi_call import App
from tests.support.http_caller import Call, Received

__all__ = ["Exchanged", "ask", "collect", "pieces_of", "scope_of", "started"]


class Exchanged:
    """What happened: the messages that the application sent, and how many pieces of the body it took."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.taken = 0
        self.complete = False

    @property
    def status(self) -> int | None:
        return next((one["status"] for one in self.sent if one["type"] == "http.response.start"), None)

    @property
    def received(self) -> Received:
        start = next(one for one in self.sent if one["type"] == "http.response.start")
        headers = tuple((name.decode("latin-1"), value) for name, value in start["headers"])
        body = b"".join(one.get("body", b"") for one in self.sent if one["type"] == "http.response.body")
        return Received(status=start["status"], headers=headers, body=body)


def pieces_of(body: bytes, size: int | None = None) -> list[bytes]:
    if not body:
        return [b""]
    size = size or len(body)
    return [body[at : at + size] for at in range(0, len(body), size)]


def scope_of(call: Call, *, client: tuple[str, int] | None = ("192.0.2.7", 4711), **changes: Any) -> dict[str, Any]:
    path, _, query = call.target.partition(b"?")
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": call.method, "scheme": "http", "path": unquote(path.decode("latin-1")), "raw_path": path,
        "query_string": query, "root_path": "", "client": client, "server": ("127.0.0.1", 80),
        "headers": [(name.encode("latin-1"), value) for name, value in call.headers], "extensions": {}, "state": {},
    } | changes  # fmt: skip


async def ask(
    app: App, call: Call, *, pieces: Iterable[bytes] | None = None, cut: bool = False, last_empty: bool = False,
    scope: dict[str, Any] | None = None, **changes: Any,
) -> Exchanged:  # fmt: skip
    """Sends `call`. `cut`: the connection ends after the pieces; `last_empty`: the end comes on its own."""
    seen = Exchanged()
    waiting = iter(pieces_of(call.body) if pieces is None else pieces)
    ahead: list[bytes | None] = [next(waiting, None)]
    ended = anyio.Event()

    async def receive() -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        data = ahead.pop() if ahead else None
        if data is None:
            if cut or ended.is_set():
                return {"type": "http.disconnect"}
            if last_empty and seen.taken and not seen.complete:
                seen.complete = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await ended.wait()
            return {"type": "http.disconnect"}
        seen.taken += 1
        following = next(waiting, None)
        if following is not None:
            ahead.append(following)
        more = following is not None or cut or last_empty
        return {"type": "http.request", "body": data, "more_body": more}

    async def send(message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        seen.sent.append(dict(message))
        if message["type"] == "http.response.body" and not message.get("more_body"):
            ended.set()

    await app(scope or scope_of(call, **changes), receive, send)
    return seen


@asynccontextmanager
async def started(app: App) -> AsyncIterator[None]:
    """`app` between its start and its end, as a server tells them. Raises what it reports as a failure."""
    begin, end = anyio.Event(), anyio.Event()
    events = ["lifespan.shutdown", "lifespan.startup"]
    failures: list[str] = []

    async def receive() -> Any:
        if len(events) == 1:
            await end.wait()
        return {"type": events.pop()}

    async def send(message: Any) -> None:
        if message["type"].endswith("failed"):
            failures.append(message.get("message", ""))
        begin.set()

    async def run() -> None:
        await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
        begin.set()

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await begin.wait()
        if failures:
            raise AssertionError(failures)
        try:
            yield
        finally:
            end.set()


async def collect(receive: Callable[[], Awaitable[Any]]) -> bytes:
    """The whole body, as an application reads it."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client is gone")
        piece: bytes = message["body"]
        body += piece
        if not message["more_body"]:
            return body


async def respond(
    send: Callable[[Any], Awaitable[None]], status: int = 200, body: bytes = b"ok", *,
    headers: Sequence[tuple[bytes, bytes]] = ((b"content-type", b"text/plain"),), pieces: int = 1,
) -> None:  # fmt: skip
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    size = max(1, -(-len(body) // pieces))
    parts = pieces_of(body, size)
    for at, part in enumerate(parts, 1):
        await send({"type": "http.response.body", "body": part, "more_body": at < len(parts)})
