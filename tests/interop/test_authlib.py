"""Authlib: its clients over requests and httpx, its reading of the metadata, its assertions."""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any
from uuid import uuid4

import jwt
import pytest
from authlib.integrations.base_client import InvalidTokenError, OAuthError  # type: ignore[import-untyped]
from authlib.integrations.requests_client import OAuth2Session  # type: ignore[import-untyped]
from authlib.oauth2.rfc7523 import ClientSecretJWT, JWTBearerGrant  # type: ignore[import-untyped]
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url  # type: ignore[import-untyped]
from joserfc.jwk import OctKey

from tests.interop.house import ROOT, House

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that httpx has a successor
    from authlib.integrations.httpx_client import AsyncOAuth2Client, OAuth2Client  # type: ignore[import-untyped]

METHODS = ("client_secret_basic", "client_secret_post", "client_secret_jwt")


def session_of(house: House, method: str = "client_secret_basic", client: str = "shop", **options: Any) -> Any:
    return OAuth2Session(
        client, house.secret(client), token_endpoint_auth_method=method, revocation_endpoint_auth_method=method,
        token_endpoint=f"{house.issuer}/token", verify=str(house.ca), trust_env=False, default_timeout=15, **options,
    )  # fmt: skip


def brief(claims: Any = None, audience: str | None = None) -> ClientSecretJWT:
    """Authlib signs for an hour, which is too long without a setting; `exp` among its own claims shortens that."""
    own = {"exp": int(time.time()) + 60, "jti": uuid4().hex}
    return ClientSecretJWT(audience, claims=own | (claims or {}))


def checked(house: House, token: dict[str, Any]) -> dict[str, Any]:
    key = jwt.PyJWK(house.jwk("orders"))
    return jwt.decode(token["access_token"], key, ["HS256"], audience="orders@corp.test", issuer=house.issuer)


@pytest.mark.parity("L18")
def test_metadata_is_valid(house: House) -> None:
    """What RFC 8414 demands, as Authlib checks it; nothing that is `none` can be negotiated."""
    with house.http() as http:
        told = http.get(get_well_known_url(house.issuer, external=True)).json()
    metadata = AuthorizationServerMetadata(told)
    metadata.validate()
    assert metadata["issuer"] == house.issuer
    assert metadata["token_endpoint"] == f"{house.issuer}/token"
    assert metadata.get("jwks_uri") is None
    for endpoint in ("token", "introspection", "revocation"):
        assert metadata[f"{endpoint}_endpoint_auth_methods_supported"] == list(METHODS)
        assert metadata[f"{endpoint}_endpoint_auth_signing_alg_values_supported"] == ["HS256", "HS512"]


@pytest.mark.parity("P2")
@pytest.mark.parametrize("client", ["shop", "shop/web", "shop@corp.test"])
@pytest.mark.parametrize("method", METHODS[:2])
def test_credentials_grant_over_requests(house: House, method: str, client: str) -> None:
    """Authlib does not encode what it puts into Basic, and a client id may be written with its realm."""
    secret = house.secret(client.partition("@")[0])
    with session_of(house, method) as session:
        session.client_id, session.client_secret = client, secret
        token = session.fetch_token(grant_type="client_credentials", audience="orders", scope="read")
        assert token["scope"] == "read"
        assert checked(house, token)["client_id"] == f"{client.partition('@')[0]}@corp.test"


@pytest.mark.parametrize("method", METHODS[:2])
async def test_credentials_grant_over_httpx(house: House, method: str) -> None:
    with OAuth2Client(
        "shop", house.secret("shop"), token_endpoint_auth_method=method, verify=house.trust(), trust_env=False
    ) as client:
        token = client.fetch_token(f"{house.issuer}/token", grant_type="client_credentials", audience="orders")
        assert checked(house, token)["scope"] == "read write"
    async with AsyncOAuth2Client(
        "shop", house.secret("shop"), token_endpoint_auth_method=method, verify=house.trust(), trust_env=False
    ) as waiting:
        token = await waiting.fetch_token(f"{house.issuer}/token", grant_type="client_credentials", audience="orders")
        assert checked(house, token)["scope"] == "read write"


ALWAYS_RENEWED = 10**6
"""As `leeway` of Authlib, in seconds: each token is about to end, so each request fetches another one before."""


@pytest.mark.parametrize("client", ["shop", "renewer"])
def test_renewal_over_requests(house: House, client: str) -> None:
    """Authlib fetches the next token with the grant type and the session's scope, and without `audience`.

    For shop, which has no default target, that is the end after five minutes; renewer goes on.
    """
    with session_of(
        house, client=client, grant_type="client_credentials", scope="read", leeway=ALWAYS_RENEWED
    ) as session:
        first = session.fetch_token(audience="orders")
        if client == "shop":
            with pytest.raises(OAuthError, match="invalid_target: Name the target as audience or resource"):
                session.get(f"{house.issuer}/livez")
            return
        for _ in range(2):
            assert session.get(f"{house.issuer}/livez").status_code == 200
        assert session.token["access_token"] != first["access_token"]
        assert checked(house, session.token)["scope"] == "read"
        # What is named goes first, and is forgotten at the next renewal.
        assert session.fetch_token(audience="ledger", scope="post")["scope"] == "post"
        with pytest.raises(jwt.InvalidTokenError):
            checked(house, session.token)
        assert session.get(f"{house.issuer}/livez").status_code == 200
        assert checked(house, session.token)["aud"] == "orders@corp.test"


async def test_renewal_over_httpx(house: House) -> None:
    common: dict[str, Any] = {
        "grant_type": "client_credentials", "token_endpoint": f"{house.issuer}/token", "verify": house.trust(),
        "trust_env": False, "leeway": ALWAYS_RENEWED,
    }  # fmt: skip
    with OAuth2Client("renewer", house.secret("renewer"), **common) as client:
        first = client.fetch_token(audience="orders")
        assert client.get(f"{house.issuer}/livez").status_code == 200
        assert client.token["access_token"] != first["access_token"]
        assert checked(house, client.token)["scope"] == "read write"
    async with AsyncOAuth2Client("renewer", house.secret("renewer"), **common) as waiting:
        first = await waiting.fetch_token(audience="orders")
        assert (await waiting.get(f"{house.issuer}/livez")).status_code == 200
        assert waiting.token["access_token"] != first["access_token"]
        assert checked(house, waiting.token)["scope"] == "read write"


@pytest.mark.parity("P17")
def test_renewing_sample(house: House) -> None:
    """docs/examples/jwt/renewing_client.py as it is; it names no target, and is none the worse for it."""
    sample = ROOT / "docs" / "examples" / "jwt" / "renewing_client.py"
    words = (sys.executable, sample, house.issuer, "renewer", house.secret_file("renewer"), f"{house.issuer}/livez")
    ended = house.run(*words)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["status"] == "ok"


def test_renewal_takes_a_session_that_knows_its_grant(house: House) -> None:
    """Given to `fetch_token` alone, the grant type is forgotten as well, and Authlib does not even ask."""
    with session_of(house, client="renewer", leeway=ALWAYS_RENEWED) as session:
        session.fetch_token(grant_type="client_credentials", audience="orders")
        with pytest.raises(InvalidTokenError):
            session.get(f"{house.issuer}/livez")


def test_signed_for_the_issuer(house: House) -> None:
    """client_secret_jwt as RFC 7523bis has it: for the issuer, briefly, once."""
    with session_of(house, "client_secret_jwt") as session:
        method = brief(audience=house.issuer)
        session.register_client_auth_method(method)
        token = session.fetch_token(grant_type="client_credentials", audience="orders")
        assert checked(house, token)["sub"] == "shop@corp.test"
        with pytest.raises(OAuthError, match="invalid_client"):  # the same jti once more
            session.fetch_token(grant_type="client_credentials", audience="orders")


def test_signed_for_the_token_endpoint(house: House, lenient: House) -> None:
    """What Authlib does by itself, `aud` the token endpoint and an hour to live, takes two settings."""
    for door, is_accepted in ((house, False), (lenient, True)):
        with session_of(door, "client_secret_jwt") as session:
            session.register_client_auth_method(ClientSecretJWT(f"{door.issuer}/token"))
            if is_accepted:
                token = session.fetch_token(grant_type="client_credentials", audience="orders")
                assert checked(house, token)["sub"] == "shop@corp.test"
                assert session.introspect_token(f"{door.issuer}/introspect").json()["active"] is True
            else:
                with pytest.raises(OAuthError, match="invalid_client"):
                    session.fetch_token(grant_type="client_credentials", audience="orders")
        # A short life alone does not help the strict one; the lenient one has an address of its own.
        with session_of(door, "client_secret_jwt") as session:
            session.register_client_auth_method(brief(audience=f"{house.issuer}/token"))
            with pytest.raises(OAuthError, match="invalid_client"):
                session.fetch_token(grant_type="client_credentials", audience="orders")


def test_signed_with_hs512(house: House) -> None:
    with session_of(house, "client_secret_jwt") as session:
        method = brief(audience=house.issuer)
        method.alg = "HS512"
        session.register_client_auth_method(method)
        token = session.fetch_token(grant_type="client_credentials", audience="orders")
        assert checked(house, token)["aud"] == "orders@corp.test"


def test_introspection_and_revocation(house: House) -> None:
    with session_of(house) as session:
        token = session.fetch_token(grant_type="client_credentials", audience="orders")
        claims = checked(house, token)
        looked = session.introspect_token(f"{house.issuer}/introspect", token=token["access_token"]).json()
        assert looked["active"] is True
        assert {name: value for name, value in claims.items() if name != "kdc"}.items() <= looked.items()
        with session_of(house, client="orders") as target:
            seen = target.introspect_token(f"{house.issuer}/introspect", token=token["access_token"]).json()
        assert seen == looked
        gone = session.revoke_token(f"{house.issuer}/revoke", token=token["access_token"])
        assert (gone.status_code, gone.content) == (200, b"")
        looked = session.introspect_token(f"{house.issuer}/introspect", token=token["access_token"]).json()
        assert looked == {"active": False}


@pytest.mark.parity("P9")
def test_assertion_as_a_grant(house: House) -> None:
    """Authlib's own bearer assertion; the KDC sets iss, iat, nbf, exp and jti, whatever the assertion says."""
    key = OctKey.import_key(house.secret("shop"))
    assertion = JWTBearerGrant.sign(key, "shop", house.issuer, "shop", alg="HS256", expires_in=60)
    with session_of(house, "none") as session:
        asked = {"grant_type": JWTBearerGrant.GRANT_TYPE, "assertion": assertion, "audience": "orders"}
        claims = checked(house, session.fetch_token(**asked))
        assert (claims["sub"], claims["iss"]) == ("shop@corp.test", house.issuer)
        assert claims["nbf"] == claims["iat"] - 5
        assert claims["exp"] - claims["iat"] == 300
        with pytest.raises(OAuthError, match="invalid_grant"):
            session.fetch_token(**asked)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"audience": "https://elsewhere.test"}, "invalid_grant"),
        ({"subject": "somebody-else"}, "invalid_grant"),
        ({"issuer": "spy"}, "invalid_grant"),
        ({"key": OctKey.import_key("x" * 64)}, "invalid_grant"),
        ({"expires_in": 3600}, "invalid_grant"),
        ({"expires_in": -1}, "invalid_grant"),
        ({"alg": "HS384"}, "invalid_grant"),
    ],
)
def test_bad_assertions(house: House, changes: dict[str, Any], error: str) -> None:
    said = {
        "key": OctKey.import_key(house.secret("shop")), "issuer": "shop", "audience": house.issuer, "subject": "shop",
        "alg": "HS256", "expires_in": 60, **changes,
    }  # fmt: skip
    with session_of(house, "none") as session, pytest.raises(OAuthError, match=error):
        session.fetch_token(
            grant_type=JWTBearerGrant.GRANT_TYPE, assertion=JWTBearerGrant.sign(**said), audience="orders"
        )
