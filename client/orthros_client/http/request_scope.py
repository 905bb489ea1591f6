"""Whether code belongs to a request, that is, whether the request waits for it.

Contexts are copied into all that a task starts, also into what outlives it and works for others afterwards. What a
request waits for cannot: a task in a group that it opened, a task that it awaits, a thread in which such a task runs a
function. Trio tells parents. What asyncio, anyio, concurrent.futures and asgiref note down for themselves is read here;
where one of them changes that, no request is found to wait, and the code is taken for a stranger.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
import time
from collections.abc import Collection, Iterator
from functools import partial
from types import FunctionType
from typing import Any, Final

__all__ = ["here", "is_awaited_by"]

# Whose callbacks wake something up that waits. Those of applications may hold anything.
_AWAITERS: Final = frozenset({"asyncio.tasks", "asyncio.futures", "asyncio.taskgroups", "anyio._backends._asyncio"})
# Where threads run one function after another.
_WORKERS: Final = frozenset(
    {
        "concurrent.futures.thread",
        "anyio._backends._asyncio",
        "asgiref.current_thread_executor",
    }
)
_LOOP: Final = "asyncio.base_events"
_BRIDGE: Final = "AsyncToSync.main_wrap"
_PATIENCE_S: Final = 10.0
_GLANCE_S: Final = 0.5
_never = threading.Event()


def here() -> object:
    """The task that runs; without one, the thread by its number, or gevent's greenlet."""
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_task():
        return trio.lowlevel.current_task()
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    return _thread() if task is None else task


def is_awaited_by(places: Collection[object]) -> bool:
    """Whether the code that runs now is at one of `places`, or whether one of them waits for it, through whatever."""
    known: dict[int, object] = {}
    pending = [here()]
    while pending:
        place = pending.pop()
        if place in places:
            return True
        if id(place) not in known:
            known[id(place)] = place
            pending.extend(_jobs_of(place, places) if isinstance(place, int) else _waiting_for(place))
    return False


def _thread() -> object:
    if "gevent" in sys.modules:
        return sys.modules["greenlet"].getcurrent()
    return threading.get_ident()


def _waiting_for(place: Any) -> Iterator[object]:
    """What goes on when `place`, a task or a future, is done: tasks, futures and threads."""
    if isinstance(place, asyncio.Future):
        for callback, _context in place._callbacks or ():
            yield from _woken_by(callback)
            if callback.__module__ == _LOOP and place.get_loop() is asyncio._get_running_loop():
                yield _thread()  # the one that runs the loop until this task is done
        if isinstance(place, asyncio.Task):
            yield from _bridged(place)
    elif isinstance(place, concurrent.futures.Future):
        for callback in place._done_callbacks:  # type: ignore[attr-defined]
            yield from _woken_by(callback)
    elif hasattr(place, "parent_nursery"):  # trio; its first task has none, and a thread that runs it
        yield _thread() if place.parent_nursery is None else place.parent_nursery.parent_task


def _woken_by(callback: Any) -> Iterator[object]:
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Future):  # a task that awaits just this
        yield owner
    elif isinstance(callback, partial):
        if callback.func.__module__ in _AWAITERS:
            yield from _held_in(callback.args)
    elif callback.__module__ in _AWAITERS:
        held = [] if owner is None else [owner]
        if isinstance(callback, FunctionType):
            held += [cell.cell_contents for cell in callback.__closure__ or ()]
        yield from _held_in(held)


def _held_in(values: Collection[Any]) -> Iterator[object]:
    for value in values:
        if isinstance(value, asyncio.Future | concurrent.futures.Future):
            yield value
        elif isinstance(value, asyncio.TaskGroup):
            yield value._parent_task  # type: ignore[attr-defined]
        elif (scope := getattr(value, "cancel_scope", None)) is not None:  # a task group of anyio
            yield scope._host_task


def _bridged(task: asyncio.Task[Any]) -> Iterator[object]:
    """The thread that waits for `task` in asgiref's `async_to_sync`, be it on this loop or on one made for it."""
    bridge = sys.modules.get("asgiref.sync")
    if bridge is None:
        return
    executor = bridge.AsyncToSync.loop_thread_executors.get(task.get_loop())
    if getattr(task.get_coro(), "__qualname__", "") == _BRIDGE:
        executor = getattr(bridge.AsyncToSync.executors, "current", None)
    if executor is not None:
        yield executor._work_thread.ident


def _jobs_of(thread: int, places: Collection[object]) -> Iterator[object]:
    """What waits for the functions that are being run in `thread`; those of `places` may still be on their way."""
    is_this = thread == threading.get_ident()
    frame = sys._getframe() if is_this else sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_code.co_name == "run" and frame.f_globals.get("__name__") in _WORKERS:
            seen = frame.f_locals
            if (scope := seen.get("cancel_scope")) is not None:
                yield scope._host_task
            elif (job := getattr(seen.get("self"), "future", None)) is not None:
                if is_this:
                    _await_awaiter(job, places)
                yield job
        frame = frame.f_back
    trio = sys.modules.get("trio")
    if trio is not None and is_this:
        try:
            yield trio.from_thread.run_sync(trio.lowlevel.current_task)
        except (RuntimeError, trio.Cancelled, trio.RunFinishedError):
            return  # no thread of trio's, or one that was given up


def _await_awaiter(job: concurrent.futures.Future[Any], places: Collection[object]) -> None:
    """Lets whoever handed `job` to this thread come to the point where that waits for it: the thread may be faster.

    A loop that has gone round once since has come there. Of a loop that is nowhere noted the first sign is awaited.
    """
    bridge = sys.modules.get("asgiref.sync")
    loops = [place.get_loop() for place in places if isinstance(place, asyncio.Future)]
    loops += [] if bridge is None else [*bridge.AsyncToSync.loop_thread_executors]
    for loop in loops:
        if not any(_waiting_for(job)):
            _go_round(loop)
    ends = time.monotonic() + _GLANCE_S
    while not job._done_callbacks and time.monotonic() < ends:  # type: ignore[attr-defined]
        _never.wait(0.001)
    for future in _waiting_for(job):
        if isinstance(future, asyncio.Future) and not future._callbacks:
            _go_round(future.get_loop())


def _go_round(loop: asyncio.AbstractEventLoop) -> None:
    if loop is asyncio._get_running_loop() or loop.is_closed():
        return
    went_round = threading.Event()
    loop.call_soon_threadsafe(went_round.set)
    went_round.wait(_PATIENCE_S)
