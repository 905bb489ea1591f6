"""Django: scopes per view, sync and async, behind the WSGI and the ASGI middleware."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import django  # type: ignore[import-untyped]
import pytest
from django.conf import settings  # type: ignore[import-untyped]
from django.core.handlers.asgi import ASGIHandler  # type: ignore[import-untyped]
from django.core.handlers.wsgi import WSGIHandler  # type: ignore[import-untyped]
from django.http import HttpRequest, HttpResponse, JsonResponse  # type: ignore[import-untyped]
from django.test.utils import override_settings  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]

from orthros_client.errors import Failure, TicketRefused
from orthros_client.http.server.routes import Route
from orthros_client.integrations import asgi
from orthros_client.integrations.django import caller_of, require
from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware
from orthros_client.verifier.bearer import BearerVerifier
from tests.client.http.world import House
from tests.support.asgi_server import Exchanged, scope_of
from tests.support.http_caller import Call, HttpCaller, Received
from tests.support.wsgi_server import ask

JWK = {"kty": "oct", "kid": "k1", "alg": "HS256", "use": "sig", "k": "A" * 43}


@require("read")
def read(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"for": str(request.orthros.client), "same": caller_of(request) is request.orthros})


@require("write")
def write(request: HttpRequest) -> HttpResponse:
    raise AssertionError("reached without its scope")


@require("write")
async def write_async(request: HttpRequest) -> HttpResponse:
    raise AssertionError("reached without its scope")


def inside(request: HttpRequest) -> HttpResponse:
    request.orthros.require("write")
    return HttpResponse()


def calls_on(request: HttpRequest) -> HttpResponse:
    raise TicketRefused(Failure.refused("not-granted"))


def broken(request: HttpRequest) -> HttpResponse:
    raise KeyError("a bug")


def body(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


urlpatterns = [
    path("read", read), path("write", write), path("write-async", write_async), path("inside", inside),
    path("body", body), path("calls-on", calls_on),
    path("broken", broken),
]  # fmt: skip


@pytest.fixture(scope="module")
def application() -> Iterator[WSGIHandler]:
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["orders.test"])
        django.setup(set_prefix=False)
    with override_settings(
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["orders.test"],
        MIDDLEWARE=["orthros_client.integrations.django.CallerMiddleware"],
    ):
        yield WSGIHandler()


def met(house: House, app: Any) -> HttpCaller:
    caller = house.caller()
    call = caller.call("OPTIONS", flags=0)
    assert caller.refusal(call, ask(app, call)).code == "epoch-required"
    return caller


def get(app: Any, caller: HttpCaller, target: bytes) -> Received:
    call = caller.call("GET", target)
    received = ask(app, call)
    caller.open(call, received)
    return received


def ask_async(app: Any, call: Call) -> Received:
    seen = Exchanged()

    async def exchange() -> None:
        gone = asyncio.Event()
        pending: list[dict[str, Any]] = [{"type": "http.request", "body": call.body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if pending:
                return pending.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            seen.sent.append(message)

        await app(scope_of(call), receive, send)

    asyncio.run(exchange())
    return seen.received


@pytest.mark.parity("L19")
def test_scopes_of_a_view(application: WSGIHandler) -> None:
    house = House()
    app = OrthrosWsgiMiddleware(application, **house.settings())
    caller = met(house, app)
    assert json.loads(get(app, caller, b"/read").body) == {"for": "billing@test.realm", "same": True}
    for target in (b"/write", b"/write-async", b"/inside"):
        received = get(app, caller, target)
        assert (received.status, json.loads(received.body)["error"]) == (403, "insufficient_scope")
    assert get(app, caller, b"/calls-on").status == 500  # refused elsewhere: no fault of this caller


@pytest.mark.parity("B2")
@pytest.mark.parametrize("first", ["CallerMiddleware", "FailedCallsMiddleware"])
def test_a_call_that_a_view_made_and_did_not_get(first: str, application: WSGIHandler) -> None:
    """502 with the code, under proof; refusals of its own caller stay what they are, in either order."""
    both = ["CallerMiddleware", "FailedCallsMiddleware"]
    names = [first, *(name for name in both if name != first)]
    with override_settings(MIDDLEWARE=[f"orthros_client.integrations.django.{name}" for name in names]):
        house = House()
        app = OrthrosWsgiMiddleware(WSGIHandler(), **house.settings())
        caller = met(house, app)
        refused = get(app, caller, b"/calls-on")
        assert (refused.status, json.loads(refused.body)["code"]) == (502, "not-granted")
        assert json.loads(get(app, caller, b"/inside").body)["error"] == "insufficient_scope"
        assert get(app, caller, b"/broken").status == 500
        house = House()
        outer = asgi.OrthrosMiddleware(ASGIHandler(), **house.settings())
        caller = house.caller()
        first_call = caller.call("OPTIONS", flags=0)
        caller.refusal(first_call, ask_async(outer, first_call))
        call = caller.call("GET", b"/calls-on")
        received = ask_async(outer, call)
        caller.open(call, received)
        assert (received.status, json.loads(received.body)["code"]) == (502, "not-granted")


def test_another_body_is_a_refusal(application: WSGIHandler) -> None:
    house = House()
    app = OrthrosWsgiMiddleware(application, **house.settings())
    caller = met(house, app)
    call = caller.call("POST", b"/body", body=b"pay 1")
    received = ask(app, call, body=b"pay 9")
    caller.open(call, received)
    assert (received.status, json.loads(received.body)["code"]) == (400, "body-mismatch")


def test_without_a_middleware_nobody_is_served(application: WSGIHandler) -> None:
    received = ask(application, House().caller().call("GET", b"/read"))
    assert (received.status, received.header("www-authenticate")) == (401, b'Orthros realm="none"')


@pytest.mark.parametrize(
    "authorization", [None, b"Basic YTpi", b"Orthros", b'Orthros v=1, h="", r="AAAA"', b"Bearer x"]
)
def test_every_401_says_what_is_expected(authorization: bytes | None, application: WSGIHandler) -> None:
    """Django has one line for a name, so the challenges of two schemes are a list."""
    bearer = BearerVerifier(JWK, audience="orders", issuer="https://kdc.test")
    routes = [Route("/read", public=True, schemes=["orthros", "bearer"])]
    house = House()
    app = OrthrosWsgiMiddleware(application, **house.settings(bearer=bearer, routes=routes))
    call = house.caller().call("GET", b"/read").without("authorization")
    received = ask(app, call if authorization is None else call.with_header("authorization", authorization))
    challenge = received.header("www-authenticate")
    if authorization == b"Orthros":
        assert received.status == 400
    elif authorization in (None, b"Basic YTpi"):
        assert (received.status, challenge) == (401, b'Orthros realm="test.realm", Bearer realm="test.realm"')
    elif authorization == b"Bearer x":
        assert (received.status, challenge) == (401, b'Bearer realm="test.realm", error="invalid_token"')
    else:
        assert (received.status, challenge) == (401, b'Orthros realm="test.realm"')


def test_the_same_views_under_asgi(application: WSGIHandler) -> None:
    """The handler is Django's own; only what stands around it differs."""
    house = House()
    app = asgi.OrthrosMiddleware(ASGIHandler(), **house.settings())
    caller = house.caller()
    first = caller.call("OPTIONS", flags=0)
    caller.refusal(first, ask_async(app, first))
    for target, expected in ((b"/read", 200), (b"/write", 403), (b"/write-async", 403), (b"/inside", 403)):
        call = caller.call("GET", target)
        received = ask_async(app, call)
        caller.open(call, received)
        assert received.status == expected
