"""Items of the encoding with faults in them: of another kind, too long, too many, in a longer form.

Reads and writes with msgpack alone, so that what the library refuses to write can be written here.
"""

from __future__ import annotations

import random
from typing import Any, Final

import msgpack
from attrs import frozen

from tests.support import naive

MAX_INTEGER: Final = 2**63 - 1
# Lengths and numbers at a limit of some page of the protocol; a fault takes one of them, or its neighbour.
LENGTHS: Final = (1, 4, 8, 16, 32, 64, 72, 128, 200, 255, 256, 360, 480, 512, 1024, 4096, 8192, 8243)
COUNTS: Final = (1, 4, 8, 15, 16, 32, 64)
NUMBERS: Final = (0, 1, 2, 3, 4, 8, 9, 31, 127, 255, 300, 1000, 5000, 60_000, 65_535, 86_400, 365_000, 2**16, 2**31,
                  2**32 - 1, 2**53, MAX_INTEGER)  # fmt: skip
STEPS: Final = (1, 1000, 5000, 60_000, 300_000, 365_000, 86_400_000, 2**8, 2**16)
CHARACTERS: Final = 'aZ9.-_/@ :;,"%~\\\n\0\x7fé\u2028'


@frozen
class Raw:
    """Bytes that stand for an item as they are, whatever they are."""

    data: bytes


FORBIDDEN: Final = tuple(
    Raw(bytes.fromhex(one))
    for one in (
        "c2", "c3", "80", "81a16101", "c1", "ff", "d0ff", "ca3f800000", "cb3ff0000000000000", "d4007f", "a0", "a1ff",
        "a2c3a9", "d9", "cf8000000000000000", "cfffffffffffffffff", "dd0000", "91", "c702",
    )
)  # fmt: skip
"""What no message may hold: booleans, maps, floats, extensions, negative and too large integers, text that is empty or
not ASCII, and what is cut short."""


def read(data: bytes) -> list[Any] | None:
    """The items of an array in its one form, or None."""
    if not data or not (data[0] & 0xF0 == 0x90 or data[0] == 0xDC):
        return None
    try:
        items: list[Any] = naive.dec(data)
        return items if naive.enc(*items) == data else None
    except (ValueError, TypeError, RecursionError):  # what msgpack raises for other bytes are ValueErrors
        return None


def written(item: Any) -> bytes:
    """The item, and every `Raw` in it as it is."""
    if isinstance(item, Raw):
        return item.data
    if not isinstance(item, list):
        packed: bytes = msgpack.packb(item, use_bin_type=True)
        return packed
    size = len(item)
    head = bytes([0x90 | size]) if size < 16 else b"\xdc" + size.to_bytes(2, "big")
    return head + b"".join(map(written, item))


def longer(item: Any) -> Raw:
    """The same item in a form that is not the shortest."""
    if isinstance(item, int) and 0 <= item < 2**32:
        return Raw(b"\xcf" + item.to_bytes(8, "big"))
    if isinstance(item, int):
        return Raw(b"\xd3" + max(min(item, MAX_INTEGER), -MAX_INTEGER).to_bytes(8, "big", signed=True))
    if isinstance(item, list):
        return Raw(b"\xdd" + len(item).to_bytes(4, "big") + b"".join(map(written, item)))
    if isinstance(item, str):
        text = item.encode()
        return Raw(b"\xdb" + len(text).to_bytes(4, "big") + text)
    if isinstance(item, bytes):
        return Raw(b"\xc6" + len(item).to_bytes(4, "big") + item)
    return Raw(b"\xd4\0\0")


def changed_bytes(rng: random.Random, data: bytes) -> bytes:
    """The bytes with one fault: inside of what they encode, or where a byte is a byte."""
    items = read(data)
    return written(changed(rng, items)) if items is not None and rng.random() < 0.8 else _broken(rng, data)


def _broken(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    kind = rng.randrange(8)
    if kind < 3 and data:
        at %= len(data)
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if kind == 3:
        return data[:at] + rng.randbytes(1) + data[at:]
    if kind == 4:
        return data[:at] + data[at + 1 :]
    if kind == 5:
        return data[:at]
    if kind == 6:
        return data + rng.choice((b"\0", b"\xc0", data[:16], data))[:9000]
    return _sized(rng, data)


def _sized(rng: random.Random, data: bytes) -> bytes:
    """Of another length: one more or less, or near a limit."""
    if rng.random() < 0.5:
        size = max(len(data) + rng.choice((-1, 1)), 0)
    else:
        size = rng.choice(LENGTHS) + rng.choice((0, 0, 1))
    return (data + bytes(size))[:size]


def changed(rng: random.Random, items: list[Any]) -> Any:
    """The array with one fault, at any depth; what a bin encodes counts as depth."""
    items = list(items)
    if not items or rng.random() < 0.2:
        return _reordered(rng, items)
    at = rng.randrange(len(items))
    items[at] = _another(rng, items[at])
    return items


def _reordered(rng: random.Random, items: list[Any]) -> Any:
    at = rng.randrange(len(items)) if items else 0
    kind = rng.randrange(7)
    if kind == 0:
        return items[:at] + items[at + 1 :]
    if kind == 1:
        return [*items[:at], rng.choice((None, 0, b"", "a", [], *items[at : at + 1])), *items[at:]]
    if kind == 2 and len(items) > 1:
        other = rng.randrange(len(items))
        items[at], items[other] = items[other], items[at]
        return items
    if kind == 3:
        return longer(items)
    if kind == 4:
        return items[::-1]
    if kind == 5:
        return (items * 65)[: rng.choice(COUNTS) + rng.choice((0, 0, 1))]
    return [*items, *items[at : at + 1]]


def _another(rng: random.Random, item: Any) -> Any:
    """One fault in place of an item: mostly of the same kind, so that it is seen as late as possible."""
    if rng.random() < 0.15:
        return rng.choice((*FORBIDDEN, longer(item), longer(item), longer(item), 0, None, b"", "a", [], [None], [item]))
    if isinstance(item, list):
        return changed(rng, item)
    if isinstance(item, int):
        return number(rng, item)
    if isinstance(item, str):
        return text(rng, item) or Raw(b"\xa0")
    if isinstance(item, bytes):
        return changed_bytes(rng, item)
    return rng.choice((0, 1, b"", bytes(8), bytes(16), bytes(32), "a", "a@b", ["a", 1], ["corp", "a", 7, 1], []))


def number(rng: random.Random, value: int) -> int:
    """Another number, near this one or at a limit; never below nought or above 2^64 - 1."""
    kind = rng.randrange(3)
    if kind == 0:
        return min(max(value + rng.choice((-1, 1)) * rng.choice(STEPS) + rng.choice((0, 0, 1, -1)), 0), 2**64 - 1)
    if kind == 1:
        return rng.choice(NUMBERS) + rng.choice((0, 0, 1))
    return value ^ (1 << rng.randrange(34))


def text(rng: random.Random, value: str) -> str:
    """Another text: one character more, less or different, of another length, or empty."""
    at = rng.randrange(len(value) + 1)
    kind = rng.randrange(8)
    if kind == 0:
        return value[:at] + rng.choice(CHARACTERS) + value[at:]
    if kind == 1:
        return value[:at] + rng.choice(CHARACTERS) + value[at + 1 :]
    if kind == 2:
        return value[:at] + value[at + 1 :]
    if kind == 3:
        return value[:at]
    if kind == 4:
        return value.swapcase() if rng.random() < 0.3 else value[:at] + value[at:].upper()
    if kind == 5:
        return value + value[at:]
    if kind == 6:
        return (value + "a" * 8192)[: rng.choice(LENGTHS) + rng.choice((0, 0, 1))]
    return rng.choice(
        ("a", "kdc", "corp", "read", "assert-user", "GET", "/", "0", "a@corp", "orders", "*", "10.0.0.0/8")
    )
