"""Node.js: oauth4webapi and openid-client as clients, jose as a target."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.interop.forgery import altered
from tests.interop.house import ROOT, House
from tests.support.peers import NODE_FOLDER, require_node

SAMPLE = ROOT / "docs" / "examples" / "jwt" / "verify_jose.mjs"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


@pytest.fixture(scope="module")
def node() -> str:
    return require_node()


def story_of(house: House, node: str, script: str) -> dict[str, Any]:
    given = {
        "issuer": house.issuer,
        "secrets": {name: house.secret(name) for name in ("shop", "shop/web", "relay", "orders")},
    }
    ended = house.run(node, NODE_FOLDER / script, given=json.dumps(given))
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


@pytest.fixture(scope="module")
def by_oauth4webapi(house: House, node: str) -> dict[str, Any]:
    return story_of(house, node, "oauth4webapi.mjs")


@pytest.fixture(scope="module")
def by_openid_client(house: House, node: str) -> dict[str, Any]:
    return story_of(house, node, "openid_client.mjs")


def claims_of(house: House, token: str) -> dict[str, Any]:
    key = jwt.PyJWK(house.jwk("orders"))
    return jwt.decode(token, key, ["HS256"], audience="orders@corp.test", issuer=house.issuer)


def test_oauth4webapi_discovers(house: House, by_oauth4webapi: dict[str, Any]) -> None:
    assert by_oauth4webapi["as"]["issuer"] == house.issuer
    assert by_oauth4webapi["as"]["token_endpoint"] == f"{house.issuer}/token"


@pytest.mark.parity("P2", "P5")
@pytest.mark.parametrize("method", ["basic", "post", "jwt", "hs512"])
@pytest.mark.parametrize("client", ["shop", "shop/web"])
def test_oauth4webapi_gets_tokens(house: House, by_oauth4webapi: dict[str, Any], client: str, method: str) -> None:
    """With each way to authenticate; it encodes what it puts into Basic, and signs for the issuer."""
    token = by_oauth4webapi["tokens"][f"{client} {method}"]
    assert (token["scope"], token["dropped"]) == ("read", ["erase"])
    claims = claims_of(house, token["access_token"])
    assert claims["client_id"] == f"{client}@corp.test"
    assert token["expires_in"] == claims["exp"] - claims["iat"] == (300 if client == "shop" else 120)


def test_oauth4webapi_looks_at_tokens_and_gives_them_back(by_oauth4webapi: dict[str, Any]) -> None:
    before = by_oauth4webapi["before"]
    assert (before["active"], before["client_id"], before["scope"]) == (True, "shop@corp.test", "read")
    assert by_oauth4webapi["after"] == {"active": False}


@pytest.mark.parametrize("story", ["by_oauth4webapi", "by_openid_client"])
def test_token_exchange(house: House, story: str, request: pytest.FixtureRequest) -> None:
    """RFC 8693: relay asks orders on behalf of shop, who called it; everybody sees who acts for whom."""
    told: dict[str, Any] = request.getfixturevalue(story)
    token = told["onBehalf"]
    assert token["issued_token_type"] == (ACCESS_TOKEN if story == "by_oauth4webapi" else ACCESS_TOKEN[:-12] + "jwt")
    claims = claims_of(house, token["access_token"])
    assert (claims["sub"], claims["client_id"]) == ("shop@corp.test", "relay@corp.test")
    assert claims["act"] == told["looked"]["act"] == {"sub": "relay@corp.test"}


def test_oauth4webapi_reads_refusals(by_oauth4webapi: dict[str, Any]) -> None:
    refused = by_oauth4webapi["refused"]
    # It takes a challenge for an error of its own kind, and only then leaves the body alone.
    assert refused["secret"] == refused["unknown"]
    assert refused["secret"]["status"] == 401
    assert refused["target"] == refused["back"] == {
        "error": "invalid_target", "status": 400, "code": "OAUTH_RESPONSE_BODY_ERROR",
    }  # fmt: skip
    assert (refused["scope"]["error"], refused["subject"]["error"]) == ("invalid_scope", "invalid_request")


def test_openid_client(house: House, by_openid_client: dict[str, Any]) -> None:
    assert by_openid_client["metadata"]["issuer"] == house.issuer
    assert claims_of(house, by_openid_client["token"]["access_token"])["scope"] == "read"
    assert by_openid_client["token"]["token_type"] == "bearer"  # it writes it so
    assert 290 <= by_openid_client["expiresIn"] <= 300
    assert by_openid_client["before"]["active"] is True
    assert by_openid_client["after"] == {"active": False}
    assert by_openid_client["refused"] == {
        "subject": {"error": "invalid_request", "status": 400},
        "target": {"error": "invalid_target", "status": 400},
    }


@pytest.fixture(scope="module")
def jose(node: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as it is, beside the package that it imports."""
    folder = tmp_path_factory.mktemp("jose")
    (folder / "node_modules").symlink_to(NODE_FOLDER / "node_modules")
    return Path(shutil.copy(SAMPLE, folder))


@pytest.mark.parity("P1", "P2", "P17")
def test_sample_target_accepts(house: House, node: str, jose: Path) -> None:
    """docs/examples/jwt/verify_jose.mjs with HS256 and HS512, given the JWK, audience and issuer."""
    for target, audience, scope in (
        ("orders", "orders@corp.test", "read write"), ("ledger", "https://ledger.example", "post"),
    ):  # fmt: skip
        words = (node, jose, house.keys / f"{target}.jwk", audience, house.issuer)
        ended = house.run(*words, given=house.token(target=target))
        assert ended.returncode == 0, ended.stderr
        claims = json.loads(ended.stdout)
        assert (claims["sub"], claims["scope"]) == ("shop@corp.test", scope)


def test_sample_target_allows_for_a_clock_that_is_behind(house: House, node: str, jose: Path) -> None:
    """Of a KDC whose clock is 9 s ahead: `nbf`, which jose checks, is set back by 5 s, and 5 s are allowed."""
    ahead = int(time.time()) + 9
    words = (node, jose, house.keys / "orders.jwk", "orders@corp.test", house.issuer)
    ended = house.run(*words, given=altered(house, {"iat": ahead, "nbf": ahead - 5}))
    assert ended.returncode == 0, ended.stderr
    ended = house.run(*words, given=altered(house, {"iat": ahead, "nbf": ahead + 600}))
    assert "ERR_JWT_CLAIM_VALIDATION_FAILED" in ended.stderr


@pytest.mark.parity("H2", "L28")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"aud": "ledger@corp.test"}, "ERR_JWT_CLAIM_VALIDATION_FAILED"),
        ({"iss": "https://corp.test"}, "ERR_JWT_CLAIM_VALIDATION_FAILED"),
        ({"exp": 1_000_000_000}, "ERR_JWT_EXPIRED"),
        ({"key": 32 * b"0"}, "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"),
        ({"header": {"typ": "JWT"}}, "ERR_JWT_CLAIM_VALIDATION_FAILED"),
        ({"header": {"alg": "RS256"}}, "ERR_JOSE_ALG_NOT_ALLOWED"),
        ({"header": {"alg": "none"}}, "ERR_JOSE_ALG_NOT_ALLOWED"),
        ({"header": {"crit": ["orders-only"], "orders-only": 1}}, "ERR_JOSE_NOT_SUPPORTED"),
    ],
    ids=str,
)
def test_sample_target_refuses(house: House, node: str, jose: Path, changes: dict[str, Any], code: str) -> None:
    """Claims that are not for it, and whatever a header would like to choose."""
    token = altered(house, changes)
    ended = house.run(node, jose, house.keys / "orders.jwk", "orders@corp.test", house.issuer, given=token)
    assert ended.returncode != 0
    assert code in ended.stderr
    assert not ended.stdout
