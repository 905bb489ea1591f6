"""What caveats demand, a second time, from docs/protocol/caveats.md alone; shares no code with the library.

Byte by byte where the library uses patterns and `ipaddress`, so that the two can differ.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from typing import Any

from attrs import evolve, frozen

from tests.support import naive

NAME = re.compile(r"(?=.{1,128}$)[a-z0-9]+([._/-][a-z0-9]+)*")
IN_APP = set("abcdefghijklmnopqrstuvwxyz0123456789._-")
HEX = "0123456789abcdefABCDEF"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
IN_PATHS = set(LETTERS + "._~!$&'()*+,;=:@-/")
NOT_ESCAPED = {*range(0x20), 0x7F, *b"#%./;?\\"}


@frozen
class Facts:
    """What a target knows about a request; None is not known. `app` is the one payload that each name allows."""

    second: int
    method: str | None = None
    path: str | None = None
    peer: str | None = None
    channel: bytes | None = None
    app: Mapping[str, bytes] = {}
    discharged: bool = False

    def visible_in(self, use: int) -> Facts:
        """The facts that exist in this use of an AP-REQ."""
        seen = self if use == 1 else evolve(self, method=None, path=None)
        return evolve(seen, channel=None) if use == 2 else seen


def as_set(value: Any) -> bool:
    """A set of at most 32 strings, shorter ones first."""
    if type(value) is not list or len(value) > 32 or not all(type(one) is str and len(one) <= 128 for one in value):
        return False
    return bool(value == sorted(set(value), key=lambda one: (len(one), one)))


def segments(path: str) -> list[bytes] | None:
    """The segments as written, or None for a path that not everybody reads alike."""
    if not path.startswith("/") or len(path) > 8192:
        return None
    decoded, at = bytearray(), 0
    while at < len(path):
        if path[at] != "%":
            if path[at] not in IN_PATHS:
                return None
            decoded += path[at].encode()
            at += 1
            continue
        digits = path[at + 1 : at + 3]
        if len(digits) != 2 or digits[0] not in HEX or digits[1] not in HEX or int(digits, 16) in NOT_ESCAPED:
            return None
        decoded.append(int(digits, 16))
        at += 3
    try:
        pieces = decoded.decode("utf-8").split("/")[1:]
    except UnicodeDecodeError:
        return None
    for position, piece in enumerate(pieces):
        wholly_empty_at_the_end = piece == "" and position == len(pieces) - 1
        if not wholly_empty_at_the_end and set(piece.split(";")[0]) <= {".", " "}:
            return None
    return path.encode().split(b"/")[1:]


def bits_of(address: str) -> str | None:
    """The address in binary, an IPv4-mapped one as IPv4; None for anything else."""
    address = address.partition("%")[0]
    for family, width in ((socket.AF_INET, 32), (socket.AF_INET6, 128)):
        try:
            raw = socket.inet_pton(family, address)
        except OSError:
            continue
        if raw[:12] == bytes(10) + b"\xff\xff" and width == 128:
            return f"{int.from_bytes(raw[12:], 'big'):032b}"
        return f"{int.from_bytes(raw, 'big'):0{width}b}"
    return None


def rfc5952(bits: str) -> str:
    """The text of an IPv6 address: hextets without leading zeros, the first longest run of two or more zeros as ::."""
    words = [f"{int(bits[at : at + 16], 2):x}" for at in range(0, 128, 16)]
    runs = [
        (length, -at) for at in range(8) for length in range(2, 9 - at) if words[at : at + length] == ["0"] * length
    ]
    if not runs:
        return ":".join(words)
    length, at = max(runs)[0], -max(runs)[1]
    return ":".join(words[:at]) + "::" + ":".join(words[at + length :])


def network(text: str) -> str | None:
    """The leading bits that all addresses of the network share, or None for a spelling that is not the one."""
    address, slash, length = text.partition("/")
    v4 = ":" not in address
    whole = bits_of(address)
    if not slash or "%" in text or whole is None or len(whole) != (32 if v4 else 128):
        return None
    if not length.isascii() or not length.isdigit() or str(int(length)) != length or int(length) > len(whole):
        return None
    dotted = ".".join(str(int(whole[at : at + 8], 2)) for at in range(0, 32, 8))
    if address != (dotted if v4 else rfc5952(whole)) or "1" in whole[int(length) :]:
        return None
    # The width tells IPv4 from IPv6, which never contain each other.
    return f"{len(whole)}:{whole[: int(length)]}"


def shaped(kind: int, value: Any) -> bool:
    """Whether a caveat of this type may have this value; scopes are judged elsewhere."""
    if kind == 1:
        return type(value) is int
    if kind == 3:
        return as_set(value) and all(1 <= len(one) <= 20 and set(one) <= set(LETTERS[:26]) for one in value)
    if kind == 4:
        return type(value) is str and len(value) <= 480 and segments(value) is not None
    if kind == 6:
        return as_set(value) and all(network(one) is not None for one in value)
    return kind == 7 and sized(value, 32)


def sized(value: Any, *sizes: int) -> bool:
    """Bytes of one of these sizes."""
    return type(value) is bytes and len(value) in sizes


def named_twice(value: Any) -> bool:
    """Realm and name."""
    return type(value) is list and len(value) == 2 and all(type(one) is str and NAME.fullmatch(one) for one in value)


def well_formed(items: list[Any]) -> bool:
    """Whether a caveat of a known type has the items that its type has; scopes are judged elsewhere."""
    kind, values = items[0], items[1:]
    if kind == 5:
        rows = values[0] if len(values) == 1 and type(values[0]) is list else []
        encoded = [naive.enc(*row) if named_twice(row) else b"" for row in rows]
        return 1 <= len(rows) <= 32 and b"" not in encoded and encoded == sorted(set(encoded))
    if kind == 8:
        if len(values) != 5 or not named_twice(values[:2]) or not sized(values[4], 32):
            return False
        salt, root = values[2:4]
        return (salt is None and sized(root, 32)) or (root is None and sized(salt, 16))
    if kind == 9:
        if len(values) != 2 or type(values[0]) is not str or not sized(values[1], *range(361)):
            return False
        parts = values[0].split("/")
        return len(parts) == 2 and all(
            1 <= len(one) <= 63 and set(one) <= IN_APP and one[0] in IN_APP - {*"._-"} for one in parts
        )
    return len(values) == 1 and (kind == 2 or shaped(kind, values[0]))


def holds(items: list[Any], facts: Facts) -> bool:
    """Whether a well-formed caveat holds for a request."""
    kind, value = items[0], items[1]
    if kind == 5:
        return False
    if kind == 8:
        return facts.discharged
    if kind == 9:
        return bool(facts.app.get(value) == items[2])
    if kind == 1:
        return bool(facts.second < value)
    if kind == 3:
        return facts.method is not None and facts.method in value
    if kind == 4:
        mine, theirs = segments(value), None if facts.path is None else segments(facts.path)
        while mine and mine[-1] == b"":
            mine.pop()
        return mine is not None and theirs is not None and theirs[: len(mine)] == mine
    if kind == 6:
        bits = None if facts.peer is None else bits_of(facts.peer)
        return bits is not None and any(f"{len(bits)}:{bits}".startswith(network(one) or "?") for one in value)
    if kind == 7:
        return bool(facts.channel == value)
    return True
