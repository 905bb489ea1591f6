"""Which headers of a request are bound to its ticket: those that always are, and those that a caller may add.

Pure. Knows no request.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from orthros_protocol.errors import LocalMisuse
from orthros_protocol.exchanges.http_profile import format_authorization
from orthros_protocol.primitives.names import check_texts

__all__ = ["REQUEST_FLOOR", "check_cover"]

REQUEST_FLOOR: Final = ("content-type", "content-encoding", "idempotency-key")
# Bound by other means, or rewritten on the way by right.
_NEVER_COVERED: Final = frozenset(
    {
        "authorization",
        "host",
        "content-digest",
        "content-length",
        "connection",
        "transfer-encoding",
        "te",
        "trailer",
        "upgrade",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
    }
)


def check_cover(names: Iterable[str]) -> tuple[str, ...]:
    """Header names to cover, in lower case. Raises LocalMisuse for those that cannot be."""
    lowered = tuple(name.lower() for name in check_texts(names, "cover"))
    for name in lowered:
        if name in _NEVER_COVERED:
            raise LocalMisuse("value-invalid", f"the header {name} cannot be covered")
    try:
        format_authorization(b"\0", tuple(dict.fromkeys((*REQUEST_FLOOR, *lowered))))
    except LocalMisuse as error:
        raise LocalMisuse("value-invalid", f"headers to cover: {error.detail}") from None
    return lowered
