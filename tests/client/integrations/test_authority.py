"""Users per request, delegable tickets, on whose behalf, and the trace that goes on: by each HTTP library."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import flask
import httpx
import pytest
import requests
from attrs import define, evolve, field, frozen
from werkzeug.serving import make_server

from orthros_client import Credentials, LocalMisuse, Misconfigured, TargetRefusal, VerifiedCaller
from orthros_client.http.propagation import serving
from orthros_client.integrations import wsgi
from orthros_client.integrations.aiohttp_auth import OrthrosAiohttpAuth
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.requests_auth import OrthrosRequestsAuth
from orthros_client.integrations.urllib3_auth import OrthrosPoolManager
from orthros_client.local.conversation import Token
from orthros_client.verifier import Verifier
from orthros_protocol.exchanges.ap_exchange import AssertedUser
from orthros_protocol.testing import CountingEntropy, InMemoryRealm
from orthros_protocol.testing.fakes import ManualStore
from orthros_protocol.tickets.attenuation import tail_of
from tests.support.http_target import RealmSource

SCOPES = ("assert-user", "read")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ROUTES = (wsgi.Route("/desk", accept_user=True),)


@define
class Source:
    """A client that propagates; `told` is what it was asked with besides target and scopes."""

    realm: InMemoryRealm
    propagate: bool = True
    told: list[dict[str, Any]] = field(factory=list)
    _held: Credentials | None = None

    def credentials(self, target: str, scopes: Iterable[str] | None = None, **options: Any) -> Credentials:
        self.told.append(options)
        if self._held is None:
            issued, plain = self.realm.issue("web", target, scopes=SCOPES), RealmSource(self.realm).credentials(target)
            tail = tail_of(issued.session_key, issued.ticket)
            self._held = evolve(plain, scopes=issued.scopes, ticket=issued.ticket, tail=tail)
        return self._held

    def token(self, target: str, scopes: Iterable[str] | None = None, **options: Any) -> Token:
        self.told.append(options)
        return RealmSource(self.realm).token(target)


@pytest.fixture
def realm() -> InMemoryRealm:
    realm = InMemoryRealm()
    for name in ("web", "orders", "portal"):
        realm.add(name)
    return realm


@define
class Shop:
    """`orders`, listening: what its handlers saw."""

    origin: str = ""
    callers: list[Any] = field(factory=list)
    traces: list[str | None] = field(factory=list)
    states: list[str | None] = field(factory=list)


@pytest.fixture
def shop(realm: InMemoryRealm) -> Iterator[Shop]:
    shop, holder = Shop(), list[Any]()
    application = flask.Flask(__name__)

    @application.get("/<path:rest>")
    def endpoint(rest: str) -> str:
        shop.callers.append(flask.request.environ["orthros.caller"])
        shop.traces.append(flask.request.headers.get("traceparent"))
        shop.states.append(flask.request.headers.get("tracestate"))
        return rest

    def guarded(environ: Any, start_response: Any) -> Any:
        return holder[0](environ, start_response)

    server = make_server("127.0.0.1", 0, guarded, threaded=True)
    shop.origin = f"http://127.0.0.1:{server.server_port}"
    clock = realm.clock.now
    verifier = Verifier(realm.keytab("orders"), clock=clock, monotonic_ms=clock, entropy=CountingEntropy(b"orders"))
    holder.append(wsgi.OrthrosWsgiMiddleware(application, verifier=verifier, origins=[shop.origin], routes=ROUTES))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield shop
    server.shutdown()
    thread.join()
    server.server_close()


Get = Callable[..., Any]


@frozen
class Answer:
    """As much of a response as the stories look at."""

    status_code: int


@contextmanager
def by_httpx() -> Iterator[tuple[Any, Get]]:
    with httpx.Client(trust_env=False) as client:
        yield OrthrosAuth, client.get


@contextmanager
def by_requests() -> Iterator[tuple[Any, Get]]:
    with requests.Session() as session:
        session.trust_env = False
        yield OrthrosRequestsAuth, session.get


@contextmanager
def by_urllib3() -> Iterator[tuple[Any, Get]]:
    def get(url: str, *, auth: OrthrosPoolManager, headers: dict[str, str] | None = None) -> Answer:
        return Answer(auth.request("GET", url, headers=headers).status)

    yield OrthrosPoolManager, get


@contextmanager
def by_aiohttp() -> Iterator[tuple[Any, Get]]:
    async def send(url: str, auth: OrthrosAiohttpAuth, headers: dict[str, str] | None) -> Answer:
        async with aiohttp.ClientSession(middlewares=[auth]) as session, session.get(url, headers=headers) as response:
            return Answer(response.status)

    def get(url: str, *, auth: OrthrosAiohttpAuth, headers: dict[str, str] | None = None) -> Answer:
        return asyncio.run(send(url, auth, headers))

    yield OrthrosAiohttpAuth, get


@pytest.fixture(params=[by_httpx, by_requests, by_urllib3, by_aiohttp])
def library(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Get]]:
    with request.param() as made:
        yield made


def served(realm: InMemoryRealm) -> VerifiedCaller:
    """A caller of `web`, as its middleware would have verified it."""
    clock = realm.clock.now
    verifier = Verifier(realm.keytab("web"), clock=clock, monotonic_ms=clock, replay=ManualStore(clock))
    source = RealmSource(realm, "portal")
    return verifier.accept(source.credentials("web").authenticate("x", safe=True).request, "x")


@pytest.mark.parity("P8", "L20")
def test_a_gateway_names_its_user_for_each_request(library: tuple[Any, Get], shop: Shop, realm: InMemoryRealm) -> None:
    """Under its own ticket, where the handler serves others."""
    make, get = library
    auth = make({shop.origin: "orders"}, client=Source(realm))
    alice, bob = auth.for_user("alice"), auth.for_user(AssertedUser("bob", 1))
    for each in (alice, bob, auth):
        assert get(f"{shop.origin}/desk", auth=each).status_code == 200
    assert [each.user for each in shop.callers] == [AssertedUser("alice", 2), AssertedUser("bob", 1), None]
    with pytest.raises(TargetRefusal, match="user-not-accepted"):
        get(f"{shop.origin}/till", auth=alice)
    for wrong in ("", "Alice Smith", "x" * 300, AssertedUser("alice", 3)):
        with pytest.raises(LocalMisuse):
            auth.for_user(wrong)


@pytest.mark.parity("P8")
def test_a_token_names_no_user(library: tuple[Any, Get], shop: Shop, realm: InMemoryRealm) -> None:
    """What cannot be said is not left out silently."""
    make, get = library
    auth = make({shop.origin: "orders"}, client=Source(realm), bearer=[shop.origin])
    with pytest.raises(LocalMisuse, match="names no user"):
        get(f"{shop.origin}/desk", auth=auth.for_user("alice"))
    assert shop.callers == []


@pytest.mark.parity("K18")
def test_what_the_client_is_asked(library: tuple[Any, Get], shop: Shop, realm: InMemoryRealm) -> None:
    """A ticket that may be passed on only for the origins that say so; on whose behalf only if somebody says."""
    make, get = library
    source = Source(realm)
    plain = make({shop.origin: "orders"}, client=source)
    passed_on = make({shop.origin: "orders"}, client=source, delegable=[shop.origin])
    caller = served(realm)
    for auth in (plain, passed_on, plain.on_behalf_of("alice"), plain.on_behalf_of(caller), plain.on_behalf_of(None)):
        get(f"{shop.origin}/desk", auth=auth)
    assert source.told == [{}, {"delegable": True}, {"behalf": "alice"}, {"behalf": caller}, {"behalf": None}]
    for wrong in ({"delegable": ["https://else.example"]}, {"delegable": [shop.origin], "bearer": [shop.origin]}):
        with pytest.raises(Misconfigured):
            make({shop.origin: "orders"}, client=source, **wrong)


@pytest.mark.parity("L20")
def test_the_trace_of_the_served_request_goes_on(library: tuple[Any, Get], shop: Shop, realm: InMemoryRealm) -> None:
    """With clients that propagate, and where nobody wrote another one; each call with a parent-id of its own."""
    make, get = library
    auth = make({shop.origin: "orders"}, client=Source(realm))
    silent = make({shop.origin: "orders"}, client=Source(realm), traceparent=False)
    plain = make({shop.origin: "orders"}, client=Source(realm, propagate=False))
    told = make({shop.origin: "orders"}, client=Source(realm, propagate=False), traceparent=True)
    mine = {"traceparent": f"00-{'1' * 32}-{'2' * 16}-00"}
    get(f"{shop.origin}/desk", auth=auth)
    with serving(served(realm), traceparent=f"00-{TRACE}-00f067aa0ba902b7-01"):
        for each in (auth, silent, plain, told):
            get(f"{shop.origin}/desk", auth=each)
        get(f"{shop.origin}/desk", auth=auth, headers=mine)
    outside, first, *without, second, own = shop.traces
    assert [outside, *without, own] == [None, None, None, mine["traceparent"]]
    assert [(each or "").split("-")[:2] for each in (first, second)] == [["00", TRACE]] * 2
    assert len({first, second, f"00-{TRACE}-00f067aa0ba902b7-01"}) == 3
    assert shop.states == [None] * 6


@pytest.mark.parity("L23")
def test_work_in_the_own_name_may_outlive_its_request(
    library: tuple[Any, Get], shop: Shop, realm: InMemoryRealm
) -> None:
    """A background task that says `None` goes on, without the trace of a request that has ended."""
    make, get = library
    source = Source(realm)
    auth = make({shop.origin: "orders"}, client=source).on_behalf_of(None)
    told = make({shop.origin: "orders"}, client=Source(realm, propagate=False), traceparent=True)
    with serving(served(realm)) as request:
        pass
    with request.active():
        for each in (auth, told):
            assert get(f"{shop.origin}/desk", auth=each).status_code == 200
    assert source.told == [{"behalf": None}]
    assert shop.traces == [None, None]


@pytest.mark.parity("L20")
def test_others_are_told_no_trace(shop: Shop, realm: InMemoryRealm) -> None:
    """Which requests belong together is for targets, not for every site that a service reads."""
    auth = OrthrosAuth({shop.origin: "orders"}, client=Source(realm), pass_others=True)
    with serving(served(realm)):
        flow = auth.sync_auth_flow(httpx.Request("GET", "https://else.example/"))
        assert "traceparent" not in next(flow).headers
        flow.close()
