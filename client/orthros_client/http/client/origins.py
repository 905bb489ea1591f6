"""Origins and whose they are: which target a URL belongs to, by exact match and by configuration alone.

Knows no HTTP library. A URL that is not written in the one canonical form belongs to nobody: it is never repaired,
since the code that connects might repair it differently (RFC 3986, section 3.2; RFC 6454).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from orthros_client.local.conversation import parse_target
from orthros_client.reasons import ORIGIN_UNKNOWN
from orthros_protocol.errors import Malformed, Misconfigured

__all__ = ["Origin", "OriginMap"]

_PORTS: Final = {"http": 80, "https": 443}
_MOST_HOST_CHARS: Final = 253
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
# What a resolver may take for a number, such as 127.1 or 0x7f000001, is a host only as four plain decimal parts.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_MOST_PORT: Final = 65_535


@frozen(order=True)
class Origin:
    """Scheme (`https` or `http`), host in canonical form (IPv6 in brackets) and port. Made by `parse` or `of`."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Origin:
        """`https://orders.example` or `http://127.0.0.1:8080`, nothing behind it but a slash; case does not matter.

        Raises Misconfigured `config-invalid` for anything else, such as user names, paths or Unicode hosts.
        """
        try:
            parts = urlsplit(text)
        except ValueError:
            raise Misconfigured("config-invalid", f"{text[:200]!r} is not an origin: not a URL") from None
        if parts.path not in ("", "/") or text.rstrip("/") != f"{text[: len(parts.scheme)]}://{parts.netloc}":
            raise Misconfigured(
                "config-invalid", f"{text[:200]!r} is not an origin: write https://host or https://host:port"
            )
        try:
            return cls.of(parts.scheme, parts.netloc.lower())
        except Malformed as error:
            raise Misconfigured("config-invalid", f"{text[:200]!r} is not an origin: {error.detail}") from None

    @classmethod
    def of(cls, scheme: str, netloc: str) -> Origin:
        """The origin of a request that is about to be sent: `netloc` is `host` or `host:port` as in its URL.

        Raises Malformed for user information, another scheme, and every host or port that has a second spelling.
        """
        if scheme not in _PORTS:
            raise Malformed("neither https nor http")
        if "@" in netloc:
            raise Malformed("user information in a URL")
        host, colon, port = netloc.rpartition(":")
        if not colon or netloc.endswith("]"):
            host, colon, port = netloc, "", ""
        if colon and (_PORT.fullmatch(port) is None or int(port) > _MOST_PORT):
            raise Malformed("a port that is no plain number from 1 to 65535")
        _check_host(host)
        return cls(scheme, host, int(port) if colon else _PORTS[scheme])

    @property
    def authority(self) -> str:
        """`host:port`, the port explicit: what a request is bound to."""
        return f"{self.host}:{self.port}"

    @property
    def is_confidential(self) -> bool:
        """Whether nobody on the way can read: https, or this very host."""
        name = self.host.strip("[]")
        if self.scheme == "https" or name == "localhost":
            return True
        try:
            return ip_address(name).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}" + ("" if self.port == _PORTS[self.scheme] else f":{self.port}")


def _check_host(host: str) -> None:
    if host.startswith("[") and host.endswith("]"):
        try:
            address = IPv6Address(host[1:-1])
        except ValueError:
            raise Malformed("not an IPv6 address") from None
        if str(address) != host[1:-1] or "%" in host or address.ipv4_mapped is not None:
            raise Malformed("an IPv6 address that is not in its canonical form")
    elif not host.isascii():
        raise Malformed("a host with letters outside ASCII; write its xn-- form")
    elif len(host) > _MOST_HOST_CHARS or _NAME.fullmatch(host) is None:
        raise Malformed("not a host name in canonical form: lower case, no dot at the end, no escapes")
    elif _NUMERIC.fullmatch(host):
        try:
            ip_address(host)
        except ValueError:
            raise Malformed("a number that is not an IPv4 address in its canonical form") from None


class OriginMap(Mapping[Origin, str]):
    """Which target (`name` or `name@realm`) answers at which origin. Exact matches only; there are no patterns.

    Raises Misconfigured `config-invalid` for an origin that is none or named twice, `name-invalid` for a bad target.
    """

    def __init__(self, targets: Mapping[str, str]) -> None:
        self._targets: dict[Origin, str] = {}
        self._located: dict[tuple[str, str], tuple[Origin, str]] = {}  # with and without the default port: few
        for text, target in targets.items():
            origin = Origin.parse(text)
            if origin in self._targets:
                raise Misconfigured("config-invalid", f"the origin {origin} is named twice")
            parse_target(target)
            self._targets[origin] = target

    def __getitem__(self, origin: Origin) -> str:
        return self._targets[origin]

    def __iter__(self) -> Iterator[Origin]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def __repr__(self) -> str:
        return f"OriginMap({ {str(origin): target for origin, target in self._targets.items()} })"

    def locate(self, scheme: str, netloc: str) -> tuple[Origin, str]:
        """The origin of a URL and the target there; `netloc` is what stands between `//` and the path.

        Raises Misconfigured `origin-unknown` for every other origin, and for spellings that are not canonical.
        """
        located = self._located.get((scheme, netloc))
        if located is not None:
            return located
        try:
            origin = Origin.of(scheme, netloc)
        except Malformed as error:
            raise Misconfigured(ORIGIN_UNKNOWN, error.detail) from None
        target = self._targets.get(origin)
        if target is None:
            raise Misconfigured(ORIGIN_UNKNOWN, str(origin))
        self._located[scheme, netloc] = origin, target
        return origin, target
