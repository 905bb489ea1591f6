"""Tickets: a clear 15-byte header and a sealed body, with a mark that only the KDC can make.

Knows how a ticket is built, opened and dated; not how it is asked for or presented.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.keys.role_keys import KdcMacKey, TicketSealingKey
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
from orthros_protocol.primitives.schema import (
    Extension,
    Message,
    Record,
    adapted,
    array,
    binary,
    const,
    extensions,
    integer,
    message,
    optional,
    principal,
    record_of,
    secret,
    text,
    text_set,
)
from orthros_protocol.primitives.sealing import BOX_OVERHEAD, open_box, seal
from orthros_protocol.tickets.attenuation import split_caveats

__all__ = [
    "BY_ASSERTION",
    "BY_EVIDENCE",
    "CROSS_REALM_TGT",
    "DELEGABLE",
    "INITIAL",
    "KNOWN_FLAGS",
    "SERVICE_TICKET",
    "TGT",
    "Hop",
    "Subject",
    "Ticket",
    "TicketContent",
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

# What is sealed must fit once header, box and mark are around it.
_MOST_UNMARKED_BYTES: Final = MAX_TICKET_BYTES - HEADER_BYTES - BOX_OVERHEAD - 2 - KMAC_BYTES

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


@message("subject", eq=True, kw_only=False)
class Subject(Record):
    """On whose behalf; `how` is 1 when proven by evidence, 2 when asserted under policy. `uid` 0: not a principal."""

    principal: Principal = principal()
    uid: int = integer()
    how: int = integer(BY_ASSERTION, BY_EVIDENCE)


@frozen
class Hop:
    """One earlier caller of a chain and the Unix second of its login."""

    principal: Principal
    auth_time: int


# Within a ticket a realm is nil where it is that of the client, and only there: a long path would say it at each hop.
@message("subject", kw_only=False)
class _NearSubject(Record):
    realm: str | None = optional(text(is_name))
    name: str = text(is_name)
    uid: int = integer()
    how: int = integer(BY_ASSERTION, BY_EVIDENCE)


@message("hop", kw_only=False)
class _NearHop(Record):
    realm: str | None = optional(text(is_name))
    name: str = text(is_name)
    auth_time: int = integer()


def _near(realm: str, home: str) -> str | None:
    return None if realm == home else realm


def _whole(realm: str | None, name: str, home: str) -> Principal:
    if realm == home:
        raise Malformed("ticket body: the ticket's own realm is said in its chain or subject")
    return cached_principal(realm or home, name)


def _near_subject(subject: Subject, home: str) -> list[Any]:
    return [_near(subject.principal.realm, home), subject.principal.name, subject.uid, subject.how]


def _whole_subject(items: list[Any], home: str) -> Subject:
    return Subject(_whole(items[0], items[1], home), items[2], items[3])


def _near_chain(chain: Iterable[Hop], home: str) -> list[Any]:
    return [[_near(hop.principal.realm, home), hop.principal.name, hop.auth_time] for hop in chain]


def _whole_chain(hops: list[Any], home: str) -> tuple[Hop, ...]:
    return tuple([Hop(_whole(realm, name, home), at) for realm, name, at in hops])


@message("ticket body", limit=_MOST_UNMARKED_BYTES)
class TicketContent(Message):
    """What the KDC seals into a ticket, and marks as its own. Times are Unix seconds.

    `caveats_field` is what `join_caveats` makes of the caveats that bind everybody who presents it; it may hold the
    secret of a demanded discharge. `mac_number` says which key made the mark.
    """

    version: int = const(VERSION)
    tid: bytes = binary(16)
    client: Principal = principal()
    client_uid: int = integer()
    session_key: bytes = secret(32)
    iat: int = integer()
    exp: int = integer()
    auth_time: int = integer()
    ckid: bytes = binary(8)
    flags: int = integer(MAX_U32, default=0)
    scopes: tuple[str, ...] = text_set(is_scope, MAX_SCOPES)
    caveats_field: bytes = binary(0, MAX_CAVEATS_BLOB_BYTES, default=b"", repr=False)
    chain: tuple[Hop, ...] = adapted(
        array(record_of(_NearHop), MAX_CHAIN_HOPS), _whole_chain, _near_chain, beside="client_realm", default=()
    )
    subject: Subject | None = adapted(
        optional(record_of(_NearSubject)), _whole_subject, _near_subject, beside="client_realm", default=None
    )
    txn: bytes = binary(16)
    crit: tuple[Extension, ...] = extensions(default=())
    opt: tuple[Extension, ...] = extensions(default=())
    mac_number: int = integer(MAX_U32, 1)

    @property
    def caveats(self) -> tuple[bytes, ...]:
        """The caveats that bind everybody who presents the ticket. Raises Malformed."""
        return split_caveats(self.caveats_field)


@message("ticket body", limit=MAX_TICKET_BYTES)
class Ticket(TicketContent):
    """An opened ticket: what was sealed and its mark, and of the key that opened it, for whom."""

    kmac: bytes = binary(KMAC_BYTES, repr=False)
    ticket_type: int = field()
    server: Principal = field()
    server_uid: int = field()
    kvno: int = field()


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


def seal_ticket(key: TicketSealingKey, mac_key: KdcMacKey, content: TicketContent, *, entropy: bytes) -> bytes:
    """A ticket for the principal of `key`, marked with `mac_key`. `entropy` is 24 fresh random bytes.

    Raises LocalMisuse when a field does not fit the format, or names another key than `mac_key`.
    """
    if content.mac_number != mac_key.number:
        raise LocalMisuse("value-invalid", f"a ticket marked with key {mac_key.number} says {content.mac_number}")
    unmarked = content.encode()
    body = _ARRAY_OF_20 + unmarked[3:] + _KMAC_PREFIX + _kdc_mark(key, mac_key, unmarked)
    return key.header + seal(key.box_key, "ticket", key.context, body, entropy=entropy)


def _open_body(ticket: bytes, key: TicketSealingKey) -> bytes:
    header = peek_unverified_header(ticket)
    if header.ticket_type != key.ticket_type:
        raise PeerMisbehaved("wrong-ticket-type", f"type {header.ticket_type}, expected {key.ticket_type}")
    if ticket[:HEADER_BYTES] != key.header:
        raise PeerMisbehaved("unknown-key", f"kvno {header.kvno} kid {header.kid.hex()}")
    return open_box(key.box_key, "ticket", key.context, ticket[HEADER_BYTES:], limit=MAX_TICKET_BYTES)


def _ticket_of(body: bytes, key: TicketSealingKey) -> Ticket:
    ticket = Ticket.decode(body, ticket_type=key.ticket_type, server=key.principal, server_uid=key.uid, kvno=key.kvno)
    if ticket.crit:
        raise Refused("unsupported-critical", f"ticket extension {ticket.crit[0][0]}")
    check_flags(ticket.flags, KNOWN_FLAGS)
    split_caveats(ticket.caveats_field)
    return ticket


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
    mac_key = mac_keys.get(content.mac_number)
    unmarked = _ARRAY_OF_19 + body[3:-_KMAC_ITEM_BYTES]
    if mac_key is None or not mac_matches(_kdc_mark(key, mac_key, unmarked), content.kmac):
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
