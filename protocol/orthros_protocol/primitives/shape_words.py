"""What the fields of a message may be, in words: for `orthros inspect --schema` and the tables of docs/protocol.

Reads the same shapes that the checks are written from. Judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from attrs import frozen

from orthros_protocol.primitives import shapes
from orthros_protocol.primitives.limits import MAX_INT, MAX_U32
from orthros_protocol.primitives.names import is_name
from orthros_protocol.primitives.schema import Message, Record
from orthros_protocol.primitives.shape_source import Shape

__all__ = ["FieldWords", "messages_by_name", "words_of_fields"]

_NUMBERS: Final = {(0, MAX_INT): "uint", (0, MAX_U32): "u32", (0, 0xFFFF): "u16"}


@frozen
class FieldWords:
    """The place of an item in its array, its name, and its type and range in words."""

    at: int
    name: str
    type: str


def words_of_fields(cls: type[Message | Record]) -> list[FieldWords]:
    """The items of a message, in their order."""
    rows = [row for member in cls.members for row in member.rows()]
    return [FieldWords(at, row.name, _words(row.shape)) for at, row in enumerate(rows)]


def messages_by_name() -> dict[str, list[type[Message | Record]]]:
    """The messages and records of all modules that are loaded, by the names that errors give them."""
    found: dict[str, list[type[Message | Record]]] = {}
    for cls in (*_below(Message), *_below(Record)):
        if "members" in vars(cls) and cls not in found.setdefault(cls.called, []):
            found[cls.called].append(cls)
    return {name: found[name] for name in sorted(found, key=str.lower)}


def _below(cls: type[Any]) -> Iterator[type[Any]]:
    for one in cls.__subclasses__():
        yield one
        yield from _below(one)


def _words(shape: Shape) -> str:
    return f"{_words_without_nil(shape)} or nil" if shape.nil else _words_without_nil(shape)


def _words_without_nil(shape: Shape) -> str:
    match shape:
        case shapes.Adapted():
            return _words_without_nil(shape.inner)
        case shapes.Nested():
            return f"[{', '.join(f'{row.name} {_words(row.shape)}' for row in shape.inner.rows(''))}]"
        case shapes.Extensions():
            return f"extensions, {shape.limit} bytes at most"
        case shapes.TextSet():
            return f"set of {shape.low}..{shape.high}: {_pattern(shape.accepts)}"
        case shapes.Items():
            kind = "set" if isinstance(shape, shapes.RecordSet) else "array"
            return f"{kind} of {shape.low}..{shape.high}: {_words(shape.item)}"
        case shapes.Choice():
            return " or ".join(one.called for one in shape.classes)
        case shapes.Text():
            return "name" if shape.accepts is is_name else f"str {_range(shape)}, {_pattern(shape.accepts)}"
    if shape.kind is bytes:
        return f"bin {_range(shape)}"
    return _NUMBERS.get((shape.low, shape.high), _range(shape))


def _range(shape: Shape) -> str:
    return str(shape.low) if shape.low == shape.high else f"{shape.low}..{shape.high}"


def _pattern(accepts: Callable[[str], object] | re.Pattern[str]) -> str:
    if isinstance(accepts, re.Pattern):
        return accepts.pattern
    return accepts.__name__.lstrip("_").removeprefix("is").lstrip("_").replace("_", " ")
