"""Who counts as an authenticated client, and that every failure reads the same."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import jwt as pyjwt
import pytest
from attrs import evolve

from orthros_kdc.admin import oauth_secrets, principals, rules
from orthros_kdc.oauth.http_boundary import HttpAnswer
from orthros_kdc.realm.vault import OAuthSecret
from orthros_kdc.store.base import Store, Transaction
from tests.support.oauth_bench import (
    CLIENT_ASSERTION,
    ISSUER,
    JWT_BEARER,
    Tokens,
    body_of,
    header_of,
    open_tokens,
    service_over,
    without_ref,
)

ASK = {"grant_type": "client_credentials", "audience": "orders"}


@pytest.fixture
async def tokens() -> Tokens:
    return await _realm()


async def _realm(**options: Any) -> Tokens:
    tokens = await open_tokens(**options)
    await tokens.add_client("billing", "backup/worker")
    await tokens.add_target("orders")
    for name in ("billing", "backup/worker"):
        await rules.allow(tokens.kdc.admin, name, "orders", scopes=("read",), jwt=True)
    return tokens


def by_assertion(text: str, **fields: str) -> dict[str, str]:
    return {**ASK, "client_assertion_type": CLIENT_ASSERTION, "client_assertion": text, **fields}


def b64(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


async def test_all_three_ways_are_accepted(tokens: Tokens) -> None:
    secret = tokens.secrets["backup/worker"]
    asked = [
        (ASK, tokens.basic("backup/worker")),
        (ASK, {"authorization": "basic " + b64encode(f"backup/worker:{secret}".encode()).decode()}),
        ({**ASK, "client_id": "backup/worker", "client_secret": secret}, {}),
        ({**ASK, "client_id": "backup/worker@corp.test", "client_secret": secret}, {}),
        ({**ASK, "client_id": "backup/worker"}, tokens.basic("backup/worker")),
        (by_assertion(tokens.assertion("backup/worker")), {}),
        (by_assertion(tokens.assertion("backup/worker", alg="HS512", aud=[ISSUER])), {}),
        (by_assertion(tokens.assertion("backup/worker", header={"typ": "client-authentication+jwt"})), {}),
        (by_assertion(tokens.assertion("backup/worker"), client_id="backup/worker"), {}),
    ]
    for fields, headers in asked:
        answer = await tokens.post("token", fields, headers)
        assert answer.status == 200, answer.body
    header = {"alg": "HS256"}  # without typ
    claims = {"iss": "billing", "sub": "billing", "aud": ISSUER, "exp": tokens.now + 60, "jti": "one"}
    signing = f"{b64(header)}.{b64(claims)}"
    mac = pyjwt.get_algorithm_by_name("HS256").sign(signing.encode(), tokens.secrets["billing"].encode())
    assert (await tokens.post("token", by_assertion(f"{signing}.{b64(mac)}"))).status == 200


async def test_both_halves_of_basic_are_form_encoded(tokens: Tokens) -> None:
    """RFC 6749 section 2.3.1: lessons, row 24."""
    encoded = quote("backup/worker@corp.test", safe="") + ":" + tokens.secrets["backup/worker"].replace("1", "%31")
    header = {"authorization": "Basic " + b64encode(encoded.encode()).decode()}
    assert (await tokens.post("token", ASK, header)).status == 200


@pytest.mark.parity("H1", "H5", "H6", "K1")
async def test_every_failure_reads_the_same_and_the_log_knows_the_reason(tokens: Tokens) -> None:
    """One answer for unknown, disabled, not enabled, wrong secret and wrong network."""
    admin = tokens.kdc.admin
    await tokens.add_client("gone", "elsewhere", "ended")
    await tokens.kdc.add("plain")
    await principals.disable(admin, "gone")
    await principals.set_caps(admin, "elsewhere", max_ticket_s=None, max_jwt_s=None, sources=["203.0.113.0/24"])
    await oauth_secrets.disable(admin, "ended")
    for name in ("gone", "elsewhere", "ended", "plain"):
        await rules.allow(admin, name, "orders", scopes=("read",), jwt=True)
    asked = {
        "nobody": "ort1s_x", "Not A Name": "x", "billing@other.test": "x", "gone": tokens.secrets["gone"],
        "elsewhere": tokens.secrets["elsewhere"], "ended": tokens.secrets["ended"], "plain": "x", "billing": "wrong",
    }  # fmt: skip
    by_header = [without_ref(await tokens.post("token", ASK, tokens.basic(*one))) for one in asked.items()]
    by_form = [
        without_ref(await tokens.post("token", {**ASK, "client_id": name, "client_secret": secret}))
        for name, secret in asked.items()
    ]
    assert all(answer == by_header[0] for answer in by_header)
    assert all(answer == by_form[0] for answer in by_form)
    assert by_header[0] == by_form[0]
    assert by_header[0][:2] == (401, {"error": "invalid_client", "error_description": "Client authentication failed."})
    assert dict(by_header[0][2])["www-authenticate"].startswith("Basic ")
    codes = [event["code"] for event in tokens.events("request-rejected")]
    assert codes[:8] == [
        "client-unknown", "client-unknown", "client-unknown", "principal-disabled", "source-refused",
        "oauth-not-enabled", "oauth-not-enabled", "client-secret-wrong",
    ]  # fmt: skip
    assert [event["claimed"] for event in tokens.events("request-rejected")][:8] == list(asked)
    # A right secret in the wrong place is worth more attention than a wrong one.
    assert tokens.events("request-rejected")[4]["detail"] == "asked from 192.0.2.1 with a good proof"
    assert not tokens.events("token-refused")
    assert len({event["ref"] for event in tokens.events("request-rejected")}) == 2 * len(asked)


async def test_an_assertion_of_somebody_without_standing_reads_the_same_too(tokens: Tokens) -> None:
    await tokens.add_client("gone")
    await principals.disable(tokens.kdc.admin, "gone")
    shown = [
        tokens.assertion("gone"), tokens.assertion("nobody", key="k" * 64), tokens.assertion("billing", key="k" * 64),
    ]  # fmt: skip
    answers = [without_ref(await tokens.post("token", by_assertion(text))) for text in shown]
    assert all(answer == answers[0] for answer in answers)
    codes = [event["code"] for event in tokens.events("request-rejected")]
    assert codes == ["principal-disabled", "client-unknown", "assertion-invalid"]


@pytest.mark.parity("K1")
async def test_a_refusal_costs_the_store_the_same_whoever_is_named(tokens: Tokens) -> None:
    """Names can be guessed, and whoever works here is remembered: that must not make his refusal the faster one."""
    counting = CountingStore(tokens.kdc.store)
    tokens.service = service_over(tokens.kdc, counting)
    await tokens.add_client("gone")
    await principals.disable(tokens.kdc.admin, "gone")
    for name in ("billing", "gone"):
        await tokens.post("token", ASK, tokens.basic(name))
    spent: dict[str, list[int]] = {}
    for name in ("billing", "backup/worker", "gone", "nobody"):
        forged = tokens.assertion(name, key="k" * 64)
        grant = {"grant_type": JWT_BEARER, "audience": "orders", "assertion": forged}
        for fields, headers in ((ASK, tokens.basic(name, "wrong")), (by_assertion(forged), {}), (grant, {})) * 2:
            before = counting.reads
            assert (await tokens.post("token", fields, headers)).status in (400, 401)
            spent.setdefault(name, []).append(counting.reads - before)
    assert all(each == [1] * 6 for each in spent.values()), spent


class CountingStore:
    """A store that counts its reads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read(self, work: Callable[[Transaction], Any]) -> Any:
        self.reads += 1
        return await self._store.read(work)


@pytest.mark.parity("H1")
async def test_without_any_authentication_there_is_no_token(tokens: Tokens) -> None:
    """Unauthenticated means 401."""
    for fields in (ASK, {**ASK, "client_id": "billing"}):
        answer = await tokens.post("token", fields)
        assert (answer.status, body_of(answer)["error"]) == (401, "invalid_client")
    answer = await tokens.post("token", ASK, {"authorization": "Bearer abc"})
    assert (answer.status, (header_of(answer, "www-authenticate") or "")[:6]) == (401, "Basic ")


async def test_two_ways_at_once_are_an_invalid_request(tokens: Tokens) -> None:
    secret, assertion = tokens.secrets["billing"], tokens.assertion("billing")
    for fields, headers in (
        ({**ASK, "client_id": "billing", "client_secret": secret}, tokens.basic("billing")),
        (by_assertion(assertion), tokens.basic("billing")),
        (by_assertion(assertion, client_id="billing", client_secret=secret), {}),
    ):
        answer = await tokens.post("token", fields, headers)
        assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")
    ask = tokens.ask(b"grant_type=client_credentials")
    lines = tuple(tokens.basic("billing").items())
    answer = await tokens.service.token(evolve(ask, headers=(*ask.headers, *lines, *lines)))
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")


async def test_a_client_id_beside_the_proof_must_be_the_same(tokens: Tokens) -> None:
    for fields, headers in (
        ({**ASK, "client_id": "backup/worker"}, tokens.basic("billing")),
        (by_assertion(tokens.assertion("billing"), client_id="backup/worker"), {}),
    ):
        answer = await tokens.post("token", fields, headers)
        assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")
        # Whoever proves nothing does not learn that much.
    answer = await tokens.post("token", {**ASK, "client_id": "backup/worker"}, tokens.basic("billing", "wrong"))
    assert answer.status == 401


@pytest.mark.parametrize(
    "credentials", ["***", "YWJj", "YQ", b64encode(b"a:%zz").decode(), b64encode(b"a:\xff").decode()]
)
async def test_broken_encoding_of_basic_is_an_invalid_request(tokens: Tokens, credentials: str) -> None:
    answer = await tokens.post("token", ASK, {"authorization": f"Basic {credentials}"})
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")


@pytest.mark.parity("P11")
async def test_any_of_two_live_secrets_counts_and_a_retired_one_does_not(tokens: Tokens) -> None:
    """Lessons, row 22: secrets overlap."""
    old = tokens.secrets["billing"]
    fresh = (await oauth_secrets.rotate(tokens.kdc.admin, "billing")).text
    assert fresh != old
    for secret in (old, fresh):
        assert (await tokens.post("token", ASK, tokens.basic("billing", secret))).status == 200
        text = tokens.assertion("billing", key=secret)
        assert (await tokens.post("token", by_assertion(text))).status == 200
    newest = (await oauth_secrets.rotate(tokens.kdc.admin, "billing")).text
    statuses = [(await tokens.post("token", ASK, tokens.basic("billing", one))).status for one in (old, fresh, newest)]
    assert statuses == [401, 200, 200]


async def test_what_everybody_can_read_in_the_source_is_no_secret(tokens: Tokens) -> None:
    decoy = OAuthSecret(bytes(32), secret_id=16 * "0").text
    assert (await tokens.post("token", ASK, tokens.basic("billing", decoy))).status == 401
    assert (await tokens.post("token", ASK, tokens.basic("nobody", decoy))).status == 401
    for name in ("billing", "nobody"):
        assert (await tokens.post("token", by_assertion(tokens.assertion(name, key=decoy)))).status == 401


async def test_an_assertion_is_used_once_on_whichever_kdc(tokens: Tokens) -> None:
    """Lessons, row 30: a second use is refused also by another process over the same store, and reported."""
    text = tokens.assertion("billing")
    assert (await tokens.post("token", by_assertion(text))).status == 200
    again = await tokens.post("token", by_assertion(text))
    tokens.service = service_over(tokens.kdc, tokens.kdc.store)
    elsewhere = await tokens.post("token", by_assertion(text))
    fresh = await tokens.post("token", by_assertion(tokens.assertion("billing", key="k" * 64)))
    assert without_ref(again) == without_ref(elsewhere) == without_ref(fresh)
    codes = [event["code"] for event in tokens.events("request-rejected")]
    assert codes == ["assertion-replayed", "assertion-replayed", "assertion-invalid"]


async def test_two_clients_may_use_the_same_jti(tokens: Tokens) -> None:
    for name in ("billing", "backup/worker"):
        assert (await tokens.post("token", by_assertion(tokens.assertion(name, jti="one")))).status == 200


REFUSED: dict[str, dict[str, Any]] = {
    "expired": {"exp": -1},
    "just over": {"exp": 0},
    "lives too long": {"exp": 331},
    "without exp": {"exp": None},
    "not yet": {"nbf": 31},
    "issued in the future": {"iat": 31},
    "ended before it began": {"nbf": 20, "exp": 10},
    "exp a text": {"exp": "soon"},
    "exp a bool": {"exp": True},
    "for somebody else": {"aud": "https://other.test"},
    "for the token URL": {"aud": f"{ISSUER}/token"},
    "for two": {"aud": [ISSUER, "https://other.test"]},
    "for nobody": {"aud": None},
    "a list of none": {"aud": []},
    "about somebody else": {"sub": "backup/worker"},
    "about nobody": {"sub": None},
    "without jti": {"jti": None},
    "jti a number": {"jti": 7},
    "jti of 256": {"jti": "x" * 256},
}


@pytest.mark.parity("H2")
@pytest.mark.parametrize("name", REFUSED)
async def test_assertions_that_are_not_for_here_and_now(tokens: Tokens, name: str) -> None:
    """Claim by claim."""
    claims = dict(REFUSED[name])
    for claim in {"exp", "nbf", "iat"} & claims.keys():
        if type(claims[claim]) is int:
            claims[claim] += tokens.now
    answer = await tokens.post("token", by_assertion(tokens.assertion("billing", **claims)))
    assert (answer.status, body_of(answer)["error"]) == (401, "invalid_client")
    (event,) = tokens.events("request-rejected")
    assert event["code"] == "assertion-invalid"
    assert event["detail"]


async def test_a_clock_half_a_minute_fast_is_forgiven(tokens: Tokens) -> None:
    ahead: dict[str, Any] = {"iat": tokens.now + 30, "nbf": tokens.now + 30, "exp": tokens.now + 330}
    assert (await tokens.post("token", by_assertion(tokens.assertion("billing", **ahead)))).status == 200


@pytest.mark.parametrize(
    "header",
    [{"crit": ["x"], "x": 1}, {"jwk": {"kty": "oct", "k": "AA"}}, {"jku": "https://evil.test"}, {"typ": "orthros+jwt"},
     {"typ": "at+jwt"}, {"x5c": ["AA"]}, {"zip": "DEF"}],
)  # fmt: skip
async def test_headers_that_would_choose_the_key_or_the_meaning(tokens: Tokens, header: dict[str, Any]) -> None:
    answer = await tokens.post("token", by_assertion(tokens.assertion("billing", header=header)))
    assert answer.status == 401


@pytest.mark.parity("L28")
async def test_algorithms_are_two_and_none_is_none(tokens: Tokens) -> None:
    """Alg none, another HMAC, and spellings of them."""
    assert (await tokens.post("token", by_assertion(tokens.assertion("billing", alg="HS384")))).status == 401
    claims = {"iss": "billing", "sub": "billing", "aud": ISSUER, "exp": tokens.now + 60, "jti": "one"}
    for alg in ("none", "None", "HS256 ", "hs256", ["HS256"], None, "RS256"):
        signing = f"{b64({'alg': alg, 'typ': 'JWT'})}.{b64(claims)}"
        mac = pyjwt.get_algorithm_by_name("HS256").sign(signing.encode(), tokens.secrets["billing"].encode())
        for end in ("", b64(mac)):
            assert (await tokens.post("token", by_assertion(f"{signing}.{end}"))).status == 401


async def test_an_assertion_has_one_spelling(tokens: Tokens) -> None:
    """Protocol, section 17: base64 with garbage, padding or stray bits; JSON with a name twice."""
    text = tokens.assertion("billing")
    head, body, mac = text.split(".")
    stray = mac[:-1] + {"A": "B"}.get(mac[-1], chr(ord(mac[-1]) + 1))
    for bad in (f"{head}.{body}.{mac}=", f"{head}.{body}.{mac}!", f" {text}", f"{text}.", f"{head}.{body}", stray,
                f"{head}.{body}.{stray}", text + "\u00e9"):  # fmt: skip
        assert (await tokens.post("token", by_assertion(bad.encode("utf-8").decode("latin-1")))).status in (400, 401)
    double = f'{{"iss":"billing","sub":"billing","aud":"{ISSUER}","exp":{tokens.now + 60},"jti":"a","jti":"b"}}'
    for payload in (double, "[" * 30_000, '{"exp":NaN}', "9" * 5000, "null"):
        signing = f"{head}.{b64(payload.encode())}"
        mac_of = pyjwt.get_algorithm_by_name("HS256").sign(signing.encode(), tokens.secrets["billing"].encode())
        assert (await tokens.post("token", by_assertion(f"{signing}.{b64(mac_of)}"))).status == 401


async def test_the_token_url_as_audience_needs_the_operators_leave() -> None:
    """http.md 6.2: the issuer always, the token URL behind a switch, and under the public URL if there is one."""
    tokens = await _realm(accept_token_url_audience=True, public_url="https://kdc.corp.test/o")
    for audience, status in (
        (ISSUER, 200),
        ("https://kdc.corp.test/o/token", 200),
        (f"{ISSUER}/token", 401),
        ("https://kdc.corp.test/o", 401),
    ):
        text = tokens.assertion("billing", aud=audience)
        assert (await tokens.post("token", by_assertion(text))).status == status


async def test_how_far_ahead_an_assertion_may_live_is_the_operators_choice() -> None:
    tokens = await _realm(max_assertion_s=3600)
    text = tokens.assertion("billing", exp=tokens.now + 3600)
    assert (await tokens.post("token", by_assertion(text))).status == 200


async def test_an_assertion_and_its_type_go_together(tokens: Tokens) -> None:
    text = tokens.assertion("billing")
    alone = await tokens.post("token", {**ASK, "client_assertion": text})
    typed = await tokens.post("token", {**ASK, "client_assertion_type": CLIENT_ASSERTION})
    other = await tokens.post("token", {**by_assertion(text), "client_assertion_type": "urn:x"})
    assert [answer.status for answer in (alone, typed, other)] == [400, 400, 401]


@pytest.mark.parity("H5")
async def test_networks_of_a_client_hold_over_http(tokens: Tokens) -> None:
    """The wrong address is refused; an IPv4 address in IPv6 clothes is that IPv4 address."""
    networks = ["192.0.2.0/24", "2001:db8::/64"]
    await principals.set_caps(tokens.kdc.admin, "billing", max_ticket_s=None, max_jwt_s=None, sources=networks)

    async def status(address: str) -> int:
        return (await tokens.post("token", ASK, tokens.basic("billing"), address=address)).status

    assert [await status(one) for one in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::9")] == [200, 200, 200]
    refused = ("198.51.100.1", "::ffff:198.51.100.1", "2001:db8:0:1::9", "", "unknown", "::192.0.2.7")
    assert [await status(one) for one in refused] == [401] * 6


async def test_no_secret_shows_anywhere(tokens: Tokens) -> None:
    secret = tokens.secrets["billing"]
    answers: list[HttpAnswer] = [
        await tokens.post("token", {**ASK, "client_id": secret, "client_secret": secret, "scope": secret}),
        await tokens.post("token", {**ASK, "client_id": "billing", "client_secret": secret, "scope": secret + " read"}),
        await tokens.post("token", {**ASK, "audience": secret}, tokens.basic("billing")),
        await tokens.post("token", {**ASK, "grant_type": secret}, tokens.basic("billing")),
        await tokens.post("token", {**ASK, "audience": "nobody", "scope": secret}, tokens.basic("billing")),
    ]
    told = json.dumps([event.to_dict() for event in tokens.kdc.ledger.events]) + repr(answers)
    assert secret not in told
    assert secret not in repr(tokens.ask(secret.encode(), tokens.basic("billing")))
    assert answers[1].status == 200
