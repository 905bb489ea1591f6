"""What a realm in memory is told of a want, and what it tells who decides: values only.

Decides nothing. Knows no key but the caller's, and seals nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import evolve, field, frozen

from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.tgs_exchange import TgsRequest
from orthros_protocol.exchanges.wants import Want
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.primitives.limits import DEFAULT_TICKET_S, MAX_CHAIN_HOPS
from orthros_protocol.primitives.names import Principal, check_scopes
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code
from orthros_protocol.tickets.carrying import carry
from orthros_protocol.tickets.caveats import Caveat
from orthros_protocol.tickets.ticket import BY_EVIDENCE, DELEGABLE, Hop, Subject, Ticket

__all__ = ["Decide", "GrantTerms", "Onward", "onward_of"]


@frozen(kw_only=True)
class GrantTerms:
    """What has been decided to issue: `scopes`, for `ttl_s` seconds, and whether the ticket may serve as evidence.

    `caveats`, and a demand for each (discharger, predicate) of `discharges`, are written into the ticket.
    """

    scopes: tuple[str, ...] = field(converter=check_scopes)
    ttl_s: int = DEFAULT_TICKET_S
    delegable: bool = False
    caveats: Sequence[Caveat] = ()
    discharges: Sequence[tuple[str, str]] = ()


@frozen(kw_only=True)
class Onward:
    """In whose name tickets are issued, and what TGT and evidence leave to them. `login` is the TGT."""

    client: RootKey
    login: Ticket
    txn: bytes
    exp: int
    scopes: frozenset[str] | None
    targets: frozenset[Principal] | None
    narrowed: bool
    subject: Subject | None = None
    chain: tuple[Hop, ...] = ()


Decide = Callable[[Onward, Want], GrantTerms | Code | Reason]
"""Who decides: what is issued for a want, or why nothing is."""


def onward_of(request: TgsRequest, client: RootKey, now_s: int) -> Onward:
    """What the ticket-granting ticket and the evidence of `request` leave. Raises Refused."""
    tgt, evidence = request.tgt, request.evidence
    left = carry((*tgt.ticket.caveats, *tgt.caveats), of_tgt=True)
    own = Onward(
        client=client,
        login=tgt.ticket,
        txn=tgt.ticket.txn,
        exp=_earliest(tgt.ticket.exp, left.expires),
        scopes=left.scopes,
        targets=left.targets,
        narrowed=bool(tgt.caveats),
        subject=request.asserted,
    )
    if own.narrowed and (evidence is not None or own.subject is not None):
        raise Refused("subject-refused", "a ticket-granting ticket with caveats acts for nobody else")
    if evidence is None:
        return own
    shown = evidence.ticket
    if shown.exp <= now_s or not shown.flags & DELEGABLE:
        raise Refused("evidence-refused", "expired or not delegable")
    left = carry((*shown.caveats, *evidence.caveats), of_tgt=False)
    exp = _earliest(shown.exp, left.expires)
    if exp <= now_s:
        raise Refused("evidence-refused", "expired by its caveat")
    if len(shown.chain) >= MAX_CHAIN_HOPS:
        raise Refused("chain-refused", "too deep")
    return evolve(
        own,
        txn=shown.txn,
        scopes=left.scopes,
        exp=min(own.exp, exp),
        subject=shown.subject or Subject(shown.client, shown.client_uid, BY_EVIDENCE),
        chain=(*shown.chain, Hop(shown.client, shown.auth_time)),
    )


def _earliest(end: int, by_caveat: int | None) -> int:
    return end if by_caveat is None else min(end, by_caveat)
