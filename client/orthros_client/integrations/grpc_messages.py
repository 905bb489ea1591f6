"""gRPC as the HTTP/2 POST that it is: the one request and the one answer that the HTTP profile binds and proves.

The content of a call is its messages as gRPC frames them without compression. Status and message of the answer are
fields that its proof covers. Knows neither channels nor servers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from orthros_protocol.exchanges.http_profile import HttpResponse
from orthros_runtime.extras import extra

with extra("grpc"):
    import grpc

__all__ = ["CHALLENGE", "COVERED", "REPLY", "answered", "framed", "lowered", "status_of"]

Metadata = Iterable[tuple[str, str | bytes]] | None

REPLY: Final = "orthros-reply"
CHALLENGE: Final = "www-authenticate"
COVERED: Final = ("grpc-status", "grpc-message")
"""What the proof of each answer covers."""

_STATUSES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    503: grpc.StatusCode.UNAVAILABLE,
}


def framed(message: bytes) -> bytes:
    """A message as it is part of the content: without compression, its length in four bytes (gRPC over HTTP/2)."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def lowered(metadata: Metadata) -> tuple[tuple[str, bytes], ...]:
    """Metadata as header fields."""
    return tuple(
        (name.lower(), value if isinstance(value, bytes) else value.encode("utf-8")) for name, value in metadata or ()
    )


def status_of(status: int) -> Any:
    """The status of gRPC for one of HTTP."""
    return _STATUSES.get(status, grpc.StatusCode.INTERNAL)


def answered(code: Any, details: str | None, *others: tuple[str, bytes]) -> HttpResponse:
    """The response of a call that was accepted, as it is proven."""
    number = str(code.value[0]).encode("ascii")
    said = (details or "").encode("utf-8")
    return HttpResponse(status=200, headers=((COVERED[0], number), (COVERED[1], said), *others))
