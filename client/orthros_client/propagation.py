"""Whose request is being served here: what clients with `propagate=True` act on behalf of, and which trace goes on.

A context variable, so that it follows tasks, and threads that copy their context, and never meets another request.
Knows neither how a caller was verified, nor what a client makes of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from orthros_client.http.tracing import Trace
from orthros_protocol import LocalMisuse

if TYPE_CHECKING:
    from orthros_client.http.callers import Caller

__all__ = ["Serving", "current", "serving", "traceparent"]


class Serving:
    """One request while it is served for `caller`, None when nobody was verified.

    `traceparent` is what it said of its trace; when it said nothing, or nothing well-formed, it begins one.
    What was started while it was served still sees it afterwards, and finds it ended: nothing else could tell a task
    that belongs to a request from one that has outlived it.
    """

    __slots__ = ("_callers", "_trace")

    def __init__(self, caller: Caller | None, *, traceparent: str | None = None) -> None:
        self._trace = Trace.continued(traceparent)
        # One reading decides: between two, another thread could end the request, and None would mean own name.
        self._callers: tuple[Caller | None, ...] = (caller,)

    @property
    def caller(self) -> Caller | None:
        """Raises LocalMisuse `wrong-state` once the request has ended."""
        for caller in self._callers:
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
        """The code in this block, and what it starts, serves this request. May be entered again, and nested."""
        token = _SERVING.set(self)
        try:
            yield
        finally:
            _SERVING.reset(token)

    def end(self) -> None:
        """The request has been answered, or given up. May be repeated."""
        self._callers = ()


_SERVING: ContextVar[Serving | None] = ContextVar("orthros serving", default=None)


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


def current() -> Caller | None:
    """The verified caller whose request is being served; None outside of requests, and when nobody was verified.

    Raises LocalMisuse `wrong-state` in code that has outlived the request which it was started for.
    """
    request = _SERVING.get()
    return None if request is None else request.caller


def traceparent() -> str | None:
    """The `traceparent` header for one call made here, by whatever library: the trace of the request that is served.

    None outside of requests, and once the request has ended.
    """
    request = _SERVING.get()
    return None if request is None else request.traceparent
