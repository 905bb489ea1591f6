"""Paladin's endpoint and the {sub, aud} one: old shapes, no less proof."""

from __future__ import annotations

from typing import Any

import jwt as pyjwt
import pytest

from orthros_kdc.admin import principals, rules
from orthros_kdc.oauth.http_boundary import HttpAnswer
from tests.support.oauth_bench import ISSUER, SAM12, Tokens, body_of, header_of, open_tokens, without_ref


@pytest.fixture
async def tokens() -> Tokens:
    tokens = await open_tokens(paladin=True, simple_token=True)
    await tokens.add_client("shop", "other")
    await tokens.add_target("orders", alg="HS512")
    await tokens.add_target("payroll")
    await rules.allow(
        tokens.kdc.admin, "shop", "orders", scopes=("read", "write"), jwt=True, max_ttl_s=250, subjects=("user/*",)
    )
    return tokens


def as_in_the_post(tokens: Tokens, *, header: dict[str, Any] | None = None, **claims: Any) -> str:
    """The assertion of the Ruby sample: no jti, and `aud` is the service to talk to."""
    said = {"aud": "orders", "sub": "User:1", "iss": "shop", "iat": tokens.now, "exp": tokens.now + 120, **claims}
    said = {name: value for name, value in said.items() if value is not None}
    return pyjwt.encode(said, tokens.secrets["shop"], algorithm="HS256", headers=header)


async def authorize(tokens: Tokens, assertion: str, client: str = "shop") -> HttpAnswer:
    return await tokens.post_json("paladin", {"grant_type": SAM12, "assertion": assertion, "client_id": client})


@pytest.mark.parity("P1", "P4", "P8")
async def test_the_posts_own_request_gets_the_posts_own_answer(tokens: Tokens) -> None:
    """`token` and `x-expiry`; the user is the subject, as the rule allows."""
    answer = await authorize(tokens, as_in_the_post(tokens))
    body = body_of(answer)
    claims = tokens.claims(body["token"], "orders")
    assert answer.status == 200
    assert header_of(answer, "x-expiry") == str(claims["exp"]) == str(tokens.now + 250)
    assert (claims["sub"], claims["act"], claims["aud"]) == ("user/1", {"sub": "shop@corp.test"}, "orders@corp.test")
    assert tokens.events("token-issued")[0]["grant"] == "paladin"


@pytest.mark.parity("P8")
@pytest.mark.parametrize("sub", ["anon", None, "shop", "shop@corp.test"])
async def test_nobody_in_particular_is_the_client_itself(tokens: Tokens, sub: str | None) -> None:
    """`anon`."""
    body = body_of(await authorize(tokens, as_in_the_post(tokens, sub=sub)))
    claims = tokens.claims(body["token"], "orders")
    assert claims["sub"] == "shop@corp.test"
    assert "act" not in claims


@pytest.mark.parity("P3", "P5")
async def test_rexp_and_scope_are_honoured(tokens: Tokens) -> None:
    """Knocked down, never up."""
    shorter = await authorize(tokens, as_in_the_post(tokens, rexp=tokens.now + 30, scope="read erase"))
    assert header_of(shorter, "x-expiry") == str(tokens.now + 30)
    assert (body_of(shorter)["scope"], body_of(shorter)["dropped"]) == ("read", ["erase"])
    longer = await authorize(tokens, as_in_the_post(tokens, rexp=tokens.now + 9999))
    assert header_of(longer, "x-expiry") == str(tokens.now + 250)
    for rexp in (tokens.now, tokens.now - 1, -5, 0, "soon", 1.5, True):
        refused = await authorize(tokens, as_in_the_post(tokens, rexp=rexp, nonce_of_test=str(rexp)))
        assert (refused.status, body_of(refused)["error"]) == (400, "bad_request")


async def test_aud_may_stand_in_the_header_but_must_not_contradict(tokens: Tokens) -> None:
    in_header = await authorize(tokens, as_in_the_post(tokens, aud=None, header={"aud": "orders"}))
    in_both = await authorize(tokens, as_in_the_post(tokens, header={"aud": "orders"}, iat=tokens.now - 1))
    differing = await authorize(tokens, as_in_the_post(tokens, header={"aud": "payroll"}))
    nowhere = await authorize(tokens, as_in_the_post(tokens, aud=None))
    listed = await authorize(tokens, as_in_the_post(tokens, aud=["orders"]))
    assert [answer.status for answer in (in_header, in_both, differing, nowhere, listed)] == [200, 200, 401, 401, 401]


@pytest.mark.parity("P6")
async def test_no_code_tells_who_exists(tokens: Tokens) -> None:
    """Paladin said 404 aud_not_found; here unknown, hidden and forbidden are one."""
    await principals.disable(tokens.kdc.admin, "payroll")
    asked = ("payroll", "nobody", "?")
    answers = [without_ref(await authorize(tokens, as_in_the_post(tokens, aud=aud))) for aud in asked]
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0][0], answers[0][1]["error"]) == (401, "unauthorized")
    forged = pyjwt.encode({"aud": "orders", "iss": "shop", "exp": tokens.now + 60}, "k" * 64)
    unknown = pyjwt.encode({"aud": "orders", "iss": "nobody", "exp": tokens.now + 60}, "k" * 64)
    await principals.disable(tokens.kdc.admin, "other")
    disabled = pyjwt.encode({"aud": "orders", "iss": "other", "exp": tokens.now + 60}, tokens.secrets["other"])
    ended = as_in_the_post(tokens, exp=tokens.now)
    swapped = [
        without_ref(await authorize(tokens, text, client))
        for text, client in ((forged, "shop"), (unknown, "nobody"), (disabled, "other"), (ended, "shop"),
                             (as_in_the_post(tokens), "other"))
    ]  # fmt: skip
    assert all(answer == swapped[0] for answer in swapped)
    assert (swapped[0][0], swapped[0][1]["error"]) == (401, "invalid_token")


async def test_one_assertion_gets_one_token_even_without_jti(tokens: Tokens) -> None:
    """Capture is useless: the same bytes are not taken twice, and `jti` tells requests of one second apart."""
    text = as_in_the_post(tokens)
    assert [(await authorize(tokens, text)).status for _ in range(2)] == [200, 401]
    assert tokens.events("request-rejected")[0]["code"] == "assertion-replayed"
    for jti in ("a", "b"):
        assert (await authorize(tokens, as_in_the_post(tokens, jti=jti))).status == 200


async def test_an_assertion_for_the_token_endpoint_is_none_for_a_target(tokens: Tokens) -> None:
    """The two meanings of `aud` do not mix."""
    assert (await authorize(tokens, tokens.assertion("shop", aud=ISSUER))).status == 401


@pytest.mark.parity("P8")
@pytest.mark.parametrize("sub", ["User:2:3", "User:", "Admin:1", "other", "User:A", "admin/1", ""])
async def test_a_forged_subject_is_refused(tokens: Tokens, sub: str) -> None:
    answer = await authorize(tokens, as_in_the_post(tokens, sub=sub))
    assert (answer.status, body_of(answer)["error"]) == (401, "invalid_token")


@pytest.mark.parametrize(
    "members",
    [{"grant_type": "client_credentials"}, {"assertion": 7}, {"assertion": ""}, {"client_id": None},
     {"client_id": ["shop"]}],
)  # fmt: skip
async def test_the_request_itself_must_be_whole(tokens: Tokens, members: dict[str, Any]) -> None:
    whole = {"grant_type": SAM12, "assertion": as_in_the_post(tokens), "client_id": "shop"}
    answer = await tokens.post_json("paladin", {**whole, **members})
    assert (answer.status, body_of(answer)["error"]) == (400, "bad_request")


# {sub, aud} -> {token}


@pytest.mark.parity("H1", "H2")
async def test_sub_and_aud_get_a_token_if_the_client_proves_itself(tokens: Tokens) -> None:
    """The model answers anybody; here the secret is demanded."""
    wish = {"sub": "shop", "aud": "orders"}
    nobody = await tokens.post_json("simple_token", wish)
    wrong = await tokens.post_json("simple_token", {**wish, "client_secret": "wrong"})
    assert (nobody.status, wrong.status) == (401, 401)
    in_body = await tokens.post_json("simple_token", {**wish, "client_secret": tokens.secrets["shop"]})
    by_header = await tokens.post_json("simple_token", {**wish, "scope": "read", "rexp": tokens.now + 60},
                                       tokens.basic("shop"))  # fmt: skip
    claims = tokens.claims(body_of(in_body)["token"], "orders")
    assert (claims["sub"], claims["scope"]) == ("shop@corp.test", "read write")
    assert header_of(in_body, "x-expiry") == str(claims["exp"])
    assert (body_of(by_header)["scope"], header_of(by_header, "x-expiry")) == ("read", str(tokens.now + 60))
    assert tokens.events("token-issued")[0]["grant"] == "simple"


async def test_sub_is_nobody_but_the_client(tokens: Tokens) -> None:
    other = await tokens.post_json("simple_token", {"sub": "other", "aud": "orders"}, tokens.basic("shop"))
    assert (other.status, body_of(other)["error"]) == (400, "invalid_request")
    refused = await tokens.post_json("simple_token", {"sub": "shop", "aud": "payroll"}, tokens.basic("shop"))
    assert (refused.status, body_of(refused)["error"]) == (400, "invalid_target")


@pytest.mark.parametrize(
    "body",
    [[], "x", None, {}, {"sub": "shop"}, {"aud": "orders"}, {"sub": 7, "aud": "orders"},
     {"sub": "shop", "aud": ["orders"]},
     {"sub": "shop", "aud": "orders", "scope": {}}, {"sub": "shop", "aud": "orders", "expires_in": -1},
     {"sub": "shop", "aud": "orders", "expires_in": True}, {"sub": "shop", "aud": "orders", "rexp": 1.5}],
)  # fmt: skip
async def test_a_body_of_another_shape_is_an_invalid_request(tokens: Tokens, body: Any) -> None:
    answer = await tokens.post_json("simple_token", body, tokens.basic("shop"))
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")


async def test_json_is_read_strictly(tokens: Tokens) -> None:
    secret = tokens.secrets["shop"]
    for raw in (
        b'{"sub":"shop","sub":"shop","aud":"orders"}', b'{"sub":"shop","aud":"orders",}', b"\xff{}", b"[" * 60_000,
        b'{"sub":"shop","aud":"\\ud800"}', b'{"sub":NaN,"aud":"orders"}', b"9" * 6000, b"",
    ):  # fmt: skip
        ask = tokens.ask(raw, tokens.basic("shop", secret), content_type="application/json")
        assert (await tokens.service.simple_token(ask)).status == 400
    lonely = await tokens.post_json("simple_token", {"sub": "shop", "aud": "orders", "client_secret": "\ud800"})
    assert lonely.status == 401
