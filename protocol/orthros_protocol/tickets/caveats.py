"""The types of caveats: what each allows, and how it is written.

Caveats only ever deny, and an unknown type refuses. Knows no keys; `attenuation.py` chains them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from attrs import field

from orthros_protocol.errors import LocalMisuse, Malformed, Refused
from orthros_protocol.primitives.canonical import decode, encode
from orthros_protocol.primitives.derivation import mac_matches
from orthros_protocol.primitives.instants import seconds_of
from orthros_protocol.primitives.limits import MAX_CAVEAT_BYTES, MAX_SCOPES
from orthros_protocol.primitives.names import (
    Principal,
    cached_principal,
    check_list,
    check_scopes,
    is_scope,
    listed,
)
from orthros_protocol.primitives.schema import (
    Message,
    adapted,
    binary,
    const,
    integer,
    message,
    nested,
    optional,
    principal,
    record_set,
    text,
    text_set,
)
from orthros_protocol.primitives.secrets import not_exported
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

    accepts.__name__ = parse.__name__.replace("canonical", "is")
    return accepts


def _own(parse: Callable[[str], _T], value: str) -> _T:
    try:
        return parse(value)
    except Malformed as error:
        raise LocalMisuse("value-invalid", f"{value[:60]!a}: {error.detail}") from None


def _set_order(value: str) -> tuple[int, str]:
    return len(value), value


def _as_set(values: Iterable[str]) -> list[str]:
    return sorted(set(values), key=_set_order)


def _as_scopes(scopes: Iterable[str]) -> list[str]:
    return list(check_scopes(scopes))


def _targets_in(rows: list[Any]) -> tuple[Principal, ...]:
    return tuple([cached_principal(realm, name) for realm, name in rows])


def _as_targets(targets: Iterable[Principal]) -> list[Any]:
    rows = sorted({(one.realm, one.name) for one in targets}, key=lambda row: encode(*row))
    return [list(row) for row in rows]


class Caveat(Message):
    """A restriction that its holder, or the KDC, added."""

    __slots__ = ()

    def prohibits(self, access: Access) -> str | None:
        """Why the request is refused, or None."""
        raise NotImplementedError

    def narrow(self, scopes: tuple[str, ...]) -> tuple[str, ...]:
        """The scopes that remain: most caveats leave them alone."""
        return scopes

    def to_bytes(self) -> bytes:
        """The canonical form. Raises LocalMisuse, or Misconfigured `scope-invalid`."""
        return self.encode()


@message("expires caveat", limit=MAX_CAVEAT_BYTES, eq=True, kw_only=False)
class ExpiresCaveat(Caveat):
    """Not valid at or after this Unix second."""

    kind: int = const(_EXPIRES)
    at: int = integer()

    def prohibits(self, access: Access) -> str | None:
        """Past its second, it refuses."""
        return None if seconds_of(access.now) < self.at else "the expires caveat has passed"


@message("scopes caveat", limit=MAX_CAVEAT_BYTES, eq=True, kw_only=False)
class ScopesCaveat(Caveat):
    """Only these scopes, as far as the ticket has them."""

    kind: int = const(_SCOPES)
    scopes: tuple[str, ...] = adapted(text_set(is_scope, MAX_SCOPES), tuple, _as_scopes, validator=listed)

    def prohibits(self, access: Access) -> str | None:  # nothing about the request matters here
        """It never refuses as a whole; it narrows."""
        return None

    def narrow(self, scopes: tuple[str, ...]) -> tuple[str, ...]:
        """The intersection, in the order of `scopes`."""
        return tuple(scope for scope in scopes if scope in self.scopes)


@message("methods caveat", limit=MAX_CAVEAT_BYTES, eq=True, kw_only=False)
class MethodsCaveat(Caveat):
    """Only these HTTP methods."""

    kind: int = const(_METHODS)
    methods: tuple[str, ...] = adapted(text_set(_is_method, _MOST_ENTRIES), tuple, _as_set, validator=listed)

    def prohibits(self, access: Access) -> str | None:
        """Outside HTTP there is no method, so it refuses."""
        if access.method is None:
            return "the methods caveat holds only in HTTP"
        return None if access.method in self.methods else f"the methods caveat excludes {access.method[:20]!a}"


@message("path caveat", limit=MAX_CAVEAT_BYTES, eq=True, kw_only=False)
class PathCaveat(Caveat):
    """Only this path and what lies below it, segment by segment. Raises LocalMisuse for an ambiguous prefix."""

    kind: int = const(_PATH)
    prefix: str = text(_parses(canonical_path), _MOST_PATH_CHARS)
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


@message("peer caveat", limit=MAX_CAVEAT_BYTES, eq=True, kw_only=False)
class PeerCaveat(Caveat):
    """Only from these networks: the peer of the transport, not of a header. Raises LocalMisuse for other spellings."""

    kind: int = const(_PEER)
    networks: tuple[str, ...] = adapted(text_set(is_network, _MOST_ENTRIES), tuple, _as_set)

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


@message("channel caveat", limit=MAX_CAVEAT_BYTES, eq=True, kw_only=False)
class ChannelCaveat(Caveat):
    """Only over the channel with this 32-byte digest, such as that of a peer certificate."""

    kind: int = const(_CHANNEL)
    digest: bytes = binary(32, repr=False)

    def prohibits(self, access: Access) -> str | None:
        """A verifier that cannot name its channel refuses."""
        if access.channel is None:
            return "the channel caveat needs a channel binding, and there is none here"
        return None if mac_matches(self.digest, access.channel) else "the channel caveat names another channel"


@message("targets caveat", limit=MAX_CAVEAT_BYTES, eq=True, kw_only=False)
class TargetsCaveat(Caveat):
    """Only tickets for these targets may be obtained: for ticket-granting tickets, and judged by the KDC alone."""

    kind: int = const(_TARGETS)
    targets: tuple[Principal, ...] = adapted(record_set(nested(principal()), _MOST_ENTRIES), _targets_in, _as_targets)

    def prohibits(self, access: Access) -> str | None:  # a target cannot judge it, whatever the request
        """Shown to a target, it refuses."""
        return "the targets caveat holds only at the KDC"


@message("third-party caveat", limit=MAX_CAVEAT_BYTES, eq=True, kw_only=False)
class ThirdPartyCaveat(Caveat):
    """Only with a discharge by `discharger` for the request with this digest (section 10).

    `salt` (16 bytes) is set in one that a holder added, `root` (32 bytes, secret) in one that the KDC wrote into the
    sealed ticket; never both. `cid_digest` commits to the sealed demand, which travels beside the ticket.
    """

    kind: int = const(_THIRD_PARTY)
    discharger: Principal = principal()
    salt: bytes | None = optional(binary(SALT_BYTES))
    root: bytes | None = optional(binary(ROOT_BYTES), repr=False)
    cid_digest: bytes = binary(32)

    __getstate__ = not_exported

    def prohibits(self, access: Access) -> str | None:
        """Whoever did not prove the discharge is refused."""
        return None if access.discharged else f"it needs a discharge of {self.discharger}"


@message("app caveat", limit=MAX_CAVEAT_BYTES, eq=True, kw_only=False)
class AppCaveat(Caveat):
    """A restriction in the target's own terms, under a name that the target has registered (`namespace/name`)."""

    kind: int = const(_APP)
    name: str = text(is_app_name)
    payload: bytes = binary(0, _MOST_PAYLOAD_BYTES)

    def prohibits(self, access: Access) -> str | None:
        """A target that has not registered the name refuses."""
        rule = access.app.get(self.name)
        if rule is None:
            return f"this service does not know the caveat {self.name}"
        objection = rule(self.payload, access)
        # The words are the application's, and what travels is printable ASCII.
        return None if objection is None else ascii(str(objection))[1:-1]


_KINDS: Final[dict[int, type[Caveat]]] = {
    _EXPIRES: ExpiresCaveat,
    _SCOPES: ScopesCaveat,
    _METHODS: MethodsCaveat,
    _PATH: PathCaveat,
    _TARGETS: TargetsCaveat,
    _PEER: PeerCaveat,
    _CHANNEL: ChannelCaveat,
    _THIRD_PARTY: ThirdPartyCaveat,
    _APP: AppCaveat,
}


def parse_caveat(encoded: bytes) -> Caveat:
    """One caveat from its canonical form.

    Raises Malformed for a wrong shape and Refused `caveat-unsupported` for a type that cannot be
    evaluated here: caveat types are always critical.
    """
    # A known type is one byte behind an array header of one byte, and its class judges the rest.
    known = encoded[1] if len(encoded) > 1 and encoded[0] & 0xF0 == 0x90 else None
    if known in _KINDS:
        caveat = _KINDS[known].decode(encoded)
        if isinstance(caveat, ThirdPartyCaveat) and (caveat.salt is None) == (caveat.root is None):
            raise Malformed("a third-party caveat has either a salt or a root")
        return caveat
    items = decode(encoded, MAX_CAVEAT_BYTES)
    kind: Any = items[0] if items else None
    if type(kind) is not int:
        raise Malformed("a caveat starts with its type")
    raise Refused("caveat-unsupported", f"type {kind}, unknown")
