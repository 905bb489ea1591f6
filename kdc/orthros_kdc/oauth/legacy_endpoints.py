"""Two older ways to ask for the same tokens: Paladin's POST /authorize, and {sub, aud} to {token}.

Shapes only: both lead to the same decisions as the grants of OAuth. Neither asks less proof than they do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from orthros_kdc.oauth.assertions import Assertion, BadAssertion
from orthros_kdc.oauth.errors import ErrorCode, OAuthError, invalid_request, json_answer, retry_headers
from orthros_kdc.oauth.forms import Form
from orthros_kdc.oauth.grants import (
    Bearer,
    Wish,
    claimed_rexp,
    claimed_scope,
    claimed_subject,
    extra_claims,
    grant_refused,
    read_bearer,
)
from orthros_kdc.oauth.http_boundary import HttpAnswer
from orthros_kdc.oauth.issuance import Minted, expiry_header
from orthros_kdc.oauth.request_parameters import read_lifetime, read_scopes, read_target
from orthros_kdc.reasons import GRANT_UNSUPPORTED

__all__ = [
    "SAM12_BEARER",
    "bare_token_answer",
    "paladin_error_answer",
    "paladin_request",
    "paladin_wish",
    "simple_form",
]

SAM12_BEARER: Final = "urn:ietf:params:oauth:grant-type:sam12-bearer"
_ANYBODY: Final = "anon"
_UNAUTHORIZED: Final = 401
# A 401 must name a scheme (RFC 9110 section 15.5.2). The assertion in the body is a bearer's, and Basic is not taken.
_CHALLENGE: Final = ("www-authenticate", 'Bearer realm="orthros"')
_TYPED_SUBJECT = re.compile(r"([A-Za-z][A-Za-z0-9]*):([a-z0-9][a-z0-9._-]*)", re.ASCII)
_SIMPLE_MEMBERS: Final = {
    "sub": "client_id",
    "aud": "audience",
    "client_secret": "client_secret",
    "scope": "scope",
    "expires_in": "expires_in",
    "rexp": "rexp",
}


def paladin_request(body: Mapping[str, Any]) -> Bearer:
    """The assertion of one request. Raises OAuthError `invalid_request`, or `invalid_grant` for the assertion."""
    grant, text, client_id = (_text(body, name) for name in ("grant_type", "assertion", "client_id"))
    if grant != SAM12_BEARER:
        raise invalid_request(f"The grant_type is {SAM12_BEARER}.", code=GRANT_UNSUPPORTED)
    try:
        bearer = read_bearer(text)
        if bearer.issuer != client_id:
            raise BadAssertion("iss is not client_id")
    except BadAssertion as problem:
        raise grant_refused(str(problem)) from None
    return bearer


def paladin_wish(assertion: Assertion, *, client: str, realm: str, now_s: int) -> Wish:
    """What a proven assertion asks for: its `aud` is the target, and `sub` whom it is for. Raises OAuthError.

    `sub` may be missing or `anon`, which is the client itself; `User:1` is the subject `user/1`.
    """
    try:
        named = assertion.text_claim("sub")
        typed = None if named is None else _TYPED_SUBJECT.fullmatch(named)
        if typed is not None:
            named = f"{typed[1].lower()}/{typed[2]}"
        subject = None if named == _ANYBODY else claimed_subject(named, client=client, realm=realm)
        claims = extra_claims(assertion, client=client, realm=realm)
        audience = _audience(assertion)
    except BadAssertion as problem:
        raise grant_refused(str(problem)) from None
    return Wish(
        grant="paladin",
        target=read_target((audience,), (), realm),
        scopes=read_scopes(claimed_scope(assertion)),
        ttl_s=read_lifetime(None, claimed_rexp(assertion), now_s),
        subject=subject,
        claims=claims,
    )


def bare_token_answer(minted: Minted) -> HttpAnswer:
    """{"token": ...}, with what was granted beside it."""
    content = minted.issued.content
    body: dict[str, Any] = {
        "token": minted.issued.text,
        "expires_in": content.ttl_s,
        "scope": " ".join(content.scopes),
    }
    if minted.dropped:
        body["dropped"] = list(minted.dropped)
    return json_answer(200, body, expiry_header(minted))


def paladin_error_answer(error: OAuthError, ref: str) -> HttpAnswer:
    """Paladin's codes. Its 404 for an unknown target is a 401 here: that would tell who exists."""
    status, code = {
        ErrorCode.INVALID_CLIENT: (_UNAUTHORIZED, "invalid_token"),
        ErrorCode.INVALID_GRANT: (_UNAUTHORIZED, "invalid_token"),
        ErrorCode.INVALID_TARGET: (_UNAUTHORIZED, "unauthorized"),
        ErrorCode.INVALID_SCOPE: (_UNAUTHORIZED, "unauthorized"),
        ErrorCode.TEMPORARILY_UNAVAILABLE: (error.status, "temporarily_unavailable"),
    }.get(error.error, (400, "bad_request"))
    body = {"error": code, "error_description": error.text, "ref": ref}
    return json_answer(status, body, *retry_headers(error), *((_CHALLENGE,) if status == _UNAUTHORIZED else ()))


def simple_form(body: Mapping[str, Any]) -> Form:
    """{"sub": client, "aud": target} as the parameters of the client_credentials grant. Raises OAuthError."""
    fields: dict[str, tuple[str, ...]] = {}
    for member, parameter in _SIMPLE_MEMBERS.items():
        value = body.get(member)
        if type(value) is int and member in ("expires_in", "rexp"):
            value = str(value)
        if value is None:
            continue
        if type(value) is not str:
            raise invalid_request(f"{member} is of the wrong kind.")
        fields[parameter] = (value,) if value else ()
    for member in ("sub", "aud"):
        if not fields.get(_SIMPLE_MEMBERS[member]):
            raise invalid_request(f"The member {member} is missing.")
    return Form(fields)


def _audience(assertion: Assertion) -> str:
    """The target: `aud` among the claims, or in the header, where Paladin's own client put it as well."""
    found = {one for one in (assertion.claims.get("aud"), assertion.header.get("aud")) if type(one) is str}
    named = [place["aud"] for place in (assertion.claims, assertion.header) if "aud" in place]
    if len(found) != 1 or any(type(one) is not str for one in named):
        raise BadAssertion("aud is not one target")
    return found.pop()


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if type(value) is not str or not value:
        raise invalid_request(f"The member {name} is missing.")
    return value
