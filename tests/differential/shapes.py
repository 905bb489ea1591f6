"""Faults of which each message is well formed: other times, flags, names and extensions. Two of them in one message
tell which of two checks comes first.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from tests.support.naive import enc

Change = Callable[[random.Random, Any], Any]
_SECONDS: Final = (1, 5, 60, 299, 300, 301, 3600, 86_400, 86_401, 10**8)
_NAMES: Final = ("a", "kdc", "kdc/tgt", "billing", "orders", "payroll", "example.org", "other.test")


def _second(rng: random.Random, value: int) -> int:
    return max(value + rng.choice((-1, 1)) * rng.choice(_SECONDS), 0)


def _moment(rng: random.Random, value: int) -> int:
    return max(
        value + rng.choice((-1, 1)) * (rng.choice((0, 1000)) + 1000 * rng.choice(_SECONDS) + rng.choice((-1, 0, 1))), 0
    )


def _bit(rng: random.Random, value: int) -> int:
    return int(value) ^ (1 << rng.randrange(32))


def _name(rng: random.Random, _value: Any) -> str:
    return rng.choice(_NAMES)


def _extension(rng: random.Random, value: Any) -> Any:
    return [] if value else [[rng.choice((0, 1, 2, 65_535)), rng.choice((b"", b"a"))]]


def _bytes(size: int, *, optional: bool = False) -> Change:
    return lambda rng, value: None if optional and value is not None and rng.random() < 0.5 else rng.randbytes(size)


def _scopes(rng: random.Random, _value: Any) -> list[str]:
    return sorted(rng.sample(("read", "write", "pay", "assert-user", "a:b"), rng.randrange(4)), key=enc)


def _one_of(*choices: Any) -> Change:
    return lambda rng, _value: rng.choice(choices)


_USER: Final = _one_of(None, ["alice", 1], ["alice", 2])
_SUBJECT: Final = _one_of(None, [None, "alice", 7, 1], [None, "alice", 0, 2], ["other.test", "alice", 7, 1])
_SPOKEN_FOR: Final = _one_of(None, ["example.org", "alice", 7, 1], ["example.org", "alice", 0, 2])
_CHAIN: Final = _one_of([], [[None, "shop", 1_800_000_000]], [["other.test", "shop", 1], [None, "payroll", 2]])
_DISCHARGES: Final = _one_of([], [b""], [enc(enc(1, 2_000_000_000))], [b"", b""])
# Of each array: the place of an item and what may stand there instead.
_PLACES: Final[dict[str, dict[int, Change]]] = {
    "ticket": {1: _bytes(16), 3: _name, 4: _bit, 6: _second, 7: _second, 8: _second, 10: _bit, 11: _scopes, 13: _CHAIN,
               14: _SUBJECT, 16: _extension, 17: _extension, 18: _one_of(1, 2, 3)},
    "ap-req": {2: _one_of(0, 1, 2, 3), 5: _DISCHARGES, 6: _moment, 8: _bytes(8, optional=True), 9: _bit,
               10: _bytes(32, optional=True), 11: _USER, 12: _extension, 13: _extension},
    "as-req": {2: _name, 3: _bytes(8), 5: _moment, 6: _name, 7: _bit, 8: _bit, 10: _extension, 11: _extension},
    "tgs-req": {4: _DISCHARGES, 5: _moment, 9: _extension, 10: _extension},
    "behalf": {1: _one_of(b"", enc(enc(1, 1_800_000_100)))},
    "want": {0: _one_of(0, 1), 1: _name, 2: _name, 3: _scopes, 4: _bit, 5: _bit, 6: _extension},
    "as-rep": {0: _bytes(16), 1: _moment, 2: _name, 3: _one_of([1, "example.org", "kdc/tgt"], [2, "example.org", "a"]),
               4: _name, 5: _bit, 7: _bytes(32), 8: _bit, 9: _bit, 10: _one_of(1, 2), 11: _extension},
    "tgs-rep": {0: _bytes(16), 1: _moment, 2: _name, 3: _bit, 5: _extension},
    "granted": {1: _name, 2: _name, 3: _bit, 5: _bytes(32, optional=True), 6: _bit, 7: _bit, 8: _bit, 9: _scopes,
                10: _SPOKEN_FOR, 12: _one_of([], [[1, enc(b"demand")]], [[1, b"?"]], [[2, b""]])},
    "error": {0: _one_of(*range(1, 50)), 1: _moment, 2: _bit, 3: _one_of(None, "in words"), 4: _extension},
    "ap-rep": {1: _bytes(16), 2: _moment, 3: _bytes(8), 4: _bit, 5: _extension},
    "ap-err": {1: _one_of(*range(1, 50)), 2: _moment, 3: _bytes(8), 4: _one_of(None, "in words"), 5: _extension},
    "demand": {0: _bytes(32), 2: _one_of("approved", "paid:10"), 3: _second},
    "hand-over": {2: _bytes(32), 3: _name, 4: _name, 5: _bit, 7: _name, 8: _scopes, 9: _second, 10: _bit,
                  11: _SPOKEN_FOR, 12: _one_of([], [b"demand"])},
    "http-rep": {1: _moment, 2: _bytes(8), 3: _one_of(200, 204, 401), 5: _bytes(32), 6: _bytes(32, optional=True)},
}  # fmt: skip


def reshaped(rng: random.Random, kind: str, items: list[Any]) -> list[Any]:
    """The array with one item that is another, and as well formed as it; unchanged where the array is another one."""
    places = _PLACES[kind]
    at = rng.choice(list(places))
    if len(items) <= max(places):
        return items
    try:
        return [*items[:at], places[at](rng, items[at]), *items[at + 1 :]]
    except TypeError:  # an earlier fault put something of another kind there
        return items
