"""What a fault did to a realm: figures of one form for each fault, and the table of them in docs/operations.md.

A figure that a fault cannot have is None, and `-` in the table. What the page promises is part of the fault, and stands
in bold in the table: a figure that breaks a promise fails the run.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import define, field, frozen

if TYPE_CHECKING:
    from tests.chaos.at_work import Ground

__all__ = ["ALL", "HEAD", "UNPROMISED", "Fault", "Outage", "rows_of", "table", "with_notes", "written"]

ALL: Final = ("failed", "unrecorded", "lost")
"""The figures that a realm at work has: each is promised to be zero unless a fault says otherwise."""
UNPROMISED: Final = "-"
_FIGURES: Final = ("runs", *ALL)
HEAD: Final = (
    "fault", "runs", "failed calls", "issued without a line", "lost changes", "recovery: median, worst", "at most",
)  # fmt: skip
_ROW: Final = "{:<88} {:>5} {:>7} {:>8} {:>5} {:>15} {:>8} {:>6}"
_BLOCK: Final = re.compile(r"(<!-- chaos:begin -->\n).*?(<!-- chaos:end -->)", re.DOTALL)


@frozen(kw_only=True)
class Fault:
    """One fault. `zero` are the figures that the page promises to be zero, `within_s` is how long a recovery takes at
    most by the page, in seconds. Without `quick`, only the long run has it."""

    words: str
    play: Callable[[Ground, Outage, bool], None]
    zero: Sequence[str] = ALL
    within_s: float | None = None
    quick: bool = True


@define
class Outage:
    """What came of one fault, over all `runs`.

    `failed` are calls of clients with tickets in hand, `unrecorded` are tickets that clients hold and the log does not
    name, `lost` are changes that were acknowledged and are not there afterwards. `recoveries` are the seconds from the
    end of each fault until the realm worked again. `unplayed` says why this machine could not have the fault.
    """

    fault: Fault
    runs: int = 0
    failed: int | None = None
    unrecorded: int | None = None
    lost: int | None = None
    recoveries: list[float] = field(factory=list)
    seconds: float = 0.0
    unplayed: str = ""
    notes: list[str] = field(factory=list)
    broken: list[str] = field(factory=list)
    _began: float = field(factory=time.monotonic)

    def check(self, holds: bool, what: str) -> None:
        """Notes the bound `what` as broken unless it holds."""
        if not holds:
            self.broken.append(what)

    def end(self) -> None:
        """Compares the figures with the promises."""
        self.seconds = time.monotonic() - self._began
        if self.unplayed or self.broken:
            return
        for name in self.fault.zero:
            self.check(getattr(self, name) == 0, f"{name} is {getattr(self, name)}, and zero is promised")
        self.check(self.runs > 0, "nothing was done")
        if self.fault.within_s is not None:
            self.check(len(self.recoveries) > 0, "no recovery was measured")
            worst_s = max(self.recoveries, default=0.0)
            self.check(worst_s <= self.fault.within_s, f"a recovery took {worst_s:.1f} s")

    @staticmethod
    def head() -> str:
        """What stands above the lines of outages."""
        return _ROW.format("fault", "runs", "failed", "no line", "lost", "recovery", "at most", "s")

    def __str__(self) -> str:
        row = _ROW.format(*(cell.strip("*") for cell in self.cells()), f"{self.seconds:.1f}")
        notes = [*self.notes, *([f"not played: {self.unplayed}"] if self.unplayed else [])]
        return with_notes(row, notes, self.broken)

    def cells(self) -> tuple[str, ...]:
        """Its row in the table."""
        figures = [_shown(getattr(self, name), promised=name in self.fault.zero) for name in _FIGURES]
        within_s = self.fault.within_s
        took = "-"
        if self.recoveries:
            took = f"{statistics.median(self.recoveries):.1f} s, {max(self.recoveries):.1f} s"
        return (self.fault.words, *figures, took, UNPROMISED if within_s is None else f"{within_s:g} s")


def with_notes(row: str, notes: Iterable[str], broken: Iterable[str]) -> str:
    """A line with what is to be said about it below."""
    return "\n".join([row, *(f"    {note}" for note in notes), *(f"    BROKEN: {one}" for one in broken)])


def _shown(figure: int | None, *, promised: bool) -> str:
    return UNPROMISED if figure is None else f"**{figure}**" if promised else str(figure)


def table(outages: Iterable[Outage]) -> str:
    """The table in Markdown, one row for each fault."""
    rows = [HEAD, ["---"] * len(HEAD), *(outage.cells() for outage in outages)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def rows_of(page: str) -> Mapping[str, tuple[str, ...]]:
    """The cells of each row of the table in a page, behind the words of its fault."""
    found = _BLOCK.search(page)
    assert found is not None, "the page has no marks for this table"
    lines = [line for line in found[0].splitlines() if line.startswith("| ")][2:]
    return {cells[0]: tuple(cells[1:]) for line in lines for cells in [line.strip("| ").split(" | ")]}


def written(page: Path, command: str, outages: Sequence[Outage]) -> None:
    """Puts the table into the page, with the command that made it, the day and the machine."""
    kernel = ".".join(platform.release().split(".")[:2])
    machine = f"{os.cpu_count()} cores, {platform.system()} {kernel}, Python {platform.python_version()}"
    told = f"`{command}`, {time.strftime('%Y-%m-%d', time.gmtime())}, {machine}:\n\n{table(outages)}\n"
    text, count = _BLOCK.subn(lambda one: f"{one[1]}{told}{one[2]}", page.read_text("utf-8"))
    assert count == 1, f"{page} has no marks for this table"
    page.write_text(text, "utf-8")
