"""The ticket-granting exchange, decided: one want at a time, from one policy snapshot and one clock reading.

Policy comes before existence: without a rule the target is never looked up. Knows no store and no socket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from orthros_kdc.audit.events import TgsFacts, TgsIssued, TgsRefused
from orthros_kdc.issuing.delegation import Delegation
from orthros_kdc.issuing.jwt_export import Requester, issue_token
from orthros_kdc.issuing.written_caveats import DEMANDS_ENTROPY, Written, write_caveats
from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Denial, Grant, Kind
from orthros_kdc.policy.decide import decide
from orthros_kdc.policy.rule import Rule
from orthros_kdc.realm.principals import ClientView, TargetView
from orthros_kdc.realm.snapshot import RealmFacts
from orthros_kdc.reasons import DATABASE_INVALID
from orthros_protocol.errors import LocalMisuse, Misconfigured, Refused
from orthros_protocol.exchanges.tgs_exchange import TgsRequest, UnverifiedTgsRequest, check_tgs_extensions
from orthros_protocol.exchanges.wants import (
    EXACT,
    KNOWN_WANT_FLAGS,
    WANT_DELEGABLE,
    WANT_JWT,
    Granted,
    NotGranted,
    Want,
    demands_as,
)
from orthros_protocol.primitives.instants import Timestamp, seconds_of
from orthros_protocol.primitives.limits import KDC_SKEW_MS, MAX_TICKET_BYTES, MAX_TICKET_LIFE_S, TICKET_FUTURE_S
from orthros_protocol.primitives.sealing import ENTROPY_BYTES
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code, reason_for
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.notes import Note
from orthros_protocol.tickets.ticket import DELEGABLE, TicketContent, check_flags, seal_ticket

__all__ = [
    "ENTROPY_PER_WANT",
    "EXCLUDED",
    "NO_FACTS",
    "Gathered",
    "WantFacts",
    "WantGranted",
    "WantRefused",
    "check_caller",
    "decide_want",
    "is_excluded",
]

_TICKET_ENTROPY: Final = 16 + 32 + ENTROPY_BYTES
ENTROPY_PER_WANT: Final = _TICKET_ENTROPY + DEMANDS_ENTROPY
"""Bytes: for all of `_Fresh`."""

# What a ticket holds besides scopes, chain and caveats: three names in full, keys, times and the box around it.
_FRAME_BYTES: Final = 900
_HOP_BYTES: Final = 280
_KINDS: Final[Mapping[int, str]] = {Kind.TICKET: "ticket", Kind.JWT: "jwt"}


@frozen(eq=False)
class WantFacts:
    """What was gathered for one want: its rules, and the target and the dischargers that they name only if there are
    any; None for those who are not there."""

    rules: tuple[Rule, ...]
    target: TargetView | None
    dischargers: Mapping[str, TargetView | None] = field(factory=dict)


NO_FACTS: Final = WantFacts((), None)
"""Of a want that no rule allows."""
EXCLUDED: Final = WantFacts((), None)
"""Of a want that `is_excluded`: nothing is looked up for it."""


@frozen(eq=False, kw_only=True)
class Gathered:
    """What the wants of a request are decided by, all of one moment: the realm, the `caller`, and what TGT and evidence
    leave to it. `about` is what their events say; `address` is the IP address of the sender, empty on a local socket.
    """

    realm: RealmFacts
    caller: ClientView
    delegation: Delegation
    about: TgsFacts
    address: str


@frozen(eq=False)
class WantGranted:
    """What is issued for one want: for the reply, and for the audit log."""

    result: Granted
    event: TgsIssued


@frozen(eq=False)
class WantRefused:
    """Why nothing is issued for one want, the same; the reference is missing in both until it is recorded."""

    result: NotGranted
    event: TgsRefused


@frozen(eq=False)
class _Fresh:
    """The chance that goes into one ticket or token: its id, its key, and what its boxes take."""

    tid: bytes
    session_key: bytes = field(repr=False)
    box: bytes = field(repr=False)
    demands: bytes = field(repr=False)


def check_caller(
    request: TgsRequest, unverified: UnverifiedTgsRequest, client: ClientView | None, not_before: int, now: Timestamp
) -> ClientView:
    """The client, or Refused with the code to seal into a TGS-ERR for the request as a whole.

    `not_before`: the Unix second before which no login counts in this realm.
    """
    tgt, second = request.tgt.ticket, seconds_of(now)
    if abs(request.ts - now) > KDC_SKEW_MS:
        raise Refused("clock-skew")
    if tgt.exp <= second or tgt.exp - tgt.iat > MAX_TICKET_LIFE_S:
        raise Refused("tgt-expired")
    if tgt.iat > second + TICKET_FUTURE_S:
        # A clock that was ahead issued it. It would outlive revocations that are made before its date.
        raise Refused("tgt-expired", f"issued {tgt.iat - second} s from now: log in again")
    if tgt.auth_time < not_before:
        raise Refused("revoked", "the realm takes no login from before it was restored: log in again")
    # A re-created name is another principal: uid and name must both still be this client's.
    if client is None or client.principal.name != tgt.client.name:
        raise Refused("revoked", "the principal no longer exists")
    if client.principal.disabled:
        raise Refused("principal-disabled")
    if tgt.ckid not in client.live_login_kids:
        raise Refused("revoked", "the key of this login has been retired")
    check_tgs_extensions(unverified)
    return client


def is_excluded(want: Want, delegation: Delegation, now: Timestamp) -> bool:
    """Whether caveats on the TGT exclude the want, whatever its target is: to be asked before any look-up."""
    if not delegation.narrowed:
        return False
    # What can be handed on would outgrow the caveats, and a JWT cannot carry what comes of them.
    hands_on = want.kind == WANT_JWT or bool(want.flags & WANT_DELEGABLE)
    ended = delegation.caveat_end is not None and delegation.caveat_end <= seconds_of(now)
    return hands_on or ended or (delegation.targets is not None and want.target not in delegation.targets)


def decide_want(want: Want, facts: WantFacts, gathered: Gathered, *, entropy: bytes) -> WantGranted | WantRefused:
    """Grants or refuses one want; `facts` is `EXCLUDED` where the want `is_excluded`. `entropy` is `ENTROPY_PER_WANT`
    fresh random bytes.

    Raises Misconfigured `database-invalid`, or LocalMisuse when the decision was for another subject.
    """
    about, delegation, target = gathered.about, gathered.delegation, facts.target
    if facts is EXCLUDED:
        return _refused(want, about, "excluded-by-your-caveat")
    outcome = _outcome(want, facts, gathered)
    if isinstance(outcome, Denial) or target is None:
        code = outcome.code if isinstance(outcome, Denial) else "target-unavailable"
        return _refused(want, about, code, notes=outcome.notes)
    if outcome.subject != delegation.subject_text:
        raise LocalMisuse("value-invalid", "the grant was decided for another subject")
    fresh = _Fresh(entropy[:16], entropy[16:48], entropy[48:_TICKET_ENTROPY], entropy[_TICKET_ENTROPY:])
    try:
        if want.kind == Kind.JWT:
            result = _grant_jwt(want, outcome, target, gathered, fresh)
        else:
            result = _grant_ticket(want, outcome, target, facts.dischargers, gathered, fresh)
    except Refused as refusal:
        return _refused(want, about, refusal.reason, notes=outcome.notes, detail=refusal.detail)
    issued = TgsIssued(
        about=about,
        target=str(want.target),
        kind=_KINDS[want.kind],
        scopes=result.scopes,
        ttl_s=result.ttl_s,
        rules=outcome.rule_ids,
        kvno=result.kvno,
        notes=outcome.notes,
        delegable=int(outcome.delegable),
        policy_seq=gathered.realm.policy.seq,
        tid=fresh.tid.hex(),
    )
    return WantGranted(result, issued)


def _refused(
    want: Want, about: TgsFacts, code: Code | Reason, *, notes: tuple[Note, ...] = (), detail: str = ""
) -> WantRefused:
    reason = reason_for(code)
    refused = TgsRefused(
        about=about,
        code=reason.name,
        target=str(want.target),
        kind=_KINDS[want.kind],
        scopes=want.scopes,
        detail=detail,
        notes=notes,
    )
    return WantRefused(NotGranted(target=want.target, reason=reason, retry_s=0, ref=bytes(8)), refused)


def _outcome(want: Want, facts: WantFacts, gathered: Gathered) -> Grant | Denial:
    try:
        check_flags(want.flags, KNOWN_WANT_FLAGS)
    except Refused:
        return Denial(code="unsupported-critical")
    delegation, realm, second = gathered.delegation, gathered.realm, seconds_of(gathered.about.at)
    ask = Ask(
        target=want.target.name,
        kind=Kind(want.kind),
        scopes=want.scopes,
        ttl_s=want.ttl_s,
        exact=bool(want.flags & EXACT),
        delegable=bool(want.flags & WANT_DELEGABLE),
        subject=delegation.subject_text,
        proven=delegation.is_proven,
        path=delegation.path,
    )
    known = Circumstances(
        address=gathered.address,
        now=second,
        groups_of=realm.policy.groups_of,
        scopes_of=realm.policy.own_scopes,
        client_caps=gathered.caller.caps,
        target=None if facts.target is None else facts.target.facts,
        limits=realm.record.limits,
        remaining_tgt_s=delegation.exp - second,
        caveat_remaining_s=None if delegation.caveat_end is None else delegation.caveat_end - second,
        caveat_scopes=delegation.scopes,
    )
    return decide(ask, facts.rules, known)


def _require_room(grant: Grant, written: Written, delegation: Delegation) -> None:
    """Raises Refused `caveat-not-carried` when ticket and caveats together would be larger than a ticket can be."""
    caveats = sum(len(caveat) + 3 for caveat in written.caveats)
    size = _FRAME_BYTES + caveats + sum(len(scope) + 2 for scope in grant.scopes) + _HOP_BYTES * len(delegation.chain)
    if size > MAX_TICKET_BYTES:
        raise Refused("caveat-not-carried", "the ticket would be too large")


def _grant_ticket(  # noqa: PLR0917  # one caller
    want: Want,
    grant: Grant,
    target: TargetView,
    dischargers: Mapping[str, TargetView | None],
    gathered: Gathered,
    fresh: _Fresh,
) -> Granted:
    key, delegation = target.ticket_key, gathered.delegation
    if key is None:
        raise Misconfigured(DATABASE_INVALID, f"{want.target.name} was granted without a key")
    login, second = delegation.login, seconds_of(gathered.about.at)
    written = write_caveats(
        grant,
        want.limits,
        dischargers,
        about=login.client,
        expires=second + grant.ttl_s,
        entropy=fresh.demands,
        carried=delegation.scopes if grant.delegable else None,
    )
    _require_room(grant, written, delegation)
    flags, mac_key = DELEGABLE if grant.delegable else 0, gathered.realm.keys.newest_mac
    content = TicketContent(
        tid=fresh.tid,
        client=login.client,
        client_uid=login.client_uid,
        session_key=fresh.session_key,
        iat=second,
        exp=second + grant.ttl_s,
        auth_time=login.auth_time,
        ckid=login.ckid,
        flags=flags,
        scopes=grant.scopes,
        caveats_field=join_caveats(written.caveats),
        chain=delegation.chain,
        subject=delegation.subject,
        txn=delegation.txn,
        mac_number=mac_key.number,
    )
    ticket = seal_ticket(key, mac_key, content, entropy=fresh.box)
    return Granted(
        target=want.target,
        target_uid=key.uid,
        credential=ticket,
        session_key=fresh.session_key,
        ttl_s=grant.ttl_s,
        flags=flags,
        kvno=key.kvno,
        scopes=grant.scopes,
        subject=delegation.subject,
        notes=grant.notes,
        ext=demands_as(written.demands),
    )


def _grant_jwt(want: Want, grant: Grant, target: TargetView, gathered: Gathered, fresh: _Fresh) -> Granted:
    delegation = gathered.delegation
    if want.limits:
        raise Refused("caveat-not-carried", "a JWT has no place for limits")
    if grant.delegable and delegation.scopes is not None:
        raise Refused("caveat-not-carried", "whoever exchanged the JWT would not be bound by the scopes caveat")
    login = delegation.login
    token = issue_token(
        grant,
        target,
        gathered.realm,
        Requester(login.client, login.auth_time, delegation.txn, delegation.lineage),
        jti=fresh.tid,
        now=gathered.about.at,
        entropy=fresh.box,
    )
    credential = token.text.encode("ascii")
    if len(credential) > MAX_TICKET_BYTES:
        raise Refused("exact-not-possible", "the token would be too large")
    return Granted(
        target=want.target,
        target_uid=target.principal.uid,
        credential=credential,
        session_key=None,
        ttl_s=grant.ttl_s,
        flags=DELEGABLE if grant.delegable else 0,
        scopes=grant.scopes,
        subject=delegation.subject,
        notes=grant.notes,
    )
