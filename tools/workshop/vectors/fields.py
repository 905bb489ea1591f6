"""Each field of each message at its limits, one past them, of another type, and nil.

A message says of its fields what they may hold; the values follow from that, so a new field has its vectors. What
comes of them is what the code says: the other implementations know nothing of its classes, and must say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from orthros_protocol.primitives import shapes
from orthros_protocol.primitives.canonical import pack
from orthros_protocol.primitives.schema import Message, Record
from orthros_protocol.primitives.shape_source import Item, Shape
from workshop.vectors.edges import bad_extensions, good_extensions
from workshop.vectors.parties import Inputs, Vector
from workshop.vectors.run import outcome

_MOST_BYTES: Final = 16 * 1024  # a larger item is as large as its message
_WRONG_TEXTS: Final = {"with a line break": "a\n", "not ASCII": "\u00e9", "not canonical": "A"}
_Values = Iterator[tuple[str, Any]]


# Two things are wrong at once, and the pages leave open which of them is found first.
_OPEN: Final = {
    "reply: content of 7 bytes",
    "AP-REP: body of 3 bytes",
    "TGS-REP: results whose first is with flags of 4294967295",
}


def fields(  # the columns of a table
    name: str, op: str, cls: type[Message | Record], items: Sequence[Any], given: Callable[[bytes], Inputs]
) -> list[Vector]:
    """Vectors of one operation, to which `given` hands bytes that hold `items`, each with one thing changed."""
    made: dict[bytes, Vector] = {}
    for what, encoded in _encodings(_rows(cls), list(items)):
        shown = given(encoded)
        made.setdefault(encoded, {"name": f"{name}: {what}", "op": op, "in": shown, **outcome(op, shown)})
    return [vector for vector in made.values() if vector["name"] not in _OPEN]


def _rows(cls: Any) -> list[Item]:
    return [row for member in cls.members for row in member.rows()]


def _encodings(rows: list[Item], items: list[Any]) -> Iterator[tuple[str, bytes]]:
    body = pack(items)
    header = 3 if len(items) > 15 else 1
    yield "an array of the longer form", b"\xdd" + len(items).to_bytes(4, "big") + body[header:]
    at = max(at for at, item in enumerate(items) if _longer(item) != pack(item))
    packed = [_longer(item) if number == at else pack(item) for number, item in enumerate(items)]
    yield f"{rows[at].name} of the longer form", body[:header] + b"".join(packed)
    yield "a byte behind", body + b"\0"
    yield "an integer", pack(1)
    for what, value in _of_rows(rows, items):
        yield what, pack(value)


def _longer(item: Any) -> bytes:
    """The same item in more bytes than it takes, unless it is nil or takes them all."""
    if type(item) is int:
        return b"\xcf" + item.to_bytes(8, "big")
    if type(item) is bytes:
        return b"\xc6" + len(item).to_bytes(4, "big") + item
    if type(item) is list:
        return b"\xdd" + len(item).to_bytes(4, "big") + b"".join(map(pack, item))
    return b"\xdb" + len(item).to_bytes(4, "big") + item.encode("ascii") if type(item) is str else pack(item)


def _of_rows(rows: list[Item], items: list[Any]) -> _Values:
    yield "an item less", items[:-1]
    yield "an item more", [*items, 0]
    for at, (row, item) in enumerate(zip(rows, items, strict=True)):
        for what, value in _others(row.shape, item):
            yield f"{row.name} {what}", [*items[:at], value, *items[at + 1 :]]


def _others(shape: Shape, item: Any) -> _Values:
    """What could stand there instead, whether it may or not."""
    while isinstance(shape, shapes.Adapted):
        shape = shape.inner
    yield "as nil", None
    if shape.kind is int:
        yield "as float", float(shape.low if item is None else item)
        yield from ((f"of {value}", value) for value in _around(shape.low, shape.high))
    else:
        yield "as integer", 1
    if shape.kind is bytes:
        sizes = [size for size in _around(shape.low, shape.high) if 0 <= size < _MOST_BYTES]
        yield from ((f"of {size} bytes", (item or b"").ljust(size, b"\0")[:size]) for size in sizes)
    elif isinstance(shape, shapes.Text):
        yield from ((f"of {size} characters", "a" * size) for size in _around(shape.low, shape.high))
        yield from _WRONG_TEXTS.items()
    elif isinstance(shape, shapes.Extensions):
        yield from (good_extensions(shape.limit) | bad_extensions(shape.limit)).items()
        yield from {"extension -1": [[-1, b""]], "extension nil": [[None, b""]]}.items()
    elif item is not None and shape.kind is list:
        yield from _lists(shape, item)


def _around(low: int, high: int) -> list[int]:
    return sorted({low - 1, low, high, high + 1})


def _lists(shape: Shape, items: list[Any]) -> _Values:
    if isinstance(shape, shapes.Nested):
        yield from ((f"with {what}", value) for what, value in _of_rows(shape.inner.rows(""), items))
        return
    if isinstance(shape, shapes.Choice):
        for cls in shape.classes:
            if cls.members[0].shape.low == items[0]:
                yield from ((f"with {what}", value) for what, value in _of_rows(_rows(cls), items))
        return
    yield "of nothing", []
    if items:
        first, *others = items
        for size in (shape.high, shape.high + 1):
            yield f"of {size} times the same", [first] * size
        if isinstance(shape, shapes.Items):
            inner = _others(shape.item, first)
        else:
            inner = iter([("as integer", 1), *((f"of {size} characters", "a" * size) for size in (0, 1, 64, 65))])
        yield from ((f"whose first is {what}", [value, *others]) for what, value in inner)
    if isinstance(shape, shapes.TextSet):
        for size in (shape.high, shape.high + 1):
            yield f"of {size} entries", [f"s{one:02}" for one in range(size)]
        yield "of one in capitals", ["A"]
    if len(items) > 1:
        yield "in another order", items[::-1]
