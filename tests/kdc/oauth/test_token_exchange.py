"""Token exchange: a service acts on for whom it was called, as far as the KDC itself has said so."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import jwt as pyjwt
import pytest

from orthros_kdc.admin import principals, rules
from tests.support.oauth_bench import (
    ACCESS_TOKEN,
    EXCHANGE,
    JWT_BEARER,
    Tokens,
    body_of,
    open_tokens,
    without_ref,
)

JWT = "urn:ietf:params:oauth:token-type:jwt"


@pytest.fixture
async def tokens() -> Tokens:
    """web calls front, front calls back, back calls store; web may speak for users towards front."""
    tokens = await open_tokens()
    await tokens.add_client("web", "front", "back", "other")
    for target in ("front", "back", "store", "other"):
        await tokens.add_target(target)
    admin = tokens.kdc.admin
    await rules.allow(admin, "web", "front", scopes=("call",), jwt=True, delegable=True, subjects=("user/*",))
    await rules.allow(admin, "front", "back", scopes=("read", "write"), jwt=True, delegable=True, subjects=("*",))
    await rules.allow(
        admin,
        "back",
        "store",
        scopes=("get",),
        jwt=True,
        subjects=(
            "user/*",
            "web",
        ),
    )
    return tokens


def asked(subject_token: str, target: str = "back", **fields: str) -> dict[str, str]:
    return {"grant_type": EXCHANGE, "subject_token": subject_token, "subject_token_type": ACCESS_TOKEN,
            "audience": target, **fields}  # fmt: skip


async def for_user(tokens: Tokens, user: str = "user/1") -> str:
    fields = {"grant_type": JWT_BEARER, "assertion": tokens.assertion("web", sub=user), "audience": "front"}
    return str(body_of(await tokens.post("token", fields))["access_token"])


@pytest.mark.parity("L20", "K18")
async def test_the_chain_of_actors_grows_and_the_subject_stays(tokens: Tokens) -> None:
    """Outermost `act` is the present actor; txn and the end travel along."""
    first = await for_user(tokens)
    answer = await tokens.post("token", asked(first, scope="read erase"), tokens.basic("front"))
    body = body_of(answer)
    second = tokens.claims(body["access_token"], "back")
    assert (answer.status, body["issued_token_type"], body["token_type"]) == (200, ACCESS_TOKEN, "Bearer")
    assert (body["scope"], body["dropped"]) == ("read", ["erase"])
    assert second["sub"] == "user/1"
    assert second["act"] == {"sub": "front@corp.test", "act": {"sub": "web@corp.test"}}
    third_body = body_of(await tokens.post("token", asked(body["access_token"], "store"), tokens.basic("back")))
    third = tokens.claims(third_body["access_token"], "store")
    assert third["act"] == {
        "sub": "back@corp.test", "act": {"sub": "front@corp.test", "act": {"sub": "web@corp.test"}},
    }  # fmt: skip
    assert third["txn"] == second["txn"] == tokens.claims(first, "front")["txn"]
    assert third["jti"] != second["jti"]
    assert "may_act" not in third
    chains = [event.get("chain", []) for event in tokens.events("token-issued")]
    assert chains == [[], ["web"], ["web", "front"]]


async def test_the_client_itself_can_be_the_subject(tokens: Tokens) -> None:
    body = body_of(await tokens.post("token", asked(await tokens.token("web", "front")), tokens.basic("front")))
    claims = tokens.claims(body["access_token"], "back")
    assert (claims["sub"], claims["act"]) == ("web@corp.test", {"sub": "front@corp.test"})


async def test_nothing_outlives_the_token_that_is_exchanged(tokens: Tokens) -> None:
    first = await tokens.token("web", "front", expires_in="100")
    tokens.kdc.clock.advance(40)
    body = body_of(await tokens.post("token", asked(first, expires_in="300"), tokens.basic("front")))
    assert body["expires_in"] == 60
    assert tokens.claims(body["access_token"], "back")["exp"] == tokens.claims(first, "front")["exp"]
    tokens.kdc.clock.advance(60)
    over = await tokens.post("token", asked(first), tokens.basic("front"))
    assert (over.status, body_of(over)["error"]) == (400, "invalid_request")


@pytest.mark.parity("L23")
async def test_whoever_is_not_named_as_the_one_that_may_act_gets_nothing(tokens: Tokens) -> None:
    """Neither another client, nor the target of a rule without delegation, nor the first client itself."""
    await rules.allow(tokens.kdc.admin, "other", "back", scopes=("read",), jwt=True, subjects=("*",))
    await rules.allow(tokens.kdc.admin, "web", "other", scopes=("call",), jwt=True)
    first = await tokens.token("web", "front")
    stolen = await tokens.post("token", asked(first), tokens.basic("other"))
    own = await tokens.post("token", asked(first), tokens.basic("web"))
    undelegated = await tokens.post("token", asked(await tokens.token("web", "other")), tokens.basic("other"))
    assert without_ref(stolen) == without_ref(own) == without_ref(undelegated)
    assert without_ref(stolen)[:2] == (
        400, {"error": "invalid_request", "error_description": "The subject token was not accepted."},
    )  # fmt: skip
    assert {event["code"] for event in tokens.events("token-refused")} == {"token-unacceptable"}


async def test_what_its_own_target_forges_is_no_subject(tokens: Tokens) -> None:
    """Threat model: front holds the key of its tokens, and still cannot write itself a subject."""
    first = await for_user(tokens)
    jwk = tokens.jwks["front"]
    claims = tokens.claims(first, "front")
    header = pyjwt.get_unverified_header(first)
    for change in ({"sub": "user/2"}, {"exp": claims["exp"] + 100}, {"may_act": {"sub": "other@corp.test"}}, {}):
        said: dict[str, Any] = {**claims, **change}
        if not change:
            del said["kdc"]
        forged = pyjwt.encode(said, pyjwt.PyJWK(jwk).key, algorithm=jwk["alg"], headers=header)
        answer = await tokens.post("token", asked(forged), tokens.basic("front"))
        assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request"), change


@pytest.mark.parity("P8")
async def test_the_rule_of_the_next_pair_decides_for_whom(tokens: Tokens) -> None:
    """Back -> store names users and web, nobody else."""
    await rules.allow(tokens.kdc.admin, "other", "front", scopes=("call",), jwt=True, delegable=True)
    first = await tokens.token("other", "front")
    second = body_of(await tokens.post("token", asked(first), tokens.basic("front")))["access_token"]
    answer = await tokens.post("token", asked(second, "store"), tokens.basic("back"))
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")
    assert tokens.events("token-refused")[-1]["code"] == "subject-refused"


async def test_refused_targets_are_invalid_target_and_look_alike(tokens: Tokens) -> None:
    first = await tokens.token("web", "front")
    answers = [
        without_ref(await tokens.post("token", asked(first, name), tokens.basic("front")))
        for name in ("store", "nobody", "kdc/tgt")
    ]
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0][0], answers[0][1]["error"]) == (400, "invalid_target")


async def test_a_chain_does_not_come_back_to_who_is_in_it(tokens: Tokens) -> None:
    """Protocol, sections 11 and 17: target in chain, self in chain."""
    admin = tokens.kdc.admin
    await tokens.add_target("web")
    for client, target in (("back", "front"), ("back", "web"), ("back", "back")):
        await rules.allow(admin, client, target, jwt=True, subjects=("*",))
    first = await tokens.token("web", "front")
    second = body_of(await tokens.post("token", asked(first), tokens.basic("front")))["access_token"]
    for target in ("front", "web", "back"):
        answer = await tokens.post("token", asked(second, target), tokens.basic("back"))
        assert (answer.status, body_of(answer)["error"]) == (400, "invalid_target")
    assert {event["code"] for event in tokens.events("token-refused")} == {"chain-refused"}


async def test_revoked_or_orphaned_tokens_are_not_exchanged(tokens: Tokens) -> None:
    revoked, orphaned = await tokens.token("web", "front"), await tokens.token("web", "front")
    assert (await tokens.post("revoke", {"token": revoked}, tokens.basic("web"))).status == 200
    assert (await tokens.post("token", asked(revoked), tokens.basic("front"))).status == 400
    assert (await tokens.post("token", asked(orphaned), tokens.basic("front"))).status == 200
    await principals.disable(tokens.kdc.admin, "web")
    assert (await tokens.post("token", asked(orphaned), tokens.basic("front"))).status == 400


@pytest.mark.parity("P8")
async def test_a_token_in_a_name_ends_with_the_rule_that_allowed_the_name(tokens: Tokens) -> None:
    """What a client may do in its own name keeps nobody else's name alive."""
    admin = tokens.kdc.admin
    named, own = await for_user(tokens), await tokens.token("web", "front")
    await rules.deny(admin, "web", "front")
    await rules.allow(admin, "web", "front", scopes=("call",), jwt=True, delegable=True)
    for token, counts in ((named, False), (own, True)):
        told = body_of(await tokens.post("introspect", {"token": token}, tokens.basic("front")))
        assert told["active"] is counts
        answer = await tokens.post("token", asked(token), tokens.basic("front"))
        assert answer.status == (200 if counts else 400)


@pytest.mark.parity("P10")
async def test_whoever_is_disabled_takes_along_what_is_done_in_its_name(tokens: Tokens) -> None:
    """Protocol section 8: client, subject or any member of the chain."""
    admin = tokens.kdc.admin
    second = body_of(await tokens.post("token", asked(await for_user(tokens)), tokens.basic("front")))["access_token"]
    own = body_of(await tokens.post("token", asked(await tokens.token("web", "front")), tokens.basic("front")))
    for token in (second, own["access_token"]):
        await principals.disable(admin, "web")
        refused = await tokens.post("token", asked(token, "store"), tokens.basic("back"))
        told = body_of(await tokens.post("introspect", {"token": token}, tokens.basic("back")))
        await principals.enable(admin, "web")
        allowed = await tokens.post("token", asked(token, "store"), tokens.basic("back"))
        assert (refused.status, told, allowed.status) == (400, {"active": False}, 200)


async def test_an_actor_token_can_only_be_the_clients_own(tokens: Tokens) -> None:
    first = await tokens.token("web", "front")
    own, foreign = await tokens.token("front", "back"), await tokens.token("web", "front")
    for actor, status in ((own, 200), (foreign, 400), ("garbage", 400)):
        fields = asked(first, actor_token=actor, actor_token_type=JWT)
        answer = await tokens.post("token", fields, tokens.basic("front"))
        assert answer.status == status
        assert status == 200 or body_of(answer)["error"] == "invalid_request"


@pytest.mark.parametrize(
    "fields",
    [
        {"actor_token": "x"},
        {"actor_token_type": ACCESS_TOKEN},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"},
        {"subject_token_type": ""},
        {"subject_token": ""},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
    ],
)
async def test_types_and_tokens_go_together(tokens: Tokens, fields: dict[str, str]) -> None:
    """RFC 8693 section 2.1."""
    first = await tokens.token("web", "front")
    answer = await tokens.post("token", {**asked(first), **fields}, tokens.basic("front"))
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")


async def test_the_type_that_is_asked_for_is_the_type_that_is_issued(tokens: Tokens) -> None:
    first = await tokens.token("web", "front")
    fields = asked(first, requested_token_type=JWT, subject_token_type=JWT)
    assert body_of(await tokens.post("token", fields, tokens.basic("front")))["issued_token_type"] == JWT
    await tokens.add_target("vault", alg="opaque")
    await rules.allow(tokens.kdc.admin, "front", "vault", jwt=True, subjects=("*",))
    handle = await tokens.post("token", {**fields, "audience": "vault"}, tokens.basic("front"))
    assert (handle.status, body_of(handle)["error"]) == (400, "invalid_target")
    fields["requested_token_type"] = ACCESS_TOKEN
    handle = await tokens.post("token", {**fields, "audience": "vault"}, tokens.basic("front"))
    assert body_of(handle)["access_token"].startswith("ort1h_")


async def test_an_exchange_needs_an_authenticated_client(tokens: Tokens) -> None:
    answer = await tokens.post("token", asked(await tokens.token("web", "front")))
    assert (answer.status, body_of(answer)["error"]) == (401, "invalid_client")


async def test_a_chain_has_an_end(tokens: Tokens) -> None:
    """Protocol, section 17: depth 9."""
    admin = tokens.kdc.admin
    names = [f"hop-{number}" for number in range(10)]
    await tokens.add_client(*names)
    for name in names:
        await tokens.add_target(name)
    for client, target in zip(["web", *names], names, strict=False):
        await rules.allow(admin, client, target, jwt=True, delegable=True, subjects=("*",))
    fields = {"grant_type": JWT_BEARER, "assertion": tokens.assertion("web", sub="user/1"), "audience": names[0]}
    token = body_of(await tokens.post("token", fields))["access_token"]
    depths = []
    for client, target in pairwise(names):
        answer = await tokens.post("token", asked(token, target), tokens.basic(client))
        if answer.status != 200:
            assert body_of(answer)["error"] == "invalid_target"
            break
        token = body_of(answer)["access_token"]
        depths.append(str(tokens.claims(token, target)["act"]).count("sub"))
    assert depths == [2, 3, 4, 5, 6, 7, 8]
