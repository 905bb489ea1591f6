"""What an application serves, as far as it tells: its endpoints, and whether those that `@require` marks are guarded.

For Starlette, FastAPI, Flask, Django and aiohttp, also mounted in one another. Of another application nothing is known.
Imports none of them: an application that exists has imported its framework.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from functools import cached_property, partial
from itertools import zip_longest
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from attrs import frozen

from orthros_client.http.server.refusal_log import Log
from orthros_client.http.server.routes import STRICTEST, Route, Routes
from orthros_client.integrations.frameworks import is_aiohttp, is_django, is_flask, is_starlette, layers_of, own_mount
from orthros_client.reasons import UNPROTECTED
from orthros_protocol.errors import Malformed, Misconfigured

__all__ = ["ServedPath", "StartCheck", "check_marks", "doubtful_rows", "endpoints_of", "mark", "served_both_ways"]

_MOST_WRAPPERS: Final = 32
_ANY: Final = "*"
_REST: Final = "**"
# A parameter that takes slashes as well, or a pattern, which may.
_TAKES_REST = re.compile(r":path}|<path:|[(\[^$?*+|\\]")
_TAKES_ANY = re.compile(r"[<{]")
# A parameter of aiohttp that is not the plain one, which takes one segment.
_OWN_PATTERN = re.compile(r"\(\?P<\w+>(?!\[\^\{\}/\]\+\))")

_lock = threading.Lock()
_guarded: WeakSet[Callable[..., Any]] = WeakSet()
_marked: WeakKeyDictionary[Callable[..., Any], WeakSet[Callable[..., Any]]] = WeakKeyDictionary()


Doubt = tuple[str, dict[str, str]]
"""An event for the log, and its facts."""


@frozen
class ServedPath:
    """One thing that an application calls. `segments` are those of its path: `*` stands for any, `**` for a rest."""

    segments: tuple[str, ...]
    function: object

    @property
    def path(self) -> str:
        """The path as rows of routes are written."""
        return "/" + "/".join(self.segments).replace(_REST, _ANY)


def mark(guarded: Callable[..., Any], endpoint: Callable[..., Any]) -> None:
    """Remembers that `guarded` is to be served in the place of `endpoint`, and of what that wraps in turn."""
    with _lock:
        _guarded.add(guarded)
        for one in _chain(endpoint):
            with suppress(TypeError):  # an object to which there are no weak references
                _marked.setdefault(one, WeakSet()).add(guarded)


class StartCheck:
    """Looks at what an application serves: at its start, where one is told, and before the first request reaches it.

    What was added in between is found as well, such as a view below the line that protects a Flask application.
    `log` is told of rows that may not do what they seem to. Thread-safe.
    """

    def __init__(self, app: object, rows: Iterable[Route], log: Log) -> None:
        self._inner = self._outermost = app
        self._routes = Routes(rows)
        self._log = log
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._serves = False
        self._found: Misconfigured | None = None

    @cached_property
    def own_mount(self) -> str:
        """`own_mount` of what the middleware wraps. To be asked for a request: a framework is set up by then."""
        return own_mount(self._inner)

    def at_start(self, app: object = None) -> None:
        """Looks at `app`, by default at what the middleware wraps. Raises as `check_marks` and `endpoints_of`."""
        with self._lock:
            self._outermost = app or self._outermost
            self._look()
        self._require()

    def at_request(self) -> None:
        """The same for the first request that was admitted: strangers do not choose the time. Raises each time."""
        if not self._serves:
            with self._lock:
                if not self._serves:
                    self._look()
                    self._serves = True
        self._require()

    def _require(self) -> None:
        if self._found is not None:
            raise Misconfigured(self._found.reason, self._found.detail)

    def _look(self) -> None:
        try:
            endpoints = list(endpoints_of(self._outermost))
            check_marks(endpoints)
            for event, facts in (*served_both_ways(endpoints), *doubtful_rows(endpoints, self._routes)):
                if (text := f"{event} {facts}") not in self._told:
                    self._told.add(text)
                    self._log.warning(event, **facts)
        except Misconfigured as error:
            self._found = error
        except Exception as error:  # noqa: BLE001  # a framework that changed its inside closes no service
            self._log.warning("endpoints-unknown", error=type(error).__name__)


def check_marks(endpoints: Iterable[ServedPath]) -> None:
    """Compares what is served with what was marked.

    Raises Misconfigured `unprotected` for an endpoint that `@require` marks but that was registered without it. A
    function that is served both ways may be meant to be.
    """
    endpoints = list(endpoints)
    guarded = _guarded_among(endpoints)
    for endpoint, bare in _open(endpoints):
        if not guarded & {*_marked[bare]}:
            raise Misconfigured(
                UNPROTECTED,
                f"{endpoint.path} calls {_name_of(bare)} without its @require: put @require below @app.get, "
                "so that the function that it returns is registered",
            )


def served_both_ways(endpoints: Iterable[ServedPath]) -> Iterator[Doubt]:
    """Endpoints that are open though their function is guarded at another one, such as a view of a library."""
    endpoints = list(endpoints)
    guarded = _guarded_among(endpoints)
    for endpoint, bare in _open(endpoints):
        if guarded & {*_marked[bare]}:
            yield (
                "endpoint-is-open",
                {
                    "route": endpoint.path,
                    "remedy": f"{_name_of(bare)} is guarded by @require at another path only. "
                    "If that is not meant, put @require below every decorator that registers it.",
                },
            )


def _open(endpoints: list[ServedPath]) -> Iterator[tuple[ServedPath, Callable[..., Any]]]:
    """Endpoints that call a marked function without what guards it, each with that function."""
    for endpoint in endpoints:
        bare = next((one for one in _chain(endpoint.function) if one in _marked or one in _guarded), None)
        if bare is not None and bare not in _guarded:
            yield endpoint, bare


def _guarded_among(endpoints: list[ServedPath]) -> set[object]:
    return {one for endpoint in endpoints for one in _served_by(endpoint.function)}


def endpoints_of(app: object, prefix: tuple[str, ...] = (), *, within: tuple[object, ...] = ()) -> Iterator[ServedPath]:
    """What `app`, itself `within` others, serves below `prefix`, and the applications that it wraps or mounts.

    Raises Misconfigured `config-invalid` for one that says that it is mounted elsewhere.
    """
    if prefix and (own := own_mount(app).strip("/")) and own != "/".join(prefix):
        raise Misconfigured(
            "config-invalid", f"an application mounted at /{'/'.join(prefix)} says that it is at /{own}"
        )
    for layer in layers_of(app):
        if any(layer is one for one in within):  # mounted in itself
            continue
        if is_starlette(layer):
            yield from _of_starlette(layer.routes, prefix, (*within, layer))
        elif is_flask(layer):
            yield from _of_flask(layer, prefix)
        elif is_django(layer):
            yield from _of_django(prefix)
        elif is_aiohttp(layer):
            yield from _of_aiohttp(layer)
        elif isinstance(mounts := getattr(layer, "mounts", None), dict):  # werkzeug's and hypercorn's dispatchers
            for path, mounted in mounts.items():
                yield from endpoints_of(mounted, (*prefix, *_segments(str(path))))


def _of_starlette(routes: Iterable[Any], prefix: tuple[str, ...], within: tuple[object, ...]) -> Iterator[ServedPath]:
    # FastAPI includes routers lazily, and lists what they hold with this function.
    listed = getattr(sys.modules.get("fastapi.routing"), "iter_route_contexts", iter)
    for each in listed(routes):
        route = getattr(each, "original_route", each)
        below = (*prefix, *_segments(getattr(each, "path", None) or ""))
        inner = getattr(route, "routes", None)
        if inner is None:
            yield ServedPath(below, getattr(route, "endpoint", None))
            continue
        if not inner:  # a mount of something else, such as files
            yield ServedPath((*below, _REST), None)
        # Not the mount itself: the application in it may say where it is.
        yield from endpoints_of(getattr(route, "_base_app", None) or getattr(route, "app", None), below, within=within)


def _of_flask(app: Any, prefix: tuple[str, ...]) -> Iterator[ServedPath]:
    for rule in app.url_map.iter_rules():
        yield ServedPath((*prefix, *_segments(rule.rule)), app.view_functions.get(rule.endpoint))


def _of_django(prefix: tuple[str, ...]) -> Iterator[ServedPath]:
    def below(resolver: Any, text: str) -> Iterator[ServedPath]:
        for pattern in resolver.url_patterns:
            path = text + str(pattern.pattern).removeprefix("^").removesuffix("$")
            if hasattr(pattern, "url_patterns"):
                yield from below(pattern, path)
            else:
                yield ServedPath((*prefix, *_segments("/" + path)), pattern.callback)

    yield from below(sys.modules["django.urls"].get_resolver(), "")


def _of_aiohttp(app: Any) -> Iterator[ServedPath]:
    for route in app.router.routes():  # those of applications in it as well, with their prefix
        info = {} if route.resource is None else route.resource.get_info()
        path = info.get("path") or info.get("formatter") or info.get("prefix") or ""
        if "directory" in info or ((pattern := info.get("pattern")) and _OWN_PATTERN.search(pattern.pattern)):
            yield ServedPath((*_segments(path.partition("{")[0]), _REST), route.handler)
        else:
            yield ServedPath(_segments(path), route.handler)


def _segments(path: str) -> tuple[str, ...]:
    """Of a path in any framework's way to write one: a segment with a parameter in it stands for any."""
    return tuple(
        _REST if _TAKES_REST.search(segment) else _ANY if _TAKES_ANY.search(segment) else segment
        for segment in path.split("/")
        if segment
    )


def _served_by(function: object) -> Iterator[object]:
    """The guarded functions that `function` leads to: itself, what it wraps, or the methods of its class."""
    yield from (one for one in _chain(function) if one in _guarded)
    kind = getattr(function, "view_class", function)
    if isinstance(kind, type):
        yield from (one for base in kind.__mro__ for one in vars(base).values() if one in _guarded)


def _chain(function: Any) -> Iterator[Any]:
    """`function`, what decorators say that it wraps, and so on."""
    for _wrapper in range(_MOST_WRAPPERS):
        if not callable(function):
            return
        if isinstance(function, Hashable):
            yield function
        if isinstance(function, partial):
            function = function.func
        else:
            function = getattr(function, "__wrapped__", None) or getattr(function, "__func__", None)


def _name_of(function: Any) -> str:
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"[:200]


def doubtful_rows(endpoints: Iterable[ServedPath], routes: Routes) -> Iterator[Doubt]:
    """Rows that no endpoint can meet, and those with scopes that stop short of what is below them."""
    endpoints = list(endpoints)
    for row in routes.rows:
        if row.public or not endpoints:
            continue
        own = row.prefix
        if not any(_may_serve(endpoint.segments, own, below=not row.is_exact) for endpoint in endpoints):
            yield (
                "route-never-matches",
                {"route": row.path, "remedy": f"No endpoint is at {row.path}: see its spelling."},
            )
        if not row.is_exact or not row.scopes:
            continue
        open_below = sorted(
            {
                endpoint.path
                for endpoint in endpoints
                if endpoint.segments[: len(own)] == own
                and len(endpoint.segments) > len(own)
                and not {*row.scopes} <= {*_row_for(endpoint, routes).scopes}
            }
        )
        if open_below:
            yield (
                "route-is-exact",
                {
                    "route": row.path,
                    "without_its_scopes": ", ".join(open_below)[:500],
                    "remedy": f'"{row.path}/*" holds for these as well.',
                },
            )


def _may_serve(segments: tuple[str, ...], prefix: tuple[str, ...], *, below: bool) -> bool:
    """Whether an endpoint with these segments can be called by a path of the row with this prefix."""
    for wanted, given in zip_longest(prefix, segments):
        if given == _REST:
            return True
        if wanted is None:
            return below
        if given not in (wanted, _ANY):
            return False
    return True


def _row_for(endpoint: ServedPath, routes: Routes) -> Route:
    try:
        return routes.find(endpoint.segments or ("",))
    except Malformed:  # taken for another row's path by some applications: such requests are refused
        return STRICTEST
