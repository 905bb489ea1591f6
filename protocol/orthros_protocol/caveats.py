"""Caveats and the chain of keys that hangs off them: T0, T(i+1), K_pop.

A target evaluates `expires`, `scopes`, `methods`, `path`, `peer` and `channel`; every other type refuses.
Caveats only ever deny. Source: Birgisson et al., "Macaroons", NDSS 2014, with the tail as a key that is never sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeVar

from attrs import field, frozen

from orthros_protocol.access import Access, Network, canonical_network, canonical_path
from orthros_protocol.canonical import Schema, binary, const, decode, encode, integer, text, text_set
from orthros_protocol.derivation import derive, digest, mac_matches
from orthros_protocol.errors import LocalMisuse, Malformed, Refused
from orthros_protocol.instants import seconds_of
from orthros_protocol.limits import MAX_CAVEAT_BYTES, MAX_CAVEATS, MAX_CAVEATS_BLOB_BYTES, MAX_SCOPES
from orthros_protocol.names import check_scopes, is_scope

__all__ = [
    "Caveat", "ChannelCaveat", "ExpiresCaveat", "MethodsCaveat", "PathCaveat", "PeerCaveat", "ScopesCaveat",
    "add_caveat", "join_caveats", "parse_caveat", "pop_key_of", "split_caveats", "tail_after", "tail_of",
]  # fmt: skip

_T = TypeVar("_T")
_EXPIRES: Final = 1
_SCOPES: Final = 2
_METHODS: Final = 3
_PATH: Final = 4
_PEER: Final = 6
_CHANNEL: Final = 7
_KNOWN_TYPES: Final = range(1, 10)
_METHOD = re.compile(r"[A-Z]{1,20}", re.ASCII)
_MOST_ENTRIES: Final = 32
_MOST_PATH_CHARS: Final = 480


def _is_method(value: str) -> bool:
    return _METHOD.fullmatch(value) is not None


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def accepts(value: str) -> bool:
        try:
            parse(value)
        except Malformed:
            return False
        return True

    return accepts


def _own(parse: Callable[[str], _T], value: str) -> _T:
    try:
        return parse(value)
    except Malformed as error:
        raise LocalMisuse("value-invalid", f"{value[:60]!a}: {error.detail}") from None


_LIMIT: Final = MAX_CAVEAT_BYTES
_SCHEMAS: Final = {
    _EXPIRES: Schema("expires caveat", const(_EXPIRES), integer(), limit=_LIMIT),
    _SCOPES: Schema("scopes caveat", const(_SCOPES), text_set(is_scope, MAX_SCOPES), limit=_LIMIT),
    _METHODS: Schema("methods caveat", const(_METHODS), text_set(_is_method, _MOST_ENTRIES), limit=_LIMIT),
    _PATH: Schema("path caveat", const(_PATH), text(_parses(canonical_path), _MOST_PATH_CHARS), limit=_LIMIT),
    _PEER: Schema("peer caveat", const(_PEER), text_set(_parses(canonical_network), _MOST_ENTRIES), limit=_LIMIT),
    _CHANNEL: Schema("channel caveat", const(_CHANNEL), binary(32), limit=_LIMIT),
}


class Caveat(Protocol):
    """A restriction that its holder, or the KDC, added."""

    def prohibits(self, access: Access) -> str | None:
        """Why the request is refused, or None."""
        ...

    def narrow(self, scopes: tuple[str, ...]) -> tuple[str, ...]:
        """The scopes that remain."""
        ...

    def to_bytes(self) -> bytes:
        """The canonical form."""
        ...


class _LeavesScopes:
    __slots__ = ()

    def narrow(self, scopes: tuple[str, ...]) -> tuple[str, ...]:
        """It leaves the scopes alone."""
        return scopes


@frozen
class ExpiresCaveat(_LeavesScopes):
    """Not valid at or after this Unix second."""

    at: int

    def prohibits(self, access: Access) -> str | None:
        """Past its second, it refuses."""
        return None if seconds_of(access.now) < self.at else "the expires caveat has passed"

    def to_bytes(self) -> bytes:
        """`[1, second]`."""
        return _SCHEMAS[_EXPIRES].encode(_EXPIRES, self.at)


@frozen
class ScopesCaveat:
    """Only these scopes, as far as the ticket has them."""

    scopes: tuple[str, ...]

    def prohibits(self, access: Access) -> str | None:  # nothing about the request matters here
        """It never refuses as a whole; it narrows."""
        return None

    def narrow(self, scopes: tuple[str, ...]) -> tuple[str, ...]:
        """The intersection, in the order of `scopes`."""
        return tuple(scope for scope in scopes if scope in self.scopes)

    def to_bytes(self) -> bytes:
        """`[2, [scope, ...]]`."""
        return _SCHEMAS[_SCOPES].encode(_SCOPES, list(check_scopes(self.scopes)))


@frozen
class MethodsCaveat(_LeavesScopes):
    """Only these HTTP methods."""

    methods: tuple[str, ...]

    def prohibits(self, access: Access) -> str | None:
        """Outside HTTP there is no method, so it refuses."""
        if access.method is None:
            return "the methods caveat holds only in HTTP"
        return None if access.method in self.methods else f"the methods caveat excludes {access.method[:20]!a}"

    def to_bytes(self) -> bytes:
        """`[3, [method, ...]]`."""
        return _SCHEMAS[_METHODS].encode(_METHODS, sorted(set(self.methods), key=_set_order))


@frozen
class PathCaveat(_LeavesScopes):
    """Only this path and what lies below it, segment by segment. Raises LocalMisuse for an ambiguous prefix."""

    prefix: str
    _segments: tuple[str, ...] = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        segments = _own(canonical_path, self.prefix)
        # `/orders/` and `/orders` both stand for /orders and everything below it.
        object.__setattr__(self, "_segments", segments[:-1] if segments[-1] == "" else segments)

    def prohibits(self, access: Access) -> str | None:
        """A path that could be read in two ways is refused, whatever the caveat allows."""
        if access.path is None:
            return "the path caveat holds only in HTTP"
        try:
            segments = canonical_path(access.path)
        except Malformed:
            return "the path caveat cannot judge an ambiguous path"
        if segments[: len(self._segments)] == self._segments:
            return None
        return f"the path caveat allows only what is below {self.prefix[:120]}"

    def to_bytes(self) -> bytes:
        """`[4, path]`."""
        return _SCHEMAS[_PATH].encode(_PATH, self.prefix)


@frozen
class PeerCaveat(_LeavesScopes):
    """Only from these networks: the peer of the transport, not of a header. Raises LocalMisuse for other spellings."""

    networks: tuple[str, ...]
    _parsed: tuple[Network, ...] = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_parsed", tuple(_own(canonical_network, network) for network in self.networks))

    def prohibits(self, access: Access) -> str | None:
        """A verifier that does not know the peer's address refuses."""
        if access.peer is None:
            return "the peer caveat needs the peer's address, and it is unknown here"
        if any(access.peer in network for network in self._parsed):
            return None
        return f"the peer caveat excludes {access.peer}"

    def to_bytes(self) -> bytes:
        """`[6, [cidr, ...]]`."""
        return _SCHEMAS[_PEER].encode(_PEER, sorted(set(self.networks), key=_set_order))


@frozen
class ChannelCaveat(_LeavesScopes):
    """Only over the channel with this 32-byte digest, such as that of a peer certificate (row L14)."""

    digest: bytes = field(repr=False)

    def prohibits(self, access: Access) -> str | None:
        """A verifier that cannot name its channel refuses."""
        if access.channel is None:
            return "the channel caveat needs a channel binding, and there is none here"
        return None if mac_matches(self.digest, access.channel) else "the channel caveat names another channel"

    def to_bytes(self) -> bytes:
        """`[7, digest32]`."""
        return _SCHEMAS[_CHANNEL].encode(_CHANNEL, self.digest)


_KINDS: Final[dict[int, Callable[[Any], Caveat]]] = {
    _EXPIRES: ExpiresCaveat,
    _SCOPES: lambda value: ScopesCaveat(tuple(value)),
    _METHODS: lambda value: MethodsCaveat(tuple(value)),
    _PATH: PathCaveat,
    _PEER: lambda value: PeerCaveat(tuple(value)),
    _CHANNEL: ChannelCaveat,
}


def _set_order(value: str) -> tuple[int, str]:
    return len(value), value


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
    return _KINDS[kind](_SCHEMAS[kind].decode(encoded)[1])


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
