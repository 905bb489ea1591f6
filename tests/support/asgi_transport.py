"""httpx straight into ASGI applications, one for each origin, as a careful server would run them.

Unlike httpx's own transport it tells the whole body at once, and leaves nothing half read behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import anyio
import httpx
import httpx2
from attrs import define, field

from orthros_client.integrations.asgi_call import App

__all__ = ["InProcess"]


@define
class InProcess(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
    """Origin -> application. `seen` are the requests that were sent, in order."""

    apps: Mapping[str, App]
    seen: list[Any] = field(factory=list)

    async def handle_async_request(self, request: Any) -> Any:
        self.seen.append(request)
        app = self.apps[f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"]
        body = await request.aread()
        waiting = [{"type": "http.request", "body": body, "more_body": False}]
        answered = anyio.Event()
        status, headers, pieces = [], [], []

        async def receive() -> Any:
            if waiting:
                return waiting.pop()
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])
                headers.extend(message["headers"])
            else:
                pieces.append(message.get("body", b""))
                if not message.get("more_body"):
                    answered.set()

        try:
            await app(_scope_of(request), receive, send)
        except Exception:
            if not answered.is_set():  # what comes behind an answer, servers log
                raise
        (only,) = status
        library = httpx if isinstance(request, httpx.Request) else httpx2
        return library.Response(only, headers=headers, stream=library.ByteStream(b"".join(pieces)))


def _scope_of(request: Any) -> dict[str, Any]:
    path, _, query = request.url.raw_path.partition(b"?")
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
        "method": request.method, "scheme": request.url.scheme, "path": unquote(path.decode("ascii")),
        "raw_path": path, "query_string": query, "root_path": "", "client": ("127.0.0.1", 4711),
        "server": (request.url.host, request.url.port),
        "headers": [(name.lower(), value) for name, value in request.headers.raw], "extensions": {}, "state": {},
    }  # fmt: skip
