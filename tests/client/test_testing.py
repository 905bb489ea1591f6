"""`orthros_client.testing`: real tickets through the real middleware of services, and what that finds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import falcon.asgi
import httpx
import litestar
import pytest
import quart
from fastapi import Depends, FastAPI, Request
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route as StarletteRoute

from orthros_client import Limits, LocalMisuse, Misconfigured, TargetRefusal, Verifier
from orthros_client.integrations import flask as flask_guard
from orthros_client.integrations.asgi import OrthrosMiddleware, Route
from orthros_client.integrations.starlette import require
from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware
from orthros_client.testing import AsyncTestClient, TestRealm, async_test_client, test_client
from orthros_protocol.errors import Refused
from orthros_protocol.tickets.call_chain import ChainRule

ORIGIN = "https://orders.example"
ROUTES = (
    Route("/health", public=True),
    Route("/orders", scopes=["write"]),
    Route("/orders/*", scopes=["read"]),
    Route("/users/*", accept_user=True, chain=ChainRule(deny_via=["legacy"])),
)
OPTIONS: dict[str, Any] = {"origins": [ORIGIN], "routes": ROUTES}


@pytest.fixture(autouse=True)
def realm(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestRealm]:
    """What a service sees that has no key at all."""
    for name in ("ORTHROS_KEY", "ORTHROS_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    with TestRealm("orders") as realm:
        yield realm


def seen(caller: Any, body: bytes) -> dict[str, Any]:
    """What every application here answers."""
    subject = None if caller is None or caller.subject is None else caller.subject.principal.name
    client = None if caller is None else caller.client.name
    path = [] if caller is None else list(caller.path)
    return {"client": client, "for": subject, "path": path, "body": body.decode()}


async def bare(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise RuntimeError("no lifespan here")
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(seen(scope["orthros.caller"], body)).encode()})


def bare_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(seen(environ["orthros.caller"], body)).encode()]


def in_asgi() -> Any:
    return OrthrosMiddleware(bare, **OPTIONS)


def in_wsgi() -> Any:
    return OrthrosWsgiMiddleware(bare_wsgi, **OPTIONS)


def in_fastapi() -> Any:
    app = FastAPI()
    app.add_middleware(OrthrosMiddleware, **OPTIONS)

    @app.api_route("/{rest:path}", methods=["GET", "POST"])
    async def served(request: Request) -> dict[str, Any]:
        return seen(request.scope["orthros.caller"], await request.body())

    return app


def in_litestar() -> Any:
    @litestar.route("/{rest:path}", http_method=["GET", "POST"], status_code=200)
    async def served(request: litestar.Request[Any, Any, Any]) -> dict[str, Any]:
        return seen(request.scope["orthros.caller"], await request.body())  # type: ignore[typeddict-item]

    return OrthrosMiddleware(litestar.Litestar([served]), **OPTIONS)  # type: ignore[arg-type]


def in_quart() -> Any:
    app = quart.Quart(__name__)

    @app.route("/<path:rest>", methods=["GET", "POST"])
    async def served(rest: str) -> dict[str, Any]:
        caller: Any = quart.request.scope["orthros.caller"]  # type: ignore[typeddict-item]
        return seen(caller, await quart.request.get_data(as_text=False))  # type: ignore[arg-type]

    app.asgi_app = OrthrosMiddleware(app.asgi_app, **OPTIONS)  # type: ignore[method-assign,arg-type,assignment]
    return app


def in_flask() -> Any:
    app = Flask(__name__)

    @app.route("/<path:rest>", methods=["GET", "POST"])
    def served(rest: str) -> dict[str, Any]:
        from flask import request

        return seen(flask_guard.current_caller(), request.get_data())

    flask_guard.protect(app, **OPTIONS)
    return app


def in_falcon() -> Any:
    class Served:
        async def on_get(self, request: Any, response: Any, rest: str = "") -> None:
            response.media = seen(request.scope["orthros.caller"], await request.stream.read())

        on_post = on_get

    app: Any = falcon.asgi.App()
    app.add_route("/orders", Served())
    for path in ("/orders/{rest}", "/users/{rest}", "/health"):
        app.add_route(path, Served())
    return OrthrosMiddleware(app, **OPTIONS)


EVERY = (in_asgi, in_wsgi, in_fastapi, in_litestar, in_quart, in_flask, in_falcon)


@pytest.mark.parity("O7")
@pytest.mark.parametrize("made", EVERY)
def test_a_service_without_a_key_is_called_with_real_tickets(made: Any) -> None:
    """No daemon, no KDC, no files, in any framework: scopes, bodies, strangers, users, replays."""
    app = made()
    shop = test_client(app, "shop", scopes=["read", "write"])
    assert shop.get("/orders/7").json() == {"client": "shop", "for": None, "path": [], "body": ""}
    assert shop.post("/orders", content=b"a book").json()["body"] == "a book"
    assert shop.send_again().code == "replayed"
    assert test_client(app, "guest").refusal("GET", "/orders/7").code == "insufficient-scope"
    assert test_client(app, None).get("/health").status_code == 200
    assert test_client(app, None).refusal("GET", "/orders/7").code == "credentials-missing"
    alice = test_client(app, "shop", for_user="alice", via=["web"])
    assert alice.get("/users/me").json() == {"client": "shop", "for": "alice", "path": ["web", "shop"], "body": ""}


@pytest.fixture
def app() -> Any:
    return in_asgi()


REFUSALS: tuple[tuple[dict[str, Any], str, bool], ...] = (
    ({"fault": "expired"}, "ticket-expired", True),
    ({"fault": "not-yet-valid"}, "ticket-times-invalid", True),
    ({"fault": "too-long"}, "ticket-times-invalid", True),
    ({"fault": "wrong-key"}, "unknown-key", False),
    ({"fault": "wrong-service"}, "unknown-key", False),
    ({"skew_s": 400}, "too-far-ahead", True),
    ({"skew_s": -400}, "replayed", True),
    ({"scopes": []}, "insufficient-scope", True),
    ({"limits": Limits(scopes=["write"])}, "insufficient-scope", True),
    ({"limits": Limits(methods=["POST"])}, "caveat-refused", True),
    ({"for_user": "alice"}, "user-not-accepted", True),
    ({"via": ["web"]}, "user-not-accepted", True),
)


@pytest.mark.parity("O7")
@pytest.mark.parametrize(("words", "code", "is_proven"), REFUSALS)
@pytest.mark.parametrize("made", [in_asgi, in_wsgi])
def test_refusals_on_demand_are_those_of_the_real_path(made: Any, words: Any, code: str, *, is_proven: bool) -> None:
    refusal = test_client(made(), "shop", **{"scopes": ["read"]} | words).refusal("GET", "/orders/7")
    assert (refusal.code, refusal.is_proven) == (code, is_proven)
    assert refusal.status == (403 if code in ("insufficient-scope", "caveat-refused", "user-not-accepted") else 401)


def test_a_small_skew_is_followed_as_ever(app: Any) -> None:
    assert test_client(app, scopes=["read"], skew_s=250).get("/orders/7").status_code == 200


def test_a_client_that_is_just_called_raises_what_clients_raise(app: Any) -> None:
    assert test_client(app, scopes=["read"]).post("/orders", content=b"a book").status_code == 403
    with pytest.raises(TargetRefusal, match="ticket-expired"):
        test_client(app, scopes=["write"], fault="expired").post("/orders", content=b"a book")


def test_what_was_served_is_no_refusal(app: Any) -> None:
    client = test_client(app, scopes=["read"])
    with pytest.raises(AssertionError, match="was not refused: 200"):
        client.refusal("GET", "/orders/7")
    with pytest.raises(LocalMisuse, match="nothing has been sent"):
        test_client(app).send_again()


def test_time_passes_without_sleeping(realm: TestRealm, app: Any) -> None:
    """A ticket lives for as long as its caller keeps it; a client obtains new ones, as one with a daemon does."""
    client = test_client(app, scopes=["read"], lifetime_s=60)
    client.get("/orders/7")
    realm.clock.advance(30)
    assert client.send_again().code == "replayed"
    realm.clock.advance(3600)
    assert "3630.0 s old" in client.send_again().detail
    assert client.get("/orders/7").status_code == 200


def test_a_restart_forgets_what_was_burnt_and_refuses_what_names_the_life_before(realm: TestRealm, app: Any) -> None:
    client = test_client(app, scopes=["read", "write"])
    client.post("/orders", content=b"a book")
    realm.restart()
    again = client.send_again()
    assert (again.code, again.is_proven) == ("epoch-required", True)
    assert client.get("/orders/7").status_code == 200


def test_several_callers_share_one_service(app: Any) -> None:
    reads, writes = test_client(app, "web", scopes=["read"]), test_client(app, "till", scopes=["write"])
    assert [reads.get("/orders/1").json()["client"], writes.post("/orders").json()["client"]] == ["web", "till"]
    assert reads.refusal("POST", "/orders").code == writes.refusal("GET", "/orders/1").code == "insufficient-scope"


def test_a_path_that_a_route_forbids(app: Any) -> None:
    assert test_client(app, via=["legacy"]).refusal("GET", "/users/me").code == "chain-refused"
    assert test_client(app, via=["shop", "web"]).get("/users/me").json()["path"] == ["shop", "web", "caller"]


# What the kit finds in a service


def without(name: str) -> Any:
    def between(request: httpx.Request) -> httpx.Request:
        kept = [(key, value) for key, value in request.headers.raw if key.lower() != name.encode()]
        return httpx.Request(request.method, request.url, headers=kept, stream=httpx.ByteStream(request.read()))

    return between


def other_body(request: httpx.Request) -> httpx.Request:
    return httpx.Request(request.method, request.url, headers=request.headers.raw, content=b"two books")


@pytest.mark.parametrize("made", EVERY)
def test_it_finds_that_a_body_was_changed_on_its_way(made: Any) -> None:
    client = test_client(made(), scopes=["write"])
    client.post("/orders", content=b"one book.")
    client.between = other_body
    refusal = client.refusal("POST", "/orders", content=b"one book.")
    assert (refusal.code, refusal.status) == ("body-mismatch", 400)


@pytest.mark.parametrize(
    ("header", "code"), [("content-digest", "wrong-binding"), ("authorization", "credentials-missing")]
)
def test_it_finds_that_a_header_was_lost_on_its_way(app: Any, header: str, code: str) -> None:
    client = test_client(app, scopes=["write"])
    client.between = without(header)
    assert client.refusal("POST", "/orders", content=b"one book.").code == code
    client.between = None
    assert client.post("/orders", content=b"one book.").status_code == 200


def test_it_finds_a_route_that_no_rule_guards() -> None:
    """The row says /order, the endpoint is at /orders: whoever has a ticket is served, and a test sees it."""
    client = test_client(OrthrosMiddleware(bare, origins=[ORIGIN], routes=[Route("/order", scopes=["write"])]), "eve")
    with pytest.raises(AssertionError, match="was not refused: 200"):
        client.refusal("POST", "/orders", content=b"one book")


def test_it_finds_a_scope_that_was_misspelt() -> None:
    app = OrthrosMiddleware(bare, origins=[ORIGIN], routes=[Route("/*", scopes=["raed"])])
    refusal = test_client(app, scopes=["read"]).refusal("GET", "/orders/7")
    assert (refusal.code, refusal.status) == ("insufficient-scope", 403)
    assert "lacks raed" in refusal.detail


def test_it_finds_that_a_service_forgot_to_accept_users() -> None:
    app = OrthrosMiddleware(bare, origins=[ORIGIN])
    assert test_client(app, for_user="alice").refusal("GET", "/orders/7").code == "user-not-accepted"
    assert test_client(app).get("/orders/7").status_code == 200


def test_it_finds_a_middleware_that_was_forgotten() -> None:
    with pytest.raises(LocalMisuse, match="no Orthros middleware is seen"):
        test_client(bare)
    client = test_client(Starlette(routes=[StarletteRoute("/", lambda _r: PlainTextResponse("x"))]), origin=ORIGIN)
    with pytest.raises(Exception, match="has no Orthros middleware"):
        client.get("/")


def test_it_finds_a_middleware_that_does_not_stand_outside() -> None:
    """At the start of the application, which a blocking client waits for."""
    app = FastAPI()

    class Greeter:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
            if scope["type"] != "http":
                return await self.app(scope, receive, send)
            return await PlainTextResponse("hello")(scope, receive, send)

    app.add_middleware(OrthrosMiddleware, **OPTIONS)
    app.add_middleware(Greeter)
    with pytest.raises(Misconfigured, match=r"does not start: unprotected"):
        test_client(app).get("/orders/7")


def test_dependencies_that_demand_scopes_are_asked() -> None:
    app = FastAPI()
    app.add_middleware(OrthrosMiddleware, origins=[ORIGIN])

    @app.get("/orders/{number}", dependencies=[Depends(require("read"))])
    def show(number: int) -> int:
        return number

    assert test_client(app, scopes=["read"]).get("/orders/7").json() == 7
    assert test_client(app).refusal("GET", "/orders/7").code == "insufficient-scope"


# Where it runs


@pytest.mark.trio
async def test_a_client_for_async_tests(app: Any) -> None:
    async with async_test_client(app, "shop", scopes=["read"]) as client:
        assert isinstance(client, AsyncTestClient)
        assert (await client.get("/orders/7")).json()["client"] == "shop"
        assert (await client.send_again()).code == "replayed"
        refusal = await client.refusal("POST", "/orders", content=b"x")
    assert (refusal.code, refusal.is_proven) == ("insufficient-scope", True)
    async with async_test_client(in_wsgi(), "shop", scopes=["read"]) as client:
        assert (await client.get("/orders/7?q=%C3%A9")).json()["client"] == "shop"
        with pytest.raises(AssertionError):
            await client.refusal("GET", "/health")


@pytest.mark.parametrize("made", [in_asgi, in_wsgi, in_fastapi])
@pytest.mark.parametrize("path", ["/orders/a%20b", "/orders/%C3%A9", "/orders/a:b?x=1&y=%2F"])
def test_paths_arrive_as_they_were_signed(made: Any, path: str) -> None:
    assert test_client(made(), scopes=["read"]).get(path).status_code == 200


def test_calls_without_http(realm: TestRealm) -> None:
    verifier = realm.verifier("ledger")
    served: list[str] = []

    def send(request: bytes) -> bytes:
        try:
            caller = verifier.accept(request, "entries/post", b"7")
        except Refused as error:
            return error.reply or b""
        served.append(caller.client.name)
        return caller.reply

    realm.credentials("till", "ledger", scopes=["post"]).call(send, "entries/post", b"7")
    assert served == ["till"]


def test_words_that_do_not_fit_are_said_at_once(app: Any) -> None:
    with pytest.raises(TypeError, match="no option 'scope'"):
        test_client(app, scope=["read"])  # type: ignore[call-arg]
    with pytest.raises(LocalMisuse, match="none of expired"):
        test_client(app, fault="rotten")  # type: ignore[arg-type]
    with pytest.raises(LocalMisuse, match="so no scopes"):
        test_client(app, None, scopes=["read"])
    with pytest.raises(Misconfigured, match="scope-invalid"):
        test_client(app, scopes="read")


def test_what_the_realm_replaces_it_puts_back(realm: TestRealm) -> None:
    """And without one running, nothing of it is left."""
    with TestRealm("inner") as inner:
        assert Verifier.from_environment().principal.name == "inner"
        with pytest.raises(LocalMisuse, match="runs already"):
            inner.start()
        with pytest.raises(LocalMisuse, match="not the innermost"):
            realm.stop()
    assert Verifier.from_environment().principal.name == "orders"
    realm.stop()
    try:
        with pytest.raises(Misconfigured, match="key-missing"):
            Verifier.from_environment()
        with pytest.raises(LocalMisuse, match="no test realm runs"):
            test_client(bare)
    finally:
        realm.start()


def test_the_key_of_a_shell_is_not_used_in_a_test(realm: TestRealm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTHROS_KEY_FILE", "/etc/orders.key")
    monkeypatch.setenv("ORTHROS_REPLAY_STORE", "redis://nowhere:1")
    assert test_client(in_asgi(), scopes=["read"]).get("/orders/7").status_code == 200
    assert os.environ["ORTHROS_KEY_FILE"] == "/etc/orders.key"
