"""Messages with other values: for mypy, a message is no attrs class that `evolve` takes."""

from __future__ import annotations

from typing import Any, TypeVar

from attrs import evolve

__all__ = ["changed"]

T = TypeVar("T")


def changed(message: T, **changes: Any) -> T:
    """`message` with other values of these fields."""
    one: Any = message
    made: T = evolve(one, **changes)
    return made
