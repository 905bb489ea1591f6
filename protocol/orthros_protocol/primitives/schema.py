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

import ast
import linecache
import re
from collections import Counter
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
from orthros_protocol.primitives.shape_source import (
    CALLED,
    Member,
    Shape,
    Writer,
    write_checks,
    write_message,
    write_record,
)

__all__ = [
    "Extension",
    "Message",
    "Record",
    "adapted",
    "array",
    "binary",
    "const",
    "either",
    "extensions",
    "instant",
    "integer",
    "item_checks",
    "message",
    "offset",
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
_W = TypeVar("_W", bound="_Fields")
_R = TypeVar("_R", bound="Record")
_S = TypeVar("_S", bound="Record")
Extension = tuple[int, bytes]
"""The number of an extension and its value."""
_SHAPE: Final = "shape"
_SECRET: Final = "secret"
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


def either(one: type[_R], other: type[_S], **options: Any) -> _R | _S:
    """An array that is an object of `one` or of `other`, which begin with different constants."""
    sizes = [len([row for member in cls.members for row in member.rows()]) for cls in (one, other)]
    shape = shapes.Choice(list, min(sizes), max(sizes), classes=(one, other))
    return cast("_R | _S", _field(shape, **options))


def adapted(
    inner: object, read: Callable[..., _T], write: Callable[..., Any], *, beside: str = "", **options: Any
) -> _T:
    """What `inner` allows, of which `read` makes the value, and `write` the item again; neither sees nil.

    Where `beside` names an earlier item, both are given that as well.
    """
    of = _shape_of(inner)
    shape = shapes.Adapted(of.kind, of.low, of.high, nil=of.nil, inner=of, read=read, write=write, beside=beside)
    return cast(_T, _field(shape, **options))


def principal(**options: Any) -> Principal:
    """Realm and name of a principal: two items."""
    return cast(Principal, _field(shapes.RealmAndName(list), **options))


def offset(**options: Any) -> int:
    """How many milliseconds a clock is ahead of another, or behind (negative): two items."""
    return cast(int, _field(shapes.Offset(list), **options))


def extensions(limit: int = MAX_EXTENSION_BYTES, **options: Any) -> tuple[Extension, ...]:
    """A `crit` or `opt` list: numbers strictly increasing, 8 entries and `limit` bytes at most; none by default."""
    return cast("tuple[Extension, ...]", _field(shapes.Extensions(list, 0, MAX_EXTENSIONS, limit=limit), **options))


class _Fields:
    __slots__ = ()
    members: ClassVar[tuple[Member, ...]]

    def altered(self, **changes: Any) -> Self:
        """The same with other values in the named fields."""
        return cast(Self, attrs.evolve(cast(Any, self), **changes))


class Record(_Fields):
    """An array within messages. What `message` gives a class: the functions themselves are written for it."""

    __slots__ = ()

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


class Message(_Fields):
    """What travels, or is sealed, as a whole. What `message` gives a class: the functions are written for it."""

    __slots__ = ()

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
        either,
        adapted,
        principal,
        offset,
        extensions,
    ),
)
def message(
    name: str, *, limit: int = MAX_FRAME_BYTES, eq: bool = False, order: bool = False, kw_only: bool = True
) -> Callable[[type[_W]], type[_W]]:
    """Makes of a class the Message `name` of at most `limit` bytes, or the Record that errors call `name`.

    `eq`: whether objects are compared by their fields, `order`: whether they have an order as well; `kw_only`: whether
    they are made with keywords alone. A class takes over the fields of a message that it inherits from, before its own.
    """
    return lambda cls: _made(cls, name, limit, eq=eq, order=order, kw_only=kw_only)


def source_of(cls: type[Message | Record]) -> str:
    """The source that was written for `cls`."""
    return "".join(linecache.getlines(_file_name(cls)))


def item_checks(cls: type[Record]) -> list[Callable[[Any], None]]:
    """A check of each item of `cls` by itself, to tell which one is wrong. They raise Malformed."""
    writer, rows = _writer(), [row for member in cls.members for row in member.rows()]
    for row in rows:
        with writer.block(f"def check_{row.name}({row.name})"):
            write_checks(writer, [(row.name, row.name, row.shape)])
    functions = _compiled(writer, f"{_file_name(cls)[:-1]}, items>")
    return [functions[f"check_{row.name}"] for row in rows]


def _file_name(cls: type) -> str:
    return f"<message {cls.__module__}.{cls.__qualname__}>"


def _made(cls: type[Any], name: str, limit: int, *, eq: bool, order: bool, kw_only: bool) -> type[Any]:
    declared: list[attrs.Attribute[Any]] = []

    def without_constants(_cls: type, attributes: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
        declared.extend(attributes)
        return [one for one in attributes if not isinstance(one.metadata.get(_SHAPE), shapes.Constant)]

    inherited: tuple[Member, ...] = getattr(cls, "members", ())
    has_secrets = any(getattr(one, "metadata", {}).get(_SECRET) for one in vars(cls).values())
    if has_secrets or vars(cls.__base__).get("__getstate__") is not_exported:
        cls.__getstate__ = not_exported  # type: ignore[assignment]  # it takes the object
    made: type[Any] = attrs.frozen(field_transformer=without_constants, eq=eq or order, order=order, kw_only=kw_only)(
        cls
    )
    before = {member.name for member in inherited}
    own = [one for one in declared if _SHAPE in one.metadata and one.name not in before]
    made.members = (*inherited, *[Member(one.name, one.metadata[_SHAPE]) for one in own])
    for member in made.members:
        if isinstance(member.shape, shapes.Constant):
            setattr(made, member.name, member.shape.low)
    beside = [one.name for one in declared if _SHAPE not in one.metadata and one.init]
    writer = _writer()
    if issubclass(made, Record):
        write_record(writer, made, name, beside)
    else:
        write_message(writer, made, name, limit, beside)
    variables = {row.name for member in made.members for row in member.rows()}
    if hidden := variables & {*writer.names, *CALLED}:
        raise TypeError(f"{made.__name__}: a field hides what its own source calls: {', '.join(sorted(hidden))}")
    if hidden := variables & _written_again(writer):
        raise TypeError(f"{made.__name__}: its source uses the name of a field twice: {', '.join(sorted(hidden))}")
    for called, function in _compiled(writer, _file_name(made)).items():
        setattr(made, called, function if called in _OF_OBJECTS else staticmethod(function))
    return made


def _writer() -> Writer:
    return Writer(
        {"LocalMisuse": LocalMisuse, "Malformed": Malformed, "pack": pack, "pairwise": pairwise, "unpack": unpack}
    )


def _written_again(writer: Writer) -> set[str]:
    """The variables that one function gets from more than one place: a field of that name would not be checked."""
    again: set[str] = set()
    for function in ast.parse("\n".join(writer.lines)).body:
        stored = Counter(
            node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        )
        again.update(name for name, times in stored.items() if times > 1)
    return again


def _compiled(writer: Writer, file_name: str) -> dict[str, Any]:
    written = "".join(f"{line}\n" for line in writer.lines)
    # Tracebacks and debuggers look here for the source of what has no file.
    linecache.cache[file_name] = (len(written), None, written.splitlines(keepends=True), file_name)
    functions: dict[str, Any] = {}
    exec(compile(written, file_name, "exec"), writer.names, functions)  # noqa: S102
    writer.names.update(functions)
    return functions
