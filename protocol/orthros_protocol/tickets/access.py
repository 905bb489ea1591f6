"""What a caveat may look at: the facts of one request, as the verifier itself sees them.

Values and their canonical forms; judges nothing, and takes nothing from the caller's word.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.primitives.instants import Timestamp

__all__ = [
    "Access",
    "Address",
    "AppRule",
    "Network",
    "PeerSource",
    "canonical_network",
    "canonical_path",
    "decoded_path",
    "is_network",
    "parse_address",
]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
PeerSource = Address | Callable[[], Address | None] | None
"""An address, or what finds it: who is behind a proxy stands in a header, which is read for proven callers alone."""

_WORDS = 8
_MAPPED = 0xFFFF
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_NETWORK_4 = re.compile(rf"(?:{_OCTET}\.){{3}}{_OCTET}/(?:3[0-2]|[12]?[0-9])", re.ASCII)
_WORD = "(?:0|[1-9a-f][0-9a-f]{0,3})"
_LIST = f"{_WORD}(?::{_WORD})*"
_NETWORK_6 = re.compile(rf"(?:{_LIST}|(?:{_LIST})?::(?:{_LIST})?)/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9])", re.ASCII)
_MOST_PATH_CHARS = 8192
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", re.ASCII)
# Broken ones, and those of controls and of # % . / ; ? \: decoded once more or in another order, they cut or lead.
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%(?:[01][0-9A-Fa-f]|2[35eEfF]|3[bBfF]|5[cC]|7[fF])", re.ASCII)
# A segment that is empty, or dots and spaces alone, before its parameters: `..;x` leads upwards where parameters are
# cut off first, `.. ` where a file system drops spaces.
_BAD_SEGMENT = re.compile(r"/[. ]*(?:[;/]|\Z)")


@frozen(kw_only=True)
class Access:
    """What a caveat may look at of one request. What is None is unknown here, and a caveat that asks for it refuses.

    `method` and `path` exist only in HTTP (use 1); `path` is the raw path without the query. `peer` is the
    address of the transport's other end, or a function that finds it, which is called only after the request has proven
    its key; `channel` is the 32-byte digest of what names the channel. `app` holds the
    service's own caveats by name; `discharged` says that every discharge that the ticket demands was proven.
    """

    now: Timestamp
    method: str | None = None
    path: str | None = None
    _peer: PeerSource = field(default=None, alias="peer")
    channel: bytes | None = field(default=None, repr=False)
    app: Mapping[str, AppRule] = field(factory=dict, repr=False)
    discharged: bool = False

    @property
    def peer(self) -> Address | None:
        """The address of the transport's other end."""
        return self._peer() if callable(self._peer) else self._peer


AppRule = Callable[[bytes, Access], str | None]
"""A service's own kind of caveat: takes the payload and the access, returns why it refuses, or None."""


def parse_address(text: str) -> Address:
    """An IP address; an IPv4 address in IPv6 clothes is the IPv4 address. Raises LocalMisuse."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        raise LocalMisuse("value-invalid", f"{text[:60]!r} is not an IP address") from None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


@lru_cache(maxsize=1024)  # a caveat asks twice: when it is read, and when it is made
def is_network(text: str) -> bool:
    """Whether `text` is a CIDR in its one form: no host bits, no zone, IPv4 as IPv4 (RFC 4632, RFC 5952).

    Strangers have networks read before they have proved anything, so this takes a tenth of the time of `ipaddress`.
    """
    address, _, length = text.partition("/")
    if _NETWORK_4.fullmatch(text) is not None:
        value, bits = int.from_bytes(bytes(map(int, address.split("."))), "big"), 32
    elif _NETWORK_6.fullmatch(text) is not None:
        words = _words_of(address)
        if words is None:
            return False
        value, bits = int("".join([word.rjust(4, "0") for word in words]), 16), 128
        if value >> 32 == _MAPPED:
            return False
    else:
        return False
    return not value & ((1 << bits - int(length)) - 1)


def _words_of(address: str) -> list[str] | None:
    """The eight words of an IPv6 address of `_NETWORK_6`, or None for another spelling than its canonical one, in
    which the first of the longest runs of zeros is left out, if that is longer than one."""
    head, gap, tail = address.partition("::")
    if not gap:
        words = address.split(":")
        return words if len(words) == _WORDS and ":0:0:" not in f":{address}:" else None
    first, last = head.split(":") if head else [], tail.split(":") if tail else []
    hidden = _WORDS - len(first) - len(last)
    if hidden < 2 or first[-1:] == ["0"] or last[:1] == ["0"]:
        return None
    if ":0" * hidden + ":" in f":{head}:" or ":0" * (hidden + 1) + ":" in f":{tail}:":
        return None
    return [*first, *["0"] * hidden, *last]


@lru_cache(maxsize=1024)  # caveats repeat few networks, and parsing one is not free
def canonical_network(text: str) -> Network:
    """A CIDR in its one form, see `is_network`. Raises Malformed for any other spelling."""
    if not is_network(text):
        raise Malformed("not a network in canonical CIDR form")
    return ip_network(text)


def canonical_path(path: str) -> tuple[str, ...]:
    """The segments of a raw path that means the same to everybody who may decode it, however often.

    Raises Malformed as `decoded_path`. Only the last segment may be empty: a slash at the end is part of the name.
    """
    decoded_path(path)
    return tuple(path[1:].split("/"))


def decoded_path(path: str) -> str:
    """What every application makes of a raw path; it has the same number of segments. Takes linear time.

    Raises Malformed for characters that no path has (RFC 3986, section 3.3), broken escapes, escapes of controls
    and of `# % . / ; ? \\`, escapes that are not UTF-8, and segments that are empty, or nothing but dots and spaces,
    before their parameters. The last segment may be empty.
    """
    if len(path) > _MOST_PATH_CHARS or _PATH.fullmatch(path) is None or _BAD_ESCAPE.search(path):
        raise Malformed("a path that could be read in two ways")
    try:
        decoded = _unescaped(path) if "%" in path else path
    except UnicodeDecodeError:
        raise Malformed("a path whose escapes are not UTF-8") from None
    if _BAD_SEGMENT.search(decoded.removesuffix("/")):
        raise Malformed("a path with empty or dot segments")
    return decoded


def _unescaped(path: str) -> str:
    # No backslash is left at this point, and every escape is whole. So this reads them as those of a Python literal,
    # in a twentieth of the time of `unquote`: 2,700 escapes of a stranger cost 30 us instead of 500.
    return path.replace("%", "\\x").encode("ascii").decode("unicode_escape").encode("latin-1").decode("utf-8")
