"""What a program does before it loads anything else: signals and standard streams that it can rely on.

Python takes part of a second to load a program, and a signal in that time would end it: a reload that a supervisor
sends a moment after the start killed the KDC. Imports nothing but the standard library, and little of that.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["announce", "answer", "hold_signals", "holding_signals", "keep_standard_streams", "take_held"]

_held: list[int] = []


def _hold(number: int, _frame: FrameType | None) -> None:
    _held.append(number)


def hold_signals(*numbers: signal.Signals) -> None:
    """From now on these signals are remembered, for `take_held`, and do nothing else."""
    for number in numbers:
        signal.signal(number, _hold)


def take_held() -> tuple[int, ...]:
    """The signals that were held since this was asked last, in their order."""
    taken = tuple(_held)
    del _held[: len(taken)]
    return taken


@contextmanager
def holding_signals(*numbers: signal.Signals) -> Iterator[None]:
    """The same for as long as the block runs."""
    before = {number: signal.getsignal(number) for number in numbers}
    hold_signals(*numbers)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def keep_standard_streams() -> None:
    """Opens on nothing what of the standard streams is closed: the next file to be opened would take its place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def announce(text: str) -> None:
    """Prints a line at once. A reader that has gone is no reason to end."""
    with suppress(OSError):
        _print(text)


def answer(program: str, text: str) -> int:
    """Prints the answer of a command, unless it is empty. Returns the exit code: 0, or 1 when it cannot be written.

    A reader that has gone (`| head`) is told nothing more.
    """
    try:
        if text:
            _print(text)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            with suppress(OSError):
                print(f"{program}: the answer could not be written: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _print(text: str) -> None:
    try:
        print(text, flush=True)  # noqa: T201  # what a program prints
    except OSError:
        # Python flushes the rest at the end of the process, and would fail again.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
