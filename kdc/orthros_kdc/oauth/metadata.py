"""What this authorization server can do, as a document (RFC 8414). Pure; says nothing of any principal or scope."""

from __future__ import annotations

from orthros_kdc.oauth.assertions import ASSERTION_ALGORITHMS
from orthros_kdc.oauth.client_authentication import METHODS
from orthros_kdc.oauth.errors import json_answer
from orthros_kdc.oauth.grants import GRANT_TYPES
from orthros_kdc.oauth.http_boundary import INTROSPECT_PATH, REVOKE_PATH, TOKEN_PATH, HttpAnswer

__all__ = ["metadata_answer", "token_url"]


def token_url(base: str) -> str:
    """The token endpoint's address. `base` is the public URL."""
    return base.rstrip("/") + TOKEN_PATH


def metadata_answer(issuer: str, base: str) -> HttpAnswer:
    """The metadata document. There is no jwks_uri, since nobody but a token's target may verify it.

    `response_types_supported` is required and may not be empty, although there is no authorization endpoint: hence
    "none" (OAuth 2.0 Multiple Response Type Encoding Practices, section 4).
    """
    endpoints = {
        "token": token_url(base),
        "introspection": base.rstrip("/") + INTROSPECT_PATH,
        "revocation": base.rstrip("/") + REVOKE_PATH,
    }
    body: dict[str, object] = {
        "issuer": issuer,
        "response_types_supported": ["none"],
        "grant_types_supported": list(GRANT_TYPES),
    }
    for name, url in endpoints.items():
        body[f"{name}_endpoint"] = url
        body[f"{name}_endpoint_auth_methods_supported"] = list(METHODS)
        body[f"{name}_endpoint_auth_signing_alg_values_supported"] = list(ASSERTION_ALGORITHMS)
    return json_answer(200, body)
