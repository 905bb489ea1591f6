"""The three grants, from parameters to one wish: what is asked for, in whose name, on what proof.

client_credentials (RFC 6749 section 4.4), jwt-bearer (RFC 7523), token-exchange (RFC 8693). Pure; grants nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from attrs import field, frozen

from orthros_kdc.issuing.token_claims import RESERVED_CLAIMS, OwnToken
from orthros_kdc.oauth.assertions import Assertion, BadAssertion, parse_assertion
from orthros_kdc.oauth.client_authentication import client_name
from orthros_kdc.oauth.errors import ErrorCode, OAuthError, invalid_request
from orthros_kdc.oauth.forms import Form
from orthros_kdc.oauth.request_parameters import TargetWish, read_lifetime, read_scopes, read_target
from orthros_kdc.reasons import ASSERTION_INVALID, FORM_INVALID, GRANT_UNSUPPORTED
from orthros_protocol.primitives.names import is_name
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code

__all__ = [
    "ACCESS_TOKEN_TYPE",
    "CLIENT_CREDENTIALS",
    "GRANT_TYPES",
    "JWT_BEARER",
    "JWT_TOKEN_TYPE",
    "TOKEN_EXCHANGE",
    "Bearer",
    "ExchangeTokens",
    "Wish",
    "bearer_assertion",
    "bearer_wish",
    "claimed_rexp",
    "claimed_scope",
    "claimed_subject",
    "credentials_wish",
    "exchange_tokens",
    "exchange_wish",
    "extra_claims",
    "grant_refused",
    "read_bearer",
    "require_grant_type",
]

T = TypeVar("T")

CLIENT_CREDENTIALS: Final = "client_credentials"
JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
GRANT_TYPES: Final = (CLIENT_CREDENTIALS, JWT_BEARER, TOKEN_EXCHANGE)
ACCESS_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"
JWT_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:jwt"
_TOKEN_TYPES: Final = (ACCESS_TOKEN_TYPE, JWT_TOKEN_TYPE)

# What an assertion says about itself and the request. `typ` is what some libraries write among the claims.
_ASSERTION_CLAIMS: Final = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "rexp", "scope", "typ"})


@frozen(eq=False, kw_only=True)
class Wish:
    """One token asked for. `scopes` None and `ttl_s` 0 mean as much as is allowed.

    `subject` is the name in which the client asks, None for its own; `exchanged` the token that proves it;
    `claims` are what an assertion says beyond itself, of which the target may take some.
    """

    grant: str
    target: TargetWish
    scopes: tuple[str, ...] | None
    ttl_s: int
    subject: str | None = None
    exchanged: OwnToken | None = None
    claims: Mapping[str, Any] = field(factory=dict, repr=False)
    token_type: str | None = None


@frozen(eq=False, kw_only=True)
class Bearer:
    """An assertion of unproven origin; `issuer` is the client that claims to have signed it."""

    assertion: Assertion
    issuer: str


@frozen(eq=False, kw_only=True)
class ExchangeTokens:
    """The tokens of an exchange as they came, and the type that is asked for."""

    subject: str = field(repr=False)
    actor: str | None = field(repr=False)
    requested_type: str


def require_grant_type(form: Form) -> str:
    """One of `GRANT_TYPES`. Raises OAuthError `unsupported_grant_type`, or `invalid_request` when it is missing."""
    grant = form.require("grant_type")
    if grant not in GRANT_TYPES:
        raise OAuthError(ErrorCode.UNSUPPORTED_GRANT_TYPE, GRANT_UNSUPPORTED)
    return grant


def grant_refused(detail: str, *, code: Code | Reason = ASSERTION_INVALID) -> OAuthError:
    """The assertion does not count. Everybody reads the same, whatever the reason."""
    return OAuthError(ErrorCode.INVALID_GRANT, code, detail)


def credentials_wish(
    form: Form, *, realm: str, now_s: int, grant: str = "client_credentials", default: str | None = None
) -> Wish:
    """Of the client for itself, to its `default` target when the form names none. Raises OAuthError."""
    return Wish(
        grant=grant,
        target=read_target(form.all("audience"), form.all("resource"), realm, default=default),
        scopes=read_scopes(form.get("scope")),
        ttl_s=read_lifetime(form.get("expires_in"), form.get("rexp"), now_s),
    )


def bearer_assertion(form: Form) -> Bearer:
    """The assertion of a jwt-bearer grant. Raises OAuthError."""
    try:
        return read_bearer(form.require("assertion"))
    except BadAssertion as problem:
        raise grant_refused(str(problem)) from None


def read_bearer(text: str) -> Bearer:
    """An assertion and who claims to have signed it. Raises BadAssertion."""
    assertion = parse_assertion(text, types=frozenset({"jwt"}))
    issuer = assertion.text_claim("iss")
    if issuer is None:
        raise BadAssertion("iss is missing")
    return Bearer(assertion=assertion, issuer=issuer)


def bearer_wish(form: Form, assertion: Assertion, *, client: str, realm: str, now_s: int) -> Wish:
    """Of the client that signed `assertion`, for itself or for the subject that it names. Raises OAuthError.

    `client` is the client's name. `rexp` and `scope` may stand in the assertion instead of the form.
    """
    try:
        named = assertion.text_claim("sub")
        if named is None:
            raise BadAssertion("sub is missing")
        subject = claimed_subject(named, client=client, realm=realm)
        claims = extra_claims(assertion, client=client, realm=realm)
    except BadAssertion as problem:
        raise grant_refused(str(problem)) from None
    return Wish(
        grant="jwt-bearer",
        target=read_target(form.all("audience"), form.all("resource"), realm),
        scopes=read_scopes(_either(form.get("scope"), claimed_scope(assertion), "scope")),
        ttl_s=read_lifetime(form.get("expires_in"), _either(form.get("rexp"), claimed_rexp(assertion), "rexp"), now_s),
        subject=subject,
        claims=claims,
    )


def claimed_subject(sub: str | None, *, client: str, realm: str) -> str | None:
    """The name in which an assertion asks, None for the client's own. Raises BadAssertion for what is no name."""
    if sub is None or client_name(sub, realm) == client:
        return None
    name = client_name(sub, realm)
    if name is None or not is_name(name):
        raise BadAssertion("sub is neither the client nor a canonical name")
    return name


def extra_claims(assertion: Assertion, *, client: str, realm: str) -> dict[str, Any]:
    """What the assertion says beyond itself. Raises BadAssertion for what only the KDC may say."""
    extra = {name: value for name, value in assertion.claims.items() if name not in _ASSERTION_CLAIMS}
    client_id = extra.pop("client_id", None)
    if client_id is not None and (type(client_id) is not str or client_name(client_id, realm) != client):
        raise BadAssertion("client_id is somebody else")
    reserved = sorted(RESERVED_CLAIMS & extra.keys())
    if reserved:
        raise BadAssertion(f"the claim {reserved[0]} is the KDC's own")
    return extra


def claimed_scope(assertion: Assertion) -> str | None:
    """The scopes that an assertion asks for, as one text. Raises OAuthError `invalid_scope`."""
    scope = assertion.claims.get("scope")
    if scope is None or type(scope) is str:
        return scope or None
    text = "scope is one text with blanks between the scopes."
    raise OAuthError(ErrorCode.INVALID_SCOPE, FORM_INVALID, text, text=text)


def claimed_rexp(assertion: Assertion) -> int | None:
    """The end that an assertion asks for, a Unix second. Raises OAuthError `invalid_request`."""
    rexp = assertion.claims.get("rexp")
    if rexp is None or type(rexp) is int:
        return rexp
    raise invalid_request("rexp is a whole number of seconds.")


def exchange_tokens(form: Form) -> ExchangeTokens:
    """The tokens of a token exchange (RFC 8693 section 2.1). Raises OAuthError `invalid_request`."""
    subject = form.require("subject_token")
    actor, actor_type = form.get("actor_token"), form.get("actor_token_type")
    if (actor is None) != (actor_type is None):
        raise invalid_request("actor_token and actor_token_type go together.")
    requested = form.get("requested_token_type") or ACCESS_TOKEN_TYPE
    for token_type in (form.require("subject_token_type"), actor_type or ACCESS_TOKEN_TYPE, requested):
        if token_type not in _TOKEN_TYPES:
            raise invalid_request("Only the token types access_token and jwt are served.", code=GRANT_UNSUPPORTED)
    return ExchangeTokens(subject=subject, actor=actor, requested_type=requested)


def exchange_wish(
    form: Form, tokens: ExchangeTokens, exchanged: OwnToken, *, subject: str, realm: str, now_s: int
) -> Wish:
    """Of the client on behalf of `subject`, whom `exchanged` proves. Raises OAuthError."""
    return Wish(
        grant="token-exchange",
        target=read_target(form.all("audience"), form.all("resource"), realm),
        scopes=read_scopes(form.get("scope")),
        ttl_s=read_lifetime(form.get("expires_in"), form.get("rexp"), now_s),
        subject=subject,
        exchanged=exchanged,
        token_type=tokens.requested_type,
    )


def _either(in_form: str | None, claimed: T | None, name: str) -> str | T | None:
    """A wish may stand in the form or in the assertion, but in one of them only."""
    if in_form is not None and claimed is not None:
        raise invalid_request(f"{name} stands in the form and in the assertion.")
    return in_form if claimed is None else claimed
