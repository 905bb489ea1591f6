"""Starlette and FastAPI: scopes per endpoint, as a dependency or as a decorator, and answers to calls that failed.

The middleware is the one for ASGI; this file only asks what it left behind. Needs `starlette` or `fastapi`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, overload

from orthros_client.http.server.callers import Caller
from orthros_client.http.server.exchange import CALLER, EXCHANGE, Exchange, answer_in, require_in
from orthros_client.http.server.failed_calls import ONWARD, answer_onward
from orthros_client.http.server.refusal_log import Log
from orthros_client.integrations.asgi import OrthrosMiddleware, RequestBodyMismatch, Route, self_test
from orthros_client.integrations.registered import mark
from orthros_protocol.errors import LocalMisuse, Refused
from orthros_protocol.primitives.names import check_scopes
from orthros_runtime.extras import framework

with framework("starlette"):
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = [
    "Caller",
    "OrthrosMiddleware",
    "RequestBodyMismatch",
    "Route",
    "answer_failed_calls",
    "caller_of",
    "require",
    "self_test",
]

Endpoint = Callable[..., Any]


class _Requirement:
    """Typing only: what `require` returns is called with a request, or with an endpoint."""

    @overload
    def __call__(self, request: Request) -> Caller | None: ...
    @overload
    def __call__(self, request: Endpoint) -> Endpoint: ...
    def __call__(self, request: Any) -> Any:
        raise NotImplementedError


def caller_of(request: Request) -> Caller | None:
    """The verified caller; None on public routes and when refusals are merely observed."""
    caller: Caller | None = request.scope.get(CALLER)
    return caller


def require(*scopes: str) -> _Requirement:
    """Demands a caller with all of `scopes`: 403 `insufficient_scope` otherwise.

    `caller: Caller = Depends(require("read"))` in FastAPI, `@require("read")` on an endpoint of Starlette. Raises
    Misconfigured for what is no scope, such as "read write".
    """
    check_scopes(scopes)

    # FastAPI reads the annotation, and passes a request; a decorator gets the endpoint in its place.
    def requirement(request: Request) -> Any:
        given: Any = request
        return _demand(given, scopes) if isinstance(given, Request) else _guarded(given, scopes)

    return requirement  # type: ignore[return-value]


def answer_failed_calls(app: Starlette, *, log: Log | None = None) -> None:
    """`app` answers when a call that an endpoint made was refused or failed: 403, 502 or 503 (see `onward_answer`).

    Nothing else changes: refusals of its own caller are the middleware's, other errors stay what they are. `log` is
    told what the answer leaves out; by default `orthros.http`.
    """

    async def answer_for(request: Any, error: Exception) -> Response:
        if not isinstance(request, Request):  # a websocket, which has no answer
            raise error
        answer = answer_onward(error, caller_of(request), log=log)
        if answer is None:
            raise error
        headers = {name: value.decode("latin-1") for name, value in answer.headers}
        return Response(answer.body, answer.status, headers)

    for kind in (*ONWARD, ExceptionGroup):
        app.add_exception_handler(kind, answer_for)


def _demand(request: Request, scopes: tuple[str, ...]) -> Caller | None:
    exchange = request.scope.get(EXCHANGE)
    try:
        return require_in(exchange, *scopes)
    except Refused as refusal:
        if isinstance(exchange, Exchange):
            raise  # the middleware answers it
        answer = answer_in(exchange, refusal)
        headers = {name: value.decode("ascii") for name, value in answer.headers if name == "www-authenticate"}
        raise HTTPException(answer.status, refusal.detail, headers) from None


def _guarded(endpoint: Endpoint, scopes: tuple[str, ...]) -> Endpoint:
    if inspect.iscoroutinefunction(endpoint):

        @wraps(endpoint)
        async def guarded_async(*args: Any, **kwargs: Any) -> Any:
            _demand(_request_in(args, kwargs), scopes)
            return await endpoint(*args, **kwargs)

        mark(guarded_async, endpoint)
        return guarded_async

    @wraps(endpoint)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        _demand(_request_in(args, kwargs), scopes)
        return endpoint(*args, **kwargs)

    mark(guarded, endpoint)
    return guarded


def _request_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Request:
    for value in (*args, *kwargs.values()):
        if isinstance(value, Request):
            return value
    raise LocalMisuse("value-invalid", "@require is for endpoints that take the request; use Depends(require(...))")
