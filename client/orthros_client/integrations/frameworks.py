"""Which framework an application is, however many layers are around it, and where it says itself that it is mounted.

Starlette, FastAPI, Flask, Django and aiohttp are known, and the routers of Django Channels are seen through. Imports
none of them: an application that exists has imported its framework.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from types import FunctionType
from typing import Any, Final

__all__ = ["is_aiohttp", "is_django", "is_flask", "is_starlette", "layers_of", "own_mount"]

_MOST_LAYERS: Final = 256
# Where a middleware keeps the application that it wraps. A bound method, such as Flask's `wsgi_app`, belongs to one.
_WRAPPED: Final = ("app", "_app", "application", "wsgi_app", "asgi_app", "__self__", "__wrapped__")


def is_starlette(app: object) -> bool:
    """Starlette, FastAPI, or a router or mount of theirs. Channels' URLRouter has routes as well, and knows no URLs."""
    return isinstance(getattr(app, "routes", None), list) and hasattr(app, "url_path_for")


def is_flask(app: object) -> bool:
    """Flask, or Quart."""
    return hasattr(app, "url_map") and hasattr(app, "view_functions")


def is_django(app: object) -> bool:
    """A handler of Django, for WSGI or ASGI."""
    return hasattr(app, "resolve_request") and hasattr(app, "load_middleware")


def is_aiohttp(app: object) -> bool:
    """An application of aiohttp's server."""
    return hasattr(app, "router") and hasattr(app, "add_subapp")


def layers_of(app: object) -> Iterator[Any]:
    """`app`, what it wraps, and so on, down to the first framework. The nearest first."""
    waiting, seen = deque([app]), set[int]()
    while waiting and len(seen) < _MOST_LAYERS:
        layer = waiting.popleft()
        if layer is None or id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        if not (is_starlette(layer) or is_flask(layer) or is_django(layer) or is_aiohttp(layer)):
            waiting.extend(_inside(layer))


def own_mount(app: object) -> str:
    """Where an ASGI application says itself that it is mounted, whatever a server says: only what it wraps can.

    FastAPI's `root_path` and Django's FORCE_SCRIPT_NAME take that off each path that begins with it.
    """
    for layer in layers_of(app):
        if is_starlette(layer):
            return str(getattr(layer, "root_path", ""))
        if is_django(layer) and hasattr(layer, "send_response"):
            return str(sys.modules["django.conf"].settings.FORCE_SCRIPT_NAME or "")
    return ""


def _inside(layer: Any) -> list[Any]:
    protocols, routes = getattr(layer, "application_mapping", None), getattr(layer, "routes", None)
    if isinstance(protocols, dict):  # Channels' ProtocolTypeRouter
        return [protocols.get("http")]
    if isinstance(routes, list):  # its URLRouter
        return [getattr(route, "callback", None) for route in routes]
    named = next((inner for name in _WRAPPED if callable(inner := getattr(layer, name, None))), None)
    return [named] if named is not None else [one for one in _held_by(layer) if callable(one)]


def _held_by(layer: Any) -> Iterator[Any]:
    """What an object or a closure refers to, under names of its own. Classes are not what is served."""
    if isinstance(layer, FunctionType):
        for cell in layer.__closure__ or ():
            try:
                held = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            if not isinstance(held, type):
                yield held
        return
    slots = [name for kind in type(layer).__mro__ for name in getattr(kind, "__slots__", ())]
    for name in [*getattr(layer, "__dict__", ()), *slots]:
        held = getattr(layer, name, None)
        if not isinstance(held, type):
            yield held
