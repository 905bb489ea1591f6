"""Introspection (RFC 7662): what a token says, to the two who may know it, and exactly one word to everybody else.

Pure: the token is opened and the facts are gathered elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from orthros_kdc.issuing.token_claims import OwnToken, callers_of, subject_name
from orthros_kdc.oauth.errors import json_answer
from orthros_kdc.oauth.http_boundary import HttpAnswer
from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Kind
from orthros_kdc.policy.holding import holding
from orthros_kdc.realm.principals import OAuthClientView, TargetView
from orthros_kdc.realm.snapshot import RealmFacts
from orthros_protocol.primitives.instants import Timestamp, seconds_of

__all__ = ["INACTIVE", "Judgement", "TokenStanding", "active_answer", "judge_token", "may_know"]

INACTIVE = json_answer(200, {"active": False})
"""Forged, expired, revoked, another client's, garbage: all the same."""


@frozen(eq=False, kw_only=True)
class TokenStanding:
    """What has become of a token since it was issued. `parties` are the principals that it names as proven, by name:
    its client, who acted before, and a subject that is one; None for who is there no more."""

    token: OwnToken
    target: TargetView
    parties: Mapping[str, OAuthClientView | None]
    is_revoked: bool


def may_know(token: OwnToken, target: TargetView, caller: str, realm: str) -> bool:
    """Whether `caller`, a name, is the token's target or the client that it was issued to."""
    return caller == target.principal.name or caller == subject_name(str(token.client), realm)


@frozen(kw_only=True)
class Judgement:
    """What a token is still good for: `scopes`, of those that it carries. With a `code`, the name of a reason,
    it counts for nothing."""

    code: str = ""
    scopes: tuple[str, ...] = ()


def judge_token(standing: TokenStanding, realm: RealmFacts, now: Timestamp) -> Judgement:
    """Whether the token still counts at `now`, and for which scopes.

    Its parties must still be there, and be those of then: a re-created name is another principal. Rules must still
    let its client have tokens for the target, in this name if it is another's, and along the path that it came. A
    scope counts while one of these rules grants it; a token that had scopes and has none left counts no more. Where
    the client asked from is not judged again.
    """
    token, target = standing.token, standing.target.principal
    if standing.is_revoked or token.auth_time < realm.not_before:
        return Judgement(code="revoked")
    records = [None if one is None else one.principal for one in standing.parties.values()]
    if any(one is None or one.created > token.iat for one in records):
        return Judgement(code="client-unknown")
    if target.disabled or any(one is not None and one.disabled for one in records):
        return Judgement(code="principal-disabled")
    rules = [rule for rule in realm.policy.rules_for(token.client.name, target.name) if rule.jwt]
    if not rules:
        return Judgement(code="not-granted")
    home = realm.record.realm
    subject, callers = subject_name(token.subject, home) if token.act else None, callers_of(token, home)
    # Who asserts a subject is the first caller; only evidence, or a token that was exchanged, brings others before.
    proven = len(callers) > 1
    ask = Ask(
        target=target.name,
        kind=Kind.JWT,
        subject=subject,
        proven=proven and subject is not None,
        path=callers if proven else (),
    )
    policy = realm.policy
    known = Circumstances(address=None, now=seconds_of(now), groups_of=policy.groups_of, scopes_of=policy.own_scopes)
    held = holding(ask, rules, known)
    if held.code:
        return Judgement(code=held.code)
    granted = {scope for rule in held.rules for scope in rule.scopes}
    scopes = tuple(scope for scope in token.scopes if scope in granted)
    return Judgement(code="" if scopes or not token.scopes else "no-scope-left", scopes=scopes)


def active_answer(token: OwnToken, scopes: tuple[str, ...]) -> HttpAnswer:
    """RFC 7662 section 2.2: the claims as they are, `act` among them, but `scope` holds only those that still count;
    `username` is the subject that a client speaks for."""
    body: dict[str, Any] = {**token.claims, "active": True, "token_type": "Bearer"}
    if "scope" in body:
        body["scope"] = " ".join(scopes)
    if token.act:
        body["username"] = token.subject
    return json_answer(200, body)
