"""Tickets: a clear 15-byte header and a sealed body, with a mark that only the KDC can make.

Knows how a ticket is built, opened and dated; not how it is asked for or presented.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from attrs import field, frozen

from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.keys.role_keys import KdcMacKey, TicketSealingKey, not_exported
from orthros_protocol.primitives.canonical import (
    Schema,
    array,
    binary,
    const,
    extensions,
    integer,
    nested,
    optional,
    text,
    text_set,
)
from orthros_protocol.primitives.derivation import mac, mac_matches
from orthros_protocol.primitives.instants import Timestamp, seconds_of
from orthros_protocol.primitives.limits import (
    MAX_CAVEATS_BLOB_BYTES,
    MAX_CHAIN_HOPS,
    MAX_SCOPES,
    MAX_TICKET_BYTES,
    MAX_U32,
    TICKET_FUTURE_S,
)
from orthros_protocol.primitives.names import Principal, cached_principal, is_name, is_scope
from orthros_protocol.primitives.sealing import BOX_OVERHEAD, open_box, seal
from orthros_protocol.tickets.attenuation import join_caveats, split_caveats

__all__ = [
    "BY_ASSERTION",
    "BY_EVIDENCE",
    "CROSS_REALM_TGT",
    "DELEGABLE",
    "INITIAL",
    "KNOWN_FLAGS",
    "SERVICE_TICKET",
    "SUBJECT",
    "TGT",
    "Hop",
    "Subject",
    "Ticket",
    "UnverifiedHeader",
    "check_flags",
    "check_ticket_times",
    "open_ticket",
    "peek_unverified_header",
    "require_kdc_mark",
    "seal_ticket",
]

VERSION: Final = 1
SUITE: Final = 1
HEADER_BYTES: Final = 15
KMAC_BYTES: Final = 16

TGT, SERVICE_TICKET, CROSS_REALM_TGT = 1, 2, 3

# Ticket flags: u32, of which the low half is critical.
INITIAL: Final = 1
DELEGABLE: Final = 2
KNOWN_FLAGS: Final = INITIAL | DELEGABLE
_CRITICAL_HALF: Final = 0xFFFF

BY_EVIDENCE, BY_ASSERTION = 1, 2
SUBJECT: Final = nested(text(is_name), text(is_name), integer(), integer(BY_ASSERTION, BY_EVIDENCE))
# Within a ticket a realm is nil where it is that of the client, and only there: a long path would say it at each hop.
_NEAR_SUBJECT: Final = nested(optional(text(is_name)), text(is_name), integer(), integer(BY_ASSERTION, BY_EVIDENCE))
_HOP: Final = nested(optional(text(is_name)), text(is_name), integer())

_FIELDS: Final = (
    const(VERSION),
    binary(16),
    text(is_name),
    text(is_name),
    integer(),
    binary(32),
    integer(),
    integer(),
    integer(),
    binary(8),
    integer(MAX_U32),
    text_set(is_scope, MAX_SCOPES),
    binary(0, MAX_CAVEATS_BLOB_BYTES),
    array(_HOP, MAX_CHAIN_HOPS),
    optional(_NEAR_SUBJECT),
    binary(16),
    extensions(),
    extensions(),
    integer(MAX_U32, 1),
)
_BODY = Schema("ticket body", *_FIELDS, binary(KMAC_BYTES), limit=MAX_TICKET_BYTES)
# What is sealed must fit once header, box and mark are around it.
_MOST_UNMARKED_BYTES: Final = MAX_TICKET_BYTES - HEADER_BYTES - BOX_OVERHEAD - 2 - KMAC_BYTES
_UNMARKED_BODY = Schema("ticket body", *_FIELDS, limit=_MOST_UNMARKED_BYTES)

# The body has 20 items and, before the mark, 19: both take msgpack's array16 header of three bytes, so
# the marked bytes are found in the received ones without encoding anything again.
_ARRAY_OF_20: Final = b"\xdc\x00\x14"
_ARRAY_OF_19: Final = b"\xdc\x00\x13"
_KMAC_PREFIX: Final = b"\xc4\x10"
_KMAC_ITEM_BYTES: Final = len(_KMAC_PREFIX) + KMAC_BYTES


@frozen
class UnverifiedHeader:
    """What a ticket says in clear, before anything has been checked."""

    ticket_type: int
    kvno: int
    kid: bytes


@frozen
class Subject:
    """On whose behalf; `how` is 1 when proven by evidence, 2 when asserted under policy. `uid` 0: not a principal."""

    principal: Principal
    uid: int
    how: int

    def to_items(self) -> list[str | int]:
        """The four items that travel."""
        return [self.principal.realm, self.principal.name, self.uid, self.how]

    @classmethod
    def of_items(cls, items: Sequence[Any] | None) -> Subject | None:
        """From the items that travel, or from nil."""
        return None if items is None else cls(cached_principal(items[0], items[1]), items[2], items[3])


@frozen
class Hop:
    """One earlier caller of a chain and the Unix second of its login."""

    principal: Principal
    auth_time: int


@frozen(eq=False, kw_only=True)
class Ticket:
    """The sealed content of a ticket. Times are Unix seconds. `caveats` may hold the secret of a demanded discharge."""

    ticket_type: int
    server: Principal
    server_uid: int
    kvno: int
    tid: bytes
    client: Principal
    client_uid: int
    session_key: bytes = field(repr=False)
    iat: int
    exp: int
    auth_time: int
    ckid: bytes
    flags: int
    scopes: tuple[str, ...]
    caveats: tuple[bytes, ...] = field(default=(), repr=False)
    chain: tuple[Hop, ...] = ()
    subject: Subject | None = None
    txn: bytes

    __getstate__ = not_exported


def check_flags(flags: int, known: int) -> None:
    """Raises Refused `unsupported-critical` for an unknown flag in the low half; others are ignored."""
    if flags & _CRITICAL_HALF & ~known:
        raise Refused("unsupported-critical", f"flags {flags:#x}")


def peek_unverified_header(ticket: bytes) -> UnverifiedHeader:
    """The clear header, to find the key with. Raises Malformed or PeerMisbehaved `wrong-ticket-type`."""
    if not HEADER_BYTES < len(ticket) <= MAX_TICKET_BYTES:
        raise Malformed("a ticket of a wrong length")
    if ticket[0] != VERSION or ticket[1] != SUITE:
        raise Malformed("a ticket of an unknown version or suite")
    if ticket[2] not in (TGT, SERVICE_TICKET, CROSS_REALM_TGT):
        raise PeerMisbehaved("wrong-ticket-type", f"type {ticket[2]}")
    return UnverifiedHeader(ticket[2], int.from_bytes(ticket[3:7], "big"), ticket[7:15])


def _kdc_mark(key: TicketSealingKey, mac_key: KdcMacKey, unmarked: bytes) -> bytes:
    return mac(mac_key.material, "ticket", key.named_header + unmarked)[:KMAC_BYTES]


def seal_ticket(
    key: TicketSealingKey,
    mac_key: KdcMacKey,
    *,
    tid: bytes,
    client: Principal,
    client_uid: int,
    session_key: bytes,
    iat: int,
    exp: int,
    auth_time: int,
    ckid: bytes,
    flags: int,
    scopes: tuple[str, ...],
    txn: bytes,
    entropy: bytes,
    caveats: Iterable[bytes] = (),
    chain: Sequence[Hop] = (),
    subject: Subject | None = None,
) -> bytes:
    """A ticket for the principal of `key`, marked with `mac_key`. `entropy` is 24 fresh random bytes.

    `caveats` bind everybody who presents it. Raises LocalMisuse when a field does not fit the format.
    """
    hops = [_near([hop.principal.realm, hop.principal.name, hop.auth_time], client.realm) for hop in chain]
    whom = None if subject is None else _near(subject.to_items(), client.realm)
    unmarked = _UNMARKED_BODY.encode(
        VERSION,
        tid,
        client.realm,
        client.name,
        client_uid,
        session_key,
        iat,
        exp,
        auth_time,
        ckid,
        flags,
        list(scopes),
        join_caveats(caveats),
        hops,
        whom,
        txn,
        [],
        [],
        mac_key.number,
    )
    body = _ARRAY_OF_20 + unmarked[3:] + _KMAC_PREFIX + _kdc_mark(key, mac_key, unmarked)
    return key.header + seal(key.box_key, "ticket", key.context, body, entropy=entropy)


def _near(items: list[Any], home: str) -> list[Any]:
    """The items as a ticket of a client of the realm `home` has them."""
    return [None if items[0] == home else items[0], *items[1:]]


def _whole(items: list[Any], home: str) -> list[Any]:
    """The items with their realm. Raises Malformed where a ticket says its own: it would have two forms."""
    if items[0] == home:
        raise Malformed("ticket body: the ticket's own realm is said in its chain or subject")
    return [items[0] or home, *items[1:]]


def _open_body(ticket: bytes, key: TicketSealingKey) -> bytes:
    header = peek_unverified_header(ticket)
    if header.ticket_type != key.ticket_type:
        raise PeerMisbehaved("wrong-ticket-type", f"type {header.ticket_type}, expected {key.ticket_type}")
    if ticket[:HEADER_BYTES] != key.header:
        raise PeerMisbehaved("unknown-key", f"kvno {header.kvno} kid {header.kid.hex()}")
    return open_box(key.box_key, "ticket", key.context, ticket[HEADER_BYTES:], limit=MAX_TICKET_BYTES)


def _ticket_of(body: bytes, key: TicketSealingKey) -> Ticket:
    (
        _version,
        tid,
        crealm,
        cname,
        cuid,
        session_key,
        iat,
        exp,
        auth_time,
        ckid,
        flags,
        scopes,
        caveats,
        chain,
        subject,
        txn,
        crit,
        _opt,
        _mac_no,
        _kmac,
    ) = _BODY.decode(body)
    hops = [_whole(hop, crealm) for hop in chain]
    whom = None if subject is None else Subject.of_items(_whole(subject, crealm))
    if crit:
        raise Refused("unsupported-critical", f"ticket extension {crit[0][0]}")
    check_flags(flags, KNOWN_FLAGS)
    return Ticket(
        ticket_type=key.ticket_type,
        server=key.principal,
        server_uid=key.uid,
        kvno=key.kvno,
        tid=tid,
        client=cached_principal(crealm, cname),
        client_uid=cuid,
        session_key=session_key,
        iat=iat,
        exp=exp,
        auth_time=auth_time,
        ckid=ckid,
        flags=flags,
        scopes=tuple(scopes),
        caveats=split_caveats(caveats),
        chain=tuple(Hop(cached_principal(realm, name), at) for realm, name, at in hops),
        subject=whom,
        txn=txn,
    )


def open_ticket(ticket: bytes, key: TicketSealingKey) -> Ticket:
    """The content of a ticket sealed under `key`, which must be of the ticket's type.

    Raises Malformed, PeerMisbehaved (`wrong-ticket-type`, `unknown-key`, `box-unopened`) or Refused
    `unsupported-critical`. Times are not judged here.
    """
    return _ticket_of(_open_body(ticket, key), key)


def require_kdc_mark(ticket: bytes, key: TicketSealingKey, mac_keys: Mapping[int, KdcMacKey]) -> Ticket:
    """The content of a ticket that this realm's KDC wrote in exactly this form (the Bronze Bit check).

    For the KDC, on every ticket it consumes: whoever holds `key` could have edited the rest.
    Raises what `open_ticket` raises, or Refused `ticket-altered`.
    """
    body = _open_body(ticket, key)
    content = _ticket_of(body, key)
    number: Any = _BODY.decode(body)[-2]
    mac_key = mac_keys.get(number)
    unmarked = _ARRAY_OF_19 + body[3:-_KMAC_ITEM_BYTES]
    if mac_key is None or not mac_matches(_kdc_mark(key, mac_key, unmarked), body[-KMAC_BYTES:]):
        raise Refused("ticket-altered")
    return content


def check_ticket_times(ticket: Ticket, now: Timestamp, *, max_life_s: int) -> None:
    """Raises Refused `ticket-expired` or `ticket-times-invalid`. There is no grace after `exp`."""
    second = seconds_of(now)
    if ticket.exp <= second:
        raise Refused("ticket-expired", f"{second - ticket.exp} s ago")
    if ticket.iat > ticket.exp or ticket.exp - ticket.iat > max_life_s:
        raise Refused("ticket-times-invalid", f"its life is {ticket.exp - ticket.iat} s, at most {max_life_s} s")
    if ticket.iat > second + TICKET_FUTURE_S:
        raise Refused("ticket-times-invalid", f"issued {ticket.iat - second} s from now")
