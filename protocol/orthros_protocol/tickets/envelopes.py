"""What one principal seals to another without asking the KDC: the key comes from a ticket between them.

Knows how the receiver finds and judges that ticket; not what is sealed.
"""

from __future__ import annotations

from attrs import field, frozen

from orthros_protocol.errors import PeerMisbehaved, Refused
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from orthros_protocol.tickets.ticket import SERVICE_TICKET, check_ticket_times, open_ticket, peek_unverified_header

__all__ = ["Envelope", "open_envelope"]


@frozen(eq=False, kw_only=True)
class Envelope:
    """The sender, as the KDC knows it, and the K_pop (32 bytes, secret) of its ticket to the receiver."""

    sender: Principal
    pop_key: bytes = field(repr=False)

    __getstate__ = not_exported


def open_envelope(ticket: bytes, keytab: Keytab, *, now: Timestamp) -> Envelope:
    """Opens the ticket that something is sealed with for the principal of `keytab`.

    A ticket that carries caveats or a subject says less than who the sender is, so it seals nothing. Raises Malformed,
    PeerMisbehaved (`wrong-ticket-type`, `unknown-key`, `box-unopened`) or Refused (`ticket-expired`,
    `ticket-times-invalid`, `unsupported-critical`, `caveat-refused`, `user-not-accepted`).
    """
    header = peek_unverified_header(ticket)
    if header.ticket_type != SERVICE_TICKET:
        raise PeerMisbehaved("wrong-ticket-type", f"type {header.ticket_type} around a box")
    key = keytab.ticket_key(header.kid)
    if key is None:
        raise PeerMisbehaved("unknown-key", f"a box under kvno {header.kvno}, for another service or version")
    opened = open_ticket(ticket, key)
    check_ticket_times(opened, now, max_life_s=MAX_TICKET_LIFE_S)
    if opened.caveats:
        raise Refused("caveat-refused", "a ticket with caveats seals nothing for others")
    if opened.subject is not None:
        raise Refused("user-not-accepted", "a ticket in another's name seals nothing for others")
    return Envelope(sender=opened.client, pop_key=pop_key_of(tail_of(opened.session_key, ticket)))
