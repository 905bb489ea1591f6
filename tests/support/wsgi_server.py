"""A minimal WSGI server in memory, as strict as PEP 3333 lets one be.

Tells the raw request-target as gunicorn does, and joins repeated headers as gunicorn does.
"""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import unquote_to_bytes

from orthros_client.integrations.wsgi_call import App
from tests.support.http_caller import Call, Received

__all__ = ["Input", "ask", "environ_of"]


class Input(io.BytesIO):
    """A body that may not be read beyond its length: a real connection would hang there."""

    def __init__(self, body: bytes, length: int | None) -> None:
        super().__init__(body)
        self._most = length

    def read(self, size: int | None = -1, /) -> bytes:
        if self._most is not None:
            assert size is not None
            assert 0 <= size <= self._most - self.tell(), "read beyond the end"
        return super().read(size)


def environ_of(call: Call, *, body: bytes | None = None, **changes: Any) -> dict[str, Any]:
    path, _, query = call.target.partition(b"?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": call.method, "SCRIPT_NAME": "", "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"), "RAW_URI": call.target.decode("latin-1"), "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "192.0.2.7", "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http", "wsgi.errors": io.StringIO(), "wsgi.multithread": True, "wsgi.multiprocess": True,
        "wsgi.run_once": False, "wsgi.input_terminated": True,
    }  # fmt: skip
    for name, value in call.headers:
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
            value = (environ[key] + ",").encode() + value if key in environ else value  # noqa: PLW2901
        environ[key] = value.decode("latin-1")
    length = environ.get("CONTENT_LENGTH", "")
    environ["wsgi.input"] = Input(call.body if body is None else body, int(length) if length.isdigit() else None)
    return environ | changes


def ask(app: App, call: Call, *, body: bytes | None = None, **changes: Any) -> Received:
    """Sends `call`, with another body if told, and returns the whole response."""
    heads: list[tuple[str, list[tuple[str, str]]]] = []
    out: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        assert not out, "the head came after the body"
        assert not heads, "two heads"
        heads.append((status, headers))
        return out.append

    result = app(environ_of(call, body=body, **changes), start_response)
    try:
        for piece in result:
            assert heads, "a body before its head"
            out.append(piece)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()
    status, headers = heads[0]
    sent = tuple((name.lower(), value.encode("latin-1")) for name, value in headers)
    return Received(status=int(status.split()[0]), headers=sent, body=b"".join(out))
