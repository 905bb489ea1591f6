"""A class that is a message: its fields say what may stand on the wire, and everything else follows from them.

The problem: a message has about twenty fields, each with a type, a range and an order among them. Written by hand, a
field is named in the row that checks it, in the class, where it is encoded, where it is unpacked and where the object
is built; a mistake in one of these places is a hole. Here a field is one line of a class:

    @message("AP-REP", limit=4096)
    class ApReply(Message):
        version: int = const(1)
        nonce: bytes = binary(16)
        target_time: Timestamp = instant()

The mechanism: as attrs does for `__init__`, `message` writes the source of three functions for the class and compiles
it. `check` judges a list of items: first all types, then constants and exact sizes, then ranges and sizes, then what
lies within an item. `decode` reads no more than `limit` bytes, checks, encodes again and compares, which is what finds
long shapes, and only then builds the object. `encode` refuses to write what `decode` would not read.
The source is made of what the class declares and never of what was received; `source_of` shows it, tracebacks do too,
and all of it is committed in tests/golden/messages: a review sees what a change of a field or of this file does.
Closures in place of source were measured: they take 1.7 to 2.5 times as long.
"""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar, Final, Literal, Self, TypeVar, cast, dataclass_transform

import attrs

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.keys.role_keys import not_exported
from orthros_protocol.primitives import shapes
from orthros_protocol.primitives.canonical import pack, unpack
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_EXTENSION_BYTES, MAX_EXTENSIONS, MAX_FRAME_BYTES, MAX_INT
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.shapes import Member, Shape, Writer, write_checks, write_items, write_object

__all__ = [
    "Extension",
    "Message",
    "Record",
    "array",
    "binary",
    "const",
    "extensions",
    "instant",
    "integer",
    "message",
    "optional",
    "principal",
    "record_of",
    "record_set",
    "secret",
    "source_of",
    "text",
    "text_set",
]

_T = TypeVar("_T")
_W = TypeVar("_W", bound="Message | Record")
_R = TypeVar("_R", bound="Record")
Extension = tuple[int, bytes]
"""The number of an extension and its value."""
_SHAPE: Final = "shape"
_SECRET: Final = "secret"
_CALLED: Final = {"bytes", "data", "int", "items", "len", "list", "map", "self", "str", "tuple", "type"}
_OF_OBJECTS: Final = {"encode", "to_items"}


def _field(shape: Shape, **options: Any) -> Any:
    return attrs.field(metadata={_SHAPE: shape}, **options)


def _shape_of(specifier: object) -> Shape:
    shape: Shape = cast(Any, specifier).metadata[_SHAPE]
    return shape


def const(value: int, *, init: Literal[False] = False) -> int:
    """Exactly this integer. It is an attribute of the class, not of its objects."""
    return cast(int, _field(shapes.Constant(int, value, value), init=init))


def integer(high: int = MAX_INT, low: int = 0, **options: Any) -> int:
    """An unsigned integer in low..high."""
    return cast(int, _field(Shape(int, low, high), **options))


def instant(**options: Any) -> Timestamp:
    """Milliseconds since the Unix epoch."""
    return Timestamp(integer(**options))


def binary(size: int, high: int | None = None, **options: Any) -> bytes:
    """A bin of exactly `size` bytes, or of `size`..`high`."""
    return cast(bytes, _field(Shape(bytes, size, size if high is None else high), **options))


def secret(size: int, **options: Any) -> bytes:
    """A bin of exactly `size` bytes that is not shown and not compared, in a class that is not pickled."""
    return cast(
        bytes, attrs.field(metadata={_SHAPE: Shape(bytes, size, size), _SECRET: True}, repr=False, eq=False, **options)
    )


def text(accepts: Callable[[str], object] | re.Pattern[str], high: int = 128, **options: Any) -> str:
    """A str that is ASCII, never empty, and accepted whole by the predicate or pattern."""
    return cast(str, _field(shapes.Text(str, 1, high, accepts=accepts), **options))


def optional(inner: _T, **options: Any) -> _T | None:
    """`inner`, or nil in its place."""
    return cast(_T, _field(attrs.evolve(_shape_of(inner), nil=True), **options))


def array(item: _T, high: int, low: int = 0, **options: Any) -> tuple[_T, ...]:
    """A list of low..high items, each as `item` says."""
    return cast("tuple[_T, ...]", _field(shapes.Items(list, low, high, item=_shape_of(item)), **options))


def record_set(item: _T, high: int, **options: Any) -> tuple[_T, ...]:
    """A set of 1..`high` records, strictly increasing in the byte order of their encodings."""
    return cast("tuple[_T, ...]", _field(shapes.RecordSet(list, 1, high, item=_shape_of(item)), **options))


def text_set(accepts: Callable[[str], bool], high: int, **options: Any) -> tuple[str, ...]:
    """A set of 0..`high` str: strictly increasing in the byte order of their encodings, so the length comes first."""
    return cast("tuple[str, ...]", _field(shapes.TextSet(list, 0, high, accepts=accepts), **options))


def record_of(cls: type[_R], **options: Any) -> _R:
    """An array that is an object of `cls`."""
    size = len([row for member in cls.members for row in member.rows()])
    return cast(_R, _field(shapes.Nested(list, size, size, members=cls.members, cls=cls), **options))


def principal(**options: Any) -> Principal:
    """Realm and name of a principal: two items."""
    return cast(Principal, _field(shapes.RealmAndName(list), **options))


def extensions(limit: int = MAX_EXTENSION_BYTES, **options: Any) -> tuple[Extension, ...]:
    """A `crit` or `opt` list: numbers strictly increasing, 8 entries and `limit` bytes at most; none by default."""
    return cast("tuple[Extension, ...]", _field(shapes.Extensions(list, 0, MAX_EXTENSIONS, limit=limit), **options))


class Record:
    """An array within messages. What `message` gives a class: the functions themselves are written for it."""

    __slots__ = ()
    members: ClassVar[tuple[Member, ...]]

    @staticmethod
    def check(items: Any) -> None:
        """Raises Malformed unless `items` is a list that fits every field."""
        raise NotImplementedError

    @classmethod
    def of_items(cls, items: list[Any]) -> Self:
        """The object of items that passed `check`."""
        raise NotImplementedError

    def to_items(self) -> list[Any]:
        """The items that travel, not checked."""
        raise NotImplementedError


class Message:
    """What travels, or is sealed, as a whole. What `message` gives a class: the functions are written for it."""

    __slots__ = ()
    members: ClassVar[tuple[Member, ...]]

    @classmethod
    def decode(cls, data: bytes, **beside: Any) -> Self:
        """The object whose one canonical encoding `data` is. `beside` are the fields that do not travel.

        Raises Malformed for any other bytes.
        """
        raise NotImplementedError

    def encode(self) -> bytes:
        """The one encoding. Raises LocalMisuse `value-invalid` where `decode` would refuse it."""
        raise NotImplementedError


@dataclass_transform(
    frozen_default=True,
    kw_only_default=True,
    field_specifiers=(
        attrs.field,
        const,
        integer,
        instant,
        binary,
        secret,
        text,
        optional,
        array,
        record_set,
        text_set,
        record_of,
        principal,
        extensions,
    ),
)
def message(
    name: str, *, limit: int = MAX_FRAME_BYTES, eq: bool = False, kw_only: bool = True
) -> Callable[[type[_W]], type[_W]]:
    """Makes of a class the Message `name` of at most `limit` bytes, or the Record that errors call `name`.

    `eq`: whether objects are compared by their fields; `kw_only`: whether they are made with keywords alone.
    """
    return lambda cls: _made(cls, name, limit, eq=eq, kw_only=kw_only)


def source_of(cls: type[Message | Record]) -> str:
    """The source that was written for `cls`."""
    return "".join(linecache.getlines(_file_name(cls)))


def _file_name(cls: type) -> str:
    return f"<message {cls.__module__}.{cls.__qualname__}>"


def _made(cls: type[Any], name: str, limit: int, *, eq: bool, kw_only: bool) -> type[Any]:
    declared: list[attrs.Attribute[Any]] = []

    def without_constants(_cls: type, attributes: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
        declared.extend(attributes)
        return [one for one in attributes if not isinstance(one.metadata.get(_SHAPE), shapes.Constant)]

    if any(getattr(one, "metadata", {}).get(_SECRET) for one in vars(cls).values()):
        cls.__getstate__ = not_exported  # type: ignore[assignment]  # it takes the object
    made: type[Any] = attrs.frozen(eq=eq, kw_only=kw_only, field_transformer=without_constants)(cls)
    made.members = tuple([Member(one.name, one.metadata[_SHAPE]) for one in declared if _SHAPE in one.metadata])
    for member in made.members:
        if isinstance(member.shape, shapes.Constant):
            setattr(made, member.name, member.shape.low)
    beside = [one.name for one in declared if _SHAPE not in one.metadata and one.init]
    writer = Writer(
        {"LocalMisuse": LocalMisuse, "Malformed": Malformed, "pack": pack, "pairwise": pairwise, "unpack": unpack}
    )
    _write_check(writer, made, name)
    if issubclass(made, Record):
        _write_record(writer, made, beside)
    else:
        _write_message(writer, made, name, limit, beside)
    _compile(writer, made)
    return made


def _write_check(writer: Writer, made: type[Any], name: str) -> None:
    rows = [row for member in made.members for row in member.rows()]
    with writer.block("def check(items)"):
        writer.refuse(
            f"type(items) is not list or len(items) != {len(rows)}", f"{name}: not an array of {len(rows)} items"
        )
        writer.line(f"[{', '.join(row.name for row in rows)}] = items")
        write_checks(writer, [(row.name, f"{name}: {row.name}", row.shape) for row in rows])


def _write_record(writer: Writer, made: type[Any], beside: list[str]) -> None:
    with writer.block(f"def of_items({', '.join(['items', *beside])})"):
        writer.line(f"return {write_object(writer, made, made.members, 'items', beside)}")
    with writer.block("def to_items(self)"):
        writer.line(f"return {write_items(writer, made.members, 'self')}")


def _write_message(writer: Writer, made: type[Any], name: str, limit: int, beside: list[str]) -> None:
    with writer.block(f"def decode({', '.join(['data', *beside])})"):
        writer.refuse(
            f"type(data) is not bytes or len(data) > {limit}", f"{name}: not bytes, or larger than {limit} bytes"
        )
        writer.line("items = unpack(data)")
        writer.line("check(items)")
        writer.refuse("pack(items) != data", f"{name}: not the canonical encoding")
        writer.line(f"return {write_object(writer, made, made.members, 'items', beside)}")
    with writer.block("def encode(self)"):
        writer.line(f"items = {write_items(writer, made.members, 'self')}")
        with writer.block("try"):
            writer.line("check(items)")
        with writer.block("except Malformed as error"):
            writer.line("raise LocalMisuse('value-invalid', f'building {error.detail}') from None")
        writer.line("data = pack(items)")
        with writer.block(f"if len(data) > {limit}"):
            writer.line(f"raise LocalMisuse('value-invalid', 'building {name}: larger than {limit} bytes')")
        writer.line("return data")


def _compile(writer: Writer, made: type[Any]) -> None:
    variables = {row.name for member in made.members for row in member.rows()}
    if hidden := variables & {*writer.names, *_CALLED}:
        raise TypeError(f"{made.__name__}: a field hides what its own source calls: {', '.join(sorted(hidden))}")
    file_name, written = _file_name(made), "".join(f"{line}\n" for line in writer.lines)
    # Tracebacks and debuggers look here for the source of what has no file.
    linecache.cache[file_name] = (len(written), None, written.splitlines(keepends=True), file_name)
    functions: dict[str, Any] = {}
    exec(compile(written, file_name, "exec"), writer.names, functions)  # noqa: S102
    writer.names.update(functions)
    for called, function in functions.items():
        setattr(made, called, function if called in _OF_OBJECTS else staticmethod(function))
