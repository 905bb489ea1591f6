"""What an item on the wire may be: the source that checks what lies within it, takes it and gives it.

Never sees a message. `shape_source.py` puts together what stands here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

from attrs import field, frozen

from orthros_protocol.errors import Malformed
from orthros_protocol.primitives.canonical import pack
from orthros_protocol.primitives.limits import MAX_NAME_CHARS
from orthros_protocol.primitives.shape_source import (
    Item,
    Member,
    Shape,
    Writer,
    items_of,
    write_checks,
    write_items,
    write_object,
)

__all__ = [
    "Adapted",
    "Choice",
    "Constant",
    "Extensions",
    "Items",
    "Nested",
    "Offset",
    "RecordSet",
    "Several",
    "Spread",
    "Text",
    "TextSet",
]

_MAX_U16: Final = 0xFFFF
_UNORDERED: Final = "is not in strictly increasing order"


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
class Spread(Shape):
    """An object of `cls`, whose items stand in line, each under its own name."""

    members: tuple[Member, ...] = field(kw_only=True)
    cls: type = field(kw_only=True)

    def rows(self, name: str) -> list[Item]:
        return [row for member in self.members for row in member.rows()]

    def take(self, writer: Writer, items: Sequence[str]) -> str:
        return write_object(writer, self.cls, self.members, items)

    def give(self, writer: Writer, value: str) -> list[str]:
        return write_items(writer, self.members, value)


@frozen
class Several(Shape):
    """Items that are one value: `read` makes it of them, and it has each as an attribute of the name of the item."""

    items: tuple[Item, ...] = field(kw_only=True)
    read: Callable[..., Any] = field(kw_only=True)

    def rows(self, name: str) -> list[Item]:
        return [Item(f"{name}_{one.name}" if name else one.name, one.shape) for one in self.items]

    def take(self, writer: Writer, items: Sequence[str]) -> str:
        return f"{writer.named(self.read, self.read.__name__)}({', '.join(items)})"

    def give(self, writer: Writer, value: str) -> list[str]:
        return [f"{value}.{one.name}" for one in self.items]


@frozen
class Nested(Shape):
    """An array of its own around the items of `inner`."""

    inner: Shape = field(kw_only=True)

    def within(self, writer: Writer, value: str, label: str) -> None:
        rows = self.inner.rows("")
        names = [f"{value}_{row.name}" for row in rows]
        writer.line(f"[{', '.join(names)}] = {value}")
        write_checks(writer, [(name, f"{label}.{row.name}", row.shape) for name, row in zip(names, rows, strict=True)])

    def _taken(self, writer: Writer, item: str) -> str:
        return self.inner.take(writer, items_of(item, self.low))

    def _given(self, writer: Writer, value: str) -> str:
        return f"[{', '.join(self.inner.give(writer, value))}]"


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
class Choice(Shape):
    """An array that is an object of the class among `classes` whose constant its first item is."""

    classes: tuple[Any, ...] = field(kw_only=True)

    def within(self, writer: Writer, value: str, label: str) -> None:
        writer.line(f"{self._chosen(writer, value)}.check({value})")

    def _taken(self, writer: Writer, item: str) -> str:
        return f"{self._chosen(writer, item)}.of_items({item})"

    def _given(self, writer: Writer, value: str) -> str:
        return f"{value}.to_items()"

    def _chosen(self, writer: Writer, item: str) -> str:
        *others, last = [writer.named(one, one.__name__) for one in self.classes]
        first = [one.members[0].shape.low for one in self.classes]
        tests = [f"{name} if {item}[0] == {low} else " for name, low in zip(others, first, strict=False)]
        return f"({''.join(tests)}{last})"


@frozen
class Adapted(Shape):
    """What `inner` allows, of which `read` makes the value of the field, and `write` the item again.

    Where `beside` names another item, both are given that as well.
    """

    inner: Shape = field(kw_only=True)
    read: Callable[..., Any] = field(kw_only=True)
    write: Callable[..., Any] = field(kw_only=True)

    @property
    def is_deep(self) -> bool:
        return self.inner.is_deep

    def within(self, writer: Writer, value: str, label: str) -> None:
        self.inner.within(writer, value, label)

    def take(self, writer: Writer, items: Sequence[str]) -> str:
        read = writer.named(self.read, self.read.__name__.lstrip("_"))
        return self._or_none(items[0], f"{read}({', '.join(items)})")

    def give(self, writer: Writer, *values: str) -> list[str]:
        write = writer.named(self.write, self.write.__name__.lstrip("_"))
        return [self._or_none(values[0], f"{write}({', '.join(values)})")]


@frozen
class Offset(Shape):
    """How far a clock is ahead of another: two items, since none is negative."""

    def rows(self, name: str) -> list[Item]:
        return [Item(f"{name}_{way}", Shape(int)) for way in ("ahead", "behind")]

    def take(self, writer: Writer, items: Sequence[str]) -> str:
        return f"{writer.named(ahead_of, 'ahead_of')}({', '.join(items)})"

    def give(self, writer: Writer, value: str) -> list[str]:
        return [f"max({value}, 0)", f"max(-{value}, 0)"]


def ahead_of(ahead: int, behind: int) -> int:
    """Raises Malformed for a clock that is both ahead and behind: each offset has one encoding."""
    if ahead and behind:
        raise Malformed("a clock that is both ahead and behind")
    return ahead - behind
