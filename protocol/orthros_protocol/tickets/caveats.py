"""The types of caveats: what each allows, and how it is written.

Caveats only ever deny, and an unknown type refuses. Knows no keys; `attenuation.py` chains them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, Malformed, Refused
from orthros_protocol.keys.role_keys import not_exported
from orthros_protocol.primitives.canonical import (
    Schema,
    binary,
    const,
    decode,
    encode,
    integer,
    nested,
    nested_set,
    optional,
    text,
    text_set,
)
from orthros_protocol.primitives.derivation import mac_matches
from orthros_protocol.primitives.instants import seconds_of
from orthros_protocol.primitives.limits import MAX_CAVEAT_BYTES, MAX_SCOPES
from orthros_protocol.primitives.names import (
    Principal,
    cached_principal,
    check_list,
    check_scopes,
    is_name,
    is_scope,
    listed,
)
from orthros_protocol.tickets.access import Access, canonical_network, canonical_path, is_network

__all__ = [
    "AppCaveat",
    "Caveat",
    "ChannelCaveat",
    "ExpiresCaveat",
    "MethodsCaveat",
    "PathCaveat",
    "PeerCaveat",
    "ScopesCaveat",
    "TargetsCaveat",
    "ThirdPartyCaveat",
    "is_app_name",
    "parse_caveat",
]

_T = TypeVar("_T")
_EXPIRES: Final = 1
_SCOPES: Final = 2
_METHODS: Final = 3
_PATH: Final = 4
_TARGETS: Final = 5
_PEER: Final = 6
_CHANNEL: Final = 7
_THIRD_PARTY: Final = 8
_APP: Final = 9
_METHOD = re.compile(r"[A-Z]{1,20}", re.ASCII)
_MOST_ENTRIES: Final = 32
_MOST_PATH_CHARS: Final = 480
_APP_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}/[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_MOST_PAYLOAD_BYTES: Final = 360
SALT_BYTES: Final = 16
ROOT_BYTES: Final = 32


def _is_method(value: str) -> bool:
    return _METHOD.fullmatch(value) is not None


def is_app_name(value: str) -> bool:
    """Whether `value` can name an app caveat: `namespace/name`, lower case."""
    return _APP_NAME.fullmatch(value) is not None


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
    _PEER: Schema("peer caveat", const(_PEER), text_set(is_network, _MOST_ENTRIES), limit=_LIMIT),
    _TARGETS: Schema(
        "targets caveat", const(_TARGETS), nested_set(nested(text(is_name), text(is_name)), _MOST_ENTRIES), limit=_LIMIT
    ),
    _CHANNEL: Schema("channel caveat", const(_CHANNEL), binary(32), limit=_LIMIT),
    _THIRD_PARTY: Schema(
        "third-party caveat",
        const(_THIRD_PARTY),
        text(is_name),
        text(is_name),
        optional(binary(SALT_BYTES)),
        optional(binary(ROOT_BYTES)),
        binary(32),
        limit=_LIMIT,
    ),
    _APP: Schema("app caveat", const(_APP), text(is_app_name), binary(0, _MOST_PAYLOAD_BYTES), limit=_LIMIT),
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

    scopes: tuple[str, ...] = field(validator=listed)

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

    methods: tuple[str, ...] = field(validator=listed)

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

    def __attrs_post_init__(self) -> None:
        for network in check_list(self.networks, "networks"):
            if type(network) is not str or not is_network(network):
                raise LocalMisuse("value-invalid", f"{str(network)[:60]!a} is no network in canonical CIDR form")

    def prohibits(self, access: Access) -> str | None:
        """A verifier that does not know the peer's address refuses."""
        if access.peer is None:
            return "the peer caveat needs the peer's address, and it is unknown here"
        if any(access.peer in canonical_network(network) for network in self.networks):
            return None
        return f"the peer caveat excludes {access.peer}"

    def to_bytes(self) -> bytes:
        """`[6, [cidr, ...]]`."""
        return _SCHEMAS[_PEER].encode(_PEER, sorted(set(self.networks), key=_set_order))


@frozen
class ChannelCaveat(_LeavesScopes):
    """Only over the channel with this 32-byte digest, such as that of a peer certificate."""

    digest: bytes = field(repr=False)

    def prohibits(self, access: Access) -> str | None:
        """A verifier that cannot name its channel refuses."""
        if access.channel is None:
            return "the channel caveat needs a channel binding, and there is none here"
        return None if mac_matches(self.digest, access.channel) else "the channel caveat names another channel"

    def to_bytes(self) -> bytes:
        """`[7, digest32]`."""
        return _SCHEMAS[_CHANNEL].encode(_CHANNEL, self.digest)


@frozen
class TargetsCaveat(_LeavesScopes):
    """Only tickets for these targets may be obtained: for ticket-granting tickets, and judged by the KDC alone."""

    targets: tuple[Principal, ...]

    def prohibits(self, access: Access) -> str | None:  # a target cannot judge it, whatever the request
        """Shown to a target, it refuses."""
        return "the targets caveat holds only at the KDC"

    def to_bytes(self) -> bytes:
        """`[5, [[realm, name], ...]]`."""
        rows = sorted({(one.realm, one.name) for one in self.targets}, key=lambda row: encode(*row))
        return _SCHEMAS[_TARGETS].encode(_TARGETS, [list(row) for row in rows])


@frozen
class ThirdPartyCaveat(_LeavesScopes):
    """Only with a discharge by `discharger` for the request with this digest (section 10).

    `salt` (16 bytes) is set in one that a holder added, `root` (32 bytes, secret) in one that the KDC wrote into the
    sealed ticket; never both. `cid_digest` commits to the sealed demand, which travels beside the ticket.
    """

    discharger: Principal
    salt: bytes | None
    root: bytes | None = field(repr=False)
    cid_digest: bytes

    __getstate__ = not_exported

    def prohibits(self, access: Access) -> str | None:
        """Whoever did not prove the discharge is refused."""
        return None if access.discharged else f"it needs a discharge of {self.discharger}"

    def to_bytes(self) -> bytes:
        """`[8, realm, name, salt|nil, root|nil, digest32]`."""
        at = self.discharger
        return _SCHEMAS[_THIRD_PARTY].encode(_THIRD_PARTY, at.realm, at.name, self.salt, self.root, self.cid_digest)


@frozen
class AppCaveat(_LeavesScopes):
    """A restriction in the target's own terms, under a name that the target has registered (`namespace/name`)."""

    name: str
    payload: bytes

    def prohibits(self, access: Access) -> str | None:
        """A target that has not registered the name refuses."""
        rule = access.app.get(self.name)
        if rule is None:
            return f"this service does not know the caveat {self.name}"
        objection = rule(self.payload, access)
        # The words are the application's, and what travels is printable ASCII.
        return None if objection is None else ascii(str(objection))[1:-1]

    def to_bytes(self) -> bytes:
        """`[9, name, payload]`."""
        return _SCHEMAS[_APP].encode(_APP, self.name, self.payload)


def _third_party(realm: str, name: str, salt: bytes | None, root: bytes | None, cid_digest: bytes) -> Caveat:
    if (salt is None) == (root is None):
        raise Malformed("a third-party caveat has either a salt or a root")
    return ThirdPartyCaveat(cached_principal(realm, name), salt, root, cid_digest)


_KINDS: Final[dict[int, Callable[..., Caveat]]] = {
    _EXPIRES: ExpiresCaveat,
    _SCOPES: lambda value: ScopesCaveat(tuple(value)),
    _METHODS: lambda value: MethodsCaveat(tuple(value)),
    _PATH: PathCaveat,
    _TARGETS: lambda rows: TargetsCaveat(tuple(cached_principal(realm, name) for realm, name in rows)),
    _PEER: lambda value: PeerCaveat(tuple(value)),
    _CHANNEL: ChannelCaveat,
    _THIRD_PARTY: _third_party,
    _APP: AppCaveat,
}


def _set_order(value: str) -> tuple[int, str]:
    return len(value), value


def parse_caveat(encoded: bytes) -> Caveat:
    """One caveat from its canonical form.

    Raises Malformed for a wrong shape and Refused `caveat-unsupported` for a type that cannot be
    evaluated here: caveat types are always critical.
    """
    # A known type is one byte behind an array header of one byte, and its schema judges the rest.
    known = encoded[1] if len(encoded) > 1 and encoded[0] & 0xF0 == 0x90 else None
    if known in _SCHEMAS:
        return _KINDS[known](*_SCHEMAS[known].decode(encoded)[1:])
    items = decode(encoded, MAX_CAVEAT_BYTES)
    kind: Any = items[0] if items else None
    if type(kind) is not int:
        raise Malformed("a caveat starts with its type")
    raise Refused("caveat-unsupported", f"type {kind}, unknown")
