"""Long-lived keys as objects typed by role, so that no key can do another role's work.

A key cannot be printed, compared, pickled or copied by accident. Knows derivation, not messages or files.
"""

from __future__ import annotations

from typing import ClassVar, Final

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import derive
from orthros_protocol.primitives.limits import MAX_U32
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.secrets import Secret

__all__ = [
    "AsKey",
    "KdcMacKey",
    "RoleKey",
    "RootKey",
    "SyncKey",
    "TgtKey",
    "TicketKey",
    "TicketSealingKey",
    "key_id",
]

KID_BYTES: Final = 8


def key_id(material: bytes) -> bytes:
    """kid(K): 8 bytes that name a role key without revealing it."""
    return derive(material, "kid", size=KID_BYTES)


@frozen(eq=False, repr=False, getstate_setstate=False)
class RoleKey(Secret):
    """A key of one role of one principal at one version."""

    role: ClassVar[str] = ""

    principal: Principal = field(kw_only=True)
    uid: int = field(kw_only=True)
    kvno: int = field(kw_only=True)
    kid: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.kvno <= MAX_U32:
            raise LocalMisuse("value-invalid", "kvno is 1 to 2^32-1")
        object.__setattr__(self, "kid", key_id(self.material))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.principal} kvno={self.kvno} kid={self.kid.hex()} redacted>"


@frozen(eq=False, repr=False, getstate_setstate=False)
class AsKey(RoleKey):
    """K_as: proves the principal in the initial exchange and opens its replies."""

    role = "as"
    reply_key: bytes = field(init=False)
    error_key: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        RoleKey.__attrs_post_init__(self)
        object.__setattr__(self, "reply_key", derive(self.material, "as-rep"))
        object.__setattr__(self, "error_key", derive(self.material, "as-err"))


@frozen(eq=False, repr=False, getstate_setstate=False)
class SyncKey(RoleKey):
    """K_sync: a target's polling key for revocations and rotations."""

    role = "sync"


@frozen(eq=False, repr=False, getstate_setstate=False)
class TicketSealingKey(RoleKey):
    """Seals and opens tickets of exactly one type; the type is part of the derivation."""

    ticket_type: ClassVar[int] = 0

    box_key: bytes = field(init=False)
    header: bytes = field(init=False)
    context: bytes = field(init=False)
    named_header: bytes = field(init=False)

    def __attrs_post_init__(self) -> None:
        RoleKey.__attrs_post_init__(self)
        header = bytes((1, 1, self.ticket_type)) + self.kvno.to_bytes(4, "big") + self.kid
        object.__setattr__(self, "box_key", derive(self.material, f"ticket.{self.ticket_type}"))
        object.__setattr__(self, "header", header)
        name = (self.principal.realm, self.principal.name, self.uid)
        object.__setattr__(self, "context", encode(header, *name))
        object.__setattr__(self, "named_header", header + encode(*name))


@frozen(eq=False, repr=False, getstate_setstate=False)
class TgtKey(TicketSealingKey):
    """The realm's key for ticket-granting tickets; never leaves the KDC."""

    role = "tgt"
    ticket_type = 1


@frozen(eq=False, repr=False, getstate_setstate=False)
class TicketKey(TicketSealingKey):
    """K_ticket: opens the service tickets of one principal."""

    role = "ticket"
    ticket_type = 2


@frozen(eq=False, repr=False, getstate_setstate=False)
class KdcMacKey(Secret):
    """K_kdcmac: marks what only the KDC can have written inside a ticket; numbered for rotation."""

    number: int = field(kw_only=True)

    def __repr__(self) -> str:
        return f"<KdcMacKey number={self.number} redacted>"


@frozen(eq=False, repr=False, getstate_setstate=False)
class RootKey(Secret):
    """The root of one principal at one version: 32 random bytes, never a password."""

    principal: Principal = field(kw_only=True)
    uid: int = field(kw_only=True)
    kvno: int = field(kw_only=True)

    def __repr__(self) -> str:
        return f"<RootKey {self.principal} kvno={self.kvno} redacted>"

    @property
    def kid(self) -> bytes:
        """Names this root in key files; the role keys have ids of their own."""
        return key_id(self.material)

    def as_key(self) -> AsKey:
        """K_as of this version."""
        return AsKey(derive(self.material, "role.as"), principal=self.principal, uid=self.uid, kvno=self.kvno)

    def ticket_key(self) -> TicketKey:
        """K_ticket of this version."""
        return TicketKey(derive(self.material, "role.ticket"), principal=self.principal, uid=self.uid, kvno=self.kvno)

    def sync_key(self) -> SyncKey:
        """K_sync of this version."""
        return SyncKey(derive(self.material, "role.sync"), principal=self.principal, uid=self.uid, kvno=self.kvno)
