"""Whatever bytes come, the answer is a token or a refusal in the agreed shapes, and the record says why."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import pytest
import trio
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orthros_kdc.admin import rules
from orthros_kdc.oauth.http_boundary import HttpAnswer, HttpRequest
from orthros_kdc.reasons import DATABASE_INVALID
from orthros_kdc.store.base import Store
from orthros_protocol.errors import Misconfigured, Unavailable
from tests.support.oauth_bench import (
    CLIENT_ASSERTION,
    EXCHANGE,
    FORM,
    JWT_BEARER,
    SAM12,
    Tokens,
    body_of,
    open_tokens,
    service_over,
)

ENDPOINTS: Final = ("token", "introspect", "revoke", "paladin", "simple_token")
STATUSES: Final = {200, 400, 401, 403, 429, 503}
CODES: Final = {
    "invalid_request", "invalid_client", "invalid_grant", "unsupported_grant_type", "invalid_scope", "invalid_target",
    "temporarily_unavailable", "bad_request", "unauthorized", "invalid_token",
}  # fmt: skip
ALLOWED: Final = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*")
NAMES: Final = [
    "grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "audience", "resource",
    "scope", "expires_in", "rexp", "assertion", "subject_token", "subject_token_type", "actor_token",
    "actor_token_type", "requested_token_type", "token", "token_type_hint", "sub", "aud", "unknown",
]  # fmt: skip
VALUES: Final = [
    "", "client_credentials", JWT_BEARER, EXCHANGE, SAM12, CLIENT_ASSERTION, "billing", "orders", "read", "a.b.c",
    "urn:ietf:params:oauth:token-type:access_token", "-1", "60", "4000000000", "https://x.test/", "%", "%00", "\ud800",
    "eyJhbGciOiJIUzI1NiJ9.e30.AA", "ort1h_AAAA", "{}", "٣", "x" * 5000,
]  # fmt: skip


async def _realm() -> Tokens:
    tokens = await open_tokens(burst=10**9, paladin=True, simple_token=True)
    await tokens.add_client("billing")
    await tokens.add_target("orders")
    await rules.allow(tokens.kdc.admin, "billing", "orders", scopes=("read",), jwt=True, subjects=("*",))
    return tokens


def _quoted(text: str) -> bytes:
    return b"".join(b"%%%02x" % byte for byte in text.encode("utf-8", "surrogatepass"))


_text = st.sampled_from(VALUES) | st.text(max_size=30)
_pairs = st.lists(st.tuples(st.sampled_from(NAMES) | st.text(max_size=10), _text), max_size=12)
_encoded = _pairs.map(lambda pairs: b"&".join(_quoted(name) + b"=" + _quoted(value) for name, value in pairs))
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _text, lambda inner: st.lists(inner) | st.dictionaries(_text, inner)
)
_object = st.dictionaries(st.sampled_from([*NAMES, "sub", "aud"]), _json).map(lambda body: json.dumps(body).encode())
_bodies = st.binary(max_size=200) | _encoded | _object
_types = st.sampled_from(
    [
        FORM,
        f"{FORM}; charset=utf-8",
        f"{FORM}; charset=latin-1",
        f"{FORM};x",
        "application/json",
        "text/plain",
        "",
        ";;",
    ]
)
_authorizations = (
    st.none()
    | st.sampled_from(["", "Basic", "Basic Og==", "Bearer x", "Basic \xff"])
    | st.text(alphabet=st.characters(max_codepoint=255), max_size=40)
)


def _check(answer: HttpAnswer) -> None:
    assert answer.status in STATUSES
    for name, value in answer.headers:
        (name + value).encode("ascii")
        assert "\r" not in value
        assert "\n" not in value
    if answer.status != 200:
        body = body_of(answer)
        assert set(body) == {"error", "error_description", "ref"}
        assert body["error"] in CODES
        assert ALLOWED.fullmatch(body["error_description"])
        assert re.fullmatch("[0-9a-f]{16}", body["ref"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    endpoint=st.sampled_from(ENDPOINTS), body=_bodies, content_type=_types, authorization=_authorizations,
    query=st.sampled_from([b"", b"", b"grant_type=client_credentials"]), proven=st.booleans(),
)  # fmt: skip
def test_random_requests_never_surprise(
    *, endpoint: str, body: bytes, content_type: str, authorization: str | None, query: bytes, proven: bool
) -> None:
    """Never a 500: whatever stands in the body, the headers and the query."""

    async def run() -> None:
        tokens = await _realm()
        headers = {} if authorization is None else {"authorization": authorization}
        if proven:
            headers = tokens.basic("billing")
        ask = tokens.ask(body, headers, content_type=content_type, query=query)
        _check(await getattr(tokens.service, endpoint)(ask))

    trio.run(run)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), which=st.integers(0, 7))
def test_good_requests_with_one_byte_changed_never_surprise(data: st.DataObject, which: int) -> None:
    """Mutations get deeper than noise: what was right but for one byte."""

    async def run() -> None:
        tokens = await _realm()
        endpoint, ask = _good_requests(tokens)[which]
        at = data.draw(st.integers(0, len(ask.body) - 1))
        changed = data.draw(st.binary(max_size=3))
        body = ask.body[:at] + changed + ask.body[at + 1 :]
        _check(await getattr(tokens.service, endpoint)(_with(ask, body)))

    trio.run(run)


def _with(ask: HttpRequest, body: bytes) -> HttpRequest:
    return evolve(ask, body=body)


def _good_requests(tokens: Tokens) -> list[tuple[str, HttpRequest]]:
    def form(headers: dict[str, str] | None = None, **fields: str) -> HttpRequest:
        body = b"&".join(_quoted(name) + b"=" + _quoted(value) for name, value in fields.items())
        return tokens.ask(body, headers)

    def in_json(**members: Any) -> HttpRequest:
        return tokens.ask(json.dumps(members).encode(), content_type="application/json")

    secret, basic = tokens.secrets["billing"], tokens.basic("billing")
    assertion = tokens.assertion("billing")
    return [
        ("token", form(basic, grant_type="client_credentials", audience="orders", scope="read", expires_in="60")),
        ("token", form(grant_type="client_credentials", resource="orthros:orders", client_id="billing",
                       client_secret=secret)),
        ("token", form(grant_type=JWT_BEARER, assertion=assertion, audience="orders", rexp="1800000060")),
        ("token", form(grant_type="client_credentials", audience="orders", client_assertion=assertion,
                       client_assertion_type=CLIENT_ASSERTION)),
        ("token", form(basic, grant_type=EXCHANGE, subject_token=assertion, audience="orders",
                       subject_token_type="urn:ietf:params:oauth:token-type:jwt")),
        ("introspect", form(basic, token=assertion)),
        ("paladin", in_json(grant_type=SAM12, client_id="billing",
                            assertion=tokens.assertion("billing", aud="orders"))),
        ("simple_token", in_json(sub="billing", aud="orders", client_secret=secret)),
    ]  # fmt: skip


async def test_the_requests_that_are_mutated_are_good_before() -> None:
    tokens = await _realm()
    statuses = []
    for which in range(8):
        endpoint, ask = _good_requests(tokens)[which]  # a fresh assertion each time
        statuses.append((await getattr(tokens.service, endpoint)(ask)).status)
    assert statuses == [200, 200, 200, 200, 400, 200, 200, 200]


BAD_FORMS: Final = {
    "a parameter twice": b"grant_type=client_credentials&grant_type=client_credentials",
    "an empty one twice": b"scope=&scope=read&grant_type=client_credentials",
    "a broken escape": b"grant_type=client%2",
    "not UTF-8": b"grant_type=%ff",
    "raw bytes": b"grant_type=\xff",
    "NUL": b"grant_type=client_credentials%00",
    "a control character": b"grant_type=client_credentials&scope=a%0ab",
    "C1 control": b"grant_type=client_credentials&scope=%c2%85",
    "no name": b"=x",
    "65 parameters": b"&".join(b"a%d=1" % number for number in range(65)),
    "a name of strange characters": b"sc%20ope=1",
    "nothing": b"",
    "no grant_type": b"audience=orders",
    "an empty grant_type": b"grant_type=&audience=orders",
}


@pytest.mark.parametrize("name", BAD_FORMS)
async def test_forms_are_read_strictly(name: str) -> None:
    """http.md 6.1."""
    tokens = await _realm()
    answer = await tokens.service.token(tokens.ask(BAD_FORMS[name], tokens.basic("billing")))
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")


async def test_an_unknown_grant_type_has_its_own_code() -> None:
    tokens = await _realm()
    answer = await tokens.post("token", {"grant_type": "password"}, tokens.basic("billing"))
    assert (answer.status, body_of(answer)["error"]) == (400, "unsupported_grant_type")


@pytest.mark.parametrize(
    "changed",
    [{"method": "GET"}, {"query": b"grant_type=client_credentials"}, {"content_type": "multipart/form-data"},
     {"content_type": f"{FORM}; charset=iso-8859-1"}, {"content_type": f"{FORM}; boundary=x"}],
)  # fmt: skip
async def test_only_a_form_in_the_body_of_a_post_counts(changed: dict[str, Any]) -> None:
    tokens = await _realm()
    body = b"grant_type=client_credentials&audience=orders"
    answer = await tokens.service.token(tokens.ask(body, tokens.basic("billing"), **changed))
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")
    for kind in (FORM.upper(), f'{FORM}; charset="UTF-8"', f"{FORM};charset=utf-8"):
        assert (await tokens.service.token(tokens.ask(body, tokens.basic("billing"), content_type=kind))).status == 200


async def test_two_content_types_are_none() -> None:
    tokens = await _realm()
    ask = tokens.ask(b"grant_type=client_credentials&audience=orders", tokens.basic("billing"))
    doubled = evolve(ask, headers=(*ask.headers, ("content-type", FORM)))
    answer = await tokens.service.token(doubled)
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")


async def test_a_body_above_the_cap_is_not_parsed() -> None:
    tokens = await open_tokens(max_body=100)
    answer = await tokens.service.token(tokens.ask(b"a=" + b"x" * 99))
    assert (answer.status, body_of(answer)["error"]) == (400, "invalid_request")


class FailingStore:
    """A store that breaks as disks and other processes break it."""

    def __init__(self, store: Store, error: Exception) -> None:
        self._store = store
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def change(self, _work: Any) -> Any:
        raise self._error

    async def read(self, _work: Any) -> Any:
        raise self._error


@pytest.mark.parametrize("error", [Unavailable("timeout", "locked"), Misconfigured(DATABASE_INVALID, "/db: CORRUPT")])
async def test_a_store_that_fails_is_503_and_says_nothing_of_itself(error: Exception) -> None:
    tokens = await _realm()
    tokens.service = service_over(tokens.kdc, FailingStore(tokens.kdc.store, error))
    answers = [await tokens.credentials("billing", "orders"), await tokens.service.metadata()]
    for answer in answers:
        assert (answer.status, body_of(answer)["error"]) == (503, "temporarily_unavailable")
        assert dict(answer.headers)["retry-after"] == "1"
        assert b"/db" not in answer.body
    assert tokens.events("request-rejected")[0]["ref"] == body_of(answers[0])["ref"]


async def test_an_assertion_that_cannot_be_remembered_does_not_count() -> None:
    """Single use comes before the token: a store that only reads issues nothing by assertion."""
    tokens = await _realm()

    class ReadOnly(FailingStore):
        async def read(self, work: Any) -> Any:
            return await self._store.read(work)

    store = ReadOnly(tokens.kdc.store, Unavailable("kdc-fault", "full"))
    tokens.service = service_over(tokens.kdc, store)
    fields = {"grant_type": JWT_BEARER, "assertion": tokens.assertion("billing"), "audience": "orders"}
    assert (await tokens.post("token", fields)).status == 503
    assert (await tokens.credentials("billing", "orders")).status == 200
    token = body_of(await tokens.credentials("billing", "orders"))["access_token"]
    assert (await tokens.post("revoke", {"token": token}, tokens.basic("billing"))).status == 503
