"""What a realm in memory grants: who may call whom, and what is left to a client that acts for others.

Decides by what it is given. Knows no key but the caller's name, and seals nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from attrs import evolve, field, frozen

from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.tgs_exchange import TgsRequest
from orthros_protocol.exchanges.wants import WANT_DELEGABLE, WANT_JWT, Want
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.primitives.limits import DEFAULT_TICKET_S, MAX_CAVEATS, MAX_CHAIN_HOPS
from orthros_protocol.primitives.names import Principal, check_scopes
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code
from orthros_protocol.tickets.attenuation import split_caveats
from orthros_protocol.tickets.carrying import carry, check_limits
from orthros_protocol.tickets.caveats import Caveat
from orthros_protocol.tickets.ticket import BY_EVIDENCE, DELEGABLE, Hop, Subject

__all__ = ["Onward", "PairTerms", "objection", "onward_of", "scopes_for"]


@frozen(kw_only=True)
class PairTerms:
    """What a client may have of a target: `scopes`, for at most `max_ttl_s` seconds.

    `delegable` tickets may serve as evidence, and with `behalf` the client may show some; `subjects` are the names
    that it may assert; `caveats`, and a demand for each (discharger, predicate) of `discharges`, are written into
    the ticket.
    """

    scopes: tuple[str, ...] = field(converter=check_scopes)
    max_ttl_s: int = DEFAULT_TICKET_S
    jwt: bool = False
    delegable: bool = False
    behalf: bool = False
    subjects: Sequence[str] = ()
    caveats: Sequence[Caveat] = ()
    discharges: Sequence[tuple[str, str]] = ()


@frozen(kw_only=True)
class Onward:
    """In whose name tickets are issued, and what TGT and evidence leave to them."""

    client: RootKey
    auth_time: int
    txn: bytes
    exp: int
    scopes: frozenset[str] | None
    targets: frozenset[Principal] | None
    narrowed: bool
    subject: Subject | None = None
    chain: tuple[Hop, ...] = ()


def onward_of(request: TgsRequest, client: RootKey, now_s: int) -> Onward:
    """What the ticket-granting ticket and the evidence of `request` leave. Raises Refused."""
    tgt, evidence = request.tgt, request.evidence
    left = carry((*tgt.ticket.caveats, *tgt.caveats), of_tgt=True)
    own = Onward(
        client=client,
        auth_time=tgt.ticket.auth_time,
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


def scopes_for(pair: PairTerms, want: Want, onward: Onward) -> tuple[str, ...]:
    """Those of the wanted scopes that the pair has and that are left."""
    asked = pair.scopes if want.scopes is None else want.scopes
    return tuple(scope for scope in asked if scope in pair.scopes and (onward.scopes is None or scope in onward.scopes))


def objection(
    pair: PairTerms | None, want: Want, onward: Onward, *, now_s: int, known: Collection[str], disabled: Collection[str]
) -> Code | Reason | None:
    """Why there is no ticket, or None. `known` and `disabled` are names of the realm's principals."""
    path = [hop.principal for hop in onward.chain] + [onward.client.principal] if onward.chain else []
    wants_more = want.kind == WANT_JWT or bool(want.flags & WANT_DELEGABLE)
    excluded = onward.targets is not None and want.target not in onward.targets
    if excluded or (onward.narrowed and (wants_more or onward.exp <= now_s)):
        return "excluded-by-your-caveat"
    if pair is None:
        return "not-granted"
    for_others = pair.behalf if onward.chain else onward.subject and onward.subject.principal.name in pair.subjects
    if onward.subject is not None and not for_others:
        return "subject-refused"
    if len({*path, want.target}) <= len(path):
        return "chain-refused"
    if want.target.name in disabled:
        return "target-unavailable"
    if want.scopes and not scopes_for(pair, want, onward):
        return "no-scope-left"
    if want.kind == WANT_JWT and not pair.jwt:
        return "jwt-not-enabled"
    return _unwritable(pair, split_caveats(want.limits), known)


def _unwritable(pair: PairTerms, limits: Sequence[bytes], known: Collection[str]) -> Code | Reason | None:
    """Why what pair and client want to be written into the ticket is not, or None."""
    if any(name not in known for name, _predicate in pair.discharges):
        return "discharger-unavailable"
    try:
        check_limits(limits)
    except Refused as refusal:
        return refusal.reason
    fits = len(limits) + len(pair.caveats) + len(pair.discharges) <= MAX_CAVEATS
    return None if fits else "caveat-not-carried"


def _earliest(end: int, by_caveat: int | None) -> int:
    return end if by_caveat is None else min(end, by_caveat)
