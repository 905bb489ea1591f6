"""Canonical msgpack: one value, one encoding.

The only module that touches msgpack. Knows no message: of a value without a schema, the rules of the encoding itself
are checked. Re-encoding alone would let bool, NaN, empty maps and zero-length ext through, so exact types come first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgpack

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.primitives.limits import MAX_ARRAY_ITEMS, MAX_DEPTH, MAX_INT

__all__ = ["decode", "decode_as", "encode", "encode_as", "pack", "unpack"]


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


def encode_as(items: list[Any], check: Callable[[list[Any]], None]) -> bytes:
    """The canonical encoding of an array of `items`, which `check` judges. Raises LocalMisuse."""
    try:
        check(items)
    except Malformed as error:
        raise LocalMisuse("value-invalid", error.detail) from None
    return pack(items)


def decode_as(name: str, data: bytes, check: Callable[[list[Any]], None]) -> list[Any]:
    """The array in `data` that errors call `name`, whose items `check` judges. Raises Malformed, or what `check`
    raises."""
    items = unpack(data)
    if type(items) is not list:
        raise Malformed(f"{name}: not an array")
    check(items)
    if pack(items) != data:
        raise Malformed(f"{name}: not the canonical encoding")
    return items


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
