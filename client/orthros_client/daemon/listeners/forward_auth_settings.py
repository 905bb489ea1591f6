"""The `[[forward_auth]]` sections of the daemon's configuration: who asks, for which service, on which terms.

Checks each section as a whole and names what is wrong with its place; reads no key file and opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final

from attrs import frozen

from orthros_client.daemon.listeners.forward_auth_dialects import DIALECTS
from orthros_client.http.server.incoming import OwnOrigins
from orthros_client.http.server.routes import BEARER, IDEMPOTENCY_KEY, ORTHROS, Route, Routes
from orthros_protocol import ChainRule, Misconfigured, OrthrosError

__all__ = ["ForwardAuthSettings", "read_forward_auth"]

_MOST_SECTIONS: Final = 64
_MOST_ROUTES: Final = 1024
_MODE = re.compile(r"0[0-7]{3}")
_TCP = re.compile(r"(?:([0-9.]+)|\[([0-9a-f:]+)\]):([1-9][0-9]{0,4})")
_BEARER_KEYS: Final = ("jwk", "audience", "issuer")


@frozen(kw_only=True)
class ForwardAuthSettings:
    """One section. Either `socket` or `tcp` is set; `jwk`, `audience` and `issuer` are empty without Bearer."""

    socket: str = ""
    tcp: tuple[str, int] | None = None
    socket_mode: int = 0o660
    proxy_uid: int | None = None
    dialect: str
    keytab: str
    origins: tuple[str, ...]
    schemes: tuple[str, ...] = (ORTHROS,)
    jwk: str = ""
    audience: str = ""
    issuer: str = ""
    routes: tuple[Route, ...] = ()

    @property
    def place(self) -> str:
        """Where it listens, as text."""
        if self.tcp is None:
            return self.socket
        address, port = self.tcp
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

    @property
    def listening(self) -> tuple[str, int]:
        """What takes a restart to change."""
        return self.place, self.socket_mode

    @property
    def rows(self) -> tuple[Route, ...]:
        """The routes, with one for everything else: the section's schemes and no scope."""
        if any(not (route.is_exact or route.prefix) for route in self.routes):
            return self.routes
        return (*self.routes, Route("/*", schemes=self.schemes))


def _path(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value or not value.startswith("/"):
        raise ValueError("expected an absolute path")
    return value


def _tcp(value: Any) -> tuple[str, int]:
    found = _TCP.fullmatch(value) if isinstance(value, str) else None
    try:
        address = ip_address(found[1] or found[2]) if found else None
    except ValueError:
        address = None
    if found is None or address is None or not address.is_loopback or int(found[3]) > 65_535:
        raise ValueError("expected a loopback address and a port, such as 127.0.0.1:7790 or [::1]:7790")
    return str(address), int(found[3])


def _mode(value: Any) -> int:
    if not isinstance(value, str) or _MODE.fullmatch(value) is None:
        raise ValueError('expected an octal mode as text, such as "0660"')
    return int(value, 8)


def _uid(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**32:
        raise ValueError("expected the number of a user")
    return value


def _dialect(value: Any) -> str:
    if value not in DIALECTS:
        raise ValueError(f"expected one of {', '.join(DIALECTS)}")
    return str(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("expected some text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("expected a list of texts")
    return tuple(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("expected true or false")
    return value


def _repeatable(value: Any) -> bool | str:
    if not isinstance(value, bool) and value != IDEMPOTENCY_KEY:
        raise ValueError(f'expected true, false or "{IDEMPOTENCY_KEY}"')
    return value if isinstance(value, bool) else IDEMPOTENCY_KEY


def _depth(value: Any) -> int:
    if type(value) is not int:
        raise ValueError("expected a number")
    return value


_Parsers = Mapping[str, Callable[[Any], Any]]
_SECTION: Final[_Parsers] = {
    "socket": _path,
    "tcp": _tcp,
    "socket_mode": _mode,
    "proxy_uid": _uid,
    "dialect": _dialect,
    "keytab": _path,
    "origins": _texts,
    "schemes": _texts,
    "jwk": _path,
    "audience": _text,
    "issuer": _text,
}
_ROUTE: Final[_Parsers] = {
    "path": _text,
    "schemes": _texts,
    "scopes": _texts,
    "covers": _texts,
    "unsized_bodies": _flag,
    "accept_user": _flag,
    "public": _flag,
    "deny_via": _texts,
    "require_via": _texts,
    "max_depth": _depth,
    "callbacks": _flag,
    "repeatable": _repeatable,
}
_CHAIN: Final = ("deny_via", "require_via", "max_depth", "callbacks")


def read_forward_auth(document: Mapping[str, Any], path: str | None) -> tuple[ForwardAuthSettings, ...]:
    """The sections of a configuration file. Raises Misconfigured `config-invalid`."""
    rows = document.get("forward_auth", [])
    if not isinstance(rows, list) or len(rows) > _MOST_SECTIONS or not all(isinstance(row, dict) for row in rows):
        raise _wrong(f"{path}: forward_auth", f"expected up to {_MOST_SECTIONS} sections [[forward_auth]]")
    sections = tuple(_section(row, f"{path}: forward_auth {at}") for at, row in enumerate(rows, 1))
    places = [section.place for section in sections]
    for place in places:
        if places.count(place) > 1:
            raise _wrong(f"{path}: forward_auth", f"two sections listen at {place}")
    return sections


def _section(row: Mapping[str, Any], where: str) -> ForwardAuthSettings:
    routes = row.get("route", [])
    if not isinstance(routes, list) or len(routes) > _MOST_ROUTES or not all(isinstance(one, dict) for one in routes):
        raise _wrong(where, f"route: expected up to {_MOST_ROUTES} sections [[forward_auth.route]]")
    values = _parse({key: value for key, value in row.items() if key != "route"}, _SECTION, where, ("route",))
    for name in ("dialect", "keytab", "origins"):
        if name not in values:
            raise _wrong(where, f"{name} is missing")
    if ("socket" in values) == ("tcp" in values):
        raise _wrong(where, "expected one of socket and tcp")
    if "tcp" in values and "socket_mode" in values:
        raise _wrong(where, "socket_mode: a port has none")
    inherited = {"schemes": values["schemes"]} if "schemes" in values else {}
    made = tuple(_route(inherited | one, f"{where}: route {at}") for at, one in enumerate(routes, 1))
    try:
        OwnOrigins(values["origins"])
        section = ForwardAuthSettings(**values, routes=made)
        Routes(section.rows)
    except OrthrosError as error:
        raise _wrong(where, error.detail) from None
    _check_bearer(section, where)
    return section


def _route(row: Mapping[str, Any], where: str) -> Route:
    values = _parse(row, _ROUTE, where)
    if "path" not in values:
        raise _wrong(where, "path is missing")
    try:
        rule = {name: values.pop(name) for name in _CHAIN if name in values}
        return Route(values.pop("path"), chain=ChainRule(**rule) if rule else None, **values)
    except OrthrosError as error:
        raise _wrong(where, error.detail) from None


def _parse(row: Mapping[str, Any], known: _Parsers, where: str, others: tuple[str, ...] = ()) -> dict[str, Any]:
    values = {}
    for key, value in row.items():
        if key not in known:
            raise _wrong(where, f"{key}: there is no such setting; known are {', '.join((*known, *others))}")
        try:
            values[key] = known[key](value)
        except ValueError as error:
            raise _wrong(where, f"{key}: {error}") from None
    return values


def _check_bearer(section: ForwardAuthSettings, where: str) -> None:
    used = any(BEARER in route.schemes for route in section.rows)
    for name in _BEARER_KEYS:
        if used and not getattr(section, name):
            raise _wrong(where, f"{name} is missing: the scheme {BEARER} needs {', '.join(_BEARER_KEYS)}")
        if not used and getattr(section, name):
            raise _wrong(where, f"{name}: no route accepts the scheme {BEARER}")


def _wrong(where: str, detail: str) -> Misconfigured:
    return Misconfigured("config-invalid", f"{where}: {detail}")
