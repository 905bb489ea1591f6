"""What may not be in the product: a class name that stands for two, a circle of imports, a function with nine
parameters or more, and a statement whose layout the formatter may not choose."""

from __future__ import annotations

from collections.abc import Iterator

from tests.measure.structure import Structure, read_structure


def found(structure: Structure) -> Iterator[str]:
    for name, places in structure.doubled.items():
        yield f"class {name}: {len(places)} of this name"
    for circle in structure.circles:
        yield f"circle {' '.join(circle)}"
    for place in structure.many_parameters:
        yield f"parameters {place}"
    for path, count in structure.unformatted.items():
        yield f"layout by hand {path}: {count}"


def test_nothing_is_said_twice() -> None:
    assert not list(found(read_structure())), "say it once, or with the words that are there"
