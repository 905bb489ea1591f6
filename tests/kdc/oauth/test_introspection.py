"""Introspection and revocation: who learns what about a token, and for how long it counts."""

from __future__ import annotations

from typing import Any

import jwt as pyjwt
import pytest

from orthros_kdc.admin import jwt_keys, principals, realm, rules
from orthros_kdc.oauth.http_boundary import HttpAnswer
from orthros_protocol.exchanges.wants import WANT_JWT, Granted
from tests.support.oauth_bench import ACCESS_TOKEN, EXCHANGE, JWT_BEARER, Tokens, body_of, open_tokens

INACTIVE = b'{"active":false}'


@pytest.fixture
async def tokens() -> Tokens:
    tokens = await open_tokens()
    await tokens.add_client("billing", "orders", "vault", "stranger")
    await tokens.add_target("orders", claims=["tenant"])
    await tokens.add_target("vault", alg="opaque")
    for target in ("orders", "vault"):
        await rules.allow(
            tokens.kdc.admin, "billing", target, scopes=("read",), jwt=True, delegable=True, subjects=("user/*",)
        )
    return tokens


async def introspected(tokens: Tokens, token: str, by: str, **fields: str) -> HttpAnswer:
    return await tokens.post("introspect", {"token": token, **fields}, tokens.basic(by))


@pytest.mark.parity("P12")
async def test_target_and_client_learn_what_the_token_says(tokens: Tokens) -> None:
    """The same claims as in the token, `act` included (lessons, row 26)."""
    assertion = tokens.assertion("billing", sub="user/1", tenant="acme")
    fields = {"grant_type": JWT_BEARER, "assertion": assertion, "audience": "orders"}
    token = body_of(await tokens.post("token", fields))["access_token"]
    told = body_of(await introspected(tokens, token, "orders"))
    assert told == body_of(await introspected(tokens, token, "billing", token_type_hint="refresh_token"))
    claims = tokens.claims(token, "orders")
    del claims["kdc"]
    assert told == {**claims, "active": True, "token_type": "Bearer", "username": "user/1"}
    assert told["act"] == {"sub": "billing@corp.test"}
    assert told["ext"] == {"tenant": "acme"}
    assert "username" not in body_of(await introspected(tokens, await tokens.token("billing", "orders"), "orders"))


@pytest.mark.parity("L2")
async def test_an_opaque_handle_says_nothing_but_to_the_kdc(tokens: Tokens) -> None:
    """A handle of at least 256 random bits, resolved by introspection."""
    handle = await tokens.token("billing", "vault")
    assert handle.startswith("ort1h_")
    assert "billing" not in handle
    told = body_of(await introspected(tokens, handle, "vault"))
    assert (told["active"], told["client_id"], told["aud"]) == (True, "billing@corp.test", "vault@corp.test")
    assert (await introspected(tokens, handle, "orders")).body == INACTIVE
    assert (await introspected(tokens, handle[:-2] + "AA", "vault")).body == INACTIVE


@pytest.mark.parity("P14")
async def test_a_token_of_the_native_port_counts_as_well(tokens: Tokens) -> None:
    """One mechanism."""
    granted = await tokens.kdc.ask_one(await tokens.kdc.log_in("billing"), "orders", kind=WANT_JWT)
    assert isinstance(granted, Granted)
    token = granted.credential.decode()
    assert body_of(await introspected(tokens, token, "orders"))["active"] is True
    assert (await tokens.post("revoke", {"token": token}, tokens.basic("billing"))).status == 200
    assert (await introspected(tokens, token, "orders")).body == INACTIVE


async def test_everybody_else_and_everything_wrong_gets_one_word(tokens: Tokens) -> None:
    """http.md 6.7: byte for byte."""
    token = await tokens.token("billing", "orders")
    jwk = tokens.jwks["orders"]
    claims, header = tokens.claims(token, "orders"), pyjwt.get_unverified_header(token)
    unmarked = {name: value for name, value in claims.items() if name != "kdc"}
    key = pyjwt.PyJWK(jwk).key
    shown = [
        (token, "stranger"),
        (pyjwt.encode({**claims, "exp": claims["exp"] + 1}, key, algorithm="HS256", headers=header), "orders"),
        (pyjwt.encode(unmarked, key, algorithm="HS256", headers=header), "orders"),
        (pyjwt.encode(claims, "k" * 64, algorithm="HS256", headers=header), "orders"),
        (pyjwt.encode(claims, key, algorithm="HS256", headers={**header, "kid": "00" * 8}), "orders"),
        (pyjwt.encode(claims, key, algorithm="HS256", headers={"typ": "orthros+jwt"}), "orders"),
        (token + "x", "orders"), (token[:-1], "orders"), ("garbage", "orders"), ("ort1h_", "orders"), ("é", "orders"),
    ]  # fmt: skip
    for text, caller in shown:
        answer = await introspected(tokens, text, caller)
        assert (answer.status, answer.body) == (200, INACTIVE)
        assert answer.headers == (await introspected(tokens, "x", caller)).headers
    assert {event["active"] for event in tokens.events("token-introspected")} == {0}
    codes = {event["code"] for event in tokens.events("token-introspected")}
    assert {"token-for-another", "token-not-own", "wrong-mac", "unknown-key", "malformed"} <= codes


async def test_another_realms_token_is_none(tokens: Tokens) -> None:
    other = await open_tokens()
    await other.add_client("billing", "orders")
    await other.add_target("orders")
    await rules.allow(other.kdc.admin, "billing", "orders", jwt=True)
    other.kdc.clock.advance(7)
    assert (await introspected(tokens, await other.token("billing", "orders"), "orders")).body == INACTIVE


async def test_a_token_ends_with_its_time_its_key_its_issuer_and_its_rule(tokens: Tokens) -> None:
    admin = tokens.kdc.admin
    token = await tokens.token("billing", "orders")

    async def is_active() -> bool:
        return bool(body_of(await introspected(tokens, token, "orders"))["active"])

    await jwt_keys.rotate(admin, "orders")
    assert await is_active()  # the key before stays live
    await realm.change(admin, issuer="https://elsewhere.test")
    assert not await is_active()
    await realm.change(admin, issuer="https://corp.test")
    await jwt_keys.rotate(admin, "orders")
    assert not await is_active()
    token = await tokens.token("billing", "orders")
    tokens.kdc.clock.advance(299)
    assert await is_active()
    tokens.kdc.clock.advance(1)
    assert not await is_active()
    token = await tokens.token("billing", "orders")
    await rules.deny(admin, "billing", "orders")
    assert not await is_active()


async def test_a_token_counts_for_the_scopes_that_rules_still_grant(tokens: Tokens) -> None:
    """A scope that was taken away is gone at introspection at once, as a rule is."""
    admin = tokens.kdc.admin
    more = await rules.allow(admin, "billing", "orders", scopes=("pay", "write"), jwt=True)
    token = await tokens.token("billing", "orders")

    async def told() -> dict[str, Any]:
        return body_of(await introspected(tokens, token, "orders"))

    assert (await told())["scope"] == "pay read write"
    await rules.remove(admin, more.rule_id)
    assert (await told())["scope"] == "read"
    await rules.deny(admin, "billing", "orders")
    await rules.allow(admin, "billing", "orders", scopes=("pay",), jwt=True, subjects=("user/*",))
    await rules.allow(admin, "billing", "orders", scopes=("read",))  # of tickets alone
    assert (await told())["scope"] == "pay"
    await rules.deny(admin, "billing", "orders")
    await rules.allow(admin, "billing", "orders", scopes=("other",), jwt=True)
    assert (await introspected(tokens, token, "orders")).body == INACTIVE
    assert tokens.events("token-introspected")[-1]["code"] == "no-scope-left"


async def test_a_token_from_before_a_restore_counts_no_more(tokens: Tokens) -> None:
    """It may be one that was revoked after the backup was made."""
    admin = tokens.kdc.admin
    token = await tokens.token("billing", "orders")
    await admin.store.change(lambda tx: tx.raise_not_before(admin.now() + 1))
    assert (await introspected(tokens, token, "orders")).body == INACTIVE
    assert tokens.events("token-introspected")[-1]["code"] == "revoked"
    tokens.kdc.clock.advance(1)
    later = await tokens.token("billing", "orders")
    assert body_of(await introspected(tokens, later, "orders"))["active"] is True


@pytest.mark.parity("P10", "K20")
async def test_a_disabled_or_recreated_client_takes_its_tokens_along(tokens: Tokens) -> None:
    """The kill switch is visible here at once; a re-created name is somebody else."""
    admin = tokens.kdc.admin
    token = await tokens.token("billing", "orders")
    await principals.disable(admin, "billing")
    assert (await introspected(tokens, token, "orders")).body == INACTIVE
    await principals.enable(admin, "billing")
    assert body_of(await introspected(tokens, token, "orders"))["active"] is True
    tokens.kdc.clock.advance(1)
    await principals.delete(admin, "billing")
    assert (await introspected(tokens, token, "orders")).body == INACTIVE
    await tokens.kdc.add("billing")
    await rules.allow(admin, "billing", "orders", scopes=("read",), jwt=True)
    assert (await introspected(tokens, token, "orders")).body == INACTIVE
    codes = [event.get("code", "") for event in tokens.events("token-introspected")]
    assert codes == ["principal-disabled", "", "client-unknown", "client-unknown"]


@pytest.mark.parametrize("endpoint", ["introspect", "revoke"])
async def test_both_endpoints_demand_an_authenticated_client(tokens: Tokens, endpoint: str) -> None:
    """RFC 7662 section 2.1, RFC 7009 section 2.1."""
    token = await tokens.token("billing", "orders")
    for headers, status in (({}, 401), (tokens.basic("orders", "wrong"), 401), (tokens.basic("orders"), 200)):
        answer = await tokens.post(endpoint, {"token": token}, headers)
        assert answer.status == status
    missing = await tokens.post(endpoint, {}, tokens.basic("orders"))
    assert (missing.status, body_of(missing)["error"]) == (400, "invalid_request")


@pytest.mark.parity("L27")
async def test_revocation_shows_at_introspection_and_exchange_alone(tokens: Tokens) -> None:
    """Until the token would have ended; what was handed out stays valid offline, as documented."""
    token, other = await tokens.token("billing", "orders"), await tokens.token("billing", "orders")
    answer = await tokens.post("revoke", {"token": token, "token_type_hint": "nonsense"}, tokens.basic("billing"))
    assert (answer.status, answer.body) == (200, b"")
    assert (await introspected(tokens, token, "orders")).body == INACTIVE
    assert body_of(await introspected(tokens, other, "orders"))["active"] is True
    assert tokens.claims(token, "orders")["client_id"] == "billing@corp.test"  # offline, nobody hears of it
    (event,) = tokens.events("token-revoked")
    assert (event["client"], event["tid"], event.get("code", "")) == (
        "billing", tokens.claims(token, "orders")["jti"], "",
    )  # fmt: skip


async def test_only_the_client_it_was_issued_to_revokes_and_nobody_else_learns_why_not(tokens: Tokens) -> None:
    token = await tokens.token("billing", "orders")
    for text, caller in ((token, "orders"), (token, "stranger"), ("garbage", "stranger")):
        answer = await tokens.post("revoke", {"token": text}, tokens.basic(caller))
        assert (answer.status, answer.body) == (200, b"")
    assert body_of(await introspected(tokens, token, "orders"))["active"] is True
    assert [event["code"] for event in tokens.events("token-revoked")] == [
        "token-for-another", "token-for-another", "malformed",
    ]  # fmt: skip


async def test_a_revocation_outlives_its_client(tokens: Tokens) -> None:
    token = await tokens.token("billing", "orders")
    await tokens.post("revoke", {"token": token}, tokens.basic("billing"))
    await principals.disable(tokens.kdc.admin, "billing")
    await principals.enable(tokens.kdc.admin, "billing")
    assert (await introspected(tokens, token, "orders")).body == INACTIVE
    assert (await tokens.post("revoke", {"token": token}, tokens.basic("billing"))).status == 200


async def test_a_handle_is_revoked_and_exchanged_like_a_jwt(tokens: Tokens) -> None:
    await tokens.add_target("store")
    await rules.allow(tokens.kdc.admin, "vault", "store", jwt=True, subjects=("billing",))
    handle = await tokens.token("billing", "vault")
    fields = {"grant_type": EXCHANGE, "subject_token": handle, "subject_token_type": ACCESS_TOKEN, "audience": "store"}
    answer = await tokens.post("token", fields, tokens.basic("vault"))
    claims: dict[str, Any] = tokens.claims(body_of(answer)["access_token"], "store")
    assert (claims["sub"], claims["act"]) == ("billing@corp.test", {"sub": "vault@corp.test"})
    await tokens.post("revoke", {"token": handle}, tokens.basic("billing"))
    assert (await introspected(tokens, handle, "vault")).body == INACTIVE
    assert (await tokens.post("token", fields, tokens.basic("vault"))).status == 400


@pytest.mark.parametrize("endpoint", ["introspect", "revoke"])
async def test_what_cannot_be_recorded_is_answered_with_503(tokens: Tokens, endpoint: str) -> None:
    """RFC 7009 section 2.2.1: the client must assume that the token lives."""
    token = await tokens.token("billing", "orders")
    tokens.kdc.ledger.full = True
    assert (await tokens.post(endpoint, {"token": token}, tokens.basic("billing"))).status == 503


async def test_asking_about_tokens_does_not_use_up_the_share_for_obtaining_them() -> None:
    tokens = await open_tokens(burst=20)
    await tokens.add_client("orders")
    statuses = {(await introspected(tokens, "x", "orders")).status for _ in range(15)}
    tokens.kdc.clock.advance(0.02)
    assert statuses == {200}
    fields = {"grant_type": "client_credentials", "audience": "x"}
    assert (await tokens.post("token", fields, tokens.basic("orders"))).status == 400
