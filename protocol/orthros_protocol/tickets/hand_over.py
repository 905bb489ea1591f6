"""Handing narrowed credentials to another principal: ticket, caveats and tail in a box that only it can open.

The sender may compute every key that hangs off what it hands over (docs/protocol/attenuation.md). Knows neither how
the box travels, nor what the receiver does with it.
"""

from __future__ import annotations

from typing import Final

from attrs import field

from orthros_protocol.errors import PeerMisbehaved
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.canonical import decode_as, encode, encode_as
from orthros_protocol.primitives.derivation import derive, digest, mac_matches
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES, MAX_TICKET_BYTES
from orthros_protocol.primitives.messages import VERSION
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.schema import Message, Record, binary, const, message, spread
from orthros_protocol.primitives.sealing import open_box, seal
from orthros_protocol.tickets.credential import ISSUE, Credential
from orthros_protocol.tickets.envelopes import open_envelope
from orthros_protocol.tickets.ticket import peek_unverified_header

__all__ = ["HandedOver", "open_hand_over", "peek_unverified_hand_over", "seal_hand_over"]

_MOST_CONTENT_BYTES: Final = 48 * 1024


@message("hand-over", limit=MAX_FRAME_BYTES)
class _Sealed(Message):
    version: int = const(VERSION)
    ticket: bytes = binary(16, MAX_TICKET_BYTES)
    named: bytes = binary(32)
    box: bytes = binary(72, _MOST_CONTENT_BYTES)


@message("handed over")
class HandedOver(Record):
    """A credential that another principal handed over; its life is told by the realm's clock. `sender` is who."""

    credential: Credential = spread(Credential, without=ISSUE, tail=binary(32))
    sender: Principal = field()


def _context(sender: Principal, receiver: Principal, ticket_digest: bytes) -> bytes:
    return encode("deleg", sender.realm, sender.name, receiver.name, ticket_digest)


def seal_hand_over(
    credential: Credential, *, ticket: bytes, pop_key: bytes, sender: Principal, receiver: Principal, entropy: bytes
) -> bytes:
    """`credential` for `receiver` alone: `ticket` is the sender's for it, with its K_pop, without caveats.

    `entropy` is 24 fresh random bytes. Raises LocalMisuse for what does not fit.
    """
    content = encode_as(HandedOver(credential=credential, sender=sender).to_items(), HandedOver.check)
    named = digest(credential.ticket)
    box = seal(derive(pop_key, "deleg"), "deleg", _context(sender, receiver, named), content, entropy=entropy)
    return _Sealed(ticket=ticket, named=named, box=box).encode()


def peek_unverified_hand_over(data: bytes) -> tuple[bytes, int]:
    """The ticket that a hand-over is sealed with, and the size of its box; nothing is verified. Raises Malformed."""
    sealed = _Sealed.decode(data)
    return sealed.ticket, len(sealed.box)


def open_hand_over(data: bytes, keytab: Keytab, *, now: Timestamp) -> HandedOver:
    """What another principal handed to the principal of `keytab`; `sender` is who, as the KDC knows it.

    Raises what `open_envelope` raises for the ticket that the box is sealed with, and PeerMisbehaved `box-unopened`.
    """
    sealed = _Sealed.decode(data)
    envelope = open_envelope(sealed.ticket, keytab, now=now)
    context = _context(envelope.sender, keytab.principal, sealed.named)
    plain = open_box(derive(envelope.pop_key, "deleg"), "deleg", context, sealed.box, limit=_MOST_CONTENT_BYTES)
    items = decode_as("handed over", plain, HandedOver.check)
    # Which ticket it is comes before what its caveats are, which `of_items` finds out.
    if not mac_matches(digest(items[0]), sealed.named):
        raise PeerMisbehaved("box-unopened", "the hand-over names another ticket than it holds")
    peek_unverified_header(items[0])
    return HandedOver.of_items(items, sender=envelope.sender)
