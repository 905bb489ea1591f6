"""Canonical msgpack: one value, one encoding, checked by type, range, pattern and re-encoding.

The only module that touches msgpack. Knows schemas as rows of fields, never what a message means.
Re-encoding alone would let bool, NaN, empty maps and zero-length ext through, so exact types come first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from operator import itemgetter
from typing import Any, Final

import msgpack
from attrs import frozen

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.primitives.limits import (
    MAX_ARRAY_ITEMS,
    MAX_DEPTH,
    MAX_EXTENSION_BYTES,
    MAX_EXTENSIONS,
    MAX_INT,
    MAX_NAME_CHARS,
)

__all__ = [
    "Field",
    "Schema",
    "array",
    "binary",
    "const",
    "decode",
    "encode",
    "extensions",
    "integer",
    "nested",
    "nested_set",
    "optional",
    "pack",
    "text",
    "text_set",
    "unpack",
]

_NONE: Final = type(None)
_LIST: Final = frozenset({list})


def unpack(data: bytes) -> Any:
    """What `data` holds, within the limits of the encoding; nothing else is checked. Raises Malformed."""
    try:
        return msgpack.unpackb(
            data, raw=False, use_list=True, max_array_len=MAX_ARRAY_ITEMS, max_map_len=0, max_ext_len=0
        )
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        # msgpack's own words may quote input; the type of failure is enough for a log.
        raise Malformed(f"not msgpack: {type(error).__name__}") from None


pack: Final[Callable[[Any], bytes]] = msgpack.packb
"""Without any check: of what has been checked, or is checked next."""


@frozen
class Field:
    """One field: the exact Python types it may have, and a check that raises Malformed."""

    types: frozenset[type]
    low: int = 0
    high: int = MAX_INT
    check: Callable[[Any], None] | None = None
    optional: bool = False
    is_nested: bool = False


def integer(high: int = MAX_INT, low: int = 0) -> Field:
    """An unsigned integer in low..high."""
    return Field(frozenset({int}), low, high)


def const(value: int) -> Field:
    """Exactly this integer."""
    return integer(value, value)


def binary(size: int, high: int | None = None) -> Field:
    """A bin of exactly `size` bytes, or of `size`..`high`."""
    return Field(frozenset({bytes}), size, size if high is None else high)


def text(accepts: Callable[[str], bool] | re.Pattern[str], high: int = 128) -> Field:
    """A str that is ASCII, never empty, and accepted whole by the predicate or pattern."""
    matches = accepts.fullmatch if isinstance(accepts, re.Pattern) else accepts

    def check(value: str) -> None:
        if not matches(value) or not value.isascii():
            raise Malformed("a str does not match its pattern")

    return Field(frozenset({str}), 1, high, check)


def optional(inner: Field) -> Field:
    """`inner`, or nil in its place."""
    return Field(inner.types | {_NONE}, inner.low, inner.high, inner.check, optional=True)


def array(item: Field, high: int, low: int = 0) -> Field:
    """A list of low..high items, each accepted by `item`."""
    one = Schema("item", item)

    def check(values: list[Any]) -> None:
        for value in values:
            one.check([value])

    # A nested array checks its own type and length, so nothing needs to be wrapped around it.
    def check_nested(values: list[Any]) -> None:
        for value in values:
            item.check(value)  # type: ignore[misc]  # nested() always sets it

    return Field(frozenset({list}), low, high, check_nested if item.is_nested else check)


def nested(*fields: Field) -> Field:
    """An array of exactly these fields."""
    schema = Schema("nested", *fields)
    return Field(frozenset({list}), len(fields), len(fields), schema.check, is_nested=True)


def text_set(accepts: Callable[[str], bool], high: int) -> Field:
    """A set of str: strictly increasing in the byte order of their encodings, so the length comes first."""

    def check(values: list[Any]) -> None:
        for value in values:
            # The length comes first: predicates remember what they were asked, and strangers do the asking.
            if type(value) is not str or len(value) > MAX_NAME_CHARS or not accepts(value):
                raise Malformed("a str does not match its pattern")
        for before, after in pairwise(values):
            if (len(before), before) >= (len(after), after):
                raise Malformed("a set is not in strictly increasing order")

    return Field(frozenset({list}), 0, high, check)


def nested_set(item: Field, high: int) -> Field:
    """A set of 1 to `high` nested arrays, strictly increasing in the byte order of their encodings."""
    items = array(item, high, 1)

    def check(values: list[Any]) -> None:
        if items.check is not None:
            items.check(values)
        if any(before >= after for before, after in pairwise(map(pack, values))):
            raise Malformed("a set is not in strictly increasing order")

    return Field(frozenset({list}), 1, high, check)


def extensions(limit: int = MAX_EXTENSION_BYTES) -> Field:
    """A `crit` or `opt` list: [id u16, value bin], ids strictly increasing, 8 entries and `limit` bytes at most."""
    entries = array(nested(integer(0xFFFF), binary(0, limit)), MAX_EXTENSIONS)

    def check(values: list[Any]) -> None:
        if entries.check is not None:
            entries.check(values)
        if any(before[0] >= after[0] for before, after in pairwise(values)):
            raise Malformed("extension ids are not strictly increasing")
        if len(pack(values)) > limit:
            raise Malformed(f"extensions are larger than {limit} bytes")

    return Field(frozenset({list}), 0, MAX_EXTENSIONS, check)


class Schema:
    """A message: an array of exactly these fields, of at most `limit` bytes.

    `decode` returns the items of the one canonical encoding or raises Malformed;
    `encode` refuses to write what `decode` would not read (LocalMisuse).
    """

    def __init__(self, name: str, *fields: Field, limit: int = 64 * 1024) -> None:
        self.name = name
        self.limit = limit
        # Every permitted tuple of types is listed once; one set look-up then checks all of them. In the same
        # way constants, exact sizes and unbounded integers are compared as tuples, and only the rest one by one.
        self._shapes = frozenset(product(*(field.types for field in fields)))
        rows = [(at, field) for at, field in enumerate(fields) if not field.optional]
        numbers = [(at, field) for at, field in rows if int in field.types]
        sized = [(at, field) for at, field in rows if int not in field.types]
        exact = [(at, field) for at, field in sized if field.low == field.high]
        fixed = [(at, field) for at, field in numbers if field.low == field.high]
        free = [at for at, field in numbers if (field.low, field.high) == (0, MAX_INT)]
        self._fixed = _pick([at for at, _ in fixed])
        self._fixed_values = self._fixed([field.low for field in fields])
        self._exact = _pick([at for at, _ in exact])
        self._exact_sizes = self._exact([field.low for field in fields])
        self._free = _pick(free)
        self._ranges = [(at, f.low, f.high) for at, f in numbers if f.low != f.high and at not in free]
        self._optionals = [(at, f.low, f.high) for at, f in enumerate(fields) if f.optional]
        self._checks = [(at, f.high, f.check) for at, f in enumerate(fields) if f.check is not None]
        # A list that may be empty has its size judged together with its items.
        lists = [at for at, field in sized if field.types == _LIST and field.low == 0 and field.check]
        self._sizes = [(at, f.low, f.high) for at, f in sized if f.low != f.high and at not in lists]

    def decode(self, data: bytes) -> list[Any]:
        """The items of `data`, which must be the canonical encoding of this message.

        Raises Malformed for anything else, whatever it is.
        """
        if type(data) is not bytes or len(data) > self.limit:
            raise Malformed(f"{self.name}: not bytes, or larger than {self.limit} bytes")
        items = unpack(data)
        self.check(items)
        if pack(items) != data:
            raise Malformed(f"{self.name}: not the canonical encoding")
        return items  # type: ignore[no-any-return]  # check() made sure that it is a list

    def encode(self, *items: Any) -> bytes:
        """The one encoding of `items`. Raises LocalMisuse where `decode` would refuse it."""
        try:
            self.check(list(items))
        except Malformed as error:
            raise LocalMisuse("value-invalid", f"building {self.name}: {error.detail}") from None
        packed = pack(items)
        if len(packed) > self.limit:
            raise LocalMisuse("value-invalid", f"building {self.name}: larger than {self.limit} bytes")
        return packed

    def check(self, items: Any) -> None:
        """Raises Malformed unless `items` is a list that fits every field."""
        if type(items) is not list or tuple(map(type, items)) not in self._shapes:
            raise Malformed(f"{self.name}: wrong length or type")
        if self._fixed(items) != self._fixed_values or tuple(map(len, self._exact(items))) != self._exact_sizes:
            raise Malformed(f"{self.name}: another kind or version, or a field of a wrong length")
        free = self._free(items)
        if free and not 0 <= min(free) <= max(free) <= MAX_INT:
            raise Malformed(f"{self.name}: an integer is out of range")
        for at, low, high in self._ranges:
            if not low <= items[at] <= high:
                raise Malformed(f"{self.name}: field {at} is out of range")
        for at, low, high in self._sizes:
            if not low <= len(items[at]) <= high:
                raise Malformed(f"{self.name}: field {at} has a wrong length")
        for at, low, high in self._optionals:
            value = items[at]
            if value is not None and not low <= (value if type(value) is int else len(value)) <= high:
                raise Malformed(f"{self.name}: field {at} is out of range")
        for at, high, check in self._checks:
            value = items[at]
            # What must not be nil or empty has been refused above; there is nothing in it to check.
            if value:
                if len(value) > high:
                    raise Malformed(f"{self.name}: field {at} is too long")
                check(value)


def _pick(positions: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """A fast function that takes the items at these positions, as a tuple also for none or one."""
    if not positions:
        return _none_of
    return itemgetter(*positions, positions[-1])


def _none_of(_items: Sequence[Any]) -> tuple[Any, ...]:
    return ()


def encode(*items: Any) -> bytes:
    """The canonical encoding of an array of `items`, for contexts, digests and MAC inputs built here.

    Raises LocalMisuse for a value that the encoding does not allow.
    """
    try:
        _check_value(list(items), 1)
    except Malformed as error:
        raise LocalMisuse("value-invalid", error.detail) from None
    return pack(items)


def decode(data: bytes, limit: int) -> list[Any]:
    """The array in `data` where no schema is known: only the rules of the encoding itself are checked."""
    if type(data) is not bytes or len(data) > limit:
        raise Malformed(f"not bytes, or larger than {limit} bytes")
    items = unpack(data)
    if type(items) is not list:
        raise Malformed("not an array")
    _check_value(items, 1)
    if pack(items) != data:
        raise Malformed("not the canonical encoding")
    return items


def encode_rows(rows: list[list[Any]], check: Callable[[list[Any]], None]) -> bytes:
    """The canonical encoding of an array of rows, which `check` judges. Raises LocalMisuse."""
    try:
        check(rows)
    except Malformed as error:
        raise LocalMisuse("value-invalid", error.detail) from None
    return pack(rows)


def decode_rows(data: bytes, check: Callable[[list[Any]], None]) -> list[Any]:
    """The array in `data`, whose items `check` judges. Raises Malformed, or what `check` raises."""
    rows = unpack(data)
    if type(rows) is not list:
        raise Malformed("not an array")
    check(rows)
    if pack(rows) != data:
        raise Malformed("not the canonical encoding")
    return rows


def _check_value(value: Any, depth: int) -> None:
    kind = type(value)
    if kind is int:
        if not 0 <= value <= MAX_INT:
            raise Malformed("an integer is out of range")
    elif kind is str:
        if not value or not value.isascii():
            raise Malformed("a str is empty or not ASCII")
    elif kind in (list, tuple):
        if depth > MAX_DEPTH:
            raise Malformed("nested too deep")
        if len(value) > MAX_ARRAY_ITEMS:
            raise Malformed("an array is too long")
        for item in value:
            _check_value(item, depth + 1)
    elif value is not None and kind is not bytes:
        raise Malformed(f"a {kind.__name__} is not allowed")
