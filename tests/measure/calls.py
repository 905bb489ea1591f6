"""How many Python calls an operation takes: of the product's own functions, once everything is warm.

A count says the same on every machine, so a change can be held to it; `make bench` has the times. What other libraries
and the event loop call is left out.
"""

from __future__ import annotations

import dis
import os
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import CodeType, FrameType
from typing import Any, Final

from attrs import define, field, frozen

from tests.measure.structure import PACKAGES

__all__ = ["TIMES", "Calls", "Counted", "counted", "counted_async"]

_FOLDERS: Final = tuple(f"{folder / package}{os.sep}" for package, folder in PACKAGES.items())
_NOT_FUNCTIONS: Final = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>", "<lambda>", "<module>")
TIMES: Final = 9
_MAKING: Final = 4  # RETURN_GENERATOR and POP_TOP, two bytes each


@frozen(kw_only=True)
class Calls:
    """`functions` are different ones, without comprehensions; `calls` are all, also those of generated methods;
    `files` are those that they stand in."""

    functions: int
    calls: int
    files: int


@define
class Counted:
    """What is counted while it is on."""

    calls: int = 0
    _seen: Counter[CodeType] = field(factory=Counter)

    def result(self) -> Calls:
        named = [code for code in self._seen if code.co_name not in _NOT_FUNCTIONS and _is_written(code)]
        files = {code.co_filename for code in named}
        return Calls(functions=len(named), calls=self.calls, files=len(files))

    @contextmanager
    def on(self) -> Iterator[None]:
        """Counts the calls of this thread."""
        before = sys.getprofile()
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(before)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or _goes_on(frame):
            return
        code = frame.f_code
        if not (_is_written(code) or _is_generated(code)):
            return
        self.calls += 1
        self._seen[code] += 1


def _is_written(code: CodeType) -> bool:
    return code.co_filename.startswith(_FOLDERS)


def _is_generated(code: CodeType) -> bool:
    """What attrs or a message's schema writes for a class of the product."""
    return code.co_filename.startswith(("<attrs generated", "<message")) and "orthros_" in code.co_filename


def _goes_on(frame: FrameType) -> bool:
    """Whether this is a generator or a coroutine behind its first step."""
    return frame.f_lasti > _first_step(frame.f_code)


@cache
def _first_step(code: CodeType) -> int:
    """Where the profiler sees a function of this code begin: for a generator, behind what makes it."""
    made = (one.offset for one in dis.get_instructions(code) if one.opname == "RETURN_GENERATOR")
    return next(made, sys.maxsize - _MAKING) + _MAKING


def counted(work: Callable[[], object]) -> Calls:
    """`TIMES` calls of `work`: what the one that took the fewest calls took. The first ones warm it up."""
    return min(map(_counted, [work] * TIMES), key=_size)


def _counted(work: Callable[[], object]) -> Calls:
    count = Counted()
    with count.on():
        work()
    return count.result()


async def counted_async(work: Callable[[], Awaitable[object]]) -> Calls:
    """The same for a coroutine function; other tasks of this thread are counted as well, so the runs differ."""
    found = []
    for _ in range(TIMES):
        count = Counted()
        with count.on():
            await work()
        found.append(count.result())
    return min(found, key=_size)


def _size(found: Calls) -> int:
    return found.calls
