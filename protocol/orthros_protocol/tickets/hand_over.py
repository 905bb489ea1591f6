"""Handing narrowed credentials to another principal: ticket, caveats and tail in a box that only it can open.

The sender may compute every key that hangs off what it hands over (docs/protocol/attenuation.md). Knows neither how
the box travels, nor what the receiver does with it.
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from orthros_protocol.errors import PeerMisbehaved
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import not_exported
from orthros_protocol.primitives.canonical import (
    Schema,
    array,
    binary,
    const,
    encode,
    integer,
    optional,
    text,
    text_set,
)
from orthros_protocol.primitives.derivation import derive, digest, mac_matches
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import (
    MAX_CAVEATS_BLOB_BYTES,
    MAX_DISCHARGES,
    MAX_FRAME_BYTES,
    MAX_SCOPES,
    MAX_TICKET_BYTES,
)
from orthros_protocol.primitives.messages import VERSION
from orthros_protocol.primitives.names import Principal, cached_principal, is_name, is_scope
from orthros_protocol.primitives.sealing import open_box, seal
from orthros_protocol.tickets.attenuation import split_caveats
from orthros_protocol.tickets.discharges import MAX_DEMAND_BYTES
from orthros_protocol.tickets.envelopes import open_envelope
from orthros_protocol.tickets.ticket import SUBJECT, Subject, peek_unverified_header

__all__ = ["HandedOver", "open_hand_over", "peek_unverified_hand_over", "seal_hand_over"]

_MOST_CONTENT_BYTES: Final = 48 * 1024
_OUTER: Final = Schema(
    "hand-over",
    const(VERSION),
    binary(16, MAX_TICKET_BYTES),
    binary(32),
    binary(72, _MOST_CONTENT_BYTES),
    limit=MAX_FRAME_BYTES,
)
_CONTENT: Final = Schema(
    "handed over",
    binary(16, MAX_TICKET_BYTES),
    binary(0, MAX_CAVEATS_BLOB_BYTES),
    binary(32),
    text(is_name),
    text(is_name),
    integer(),
    text(is_name),
    text(is_name),
    text_set(is_scope, MAX_SCOPES),
    integer(),
    integer(),
    optional(SUBJECT),
    array(binary(1, MAX_DEMAND_BYTES), MAX_DISCHARGES),
    limit=_MOST_CONTENT_BYTES,
)


@frozen(eq=False, kw_only=True)
class HandedOver:
    """A ticket, the `caveats` field that was added to it, and the tail behind them (32 bytes, secret).

    `scopes` are those left, `expires` the Unix second at which it ends, `ttl_s` the life that the ticket began with,
    `demands` what discharges are asked for with, in the order of their caveats. `sender` is set by `open_hand_over`.
    """

    ticket: bytes = field(repr=False)
    caveats: bytes
    tail: bytes = field(repr=False)
    target: Principal
    target_uid: int
    client: Principal
    scopes: tuple[str, ...]
    expires: int
    ttl_s: int
    subject: Subject | None = None
    demands: tuple[bytes, ...] = field(default=(), repr=False)
    sender: Principal | None = None

    __getstate__ = not_exported


def _context(sender: Principal, receiver: Principal, ticket_digest: bytes) -> bytes:
    return encode("deleg", sender.realm, sender.name, receiver.name, ticket_digest)


def seal_hand_over(
    handed: HandedOver, *, ticket: bytes, pop_key: bytes, sender: Principal, receiver: Principal, entropy: bytes
) -> bytes:
    """`handed` for `receiver` alone: `ticket` is the sender's for it, with its K_pop, without caveats.

    `entropy` is 24 fresh random bytes. Raises LocalMisuse for what does not fit.
    """
    content = _CONTENT.encode(
        handed.ticket,
        handed.caveats,
        handed.tail,
        handed.target.realm,
        handed.target.name,
        handed.target_uid,
        handed.client.realm,
        handed.client.name,
        list(handed.scopes),
        handed.expires,
        handed.ttl_s,
        None if handed.subject is None else handed.subject.to_items(),
        list(handed.demands),
    )
    named = digest(handed.ticket)
    box = seal(derive(pop_key, "deleg"), "deleg", _context(sender, receiver, named), content, entropy=entropy)
    return _OUTER.encode(VERSION, ticket, named, box)


def peek_unverified_hand_over(data: bytes) -> tuple[bytes, int]:
    """The ticket that a hand-over is sealed with, and the size of its box; nothing is verified. Raises Malformed."""
    _version, ticket, _named, box = _OUTER.decode(data)
    return ticket, len(box)


def open_hand_over(data: bytes, keytab: Keytab, *, now: Timestamp) -> HandedOver:
    """What somebody handed to the principal of `keytab`; `sender` is who, as the KDC knows it.

    Raises what `open_envelope` raises for the ticket that the box is sealed with, and PeerMisbehaved `box-unopened`.
    """
    _version, ticket, named, box = _OUTER.decode(data)
    envelope = open_envelope(ticket, keytab, now=now)
    context = _context(envelope.sender, keytab.principal, named)
    plain = open_box(derive(envelope.pop_key, "deleg"), "deleg", context, box, limit=_MOST_CONTENT_BYTES)
    (
        handed,
        caveats,
        tail,
        realm,
        name,
        uid,
        crealm,
        cname,
        scopes,
        expires,
        ttl_s,
        subject,
        demands,
    ) = _CONTENT.decode(plain)
    if not mac_matches(digest(handed), named):
        raise PeerMisbehaved("box-unopened", "the hand-over names another ticket than it holds")
    peek_unverified_header(handed)
    split_caveats(caveats)
    return HandedOver(
        ticket=handed,
        caveats=caveats,
        tail=tail,
        target=cached_principal(realm, name),
        target_uid=uid,
        client=cached_principal(crealm, cname),
        scopes=tuple(scopes),
        expires=expires,
        ttl_s=ttl_s,
        subject=Subject.of_items(subject),
        demands=tuple(demands),
        sender=envelope.sender,
    )
