"""Introspection (RFC 7662): what a token says, to the two who may know it, and exactly one word to everybody else.

Pure: the token is opened and the facts are gathered elsewhere.
"""

from __future__ import annotations

from typing import Any

from attrs import frozen

from orthros_kdc.issuing.token_claims import OwnToken, subject_name
from orthros_kdc.oauth.errors import json_answer
from orthros_kdc.oauth.values import Answer
from orthros_kdc.realm_view import OAuthClientView, RealmFacts, TargetView

__all__ = ["INACTIVE", "Standing", "active_answer", "may_know", "why_ended"]

INACTIVE = json_answer(200, {"active": False})
"""Forged, expired, revoked, somebody else's, garbage: all the same."""


@frozen(eq=False, kw_only=True)
class Standing:
    """What has become of a token since it was issued."""

    token: OwnToken
    target: TargetView
    client: OAuthClientView | None
    is_revoked: bool


def may_know(token: OwnToken, target: TargetView, caller: str, realm: str) -> bool:
    """Whether `caller`, a name, is the token's target or the client that it was issued to."""
    return caller == target.principal.name or caller == subject_name(str(token.client), realm)


def why_ended(standing: Standing, realm: RealmFacts) -> str:
    """Why the token no longer counts, as a row of `reasons.REASONS`; empty while it does.

    Its client must still be there, and be the one of then: a re-created name is somebody else. A rule must still let
    it have tokens for the target.
    """
    client, target = standing.client, standing.target.principal
    if standing.is_revoked:
        return "revoked"
    if client is None or client.principal.created > standing.token.iat:
        return "client-unknown"
    if client.principal.disabled or target.disabled:
        return "principal-disabled"
    rules = realm.policy.rules_for(client.principal.name, target.name)
    return "" if any(rule.jwt for rule in rules) else "not-granted"


def active_answer(token: OwnToken) -> Answer:
    """RFC 7662 section 2.2: the claims as they are, `act` among them; `username` is the subject that a client
    speaks for."""
    body: dict[str, Any] = {**token.claims, "active": True, "token_type": "Bearer"}
    if token.act:
        body["username"] = token.subject
    return json_answer(200, body)
