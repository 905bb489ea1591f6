"""Caveats and the chain of keys that hangs off them: T0, T(i+1), K_pop.

Version 1 evaluates `expires` and `scopes`; every other type refuses. Caveats only ever deny.
Source: Birgisson et al., "Macaroons", NDSS 2014, with the tail as a key that is never sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

from attrs import frozen

from orthros_protocol.canonical import Schema, const, decode, encode, integer, text_set
from orthros_protocol.derivation import derive, digest
from orthros_protocol.errors import LocalMisuse, Malformed, Refused
from orthros_protocol.instants import Timestamp, seconds_of
from orthros_protocol.limits import MAX_CAVEAT_BYTES, MAX_CAVEATS, MAX_CAVEATS_BLOB_BYTES, MAX_SCOPES
from orthros_protocol.names import check_scopes, is_scope

__all__ = [
    "Caveat", "ExpiresCaveat", "ScopesCaveat", "add_caveat", "join_caveats", "parse_caveat", "pop_key_of",
    "split_caveats", "tail_after", "tail_of",
]  # fmt: skip

_EXPIRES: Final = 1
_SCOPES: Final = 2
_KNOWN_TYPES: Final = range(1, 10)

_SCHEMAS: Final = {
    _EXPIRES: Schema("expires caveat", const(_EXPIRES), integer(), limit=MAX_CAVEAT_BYTES),
    _SCOPES: Schema("scopes caveat", const(_SCOPES), text_set(is_scope, MAX_SCOPES), limit=MAX_CAVEAT_BYTES),
}


class Caveat(Protocol):
    """A restriction that its holder added."""

    def prohibits(self, now: Timestamp) -> str | None:
        """Why the request is refused, or None."""
        ...

    def narrow(self, scopes: tuple[str, ...]) -> tuple[str, ...]:
        """The scopes that remain."""
        ...

    def to_bytes(self) -> bytes:
        """The canonical form."""
        ...


@frozen
class ExpiresCaveat:
    """Not valid at or after this Unix second."""

    at: int

    def prohibits(self, now: Timestamp) -> str | None:
        """Past its second, it refuses."""
        return None if seconds_of(now) < self.at else "the expires caveat has passed"

    def narrow(self, scopes: tuple[str, ...]) -> tuple[str, ...]:
        """It leaves the scopes alone."""
        return scopes

    def to_bytes(self) -> bytes:
        """`[1, second]`."""
        return _SCHEMAS[_EXPIRES].encode(_EXPIRES, self.at)


@frozen
class ScopesCaveat:
    """Only these scopes, as far as the ticket has them."""

    scopes: tuple[str, ...]

    def prohibits(self, now: Timestamp) -> str | None:  # time does not matter here
        """It never refuses as a whole; it narrows."""
        return None

    def narrow(self, scopes: tuple[str, ...]) -> tuple[str, ...]:
        """The intersection, in the order of `scopes`."""
        return tuple(scope for scope in scopes if scope in self.scopes)

    def to_bytes(self) -> bytes:
        """`[2, [scope, ...]]`."""
        return _SCHEMAS[_SCOPES].encode(_SCOPES, list(check_scopes(self.scopes)))


def parse_caveat(encoded: bytes) -> Caveat:
    """One caveat from its canonical form.

    Raises Malformed for a wrong shape and Refused `caveat-unsupported` for a type that cannot be
    evaluated here: caveat types are always critical.
    """
    items = decode(encoded, MAX_CAVEAT_BYTES)
    kind: Any = items[0] if items else None
    if type(kind) is not int:
        raise Malformed("a caveat starts with its type")
    if kind not in _SCHEMAS:
        raise Refused("caveat-unsupported", f"type {kind}" + ("" if kind in _KNOWN_TYPES else ", unknown"))
    value = _SCHEMAS[kind].decode(encoded)[1]
    return ExpiresCaveat(value) if kind == _EXPIRES else ScopesCaveat(tuple(value))


def split_caveats(blob: bytes) -> tuple[bytes, ...]:
    """The caveats in a `caveats` field: empty for none, else an array of 1 to 16 bins of 1 to 512 bytes.

    Structure only; raises Malformed.
    """
    if blob == b"":
        return ()
    items = decode(blob, MAX_CAVEATS_BLOB_BYTES)
    if not 1 <= len(items) <= MAX_CAVEATS:
        raise Malformed(f"{len(items)} caveats, 1 to {MAX_CAVEATS} allowed")
    for item in items:
        if type(item) is not bytes or not 1 <= len(item) <= MAX_CAVEAT_BYTES:
            raise Malformed(f"a caveat is a bin of 1 to {MAX_CAVEAT_BYTES} bytes")
    return tuple(items)


def join_caveats(caveats: Iterable[bytes]) -> bytes:
    """The `caveats` field for these caveats. Raises LocalMisuse for more than 16."""
    items = list(caveats)
    if not items:
        return b""
    if len(items) > MAX_CAVEATS or any(not 1 <= len(item) <= MAX_CAVEAT_BYTES for item in items):
        raise LocalMisuse("value-invalid", f"at most {MAX_CAVEATS} caveats of at most {MAX_CAVEAT_BYTES} bytes")
    return encode(*items)


def tail_of(session_key: bytes, ticket: bytes) -> bytes:
    """T0: the tail of a ticket without caveats. 32 bytes, secret."""
    return derive(session_key, "chain0", digest(ticket))


def add_caveat(tail: bytes, caveat: bytes) -> bytes:
    """T(i+1): the tail behind one more caveat. Its holder cannot go back. 32 bytes, secret."""
    return derive(tail, "cav", caveat)


def tail_after(tail: bytes, caveats: Iterable[bytes]) -> bytes:
    """The tail behind all of `caveats`, in order."""
    for caveat in caveats:
        tail = add_caveat(tail, caveat)
    return tail


def pop_key_of(tail: bytes) -> bytes:
    """K_pop: the key that proves possession of a tail. 32 bytes, secret."""
    return derive(tail, "pop")
