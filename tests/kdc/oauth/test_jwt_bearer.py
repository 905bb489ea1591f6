"""The jwt-bearer grant: an assertion under the client's own secret, for itself or in the name of another."""

from __future__ import annotations

from typing import Any

import jwt as pyjwt
import pytest

from orthros_kdc.admin import rules
from tests.support.oauth_bench import (
    CLIENT_ASSERTION,
    ISSUER,
    JWT_BEARER,
    Tokens,
    body_of,
    header_of,
    open_tokens,
    without_ref,
)


@pytest.fixture
async def tokens() -> Tokens:
    tokens = await open_tokens()
    await tokens.add_client("billing", "shop")
    await tokens.add_target("orders", claims=["tenant", "trace", "vip"])
    await tokens.add_target("payroll")
    admin = tokens.kdc.admin
    await rules.allow(admin, "billing", "orders", scopes=("read", "write"), jwt=True, subjects=("user/*",))
    await rules.allow(admin, "billing", "payroll", scopes=("pay",), jwt=True)
    return tokens


def asked(assertion: str, **fields: str) -> dict[str, str]:
    return {"grant_type": JWT_BEARER, "assertion": assertion, "audience": "orders", **fields}


@pytest.mark.parity("P1")
async def test_the_assertion_alone_is_proof_enough(tokens: Tokens) -> None:
    """RFC 7523: client authentication is optional, since only the client can have signed."""
    answer = await tokens.post("token", asked(tokens.assertion("billing"), scope="read"))
    claims = tokens.claims(body_of(answer)["access_token"], "orders")
    assert (answer.status, claims["sub"], claims["scope"]) == (200, "billing@corp.test", "read")
    assert "act" not in claims
    (event,) = tokens.events("token-issued")
    assert (event["grant"], event["client"]) == ("jwt-bearer", "billing")


async def test_with_client_authentication_both_must_be_the_same_client(tokens: Tokens) -> None:
    both = await tokens.post("token", asked(tokens.assertion("billing")), tokens.basic("billing"))
    other = await tokens.post("token", asked(tokens.assertion("billing")), tokens.basic("shop"))
    wrong = await tokens.post("token", asked(tokens.assertion("billing")), tokens.basic("billing", "wrong"))
    named = await tokens.post("token", asked(tokens.assertion("billing"), client_id="shop"))
    assert [answer.status for answer in (both, other, wrong, named)] == [200, 400, 401, 400]
    assert body_of(other)["error"] == "invalid_grant"


async def test_one_jwt_cannot_be_both_the_grant_and_the_authentication(tokens: Tokens) -> None:
    text = tokens.assertion("billing")
    fields = asked(text, client_assertion_type=CLIENT_ASSERTION, client_assertion=text)
    answer = await tokens.post("token", fields)
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_grant")


@pytest.mark.parity("P8")
async def test_a_subject_that_the_rules_name_may_be_spoken_for(tokens: Tokens) -> None:
    """`sub` is the user and `act` the client, which policy has allowed to say so."""
    answer = await tokens.post("token", asked(tokens.assertion("billing", sub="user/1")))
    claims = tokens.claims(body_of(answer)["access_token"], "orders")
    assert (claims["sub"], claims["act"], claims["client_id"]) == (
        "user/1", {"sub": "billing@corp.test"}, "billing@corp.test",
    )  # fmt: skip
    assert tokens.events("token-issued")[0]["subject"] == "user/1"


@pytest.mark.parity("P8")
@pytest.mark.parametrize(
    "sub", ["admin/1", "user", "users/1", "orders", "shop@corp.test", "user/1@other.test", "User:1"]
)
async def test_a_forged_subject_is_refused(tokens: Tokens, sub: str) -> None:
    """Nobody is spoken for whom no rule names."""
    answer = await tokens.post("token", asked(tokens.assertion("billing", sub=sub)))
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_grant")


async def test_a_subject_for_a_target_without_a_rule_says_nothing_of_either(tokens: Tokens) -> None:
    named = await tokens.post("token", asked(tokens.assertion("shop", sub="user/1")))
    plain = await tokens.post("token", asked(tokens.assertion("shop")))
    nobody = await tokens.post("token", asked(tokens.assertion("shop", sub="user/1"), audience="nobody"))
    assert without_ref(named) == without_ref(plain) == without_ref(nobody)
    assert body_of(named)["error"] == "invalid_target"


async def test_every_bad_assertion_reads_the_same(tokens: Tokens) -> None:
    shown: list[Any] = [
        tokens.assertion("nobody", key="k" * 64), tokens.assertion("billing", key="k" * 64), "a.b.c", "garbage",
        tokens.assertion("billing", aud="https://other.test"), tokens.assertion("billing", exp=tokens.now - 1),
        tokens.assertion("billing", jti=None), tokens.assertion("billing", exp=None),
        tokens.assertion("billing", iss=None), tokens.assertion("billing", aud="orders"),
        tokens.assertion("billing", header={"typ": "client-authentication+jwt"}),
    ]  # fmt: skip
    answers = [without_ref(await tokens.post("token", asked(text))) for text in shown]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][:2] == (
        400, {"error": "invalid_grant", "error_description": "The assertion was not accepted."},
    )  # fmt: skip
    assert len(tokens.events("request-rejected")) == len(shown)
    without_sub = await tokens.post("token", asked(tokens.assertion("billing", sub=None)))
    assert without_ref(without_sub) == answers[0]


async def test_a_subject_that_is_null_is_none(tokens: Tokens) -> None:
    """RFC 7523, section 3: sub is required, and what is not there must not be taken for the client."""
    text = pyjwt.encode({"iss": "billing", "sub": None, "aud": ISSUER, "exp": tokens.now + 60, "jti": "1"},
                        tokens.secrets["billing"])  # fmt: skip
    answer = await tokens.post("token", {"grant_type": JWT_BEARER, "assertion": text, "audience": "orders"})
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_grant")


async def test_an_assertion_is_used_once(tokens: Tokens) -> None:
    text = tokens.assertion("billing")
    first, second = [await tokens.post("token", asked(text)) for _ in range(2)]
    assert (first.status, second.status, body_of(second)["error"]) == (200, 400, "invalid_grant")
    assert tokens.events("request-rejected")[0]["code"] == "assertion-replayed"


@pytest.mark.parity("P3", "P4", "P5")
async def test_rexp_and_scope_may_stand_in_the_assertion(tokens: Tokens) -> None:
    """As Paladin's clients write them."""
    text = tokens.assertion("billing", rexp=tokens.now + 77, scope="read erase")
    answer = await tokens.post("token", asked(text))
    body = body_of(answer)
    assert (body["expires_in"], body["scope"], body["dropped"]) == (77, "read", ["erase"])
    assert header_of(answer, "x-expiry") == str(tokens.now + 77)


@pytest.mark.parity("P3")
@pytest.mark.parametrize(
    ("claims", "fields", "error"),
    [
        ({"rexp": "soon"}, {}, "invalid_request"),
        ({"rexp": True}, {}, "invalid_request"),
        ({"rexp": 1.5}, {}, "invalid_request"),
        ({"rexp": 1}, {}, "invalid_request"),
        ({"rexp": 4_000_000_000}, {"expires_in": "5"}, "invalid_request"),
        ({"rexp": 4_000_000_000}, {"rexp": "4000000000"}, "invalid_request"),
        ({"scope": ["read"]}, {}, "invalid_scope"),
        ({"scope": "read"}, {"scope": "read"}, "invalid_request"),
    ],
)
async def test_wishes_in_the_assertion_are_read_as_strictly(
    tokens: Tokens, claims: dict[str, Any], fields: dict[str, str], error: str
) -> None:
    """Past, not a number, or said twice."""
    answer = await tokens.post("token", asked(tokens.assertion("billing", **claims), **fields))
    assert (answer.status, body_of(answer)["error"]) == (400, error)


@pytest.mark.parity("P7")
async def test_extra_claims_are_copied_if_the_target_takes_them(tokens: Tokens) -> None:
    """allow-listed, and namespaced under `ext`."""
    extra: dict[str, Any] = {"tenant": "acme", "trace": 7, "vip": True, "colour": "red", "pem": {"default": 3}}
    answer = await tokens.post("token", asked(tokens.assertion("billing", **extra)))
    claims = tokens.claims(body_of(answer)["access_token"], "orders")
    assert claims["ext"] == {"tenant": "acme", "trace": 7, "vip": True}
    assert "colour" not in claims
    elsewhere = await tokens.post("token", asked(tokens.assertion("billing", **extra), audience="payroll"))
    assert "ext" not in tokens.claims(body_of(elsewhere)["access_token"], "payroll")


@pytest.mark.parity("P7")
@pytest.mark.parametrize(
    "claims",
    [
        {"act": {"sub": "admin"}}, {"may_act": {"sub": "billing"}}, {"kdc": "1.x"}, {"ext": {}}, {"txn": "00"},
        {"auth_time": 1}, {"client_id": "shop"}, {"cnf": {}}, {"tenant": "x" * 257}, {"tenant": ["acme"]},
        {"tenant": {"a": 1}}, {"tenant": 2**60}, {"tenant": None, "active": True},
    ],
)  # fmt: skip
async def test_what_only_the_kdc_may_say_is_refused(tokens: Tokens, claims: dict[str, Any]) -> None:
    """No reserved name and no unbounded value gets in."""
    answer = await tokens.post("token", asked(tokens.assertion("billing", **claims)))
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_grant")


@pytest.mark.parity("P7")
async def test_claims_of_the_assertion_itself_never_become_the_tokens(tokens: Tokens) -> None:
    """Iss, aud, exp, nbf, iat and jti of the token are the KDC's."""
    text = tokens.assertion("billing", jti="mine", exp=tokens.now + 299, nbf=tokens.now - 999, client_id="billing")
    claims = tokens.claims(body_of(await tokens.post("token", asked(text)))["access_token"], "orders")
    assert claims["jti"] != "mine"
    assert (claims["iss"], claims["aud"], claims["exp"]) == (ISSUER, "orders@corp.test", tokens.now + 300)
    assert claims["nbf"] == tokens.now - 5


async def test_a_missing_assertion_is_an_invalid_request(tokens: Tokens) -> None:
    answer = await tokens.post("token", {"grant_type": JWT_BEARER, "audience": "orders"})
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")
