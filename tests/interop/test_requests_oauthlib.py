"""requests-oauthlib: its backend client, with the scope checks that it makes on what it gets."""

from __future__ import annotations

import sys

import jwt
import pytest
from oauthlib.oauth2 import BackendApplicationClient  # type: ignore[import-untyped]
from oauthlib.oauth2.rfc6749.errors import InvalidClientError, InvalidScopeError, OAuth2Error  # type: ignore[import-untyped]
from requests_oauthlib import OAuth2Session  # type: ignore[import-untyped]

from tests.interop.house import ROOT, House


def session_of(house: House, client: str = "shop", scope: list[str] | None = None) -> OAuth2Session:
    session = OAuth2Session(client=BackendApplicationClient(client, scope=scope))
    session.verify = str(house.ca)
    session.trust_env = False
    return session


def fetch(house: House, session: OAuth2Session, client: str = "shop", **fields: object) -> dict[str, object]:
    asked = {"audience": "orders", "client_secret": house.secret(client), **fields}
    found: dict[str, object] = session.fetch_token(f"{house.issuer}/token", **asked)
    return found


@pytest.mark.parity("P17")
@pytest.mark.parametrize("in_the_form", [False, True], ids=["basic", "post"])
@pytest.mark.parametrize("client", ["shop", "shop/web"])
def test_backend_client_gets_a_token(house: House, client: str, in_the_form: bool) -> None:
    """A stock OAuth client and three lines; a client id with a slash is one like others."""
    with session_of(house, client) as session:
        token = fetch(house, session, client, include_client_id=in_the_form)
        assert token["token_type"] == "Bearer"
        claims = jwt.decode(
            str(token["access_token"]), jwt.PyJWK(house.jwk("orders")), ["HS256"], audience="orders@corp.test"
        )
    assert claims["client_id"] == f"{client}@corp.test"


@pytest.mark.parity("P5")
def test_fewer_scopes_are_noticed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply states what was granted, so the library notices; who relaxes it gets the token."""
    with session_of(house, scope=["read", "erase"]) as session:
        with pytest.raises(Warning, match="Scope has changed") as noticed:
            fetch(house, session)
        assert noticed.value.new_scope == ["read"]  # type: ignore[attr-defined]
    monkeypatch.setenv("OAUTHLIB_RELAX_TOKEN_SCOPE", "1")
    with session_of(house, scope=["read", "erase"]) as session:
        token = fetch(house, session)
    assert (token["scope"], token["dropped"]) == (["read"], ["erase"])


def test_scopes_of_the_request_alone_are_not_compared(house: House) -> None:
    with session_of(house) as session:
        assert fetch(house, session, scope="read erase")["scope"] == ["read"]


@pytest.mark.parametrize(
    ("fields", "expected", "code"),
    [
        ({"client_secret": "wrong"}, InvalidClientError, "invalid_client"),
        ({"scope": "erase"}, InvalidScopeError, "invalid_scope"),
        ({"audience": "nowhere"}, OAuth2Error, "invalid_target"),
    ],
)
def test_refusals_are_its_own_exceptions(
    house: House, fields: dict[str, str], expected: type[OAuth2Error], code: str
) -> None:
    with session_of(house) as session, pytest.raises(expected) as refused:
        fetch(house, session, **fields)
    assert refused.value.error == code


@pytest.mark.parity("P17")
def test_the_sample_client(house: House) -> None:
    """docs/examples/jwt/token_client.py as it is."""
    sample = ROOT / "docs" / "examples" / "jwt" / "token_client.py"
    ended = house.run(sys.executable, sample, house.issuer, "shop", house.secret_file("shop"), "orders")
    assert ended.returncode == 0, ended.stderr
    checked = jwt.decode(ended.stdout, jwt.PyJWK(house.jwk("orders")), ["HS256"], audience="orders@corp.test")
    assert checked["sub"] == "shop@corp.test"
