"""How each proxy tells what it was asked: its question to the daemon, turned back into the client's request.

Believes exactly those headers that the named proxy writes over; guesses nothing and judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import field, frozen

__all__ = ["DIALECTS", "PATH", "TELLS_BODY", "Dialect", "Misdirected", "Original", "Question", "spoofed"]

PATH: Final = "/v1/forward-auth"
"""The one path that is answered; in front of the client's own where a dialect says so."""

_RESULTS: Final = "x-orthros-"
# About the connection between the proxy and the daemon, never about the client's request (RFC 9110, section 7.6.1).
_HOP_HEADERS: Final = frozenset(
    {"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_BODY = re.compile(rb"([0-9]{0,20});([^;]{0,100})")


class Misdirected(Exception):
    """The proxy did not ask as its dialect does: it is configured wrongly, or it is not that proxy."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@frozen(kw_only=True)
class Question:
    """A request to the daemon as it came: header names in lower case, in order."""

    method: str
    target: bytes
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)

    def once(self, name: str) -> bytes:
        """The value of this header. Raises Misdirected unless it is there once."""
        values = [value for known, value in self.headers if known == name]
        if len(values) != 1:
            raise Misdirected(f"{name} occurs {len(values)} times: the proxy must write it over")
        return values[0]


@frozen(kw_only=True)
class Original:
    """The client's request as the proxy tells it.

    `headers` has the client's own, Host among them, and Content-Length and Transfer-Encoding only where the
    dialect tells them. `peer` is the client's address as text, empty where the dialect does not tell.
    """

    method: str
    target: bytes
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)
    peer: str = ""


Dialect = Callable[[Question], Original]
"""Reads the client's request out of one proxy's question. Raises Misdirected."""


def spoofed(headers: Sequence[tuple[str, bytes]]) -> str | None:
    """A header that only this daemon may set, in any spelling that an application could take for it."""
    return next((name for name, _ in headers if name.replace("_", "-").startswith(_RESULTS)), None)


def _plain(question: Question) -> None:
    if (question.method, question.target) != ("GET", PATH.encode("ascii")):
        raise Misdirected(f"asked {question.method} {_shown(question.target)}, expected GET {PATH}")


def _kept(question: Question, without: Sequence[str] = ()) -> tuple[tuple[str, bytes], ...]:
    return tuple(one for one in question.headers if one[0] not in _HOP_HEADERS and one[0] not in without)


def _shown(text: bytes) -> str:
    return _text(text[:60]).partition("?")[0]


def _text(value: bytes) -> str:
    return value.decode("latin-1")


_NGINX: Final = ("x-original-method", "x-original-uri", "x-original-body", "x-original-peer")
_TRAEFIK: Final = ("x-forwarded-method", "x-forwarded-host", "x-forwarded-uri")


def _nginx(question: Question) -> Original:
    _plain(question)
    method, target, body, peer = map(question.once, _NGINX)
    found = _BODY.fullmatch(body)
    if found is None:
        raise Misdirected("x-original-body is not $content_length;$http_transfer_encoding")
    headers = _kept(question, _NGINX)
    for name, value in zip(("content-length", "transfer-encoding"), found.groups(), strict=True):
        if value:
            headers += ((name, value),)
    address = "" if peer == b"unix:" else _text(peer)
    return Original(method=_text(method), target=target, headers=headers, peer=address)


def _traefik(question: Question) -> Original:
    _plain(question)
    method, host, target = map(question.once, _TRAEFIK)
    # Host is the daemon's own address here.
    headers = (("host", host), *_kept(question, ("host", *_TRAEFIK)))
    return Original(method=_text(method), target=target, headers=headers)


def _envoy(question: Question) -> Original:
    path = PATH.encode("ascii")
    if not question.target.startswith(path + b"/"):
        raise Misdirected(f"asked {_shown(question.target)}, expected {PATH} in front of the client's path")
    target = question.target.removeprefix(path)
    return Original(method=question.method, target=target, headers=_kept(question))


DIALECTS: Final[Mapping[str, Dialect]] = {"nginx": _nginx, "traefik": _traefik, "envoy": _envoy}
"""By the name of the proxy in the configuration."""

TELLS_BODY: Final = frozenset({"nginx"})
"""The dialects from which it is known whether the client sends a body, and how long it is."""
