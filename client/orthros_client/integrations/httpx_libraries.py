"""httpx and httpx2, whichever is installed, as one library.

httpx asks `isinstance(auth, httpx.Auth)`, and httpx2 the same of its own class; so with streams. What serves both is an
instance of both: each base class here inherits from that of every library that is installed. Messages are made with the
library from which the request came. Knows nothing of Orthros.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from orthros_runtime.extras import extra

__all__ = [
    "AsyncByteStream",
    "Auth",
    "ByteStream",
    "Request",
    "Response",
    "SyncByteStream",
    "installed",
    "is_request",
    "library_of",
    "not_read",
]

_NAMES: Final = ("httpx", "httpx2")


def _installed() -> tuple[ModuleType, ...]:
    found: dict[str, ModuleType] = {}
    for name in _NAMES:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
        else:
            found[module.__name__] = module  # one may stand in for the other (httpx2.alias_httpx)
    if not found:
        with extra("httpx"):  # or httpx2: one is enough
            raise ModuleNotFoundError(name="httpx")
    return tuple(found.values())


LIBRARIES: Final = _installed()


def _joined(name: str) -> Any:
    return type(name, tuple([getattr(library, name) for library in LIBRARIES]), {})


if TYPE_CHECKING:
    import httpx
    import httpx2

    Request = httpx.Request | httpx2.Request
    Response = httpx.Response | httpx2.Response

    class Auth(httpx.Auth, httpx2.Auth):  # type: ignore[misc]
        """The base of what authenticates."""

    class SyncByteStream(httpx.SyncByteStream, httpx2.SyncByteStream):
        """The base of a stream for blocking clients."""

    class AsyncByteStream(httpx.AsyncByteStream, httpx2.AsyncByteStream):
        """The base of a stream for async clients."""

    class ByteStream(httpx.ByteStream, httpx2.ByteStream):
        """The base of a body in memory."""
else:
    Request = Response = Any
    Auth, SyncByteStream, AsyncByteStream, ByteStream = map(
        _joined, ("Auth", "SyncByteStream", "AsyncByteStream", "ByteStream")
    )

_REQUESTS: Final = tuple([library.Request for library in LIBRARIES])
not_read: Final[tuple[type[Exception], ...]] = tuple([library.RequestNotRead for library in LIBRARIES])
"""Raised by `content` of a request whose body is a stream."""


installed: Final[Any] = LIBRARIES[0]
"""One of the libraries, for programs that make their own client."""


def is_request(value: object) -> bool:
    """Whether it is a request of one of the libraries."""
    return isinstance(value, _REQUESTS)


def library_of(request: object) -> Any:
    """The library that made `request`."""
    return next(library for library in LIBRARIES if isinstance(request, library.Request))
