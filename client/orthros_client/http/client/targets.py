"""The path of a request as it is sent: in the one spelling that proxies and targets leave alone.

Pure. HTTP libraries follow browsers, which leave characters raw that no path has (RFC 3986, section 3.3): targets
refuse those, and some proxies rewrite them. The query is sent as the library wrote it.
"""

from __future__ import annotations

import re
from typing import Final

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.tickets.access import canonical_path

__all__ = ["check_path", "with_escapes"]

_RAW: Final = re.compile(rb"[^A-Za-z0-9._~!$&'()*+,;=:@%/-]")


def with_escapes(target: bytes) -> bytes:
    """The request target with escapes for what may not stand raw in a path; the meaning is the same."""
    path, question, query = target.partition(b"?")
    return _RAW.sub(lambda found: b"%%%02X" % found[0][0], path) + question + query


def check_path(path: str) -> None:
    """Raises LocalMisuse for a path that every target refuses, because it can be read in two ways."""
    try:
        canonical_path(path)
    except Malformed as error:
        raise LocalMisuse("value-invalid", f"the path {path[:80]!r}, which targets refuse: {error.detail}") from None
