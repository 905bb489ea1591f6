"""Which origin an application answers to, as its own middleware was told; a test need not say it again.

Looks at applications, and changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from orthros_client.errors import LocalMisuse
from orthros_client.integrations.frameworks import layers_of

__all__ = ["origin_of"]

# Where frameworks keep what is around or inside them: Flask and Quart; Litestar, once it is built; Starlette's stack.
_INSIDE = ("wsgi_app", "asgi_app", "asgi_handler", "middleware_stack")
# Where they list what they will put around themselves, with its options.
_LISTED = ("user_middleware", "middleware")


def origin_of(app: object) -> str:
    """The first of the `origins` of the middleware around `app` or in it. Raises LocalMisuse where none is found."""
    for origins in _told(app):
        for origin in origins:
            return str(origin)
    raise LocalMisuse(
        "value-invalid",
        "no Orthros middleware is seen on this application: put it there, or name one of its origins, "
        '`test_client(app, origin="https://orders.example")`',
    )


def _told(app: object) -> Iterator[Any]:
    waiting, seen = deque([app]), set[int]()
    while waiting:
        for layer in layers_of(waiting.popleft()):
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            known = getattr(getattr(getattr(layer, "guard", None), "origins", None), "known", None)
            if known is not None:
                yield known
            for name in _LISTED:
                listed = getattr(layer, name, None)
                for one in listed if isinstance(listed, list | tuple) else ():
                    yield getattr(one, "kwargs", {}).get("origins", ())
            waiting.extend(inner for name in _INSIDE if (inner := getattr(layer, name, None)) is not None)
