"""The ASGI application: a request read whole under caps and a deadline, handed to its endpoint, answered in JSON.

Knows HTTP and nothing of what an endpoint does; which path leads where is told by `routes.py`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final

import structlog
import trio
from attrs import evolve, field, frozen

from orthros_kdc.config import LimitSettings
from orthros_kdc.http.callers import Caller, TrustedProxies
from orthros_kdc.oauth.values import Answer, Ask
from orthros_protocol import OrthrosError
from orthros_protocol.primitives.http_fields import stated_length

__all__ = ["CONNECTION", "Admit", "App", "Endpoint", "Find", "Handler", "Receive", "Scope", "Send", "failure"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Handler = Callable[[Ask], Awaitable[Answer]]
Find = Callable[[str], Awaitable["Endpoint | None"]]
Admit = Callable[[Ask], Awaitable[Answer | None]]

CONNECTION: Final = "orthros.connection"
"""In the ASGI state: the connection, with `caller`, `take()` for a request that pays for itself, and `prove(name)`.
Without it the peer is `scope["client"]`."""

_MOST_HEADERS: Final = 64
_MOST_HEADER_BYTES: Final = 16 * 1024
_READABLE: Final = frozenset({"GET", "HEAD"})
_ERRORS: Final[Mapping[int, str]] = {
    404: "not_found",
    405: "method_not_allowed",
    500: "server_error",
    503: "temporarily_unavailable",
}
_ALWAYS: Final = (
    (b"cache-control", b"no-store"),
    (b"pragma", b"no-cache"),
    (b"x-content-type-options", b"nosniff"),
)
_log = structlog.get_logger(__name__)


@frozen(kw_only=True)
class Endpoint:
    """What one path does: a handler for GET and HEAD, or one for each content type of a POST."""

    get: Handler | None = None
    post: Mapping[str, Handler] = field(factory=dict)

    @property
    def allow(self) -> str:
        """The Allow header."""
        return ", ".join((["GET", "HEAD"] if self.get else []) + (["POST"] if self.post else []))


class _Stop(Exception):
    """The request is answered before its endpoint sees it."""

    def __init__(self, status: int, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.answer = failure(status, text, headers)


class _Gone(Exception):
    """The client waits for no answer any more."""


def failure(status: int, text: str, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """An error as RFC 6749 shapes it. `text` is ours, never the caller's: ASCII without quotes and backslashes."""
    body = {"error": _ERRORS.get(status, "invalid_request"), "error_description": text}
    return Answer(status=status, body=json.dumps(body).encode("ascii"), headers=tuple(headers))


class App:
    """An ASGI 3 application for trio. `find` leads from a path to its endpoint.

    `admit` is asked about each request that no endpoint sees: it waits for the turn of the source, charges the source,
    and returns the refusal of one that has sent too much. Endpoints do that themselves. `limits` may be replaced while
    it serves.
    """

    def __init__(
        self, find: Find, limits: LimitSettings, *, max_body: int, proxies: TrustedProxies, admit: Admit
    ) -> None:
        self._find = find
        self._admit = admit
        self._max_body = max_body
        self.proxies = proxies
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the server's start and end. WebSockets are refused."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})
        elif scope["type"] == "lifespan":
            await _live(receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_body_left, where, body = True, "", bytearray()
        connection = _state(scope)
        try:
            ask = self._ask(scope)
            try:
                _check_headers(scope)
                handler = await self._route(scope)
                where = ask.path  # from here on it is one of ours, and not the text of a stranger
                if ask.method not in _READABLE:
                    await self._read(body, ask.headers, receive)
                    has_body_left = False
                _take(connection)
                answer = await handler(evolve(ask, body=bytes(body)))
            except _Stop as stop:
                _take(connection)
                answer = await self._admit(evolve(ask, body=bytes(body))) or stop.answer
            if answer.proves and connection is not None:
                connection.prove(answer.proves)
        except _Gone:
            return
        except OrthrosError as error:
            _log.error("request failed", path=where, code=error.code, detail=error.detail)
            answer = failure(503, "the KDC cannot answer now")
        except Exception:  # noqa: BLE001  # logged with its traceback
            _log.exception("request failed", path=where)
            answer = failure(500, "the KDC could not complete the request because of a fault of its own")
        if has_body_left and not _is_bodyless(scope):
            await _answer_early(answer, scope, receive, send)
        else:
            await _send(answer, scope, send)

    async def _route(self, scope: Scope) -> Handler:
        # The path as it came: no second spelling of an endpoint slips past a proxy that filters by path.
        path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        endpoint = await self._find(path)
        if endpoint is None:
            raise _Stop(404, "there is nothing at this path")
        method = scope["method"]
        if endpoint.get is not None and method in _READABLE:
            return endpoint.get
        if not endpoint.post or method != "POST":
            raise _Stop(405, f"this path takes {endpoint.allow}", (("allow", endpoint.allow),))
        kinds = [value for name, value in scope["headers"] if name == b"content-type"]
        kind = kinds[0].decode("latin-1").partition(";")[0].strip().lower() if len(kinds) == 1 else ""
        if kind not in endpoint.post:
            # RFC 6749, section 5.2 knows 400 alone, and so do libraries: not 415.
            raise _Stop(400, f"send {' or '.join(endpoint.post)}, and say so in one Content-Type header")
        return endpoint.post[kind]

    async def _read(self, body: bytearray, headers: tuple[tuple[str, str], ...], receive: Receive) -> None:
        lengths = [value for name, value in headers if name == "content-length"]
        if len(lengths) > 1 or (lengths and any(name == "transfer-encoding" for name, _ in headers)):
            raise _Stop(400, "the length of the body is stated twice")
        length = stated_length(lengths)
        if lengths and length is None:
            raise _Stop(400, "the content length is not a number in its one form")
        if length is not None and length > self._max_body:
            raise self._too_large()
        with trio.move_on_after(self.limits.read_deadline_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                body += message.get("body", b"")
                if len(body) > self._max_body:
                    raise self._too_large()
                if not message.get("more_body", False):
                    return
        raise _Stop(408, f"the body did not arrive within {self.limits.read_deadline_s:g} s")

    def _too_large(self) -> _Stop:
        return _Stop(413, f"a body has at most {self._max_body} bytes")

    def _ask(self, scope: Scope) -> Ask:
        headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"])
        forwarded = [value for name, value in headers if name == "x-forwarded-for"]
        caller = self.proxies.caller(_peer(scope), forwarded)
        return Ask(
            path=scope["path"],
            method=scope["method"],
            headers=headers,
            query=scope.get("query_string", b""),
            source=caller.source,
            address=caller.address,
        )


def _check_headers(scope: Scope) -> None:
    raw = scope["headers"]
    if len(raw) > _MOST_HEADERS or sum(len(name) + len(value) for name, value in raw) > _MOST_HEADER_BYTES:
        raise _Stop(431, f"a request has at most {_MOST_HEADERS} headers and {_MOST_HEADER_BYTES} bytes of them")


def _is_bodyless(scope: Scope) -> bool:
    stated = [(name, value) for name, value in scope["headers"] if name in (b"content-length", b"transfer-encoding")]
    return stated in ([], [(b"content-length", b"0")])


def _state(scope: Scope) -> Any:
    return scope.get("state", {}).get(CONNECTION)


def _take(connection: Any) -> None:
    """From here on the request pays for itself, whatever becomes of it."""
    if connection is not None:
        connection.take()


def _peer(scope: Scope) -> Caller:
    connection = _state(scope)
    if connection is not None:
        caller: Caller = connection.caller
        return caller
    named = Caller.at(scope["client"][0]) if scope.get("client") else None
    return named or Caller(source="unknown", address="")


async def _send(answer: Answer, scope: Scope, send: Send, *more: tuple[bytes, bytes]) -> None:
    ours = dict([*_ALWAYS, (b"content-length", str(len(answer.body)).encode("ascii")), *more])
    given = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    headers = [*ours.items(), *((name, value) for name, value in given if name not in ours)]
    if answer.body and all(name != b"content-type" for name, _ in given):
        headers.append((b"content-type", b"application/json"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else answer.body
    await send({"type": "http.response.body", "body": body})


async def _answer_early(answer: Answer, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers what has not been read to its end. A server with a full queue must get rid of it to take the answer."""

    async def discard() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(discard)
        await _send(answer, scope, send, (b"connection", b"close"))
        nursery.cancel_scope.cancel()


async def _live(receive: Receive, send: Send) -> None:
    while True:
        stage = (await receive())["type"]
        await send({"type": f"{stage}.complete"})
        if stage == "lifespan.shutdown":
            return
