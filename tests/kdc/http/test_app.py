"""The application: which path and method leads where, and what an endpoint gets to see."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from orthros_protocol.errors import Unavailable
from tests.support.http_port import Repeater, app_of, call

KIND = (b"content-type", b"application/x-www-form-urlencoded")
JSON = (b"content-type", b"application/json; charset=utf-8")
SECRET = "ort1s_do-not-repeat-me"


@pytest.mark.parametrize("path", ["/token", "/introspect", "/revoke"])
async def test_each_endpoint_gets_the_request_whole(path: str) -> None:
    tokens = Repeater()
    done = await call(
        app_of(tokens),
        "POST",
        path + "?q=1",
        KIND,
        (b"Authorization", b"Basic x"),
        parts=(b"a=", b"b", b""),
    )
    assert done.status == 200
    (ask,) = tokens.asked
    assert (ask.path, ask.method, ask.query, ask.body) == (path, "POST", b"q=1", b"a=b")
    assert dict(ask.headers)["authorization"] == "Basic x"
    assert (ask.source, ask.address) == ("192.0.2.7", "192.0.2.7")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/", 404, None),
        ("POST", "/tokens", 404, None),
        ("POST", "/token/", 404, None),
        ("POST", "/%74oken", 404, None),
        ("POST", "http://kdc.test/token", 404, None),
        ("POST", "/authorize", 404, None),
        ("GET", "/readyz/none", 404, None),
        ("GET", "/token", 405, "POST"),
        ("HEAD", "/token", 405, "POST"),
        ("DELETE", "/token", 405, "POST"),
        ("CONNECT", "/token", 405, "POST"),
        ("POST", "/livez", 405, "GET, HEAD"),
        ("OPTIONS", "/readyz", 405, "GET, HEAD"),
    ],
)
async def test_paths_and_methods_that_there_are_not(method: str, path: str, status: int, allow: str | None) -> None:
    tokens = Repeater()
    done = await call(app_of(tokens), method, path, KIND)
    assert (done.status, done.headers.get("allow")) == (status, allow)
    assert done.headers["cache-control"] == "no-store"
    if method != "HEAD":
        assert done.json["error"] in ("not_found", "method_not_allowed")
    assert tokens.asked == []


@pytest.mark.parametrize(
    "kinds",
    [(), (JSON,), (KIND, KIND), ((b"content-type", b"multipart/form-data; boundary=x"),), ((b"content-type", b""),)],
)
async def test_a_body_of_another_kind_is_an_invalid_request(kinds: tuple[tuple[bytes, bytes], ...]) -> None:
    """RFC 6749, section 5.2 has no 415, and libraries read the error of a 400 only."""
    done = await call(app_of(Repeater()), "POST", "/token", *kinds)
    assert (done.status, done.json["error"]) == (400, "invalid_request")
    assert "send application/x-www-form-urlencoded" in done.json["error_description"]


async def test_the_compatibility_endpoints_exist_only_where_they_are_switched_on() -> None:
    both = app_of(Repeater(), paladin=True, simple_token=True)
    assert (await call(both, "POST", "/authorize", JSON)).status == 200
    assert (await call(both, "POST", "/authorize", KIND)).status == 400
    assert (await call(both, "POST", "/token", JSON)).status == 200
    assert (await call(both, "POST", "/token", (b"content-type", b"Application/X-WWW-Form-Urlencoded"))).status == 200
    assert (await call(app_of(Repeater()), "POST", "/authorize", JSON)).status == 404


@pytest.mark.parametrize(
    ("issuer", "path"),
    [
        ("https://corp.test", "/.well-known/oauth-authorization-server"),
        ("https://corp.test/", "/.well-known/oauth-authorization-server"),
        ("https://corp.test/realms/a", "/.well-known/oauth-authorization-server/realms/a"),
    ],
)
async def test_metadata_is_where_rfc_8414_puts_it(issuer: str, path: str) -> None:
    """RFC 8414, section 3.1: the issuer's path is inserted behind the well-known one."""
    app = app_of(Repeater(), issuer=issuer)
    assert (await call(app, "GET", path)).json["issuer"] == "https://corp.test/realms/a"
    assert (await call(app, "GET", path + "/more")).status == 404
    assert (await call(app, "POST", path, KIND)).status == 405
    if "realms" in issuer:
        assert (await call(app, "GET", "/.well-known/oauth-authorization-server")).status == 404


async def test_head_is_get_without_the_body() -> None:
    got, head = [await call(app_of(Repeater()), method, "/livez", parts=()) for method in ("GET", "HEAD")]
    assert got.status == head.status == 200
    assert got.headers == head.headers
    assert int(head.headers["content-length"]) == len(got.body)
    assert head.body == b""


@pytest.mark.parametrize(
    ("headers", "parts", "status"),
    [
        ((), (b"x" * 2048,), 200),
        ((), (b"x" * 2049,), 413),
        ((), (b"x" * 1500, b"x" * 549), 413),
        (((b"content-length", b"2049"),), (b"x",), 413),
        (((b"content-length", b"9" * 18),), (b"x",), 413),
        (((b"content-length", b"9" * 19),), (b"x",), 400),
        (((b"content-length", b"01"),), (b"x",), 400),
        (((b"content-length", b"0" * 17 + b"1"),), (b"x",), 400),
        (((b"content-length", b"1x"),), (b"x",), 400),
        (((b"content-length", b"+1"),), (b"x",), 400),
        (((b"content-length", b"\xb2"),), (b"x",), 400),
        (((b"content-length", b"1"), (b"content-length", b"1")), (b"x",), 400),
        (((b"content-length", b"1"), (b"transfer-encoding", b"chunked")), (b"x",), 400),
        (tuple((b"x-%d" % number, b"y") for number in range(64)), (b"x",), 431),
        (((b"x", b"y" * 16_384),), (b"x",), 431),
    ],
)
async def test_bodies_and_headers_have_bounds(
    headers: tuple[tuple[bytes, bytes], ...], parts: tuple[bytes, ...], status: int
) -> None:
    done = await call(app_of(Repeater()), "POST", "/token", KIND, *headers, parts=parts)
    assert done.status == status
    if status != 200:
        assert done.json["error"] == "invalid_request"
        assert done.headers["connection"] == "close"  # behind a body that nobody reads


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [
        (RuntimeError("a bug"), 500, "server_error"),
        (ExceptionGroup("two", [RuntimeError("a bug")]), 500, "server_error"),
        (Unavailable("kdc-fault", "the database is busy"), 503, "temporarily_unavailable"),
    ],
)
async def test_a_fault_is_an_answer_and_its_reason_stays_in_the_log(fault: Exception, status: int, error: str) -> None:
    """No traceback to the caller, nothing of the request in the log."""
    with capture_logs() as lines:
        done = await call(
            app_of(Repeater(fault=fault)), "POST", "/token", KIND, (b"authorization", SECRET.encode()),
            parts=(SECRET.encode(),),
        )  # fmt: skip
    assert (done.status, done.json["error"]) == (status, error)
    assert "bug" not in str(done.json)
    assert [line["event"] for line in lines] == ["request failed"]
    assert SECRET not in str(lines)


async def test_what_is_named_by_a_stranger_is_not_believed() -> None:
    """A forwarded address counts only from a proxy that the operator trusts."""
    forged = (b"x-forwarded-for", b"203.0.113.9")
    for trusted, seen in (((), "192.0.2.7"), (("198.51.100.0/24",), "192.0.2.7"), (("192.0.2.7/32",), "203.0.113.9")):
        tokens = Repeater()
        await call(app_of(tokens, trusted=trusted), "POST", "/token", KIND, forged)
        assert (tokens.asked[0].source, tokens.asked[0].address) == (seen, seen)


async def test_peers_that_have_gone_have_one_source() -> None:
    tokens = Repeater()
    await call(app_of(tokens), "POST", "/token", KIND, client="")
    assert [(ask.source, ask.address) for ask in tokens.asked] == [("gone", "")]
