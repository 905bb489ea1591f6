"""The JSON inside tokens, bounded: one object, no name twice, few values, nothing that cannot be written again.

Knows no claim by meaning, only the shape that values may have.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from types import MappingProxyType
from typing import Any, Final

from orthros_protocol.errors import Malformed

__all__ = ["frozen_claims", "parse_object", "thawed", "to_json"]

_MOST_VALUES: Final = 512
_MOST_NESTING: Final = 8


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    # Two readers that keep different ones of two equal names would see two different tokens.
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    """The object that `data` holds as JSON in UTF-8. Raises Malformed."""
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise Malformed(f"{what} is not JSON with each name once") from None
    if type(found) is not dict:
        raise Malformed(f"{what} is not a JSON object")
    return found


def frozen_claims(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """A deep read-only copy: objects as read-only mappings, arrays as tuples.

    Raises Malformed for more than 512 values, more than 8 levels, numbers that are not finite, characters that
    UTF-8 cannot write, and types that JSON does not have.
    """
    room = [_MOST_VALUES]
    if not isinstance(claims, Mapping):
        raise Malformed("claims are an object")
    return MappingProxyType({_name(name): _frozen(value, room, 1) for name, value in claims.items()})


def _frozen(value: Any, room: list[int], level: int) -> Any:
    room[0] -= 1
    if room[0] < 0 or level > _MOST_NESTING:
        raise Malformed(f"more than {_MOST_VALUES} values, or more than {_MOST_NESTING} levels of them")
    if value is None or type(value) in {bool, int} or (type(value) is float and isfinite(value)):
        return value
    if type(value) is str:
        return _name(value)
    if isinstance(value, Mapping):
        return MappingProxyType({_name(name): _frozen(one, room, level + 1) for name, one in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(one, room, level + 1) for one in value)
    raise Malformed("a value that JSON cannot hold")


def _name(text: Any) -> str:
    if type(text) is not str:
        raise Malformed("a name that is not text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Malformed("text with half a character") from None
    return text


def thawed(value: Any) -> Any:
    """Plain dicts and lists again."""
    if isinstance(value, Mapping):
        return {name: thawed(one) for name, one in value.items()}
    return [thawed(one) for one in value] if isinstance(value, tuple) else value


def to_json(claims: Mapping[str, Any]) -> bytes:
    """Compact JSON in UTF-8, names in the order given. Takes what `frozen_claims` returns."""
    return json.dumps(thawed(claims), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
