"""The ticket-granting exchange, decided: one want at a time, from one policy snapshot and one clock reading.

Policy comes before existence: without a rule the target is never looked up. Knows no store and no socket.
"""

from __future__ import annotations

from typing import Final, Self

from attrs import frozen

from orthros_kdc.issuing.jwt_export import issue_token
from orthros_kdc.policy.decide import Ask, Denial, Grant, Kind, decide
from orthros_kdc.policy.model import Rule
from orthros_kdc.realm_view import ClientView, RealmFacts, TargetView
from orthros_protocol import (
    DELEGABLE,
    EXACT,
    KNOWN_WANT_FLAGS,
    WANT_DELEGABLE,
    Granted,
    Misconfigured,
    NotGranted,
    Refused,
    TgsRequest,
    Ticket,
    Timestamp,
    UnverifiedTgsRequest,
    Want,
    check_flags,
    check_tgs_extensions,
    reason_for,
    seal_ticket,
    seconds_of,
)
from orthros_protocol.limits import KDC_SKEW_MS, MAX_TICKET_LIFE_S
from orthros_protocol.notes import Note

__all__ = ["ENTROPY_PER_WANT", "Decided", "WantFacts", "check_caller", "decide_want"]

ENTROPY_PER_WANT: Final = 16 + 32 + 24
"""Bytes: ticket id or reference, session key, box."""


@frozen(eq=False)
class WantFacts:
    """What was gathered for one want: its rules, and the target only if there are any."""

    rules: tuple[Rule, ...]
    target: TargetView | None


@frozen(eq=False)
class Decided:
    """One want's result, for the reply, and the facts behind it, for the audit log."""

    result: Granted | NotGranted
    code: str = ""
    tid: bytes = b""
    rule_ids: tuple[int, ...] = ()
    notes: tuple[Note, ...] = ()

    @classmethod
    def refused(cls, want: Want, code: str, ref: bytes, *, retry_s: int = 0, notes: tuple[Note, ...] = ()) -> Self:
        """A refusal of one want."""
        return cls(NotGranted(target=want.target, reason=reason_for(code), retry_s=retry_s, ref=ref), code, notes=notes)


def check_caller(
    request: TgsRequest, unverified: UnverifiedTgsRequest, client: ClientView | None, now: Timestamp
) -> ClientView:
    """The client, or Refused with the code to seal into a TGS-ERR for the request as a whole."""
    tgt = request.tgt.ticket
    if abs(request.ts - now) > KDC_SKEW_MS:
        raise Refused("clock-skew")
    if tgt.exp <= seconds_of(now) or tgt.exp - tgt.iat > MAX_TICKET_LIFE_S:
        raise Refused("tgt-expired")
    # A re-created name is somebody else: uid and name must both still be this client's.
    if client is None or client.principal.name != tgt.client.name:
        raise Refused("revoked", "the principal no longer exists")
    if client.principal.disabled:
        raise Refused("principal-disabled")
    if tgt.ckid not in client.live_login_kids:
        raise Refused("revoked", "the key of this login has been retired")
    check_tgs_extensions(unverified)
    if request.tgt.caveats:
        raise Refused("caveat-not-carried", "this KDC does not accept caveats on a TGT yet")
    if unverified.behalf is not None:
        raise Refused("subject-refused", "this KDC does not issue on behalf of others yet")
    return client


def decide_want(
    want: Want,
    facts: WantFacts,
    tgt: Ticket,
    client: ClientView,
    realm: RealmFacts,
    *,
    now: Timestamp,
    entropy: bytes,
    address: str,
) -> Decided:
    """Grants or refuses one want from the IP address `address`, empty on a local socket. `entropy` is
    `ENTROPY_PER_WANT` fresh random bytes."""
    tid = entropy[:16]
    remaining_s = tgt.exp - seconds_of(now)
    outcome = _outcome(want, facts, client, realm, remaining_s, address)
    if isinstance(outcome, Denial) or facts.target is None:
        code = outcome.code if isinstance(outcome, Denial) else "target-unavailable"
        return Decided.refused(want, code, tid[:8], notes=outcome.notes)
    if want.kind == Kind.JWT:
        result = _grant_jwt(want, outcome, tgt=tgt, target=facts.target, realm=realm, now=now, entropy=entropy)
    else:
        result = _grant_ticket(want, outcome, tgt=tgt, target=facts.target, realm=realm, now=now, entropy=entropy)
    return Decided(result, "", tid, outcome.rule_ids, outcome.notes)


def _outcome(  # noqa: PLR0917  # one caller, and the order in which the facts were gathered
    want: Want, facts: WantFacts, client: ClientView, realm: RealmFacts, remaining_s: int, address: str
) -> Grant | Denial:
    try:
        check_flags(want.flags, KNOWN_WANT_FLAGS)
    except Refused as refusal:
        return Denial(code=refusal.code)
    ask = Ask(
        target=want.target.name,
        kind=Kind(want.kind),
        scopes=want.scopes,
        ttl_s=want.ttl_s,
        exact=bool(want.flags & EXACT),
        delegable=bool(want.flags & WANT_DELEGABLE),
    )
    return decide(
        ask,
        facts.rules,
        client_caps=client.caps,
        target=None if facts.target is None else facts.target.facts,
        limits=realm.record.limits,
        remaining_tgt_s=remaining_s,
        address=address,
        groups_of=realm.policy.groups_of,
    )


def _grant_ticket(
    want: Want, grant: Grant, *, tgt: Ticket, target: TargetView, realm: RealmFacts, now: Timestamp, entropy: bytes
) -> Granted:
    key = target.ticket_key
    if key is None:
        raise Misconfigured("database-invalid", f"{target.principal.name} was granted without a key")
    second = seconds_of(now)
    flags = DELEGABLE if grant.delegable else 0
    session_key = entropy[16:48]
    ticket = seal_ticket(
        key,
        realm.keys.newest_mac,
        tid=entropy[:16],
        client=tgt.client,
        client_uid=tgt.client_uid,
        session_key=session_key,
        iat=second,
        exp=second + grant.ttl_s,
        auth_time=tgt.auth_time,
        ckid=tgt.ckid,
        flags=flags,
        scopes=grant.scopes,
        txn=tgt.txn,
        entropy=entropy[48:72],
    )
    return Granted(
        target=want.target,
        target_uid=key.uid,
        credential=ticket,
        session_key=session_key,
        ttl_s=grant.ttl_s,
        flags=flags,
        kvno=key.kvno,
        scopes=grant.scopes,
        notes=grant.notes,
    )


def _grant_jwt(
    want: Want, grant: Grant, *, tgt: Ticket, target: TargetView, realm: RealmFacts, now: Timestamp, entropy: bytes
) -> Granted:
    token = issue_token(
        grant,
        target,
        realm,
        client=tgt.client,
        auth_time=tgt.auth_time,
        txn=tgt.txn,
        jti=entropy[:16],
        now=now,
        entropy=entropy[48:72],
    )
    return Granted(
        target=want.target,
        target_uid=target.principal.uid,
        credential=token.text.encode("ascii"),
        session_key=None,
        ttl_s=grant.ttl_s,
        flags=DELEGABLE if grant.delegable else 0,
        scopes=grant.scopes,
        notes=grant.notes,
    )
