"""Whose request is being served here: what clients with `propagate=True` act on behalf of, and which trace goes on.

A context variable, so that it follows tasks, and threads that copy their context; and what the request waits for, so
that nothing that it merely started acts for its caller. Knows neither how a caller was verified, nor what a client
makes of it.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from orthros_client.http.tracing import Trace
from orthros_protocol.errors import LocalMisuse

if TYPE_CHECKING:
    from orthros_client.http.server.callers import Caller

__all__ = ["Serving", "carried", "current", "current_request", "serves_requests", "serving", "traceparent"]

P = ParamSpec("P")
T = TypeVar("T")


class Serving:
    """One request while it is served for `caller`, None when nobody was verified.

    `traceparent` is what it said of its trace; when it said nothing, or nothing well-formed, it begins one.
    What was started while it was served still sees it afterwards, and finds it ended. A task or thread that only
    inherited it, for which it does not wait, finds no caller at any time: it may work for others as well.
    """

    __slots__ = ("_callers", "_places", "_trace")

    def __init__(self, caller: Caller | None, *, traceparent: str | None = None) -> None:
        _SERVES.set()
        self._trace = Trace.continued(traceparent)
        self._places: list[object] = []
        # One reading decides: between two, another thread could end the request, and None would mean own name.
        self._callers: tuple[Caller | None, ...] = (caller,)

    @property
    def caller(self) -> Caller | None:
        """Raises LocalMisuse `wrong-state` once the request has ended, and in code that it does not wait for."""
        from orthros_client.http.request_scope import is_awaited_by  # and with it asyncio, which a client need not have

        for caller in self._callers:
            if not is_awaited_by(self._places):
                raise _foreign(caller)
            return caller
        raise LocalMisuse(
            "wrong-state", "the request that this code served has ended; its caller's authority ended with it"
        )

    @property
    def traceparent(self) -> str | None:
        """The header for one call made while this request is served, each with a parent-id of its own.

        None once it has ended: a trace is no authority, but what goes on for hours belongs to no request.
        """
        return self._trace.onward() if self._callers else None

    @contextmanager
    def active(self) -> Iterator[None]:
        """The code in this block, and what it waits for, serves this request. May be entered again, and nested."""
        from orthros_client.http.request_scope import here

        token, place = _SERVING.set(self), here()
        self._places.append(place)
        try:
            yield
        finally:
            self._places.remove(place)
            _SERVING.reset(token)

    def end(self) -> None:
        """The request has been answered, or given up. May be repeated."""
        self._callers = ()


_SERVING: ContextVar[Serving | None] = ContextVar("orthros serving", default=None)
_SERVES: Final = threading.Event()
"""Set for good once this process has a middleware, or has served a request without one."""


def _foreign(caller: Caller | None) -> LocalMisuse:
    """Logged as well: what runs aside often has nobody who sees its errors."""
    import structlog

    from orthros_client.http.request_scope import here
    from orthros_client.http.server.refusal_log import who

    detail = "this task or thread was started by a request that does not wait for it; use a task group, or `carried`"
    log = structlog.get_logger("orthros.http")
    log.warning("foreign-context", detail=detail, place=repr(here())[:200], **who(caller))
    return LocalMisuse("wrong-state", detail)


@contextmanager
def serving(caller: Caller | None, *, traceparent: str | None = None) -> Iterator[Serving]:
    """The code in this block serves a request of `caller`, which ends with the block.

    For handlers that no middleware surrounds: `with serving(verifier.accept(...)): ...`. None hides an outer request.
    `traceparent` is that header of the request, if it has one (W3C Trace Context): it is carried on, not believed.
    """
    request = Serving(caller, traceparent=traceparent)
    try:
        with request.active():
            yield request
    finally:
        request.end()


def carried(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, which serves the present request wherever it is called: in an executor, a thread, a detached task.

    As long as the request lasts. Raises LocalMisuse `wrong-state` where no request is served.
    """
    request = _SERVING.get()
    if request is None:
        raise LocalMisuse("wrong-state", "no request is served here, so there is none to carry")
    _ = request.caller  # of code that does not belong to the request

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def carried_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            with request.active():
                return await function(*args, **kwargs)

        return cast(Callable[P, T], carried_async)

    @wraps(function)
    def carried_plain(*args: P.args, **kwargs: P.kwargs) -> T:
        with request.active():
            return function(*args, **kwargs)

    return carried_plain


def serves_requests(*, from_now_on: bool = False) -> bool:
    """Whether this process serves requests: it has a middleware, or has entered `serving`."""
    if from_now_on:
        _SERVES.set()
    return _SERVES.is_set()


def current_request() -> Serving | None:
    """The request that is being served, whoever called; None outside of requests."""
    return _SERVING.get()


def current() -> Caller | None:
    """The verified caller whose request is being served; None outside of requests, and when nobody was verified.

    Raises LocalMisuse `wrong-state` in code that has outlived the request which it was started for, or that the request
    does not wait for.
    """
    request = _SERVING.get()
    return None if request is None else request.caller


def traceparent() -> str | None:
    """The `traceparent` header for one call made here, by whatever library: the trace of the request that is served.

    None outside of requests, and once the request has ended.
    """
    request = _SERVING.get()
    return None if request is None else request.traceparent
