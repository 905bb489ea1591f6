"""Every refusal of the HTTP port, endpoint by endpoint: its status, its headers, its shape."""

from __future__ import annotations

import json
import re
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from trio.testing import MockClock

from orthros_kdc.http.app import App
from orthros_kdc.http.health import Health
from orthros_kdc.http.routes import routes
from orthros_kdc.http.senders import TrustedProxies
from orthros_kdc.oauth.http_boundary import OAuthOptions
from tests.kdc.http.test_app import JSON, KIND
from tests.support.http_port import Got, call
from tests.support.oauth_bench import CLIENT_ASSERTION, ISSUER, JWT_BEARER, SAM12, Tokens, open_tokens

PLEA: Final = {"grant_type": "client_credentials", "audience": "orders"}
FORM_ENDPOINTS: Final = ("/token", "/introspect", "/revoke")
METADATA: Final = "/.well-known/oauth-authorization-server"
BASIC: Final = 'Basic realm="orthros", charset="UTF-8"'
LARGE: Final = b"x=" + b"y" * 4096
MANY: Final = tuple((b"x-%d" % number, b"y") for number in range(65))


@pytest.fixture
async def tokens() -> Tokens:
    found = await open_tokens(paladin=True, simple_token=True)
    await found.add_client("shop")
    await found.add_target("orders")
    return found


@pytest.fixture
def app(tokens: Tokens) -> App:
    return app_before(tokens)


def app_before(tokens: Tokens) -> App:
    """The port as it is, with the token service behind it and everything switched on."""

    async def issuer() -> str:
        return ISSUER

    options = OAuthOptions(paladin=True, simple_token=True)
    find = routes(tokens.service, Health({}, tokens.kdc.clock.now), options, issuer)
    return App(find, max_body=2048, proxies=TrustedProxies(), admit=tokens.service.admit)


def require_refusal(done: Got, status: int, error: str) -> None:
    """What holds for each: a challenge with a 401 and with nothing else, JSON, no cache, text as RFC 6749 allows it."""
    assert done.status == status
    assert ("www-authenticate" in done.headers) == (status == 401)
    assert ("allow" in done.headers) == (status == 405)
    assert done.headers["cache-control"] == "no-store"
    assert done.headers["content-type"].startswith("application/json")
    assert done.json["error"] == error
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", done.json["error_description"])


async def post(app: App, path: str, fields: dict[str, Any], *headers: tuple[bytes, bytes]) -> Got:
    is_json = path == "/authorize" or "sub" in fields
    body = json.dumps(fields) if is_json else urlencode(fields)
    return await call(app, "POST", path, JSON if is_json else KIND, *headers, parts=(body.encode(),))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"client_id": "shop"},
        {"client_id": "shop", "client_secret": "wrong"},
        {"client_id": "nobody", "client_secret": "wrong"},
        {"client_assertion_type": CLIENT_ASSERTION, "client_assertion": "a.b.c"},
        {"client_assertion_type": "another", "client_assertion": "a.b.c"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", FORM_ENDPOINTS)
async def test_an_unproven_client_is_challenged(app: App, path: str, fields: dict[str, str]) -> None:
    """RFC 9110, section 15.5.2: every 401, however the client tried to prove itself, and if it did not try."""
    done = await post(app, path, {**PLEA, "token": "x", **fields})
    require_refusal(done, 401, "invalid_client")
    assert done.headers["www-authenticate"] == BASIC


@pytest.mark.parametrize("header", [b"Basic c2hvcDp3cm9uZw==", b"Basic Og==", b"Bearer abc", b"Digest a=b", b""])
@pytest.mark.parametrize("path", FORM_ENDPOINTS)
async def test_a_wrong_authorization_header_is_challenged(app: App, path: str, header: bytes) -> None:
    """RFC 6749, section 5.2: with the scheme that was used, or with the one that counts."""
    done = await post(app, path, {**PLEA, "token": "x"}, (b"authorization", header))
    require_refusal(done, 401, "invalid_client")
    assert done.headers["www-authenticate"] == BASIC


async def test_the_compatibility_endpoints_challenge_too(app: App, tokens: Tokens) -> None:
    wish = {"sub": "shop", "aud": "orders"}
    for fields in (wish, {**wish, "client_secret": "wrong"}):
        require_refusal(done := await post(app, "/token", fields), 401, "invalid_client")
        assert done.headers["www-authenticate"] == BASIC
    plea = {"grant_type": SAM12, "client_id": "shop"}
    for assertion, error in (
        ("a.b.c", "invalid_token"),
        (tokens.assertion("shop", aud="orders", sub=None), "unauthorized"),  # no rule
    ):
        done = await post(app, "/authorize", {**plea, "assertion": assertion})
        require_refusal(done, 401, error)
        assert done.headers["www-authenticate"] == 'Bearer realm="orthros"'


@pytest.mark.parametrize(
    ("path", "kinds", "wanted"),
    [
        *((path, (JSON,), "send application/x-www-form-urlencoded") for path in FORM_ENDPOINTS[1:]),
        *((path, (KIND, KIND), "send application/x-www-form-urlencoded") for path in FORM_ENDPOINTS),
        *((path, (), "send application/x-www-form-urlencoded") for path in FORM_ENDPOINTS),
        ("/token", ((b"content-type", b"text/plain"),), "send application/x-www-form-urlencoded or application/json"),
        ("/authorize", (KIND,), "send application/json"),
    ],
)  # fmt: skip
async def test_a_body_of_another_kind_is_400(
    app: App, path: str, kinds: tuple[tuple[bytes, bytes], ...], wanted: str
) -> None:
    done = await call(app, "POST", path, *kinds, parts=(b'{"grant_type":"client_credentials"}',))
    require_refusal(done, 400, "invalid_request")
    assert done.json["error_description"].startswith(wanted)


@pytest.mark.parametrize("path", [*FORM_ENDPOINTS, "/authorize"])
async def test_what_is_too_large_is_told_so(app: App, path: str) -> None:
    kind = JSON if path == "/authorize" else KIND
    require_refusal(await call(app, "POST", path, kind, parts=(LARGE,)), 413, "invalid_request")
    require_refusal(await call(app, "POST", path, kind, *MANY), 431, "invalid_request")


@pytest.mark.parametrize("path", ["/livez", "/readyz", METADATA])
async def test_what_is_read_has_bounds_as_well(app: App, path: str) -> None:
    assert (await call(app, "GET", path, parts=())).status == 200
    require_refusal(await call(app, "GET", path, *MANY, parts=()), 431, "invalid_request")


@pytest.mark.parametrize(
    ("path", "methods", "allow"),
    [
        *((path, ("GET", "PUT", "DELETE", "OPTIONS", "TRACE"), "POST") for path in (*FORM_ENDPOINTS, "/authorize")),
        *((path, ("POST", "PUT", "DELETE", "OPTIONS"), "GET, HEAD") for path in ("/livez", "/readyz", METADATA)),
    ],
)
async def test_another_method_is_405_and_says_which_there_are(
    app: App, path: str, methods: tuple[str, ...], allow: str
) -> None:
    for method in methods:
        done = await call(app, method, path, KIND)
        require_refusal(done, 405, "method_not_allowed")
        assert done.headers["allow"] == allow


@pytest.mark.parametrize("path", ["/", "/tokens", "/jwks", "/.well-known/openid-configuration", "/readyz/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_another_path_is_404(app: App, path: str, method: str) -> None:
    require_refusal(await call(app, method, path, KIND), 404, "not_found")


async def test_what_a_proven_client_did_wrong_is_no_challenge(app: App, tokens: Tokens) -> None:
    """400 for the request, as RFC 6749, 7009, 7523, 7662 and 8707 have it."""
    basic = (b"authorization", tokens.basic("shop")["authorization"].encode())
    for path, fields, error in (
        ("/token", PLEA, "invalid_target"),  # no rule
        ("/token", {"grant_type": "client_credentials"}, "invalid_target"),
        ("/token", {**PLEA, "grant_type": "password"}, "unsupported_grant_type"),
        ("/token", {**PLEA, "scope": '"'}, "invalid_scope"),
        ("/token", {**PLEA, "grant_type": JWT_BEARER, "assertion": "a.b.c"}, "invalid_grant"),
        ("/introspect", {}, "invalid_request"),
        ("/revoke", {}, "invalid_request"),
    ):
        require_refusal(await post(app, path, fields, basic), 400, error)


@pytest.mark.parametrize(
    ("method", "path", "headers", "parts", "status"),
    [
        ("GET", "/livez", (), (), 200),
        ("HEAD", "/readyz", (), (), 200),
        ("GET", "/readyz/nothing", (), (), 404),
        ("GET", METADATA, (), (), 200),
        ("GET", "/nothing", (), (), 404),
        ("PUT", "/token", (), (), 405),
        ("POST", "/token", (JSON,), (b"{}",), 400),
        ("POST", "/token", ((b"content-type", b"text/plain"),), (), 400),
        ("POST", "/token", (KIND,), (LARGE,), 413),
        ("POST", "/token", (KIND, *MANY), (), 431),
        ("POST", "/token", (KIND,), (b"a=b",), 401),
    ],
)
async def test_every_request_pays_whoever_answers_it(
    method: str, path: str, headers: tuple[tuple[bytes, bytes], ...], parts: tuple[bytes, ...], status: int
) -> None:
    """What costs nothing is what a flood is made of."""
    tokens = await open_tokens(burst=8, simple_token=True)
    app = app_before(tokens)
    assert (await call(app, method, path, *headers, parts=parts)).status == status
    for _ in range(8):
        await call(app, method, path, *headers, parts=parts)
    done = await call(app, method, path, *headers, parts=parts)
    assert done.status == 429
    assert int(done.headers["retry-after"]) >= 1
    assert {row["code"] for row in tokens.events("request-rejected")} >= {"rate-limited"}
    other = await call(app, "GET", "/livez", client="192.0.2.8")
    assert other.status == 200


async def test_a_body_that_does_not_come_is_paid_for(autojump_clock: MockClock) -> None:
    app = app_before(await open_tokens(burst=3))
    seen = [(await call(app, "POST", "/token", KIND, (b"content-length", b"500"))).status for _ in range(4)]
    assert seen == [408, 408, 408, 429]
