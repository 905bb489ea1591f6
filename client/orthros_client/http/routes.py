"""Routes: what a service demands of the requests below a path, and the one that holds for a given path.

Rows of settings; knows neither requests nor keys. Everything that no row names has the strictest settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from attrs import Attribute, field, frozen

from orthros_client.http.incoming import decode_path
from orthros_protocol import ChainRule, LocalMisuse, Malformed, canonical_path, check_scopes

__all__ = ["BEARER", "ORTHROS", "Route", "Routes"]

_T = TypeVar("_T")
ORTHROS: Final = "orthros"
BEARER: Final = "bearer"
_BELOW: Final = "/*"
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,64}", re.ASCII)


def _start_of(path: str) -> str:
    return (path[: -len(_BELOW)] or "/") if path.endswith(_BELOW) else path


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


def _check_path(_route: Route, _attribute: Attribute[str], path: str) -> None:
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


@frozen(kw_only=True)
class Route:
    """The settings below one path. Raises LocalMisuse for values that could never match.

    path: `/orders` is that path alone, with or without a slash at its end; `/orders/*` also all below it.
    schemes: what is accepted, `orthros` alone by default; `bearer` are JWTs, which can be replayed.
    scopes: those that every caller must have.
    covers: further request headers that must be covered when they are present.
    reply_covers: further response headers that are covered when they are present once.
    unsized_bodies: whether a body may come without Content-Length.
    accept_user: whether calls on behalf of others are served, whoever vouches for these: KDC or caller.
    chain: what the path of such calls may look like; None is what the verifier holds for all its calls.
    stream_responses: responses leave piece by piece and without proof of their body.
    public: no credentials are needed; those that are presented are checked all the same.
    """

    path: str = field(validator=_check_path, kw_only=False)
    schemes: tuple[str, ...] = field(default=(ORTHROS,), converter=_texts, validator=_check_schemes)
    scopes: tuple[str, ...] = field(default=(), converter=check_scopes)
    covers: tuple[str, ...] = field(default=(), converter=_texts, validator=_check_headers)
    reply_covers: tuple[str, ...] = field(default=(), converter=_texts, validator=_check_headers)
    unsized_bodies: bool = False
    accept_user: bool = False
    chain: ChainRule | None = None
    stream_responses: bool = False
    public: bool = False

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
        self.rows = tuple(routes)
        for route in self.rows:
            rows = self._exact if route.is_exact else self._below
            if route.prefix in rows:
                raise LocalMisuse("value-invalid", f"two routes for {route.path}")
            rows[route.prefix] = route
            loose = _loose(route.prefix)
            self._is_plain = self._is_plain and loose == route.prefix
            self._loose[route.is_exact].setdefault(loose, set()).add(route)

    def find(self, segments: tuple[str, ...]) -> Route:
        """The row for a path in its canonical segments: the exact one, else the longest prefix.

        Raises Malformed for a path in which an application that ignores case, or parameters behind `;`, would see
        that of another row: whichever row was taken, it might be the wrong one.
        """
        key = _key(segments)
        route = _found(key, self._exact, self._below, self._default)
        loose = _loose(key)
        if loose == key and self._is_plain:
            return route
        if route not in _found(loose, self._loose[True], self._loose[False], {self._default}):
            raise Malformed("a path that some applications take for that of another route")
        return route


def _found(
    key: tuple[str, ...], exact: Mapping[tuple[str, ...], _T], below: Mapping[tuple[str, ...], _T], none: _T
) -> _T:
    found = exact.get(key)
    for size in range(len(key), -1, -1):
        if found is not None:
            break
        found = below.get(key[:size])
    return none if found is None else found


def _loose(key: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(segment.partition(";")[0].casefold() for segment in key)


def _key(segments: tuple[str, ...]) -> tuple[str, ...]:
    # Decoded, as the application will route it, and without the slash at the end, which some frameworks ignore.
    decoded = tuple(decode_path(segment) for segment in segments)
    return decoded[:-1] if decoded[-1] == "" else decoded
