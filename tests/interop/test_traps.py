"""Requests as no library writes them: what the RFCs say about each, and never a 500."""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest

from tests.interop.forgery import altered, forge
from tests.interop.house import FORM, House, seen
from tests.support.http_port import Got, request

ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
PLEA: Final = {"grant_type": "client_credentials", "audience": "orders"}
TYPE: Final = FORM[1]


@pytest.fixture(scope="module", autouse=True)
def nothing_broke(house: House) -> Iterator[None]:
    """Whatever the requests of this module were, no fault of the KDC's own is in its log."""
    yield
    assert house.estate.kdc is not None
    assert house.estate.kdc.is_running
    assert not re.findall(r"(?i)traceback|failed|kdc-fault", house.estate.kdc.errors())
    with house.http() as http:
        assert http.get("/readyz").status_code == 200


def good(house: House, **changes: str | None) -> dict[str, str]:
    """A form that gets a token, but for `changes`; None takes a parameter away."""
    fields = {"client_id": "shop", "client_secret": house.secret("shop"), **PLEA, **changes}
    return {name: value for name, value in fields.items() if value is not None}


def basic(user: str, password: str) -> tuple[str, str]:
    """The header as written: whoever should have encoded has done so."""
    return "authorization", "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


def require(got: Got | None, status: int, error: str = "") -> Got:
    """Checks an answer, and what RFC 6749 asks of every one."""
    assert got is not None
    assert got.status == status, got.body
    assert got.headers["cache-control"] == "no-store"
    if error:
        assert got.json["error"] == error
        assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", got.json["error_description"])
        assert b"ort1s_" not in got.body
        assert ("www-authenticate" in got.headers) == (status == 401)
    return got


def test_the_form_that_the_others_differ_from(house: House) -> None:
    require(house.ask_form("/token", urlencode(good(house)).encode()), 200)


BODIES: Final[Mapping[str, tuple[Callable[[bytes], bytes], int, str]]] = {
    "parameter twice": (lambda body: body + b"&grant_type=client_credentials", 400, "invalid_request"),
    "scope twice": (lambda body: body + b"&scope=read&scope=read", 400, "invalid_request"),
    "empty and not": (lambda body: body + b"&client_id=", 400, "invalid_request"),
    "unknown parameter twice": (lambda body: body + b"&x=1&x=1", 400, "invalid_request"),
    "unknown parameter": (lambda body: body + b"&x=1", 200, ""),
    "same audience twice": (lambda body: body + b"&audience=orders%40corp.test", 200, ""),
    "two audiences": (lambda body: body + b"&audience=ledger", 400, "invalid_target"),
    "audience and resource differ": (lambda body: body + b"&resource=https://ledger.example", 400, "invalid_target"),
    "resource is no URI": (lambda body: body + b"&resource=orders", 400, "invalid_target"),
    "resource with a fragment": (lambda body: body + b"&resource=https://ledger.example%23a", 400, "invalid_target"),
    "byte order mark": (lambda body: b"\xef\xbb\xbf" + body, 400, "invalid_request"),
    "NUL in a value": (lambda body: body + b"%00", 400, "invalid_request"),
    "NUL as it is": (lambda body: body + b"\x00", 400, "invalid_request"),
    "line break": (lambda body: body + b"\r\n", 400, "invalid_request"),
    "UTF-16": (lambda body: body.decode().encode("utf-16"), 400, "invalid_request"),
    "Latin-1": (lambda body: body + b"&scope=caf%E9", 400, "invalid_request"),
    "overlong UTF-8": (lambda body: body + b"&scope=%C0%AF", 400, "invalid_request"),
    "broken escape": (lambda body: body + b"&scope=%zz", 400, "invalid_request"),
    "half an escape": (lambda body: body + b"&scope=a%2", 400, "invalid_request"),
    "semicolons": (lambda body: body.replace(b"&", b";"), 401, "invalid_client"),
    "empty pair": (lambda body: body + b"&", 400, "invalid_request"),
    "JSON in a form": (lambda body: b'{"grant_type":"client_credentials"}', 400, "invalid_request"),
    "nothing at all": (lambda body: b"", 401, "invalid_client"),
    "too many parameters": (lambda body: body + b"".join(b"&x%d=1" % n for n in range(64)), 400, "invalid_request"),
    "too large": (lambda body: body + b"&x=" + b"a" * 33_000, 413, "invalid_request"),
    "scope with two blanks": (lambda body: body + b"&scope=read++write", 400, "invalid_scope"),
    "scope with a quote": (lambda body: body + b"&scope=%22read%22", 400, "invalid_scope"),
    "both ways to say how long": (lambda body: body + b"&expires_in=60&rexp=9999999999", 400, "invalid_request"),
    "a number in other digits": (lambda body: body + "&expires_in=٦٠".encode(), 400, "invalid_request"),
    "a password grant": (lambda body: body.replace(b"client_credentials", b"password"), 400, "unsupported_grant_type"),
    "no grant type": (lambda body: body.replace(b"grant_type", b"granttype"), 400, "invalid_request"),
    "no target": (lambda body: body.replace(b"audience", b"target"), 400, "invalid_target"),
    "assertion type alone": (lambda body: body + b"&client_assertion_type=x", 400, "invalid_request"),
}


@pytest.mark.parametrize("trap", BODIES)
def test_bodies(house: House, trap: str) -> None:
    change, status, error = BODIES[trap]
    require(house.ask_form("/token", change(urlencode(good(house)).encode())), status, error)


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (f"{TYPE};charset=UTF-8", 200), (f'{TYPE}; charset="utf-8"', 200), (TYPE.upper(), 200),
        (f"{TYPE}; charset=iso-8859-1", 400), (f"{TYPE}; boundary=x", 400), (f"{TYPE}, text/plain", 400),
        ("text/plain", 400), ("multipart/form-data; boundary=x", 400), ("", 400),
    ],
)  # fmt: skip
def test_content_types(house: House, content_type: str, status: int) -> None:
    got = house.ask_form("/token", urlencode(good(house)).encode(), ("content-type", content_type))
    require(got, status, "" if status == 200 else "invalid_request")


def test_json_is_another_endpoint(house: House) -> None:
    """Switched off, JSON is no form, whatever it says."""
    got = house.ask_form("/token", b'{"sub":"shop","aud":"orders"}', ("content-type", "application/json"))
    require(got, 400, "invalid_request")
    assert f"send {TYPE}" in got.json["error_description"]
    require(house.ask_form("/authorize", b"{}", ("content-type", "application/json")), 404, "not_found")


def test_secrets_in_the_address(house: House) -> None:
    """A query ends up in logs, so nothing that works may be said there."""
    token, query = house.token(), urlencode(good(house))
    for method, path, status in (
        ("POST", f"/token?{query}", 400), ("GET", f"/token?{query}", 405), ("POST", f"/introspect?token={token}", 400),
        ("GET", f"/introspect?token={token}", 405), ("POST", f"/revoke?token={token}", 400), ("PUT", "/token", 405),
        ("POST", "/token/", 404), ("POST", "//token", 404), ("POST", "/%74oken", 404), ("POST", "/token;a=b", 404),
    ):  # fmt: skip
        body = urlencode(good(house, token=token)).encode()
        got = require(house.ask(request(method, path, FORM, body=body)), status)
        assert got.headers.get("allow") == ("POST" if status == 405 else None)
    looked = house.post("/introspect", "orders", {"token": token})
    assert looked.json()["active"] is True


BASIC: Final[Mapping[str, tuple[Callable[[str, str], tuple[str, str]], int, str]]] = {
    "slash as it is": (lambda shop, web: basic("shop/web", web), 200, ""),
    "slash encoded": (lambda shop, web: basic("shop%2fweb", quote(web, safe="")), 200, ""),
    "realm as it is": (lambda shop, web: basic("shop/web@corp.test", web), 200, ""),
    "realm encoded": (lambda shop, web: basic("shop%2Fweb%40corp.test", web), 200, ""),
    "another realm": (lambda shop, web: basic("shop@other.test", shop), 401, "invalid_client"),
    "underscore encoded": (lambda shop, web: basic("shop", shop.replace("_", "%5F")), 200, ""),
    "encoded twice": (lambda shop, web: basic("shop%252Fweb", web), 401, "invalid_client"),
    "percent that escapes nothing": (lambda shop, web: basic("shop%", shop), 400, "invalid_request"),
    "percent in the secret": (lambda shop, web: basic("shop", shop + "%"), 400, "invalid_request"),
    "plus is a blank": (lambda shop, web: basic("shop", shop + "+"), 401, "invalid_client"),
    "colon in the secret": (lambda shop, web: basic("shop", shop + ":"), 401, "invalid_client"),
    "bad UTF-8": (lambda shop, web: basic("shop", "%ff"), 400, "invalid_request"),
    "NUL": (lambda shop, web: basic("shop", shop + "%00"), 400, "invalid_request"),
    "upper case": (lambda shop, web: basic("SHOP", shop), 401, "invalid_client"),
    "blank before": (lambda shop, web: basic(" shop", shop), 401, "invalid_client"),
    "no colon": (lambda shop, web: ("authorization", "Basic " + b64encode(b"shop").decode()), 400, "invalid_request"),
    "no base64": (lambda shop, web: ("authorization", "Basic shop:secret"), 400, "invalid_request"),
    "half of base64": (lambda shop, web: ("authorization", "Basic c2hvc"), 400, "invalid_request"),
    "lower-case scheme": (lambda shop, web: ("authorization", basic("shop", shop)[1].replace("B", "b", 1)), 200, ""),
    "another scheme": (lambda shop, web: ("authorization", f"Bearer {shop}"), 401, "invalid_client"),
    "empty": (lambda shop, web: ("authorization", ""), 401, "invalid_client"),
    "nobody": (lambda shop, web: basic("", ""), 401, "invalid_client"),
}


@pytest.mark.parametrize("trap", BASIC)
def test_basic(house: House, trap: str) -> None:
    """RFC 6749, 2.3.1: both halves are form-encoded; libraries that do not are understood as long as it is clear."""
    made, status, error = BASIC[trap]
    header = made(house.secret("shop"), house.secret("shop/web"))
    got = require(house.ask_form("/token", urlencode(PLEA).encode(), header), status, error)
    if status == 401:
        assert got.headers["www-authenticate"].startswith('Basic realm="')


def test_one_way_to_authenticate(house: House) -> None:
    """RFC 6749, 2.3: more than one is `invalid_request`, even if each is right."""
    header = basic("shop", house.secret("shop"))
    signed = {"client_assertion_type": ASSERTION, "client_assertion": assertion(house, {})}
    for fields, headers in (
        (good(house), [header]), ({**PLEA, **signed}, [header]), ({**good(house), **signed}, []),
        (PLEA, [header, header]), ({**PLEA, "client_id": "spy"}, [header]),
    ):  # fmt: skip
        require(house.ask_form("/token", urlencode(fields).encode(), *headers), 400, "invalid_request")
    require(house.ask_form("/token", urlencode({**PLEA, "client_id": "shop"}).encode(), header), 200)
    got = house.ask_form("/token", urlencode(good(house, client_secret=None)).encode())
    require(got, 401, "invalid_client")  # a client id is a name, no proof


def assertion(house: House, changes: Mapping[str, Any]) -> str:
    """What gets shop in by client_secret_jwt, but for `changes`, as in `forgery.altered`."""
    now = int(time.time())
    claims = {"iss": "shop", "sub": "shop", "aud": house.issuer, "iat": now, "exp": now + 60, "jti": uuid4().hex}
    claims |= changes
    header = {"alg": "HS256", **claims.pop("header", {})}  # type: ignore[dict-item]
    key = claims.pop("key", None) or house.secret("shop")
    said = {name: value for name, value in claims.items() if value is not None}
    return forge(header, said, str(key).encode())


def ask_signed(house: House, text: str) -> Got:
    fields = {**PLEA, "client_assertion_type": ASSERTION, "client_assertion": text}
    return house.ask_form("/token", urlencode(fields).encode())


@pytest.mark.parity("L28")
@pytest.mark.parametrize(
    "changes",
    [
        {"header": {"alg": "none"}}, {"header": {"alg": "NONE"}}, {"header": {"alg": "RS256"}},
        {"header": {"alg": "HS384"}}, {"header": {"alg": ["HS256"]}}, {"header": {"crit": ["exp"]}},
        {"header": {"crit": ["b64"], "b64": False}}, {"header": {"jwk": {"kty": "oct", "k": "AAAA"}}},
        {"header": {"jku": "https://elsewhere.test"}}, {"header": {"typ": "orthros+jwt"}},
        {"aud": "https://elsewhere.test"}, {"aud": None}, {"aud": "TOKEN-URL"}, {"aud": ["ISSUER", "elsewhere"]},
        {"exp": None}, {"exp": 1}, {"exp": 9_000_000_000}, {"exp": "soon"}, {"exp": True}, {"nbf": 9_000_000_000},
        {"jti": None}, {"jti": ""}, {"jti": 7}, {"sub": "spy"}, {"iss": "spy"}, {"iss": None}, {"iss": "shop/web"},
        {"key": "x" * 64}, {"key": "SPY"},
    ],
    ids=str,
)  # fmt: skip
def test_assertions(house: House, changes: dict[str, Any]) -> None:
    """Whatever an assertion would like to choose, its key, algorithm, audience or end, it is the same 401."""
    named = {"TOKEN-URL": f"{house.issuer}/token", "SPY": house.secret("spy")}
    changes = {name: named.get(str(value), value) for name, value in changes.items()}
    if isinstance(changes.get("aud"), list):
        changes["aud"] = [house.issuer, "elsewhere"]
    require(ask_signed(house, assertion(house, {})), 200)
    got = ask_signed(house, assertion(house, changes))
    require(got, 401, "invalid_client")
    assert seen(got) == seen(ask_signed(house, "garbage"))


def test_an_assertion_is_good_once(house: House) -> None:
    once = assertion(house, {"header": {"alg": "HS512"}})
    require(ask_signed(house, once), 200)
    refused = require(ask_signed(house, once), 401, "invalid_client")
    assert seen(refused) == seen(ask_signed(house, "garbage"))
    for text in (once + "=", once + ".", "." + once, once.replace(".", ".."), once[:-2], once.upper(), " " + once):
        require(ask_signed(house, text), 401, "invalid_client")
    # The same JWT as a grant and as proof of the client would be used twice.
    double = assertion(house, {})
    fields = {"grant_type": BEARER, "assertion": double, "audience": "orders"}
    proof = {"client_assertion_type": ASSERTION, "client_assertion": double}
    require(house.ask_form("/token", urlencode(fields | proof).encode()), 400, "invalid_grant")
    # A token for a target is no assertion of its client, nor is an assertion a token.
    require(ask_signed(house, house.token()), 401, "invalid_client")
    looked = house.post("/introspect", "orders", {"token": assertion(house, {})})
    assert looked.json() == {"active": False}


def test_who_is_not_let_in_looks_the_same(house: House) -> None:
    """Unknown, wrong, disabled, elsewhere, without OAuth: equal bytes but for date and reference.

    When the bytes of a source are used up, many share an entry of the audit log and its reference.
    """
    pairs = (
        ("nobody", "wrong"), ("shop", "wrong"), ("shop", house.secret("spy")), ("barred", "wrong"),
        ("barred", house.secret("barred")), ("faraway", house.secret("faraway")), ("plain", "wrong"),
        ("not a name", "wrong"), ("kdc/tgs", "wrong"), ("x" * 5000, "wrong"),
    )  # fmt: skip
    for path, in_header in (("/token", False), ("/token", True), ("/introspect", True), ("/revoke", False)):
        answers = []
        for name, secret in pairs:
            proof = {} if in_header else {"client_id": name, "client_secret": secret}
            plea = urlencode({**PLEA, "token": "x", **proof}).encode()
            answers.append(house.ask_form(path, plea, *([basic(quote(name), secret)] if in_header else [])))
        assert len({str(seen(require(got, 401, "invalid_client"))) for got in answers}) == 1
        assert all(re.fullmatch("[0-9a-f]{16}", got.json["ref"]) for got in answers)


def test_targets_that_are_not_for_you_look_the_same(house: House) -> None:
    """Unknown or forbidden: equal bytes but for date and reference, and whether named or by URI."""
    wishes = (
        {"audience": "nowhere"}, {"audience": "orders"}, {"audience": "spy"}, {"audience": "barred"},
        {"audience": "not a name"}, {"audience": "orders@other.test"}, {"audience": "kdc/tgs"},
        {"resource": "https://nowhere.example"}, {"resource": "https://ledger.example"}, {"resource": "orthros:orders"},
    )  # fmt: skip
    header = basic("spy", house.secret("spy"))
    answers = [
        house.ask_form("/token", urlencode({"grant_type": "client_credentials", **wish}).encode(), header)
        for wish in wishes
    ]
    assert len({str(seen(require(got, 400, "invalid_target"))) for got in answers}) == 1


@pytest.mark.parity("L28")
@pytest.mark.parametrize(
    "changes",
    [
        {}, {"header": {"alg": "none"}}, {"header": {"alg": "HS512"}}, {"header": {"alg": "RS256"}},
        {"header": {"crit": ["exp"]}}, {"header": {"kid": None}}, {"header": {"kid": "../../etc/passwd"}},
        {"header": {"kid": "LEDGER"}}, {"header": {"typ": "JWT"}}, {"aud": "https://ledger.example"},
        {"exp": 9_000_000_000}, {"client_id": "orders@corp.test"}, {"may_act": {"sub": "relay@corp.test"}},
    ],
    ids=str,
)  # fmt: skip
def test_tokens_that_the_kdc_did_not_make(house: House, changes: dict[str, Any]) -> None:
    """Its target can sign anything; the KDC says of each no more than that it is not active."""
    if changes.get("header", {}).get("kid") == "LEDGER":
        changes = {"header": {"kid": house.jwk("ledger")["kid"]}}
    forged = altered(house, changes)
    for client in ("orders", "shop"):
        looked = house.post("/introspect", client, {"token": forged})
        assert (looked.status_code, looked.content) == (200, b'{"active":false}')
    given_back = house.post("/revoke", "shop", {"token": forged})
    assert (given_back.status_code, given_back.content) == (200, b"")
    fields = {"grant_type": EXCHANGE, "subject_token": forged, "subject_token_type": ACCESS_TOKEN, "audience": "orders"}
    refused = house.post("/token", "relay", fields)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")


def test_tokens_that_are_none(house: House) -> None:
    token, handle = house.token(), house.token(target="archive")
    flipped = handle[:-1] + ("A" if handle[-1] != "A" else "B")
    for text in (
        "x",
        token + "=",
        token + " ",
        token[:-1],
        "Bearer " + token,
        flipped,
        "ort1h_",
        "a" * 17_000,
        ".." * 9,
    ):
        looked = house.post("/introspect", "orders", {"token": text})
        assert (looked.status_code, looked.json()) == (200, {"active": False})
        assert house.post("/revoke", "shop", {"token": text}).status_code == 200
    for path in ("/introspect", "/revoke"):
        assert house.post(path, "shop", {}).json()["error"] == "invalid_request"


FRAMES: Final[Mapping[str, tuple[Callable[[bytes], bytes], int | None]]] = {
    "as it should be": (lambda body: request("POST", "/token", FORM, body=body), 200),
    "HTTP/1.0": (lambda body: request("POST", "/token", FORM, body=body).replace(b"HTTP/1.1", b"HTTP/1.0", 1), 200),
    "chunked": (
        lambda body: (
            request("POST", "/token", FORM, ("transfer-encoding", "chunked"))
            + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        ),
        200,
    ),
    "length stated twice": (lambda body: _lying(body, str(len(body)), str(len(body) + 1)), 400),
    "length and chunks": (
        lambda body: (
            request("POST", "/token", FORM, ("transfer-encoding", "chunked"), ("content-length", "4"))
            + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        ),
        400,
    ),
    "length in words": (lambda body: _lying(body, "many"), 400),
    "negative length": (lambda body: _lying(body, "-1"), 400),
    "length with a sign": (lambda body: _lying(body, f"+{len(body)}"), 400),
    "length without end": (lambda body: _lying(body, "9" * 40), 400),
    "far too long": (lambda body: _lying(body, "99999999"), 413),
    # The rest of the body would be a request of its own, on a connection that ends after the answer.
    "too short": (lambda body: _lying(body, "10"), 401),
    "too long": (lambda body: _lying(body, str(len(body) + 10)), None),
    "HTTP/2": (lambda body: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no HTTP": (lambda body: b"hello\r\n\r\n", 400),
    "no host": (lambda body: request("POST", "/token", FORM, body=body).replace(b"host: kdc.test\r\n", b"", 1), 400),
    "header folded": (lambda body: request("POST", "/token", FORM, ("x", "a\r\n b"), body=body), 400),
    "NUL in a header": (lambda body: request("POST", "/token", FORM, ("x", "a\0b"), body=body), 400),
    "blank before the colon": (lambda body: request("POST", "/token", FORM, ("x ", "y"), body=body), 400),
    "too many headers": (lambda body: request("POST", "/token", FORM, *(("x", "y"),) * 70, body=body), 431),
    "too large a header": (lambda body: request("POST", "/token", FORM, ("x", "y" * 17_000), body=body), 431),
}


def _lying(body: bytes, *lengths: str) -> bytes:
    return request("POST", "/token", FORM, *(("content-length", length) for length in lengths)) + body


@pytest.mark.parametrize("trap", FRAMES)
def test_frames(house: House, trap: str) -> None:
    """RFC 9112: what is not clear is refused; nobody waits for a rest that does not come once the caller is gone."""
    made, status = FRAMES[trap]
    got = house.ask(made(urlencode(good(house)).encode()), hang_up=status is None)
    if status is None:
        # The connection ends, with or without a word that this was cut short; half a form is never answered.
        assert got is None or got.status == 400
    else:
        require(got, status)
