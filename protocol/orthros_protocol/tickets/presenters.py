"""Who presented a ticket, as far as that may be told: names and ids for logs, also when the request was refused.

Knows no key, and nothing of a request whose MAC has not been verified.
"""

from __future__ import annotations

from attrs import frozen

from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.ticket import Subject, Ticket

__all__ = ["Presenter", "actors_of"]


@frozen(kw_only=True)
class Presenter:
    """`client` proved possession, `subject` is on whose behalf its ticket was issued, and `act` who acts for that one,
    the client first. `transaction_id` is the ticket's `txn` as hex.
    """

    client: Principal
    subject: Subject | None
    act: tuple[str, ...]
    transaction_id: str

    @classmethod
    def of(cls, ticket: Ticket) -> Presenter:
        """Whoever has proven possession of `ticket`."""
        return cls(client=ticket.client, subject=ticket.subject, act=actors_of(ticket), transaction_id=ticket.txn.hex())


def actors_of(ticket: Ticket) -> tuple[str, ...]:
    """Who acts for the subject, the present client first (RFC 8693, section 4.1); empty without a subject."""
    if ticket.subject is None:
        return ()
    return (str(ticket.client), *(str(hop.principal) for hop in reversed(ticket.chain)))
