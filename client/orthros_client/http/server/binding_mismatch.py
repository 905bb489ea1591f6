"""Why a request is bound to something else than what was received, as far as trying can tell.

The binding is a hash, so what the caller signed cannot be read from it; the usual mistakes can be tried. Only for
callers that have proven a ticket: what is said here goes to them under MAC, and into the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from orthros_protocol.errors import OrthrosError
from orthros_protocol.exchanges.http_profile import HttpBinding
from orthros_protocol.primitives.derivation import mac_matches

__all__ = ["describe_mismatch"]

_MOST_PATH_CHARS: Final = 80
_OTHER_SCHEME: Final = {"http": "https", "https": "http"}
_PORTS: Final = {"http": "80", "https": "443"}


def describe_mismatch(received: HttpBinding, signed: bytes, origins: Iterable[tuple[str, str]]) -> str:
    """What was received, and which change makes it what was `signed` (bind32), if a usual one does.

    `origins` are those of the service, as (scheme, authority). At most 200 printable characters; of a query, that it is
    there.
    """
    for variant, words in _variants(received, origins):
        try:
            fits = mac_matches(variant.bind(), signed)
        except OrthrosError:  # no request has such parts
            continue
        if fits:
            return f"received: {_shown(received)}; {words}"[:200]
    return f"received: {_shown(received)}; path, query, port or a covered header differ from it"[:200]


def _variants(received: HttpBinding, origins: Iterable[tuple[str, str]]) -> Iterator[tuple[HttpBinding, str]]:
    scheme, authority, target = received.scheme, received.authority, received.target
    other = _OTHER_SCHEME[scheme]
    host, _colon, port = authority.rpartition(":")
    for text in (authority, f"{host}:{_PORTS[other]}") if port == _PORTS[scheme] else (authority,):
        yield received.altered(scheme=other, authority=text), f"the caller's URL begins with {other}://"
    for other, text in origins:
        yield received.altered(scheme=other, authority=text), f"the caller's URL names {other}://{text}"
    path, mark, query = target.partition(b"?")
    if mark:
        yield received.altered(target=path), "the caller sent no query"
    slash = path[:-1] if path.endswith(b"/") else path + b"/"
    if slash:
        end = "no / at its end" if path.endswith(b"/") else "a / at its end"
        yield received.altered(target=slash + mark + query), f"the caller's path has {end}"
    if received.content_digest is not None:
        yield received.altered(content_digest=None), "the caller sent no Content-Digest"


def _shown(binding: HttpBinding) -> str:
    path, mark, _query = binding.target.partition(b"?")
    default = ":" + _PORTS[binding.scheme]
    shown = path.decode("latin-1")[:_MOST_PATH_CHARS] + ("?..." if mark else "")
    return f"{binding.method} {binding.scheme}://{binding.authority.removesuffix(default)}{shown}"
