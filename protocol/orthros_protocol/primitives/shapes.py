"""What an item on the wire may be, as the source that checks it, takes it and gives it.

Writes source from what a class declares; never sees a message. `schema.py` compiles what stands here.

Checks stand in the same order everywhere: all types, then constants and exact sizes, then ranges, then sizes, then
what may be nil, then what lies within. So a message is refused for the same reason however its fields are sorted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final

from attrs import define, field, frozen

from orthros_protocol.errors import Malformed
from orthros_protocol.primitives.canonical import pack
from orthros_protocol.primitives.limits import MAX_INT, MAX_NAME_CHARS
from orthros_protocol.primitives.names import cached_principal, is_name

__all__ = [
    "Constant",
    "Extensions",
    "Item",
    "Items",
    "Member",
    "Nested",
    "RealmAndName",
    "RecordSet",
    "Shape",
    "Text",
    "TextSet",
    "Writer",
    "write_checks",
    "write_items",
    "write_object",
]

_MAX_U16: Final = 0xFFFF
_UNORDERED: Final = "is not in strictly increasing order"


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
class Constant(Shape):
    """Exactly this integer. It is no attribute of an object, but one of the class."""

    def give(self, writer: Writer, value: str) -> list[str]:
        return [str(self.low)]


@frozen
class Text(Shape):
    """A str that is ASCII, and that `accepts` takes whole."""

    accepts: Callable[[str], object] | re.Pattern[str] = field(kw_only=True)

    def within(self, writer: Writer, value: str, label: str) -> None:
        accepts = _predicate(writer, self.accepts)
        writer.refuse(f"not {accepts}({value}) or not {value}.isascii()", f"{label} does not match its pattern")


def _predicate(writer: Writer, accepts: Callable[[str], object] | re.Pattern[str]) -> str:
    if isinstance(accepts, re.Pattern):
        return f"{writer.named(accepts, 'pattern')}.fullmatch"
    return writer.named(accepts, accepts.__name__.replace("<lambda>", "accepts").lstrip("_"))


@frozen
class TextSet(Shape):
    """A set of str: strictly increasing in the byte order of their encodings, so the length comes first."""

    accepts: Callable[[str], object] = field(kw_only=True)

    def within(self, writer: Writer, value: str, label: str) -> None:
        accepts = _predicate(writer, self.accepts)
        with writer.block(f"for one in {value}"):
            # The length comes first: predicates remember what they were asked, and strangers do the asking.
            condition = f"type(one) is not str or len(one) > {MAX_NAME_CHARS} or not {accepts}(one)"
            writer.refuse(condition, f"{label}[] does not match its pattern")
        with writer.block(f"for before, after in pairwise({value})"):
            writer.refuse(
                "(len(before), before) >= (len(after), after)", f"{label} is not in strictly increasing order"
            )

    def _taken(self, writer: Writer, item: str) -> str:
        return f"tuple({item})"

    def _given(self, writer: Writer, value: str) -> str:
        return f"list({value})"


@frozen
class Items(Shape):
    """A list of items of one shape."""

    item: Shape = field(kw_only=True)

    def within(self, writer: Writer, value: str, label: str) -> None:
        with writer.block(f"for {value}_one in {value}"):
            write_checks(writer, [(f"{value}_one", f"{label}[]", self.item)])

    def _taken(self, writer: Writer, item: str) -> str:
        one = self.item.take(writer, ["one"])
        return f"tuple({item})" if one == "one" else f"tuple([{one} for one in {item}])"

    def _given(self, writer: Writer, value: str) -> str:
        [one] = self.item.give(writer, "one")
        return f"list({value})" if one == "one" else f"[{one} for one in {value}]"


@frozen
class RecordSet(Items):
    """A set of arrays: strictly increasing in the byte order of their encodings."""

    def within(self, writer: Writer, value: str, label: str) -> None:
        super().within(writer, value, label)
        with writer.block(f"for before, after in pairwise(map(pack, {value}))"):
            writer.refuse("before >= after", f"{label} {_UNORDERED}")


@frozen
class Nested(Shape):
    """An array that is an object of `cls`."""

    members: tuple[Member, ...] = field(kw_only=True)
    cls: type = field(kw_only=True)

    def within(self, writer: Writer, value: str, label: str) -> None:
        rows = [row for member in self.members for row in member.rows()]
        names = [f"{value}_{row.name}" for row in rows]
        writer.line(f"[{', '.join(names)}] = {value}")
        write_checks(writer, [(name, f"{label}.{row.name}", row.shape) for name, row in zip(names, rows, strict=True)])

    def _taken(self, writer: Writer, item: str) -> str:
        return write_object(writer, self.cls, self.members, item)

    def _given(self, writer: Writer, value: str) -> str:
        return write_items(writer, self.members, value)


@frozen
class Extensions(Shape):
    """A `crit` or `opt` list: `[id u16, value bin]`, ids strictly increasing, and `limit` bytes at most."""

    limit: int = field(kw_only=True)

    def within(self, writer: Writer, value: str, label: str) -> None:
        # Hardly a message has any, so they share one function.
        check = writer.named(check_extensions, "check_extensions")
        writer.line(f"{check}({value}, {self.limit}, {label!r})")

    def _taken(self, writer: Writer, item: str) -> str:
        return f"tuple([(one[0], one[1]) for one in {item}]) if {item} else ()"

    def _given(self, writer: Writer, value: str) -> str:
        return f"[list(one) for one in {value}]"


def check_extensions(entries: list[Any], limit: int, label: str) -> None:
    """Raises Malformed unless `entries`, of which there are not too many, are the `label` of a message."""
    for entry in entries:
        if type(entry) is not list or len(entry) != 2 or type(entry[0]) is not int or type(entry[1]) is not bytes:
            raise Malformed(f"{label}[] is not a number and its value")
        if not 0 <= entry[0] <= _MAX_U16 or len(entry[1]) > limit:
            raise Malformed(f"{label}[] is out of range")
    if any(before[0] >= after[0] for before, after in pairwise(entries)):
        raise Malformed(f"{label} {_UNORDERED}")
    if len(pack(entries)) > limit:
        raise Malformed(f"{label} is larger than {limit} bytes")


@frozen
class RealmAndName(Shape):
    """Realm and name of a principal: two items, one value."""

    def rows(self, name: str) -> list[Item]:
        part = Text(str, 1, MAX_NAME_CHARS, accepts=is_name)
        return [Item(f"{name}_realm", part), Item(f"{name}_name", part)]

    def take(self, writer: Writer, items: Sequence[str]) -> str:
        return f"{writer.named(cached_principal, 'cached_principal')}({', '.join(items)})"

    def give(self, writer: Writer, value: str) -> list[str]:
        return [f"{value}.realm", f"{value}.name"]


@frozen
class Member:
    """A field of a class, and what stands for it on the wire."""

    name: str
    shape: Shape

    def rows(self) -> list[Item]:
        """Its items."""
        return self.shape.rows(self.name)


@frozen
class Item:
    """One item, by the name that errors and documentation give it."""

    name: str
    shape: Shape


def write_checks(writer: Writer, judged: Sequence[tuple[str, str, Shape]]) -> None:
    """Writes the checks of values next to each other: of each its expression, its label and its shape."""
    for value, label, shape in judged:
        absent = f"{value} is not None and " if shape.nil else ""
        writer.refuse(f"{absent}type({value}) is not {shape.kind.__name__}", f"{label} has a wrong type")
    for value, label, shape in sorted(judged, key=lambda one: one[2].turn):
        _write_range(writer, value, label, shape)
    for value, label, shape in judged:
        if type(shape).within is not Shape.within:
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


def write_object(writer: Writer, cls: type, members: Sequence[Member], items: str, beside: Sequence[str] = ()) -> str:
    """An expression: the object of `cls` of these items; it takes the variables `beside` as well."""
    at, values = 0, [f"{name}={name}" for name in beside]
    for member in members:
        size = len(member.rows())
        parts = [f"{items}[{number}]" for number in range(at, at + size)]
        at += size
        if not isinstance(member.shape, Constant):
            values.append(f"{member.name}={member.shape.take(writer, parts)}")
    return f"{writer.named(cls, cls.__name__)}({', '.join(values)})"


def write_items(writer: Writer, members: Sequence[Member], value: str) -> str:
    """An expression: the items of the object `value`."""
    items = [item for member in members for item in member.shape.give(writer, f"{value}.{member.name}")]
    return f"[{', '.join(items)}]"
