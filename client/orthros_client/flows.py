"""Drives sans-IO flows: generators that yield what is to be done and are sent what came of it.

The one thing that is the same for all of them is to wait. Knows no question and no answer.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterable
from functools import partial
from typing import Any, Protocol, TypeVar

from attrs import frozen

__all__ = ["HostRest", "Pause", "Rest", "adrive", "drive", "in_thread"]

_Q = TypeVar("_Q")
_A = TypeVar("_A")
_T = TypeVar("_T")


class Rest(Protocol):
    """How this program waits; tests wait by turning their clock."""

    def block(self, seconds: float) -> None:
        """Waits in this thread."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits in this task, which can be cancelled."""
        ...


class HostRest:
    """Waits by the clock of this host."""

    def block(self, seconds: float) -> None:
        """Waits in this thread."""
        time.sleep(seconds)

    async def sleep(self, seconds: float) -> None:
        """Waits in this task, under asyncio and trio."""
        await _loop_here().sleep(seconds)


async def in_thread(work: Callable[[], None]) -> None:
    """Runs `work` beside this task, under asyncio and trio."""
    loop = _loop_here()
    await (loop.to_thread.run_sync(work) if loop.__name__ == "trio" else loop.to_thread(work))


def _loop_here() -> Any:
    # Whoever runs under one of them has imported it, and nobody else pays for that.
    trio: Any = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_task() else sys.modules["asyncio"]


@frozen
class Pause:
    """Effect: wait before going on, with `block` or `sleep`; the answer is None."""

    seconds: float
    _rest: Rest

    def block(self) -> None:
        """Waits in this thread."""
        self._rest.block(self.seconds)

    async def sleep(self) -> None:
        """Waits in this task, which can be cancelled."""
        await self._rest.sleep(self.seconds)


def drive(flow: Generator[Any, Any, _T], send: Callable[[_Q], _A], after: Callable[[], Iterable[Pause]] = tuple) -> _T:
    """The result of a sans-IO `flow` whose questions `send` answers; what `send` raises is thrown into the flow.

    `after` says what to wait for when the flow has ended, also with an error.
    """
    step: Callable[[], Any] = partial(next, flow)
    try:
        while True:
            try:
                question = step()
            except StopIteration as done:
                result: _T = done.value
                return result
            answer: _A | None = None
            try:
                if isinstance(question, Pause):
                    question.block()
                else:
                    answer = send(question)
            except Exception as error:  # noqa: BLE001  # it is thrown on, into the flow
                step = partial(flow.throw, error)
            else:
                step = partial(flow.send, answer)
    finally:
        for pause in after():
            pause.block()


async def adrive(
    flow: Generator[Any, Any, _T], send: Callable[[_Q], Awaitable[_A]], after: Callable[[], Iterable[Pause]] = tuple
) -> _T:
    """`drive` for an async `send`, under any event loop."""
    step: Callable[[], Any] = partial(next, flow)
    try:
        while True:
            try:
                question = step()
            except StopIteration as done:
                result: _T = done.value
                return result
            answer: _A | None = None
            try:
                if isinstance(question, Pause):
                    await question.sleep()
                else:
                    answer = await send(question)
            except Exception as error:  # noqa: BLE001  # it is thrown on, into the flow
                step = partial(flow.throw, error)
            else:
                step = partial(flow.send, answer)
    finally:
        for pause in after():
            await pause.sleep()
