"""The metadata document: what stock clients need, and nothing of who is there."""

from __future__ import annotations

from authlib.oauth2.rfc8414 import AuthorizationServerMetadata  # type: ignore[import-untyped]

from orthros_kdc.admin import realm
from tests.support.oauth_bench import ISSUER, body_of, open_tokens


async def test_authlib_accepts_the_document() -> None:
    """http.md 6.9: `none` as response type for interoperability, algorithms with every use of client_secret_jwt."""
    tokens = await open_tokens()
    answer = await tokens.service.metadata()
    document = body_of(answer)
    assert answer.status == 200
    AuthorizationServerMetadata(document).validate()
    methods = ["client_secret_basic", "client_secret_post", "client_secret_jwt"]
    assert document == {
        "issuer": ISSUER,
        "response_types_supported": ["none"],
        "grant_types_supported": [
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ],
        **{
            f"{name}_endpoint{tail}": value
            for name, path in (("token", "/token"), ("introspection", "/introspect"), ("revocation", "/revoke"))
            for tail, value in (
                ("", ISSUER + path),
                ("_auth_methods_supported", methods),
                ("_auth_signing_alg_values_supported", ["HS256", "HS512"]),
            )
        },
    }


async def test_endpoints_stand_below_the_public_url_and_the_issuer_stays() -> None:
    tokens = await open_tokens(public_url="https://kdc.corp.test/oauth")
    await realm.change(tokens.kdc.admin, issuer="https://id.corp.test/realm")
    document = body_of(await tokens.service.metadata())
    assert document["issuer"] == "https://id.corp.test/realm"
    assert document["token_endpoint"] == "https://kdc.corp.test/oauth/token"
