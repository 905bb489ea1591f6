"""How figures are taken and shown. Knows no workload."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

__all__ = ["Figure", "best_of", "cpu_seconds", "render"]

_TICKS = os.sysconf("SC_CLK_TCK")


@frozen(kw_only=True)
class Figure:
    """One line: microseconds per operation, the line that it is compared with, and the goal in words."""

    name: str
    us: float
    beside: str = ""
    beside_us: float | None = None
    goal: str = ""
    remark: str = ""


def best_of(call: Callable[[], object], *, number: int, repeat: int = 5) -> float:
    """Microseconds per call: the best of `repeat` runs of `number` calls, as timeit advises."""
    best = float("inf")
    for _ in range(repeat):
        started = time.perf_counter()
        for _ in range(number):
            call()
        best = min(best, time.perf_counter() - started)
    return best / number * 1e6


def cpu_seconds(pid: int) -> float:
    """User and system time that the process has used so far, from the operating system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def render(figures: list[Figure]) -> str:
    """The table."""
    rows = [("work", "us", "beside", "us", "ratio", "goal", "")]
    for figure in figures:
        beside = "" if figure.beside_us is None else f"{figure.beside_us:.1f}"
        ratio = "" if figure.beside_us is None else f"{figure.us / figure.beside_us:.2f}"
        rows.append((figure.name, f"{figure.us:.1f}", figure.beside, beside, ratio, figure.goal, figure.remark))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
