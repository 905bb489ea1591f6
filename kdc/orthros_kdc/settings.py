"""What a setting is: its form, default, range, help, and whether a running KDC can take a new value.

Knows no particular setting and reads nothing; `config.py` lists them and finds their values.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs
from attrs import field, frozen

from orthros_protocol.primitives.names import is_name
from orthros_protocol.primitives.redaction import redact_text

__all__ = [
    "Form",
    "Setting",
    "address",
    "addresses",
    "file_path",
    "name",
    "networks",
    "number",
    "octal_mode",
    "one_of",
    "setting",
    "socket_path",
    "switch",
    "table_of",
    "url",
    "whole",
]

_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,9})?", re.ASCII)
_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", re.ASCII)
_URL = re.compile(r"https?://[A-Za-z0-9.:\[\]-]{1,255}(/[A-Za-z0-9._~-]{1,64}){0,8}", re.ASCII)
_MOST_NETWORKS: Final = 64
_MOST_ADDRESSES: Final = 16
_MOST_PORT: Final = 65535
_MOST_SOCKET_PATH: Final = 107  # sun_path is 108 bytes with its NUL (unix(7))


@frozen(kw_only=True)
class Form:
    """One kind of value. `allowed` says in words what may be written; `parse` reads the text of an
    environment variable or flag, `check` returns the value to use; both raise ValueError without words."""

    allowed: str
    types: frozenset[type]
    check: Callable[[Any], Any]
    parse: Callable[[str], object] = str
    show: Callable[[Any], str] = str


@frozen(kw_only=True)
class Setting:
    """One row of the table: everything there is to say about a setting."""

    section: str
    key: str
    form: Form
    default: object
    help: str
    reload: bool

    @property
    def name(self) -> str:
        """As `config show` prints it: `section.key`."""
        return f"{self.section}.{self.key}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"ORTHROS_{self.section}_{self.key}".upper()


def setting(form: Form, default: str | float, help_text: str, *, reload: bool = False) -> Any:
    """A field of a section. `reload`: a running KDC takes a new value on SIGHUP; else it needs a restart."""
    metadata = {"form": form, "help": help_text, "reload": reload}
    return field(default=form.check(default), metadata=metadata, kw_only=True)


def table_of(sections: Mapping[str, type]) -> tuple[Setting, ...]:
    """The rows that the fields of these section classes describe."""
    return tuple(
        Setting(
            section=section,
            key=one.name,
            default=one.default,
            form=one.metadata["form"],
            help=one.metadata["help"],
            reload=one.metadata["reload"],
        )
        for section, kind in sections.items()
        for one in attrs.fields(kind)
    )


def _parse_whole(text: str) -> int:
    if _WHOLE.fullmatch(text) is None:
        raise ValueError
    return int(text)


def _parse_number(text: str) -> float:
    if _NUMBER.fullmatch(text) is None:
        raise ValueError
    return float(text)


def whole(low: int, high: int) -> Form:
    """A whole number in low..high."""

    def check(value: int) -> int:
        if not low <= value <= high:
            raise ValueError
        return value

    allowed = f"a whole number from {low} to {high}"
    return Form(allowed=allowed, types=frozenset({int}), check=check, parse=_parse_whole)


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def number(low: float, high: float) -> Form:
    """A number in low..high, with or without a fraction."""

    def check(value: float) -> float:
        if not low <= value <= high:  # false for nan as well
            raise ValueError
        return float(value)

    allowed = f"a number from {_plain(low)} to {_plain(high)}"
    return Form(allowed=allowed, types=frozenset({int, float}), check=check, parse=_parse_number, show=_plain)


def one_of(*words: str) -> Form:
    """One of these words."""

    def check(value: str) -> str:
        if value not in words:
            raise ValueError
        return value

    return Form(allowed=f"one of {', '.join(words)}", types=frozenset({str}), check=check)


def name(*, reserved: str) -> Form:
    """A canonical name without slashes, fit for a file name."""

    def check(value: str) -> str:
        if not is_name(value) or "/" in value or value == reserved:
            raise ValueError
        return value

    allowed = f"lower-case letters and digits with single . _ - between them, and not {reserved}"
    return Form(allowed=allowed, types=frozenset({str}), check=check)


def file_path(*, optional: bool = False, most_bytes: int = 4095) -> Form:
    """The path of a file or directory; never the text of a key."""

    def check(value: str) -> str:
        size = len(value.encode())
        if "\0" in value or size > most_bytes or redact_text(value) != value or not (value or optional):
            raise ValueError
        return value

    allowed = f"a path of at most {most_bytes} bytes" + (", or empty for none" if optional else "")
    return Form(allowed=allowed, types=frozenset({str}), check=check)


def socket_path() -> Form:
    """Where a Unix socket can be bound, or nothing."""
    return file_path(optional=True, most_bytes=_MOST_SOCKET_PATH)


def address() -> Form:
    """`host:port`, with an IPv6 address in brackets, or nothing."""

    def check(value: str) -> str:
        if not value:
            return value
        host, _, port = value.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            ipaddress.IPv6Address(host[1:-1])
        elif _HOST.fullmatch(host) is None:
            raise ValueError
        if _parse_whole(port) not in range(_MOST_PORT + 1):
            raise ValueError
        return value

    allowed = "host:port such as 127.0.0.1:7788 or [::1]:7788, or empty to switch it off"
    return Form(allowed=allowed, types=frozenset({str}), check=check)


def addresses() -> Form:
    """Some of them, each once, or none."""
    one = address().check

    def check(value: str | list[object]) -> tuple[str, ...]:
        words = _words(value)
        if len(words) > _MOST_ADDRESSES or len(set(words)) < len(words):
            raise ValueError
        if not all(isinstance(word, str) and word for word in words):
            raise ValueError
        return tuple(one(word) for word in words)

    allowed = (
        f"up to {_MOST_ADDRESSES} of host:port such as 127.0.0.1:7788 or [::1]:7788, as a list or with commas, or empty"
    )
    return Form(allowed=allowed, types=frozenset({str, list}), check=check, show=", ".join)


def _words(value: str | list[object]) -> list[object]:
    words: list[object] = [*value] if isinstance(value, list) else [word.strip() for word in value.split(",")]
    return [] if words == [""] else words


def octal_mode() -> Form:
    """Permission bits. A string, because TOML would read a bare 660 as decimal."""

    def check(value: str) -> int:
        if _MODE.fullmatch(value) is None:
            raise ValueError
        return int(value, 8)

    allowed = 'an octal mode in quotes, such as "0660"'
    return Form(allowed=allowed, types=frozenset({str}), check=check, show=lambda value: f"{value:04o}")


def switch() -> Form:
    """On or off."""
    words = {"true": True, "false": False}

    def parse(text: str) -> object:
        return words.get(text, text)

    return Form(
        allowed="true or false", types=frozenset({bool}), check=bool, parse=parse, show=lambda value: str(value).lower()
    )


def url() -> Form:
    """An http(s) URL without a query and without a slash at its end, or nothing."""

    def check(value: str) -> str:
        if value and _URL.fullmatch(value) is None:
            raise ValueError
        return value

    allowed = "a URL such as https://kdc.corp.example without a slash at its end, or empty"
    return Form(allowed=allowed, types=frozenset({str}), check=check)


def networks() -> Form:
    """IP networks in CIDR form, and the word unix. A network of everything is none: it would trust every peer."""

    def one(word: object) -> str:
        if not isinstance(word, str):
            raise ValueError
        if word == "unix":
            return word
        network = ipaddress.ip_network(word)
        if not network.prefixlen:
            raise ValueError
        return str(network)

    def check(value: str | list[object]) -> tuple[str, ...]:
        words = _words(value)
        if len(words) > _MOST_NETWORKS:
            raise ValueError
        return tuple(one(word) for word in words)

    allowed = "networks such as 10.0.0.0/8 or fd00::/8 and the word unix, as a list or with commas, or empty"
    return Form(allowed=allowed, types=frozenset({str, list}), check=check, show=", ".join)
