"""Flask: one call that protects an application, scopes per view, and answers to calls that failed.

The middleware is the one for WSGI; this file wires it in. Needs `flask`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec, Unpack

from orthros_client.http.server.answers import Answer
from orthros_client.http.server.callers import Caller
from orthros_client.http.server.exchange import CALLER, EXCHANGE, answer_in, refusal_in, require_in
from orthros_client.http.server.failed_calls import ONWARD, answer_onward
from orthros_client.http.server.options import GuardOptions
from orthros_client.http.server.refusal_log import Log
from orthros_client.integrations.registered import mark
from orthros_client.integrations.wsgi import (
    Channel,
    OrthrosWsgiMiddleware,
    RequestBodyMismatch,
    Route,
    self_test,
)
from orthros_protocol.errors import Refused
from orthros_protocol.primitives.names import check_scopes
from orthros_runtime.extras import framework

with framework("Flask"):
    from flask import Flask, Response, current_app, request

__all__ = [
    "Caller",
    "OrthrosWsgiMiddleware",
    "RequestBodyMismatch",
    "Route",
    "answer_failed_calls",
    "current_caller",
    "protect",
    "require",
]

P = ParamSpec("P")


def protect(
    app: Flask, *, paths: Iterable[str] = (), channel: Channel | None = None, **options: Unpack[GuardOptions]
) -> OrthrosWsgiMiddleware:
    """Puts the middleware around `app`, answers refusals that views raise, and tests the result.

    Call it last, when nothing else wraps `app.wsgi_app` any more. `channel` and `options` are those of
    `OrthrosWsgiMiddleware`; `paths` are asked without credentials besides the routes. Raises as the middleware and
    `self_test`.
    """
    middleware = OrthrosWsgiMiddleware(app.wsgi_app, channel=channel, **options)
    app.wsgi_app = middleware  # type: ignore[method-assign]
    app.register_error_handler(Refused, _answer_own)
    if not middleware.guard.observing:
        middleware.start.at_start(app)
        self_test(app, middleware.guard.routes.rows, host=middleware.guard.origins.hosts[0], paths=paths)
    return middleware


def current_caller() -> Caller | None:
    """The verified caller of the present request; None on public routes and when refusals are merely observed."""
    caller: Caller | None = request.environ.get(CALLER)
    return caller


def require(*scopes: str) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
    """Demands a caller with all of `scopes` before the view runs: 403 `insufficient_scope` otherwise.

    Raises Misconfigured for what is no scope, such as "read write".
    """
    check_scopes(scopes)

    def decorate(view: Callable[P, Any]) -> Callable[P, Any]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Any:
            try:
                require_in(request.environ.get(EXCHANGE), *scopes)
            except Refused as refusal:
                return answer_refusal(refusal)
            return current_app.ensure_sync(view)(*args, **kwargs)

        mark(guarded, view)
        return guarded

    return decorate


def answer_failed_calls(app: Flask, *, log: Log | None = None) -> None:
    """`app` answers when a call that a view made was refused or failed: 403, 502 or 503 (see `onward_answer`).

    Nothing else changes: refusals of its own caller are the middleware's, other errors stay what they are. `log` is
    told what the answer leaves out; by default `orthros.http`.
    """

    def answer_for(error: Exception) -> Response:
        answer = answer_onward(error, current_caller(), log=log)
        if answer is None:
            raise error
        return _response(answer)

    for kind in ONWARD:
        app.register_error_handler(kind, answer_for)


def _answer_own(refusal: Refused) -> Response:
    if refusal_in(refusal) is None:
        raise refusal
    return answer_refusal(refusal)


def answer_refusal(refusal: Refused) -> Response:
    """The response to a refusal, as an error handler returns it."""
    return _response(answer_in(request.environ.get(EXCHANGE), refusal))


def _response(answer: Answer) -> Response:
    response = Response(answer.body, status=answer.status)
    response.headers.clear()
    for name, value in answer.headers:
        response.headers.add(name, value.decode("latin-1"))
    return response
