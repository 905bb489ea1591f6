"""Prints how large and how tangled the product is and how many Python calls its operations take, beside the figures on
record (`tests/measure/record.txt`); ends with 1 when one of them has become larger.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog
from attrs import field, frozen

from tests.measure.operations import count_all
from tests.measure.structure import MANY_PARAMETERS, Structure, read_structure

RECORD: Final = Path(__file__).with_name("record.txt")
_ROW: Final = "{:<62} {:>8}"


@frozen
class Row:
    """One figure; less is better. `names` are what was counted, for `--names`."""

    words: str
    figure: float
    names: list[str] = field(factory=list)

    def __str__(self) -> str:
        return _ROW.format(self.words, f"{self.figure:g}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.measure", description=__doc__)
    parser.add_argument("--names", action="store_true", help="also name what is counted")
    parser.add_argument("--write", action="store_true", help="put these figures on record")
    chosen = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    before = _recorded()
    rows, larger = [], 0
    for row in (*_of_structure(read_structure()), *_of_operations()):
        was = before.get(row.words)
        change = "" if was is None or was == row.figure else f"   was {was:g}"
        larger += was is not None and row.figure > was
        print(f"{row}{change}", flush=True)
        if chosen.names:
            print("".join(f"    {name}\n" for name in row.names), end="")
        rows.append(row)
    if chosen.write:
        RECORD.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        return 0
    print(f"{larger} figures are larger than those on record" if larger else "no figure is larger than that on record")
    return 1 if larger else 0


def _recorded() -> dict[str, float]:
    lines = RECORD.read_text("utf-8").splitlines() if RECORD.exists() else []
    return {words.strip(): float(figure) for words, _, figure in (line.rpartition(" ") for line in lines)}


def _of_structure(found: Structure) -> Iterator[Row]:
    thousands = found.all_code_lines / 1000
    for package, lines in found.code_lines.items():
        yield Row(f"code lines of {package}", lines)
    yield Row("code lines, all", found.all_code_lines)
    yield Row("files", found.files)
    yield Row("parameters handed on, per 1,000 lines", round(found.handed_on / thousands, 1))
    yield Row("fields handed on, per 1,000 lines", round(found.copied / thousands, 1))
    doubled = [f"{name}: {', '.join(places)}" for name, places in found.doubled.items()]
    yield Row("public class names used twice", len(doubled), doubled)
    yield Row("circles of imports", len(found.circles), [" ".join(circle) for circle in found.circles])
    many = found.many_parameters
    yield Row(f"functions with {MANY_PARAMETERS} parameters or more", len(many), many)
    yield Row("statements laid out by hand (fmt: skip)", sum(found.unformatted.values()))


def _of_operations() -> Iterator[Row]:
    for name, calls in count_all():
        yield Row(f"{name}: functions", calls.functions)
        yield Row(f"{name}: calls", calls.calls)
        yield Row(f"{name}: files", calls.files)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
