"""Kinds of values that a setting can have: what may be written, how it is checked, and how it is shown.

Knows no particular setting and reads nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from os import getcwd
from os.path import isabs, join
from typing import Any, Final

from attrs import NOTHING, evolve, frozen

from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.names import is_name
from orthros_protocol.primitives.redaction import redact_text

__all__ = [
    "ValueKind",
    "address",
    "file_path",
    "name",
    "network",
    "number",
    "octal_mode",
    "one_of",
    "several",
    "socket_path",
    "switch",
    "text",
    "url",
    "whole",
]

_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,9})?", re.ASCII)
_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,255}(/[A-Za-z0-9._~-]{1,64}){0,8}", re.ASCII)
_MOST_PORT: Final = 65535
_MOST_SOCKET_PATH: Final = 107  # sun_path is 108 bytes with its NUL (unix(7))
_SHOWN_CHARS: Final = 60


@frozen(kw_only=True)
class ValueKind:
    """One kind of value. `allowed` says in words what may be written, as TOML of `types`.

    `check` returns the value to use. `parse` makes of the text of a variable or flag what TOML would have given.
    Both raise ValueError. `label` stands for the value in the help of a flag.
    """

    allowed: str
    types: frozenset[type]
    check: Callable[[Any], Any]
    parse: Callable[[str], object] = str
    show: Callable[[Any], str] = str
    label: str = "VALUE"
    is_path: bool = False

    def read(self, value: object, where: str, folder: str) -> Any:
        """The value to use; a path that is not absolute lies below `folder`.

        Raises Misconfigured `config-invalid`: `where`, the value, and what is allowed.
        """
        allowed = self.allowed
        if type(value) in self.types:
            try:
                return self.check(join(folder, value) if self.is_path and isinstance(value, str) and value else value)
            except _BadEntry as error:
                value, allowed = error.entry, error.allowed
            except ValueError:
                pass
        shown = redact_text(repr(value))  # a key pasted in the place of its path must not end up in a log
        if len(shown) > _SHOWN_CHARS:
            shown = f"a value of {len(shown)} characters"
        raise Misconfigured("config-invalid", f"{where}: {shown} is not {allowed}")

    def read_text(self, text: str, where: str) -> Any:
        """The value of a variable or flag; paths begin at the working directory. Raises what `read` raises."""
        try:
            value = self.parse(text)
        except ValueError:
            value = text
        try:  # the working directory may be gone, which is nothing to those that need none
            folder = getcwd() if self.is_path and not isabs(text) else ""
        except OSError as error:
            raise Misconfigured("config-invalid", f"{where}: the working directory: {error.strerror}") from None
        return self.read(value, where, folder)


class _BadEntry(ValueError):
    """Names the one entry of a list that is wrong."""

    def __init__(self, entry: object, allowed: str) -> None:
        super().__init__(allowed)
        self.entry = entry
        self.allowed = allowed


def _parse_whole(text: str) -> int:
    if _WHOLE.fullmatch(text) is None:
        raise ValueError
    return int(text)


def _parse_number(text: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError
    return float(text)


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _of_text(
    allowed: str,
    check: Callable[[str], Any],
    show: Callable[[Any], str] = str,
    label: str = "VALUE",
    empty: Any = NOTHING,
) -> ValueKind:
    """A kind that is written as text. If `empty` is given, an empty text is allowed and stands for it."""
    if empty is NOTHING:
        return ValueKind(allowed=allowed, types=frozenset({str}), check=check, show=show, label=label)
    return ValueKind(
        allowed=f"{allowed}, or empty",
        types=frozenset({str}),
        check=lambda value: check(value) if value else empty,
        show=lambda value: "" if value == empty else show(value),
        label=label,
    )


def whole(low: int, high: int) -> ValueKind:
    """A whole number in low..high."""

    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError
        return value

    allowed = f"a whole number from {low} to {high}"
    return ValueKind(allowed=allowed, types=frozenset({int}), check=check, parse=_parse_whole, label="NUMBER")


def number(low: float, high: float) -> ValueKind:
    """A number in low..high, with or without a fraction."""

    def check(value: float) -> float:
        if not low <= value <= high:  # false for nan as well
            raise ValueError
        return float(value)

    return ValueKind(
        allowed=f"a number from {_plain(low)} to {_plain(high)}",
        types=frozenset({int, float}),
        check=check,
        parse=_parse_number,
        show=_plain,
        label="NUMBER",
    )


def one_of(*words: str) -> ValueKind:
    """One of these words."""

    def check(value: str) -> str:
        if value not in words:
            raise ValueError
        return value

    return _of_text(f"one of {', '.join(words)}", check)


def text() -> ValueKind:
    """A printable text of at least one character."""

    def check(value: str) -> str:
        if not value or not value.isprintable():
            raise ValueError
        return value

    return _of_text("printable text", check)


def name(*, reserved: str) -> ValueKind:
    """A canonical name without slashes, fit for a file name."""

    def check(value: str) -> str:
        if not is_name(value) or "/" in value or value == reserved:
            raise ValueError
        return value

    return _of_text(f"lower-case letters and digits with single . _ - between them, and not {reserved}", check)


def file_path(*, optional: bool = False, most_bytes: int = 4095) -> ValueKind:
    """The path of a file or directory, or with `optional` nothing; never the text of a key."""

    def check(value: str) -> str:
        if not value or "\0" in value or "://" in value:
            raise ValueError
        if len(value.encode()) > most_bytes or redact_text(value) != value:
            raise ValueError
        return value

    allowed = f"a path of at most {most_bytes} bytes"
    return evolve(_of_text(allowed, check, label="FILE", empty="" if optional else NOTHING), is_path=True)


def socket_path(*, optional: bool = False) -> ValueKind:
    """Where a Unix socket can be bound, or with `optional` nothing."""
    return file_path(optional=optional, most_bytes=_MOST_SOCKET_PATH)


def address(*, optional: bool = False) -> ValueKind:
    """`host:port`, with an IPv6 address in brackets, or with `optional` nothing."""

    def check(value: str) -> str:
        host, _, port = value.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            ipaddress.IPv6Address(host[1:-1])
        elif _HOST.fullmatch(host) is None:
            raise ValueError
        if _parse_whole(port) not in range(_MOST_PORT + 1):
            raise ValueError
        return value

    allowed = "host:port such as 127.0.0.1:7788 or [::1]:7788"
    return _of_text(allowed, check, label="HOST:PORT", empty="" if optional else NOTHING)


def several(one: ValueKind, most: int) -> ValueKind:
    """Up to `most` texts of a kind, each once, or none: a list in the file; elsewhere one text with commas."""

    def entry(word: object) -> Any:
        try:
            if isinstance(word, str):
                return one.check(word)
        except ValueError:
            pass
        raise _BadEntry(word, one.allowed)

    def check(value: str | list[object]) -> tuple[Any, ...]:
        words: list[object] = [*value] if isinstance(value, list) else [word.strip() for word in value.split(",")]
        if words == [""]:
            return ()
        if len(words) > most:
            raise ValueError
        found = tuple(entry(word) for word in words)
        if len(set(found)) < len(found):
            raise ValueError
        return found

    return ValueKind(
        allowed=f"up to {most} of {one.allowed}, each once, as a list or with commas; or empty",
        types=frozenset({str, list}),
        check=check,
        show=lambda value: ", ".join(map(one.show, value)),
        label=one.label,
    )


def octal_mode(*, optional: bool = False) -> ValueKind:
    """Permission bits. A string, because TOML would read a bare 660 as decimal. With `optional`, empty is None."""

    def check(value: str) -> int:
        if _MODE.fullmatch(value) is None:
            raise ValueError
        return int(value, 8)

    allowed = 'an octal mode in quotes, such as "0660"'
    return _of_text(allowed, check, lambda value: f"{value:04o}", "MODE", empty=None if optional else NOTHING)


def switch() -> ValueKind:
    """On or off."""
    words = {"true": True, "false": False}
    return ValueKind(
        allowed="true or false",
        types=frozenset({bool}),
        check=bool,
        parse=lambda text: words.get(text, text),
        show=lambda value: str(value).lower(),
    )


def url() -> ValueKind:
    """An http(s) URL without a query and without a slash at its end, or nothing."""

    def check(value: str) -> str:
        if _URL.fullmatch(value) is None:
            raise ValueError
        return value

    allowed = "a URL such as https://kdc.corp.example without a slash at its end"
    return _of_text(allowed, check, label="URL", empty="")


def network() -> ValueKind:
    """An IP network in CIDR form, or the word unix. A network of everything is none: it would trust every peer."""

    def check(value: str) -> str:
        if value == "unix":
            return value
        found = ipaddress.ip_network(value)
        if not found.prefixlen:
            raise ValueError
        return str(found)

    return _of_text("a network such as 10.0.0.0/8 or fd00::/8 or the word unix", check)
