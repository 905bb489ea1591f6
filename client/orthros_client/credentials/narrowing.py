"""What a holder takes away from a ticket, or lets the KDC take away, as caveats; and whom a ticket demands discharges
of.

Pure: values in, caveats out. Knows no keys and no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from orthros_client.local.api.values import MAX_LIMITS_BYTES
from orthros_protocol.errors import LocalMisuse, Malformed, Refused
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.names import Principal, check_list, check_scopes, check_texts
from orthros_protocol.tickets.attenuation import join_caveats, split_caveats
from orthros_protocol.tickets.carrying import check_limits
from orthros_protocol.tickets.caveats import (
    AppCaveat,
    Caveat,
    ChannelCaveat,
    ExpiresCaveat,
    MethodsCaveat,
    PathCaveat,
    PeerCaveat,
    ScopesCaveat,
    TargetsCaveat,
    ThirdPartyCaveat,
    parse_caveat,
)
from orthros_protocol.tickets.discharges import Discharge, peek_unverified_discharger

__all__ = [
    "Demanded",
    "Limits",
    "demanded_by",
    "left_by",
    "limits_field",
    "require_writable",
    "those_held",
    "unbroken",
]


def _scopes(values: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if values is None else check_texts(values, "scopes")


def _methods(values: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if values is None else check_texts(values, "methods")


def _peer(values: Iterable[str] | None) -> tuple[str, ...] | None:
    return None if values is None else check_texts(values, "peer")


def _principals(values: Iterable[Principal] | None) -> tuple[Principal, ...] | None:
    found = None if values is None else tuple(check_list(values, "targets"))
    if found is not None and not all(isinstance(one, Principal) for one in found):
        raise LocalMisuse("value-invalid", "targets are principals")
    return found


@frozen(kw_only=True)
class Limits:
    """What a narrowed ticket is good for; None leaves a matter as it is. Raises LocalMisuse for one string in place of
    several, and for anything but principals as targets.

    scopes: these, as far as the ticket has them; () leaves authentication alone.
    methods: these HTTP methods. path: this path and what lies below it. Both make the ticket good for HTTP only.
    expires_at: before this Unix second of the realm's time.
    peer: from these networks, as CIDRs. channel: over the channel with this 32-byte digest.
    targets: only for tickets to these; on a ticket-granting ticket.
    app: the target's own kinds of caveats, `namespace/name` to at most 360 bytes.
    """

    scopes: tuple[str, ...] | None = field(default=None, converter=_scopes)
    methods: tuple[str, ...] | None = field(default=None, converter=_methods)
    path: str | None = None
    expires_at: int | None = None
    peer: tuple[str, ...] | None = field(default=None, converter=_peer)
    channel: bytes | None = None
    targets: tuple[Principal, ...] | None = field(default=None, converter=_principals)
    app: Mapping[str, bytes] | None = None

    def to_caveats(self) -> tuple[bytes, ...]:
        """The caveats in their canonical form, one for each matter. Raises LocalMisuse, Misconfigured for scopes."""
        return tuple([one.to_bytes() for one in self._caveats()])

    def _caveats(self) -> list[Caveat]:
        found: list[Caveat | None] = [
            None if self.expires_at is None else ExpiresCaveat(self.expires_at),
            None if self.scopes is None else ScopesCaveat(check_scopes(self.scopes)),
            None if self.methods is None else MethodsCaveat(self.methods),
            None if self.path is None else PathCaveat(self.path),
            None if self.targets is None else TargetsCaveat(self.targets),
            None if self.peer is None else PeerCaveat(self.peer),
            None if self.channel is None else ChannelCaveat(self.channel),
            *(AppCaveat(name, payload) for name, payload in (self.app or {}).items()),
        ]
        return [one for one in found if one is not None]


def limits_field(limits: Limits | None) -> bytes:
    """The `caveats` field that the KDC is asked to write into a ticket; empty where nothing is limited.

    Raises LocalMisuse for targets, for a value that no caveat can hold, and beyond 16 caveats or 1018 bytes;
    Misconfigured for scopes.
    """
    if limits is None:
        return b""
    if not isinstance(limits, Limits):
        raise LocalMisuse("value-invalid", f"limits: a {type(limits).__name__} is no Limits")
    if limits.targets is not None:
        raise LocalMisuse("value-invalid", "targets limit ticket-granting tickets; this one has its target")
    written = join_caveats(limits.to_caveats())
    if len(written) > MAX_LIMITS_BYTES:
        raise LocalMisuse("value-invalid", f"limits of {len(written)} bytes, at most {MAX_LIMITS_BYTES}")
    return written


def require_writable(limits: bytes) -> None:
    """Raises Refused `caveat-not-carried` for types that the KDC does not write for clients, unknown ones included."""
    try:
        check_limits(split_caveats(limits))
    except Refused:
        detail = "a limit of a type that the KDC does not write into tickets"
        raise Refused("caveat-not-carried", detail) from None


def left_by(limits: bytes, scopes: tuple[str, ...]) -> tuple[tuple[str, ...], int | None]:
    """Which of `scopes` a ticket with these limits is good for, and the Unix second of its end; None: its own."""
    ends: list[int] = []
    for caveat in map(parse_caveat, split_caveats(limits)):
        scopes = caveat.narrow(scopes)
        if isinstance(caveat, ExpiresCaveat):
            ends.append(caveat.at)
    return scopes, min(ends, default=None)


@frozen(kw_only=True)
class Demanded:
    """A discharge that a ticket demands: of whom, and the demand (`cid`) to show there.

    `discharger` is None where nothing in hand says it.
    """

    discharger: Principal | None
    cid: bytes = field(repr=False)

    @property
    def cid_digest(self) -> bytes:
        """SHA-256 of the demand, which names the discharge."""
        return digest(self.cid)


def demanded_by(caveats: Iterable[bytes], demands: Iterable[bytes]) -> tuple[Demanded, ...]:
    """Whom to ask for what, in the order of `demands`; `caveats` are those that holders added."""
    named = {one.cid_digest: one.discharger for one in map(_third_party, caveats) if one is not None}
    return tuple([Demanded(discharger=named.get(digest(cid)) or _sealed_to(cid), cid=cid) for cid in demands])


def unbroken(demanded: Iterable[Demanded], discharges: Iterable[Discharge]) -> tuple[Discharge, ...]:
    """Those of `discharges` that can be shown, in the order of the demands, up to the first that is missing.

    The target counts by position: behind a gap, the next one would be taken for that which is missing.
    """
    found = {one.cid_digest: one for one in discharges}
    ready: list[Discharge] = []
    for each in demanded:
        if each.cid_digest not in found:
            break
        ready.append(found[each.cid_digest])
    return tuple(ready)


def those_held(held: tuple[str, ...], wanted: Iterable[str]) -> tuple[str, ...]:
    """The scopes of `held` that are wanted. Raises LocalMisuse for names that are none."""
    named = check_scopes(wanted)
    return tuple([scope for scope in held if scope in named])


def _third_party(caveat: bytes) -> ThirdPartyCaveat | None:
    try:
        parsed = parse_caveat(caveat)
    except (Malformed, Refused):  # of a newer version, or broken: the target judges it
        return None
    return parsed if isinstance(parsed, ThirdPartyCaveat) else None


def _sealed_to(cid: bytes) -> Principal | None:
    try:
        return peek_unverified_discharger(cid)
    except Malformed:
        return None
