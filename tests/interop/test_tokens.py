"""What the token endpoint issues, in the eyes of a target that knows JWT and nothing else."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import joserfc.jwt
import jwt
import pytest
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from orthros_client import Client
from tests.interop.forgery import altered
from tests.interop.house import ROOT, House
from tests.support.processes import Dialogue, isolation

SAMPLE = ROOT / "docs" / "examples" / "jwt" / "verify_pyjwt.py"
AUDIENCES = {"orders": "orders@corp.test", "ledger": "https://ledger.example"}
HEX_ID = r"[0-9a-f]{32}"


@pytest.fixture(scope="module")
def native(house: House) -> Client:
    """The client of a host with the key file of shop, who has an OAuth secret as well."""
    house.estate.start_daemon("shop")
    return house.estate.client("shop")


@pytest.fixture
def offline(house: House) -> Iterator[Dialogue]:
    words = ("--key", house.keys / "orders.verify.key", "--jwk", house.keys / "orders.jwk",
             "--audience", AUDIENCES["orders"], "--issuer", house.issuer)  # fmt: skip
    program = ROOT / "tests" / "interop" / "programs" / "offline_target.py"
    with Dialogue(*isolation(), sys.executable, "-P", program, *words) as dialogue:
        yield dialogue


def by_pyjwt(house: House, target: str, token: str) -> dict[str, Any]:
    key = jwt.PyJWK(house.jwk(target))
    return jwt.decode(token, key, [key.algorithm_name], audience=AUDIENCES[target], issuer=house.issuer)


def by_joserfc(house: House, target: str, token: str) -> dict[str, Any]:
    jwk = house.jwk(target)
    found = joserfc.jwt.decode(token, OctKey.import_key(jwk), algorithms=[jwk["alg"]])
    joserfc.jwt.JWTClaimsRegistry(
        aud={"essential": True, "value": AUDIENCES[target]},
        iss={"essential": True, "value": house.issuer},
        exp={"essential": True},
    ).validate(found.claims)
    return found.claims


@pytest.mark.parity("P2", "P9", "H2")
@pytest.mark.parametrize(("target", "alg", "scope"), [("orders", "HS256", "read write"), ("ledger", "HS512", "post")])
def test_golden_claims(house: House, target: str, alg: str, scope: str) -> None:
    """Two libraries read the same with the key and the audience; here is every claim there is."""
    before = int(time.time())
    token = house.token(target=target)
    claims = by_pyjwt(house, target, token)
    assert claims == by_joserfc(house, target, token)
    jwk = house.jwk(target)
    assert jwt.get_unverified_header(token) == {"alg": alg, "kid": jwk["kid"], "typ": "orthros+jwt"}
    assert before <= claims["iat"] <= time.time()
    assert re.fullmatch(HEX_ID, claims.pop("jti"))
    assert re.fullmatch(HEX_ID, claims.pop("txn"))
    assert re.fullmatch(r"1\.[A-Za-z0-9_-]{22}", claims.pop("kdc"))
    iat = claims["iat"]
    assert claims == {
        "iss": house.issuer, "aud": AUDIENCES[target], "sub": "shop@corp.test", "client_id": "shop@corp.test",
        "scope": scope, "iat": iat, "nbf": iat - 5, "exp": iat + 300, "auth_time": iat,
    }  # fmt: skip


@pytest.mark.parity("H3")
def test_default_lifetime_is_known(house: House) -> None:
    """Five minutes, as `realm show` says."""
    assert house.estate.admin("--output json realm show").out.count('"max_jwt_s": 300') == 1
    claims = by_pyjwt(house, "orders", house.token())
    assert claims["exp"] - claims["iat"] == 300


@pytest.mark.parity("P14")
def test_both_ports_issue_the_same(house: House, native: Client) -> None:
    """One principal, one policy: inside it asks with its key file, at the edge with its OAuth secret."""
    own = {"jti", "txn", "iat", "nbf", "exp", "auth_time", "kdc"}
    inside = by_pyjwt(house, "orders", native.token("orders", ["read", "erase"]).value)
    at_the_edge = by_pyjwt(house, "orders", house.token(scope="read erase"))
    assert inside.keys() == at_the_edge.keys()
    assert {name: inside[name] for name in inside.keys() - own} == {
        name: at_the_edge[name] for name in at_the_edge.keys() - own
    }
    assert inside["exp"] - inside["iat"] == at_the_edge["exp"] - at_the_edge["iat"] == 300
    # The mark is the KDC's on both: what either port issued, the other side's endpoint knows.
    looked = house.post("/introspect", "orders", {"token": native.token("orders").value}).json()
    assert (looked["active"], looked["client_id"]) == (True, "shop@corp.test")


@pytest.mark.parity("P1", "Z1")
def test_target_without_a_network_takes_both(house: House, native: Client, offline: Dialogue) -> None:
    """One target process, no network, a ticket and a JWT: who calls and what he may do stands inside."""
    answers: list[dict[str, Any]] = []

    def send(request: bytes) -> bytes:
        answers.append(offline.ask({"request": request.hex()}))
        return bytes.fromhex(answers[-1]["reply"])

    native.credentials("orders").call(send, "orders/get", b"{}", safe=True)
    assert answers[-1]["code"] == "accepted"
    claims = offline.ask({"token": house.token()})
    assert (answers[-1]["client"], answers[-1]["scopes"]) == (claims["sub"], claims["scope"].split())


@pytest.mark.parity("P1", "P17", "Z1")
def test_sample_target(house: House) -> None:
    """docs/examples/jwt/verify_pyjwt.py as it is, with a JWK file and without a network."""
    for target, audience in AUDIENCES.items():
        words = (sys.executable, SAMPLE, house.keys / f"{target}.jwk", audience, house.issuer)
        ended = house.run(*isolation(), *words, given=house.token(target=target) + "\n")
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["client_id"] == "shop@corp.test"


def test_sample_target_allows_for_a_clock_that_is_behind(house: House) -> None:
    """PyJWT checks `iat`, which is not set back: without leeway it refuses what a KDC that is ahead has just made."""
    ahead = int(time.time()) + 4
    words = (sys.executable, SAMPLE, house.keys / "orders.jwk", AUDIENCES["orders"], house.issuer)
    ended = house.run(*words, given=altered(house, {"iat": ahead, "nbf": ahead - 5}))
    assert ended.returncode == 0, ended.stderr
    ended = house.run(*words, given=altered(house, {"iat": ahead + 600, "nbf": ahead - 5}))
    assert "ImmatureSignatureError" in ended.stderr


@pytest.mark.parity("H2", "L28")
@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"aud": "ledger@corp.test"}, "InvalidAudienceError"),
        ({"header": {"typ": "JWT"}}, "InvalidTokenError: another kind of JWT"),
        ({"header": {"alg": "none"}}, "InvalidAlgorithmError"),
        ({"header": {"crit": ["orders-only"], "orders-only": 1}}, "InvalidTokenError: Unsupported critical"),
        ({"scope": None}, "MissingRequiredClaimError"),
    ],
    ids=str,
)
def test_sample_target_refuses(house: House, changes: dict[str, Any], refusal: str) -> None:
    """Nothing is printed that was not checked."""
    words = (sys.executable, SAMPLE, house.keys / "orders.jwk", AUDIENCES["orders"], house.issuer)
    ended = house.run(*words, given=altered(house, changes))
    assert ended.returncode != 0
    assert refusal in ended.stderr
    assert not ended.stdout


@pytest.mark.parity("H2", "L28")
@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://corp.test"}, {"iss": None}, {"aud": "ledger@corp.test"}, {"aud": None},
        {"exp": 1_000_000_000}, {"exp": None}, {"nbf": 9_000_000_000}, {"key": b"0" * 32},
        {"header": {"alg": "none"}}, {"header": {"alg": "HS512"}}, {"header": {"alg": "RS256"}},
    ],
    ids=str,
)  # fmt: skip
def test_claim_by_claim(house: House, changes: dict[str, Any]) -> None:
    """Each check of the libraries bites, for the token is good but for this."""
    unaltered = altered(house, {})
    assert by_pyjwt(house, "orders", unaltered) == by_joserfc(house, "orders", unaltered)
    token = altered(house, changes)
    if changes != {"exp": None}:  # PyJWT has to be told that a token ends; the sample does
        with pytest.raises(jwt.InvalidTokenError):
            by_pyjwt(house, "orders", token)
    with pytest.raises(JoseError):
        by_joserfc(house, "orders", token)


def test_target_cannot_pass_its_own_work_off_as_the_kdcs(house: House) -> None:
    """A target holds the key of its JWTs; what it makes with it convinces nobody but itself."""
    forged = altered(house, {})
    assert by_pyjwt(house, "orders", forged)["sub"] == "shop@corp.test"
    for changes in ({}, {"kdc": "1." + 22 * "A"}):
        answer = house.post("/introspect", "orders", {"token": altered(house, changes)})
        assert (answer.status_code, answer.json()) == (200, {"active": False})


@pytest.mark.parity("H1")
def test_simple_endpoint(house: House, lenient: House) -> None:
    """POST {sub, aud}, back comes {token}; unlike its model it does not believe just anybody."""
    wish = {"sub": "shop", "aud": "orders"}
    with lenient.http() as http:
        for bad in (wish, wish | {"client_secret": "wrong"}, wish | {"client_secret": house.secret("spy")}):
            refused = http.post("/token", json=bad)
            assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
        for answer in (
            http.post("/token", json=wish | {"client_secret": house.secret("shop")}),
            http.post("/token", json=wish, auth=("shop", house.secret("shop"))),
        ):
            assert answer.status_code == 200
            assert by_pyjwt(house, "orders", answer.json()["token"])["sub"] == "shop@corp.test"
    with house.http() as strict:
        off = strict.post("/token", json=wish | {"client_secret": house.secret("shop")})
    assert (off.status_code, off.json()["error"]) == (400, "invalid_request")
