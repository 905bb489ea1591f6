"""How each proxy tells what it was asked: its question to the daemon, turned back into the client's request.

Believes exactly those headers that the named proxy writes over; guesses nothing and judges nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from ipaddress import ip_address
from typing import Final

from attrs import evolve, field, frozen

from orthros_protocol.primitives.http_fields import HttpFields, folded

__all__ = ["DIALECTS", "PATH", "TELLS_BODY", "Dialect", "Misdirected", "Original", "ProxyQuestion", "spoofed"]

PATH: Final = "/v1/forward-auth"
"""The one path that is answered; in front of the client's own where a dialect says so."""

_RESULTS: Final = "x-orthros-"
# About the connection between the proxy and the daemon, never about the client's request (RFC 9110, section 7.6.1).
_HOP_HEADERS: Final = frozenset(
    {"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_BODY = re.compile(rb"([0-9]{0,20});([^;]{0,100})")
_MOST_SHOWN: Final = 60


class Misdirected(Exception):
    """The proxy did not ask as its dialect does: it is configured wrongly, or it is not that proxy."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@frozen(kw_only=True)
class ProxyQuestion:
    """A request to the daemon as it came: header names in lower case, in order."""

    method: str
    target: bytes
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)
    fields: HttpFields = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "fields", HttpFields(self.headers))

    def once(self, name: str, line: str) -> bytes:
        """The value of this header, which `line` of the proxy's configuration writes.

        Raises Misdirected unless the header is there once, and in no other spelling.
        """
        values = [value for spelling in self.fields.spellings_of(name) for value in self.fields.values_of(spelling)]
        if len(values) != 1 or values != self.fields.values_of(name):
            raise Misdirected(
                f"{name} occurs {len(values)} times: the proxy must write it over, in any spelling. That does: {line}"
            )
        return values[0]

    def told(self, lines: Mapping[str, str]) -> dict[str, bytes]:
        """Each of these headers by `once`."""
        return {name: self.once(name, line) for name, line in lines.items()}


@frozen(kw_only=True)
class Original:
    """The client's request as the proxy tells it.

    `headers` has the client's own, Host among them, and Content-Length, Transfer-Encoding and Upgrade only where the
    dialect tells them. `peer` is the client's address as text, empty where the dialect does not tell. `upgrade` says
    whether the client asks for another protocol, None where the dialect cannot tell.
    """

    method: str
    target: bytes
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)
    peer: str = ""
    upgrade: bool | None = None


Dialect = Callable[[ProxyQuestion], Original]
"""Reads the client's request out of one proxy's question. Raises Misdirected."""


def spoofed(headers: Sequence[tuple[str, bytes]]) -> str | None:
    """A header that only this daemon may set, in any spelling that an application could take for it."""
    return next((name for name, _ in headers if folded(name).startswith(_RESULTS)), None)


def _kept(question: ProxyQuestion, without: Collection[str] = ()) -> tuple[tuple[str, bytes], ...]:
    return tuple(one for one in question.headers if one[0] not in _HOP_HEADERS and one[0] not in without)


def _plain(question: ProxyQuestion, targets: Collection[bytes] = (PATH.encode("ascii"),), hint: str = "") -> None:
    if question.method == "GET" and question.target in targets:
        return
    seen = f"asked {question.method} {_shown(question.target)}, expected GET {PATH}"
    path, mark, _query = question.target.partition(b"?")
    if path == PATH.encode("ascii") and mark:
        seen += f". The proxy adds the client's query to the address of the daemon{hint}"
    elif path.startswith(PATH.encode("ascii") + b"/"):
        seen += (
            ". The proxy adds the client's path to the address of the daemon: only the dialect envoy is asked like that"
        )
    raise Misdirected(seen)


def _shown(target: bytes) -> str:
    """A path for the log, and whether a query follows: what stands in queries is often secret."""
    path, mark, query = target.partition(b"?")
    cut = "..." if len(path) > _MOST_SHOWN else ""
    return _text(path[:_MOST_SHOWN]) + cut + (mark + (b"..." if query else b"")).decode("ascii")


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _peer(value: bytes) -> str:
    """The client's address; empty for what is none, such as the other end of a Unix socket."""
    try:
        return str(ip_address(_text(value)))
    except ValueError:
        return ""


def _with_upgrade(headers: tuple[tuple[str, bytes], ...], value: bytes) -> tuple[tuple[tuple[str, bytes], ...], bool]:
    """`headers` and what `VALUE;` says of an upgrade. The semicolon is there because nginx leaves out empty headers."""
    if not value.endswith(b";"):
        raise Misdirected(f"{_UPGRADE_HEADER} is not the client's Upgrade, or nothing, and a semicolon")
    asked = value[:-1].strip()
    return ((*headers, ("upgrade", asked)), True) if asked else (headers, False)


def _with_body(headers: tuple[tuple[str, bytes], ...], value: bytes) -> tuple[tuple[str, bytes], ...]:
    found = _BODY.fullmatch(value)
    if found is None:
        raise Misdirected(f"{_BODY_HEADER} is not the client's Content-Length, a semicolon, and its Transfer-Encoding")
    told = zip(("content-length", "transfer-encoding"), found.groups(), strict=True)
    return (*headers, *((name, part) for name, part in told if part))


_BODY_HEADER: Final = "x-original-body"
_PEER_HEADER: Final = "x-original-peer"
_UPGRADE_HEADER: Final = "x-original-upgrade"

_NGINX: Final = {
    "x-original-method": "proxy_set_header X-Original-Method $request_method;",
    "x-original-uri": "proxy_set_header X-Original-URI $request_uri;",
    _BODY_HEADER: 'proxy_set_header X-Original-Body "$content_length;$http_transfer_encoding";',
    _PEER_HEADER: "proxy_set_header X-Original-Peer $remote_addr;",
    _UPGRADE_HEADER: 'proxy_set_header X-Original-Upgrade "$http_upgrade;";',
}
_CADDY: Final = {
    "x-forwarded-method": "the directive forward_auth",
    "x-forwarded-uri": "the directive forward_auth",
    _BODY_HEADER: 'header_up X-Original-Body "{header.Content-Length};{vars.orthros_transfer}"',
    _PEER_HEADER: "header_up X-Original-Peer {remote_host}",
    _UPGRADE_HEADER: 'header_up X-Original-Upgrade "{header.Upgrade};"',
}
_FORWARDED: Final = frozenset({"x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"})
_ENVOY: Final = {
    _PEER_HEADER: 'headers_to_add: x-original-peer, "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"',
    _UPGRADE_HEADER: 'headers_to_add: x-original-upgrade, "%REQ(upgrade)%;"',
}
_TRAEFIK: Final = {
    "x-forwarded-method": "the middleware forwardAuth",
    "x-forwarded-host": "the middleware forwardAuth",
    "x-forwarded-uri": "the middleware forwardAuth",
}


def _nginx(question: ProxyQuestion) -> Original:
    _plain(question, hint=": write no variable behind proxy_pass")
    told = question.told(_NGINX)
    return _whole(question, told, method=told["x-original-method"], target=told["x-original-uri"])


def _caddy(question: ProxyQuestion) -> Original:
    # Of a target that ends with a bare ? Caddy keeps just that.
    path = PATH.encode("ascii")
    _plain(question, (path, path + b"?"), hint=f": write `uri {PATH}?`, since without the ? Caddy keeps the query")
    told = question.told(_CADDY)
    # Caddy adds these to every question, and an address that a header names as well counts for nothing.
    asked = evolve(question, headers=_kept(question, _FORWARDED))
    return _whole(asked, told, method=told["x-forwarded-method"], target=told["x-forwarded-uri"])


def _whole(question: ProxyQuestion, told: Mapping[str, bytes], *, method: bytes, target: bytes) -> Original:
    """Of a proxy that tells everything, and keeps Host as it was."""
    headers = _with_body(_kept(question, told), told[_BODY_HEADER])
    headers, upgrade = _with_upgrade(headers, told[_UPGRADE_HEADER])
    peer = _peer(told[_PEER_HEADER])
    return Original(method=_text(method), target=target, headers=headers, peer=peer, upgrade=upgrade)


def _traefik(question: ProxyQuestion) -> Original:
    _plain(question)
    told = question.told(_TRAEFIK)
    method, host, target = told.values()
    # Host is the daemon's own address here.
    headers = (("host", host), *_kept(question, ("host", *told)))
    return Original(method=_text(method), target=target, headers=headers)


def _envoy(question: ProxyQuestion) -> Original:
    path = PATH.encode("ascii")
    if not question.target.startswith(path + b"/"):
        raise Misdirected(f"asked {_shown(question.target)}, expected {PATH} in front of the client's path")
    told = question.told(_ENVOY)
    headers, upgrade = _with_upgrade(_kept(question, told), told[_UPGRADE_HEADER])
    target, peer = question.target.removeprefix(path), _peer(told[_PEER_HEADER])
    return Original(method=question.method, target=target, headers=headers, peer=peer, upgrade=upgrade)


DIALECTS: Final[Mapping[str, Dialect]] = {"nginx": _nginx, "caddy": _caddy, "traefik": _traefik, "envoy": _envoy}
"""By the name of the proxy in the configuration."""

TELLS_BODY: Final = frozenset({"nginx", "caddy"})
"""The dialects from which it is known whether the client sends a body, and how long it is."""
