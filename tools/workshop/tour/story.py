"""Tells the demo: chapters, one line per step with its timing, refusals with their explanation, a last table.

Knows no process and no protocol; a step that ends otherwise than expected is a Surprise.
"""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol, TextIO

from attrs import define, field, frozen

__all__ = ["Explained", "Row", "Step", "Story", "Surprise", "readable"]

_INDENT: Final = " " * 11
_WIDEST: Final = 110
_TIED: Final = "\u00a0"  # a space at which no line is broken; written as a plain one
_BOLD, _DIM, _GREEN, _YELLOW = "1", "2", "32", "33"


class Explained(Protocol):
    """A refusal that says what happened and what to do: every error of Orthros does."""

    @property
    def code(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def cause(self) -> str: ...
    @property
    def remedy(self) -> str: ...


class Surprise(Exception):
    """A step did not end as the story says it must."""


@frozen
class Row:
    """One line of the last table; `took_ms` None where time says nothing."""

    name: str
    expected: str
    seen: str
    took_ms: float | None


@define
class Step:
    """One step while it runs: `saw` says how it ended, `show` adds lines below it."""

    name: str
    expected: str
    seen: str = ""
    more: str = ""
    took_ms: float | None = None
    timed: bool = True
    below: list[tuple[str, str]] = field(factory=list)

    def saw(self, verdict: str, more: str = "", *, took_ms: float | None = None, timed: bool = True) -> None:
        """The verdict goes into the table; `more`, if there is any, into the line instead of it.

        `took_ms` is what the step itself took, where that is not the time of the whole block.
        """
        self.seen, self.more, self.took_ms, self.timed = verdict, more, took_ms, timed

    def show(self, label: str, text: str) -> None:
        """A labelled line below the step."""
        self.below.append((label, text))

    def explain(self, error: Explained) -> None:
        """Code, cause and remedy of a refusal, as every program of Orthros tells them."""
        self.show("code", error.code)
        self.show("cause", f"{error.cause} ({error.detail})" if error.detail else error.cause)
        self.show("remedy", error.remedy)


class Story:
    """Writes to `out`; colours only where a person looks."""

    def __init__(self, out: TextIO, *, coloured: bool | None = None, width: int | None = None) -> None:
        self._out = out
        self._coloured = _wants_colours(out) if coloured is None else coloured
        self._width = width or _width_of(out)
        self._began = time.monotonic()
        self.rows: list[Row] = []

    @property
    def elapsed_s(self) -> float:
        """Seconds since the story began."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """A paragraph."""
        self._write(textwrap.fill(text, self._width))

    def chapter(self, title: str) -> None:
        """A heading."""
        self._write("")
        self._write(self._paint(title, _BOLD))

    def tell(self, text: str) -> None:
        """A line with the time that has passed."""
        clock = f"{self.elapsed_s:6.2f} s"
        first, *rest = textwrap.wrap(text, self._width - len(_INDENT)) or [""]
        self._write(f"{self._paint(clock, _DIM)}   {first}")
        for line in rest:
            self._write(_INDENT + line)

    def show(self, label: str, text: str, width: int = 0) -> None:
        """A labelled line below the one before."""
        width = max(width, len(label)) + 2
        lines = textwrap.wrap(text, max(30, self._width - len(_INDENT) - 2 - width)) or [""]
        name = self._paint(f"{label:{width}}", _DIM)
        shown = self._paint(lines[0], _YELLOW) if label == "code" else lines[0]
        self._write(f"{_INDENT}  {name}{shown}")
        for line in lines[1:]:
            self._write(f"{_INDENT}  {'':{width}}{line}")

    @contextmanager
    def step(self, name: str, expected: str, title: str = "") -> Iterator[Step]:
        """One step: must end with the verdict `expected`, or Surprise is raised with what was seen instead."""
        step = Step(name, expected)
        began = time.monotonic()
        try:
            yield step
        except Exception as error:
            self.rows.append(Row(name, expected, f"{type(error).__name__}", None))
            raise Surprise(f"step {name!r}: expected {expected!r}, but: {error}") from error
        spent_ms = (time.monotonic() - began) * 1000 if step.took_ms is None else step.took_ms
        self.rows.append(Row(name, expected, step.seen, spent_ms if step.timed else None))
        self.tell(f"{title or name}: {step.more or step.seen}" + (f" ({readable(spent_ms)})" if step.timed else ""))
        width = max((len(label) for label, _ in step.below), default=0)
        for label, text in step.below:
            self.show(label, text, width)
        if step.seen != expected:
            raise Surprise(f"step {name!r}: expected {expected!r}, saw {step.seen!r}")

    def summary(self) -> None:
        """Every step in a table: what was expected, what was seen, and how long it took."""
        cells = [(row.name, row.expected, row.seen, _number(row.took_ms)) for row in self.rows]
        head = ("step", "expected", "seen", "ms")
        widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
        self._write(self._paint(_aligned(head, widths), _BOLD))
        self._write(_aligned(tuple("-" * width for width in widths), widths))
        for row, cell in zip(self.rows, cells, strict=True):
            self._write(self._paint(_aligned(cell, widths), _GREEN if row.seen == row.expected else _YELLOW))

    def _paint(self, text: str, style: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self._coloured else text

    def _write(self, line: str) -> None:
        self._out.write(line.replace(_TIED, " ") + "\n")
        self._out.flush()


def readable(milliseconds: float) -> str:
    """`0.9 ms`, `42 ms` or `1.30 s`."""
    if milliseconds >= 1000:
        return f"{milliseconds / 1000:.2f}{_TIED}s"
    return f"{milliseconds:.1f}{_TIED}ms" if milliseconds < 10 else f"{milliseconds:.0f}{_TIED}ms"


def _number(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds:.1f}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    *texts, number = cells
    shown = [f"{text:{width}}" for text, width in zip(texts, widths, strict=False)]
    return "  ".join([*shown, f"{number:>{widths[-1]}}"])


def _wants_colours(out: TextIO) -> bool:
    return out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def _width_of(out: TextIO) -> int:
    try:
        return max(60, min(_WIDEST, os.get_terminal_size(out.fileno()).columns))
    except (OSError, ValueError):  # not a terminal, or not a file at all
        return _WIDEST
