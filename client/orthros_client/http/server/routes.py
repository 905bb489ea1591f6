"""Routes: what a service demands of the requests below a path, and the one that holds for a given path.

Rows of settings; knows neither requests nor keys. Everything that no row names has the strictest settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeVar
from urllib.parse import unquote

from attrs import Attribute, field, frozen

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.primitives.names import check_list, check_scopes, check_texts
from orthros_protocol.tickets.access import canonical_path
from orthros_protocol.tickets.call_chain import ChainRule

__all__ = ["BEARER", "ORTHROS", "Route", "Routes"]

_T = TypeVar("_T")
ORTHROS: Final = "orthros"
BEARER: Final = "bearer"
IDEMPOTENCY_KEY: Final = "idempotency-key"
DISCHARGE_PATH: Final = "/.well-known/orthros/discharge"
"""Where a service that attests something is asked, see `orthros_client.http.client.discharges`."""

_BELOW: Final = "/*"
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,64}", re.ASCII)


def _start_of(path: str) -> str:
    return (path[: -len(_BELOW)] or "/") if path.endswith(_BELOW) else path


def _schemes(values: Iterable[str]) -> tuple[str, ...]:
    return check_texts(values, "schemes")


def _covers(values: Iterable[str]) -> tuple[str, ...]:
    return check_texts(values, "covers")


def _reply_covers(values: Iterable[str]) -> tuple[str, ...]:
    return check_texts(values, "reply_covers")


def _check_path(_route: Route, _attribute: Attribute[str], path: str) -> None:
    if "*" in _start_of(path):
        words = f"route {path[:80]!r}: * is understood as the last segment alone, as in /orders/*"
        raise LocalMisuse("value-invalid", words)
    try:
        canonical_path(_start_of(path))
    except Malformed as error:
        raise LocalMisuse("value-invalid", f"route {path[:80]!r}: {error.detail}") from None


def _check_schemes(_route: Route, _attribute: Attribute[tuple[str, ...]], schemes: tuple[str, ...]) -> None:
    if not schemes or not {*schemes} <= {ORTHROS, BEARER}:
        raise LocalMisuse("value-invalid", f"schemes are {ORTHROS!r} and {BEARER!r}")


def _check_headers(_route: Route, _attribute: Attribute[tuple[str, ...]], names: tuple[str, ...]) -> None:
    for name in names:
        if _HEADER.fullmatch(name) is None:
            raise LocalMisuse("value-invalid", f"{name[:80]!r} is not a lower-case header name")


def _check_repeatable(_route: Route, _attribute: Attribute[object], value: object) -> None:
    if value not in (None, IDEMPOTENCY_KEY) and not isinstance(value, bool):
        raise LocalMisuse("value-invalid", f"repeatable is None, True, False or {IDEMPOTENCY_KEY!r}")


@frozen(kw_only=True)
class Route:
    """The settings below one path. Raises LocalMisuse for values that could never match.

    path: `/orders` is that path alone, with or without a slash at its end; `/orders/*` also all below it. It begins
        behind the mount point of the application, if it has one.
    schemes: what is accepted, `orthros` alone by default; `bearer` are JWTs, which can be replayed.
    scopes: those that every caller must have.
    covers: further request headers that must be covered when they are present.
    reply_covers: further response headers that are covered when they are present once.
    unsized_bodies: whether a body may come without Content-Length.
    accept_user: whether calls on behalf of others are served, whoever vouches for these: KDC or caller.
    chain: what the path of such calls may look like; None is what the verifier holds for all its calls.
    stream_responses: responses leave piece by piece and without proof of their body.
    public: no credentials are needed; those that are presented are checked all the same.
    repeatable: whether a request may be executed by two replay instances of this service, such as two hosts that share
        no store. None: a GET, HEAD, OPTIONS or TRACE may, unless it asks for an upgrade. True: any method, because a
        second execution does no harm. False: none, because also reading changes something. `"idempotency-key"`: also
        requests that cover this header, because the service tells a repeat by its key.
    """

    path: str = field(validator=_check_path, kw_only=False)
    schemes: tuple[str, ...] = field(default=(ORTHROS,), converter=_schemes, validator=_check_schemes)
    scopes: tuple[str, ...] = field(default=(), converter=check_scopes)
    covers: tuple[str, ...] = field(default=(), converter=_covers, validator=_check_headers)
    reply_covers: tuple[str, ...] = field(default=(), converter=_reply_covers, validator=_check_headers)
    unsized_bodies: bool = False
    accept_user: bool = False
    chain: ChainRule | None = None
    stream_responses: bool = False
    public: bool = False
    repeatable: bool | Literal["idempotency-key"] | None = field(default=None, validator=_check_repeatable)

    @property
    def is_exact(self) -> bool:
        """Whether it holds for one path alone."""
        return not self.path.endswith(_BELOW)

    @property
    def prefix(self) -> tuple[str, ...]:
        """The decoded segments that it begins with."""
        return _key(canonical_path(_start_of(self.path)))


STRICTEST: Final = Route("/*")


class Routes:
    """The rows of one service. Raises LocalMisuse for two rows of the same path."""

    def __init__(self, routes: Iterable[Route] = (), *, default: Route = STRICTEST) -> None:
        self._default = default
        self._exact: dict[tuple[str, ...], Route] = {}
        self._below: dict[tuple[str, ...], Route] = {}
        # The same rows as readers see them that ignore case, or cut parameters off.
        self._loose: dict[bool, dict[tuple[str, ...], set[Route]]] = {True: {}, False: {}}
        self._is_plain = True
        self.rows = tuple(check_list(routes, "routes"))
        for route in self.rows:
            rows = self._exact if route.is_exact else self._below
            if route.prefix in rows:
                raise LocalMisuse("value-invalid", f"two routes for {route.path}")
            rows[route.prefix] = route
            loose = _loose(route.prefix)
            self._is_plain = self._is_plain and loose == route.prefix
            self._loose[route.is_exact].setdefault(loose, set()).add(route)
        # No row looks further into a path than this: the rest of a stranger's path costs nothing.
        self._depth = 1 + max((len(route.prefix) for route in self.rows), default=0)
        self._sizes = sorted({len(prefix) for prefix in self._below}, reverse=True)

    def find(self, segments: tuple[str, ...], *, mounted: int = 0) -> Route:
        """The row for a path in its canonical segments: the exact one, else the longest prefix.

        `mounted` segments at its beginning are those of the mount point, below which rows are written. Raises Malformed
        for a path in which an application that ignores case, or parameters behind `;`, or its mount point, would see
        that of another row: whichever row was taken, it might be the wrong one.
        """
        if mounted:
            route = self.find(segments[mounted:] or ("",))
            whole = self.find(segments)
            if whole is not route and whole.prefix[:mounted] == _key(segments[:mounted]):
                raise Malformed(f"the mount point is a part of the row {whole.path}, which is to be written below it")
            return route
        key = _key(segments if len(segments) <= self._depth else segments[: self._depth])
        route = self._found(key, self._exact, self._below, self._default)
        loose = _loose(key)
        if loose == key and self._is_plain:
            return route
        if route not in self._found(loose, self._loose[True], self._loose[False], {self._default}):
            raise Malformed("a path that some applications take for that of another route")
        return route

    def _found(
        self, key: tuple[str, ...], exact: Mapping[tuple[str, ...], _T], below: Mapping[tuple[str, ...], _T], none: _T
    ) -> _T:
        found = exact.get(key)
        for size in self._sizes:
            if found is not None:
                break
            if size <= len(key):
                found = below.get(key[:size])
        return none if found is None else found


def _loose(key: tuple[str, ...]) -> tuple[str, ...]:
    return tuple([segment.partition(";")[0].casefold() for segment in key])


def _key(segments: tuple[str, ...]) -> tuple[str, ...]:
    # Decoded, as the application will route it, and without the slash at the end, which some frameworks ignore.
    decoded = tuple(map(unquote, segments))
    return decoded[:-1] if decoded[-1] == "" else decoded
