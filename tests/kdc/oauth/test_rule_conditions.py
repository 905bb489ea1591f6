"""Conditions of rules at the token endpoint: evidence is a token that is exchanged, the address is the HTTP peer's."""

from __future__ import annotations

from typing import Any

import pytest

from orthros_kdc.admin import groups, rules
from tests.support.oauth_bench import ACCESS_TOKEN, EXCHANGE, JWT_BEARER, Tokens, body_of, open_tokens


@pytest.fixture
async def tokens() -> Tokens:
    """web and edge call front for their users; what front may do at back is for each test to say."""
    tokens = await open_tokens()
    await tokens.add_client("web", "edge", "front", "back")
    for target in ("front", "back", "store"):
        await tokens.add_target(target)
    for client in ("web", "edge"):
        await rules.allow(tokens.kdc.admin, client, "front", jwt=True, delegable=True, subjects=("user/*",))
    return tokens


async def for_user(tokens: Tokens, client: str) -> str:
    fields = {"grant_type": JWT_BEARER, "assertion": tokens.assertion(client, sub="user/1"), "audience": "front"}
    return str(body_of(await tokens.post("token", fields))["access_token"])


async def exchanged(tokens: Tokens, shown: str, client: str = "front", target: str = "back") -> str:
    """The token for `target` that `client` gets for `shown`, or the code of its refusal."""
    fields = {"grant_type": EXCHANGE, "subject_token": shown, "subject_token_type": ACCESS_TOKEN, "audience": target}
    answer = await tokens.post("token", fields, tokens.basic(client))
    if answer.status == 200:
        return str(body_of(answer)["access_token"])
    return str(tokens.events("token-refused")[-1]["code"])


@pytest.mark.parity("K18", "P8")
async def test_who_may_pass_calls_on_may_not_make_them_up(tokens: Tokens) -> None:
    """`behalf` is fulfilled by the caller's token and by no assertion."""
    await rules.allow(tokens.kdc.admin, "front", "back", jwt=True, behalf=("user/*", "web"))
    claims = tokens.claims(await exchanged(tokens, await for_user(tokens, "web")), "back")
    assert (claims["sub"], claims["act"]) == ("user/1", {"sub": "front@corp.test", "act": {"sub": "web@corp.test"}})
    assert tokens.claims(await exchanged(tokens, await tokens.token("web", "front")), "back")["sub"] == "web@corp.test"
    made_up = {"grant_type": JWT_BEARER, "assertion": tokens.assertion("front", sub="user/1"), "audience": "back"}
    assert (await tokens.post("token", made_up)).status == 400
    assert tokens.events("token-refused")[-1]["code"] == "subject-refused"


@pytest.mark.parity("M5")
async def test_a_path_that_the_rule_forbids_ends_at_the_token_endpoint_too(tokens: Tokens) -> None:
    """Those who acted before are on the path, by name and by group; a user that was asserted is not."""
    admin = tokens.kdc.admin
    await groups.add(admin, "outside")
    await groups.add_member(admin, "outside", "edge")
    chain: dict[str, Any] = {"deny_via": ["group:outside"]}
    await rules.allow(admin, "front", "back", jwt=True, delegable=True, behalf=("*",), **chain)
    assert await exchanged(tokens, await for_user(tokens, "edge")) == "chain-refused"
    assert await exchanged(tokens, await tokens.token("edge", "front")) == "chain-refused"
    assert (await exchanged(tokens, await for_user(tokens, "web"))).startswith("ey")


@pytest.mark.parity("M6")
async def test_a_depth_counts_those_who_acted_before(tokens: Tokens) -> None:
    """Web, front and then back: two before the client."""
    admin = tokens.kdc.admin
    await rules.allow(admin, "front", "back", jwt=True, delegable=True, behalf=("*",))
    await rules.allow(admin, "back", "store", jwt=True, behalf=("*",), max_depth=1)
    second = await exchanged(tokens, await for_user(tokens, "web"))
    assert await exchanged(tokens, second, "back", "store") == "chain-refused"
    await rules.allow(admin, "back", "store", jwt=True, behalf=("*",), max_depth=2)
    assert (await exchanged(tokens, second, "back", "store")).startswith("ey")


@pytest.mark.parity("M6")
async def test_a_rule_that_allows_callbacks_allows_them_here(tokens: Tokens) -> None:
    """The chain comes back only where a rule says that it may."""
    admin = tokens.kdc.admin
    await rules.allow(admin, "front", "back", jwt=True, delegable=True, behalf=("*",))
    await rules.allow(admin, "back", "front", jwt=True, behalf=("*",))
    second = await exchanged(tokens, await tokens.token("web", "front"))
    assert await exchanged(tokens, second, "back", "front") == "chain-refused"
    await rules.allow(admin, "back", "front", jwt=True, behalf=("*",), callbacks=True)
    assert (await exchanged(tokens, second, "back", "front")).startswith("ey")


@pytest.mark.parity("P6")
@pytest.mark.parametrize(("address", "status"), [("10.1.2.3", 200), ("192.0.2.1", 400), ("", 400)])
async def test_a_rule_for_a_network_holds_for_who_asks_from_there(tokens: Tokens, address: str, status: int) -> None:
    """Judged by the peer of the HTTP connection; a Unix socket lies outside every network."""
    await rules.allow(tokens.kdc.admin, "front", "back", jwt=True, sources=("10.0.0.0/8",))
    fields = {"grant_type": "client_credentials", "audience": "back"}
    answer = await tokens.post("token", fields, tokens.basic("front"), address=address)
    assert answer.status == status
    if status == 400:
        assert tokens.events("token-refused")[-1]["code"] == "source-refused"
