"""Introspection (RFC 7662): what a token says, to the two who may know it, and exactly one word to everybody else.

Pure: the token is opened and the facts are gathered elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from orthros_kdc.issuing.token_claims import OwnToken, callers_of, subject_name
from orthros_kdc.oauth.errors import json_answer
from orthros_kdc.oauth.values import Answer
from orthros_kdc.policy.conditions import holding
from orthros_kdc.policy.terms import Ask, Kind
from orthros_kdc.realm_view import OAuthClientView, RealmFacts, TargetView

__all__ = ["INACTIVE", "Standing", "active_answer", "may_know", "why_ended"]

INACTIVE = json_answer(200, {"active": False})
"""Forged, expired, revoked, somebody else's, garbage: all the same."""


@frozen(eq=False, kw_only=True)
class Standing:
    """What has become of a token since it was issued. `parties` are the principals that it names as proven, by name:
    its client, who acted before, and a subject that is one; None for who is there no more."""

    token: OwnToken
    target: TargetView
    parties: Mapping[str, OAuthClientView | None]
    is_revoked: bool


def may_know(token: OwnToken, target: TargetView, caller: str, realm: str) -> bool:
    """Whether `caller`, a name, is the token's target or the client that it was issued to."""
    return caller == target.principal.name or caller == subject_name(str(token.client), realm)


def why_ended(standing: Standing, realm: RealmFacts) -> str:
    """Why the token no longer counts, as a row of `reasons.REASONS`; empty while it does.

    Its parties must still be there, and be those of then: a re-created name is somebody else. A rule must still let
    its client have tokens for the target, in this name if it is another's, and along the path that it came. Where the
    client asked from is not judged again.
    """
    token, target = standing.token, standing.target.principal
    if standing.is_revoked:
        return "revoked"
    records = [None if one is None else one.principal for one in standing.parties.values()]
    if any(one is None or one.created > token.iat for one in records):
        return "client-unknown"
    if target.disabled or any(one is not None and one.disabled for one in records):
        return "principal-disabled"
    rules = [rule for rule in realm.policy.rules_for(token.client.name, target.name) if rule.jwt]
    if not rules:
        return "not-granted"
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
    return holding(ask, rules, address=None, groups_of=realm.policy.groups_of).code


def active_answer(token: OwnToken) -> Answer:
    """RFC 7662 section 2.2: the claims as they are, `act` among them; `username` is the subject that a client
    speaks for."""
    body: dict[str, Any] = {**token.claims, "active": True, "token_type": "Bearer"}
    if token.act:
        body["username"] = token.subject
    return json_answer(200, body)
