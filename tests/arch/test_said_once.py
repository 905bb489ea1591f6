"""What is still in the old form: it may become less and never more.

`old.txt` names it, a line each: names of classes that stand for two, circles of imports, functions with many
parameters, and statements whose layout the formatter may not choose. A commit that mends one removes its line;
`python -m tests.arch.test_said_once` writes the file anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.measure.structure import Structure, read_structure

OLD: Final = Path(__file__).with_name("old.txt")


def found(structure: Structure) -> Iterator[str]:
    for name, places in structure.doubled.items():
        yield f"class {name}: {len(places)} of this name"
    for circle in structure.circles:
        yield f"circle {' '.join(circle)}"
    for place in structure.many_parameters:
        yield f"parameters {place}"
    for path, count in structure.unformatted.items():
        yield f"layout by hand {path}: {count}"


def test_nothing_is_said_twice_but_what_was() -> None:
    lines = OLD.read_text("utf-8").splitlines() if OLD.exists() else []
    now = list(found(read_structure()))
    more, mended = sorted({*now} - {*lines}), sorted({*lines} - {*now})
    assert not more, "say it once, or with the words that are there"
    assert not mended, f"this is mended, so its line in {OLD.name} goes"


if __name__ == "__main__":
    OLD.write_text("".join(f"{line}\n" for line in found(read_structure())), encoding="utf-8")
