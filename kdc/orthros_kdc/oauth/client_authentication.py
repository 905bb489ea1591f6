"""Who is asking: the three ways in which a client proves its OAuth secret, parsed and judged.

client_secret_basic, client_secret_post (RFC 6749 section 2.3.1) and client_secret_jwt (RFC 7523 section 2.2).
Whatever is wrong looks the same and costs the same; only the audit log is told. Knows no store.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as BadBase64
from typing import Final

from attrs import field, frozen

from orthros_kdc.oauth.assertions import (
    Assertion,
    BadAssertion,
    check_audience,
    check_single_use,
    check_times,
    is_signed_by,
    parse_assertion,
)
from orthros_kdc.oauth.errors import ErrorCode, OAuthError, client_refused, invalid_request
from orthros_kdc.oauth.forms import Form, form_decode
from orthros_kdc.oauth.http_boundary import HttpRequest
from orthros_kdc.policy.sources import source_allowed
from orthros_kdc.realm.principals import OAuthClientView
from orthros_kdc.realm.vault import OAuthSecret
from orthros_kdc.reasons import (
    ASSERTION_INVALID,
    CLIENT_CREDENTIALS_INVALID,
    CLIENT_SECRET_WRONG,
    CLIENT_UNKNOWN,
    OAUTH_NOT_ENABLED,
)
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import digest, mac_matches
from orthros_protocol.primitives.names import is_name

__all__ = [
    "CLIENT_ASSERTION_TYPE",
    "METHODS",
    "AssertionRules",
    "ClientCredentials",
    "SingleUse",
    "client_name",
    "judge_assertion",
    "judge_bearer",
    "judge_client",
    "read_credentials",
    "require_standing",
]

METHODS: Final = ("client_secret_basic", "client_secret_post", "client_secret_jwt")
CLIENT_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
CLIENT_ASSERTION_TYPES: Final = frozenset({"client-authentication+jwt", "jwt"})

_SLOTS: Final = 2
# Made and read as a real secret is, so that an unknown client takes the same work.
_DECOY: Final = OAuthSecret(bytes(32), secret_id=16 * "0")
_BASIC = re.compile(r"basic +(?P<credentials>\S+)", re.ASCII | re.IGNORECASE)


@frozen(eq=False, kw_only=True)
class ClientCredentials:
    """What was presented, of unproven origin: a secret or an assertion, never both. `client_id` is as written."""

    client_id: str
    secret: str | None = field(default=None, repr=False)
    assertion: Assertion | None = None


@frozen(kw_only=True)
class AssertionRules:
    """What assertions are held against: the names of this server, none where `aud` means something else, and the
    longest life in seconds."""

    audiences: frozenset[str]
    max_ahead_s: int
    jti_optional: bool = False


@frozen(kw_only=True)
class SingleUse:
    """What must be remembered of an assertion until that Unix second, so that it is not used again."""

    uid: int
    digest: bytes
    until: int


def read_credentials(form: Form, ask: HttpRequest) -> ClientCredentials | None:
    """What the request presents, or None when it presents nothing (RFC 6749 section 2.3).

    A bare `client_id` is no credential. Raises OAuthError: `invalid_request` for two mechanisms, broken encoding or
    an assertion type that does not go with an assertion, `invalid_client` for what cannot be a credential.
    """
    headers = [value for name, value in ask.headers if name == "authorization"]
    secret, assertion = form.get("client_secret"), form.get("client_assertion")
    if len(headers) > 1 or (len(headers) == 1) + (secret is not None) + (assertion is not None) > 1:
        raise invalid_request("Use one way of client authentication only.", code=CLIENT_CREDENTIALS_INVALID)
    if (assertion is None) != (form.get("client_assertion_type") is None):
        raise invalid_request("client_assertion and client_assertion_type go together.")
    if headers:
        return _from_header(headers[0])
    if secret is not None:
        return ClientCredentials(client_id=form.require("client_id"), secret=secret)
    if assertion is not None:
        return _from_assertion(assertion, form.get("client_assertion_type"))
    return None


def client_name(client_id: str, realm: str) -> str | None:
    """The principal that `client_id` means, as `name` or `name@realm`; None when it can mean no client here."""
    name, at, of_realm = client_id.partition("@")
    return name if is_name(name) and (not at or of_realm == realm) else None


def judge_client(
    credentials: ClientCredentials, client: OAuthClientView | None, *, address: str, now_s: int, rules: AssertionRules
) -> SingleUse | None:
    """Accepts `client`, or raises the one OAuthError `invalid_client`, whose code says why.

    `client` is None when there is none of that name. `address` is where the request came from, empty for a local
    socket. What is returned must be remembered before the client counts as proven.
    """
    single_use = None
    if credentials.assertion is not None:
        try:
            if credentials.assertion.text_claim("sub") != credentials.client_id:
                raise BadAssertion("sub is not iss")
            single_use = judge_assertion(credentials.assertion, client, now_s=now_s, rules=rules)
        except BadAssertion as problem:
            require_standing(client, address)
            raise client_refused(ASSERTION_INVALID, str(problem)) from None
    elif not _is_secret_of(client, credentials.secret or ""):
        require_standing(client, address)
        raise client_refused(CLIENT_SECRET_WRONG)
    require_standing(client, address, proof=" with a good proof")
    return single_use


def judge_assertion(
    assertion: Assertion, client: OAuthClientView | None, *, now_s: int, rules: AssertionRules
) -> SingleUse:
    """Checks that `client` signed `assertion` for this server, for now, for once. Raises BadAssertion.

    The MAC is checked first and for nobody, too: what an assertion says is not looked at before. One without `jti`,
    where the rules let it pass, is told from others by its text.
    """
    signed = [is_signed_by(assertion, key) for key in _slots(client)]
    if client is None or not any(signed[: len(client.secrets)]):
        raise BadAssertion("signed by no secret of this client")
    if rules.audiences:
        check_audience(assertion, rules.audiences)
    exp = check_times(assertion, now_s, max_ahead_s=rules.max_ahead_s)
    bare = rules.jti_optional and assertion.claims.get("jti") is None
    name = digest(assertion.text.encode("ascii")) if bare else check_single_use(assertion)
    uid = client.principal.uid
    return SingleUse(uid=uid, digest=digest(encode("assertion", uid, name)), until=exp)


def judge_bearer(
    assertion: Assertion, client: OAuthClientView | None, *, address: str, now_s: int, rules: AssertionRules
) -> SingleUse:
    """Accepts an assertion as a grant, or raises the one OAuthError `invalid_grant`, whose code says why."""
    problem = ""
    single_use = None
    try:
        single_use = judge_assertion(assertion, client, now_s=now_s, rules=rules)
    except BadAssertion as found:
        problem = str(found)
    try:
        require_standing(client, address, proof="" if problem else " with a good proof")
    except OAuthError as refusal:
        raise OAuthError(ErrorCode.INVALID_GRANT, refusal.reason, refusal.detail) from None
    if single_use is None:
        raise OAuthError(ErrorCode.INVALID_GRANT, ASSERTION_INVALID, problem)
    return single_use


def _from_header(header: str) -> ClientCredentials:
    found = _BASIC.fullmatch(header)
    if found is None:
        raise client_refused(CLIENT_CREDENTIALS_INVALID, "Authorization is of another scheme, or empty")
    try:
        raw = b64decode(found["credentials"], validate=True)
    except (BadBase64, ValueError):
        raise _bad_basic("The Basic credentials are not base64.") from None
    user, colon, password = raw.partition(b":")
    if not colon:
        raise _bad_basic("The Basic credentials have no colon.")
    return ClientCredentials(client_id=form_decode(user), secret=form_decode(password))


def _bad_basic(text: str) -> OAuthError:
    return invalid_request(text, code=CLIENT_CREDENTIALS_INVALID)


def _from_assertion(text: str, assertion_type: str | None) -> ClientCredentials:
    if assertion_type != CLIENT_ASSERTION_TYPE:
        raise client_refused(CLIENT_CREDENTIALS_INVALID, "unknown client_assertion_type")
    try:
        assertion = parse_assertion(text, types=CLIENT_ASSERTION_TYPES)
        issuer = assertion.text_claim("iss")
        if issuer is None:
            raise BadAssertion("iss is missing")
    except BadAssertion as problem:
        raise client_refused(ASSERTION_INVALID, str(problem)) from None
    return ClientCredentials(client_id=issuer, assertion=assertion)


def _is_secret_of(client: OAuthClientView | None, given: str) -> bool:
    """Compares with every slot, for every client; digests, so that all have one length."""
    presented = digest(given.encode("utf-8", "surrogatepass"))
    matches = [mac_matches(digest(secret), presented) for secret in _slots(client)]
    return client is not None and any(matches[: len(client.secrets)])


def _slots(client: OAuthClientView | None) -> list[bytes]:
    """The live secrets, and decoys behind them. What matches a decoy proves nothing: everybody knows it."""
    secrets = () if client is None else client.secrets
    return [secret.text.encode("ascii") for secret in (*secrets, *[_DECOY] * (_SLOTS - len(secrets)))]


def require_standing(client: OAuthClientView | None, address: str, *, proof: str = "") -> None:
    """The true reason, for the audit log, where it is not the secret that is wrong, or not only."""
    if client is None:
        raise client_refused(CLIENT_UNKNOWN)
    if not client.principal.oauth:
        raise client_refused(OAUTH_NOT_ENABLED)
    if client.principal.disabled:
        raise client_refused("principal-disabled")
    if not source_allowed(client.principal.sources, address):
        raise client_refused("source-refused", f"asked from {address or 'no known address'}{proof}")
