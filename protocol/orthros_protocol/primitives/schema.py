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
long forms, and only then builds the object. `encode` refuses to write what `decode` would not read.
The source is made of what the class declares and never of what was received; `source_of` shows it, tracebacks do too,
and all of it is committed in tests/golden/messages: a review sees what a change of a field or of this file does.
Closures in place of source were measured: they take 1.7 to 2.5 times as long.
"""

from __future__ import annotations

import ast
import linecache
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, Final, Literal, Self, TypeVar, cast, dataclass_transform

import attrs

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.primitives import shapes
from orthros_protocol.primitives.canonical import pack, unpack
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_EXTENSION_BYTES, MAX_EXTENSIONS, MAX_FRAME_BYTES, MAX_INT
from orthros_protocol.primitives.names import Principal, cached_principal, is_name
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.primitives.shape_source import (
    CALLED,
    Item,
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
    "nested",
    "offset",
    "optional",
    "principal",
    "record_of",
    "record_set",
    "secret",
    "several",
    "source_of",
    "spread",
    "text",
    "text_set",
    "wire",
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
_OF_LOOPS: Final = frozenset({"one", "before", "after"})


def _field(shape: Shape, **options: Any) -> Any:
    return attrs.field(metadata={_SHAPE: shape}, **options)


def _shape_of(specifier: object) -> Shape:
    shape: Shape = cast(Any, specifier).metadata[_SHAPE]
    return shape


def _item_of(specifier: object) -> Shape:
    shape = _shape_of(specifier)
    if [row.shape for row in shape.rows("")] != [shape]:
        raise TypeError("what is several items in line is no item of its own: it needs an array around it (nested)")
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
    return cast(_T, _field(attrs.evolve(_item_of(inner), nil=True), **options))


def array(item: _T, high: int, low: int = 0, **options: Any) -> tuple[_T, ...]:
    """A list of low..high items, each as `item` says."""
    return cast("tuple[_T, ...]", _field(shapes.Items(list, low, high, item=_item_of(item)), **options))


def record_set(item: _T, high: int, **options: Any) -> tuple[_T, ...]:
    """A set of 1..`high` records, strictly increasing in the byte order of their encodings."""
    return cast("tuple[_T, ...]", _field(shapes.RecordSet(list, 1, high, item=_item_of(item)), **options))


def text_set(accepts: Callable[[str], bool], high: int, **options: Any) -> tuple[str, ...]:
    """A set of 0..`high` str: strictly increasing in the byte order of their encodings, so the length comes first."""
    return cast("tuple[str, ...]", _field(shapes.TextSet(list, 0, high, accepts=accepts), **options))


def nested(inner: _T, **options: Any) -> _T:
    """An array of its own around the items that `inner` is."""
    shape = _shape_of(inner)
    size = len(shape.rows(""))
    return cast(_T, _field(shapes.Nested(list, size, size, inner=shape), **options))


def record_of(cls: type[_R], **options: Any) -> _R:
    """An array that is an object of `cls`."""
    return nested(spread(cls), **options)


def spread(cls: type[_T], *, without: Collection[str] = (), **others: object) -> _T:
    """An object of `cls`, a Record or a class of attrs with `wire` fields, whose items stand in line in the message.

    Its fields `without` do not travel and keep their defaults; `others` say how a field is written here.
    """
    members: Sequence[Member] = getattr(cls, "members", None) or _members(attrs.fields(cast(Any, cls)))
    if unknown := {*without, *others} - {member.name for member in members}:
        raise TypeError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
    shaped = {name: _shape_of(one) for name, one in others.items()}
    left = [Member(one.name, shaped.get(one.name, one.shape)) for one in members if one.name not in without]
    return cast(_T, _field(shapes.Spread(list, members=tuple(left), cls=cls)))


def wire(item: object) -> Mapping[str, Any]:
    """The metadata of a field of attrs that `spread` writes as `item` says."""
    return {_SHAPE: _shape_of(item)}


def _members(attributes: Iterable[attrs.Attribute[Any]]) -> list[Member]:
    return [Member(one.name, one.metadata[_SHAPE]) for one in attributes if _SHAPE in one.metadata]


def several(read: Callable[..., _T], **items: object) -> _T:
    """Items in line that are one value: `read` makes it of them, and it has each as an attribute of that name."""
    parts = tuple([Item(name, _item_of(one)) for name, one in items.items()])
    return cast(_T, _field(shapes.Several(list, items=parts, read=read)))


def either(one: type[_R], other: type[_S], **options: Any) -> _R | _S:
    """An array that is an object of `one` or of `other`, which begin with different constants."""
    sizes = [_shape_of(record_of(cls)).low for cls in (one, other)]
    return cast("_R | _S", _field(shapes.Choice(list, min(sizes), max(sizes), classes=(one, other)), **options))


def adapted(
    inner: object, read: Callable[..., _T], write: Callable[..., Any], *, beside: str = "", **options: Any
) -> _T:
    """What `inner` allows, of which `read` makes the value, and `write` the item again; neither sees nil.

    Where `beside` names an earlier item, both are given that as well.
    """
    of = _item_of(inner)
    shape = shapes.Adapted(of.kind, of.low, of.high, nil=of.nil, inner=of, read=read, write=write, beside=beside)
    return cast(_T, _field(shape, **options))


def principal(**options: Any) -> Principal:
    """Realm and name of a principal: two items."""
    parts = several(cached_principal, realm=text(is_name), name=text(is_name))
    return cast(Principal, _field(_shape_of(parts), **options))


def offset(**options: Any) -> int:
    """How many milliseconds a clock is ahead of another, or behind (negative): two items."""
    return cast(int, _field(shapes.Offset(list), **options))


def extensions(limit: int = MAX_EXTENSION_BYTES, **options: Any) -> tuple[Extension, ...]:
    """A `crit` or `opt` list: numbers strictly increasing, 8 entries and `limit` bytes at most; none by default."""
    return cast("tuple[Extension, ...]", _field(shapes.Extensions(list, 0, MAX_EXTENSIONS, limit=limit), **options))


class _Fields:
    __slots__ = ()
    members: ClassVar[tuple[Member, ...]]
    called: ClassVar[str]
    most_bytes: ClassVar[int]

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
    def of_items(cls, items: list[Any], **beside: Any) -> Self:
        """The object of items that passed `check`. `beside` are the fields that do not travel."""
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
        nested,
        record_of,
        spread,
        several,
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
    made.called, made.most_bytes = name, limit
    before = {member.name for member in inherited}
    made.members = (*inherited, *[one for one in _members(declared) if one.name not in before])
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
    if hidden := _written_again(writer) - (_OF_LOOPS - variables):
        raise TypeError(f"{made.__name__}: its source uses the name of a field twice: {', '.join(sorted(hidden))}")
    for called, function in _compiled(writer, _file_name(made)).items():
        setattr(made, called, function if called in _OF_OBJECTS else staticmethod(function))
    return made


def _writer() -> Writer:
    return Writer(
        {"LocalMisuse": LocalMisuse, "Malformed": Malformed, "pack": pack, "pairwise": pairwise, "unpack": unpack}
    )


def _written_again(writer: Writer) -> set[str]:
    """The variables that one function gets from more than one place: an item of that name would not be checked."""
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
