"""client_credentials from bytes to bytes: who gets which token, and what a refusal gives away."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.admin import oauth_secrets, principals, realm, rules
from orthros_kdc.oauth.errors import OAuthError
from orthros_kdc.oauth.http_boundary import HttpAnswer
from orthros_kdc.oauth.request_parameters import read_lifetime
from orthros_kdc.store.base import Transaction
from tests.support.oauth_bench import ISSUER, JWT_BEARER, Tokens, body_of, header_of, open_tokens, without_ref


@pytest.fixture
async def tokens() -> Tokens:
    tokens = await open_tokens()
    await tokens.add_client("billing")
    await tokens.add_target("orders", alg="HS512")
    await tokens.add_target("payroll")
    await rules.allow(tokens.kdc.admin, "billing", "orders", scopes=("read", "write"), max_ttl_s=200, jwt=True)
    return tokens


@pytest.mark.parity("P1", "P2", "P4", "P9")
async def test_a_token_is_what_stock_pyjwt_accepts(tokens: Tokens) -> None:
    """Signed with the target's own key; `x-expiry`, `expires_in` and `exp` agree."""
    answer = await tokens.credentials("billing", "orders", scope="read")
    body = body_of(answer)
    claims = tokens.claims(body["access_token"], "orders")
    assert (answer.status, body["token_type"], body["expires_in"], body["scope"]) == (200, "Bearer", 200, "read")
    assert header_of(answer, "x-expiry") == str(claims["exp"]) == str(tokens.now + 200)
    assert (claims["iss"], claims["aud"], claims["sub"]) == (ISSUER, "orders@corp.test", "billing@corp.test")
    assert (claims["iat"], claims["nbf"]) == (tokens.now, tokens.now - 5)
    assert len(claims["jti"]) == 32
    assert "dropped" not in body


@pytest.mark.parity("P5")
async def test_scopes_are_knocked_down_and_the_reply_says_so(tokens: Tokens) -> None:
    """Unknown scopes are dropped by name; the event counts them."""
    body = body_of(await tokens.credentials("billing", "orders", scope="read Erase:All erase"))
    assert (body["scope"], body["dropped"]) == ("read", ["Erase:All", "erase"])
    (event,) = tokens.events("token-issued")
    assert (event["scopes"], event["dropped"], event["grant"]) == (["read"], 2, "client_credentials")


async def test_without_a_scope_parameter_everything_allowed_is_granted_and_named(tokens: Tokens) -> None:
    assert body_of(await tokens.credentials("billing", "orders"))["scope"] == "read write"
    assert body_of(await tokens.credentials("billing", "orders", scope=""))["scope"] == "read write"


@pytest.mark.parity("P5")
@pytest.mark.parametrize("scope", ["erase", "read  write", " read", "read\twrite", 'a"b', "a\\b", "x" * 257])
async def test_no_scope_left_or_a_malformed_list_is_invalid_scope(tokens: Tokens, scope: str) -> None:
    """The empty intersection is refused; RFC 6749 section 3.3 is the grammar."""
    answer = await tokens.credentials("billing", "orders", scope=scope)
    expected = "invalid_request" if "\t" in scope else "invalid_scope"
    assert (answer.status, body_of(answer)["error"]) == (400, expected)


async def ask_without_a_target(tokens: Tokens, **fields: Any) -> HttpAnswer:
    return await tokens.post("token", {"grant_type": "client_credentials", **fields}, tokens.basic("billing"))


async def test_the_default_target_is_meant_where_a_request_names_none(tokens: Tokens) -> None:
    """A library that does not repeat `audience` gets its next token all the same; who names one means that one."""
    assert body_of(await ask_without_a_target(tokens))["error"] == "invalid_target"
    await oauth_secrets.set_default_audience(tokens.kdc.admin, "billing", "orders")
    await tokens.add_target("ledger", audience="https://ledger.test/api")
    await rules.allow(tokens.kdc.admin, "billing", "ledger", scopes=("post",), jwt=True)
    for fields, target in (
        ({}, "orders"), ({"audience": ""}, "orders"), ({"audience": "ledger"}, "ledger"),
        ({"resource": "https://ledger.test/api"}, "ledger"),
    ):  # fmt: skip
        answer = await ask_without_a_target(tokens, scope="read post", **fields)
        assert tokens.claims(body_of(answer)["access_token"], target)["sub"] == "billing@corp.test"
    assert [event["target"] for event in tokens.events("token-issued")] == [
        "orders@corp.test", "orders@corp.test", "ledger@corp.test", "ledger@corp.test",
    ]  # fmt: skip
    # What is named is not replaced by the default, however wrong it is.
    for fields in ({"audience": "payroll"}, {"audience": "Not A Name"}, {"resource": "orders"}):
        assert body_of(await ask_without_a_target(tokens, **fields))["error"] == "invalid_target"
    assert not [event for event in tokens.events("token-refused") if "default" in event.get("detail", "")]


def _delete_alone(uid: int, tx: Transaction) -> None:
    tx.delete_principal(uid)


def _share_audience(name: str, tx: Transaction) -> None:
    record = tx.principal_by_name(name)
    assert record is not None
    tx.set_principal(evolve(record, jwt_audience="https://shared.test/"))


async def test_a_default_target_gives_no_right(tokens: Tokens) -> None:
    """Policy decides; and a default that is forbidden, or that an older program left there when its principal went,
    says that it is the default, and no more."""
    admin = tokens.kdc.admin
    answers = []
    for target in ("payroll", "orders"):
        await oauth_secrets.set_default_audience(admin, "billing", target)
        if target == "orders":
            uid = (await principals.show(admin, target)).record.uid
            await admin.store.change(partial(_delete_alone, uid))
        answers.append(without_ref(await ask_without_a_target(tokens)))
    assert answers[0] == answers[1]
    status, body, _ = answers[0]
    assert (status, body["error"]) == (400, "invalid_target")
    assert "default target of this client" in body["error_description"]
    forbidden, gone = tokens.events("token-refused")
    assert (forbidden["code"], forbidden["target"]) == ("not-granted", "payroll@corp.test")
    assert (gone["code"], gone["target"]) == ("not-granted", "orders@corp.test")
    assert gone["detail"] == "the request names no target, this is the client's default"


async def test_other_grants_have_no_default_target(tokens: Tokens) -> None:
    await oauth_secrets.set_default_audience(tokens.kdc.admin, "billing", "orders")
    asked = {"grant_type": JWT_BEARER, "assertion": tokens.assertion("billing")}
    answer = await tokens.post("token", asked)
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_target")


@pytest.mark.parity("P6")
async def test_unknown_hidden_and_forbidden_targets_give_the_same_bytes(tokens: Tokens) -> None:
    """Policy comes before existence; the reverse direction is not allowed either."""
    await principals.disable(tokens.kdc.admin, "payroll")
    asked = ["payroll", "nobody", "kdc/tgt", "billing", "Not A Name", "orders@other.test", "x" * 200]
    answers = [without_ref(await tokens.credentials("billing", target)) for target in asked]
    for uri in ("https://nowhere.test/x", "orthros:nobody", "orthros:payroll"):
        fields = {"grant_type": "client_credentials", "resource": uri}
        answers.append(without_ref(await tokens.post("token", fields, tokens.basic("billing"))))
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0][0], answers[0][1]["error"]) == (400, "invalid_target")
    assert {event["code"] for event in tokens.events("token-refused")} == {"not-granted"}


@pytest.mark.parity("B2", "H6")
async def test_the_reference_leads_to_the_true_reason(tokens: Tokens) -> None:
    """A refusal has one event with its reason."""
    body = body_of(await tokens.credentials("billing", "payroll", scope="read"))
    (event,) = tokens.events("token-refused")
    assert event["ref"] == body["ref"]
    assert (event["code"], event["client"], event["target"]) == ("not-granted", "billing", "payroll@corp.test")
    assert (event["scopes"], event["kind"], event["grant"]) == (["read"], "jwt", "client_credentials")


async def test_where_a_rule_exists_the_answer_says_more(tokens: Tokens) -> None:
    await principals.disable(tokens.kdc.admin, "orders")
    body = body_of(await tokens.credentials("billing", "orders"))
    assert (body["error"], body["error_description"]) == (
        "invalid_target",
        "The target exists but cannot receive tickets now.",
    )


async def test_a_target_can_be_named_as_audience_or_resource(tokens: Tokens) -> None:
    await tokens.add_target("ledger", audience="https://ledger.test/api")
    await rules.allow(tokens.kdc.admin, "billing", "ledger", scopes=("post",), jwt=True)
    for fields in (
        {"audience": "ledger"},
        {"audience": "ledger@corp.test"},
        {"audience": ["ledger", "ledger@corp.test"]},
        {"resource": "https://ledger.test/api"},
        {"resource": "orthros:ledger"},
        {"resource": ["orthros:ledger@corp.test", "https://ledger.test/api"], "audience": "ledger"},
    ):
        asked = {"grant_type": "client_credentials", **fields}
        answer = await tokens.post("token", asked, tokens.basic("billing"))
        assert answer.status == 200, (fields, answer.body)
        assert tokens.claims(body_of(answer)["access_token"], "ledger")["aud"] == "https://ledger.test/api"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"audience": ["orders", "payroll"]},
        {"audience": "orders", "resource": "orthros:payroll"},
        {"resource": "orders"},
        {"resource": "https://orders.test/#x"},
        {"resource": "https://orders test/"},
        {"resource": "https://[::1"},
        {"audience": "orders", "resource": "https://elsewhere.test/"},
    ],
)
async def test_none_two_or_malformed_targets_are_refused(tokens: Tokens, fields: dict[str, Any]) -> None:
    asked = {"grant_type": "client_credentials", **fields}
    answer = await tokens.post("token", asked, tokens.basic("billing"))
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_target")


async def test_two_targets_with_one_audience_cannot_be_told_apart_by_it(tokens: Tokens) -> None:
    """An older program let two targets have one audience; that is in databases."""
    for name in ("one", "two"):
        await tokens.add_target(name, audience=f"https://{name}.test/")
        await rules.allow(tokens.kdc.admin, "billing", name, jwt=True)
        await tokens.kdc.admin.store.change(partial(_share_audience, name))
    asked = {"grant_type": "client_credentials", "resource": "https://shared.test/"}
    assert body_of(await tokens.post("token", asked, tokens.basic("billing")))["error"] == "invalid_target"
    both = {**asked, "audience": "one"}
    assert body_of(await tokens.post("token", both, tokens.basic("billing")))["error"] == "invalid_target"


_NOW = 1_800_000_000


@pytest.mark.parity("P3")
@given(st.text(max_size=12) | st.integers().map(str) | st.none(), st.text(max_size=12) | st.integers() | st.none())
def test_a_lifetime_is_positive_or_absent_or_refused(expires_in: str | None, rexp: str | int | None) -> None:
    """All inputs; only a whole number of seconds that lies ahead passes, and only one of the two."""
    if expires_in is None and rexp is None:
        assert read_lifetime(None, None, _NOW) == 0
    elif (expires_in is not None and rexp is not None) or not _is_ahead(expires_in, rexp):
        with pytest.raises(OAuthError) as refusal:
            read_lifetime(expires_in, rexp, _NOW)
        assert refusal.value.error == "invalid_request"
    else:
        expected = int(expires_in) if expires_in is not None else int(rexp or 0) - _NOW
        assert read_lifetime(expires_in, rexp, _NOW) == expected


def _is_ahead(expires_in: str | None, rexp: str | int | None) -> bool:
    text = expires_in if expires_in is not None else rexp
    if isinstance(text, str) and not (text.isascii() and text.isdigit() and len(text) <= 18):
        return False
    return int(text or 0) - (0 if expires_in is not None else _NOW) >= 1


@pytest.mark.parity("P3")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"expires_in": "60"}, 60),
        ({"expires_in": "9" * 18}, 150),
        ({"rexp": str(_NOW + 60)}, 60),
        ({"rexp": str(_NOW + 100_000)}, 150),
        ({}, 150),
        ({"expires_in": "0"}, None),
        ({"expires_in": "-1"}, None),
        ({"expires_in": "1.5"}, None),
        ({"expires_in": "٣"}, None),
        ({"rexp": str(_NOW)}, None),
        ({"rexp": str(_NOW - 1)}, None),
        ({"rexp": str(_NOW + 60), "expires_in": "60"}, None),
    ],
)
@pytest.mark.parametrize("whose", ["rule", "client", "target", "realm"])
async def test_the_lifetime_is_the_least_of_what_is_asked_and_every_cap(
    fields: dict[str, str], expected: int | None, whose: str
) -> None:
    """min(asked, pair cap, principal cap, realm cap); without a wish the cap."""
    tokens = await open_tokens()
    tokens.kdc.clock.advance(_NOW - tokens.now)
    await tokens.add_client("billing")
    await tokens.add_target("orders")
    admin = tokens.kdc.admin
    await rules.allow(admin, "billing", "orders", scopes=("read",), jwt=True, max_ttl_s=150 if whose == "rule" else 999)
    if whose in ("client", "target"):
        name = "billing" if whose == "client" else "orders"
        await principals.set_caps(admin, name, max_ticket_s=None, max_jwt_s=150)
    if whose == "realm":
        await realm.change(admin, limits={"max_jwt_s": 150})
    answer = await tokens.credentials("billing", "orders", **fields)
    if expected is None:
        assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")
        return
    body = body_of(answer)
    claims = tokens.claims(body["access_token"], "orders")
    assert body["expires_in"] == claims["exp"] - claims["iat"] == expected


@pytest.mark.parity("H3")
async def test_by_default_a_token_lives_five_minutes(tokens: Tokens) -> None:
    """The documented default."""
    await rules.allow(tokens.kdc.admin, "billing", "payroll", scopes=("pay",), jwt=True)
    assert body_of(await tokens.credentials("billing", "payroll"))["expires_in"] == 300


@pytest.mark.parity("P10")
async def test_a_disabled_client_gets_nothing_and_a_disabled_target_neither(tokens: Tokens) -> None:
    """One command, both directions."""
    assert (await tokens.credentials("billing", "orders")).status == 200
    await principals.disable(tokens.kdc.admin, "billing")
    assert (await tokens.credentials("billing", "orders")).status == 401
    await principals.enable(tokens.kdc.admin, "billing")
    await principals.disable(tokens.kdc.admin, "orders")
    assert (await tokens.credentials("billing", "orders")).status == 400


async def test_a_rule_without_jwt_allows_no_token(tokens: Tokens) -> None:
    await rules.allow(tokens.kdc.admin, "billing", "payroll", scopes=("pay",))
    body = body_of(await tokens.credentials("billing", "payroll"))
    assert body["error"] == "invalid_target"
    assert tokens.events("token-refused")[0]["code"] == "jwt-not-enabled"


@pytest.mark.parity("K16")
async def test_nothing_is_issued_that_cannot_be_recorded(tokens: Tokens) -> None:
    """No audit, no token; the client is told to come back."""
    tokens.kdc.ledger.full = True
    answer = await tokens.credentials("billing", "orders")
    assert (answer.status, body_of(answer)["error"]) == (503, "temporarily_unavailable")
    assert header_of(answer, "retry-after") == "1"
    assert "access_token" not in body_of(answer)


@pytest.mark.parity("H6")
async def test_guessing_targets_costs_ten_and_ends_in_429() -> None:
    """Like NOT_GRANTED on the native port, and from the same bucket."""
    tokens = await open_tokens(burst=40)
    await tokens.add_client("billing")
    statuses = [(await tokens.credentials("billing", f"guess{number}")).status for number in range(8)]
    assert statuses[:3] == [400, 400, 400]
    assert 429 in statuses
    answer = await tokens.credentials("billing", "orders")
    assert answer.status == 429
    assert int(header_of(answer, "retry-after") or 0) >= 1
    assert body_of(answer)["error"] == "temporarily_unavailable"
    tokens.kdc.clock.advance(60)
    assert (await tokens.credentials("billing", "orders")).status == 400


async def test_a_flooding_source_is_turned_away_before_its_secret_is_looked_at() -> None:
    tokens = await open_tokens(burst=20)
    await tokens.add_client("billing")
    wrong = tokens.basic("billing", "wrong")
    answers = [await tokens.post("token", {"grant_type": "client_credentials"}, wrong) for _ in range(25)]
    assert [answer.status for answer in answers] == [401] * 20 + [429] * 5
    assert [event["code"] for event in tokens.events("request-rejected")][-1] == "rate-limited"


@pytest.mark.parity("O5")
async def test_no_token_leaves_that_was_decided_by_an_old_clock(tokens: Tokens, monkeypatch, mock_clock) -> None:
    """The database was held by somebody else between the reading of the clock and the decision."""
    store, real = tokens.kdc.store, tokens.kdc.store.read

    async def held(work):
        found = await real(work)
        mock_clock.jump(3)
        return found

    monkeypatch.setattr(store, "read", held)
    answer = await tokens.credentials("billing", "orders", scope="read")
    assert answer.status == 503
    assert tokens.events("token-issued") == []
    monkeypatch.undo()
    assert (await tokens.credentials("billing", "orders", scope="read")).status == 200
    assert len(tokens.events("token-issued")) == 1
