"""The source of a message's functions, written from the shapes of its fields.

Made of what a class declares, never of what was received. What the source says for each shape is in `shapes.py`.

Checks stand in the same order everywhere: all types, then constants and exact sizes, then ranges, then sizes, then
what may be nil, then what lies within. So a message is refused for the same reason however its fields are sorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, Final

from attrs import define, field, frozen

from orthros_protocol.primitives.limits import MAX_INT

__all__ = [
    "CALLED",
    "Item",
    "Member",
    "Shape",
    "Writer",
    "items_of",
    "write_checks",
    "write_items",
    "write_message",
    "write_object",
    "write_record",
]

CALLED: Final = frozenset(
    {"bytes", "data", "int", "items", "len", "list", "map", "max", "self", "str", "tuple", "type"}
)
"""What the source calls, besides the names of its Writer: no field may be called so."""


class Turn(IntEnum):
    """The order in which ranges are judged."""

    CONSTANT = 0
    EXACT = 1
    WIDEST = 2
    RANGE = 3
    SIZE = 4
    OPTIONAL = 5


@define
class Writer:
    """Lines of a module, and the objects that they call by name."""

    names: dict[str, Any]
    lines: list[str] = field(factory=list)
    _depth: int = 0

    def line(self, text: str) -> None:
        """One line at the depth that holds."""
        self.lines.append("    " * self._depth + text)

    @contextmanager
    def block(self, opening: str) -> Iterator[None]:
        """What is written inside stands below `opening`."""
        self.line(f"{opening}:")
        self._depth += 1
        yield
        self._depth -= 1

    def refuse(self, condition: str, words: str) -> None:
        """Where `condition` holds, the message is refused with `words`."""
        with self.block(f"if {condition}"):
            self.line(f"raise Malformed({words!r})")

    def named(self, thing: Any, name: str) -> str:
        """The name by which the source calls `thing`: `name`, with a number if that is taken by another."""
        number = 1
        while self.names.setdefault(name, thing) is not thing:
            number += 1
            name = f"{name.rstrip('0123456789')}{number}"
        return name


@frozen
class Shape:
    """One item of exactly the type `kind`, whose value or size is in `low`..`high`; if `nil`, or nil in its place."""

    kind: type
    low: int = 0
    high: int = MAX_INT
    nil: bool = field(default=False, kw_only=True)
    beside: str = field(default="", kw_only=True)  # the item that `take` and `give` are handed as well

    def rows(self, name: str) -> list[Item]:
        """The items that stand for a field of this shape and name."""
        return [Item(name, self)]

    def within(self, writer: Writer, value: str, label: str) -> None:
        """Writes the checks of what lies within `value`, which is not nil and has its size, if that is not 0."""

    def take(self, writer: Writer, items: Sequence[str]) -> str:
        """An expression: the value that a field has, from expressions of its items."""
        return self._or_none(items[0], self._taken(writer, items[0]))

    def give(self, writer: Writer, value: str) -> list[str]:
        """Expressions: the items, from an expression of the value."""
        return [self._or_none(value, self._given(writer, value))]

    def _taken(self, _writer: Writer, item: str) -> str:
        return item

    def _given(self, _writer: Writer, value: str) -> str:
        return value

    def _or_none(self, value: str, expression: str) -> str:
        return f"None if {value} is None else {expression}" if self.nil and expression != value else expression

    @property
    def is_deep(self) -> bool:
        """Whether there is anything to check within."""
        return type(self).within is not Shape.within

    @property
    def turn(self) -> Turn:
        """When its range is judged."""
        if self.nil:
            return Turn.OPTIONAL
        if self.low == self.high:
            return Turn.CONSTANT if self.kind is int else Turn.EXACT
        if self.kind is not int:
            return Turn.SIZE
        return Turn.WIDEST if (self.low, self.high) == (0, MAX_INT) else Turn.RANGE

    @property
    def is_sized_within(self) -> bool:
        """Whether the size is judged together with the items: that of a list that may be empty."""
        return self.kind is list and self.low == 0 and not self.nil


@frozen
class Item:
    """One item, by the name that errors and documentation give it."""

    name: str
    shape: Shape


@frozen
class Member:
    """A field of a class, and what stands for it on the wire."""

    name: str
    shape: Shape

    def rows(self) -> list[Item]:
        """Its items."""
        return self.shape.rows(self.name)


def write_checks(writer: Writer, judged: Sequence[tuple[str, str, Shape]]) -> None:
    """Writes the checks of values next to each other: of each its expression, its label and its shape."""
    for value, label, shape in judged:
        absent = f"{value} is not None and " if shape.nil else ""
        writer.refuse(f"{absent}type({value}) is not {shape.kind.__name__}", f"{label} has a wrong type")
    for value, label, shape in sorted(judged, key=lambda one: one[2].turn):
        _write_range(writer, value, label, shape)
    for value, label, shape in judged:
        if shape.is_deep:
            _write_within(writer, value, label, shape)


def _write_range(writer: Writer, value: str, label: str, shape: Shape) -> None:
    if shape.is_sized_within:
        return
    if shape.turn == Turn.CONSTANT:
        words = f"is not {shape.low}"
    else:
        words = "is out of range" if shape.kind is int else "has a wrong length"
    absent = f"{value} is not None and " if shape.nil else ""
    writer.refuse(absent + _outside(value, shape), f"{label} {words}")


def _outside(value: str, shape: Shape) -> str:
    size = value if shape.kind is int else f"len({value})"
    if shape.low == shape.high:
        return f"{size} != {shape.low}"
    return (
        f"{size} > {shape.high}"
        if shape.low == 0 and shape.kind is not int
        else f"not {shape.low} <= {size} <= {shape.high}"
    )


def _write_within(writer: Writer, value: str, label: str, shape: Shape) -> None:
    if shape.is_sized_within or shape.nil:
        # There is nothing in what is nil or empty.
        with writer.block(f"if {value}"):
            if shape.is_sized_within:
                writer.refuse(_outside(value, shape), f"{label} has a wrong length")
            shape.within(writer, value, label)
    else:
        shape.within(writer, value, label)


def items_of(value: str, size: int) -> list[str]:
    """Expressions: the `size` items of the list `value`."""
    return [f"{value}[{number}]" for number in range(size)]


def write_object(
    writer: Writer, cls: type, members: Sequence[Member], items: Sequence[str], beside: Sequence[str] = ()
) -> str:
    """An expression: the object of `cls`, from expressions of its items; it takes the variables `beside` as well."""
    by_name = dict(zip([item.name for member in members for item in member.rows()], items, strict=True))
    values = [f"{name}={name}" for name in beside]
    for member in members:
        parts = [by_name[item.name] for item in member.rows()]
        if member.shape.beside:
            parts.append(by_name[member.shape.beside])
        if member.shape.turn != Turn.CONSTANT:
            values.append(f"{member.name}={member.shape.take(writer, parts)}")
    return f"{writer.named(cls, cls.__name__)}({', '.join(values)})"


def write_items(writer: Writer, members: Sequence[Member], value: str) -> list[str]:
    """Expressions: the items of the object `value`."""
    items: dict[str, str] = {}
    for member in members:
        given = [f"{value}.{member.name}"]
        if member.shape.beside:
            given.append(items[member.shape.beside])
        parts = member.shape.give(writer, *given)
        items |= {item.name: part for item, part in zip(member.rows(), parts, strict=True)}
    return list(items.values())


def _write_check(writer: Writer, made: Any, name: str) -> list[str]:
    """Returns expressions of the items that it judges."""
    rows = [row for member in made.members for row in member.rows()]
    with writer.block("def check(items)"):
        writer.refuse(
            f"type(items) is not list or len(items) != {len(rows)}", f"{name}: not an array of {len(rows)} items"
        )
        writer.line(f"[{', '.join(row.name for row in rows)}] = items")
        write_checks(writer, [(row.name, f"{name}: {row.name}", row.shape) for row in rows])
    return items_of("items", len(rows))


def write_record(writer: Writer, made: Any, name: str, beside: Sequence[str]) -> None:
    """Writes `check`, `of_items` and `to_items` of the class `made`; `beside` are its fields that do not travel."""
    items = _write_check(writer, made, name)
    with writer.block(f"def of_items({', '.join(['items', *beside])})"):
        writer.line(f"return {write_object(writer, made, made.members, items, beside)}")
    with writer.block("def to_items(self)"):
        writer.line(f"return [{', '.join(write_items(writer, made.members, 'self'))}]")


def write_message(writer: Writer, made: Any, name: str, limit: int, beside: Sequence[str]) -> None:
    """Writes `check`, `decode` and `encode` of the class `made`, whose encoding has `limit` bytes at most."""
    items = _write_check(writer, made, name)
    with writer.block(f"def decode({', '.join(['data', *beside])})"):
        writer.refuse(
            f"type(data) is not bytes or len(data) > {limit}", f"{name}: not bytes, or larger than {limit} bytes"
        )
        writer.line("items = unpack(data)")
        writer.line("check(items)")
        writer.refuse("pack(items) != data", f"{name}: not the canonical encoding")
        writer.line(f"return {write_object(writer, made, made.members, items, beside)}")
    with writer.block("def encode(self)"):
        writer.line(f"items = [{', '.join(write_items(writer, made.members, 'self'))}]")
        with writer.block("try"):
            writer.line("check(items)")
        with writer.block("except Malformed as error"):
            writer.line("raise LocalMisuse('value-invalid', f'building {error.detail}') from None")
        writer.line("data = pack(items)")
        with writer.block(f"if len(data) > {limit}"):
            words = f"building {name}: larger than {limit} bytes"
            writer.line(f"raise LocalMisuse('value-invalid', {words!r})")
        writer.line("return data")
