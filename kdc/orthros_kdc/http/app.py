"""The application: a request read whole under caps and a deadline, handed to its endpoint, answered in JSON.

Knows HTTP and nothing of what an endpoint does; which path leads where is told by `routes.py`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import formatdate
from typing import Final

import structlog
from attrs import evolve, field, frozen

from orthros_kdc.http.senders import Sender, TrustedProxies
from orthros_kdc.oauth.http_boundary import HttpAnswer, HttpRequest
from orthros_protocol.errors import OrthrosError
from orthros_runtime.serving.http.conversation import HttpConversation
from orthros_runtime.serving.http.messages import RequestHead, Unreadable

__all__ = ["Admit", "App", "Find", "Handler", "HttpPath", "failure", "headers_of"]

Handler = Callable[[HttpRequest], Awaitable[HttpAnswer]]
Find = Callable[[str], Awaitable["HttpPath | None"]]
Admit = Callable[[HttpRequest], Awaitable[HttpAnswer | None]]

_MOST_HEADERS: Final = 64
_MOST_HEADER_BYTES: Final = 16 * 1024
_READABLE: Final = frozenset({"GET", "HEAD"})
_ERRORS: Final[Mapping[int, str]] = {
    404: "not_found",
    405: "method_not_allowed",
    500: "server_error",
    503: "temporarily_unavailable",
}
_ALWAYS: Final = (("cache-control", "no-store"), ("pragma", "no-cache"), ("x-content-type-options", "nosniff"))
_log = structlog.get_logger(__name__)


@frozen(kw_only=True)
class HttpPath:
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


def failure(status: int, text: str, headers: Sequence[tuple[str, str]] = ()) -> HttpAnswer:
    """An error as RFC 6749 shapes it. `text` is ours, never the caller's: ASCII without quotes and backslashes."""
    body = {"error": _ERRORS.get(status, "invalid_request"), "error_description": text}
    return HttpAnswer(status=status, body=json.dumps(body).encode("ascii"), headers=tuple(headers))


def headers_of(answer: HttpAnswer) -> list[tuple[str, str]]:
    """The headers of an answer as it leaves now."""
    ours = dict([*_ALWAYS, ("content-length", str(len(answer.body)))])
    given = [(name.lower(), value) for name, value in answer.headers]
    if answer.body and all(name != "content-type" for name, _ in given):
        given.append(("content-type", "application/json"))
    return [*ours.items(), *(one for one in given if one[0] not in ours), ("date", formatdate(usegmt=True))]


class App:
    """Answers requests. `find` leads from a path to what it does.

    `admit` is asked about each request that no endpoint sees: it waits for the turn of the source, charges the source,
    and returns the refusal of one that has sent too much. Endpoints do that themselves.
    """

    def __init__(self, find: Find, *, max_body: int, proxies: TrustedProxies, admit: Admit) -> None:
        self._find = find
        self._admit = admit
        self._max_body = max_body
        self.proxies = proxies

    def sender(self, request: RequestHead, peer: Sender) -> Sender:
        """Who sent a request that came from `peer`, as far as that is known from trusted hops."""
        forwarded = [value.decode("latin-1") for name, value in request.headers if name == "x-forwarded-for"]
        return self.proxies.caller(peer, forwarded)

    async def answer(self, request: RequestHead, conversation: HttpConversation, sender: Sender) -> HttpAnswer:
        """The answer to the request, whose body is still to be read. Raises Unreadable when that is broken."""
        where, ask = "", _ask_of(request, sender)
        try:
            try:
                _check_headers(request)
                handler = await self._route(request, ask.path)
                where = ask.path  # from here on it is one of ours, and not the text of a stranger
                if request.method not in _READABLE:
                    ask = evolve(ask, body=await self._read(conversation))
                conversation.connection.unpaid = 0
                return await handler(ask)
            except _Stop as stop:
                conversation.connection.unpaid = 0
                return await self._admit(evolve(ask, body=bytes(conversation.body))) or stop.answer
        except Unreadable:
            raise
        except OrthrosError as error:
            _log.error("request failed", path=where, code=error.code, detail=error.detail)
            return failure(503, "the KDC cannot answer now")
        except Exception:  # noqa: BLE001  # logged with its traceback
            _log.exception("request failed", path=where)
            return failure(500, "the KDC could not complete the request because of a fault of its own")

    async def _route(self, request: RequestHead, path: str) -> Handler:
        endpoint = await self._find(path)
        if endpoint is None:
            raise _Stop(404, "there is nothing at this path")
        if endpoint.get is not None and request.method in _READABLE:
            return endpoint.get
        if not endpoint.post or request.method != "POST":
            raise _Stop(405, f"this path takes {endpoint.allow}", (("allow", endpoint.allow),))
        kinds = [value for name, value in request.headers if name == "content-type"]
        kind = kinds[0].decode("latin-1").partition(";")[0].strip().lower() if len(kinds) == 1 else ""
        if kind not in endpoint.post:
            # RFC 6749, section 5.2 knows 400 alone, and so do libraries: not 415.
            raise _Stop(400, f"send {' or '.join(endpoint.post)}, and say so in one Content-Type header")
        return endpoint.post[kind]

    async def _read(self, conversation: HttpConversation) -> bytes:
        try:
            return await conversation.read_body(self._max_body)
        except Unreadable as error:
            if error.status == 413:
                raise _Stop(413, f"a body has at most {self._max_body} bytes") from None
            if error.status == 408:
                within_s = conversation.connection.deadlines.request_s
                raise _Stop(408, f"the body did not arrive within {within_s:g} s") from None
            raise


def _ask_of(request: RequestHead, sender: Sender) -> HttpRequest:
    # The path as it came: no second spelling of an endpoint slips past a proxy that filters by path.
    path, _, query = request.target.partition(b"?")
    return HttpRequest(
        path=path.decode("ascii"),
        method=request.method,
        headers=tuple((name, value.decode("latin-1")) for name, value in request.headers),
        query=query,
        source=sender.source,
        address=sender.address,
    )


def _check_headers(request: RequestHead) -> None:
    size = sum(len(name) + len(value) for name, value in request.headers)
    if len(request.headers) > _MOST_HEADERS or size > _MOST_HEADER_BYTES:
        raise _Stop(431, f"a request has at most {_MOST_HEADERS} headers and {_MOST_HEADER_BYTES} bytes of them")
