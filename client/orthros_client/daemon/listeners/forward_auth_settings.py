"""The `[[forward_auth]]` sections of the daemon's configuration: who asks, for which service, on which terms.

Checks each section as a whole and names what is wrong with its place; reads no key file and opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final

from attrs import frozen

from orthros_client.daemon.listeners.forward_auth_dialects import DIALECTS
from orthros_client.http.server.incoming import OwnOrigins
from orthros_client.http.server.routes import BEARER, IDEMPOTENCY_KEY, ORTHROS, Route, Routes
from orthros_protocol.errors import Misconfigured, OrthrosError
from orthros_protocol.primitives.limits import MAX_CHAIN_HOPS
from orthros_protocol.tickets.call_chain import ChainRule
from orthros_runtime.kinds import (
    ValueKind,
    file_path,
    octal_mode,
    one_of,
    socket_path,
    switch,
    text,
    whole,
)
from orthros_runtime.settings import read_entries

__all__ = ["ForwardAuthSettings", "read_forward_auth"]

_MOST_SECTIONS: Final = 64
_MOST_ROUTES: Final = 1024
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


def _check_tcp(value: str) -> tuple[str, int]:
    found = _TCP.fullmatch(value)
    address = ip_address(found[1] or found[2]) if found else None
    if found is None or address is None or not address.is_loopback or int(found[3]) > 65_535:
        raise ValueError
    return str(address), int(found[3])


def _check_texts(value: list[object]) -> tuple[object, ...]:
    if not all(isinstance(one, str) for one in value):
        raise ValueError
    return tuple(value)


def _check_tables(value: list[object]) -> list[object]:
    if len(value) > _MOST_ROUTES or not all(isinstance(one, dict) for one in value):
        raise ValueError
    return value


def _check_repeatable(value: bool | str) -> bool | str:
    if not isinstance(value, bool) and value != IDEMPOTENCY_KEY:
        raise ValueError
    return value


_LOOPBACK: Final = ValueKind(
    allowed="a loopback address and a port, such as 127.0.0.1:7790 or [::1]:7790",
    types=frozenset({str}),
    check=_check_tcp,
)
_TEXTS: Final = ValueKind(allowed="a list of texts", types=frozenset({list}), check=_check_texts)
_REPEATABLE: Final = ValueKind(
    allowed=f'true, false or "{IDEMPOTENCY_KEY}"', types=frozenset({bool, str}), check=_check_repeatable
)
_TABLES: Final = ValueKind(
    allowed=f"up to {_MOST_ROUTES} sections [[forward_auth.route]]", types=frozenset({list}), check=_check_tables
)
_SECTION: Final[Mapping[str, ValueKind]] = {
    "socket": socket_path(),
    "tcp": _LOOPBACK,
    "socket_mode": octal_mode(),
    "proxy_uid": whole(0, 2**32 - 1),
    "dialect": one_of(*DIALECTS),
    "keytab": file_path(),
    "origins": _TEXTS,
    "schemes": _TEXTS,
    "jwk": file_path(),
    "audience": text(),
    "issuer": text(),
    "route": _TABLES,
}
_ROUTE: Final[Mapping[str, ValueKind]] = {
    "path": text(),
    "schemes": _TEXTS,
    "scopes": _TEXTS,
    "covers": _TEXTS,
    "unsized_bodies": switch(),
    "accept_user": switch(),
    "public": switch(),
    "deny_via": _TEXTS,
    "require_via": _TEXTS,
    "max_depth": whole(0, MAX_CHAIN_HOPS),
    "callbacks": switch(),
    "repeatable": _REPEATABLE,
}
_CHAIN: Final = ("deny_via", "require_via", "max_depth", "callbacks")


def read_forward_auth(rows: object, where: str, folder: str) -> tuple[ForwardAuthSettings, ...]:
    """The sections of a configuration file, whose place is `where`. Raises Misconfigured `config-invalid`."""
    if not isinstance(rows, list) or len(rows) > _MOST_SECTIONS or not all(isinstance(row, dict) for row in rows):
        raise _wrong(where, f"expected up to {_MOST_SECTIONS} sections [[forward_auth]]")
    sections = tuple(_section(row, f"{where} {at}", folder) for at, row in enumerate(rows, 1))
    places = [section.place for section in sections]
    for place in places:
        if places.count(place) > 1:
            raise _wrong(where, f"two sections listen at {place}")
    return sections


def _section(row: Mapping[str, Any], where: str, folder: str) -> ForwardAuthSettings:
    values = read_entries(_SECTION, row, where, folder)
    routes = values.pop("route", [])
    for name in ("dialect", "keytab", "origins"):
        if name not in values:
            raise _wrong(where, f"{name} is missing")
    if ("socket" in values) == ("tcp" in values):
        raise _wrong(where, "expected one of socket and tcp")
    if "tcp" in values and "socket_mode" in values:
        raise _wrong(where, "socket_mode: a port has none")
    inherited = {"schemes": row["schemes"]} if "schemes" in row else {}
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
    values = read_entries(_ROUTE, row, where, "")
    if "path" not in values:
        raise _wrong(where, "path is missing")
    try:
        rule = {name: values.pop(name) for name in _CHAIN if name in values}
        return Route(values.pop("path"), chain=ChainRule(**rule) if rule else None, **values)
    except OrthrosError as error:
        raise _wrong(where, error.detail) from None


def _check_bearer(section: ForwardAuthSettings, where: str) -> None:
    used = any(BEARER in route.schemes for route in section.rows)
    for name in _BEARER_KEYS:
        if used and not getattr(section, name):
            raise _wrong(where, f"{name} is missing: the scheme {BEARER} needs {', '.join(_BEARER_KEYS)}")
        if not used and getattr(section, name):
            raise _wrong(where, f"{name}: no route accepts the scheme {BEARER}")


def _wrong(where: str, detail: str) -> Misconfigured:
    return Misconfigured("config-invalid", f"{where}: {detail}")
