"""Django: scopes per view, and middlewares of Django's own kind that answer refusals and calls that failed.

The credentials are verified by the WSGI or ASGI middleware around Django's handler; this file only asks what that
left behind. Needs `django`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from orthros_client.http.server.answers import Answer
from orthros_client.http.server.callers import Caller
from orthros_client.http.server.exchange import CALLER, EXCHANGE, answer_in, refusal_in, require_in
from orthros_client.http.server.failed_calls import answer_onward
from orthros_client.integrations.registered import mark
from orthros_protocol.errors import Refused
from orthros_protocol.primitives.names import check_scopes
from orthros_runtime.extras import framework

with framework("Django"):
    from django.http import HttpRequest, HttpResponse  # type: ignore[import-untyped]
    from django.utils.decorators import sync_and_async_middleware  # type: ignore[import-untyped]

__all__ = ["Caller", "CallerMiddleware", "FailedCallsMiddleware", "caller_of", "require"]

View = Callable[..., Any]


def caller_of(request: HttpRequest) -> Caller | None:
    """The verified caller; None on public routes and when refusals are merely observed."""
    caller: Caller | None = _left_in(request, CALLER)
    return caller


def require(*scopes: str) -> Callable[[View], View]:
    """Demands a caller with all of `scopes` before the view runs: 403 `insufficient_scope` otherwise.

    Raises Misconfigured for what is no scope, such as "read write".
    """
    check_scopes(scopes)

    def decorate(view: View) -> View:
        if inspect.iscoroutinefunction(view):

            @wraps(view)
            async def guarded_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
                refused = _refused(request, scopes)
                return refused if refused is not None else await view(request, *args, **kwargs)

            mark(guarded_async, view)
            return guarded_async

        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            refused = _refused(request, scopes)
            return refused if refused is not None else view(request, *args, **kwargs)

        mark(guarded, view)
        return guarded

    return decorate


def _refused(request: HttpRequest, scopes: tuple[str, ...]) -> Any:
    try:
        require_in(_left_in(request, EXCHANGE), *scopes)
    except Refused as refusal:
        return answer_refusal(request, refusal)
    return None


@sync_and_async_middleware  # type: ignore[untyped-decorator]
def CallerMiddleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:  # noqa: N802  # MIDDLEWARE names it like a class
    """Sets `request.orthros` to the verified caller, and answers a Refused that a view lets pass."""

    def process_exception(request: HttpRequest, error: Exception) -> Any:
        refusal = refusal_in(error)
        return None if refusal is None else answer_refusal(request, refusal)

    if inspect.iscoroutinefunction(get_response):
        respond: Callable[[HttpRequest], Awaitable[Any]] = get_response

        async def middleware_async(request: HttpRequest) -> Any:
            request.orthros = caller_of(request)
            return await respond(request)

        middleware_async.process_exception = process_exception  # type: ignore[attr-defined]
        return middleware_async

    def middleware(request: HttpRequest) -> Any:
        request.orthros = caller_of(request)
        return get_response(request)

    middleware.process_exception = process_exception  # type: ignore[attr-defined]
    return middleware


@sync_and_async_middleware  # type: ignore[untyped-decorator]
def FailedCallsMiddleware(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:  # noqa: N802  # MIDDLEWARE names it like a class
    """Answers when a call that a view made was refused or failed: 403, 502 or 503 (see `onward_answer`)."""

    def process_exception(request: HttpRequest, error: Exception) -> Any:
        answer = answer_onward(error, caller_of(request))
        return None if answer is None else _response(answer)

    if inspect.iscoroutinefunction(get_response):
        respond: Callable[[HttpRequest], Awaitable[Any]] = get_response

        async def middleware_async(request: HttpRequest) -> Any:
            return await respond(request)

        middleware_async.process_exception = process_exception  # type: ignore[attr-defined]
        return middleware_async

    def middleware(request: HttpRequest) -> Any:
        return get_response(request)

    middleware.process_exception = process_exception  # type: ignore[attr-defined]
    return middleware


def answer_refusal(request: HttpRequest, refusal: Refused) -> Any:
    """The response to a refusal."""
    return _response(answer_in(_left_in(request, EXCHANGE), refusal))


def _response(answer: Answer) -> Any:
    response = HttpResponse(answer.body, status=answer.status)
    for name, value in answer.headers:
        # Django has one line for a name: the challenges of several schemes become a list (RFC 9110, section 5.2).
        said = value.decode("latin-1")
        response[name] = f"{response[name]}, {said}" if name == "www-authenticate" and name in response else said
    return response


def _left_in(request: HttpRequest, key: str) -> Any:
    """What the middleware left behind, by whichever of the two interfaces the request came."""
    return request.META.get(key) or getattr(request, "scope", {}).get(key)
