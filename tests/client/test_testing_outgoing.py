"""A service under test calls another one: answered in this process, with tickets that the test has granted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
import requests
from fastapi import FastAPI
from flask import Flask

from orthros_client import AsyncClient, Client, Limits, LocalMisuse, TicketRefused
from orthros_client.integrations import flask as flask_guard
from orthros_client.integrations.asgi import OrthrosMiddleware, Route
from orthros_client.integrations.flask import current_caller
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.requests_auth import OrthrosRequestsAuth
from orthros_client.integrations.starlette import answer_failed_calls
from orthros_client.testing import TestRealm, test_client

ORDERS, LEDGER = "https://orders.example", "https://ledger.example"
TARGETS = {LEDGER: "ledger"}


@pytest.fixture(autouse=True)
def realm() -> Iterator[TestRealm]:
    with TestRealm("orders") as realm:
        yield realm


@pytest.fixture(params=["asgi", "wsgi"])
def ledger(request: pytest.FixtureRequest, realm: TestRealm) -> Any:
    """Says who called, for whom, by which path, and what came."""
    routes = [Route("/entries", scopes=["post"], accept_user=True)]

    def told(caller: Any, body: bytes) -> dict[str, Any]:
        subject = None if caller.subject is None else caller.subject.principal.name
        return {"client": caller.client.name, "for": subject, "path": list(caller.path), "body": body.decode()}

    if request.param == "wsgi":
        with realm.serving("ledger"):  # its middleware takes its key at once
            app = Flask("ledger")

            @app.post("/entries")
            def entries() -> dict[str, Any]:
                from flask import request as heard

                return told(current_caller(), heard.get_data())

            flask_guard.protect(app, origins=[LEDGER], routes=routes)
            return app

    async def served(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        body = json.dumps(told(scope["orthros.caller"], message["body"])).encode()
        await send({"type": "http.response.body", "body": body})

    with realm.serving("ledger"):
        return OrthrosMiddleware(served, origins=[LEDGER], routes=routes)


@pytest.fixture
def orders() -> FastAPI:
    """Calls the ledger in every way."""
    app = FastAPI()
    app.add_middleware(OrthrosMiddleware, origins=[ORDERS], routes=[Route("/*", accept_user=True)])
    answer_failed_calls(app)
    auth = OrthrosAuth(TARGETS, client=AsyncClient(propagate=True))
    blocking = OrthrosAuth(TARGETS, client=Client(propagate=True))

    @app.post("/httpx")
    async def by_httpx() -> Any:
        async with httpx.AsyncClient(auth=auth) as session:
            return (await session.post(f"{LEDGER}/entries", content=b"7")).json()

    @app.post("/blocking")
    def by_blocking_httpx() -> Any:
        with httpx.Client(auth=blocking) as session:
            return session.post(f"{LEDGER}/entries", content=b"7").json()

    @app.post("/httpx2")
    async def by_httpx2() -> Any:
        async with httpx2.AsyncClient(auth=auth) as session:
            return (await session.post(f"{LEDGER}/entries", content=b"7")).json()

    @app.post("/requests")
    def by_requests() -> Any:
        with requests.Session() as session:
            session.auth = OrthrosRequestsAuth(TARGETS, client=Client(propagate=True))
            return session.post(f"{LEDGER}/entries", data="7").json()

    @app.post("/own")
    def in_the_own_name() -> Any:
        with httpx.Client(auth=blocking.on_behalf_of(None)) as session:
            return session.post(f"{LEDGER}/entries", content=b"7").json()

    return app


@pytest.mark.parity("O7")
@pytest.mark.parametrize("way", ["httpx", "blocking", "httpx2", "requests"])
def test_a_call_on_behalf_of_the_caller_is_answered_in_process(
    realm: TestRealm, orders: FastAPI, ledger: Any, way: str
) -> None:
    realm.answer(LEDGER, ledger, service="ledger", scopes=["post", "read"])
    shop = test_client(orders, "shop", delegable=True)
    assert shop.post(f"/{way}").json() == {"client": "orders", "for": "shop", "path": ["shop", "orders"], "body": "7"}
    alice = test_client(orders, "shop", for_user="alice", via=["web"], delegable=True)
    assert alice.post(f"/{way}").json()["path"] == ["web", "shop", "orders"]


def test_a_call_in_the_own_name(realm: TestRealm, orders: FastAPI, ledger: Any) -> None:
    realm.answer(LEDGER, ledger, service="ledger", scopes=["post"])
    assert test_client(orders).post("/own").json()["for"] is None


def test_what_the_test_does_not_grant_is_not_obtained(realm: TestRealm, orders: FastAPI, ledger: Any) -> None:
    """The service's answer to its own caller is what it would be with a KDC."""
    shop = test_client(orders, "shop", delegable=True)
    assert (shop.post("/httpx").status_code, shop.post("/own").status_code) == (403, 502)
    realm.answer(LEDGER, ledger, service="ledger", scopes=["post"])
    assert shop.post("/httpx").status_code == 200
    assert test_client(orders, "shop").post("/httpx").status_code in (403, 502)  # no delegable ticket, no evidence
    realm.refuse("ledger", "rate-limited")
    assert shop.post("/httpx").status_code == 503
    realm.reset()
    realm.answer(LEDGER, ledger, service="ledger", scopes=["read"])
    assert shop.post("/httpx").json()["code"] == "insufficient-scope"  # what the ledger answered, handed on


def test_the_service_is_refused_by_the_other_one(realm: TestRealm, orders: FastAPI, ledger: Any) -> None:
    realm.answer(LEDGER, ledger, service="ledger", scopes=["post"])
    shop = test_client(orders, "shop", delegable=True)
    shop.post("/httpx")
    realm.clock.advance(7200)
    realm.restart("ledger")
    assert shop.post("/httpx").status_code == 200


def test_a_client_that_is_asked_directly(realm: TestRealm, ledger: Any) -> None:
    realm.answer(LEDGER, ledger, service="ledger", scopes=["post", "read"])
    client = Client()
    held = client.credentials("ledger", ["post", "admin"], limits=Limits(methods=["POST"]))
    assert (held.client.name, held.scopes, len(held.caveats)) == ("orders", ("post",), 1)
    assert client.credentials("ledger").scopes == ("post", "read")
    assert client.credentials("ledger", behalf="alice").subject is not None
    with pytest.raises(TicketRefused, match="no-scope-left"):
        client.credentials("ledger", ["admin"])
    with pytest.raises(TicketRefused, match=r"TestRealm\.answer"):
        client.credentials("payroll")
    with pytest.raises(LocalMisuse, match="no JWTs"):
        client.token("ledger")


def test_other_origins_are_the_networks() -> None:
    """Nothing listens there: the kit passes it on."""
    with pytest.raises(httpx.ConnectError), httpx.Client() as session:
        session.get("http://127.0.0.1:9")
    with pytest.raises(requests.ConnectionError):
        requests.get("http://127.0.0.1:9", timeout=5)


@pytest.mark.trio
async def test_other_origins_are_the_networks_for_async_clients() -> None:
    async with httpx.AsyncClient() as session:
        with pytest.raises(httpx.ConnectError):
            await session.get("http://127.0.0.1:9")
