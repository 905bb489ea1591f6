"""In whose name tickets are asked for, and what the TGT and the evidence behind a request leave to them.

Judges evidence by facts that were gathered; what may be issued, policy decides. Knows no store and no socket.
"""

from __future__ import annotations

from attrs import evolve, field, frozen

from orthros_kdc.issuing.token_claims import Lineage
from orthros_kdc.realm.principals import ClientView
from orthros_kdc.store.base import PrincipalRecord
from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.tgs_exchange import OpenedTgt, TgsRequest
from orthros_protocol.primitives.instants import Timestamp, seconds_of
from orthros_protocol.primitives.limits import MAX_CHAIN_HOPS, MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.call_chain import path_of
from orthros_protocol.tickets.carrying import carry
from orthros_protocol.tickets.evidence import OpenedEvidence
from orthros_protocol.tickets.ticket import BY_EVIDENCE, DELEGABLE, Hop, Subject, Ticket, check_ticket_times

__all__ = ["Delegation", "Parties", "acting_for", "delegation_of", "named_at", "path_before"]


@frozen(eq=False, kw_only=True)
class Parties:
    """Those whom evidence names, as the realm knows them now, each None when there is nobody: the `caller` who made
    the call, the `subject` if it is a principal, and the `hops` of the chain in their order. No login counts that was
    before the Unix second `not_before`."""

    caller: ClientView | None
    subject: ClientView | None
    hops: tuple[ClientView | None, ...]
    not_before: int


@frozen(eq=False, kw_only=True)
class Delegation:
    """What every want of one request inherits, and can only narrow.

    `login` is the TGT: of it come client, login and key id. `txn`, `subject` and `chain` go into what is issued.
    `exp` is the Unix second at which TGT or evidence end, whichever is first; `caveat_end`, `scopes` and `targets` are
    the limits of their caveats, None without one. `narrowed` tells whether the TGT has caveats.
    """

    login: Ticket
    txn: bytes
    exp: int
    caveat_end: int | None = None
    scopes: frozenset[str] | None = None
    targets: frozenset[Principal] | None = None
    narrowed: bool = False
    subject: Subject | None = None
    chain: tuple[Hop, ...] = ()
    path: tuple[str, ...] = field(default=())

    @property
    def subject_text(self) -> str | None:
        """The subject as rules know it: `name`, or `name@realm` for one of another realm, whom no rule covers."""
        return None if self.subject is None else named_at(self.login.client.realm, self.subject.principal)

    @property
    def is_proven(self) -> bool:
        """Whether evidence proves the subject; else the client only says so."""
        return bool(self.chain)

    @property
    def lineage(self) -> Lineage | None:
        """The same for a token, None unless it is proven."""
        if self.subject is None or not self.chain:
            return None
        # Who is the subject does not act for it (RFC 8693 section 4.1).
        proven = self.subject.how == BY_EVIDENCE
        actors = self.chain[1:] if proven else self.chain
        return Lineage(
            subject=str(self.subject.principal) if proven else self.subject.principal.name,
            act=tuple(str(hop.principal) for hop in reversed(actors)),
            auth_time=self.chain[0].auth_time,
            txn=self.txn,
            exp=self.exp,
        )


def named_at(home: str, principal: Principal) -> str:
    """The name of `principal` as rules and the audit log of the realm `home` write it."""
    return principal.name if principal.realm == home else str(principal)


def acting_for(evidence: OpenedEvidence) -> Subject:
    """For whom evidence speaks: its subject, as surely as that is known, or the client that made the call."""
    shown = evidence.ticket
    return shown.subject or Subject(shown.client, shown.client_uid, BY_EVIDENCE)


def path_before(evidence: OpenedEvidence) -> tuple[str, ...]:
    """Whom a call came through before its target, as `ChainRule` names them: the first caller first."""
    shown = evidence.ticket
    return path_of(shown) or (named_at(shown.server.realm, shown.client),)


def delegation_of(request: TgsRequest, parties: Parties | None, now: Timestamp) -> Delegation:
    """What the request passes on to each of its wants. `parties` are those of its evidence, None without any.

    Raises Refused with the code to seal into a TGS-ERR: `caveat-not-carried`, `caveat-unsupported`, `subject-refused`
    for a TGT with caveats that asks on somebody's behalf, `evidence-refused` or `chain-refused`.
    """
    own = _own(request.tgt)
    if request.asserted is None and request.evidence is None:
        return own
    if own.narrowed:
        # Else a restricted worker and a colluding target would reach a third service as the delegator.
        raise Refused("subject-refused", "a ticket-granting ticket with caveats acts for nobody else")
    if request.evidence is None:
        return evolve(own, subject=request.asserted)
    if parties is None:
        raise Refused("evidence-refused", "nobody looked for those whom it names")
    return _with_evidence(own, request.evidence, parties, now)


def _own(tgt: OpenedTgt) -> Delegation:
    caveats = (*tgt.ticket.caveats, *tgt.caveats)
    left = carry(caveats, of_tgt=True)
    return Delegation(
        login=tgt.ticket,
        txn=tgt.ticket.txn,
        exp=tgt.ticket.exp,
        caveat_end=left.expires,
        scopes=left.scopes,
        targets=left.targets,
        narrowed=bool(caveats),
    )


def _with_evidence(own: Delegation, evidence: OpenedEvidence, parties: Parties, now: Timestamp) -> Delegation:
    shown = evidence.ticket
    try:
        check_ticket_times(shown, now, max_life_s=MAX_TICKET_LIFE_S)
    except Refused as refusal:
        raise Refused("evidence-refused", f"{refusal.code} {refusal.detail}") from None
    if not shown.flags & DELEGABLE:
        raise Refused("evidence-refused", "it is not delegable")
    _require_parties(shown, parties)
    left = carry((*shown.caveats, *evidence.caveats), of_tgt=False)
    if left.expires is not None and left.expires <= seconds_of(now):
        raise Refused("evidence-refused", "its expires caveat has passed")
    if len(shown.chain) >= MAX_CHAIN_HOPS:
        raise Refused("chain-refused", f"more than {MAX_CHAIN_HOPS} hops before the client")
    return evolve(
        own,
        txn=shown.txn,
        exp=min(own.exp, shown.exp),
        caveat_end=left.expires,
        scopes=left.scopes,
        subject=acting_for(evidence),
        chain=(*shown.chain, Hop(shown.client, shown.auth_time)),
        path=(*path_before(evidence), own.login.client.name),
    )


def _require_parties(shown: Ticket, parties: Parties) -> None:
    """Everybody whom evidence names must be there, be the one of then, and be enabled; and the caller's login count."""
    if min((shown.auth_time, *(hop.auth_time for hop in shown.chain))) < parties.not_before:
        raise Refused("evidence-refused", "the realm takes no login from before it was restored")
    caller, subject = parties.caller, shown.subject
    _require_standing(shown.client, None if caller is None else caller.principal, shown.auth_time)
    if caller is None or shown.ckid not in caller.live_login_kids:
        raise Refused("evidence-refused", f"{shown.client}: the key of its login has been retired")
    if subject is not None and subject.uid:
        known = parties.subject
        # The number says who it is, so when it was created does not matter.
        _require_standing(subject.principal, None if known is None else known.principal, None)
    for hop, view in zip(shown.chain, parties.hops, strict=True):
        _require_standing(hop.principal, None if view is None else view.principal, hop.auth_time)
        # Which key a hop logged in with is not known any more; but not with one that was made only afterwards.
        if view is None or hop.auth_time < view.logins_since:
            raise Refused("evidence-refused", f"{hop.principal}: the key of its login has been retired")


def _require_standing(named: Principal, record: PrincipalRecord | None, auth_time: int | None) -> None:
    if record is None or record.name != named.name:
        raise Refused("evidence-refused", f"{named} no longer exists")
    # A re-created name is another principal, and logged in only afterwards.
    if auth_time is not None and auth_time < record.created:
        raise Refused("evidence-refused", f"{named} is somebody else now")
    if record.disabled:
        raise Refused("evidence-refused", f"{named} is disabled")
