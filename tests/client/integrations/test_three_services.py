"""gateway -> orders -> ledger, on behalf of a user: three services, each with its own daemon, over real middlewares."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
from attrs import define, field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path_

from orthros_client import AsyncClient, Credentials, TargetRefusal, Verifier
from orthros_client.backoff import Backoff
from orthros_client.daemon.agent import Agent
from orthros_client.daemon.kdc.pool import KdcAddress, KdcPool
from orthros_client.daemon.kdc.session import KdcSession
from orthros_client.daemon.listeners.allow_list import AllowList
from orthros_client.daemon.listeners.local_api import LocalApi
from orthros_client.daemon.listeners.local_server import LocalServer
from orthros_client.daemon.listeners.shares import ListenerShares
from orthros_client.http.propagation import serving
from orthros_client.http.server.routes import Route
from orthros_client.integrations.asgi import OrthrosMiddleware
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.starlette import answer_failed_calls
from orthros_client.local.conversation import Token
from orthros_client.verifier import VerifiedCaller
from orthros_protocol.testing import CountingEntropy
from orthros_protocol.tickets.call_chain import ChainRule
from orthros_runtime.clocks import HostClock
from orthros_runtime.serving.sockets import open_unix_listener
from tests.client.house import listener_for
from tests.client.http.world import Lines
from tests.client.world import DaemonClock, KdcClock, Network
from tests.support.asgi_transport import InProcess
from tests.support.ruled_realm import RuledRealm

ORDERS, LEDGER = "https://orders.test", "https://ledger.test"


@define
class Ledger:
    """The last service: remembers whom it saw."""

    seen: list[VerifiedCaller] = field(factory=list)
    traces: list[str] = field(factory=list)
    states: list[str | None] = field(factory=list)

    async def __call__(self, request: Request) -> Response:
        self.seen.append(request.scope["orthros.caller"])
        self.traces.append(request.headers.get("traceparent", ""))
        self.states.append(request.headers.get("tracestate"))
        return JSONResponse({"booked": True})


@define
class Orders:
    """The one in between: calls the ledger while it is called, by the library alone."""

    client: httpx.AsyncClient
    seen: list[VerifiedCaller] = field(factory=list)
    traces: list[str] = field(factory=list)

    async def __call__(self, request: Request) -> Response:
        self.seen.append(request.scope["orthros.caller"])
        self.traces.append(request.headers.get("traceparent", ""))
        booked = await self.client.request(request.method, f"{LEDGER}/entries")
        return JSONResponse(booked.json(), booked.status_code)


@define
class Narrowed:
    """The gateway's client; hands out its tickets under these caveats."""

    client: AsyncClient
    limits: dict[str, Any] = field(factory=dict)

    async def credentials(self, target: str, scopes: Iterable[str] | None = None, **options: Any) -> Credentials:
        found = await self.client.credentials(target, scopes, **options)
        return found.narrow(**self.limits) if self.limits else found

    async def token(self, target: str, scopes: Iterable[str] | None = None) -> Token:
        raise NotImplementedError


@define
class Town:
    """Everything running. `gateway` is what the gateway's handlers would use."""

    realm: RuledRealm
    orders: Orders
    ledger: Ledger
    transport: InProcess
    clients: dict[str, AsyncClient]

    def gateway(self, subject: str | None = "alice", *, delegable: bool = True, **limits: Any) -> httpx.AsyncClient:
        auth = OrthrosAuth(
            {ORDERS: "orders"},
            client=Narrowed(self.clients["gateway"], limits),
            delegable=[ORDERS] if delegable else [],
            traceparent=True,
        )
        if subject is not None:
            auth = auth.on_behalf_of(subject)
        return httpx.AsyncClient(auth=auth, transport=self.transport, base_url=ORDERS)


def realm_of_three() -> RuledRealm:
    realm = RuledRealm(clock=KdcClock())
    for name in ("gateway", "orders", "ledger", "audit"):
        realm.add(name)
    realm.allow("gateway", "orders", "read", "write", delegable=True, subjects=["alice"])
    realm.allow("orders", "ledger", "read", "write", "close-books", behalf=True)
    return realm


@asynccontextmanager
async def open_town(*, ledger_route: Route = Route("/*", accept_user=True)) -> AsyncIterator[Town]:  # noqa: B008  # frozen
    realm, ledger = realm_of_three(), Ledger()
    ahead_ms = HostClock().wall_ms() - KdcClock().now()
    with tempfile.TemporaryDirectory(prefix="orthros-test-") as folder:
        async with trio.open_nursery() as nursery:
            async with AsyncExitStack() as stack:
                clients = {}
                for name in ("gateway", "orders"):
                    socket = f"{folder}/{name}.sock"
                    await start_daemon(nursery, realm, name, socket, ahead_ms)
                    client = AsyncClient(socket, propagate="or-own-name" if name == "orders" else False)
                    clients[name] = await stack.enter_async_context(client)
                transport = InProcess({})
                onward = OrthrosAuth({LEDGER: "ledger"}, client=clients["orders"])
                orders = Orders(await stack.enter_async_context(httpx.AsyncClient(auth=onward, transport=transport)))
                transport.apps = {
                    ORDERS: guarded(realm, "orders", orders, [Route("/*", accept_user=True)]),
                    LEDGER: guarded(realm, "ledger", ledger, [ledger_route]),
                }
                yield Town(realm, orders, ledger, transport, clients)
            nursery.cancel_scope.cancel()


async def start_daemon(nursery: trio.Nursery, realm: RuledRealm, name: str, socket: str, ahead_ms: int) -> None:
    clock, entropy = DaemonClock(ahead_ms), CountingEntropy(name.encode())
    pool = KdcPool((KdcAddress.parse("tcp://kdc-a:1"),), clock, Network(realm, nursery).connect)
    agent = Agent(KdcSession(realm.keytab(name), pool, clock, entropy), clock, entropy, backoff=Backoff())
    await nursery.start(agent.run)
    listener = listener_for(LocalServer(LocalApi(agent, clock, AllowList(os.geteuid()))), ListenerShares(most=64))
    await nursery.start(listener.serve, open_unix_listener(socket, 0o666))


def guarded(
    realm: RuledRealm, name: str, endpoint: Any, routes: list[Route], *, log: Lines | None = None
) -> OrthrosMiddleware:
    methods = ["GET", "POST", "DELETE"]
    app = Starlette(routes=[Path_("/{rest:path}", endpoint.__call__, methods=methods)])
    if log is not None:
        answer_failed_calls(app, log=log)
    verifier = Verifier(realm.keytab(name).verify_only(), clock=realm.clock.now, entropy=CountingEntropy(name.encode()))
    return OrthrosMiddleware(app, verifier=verifier, origins=[f"https://{name}.test"], routes=routes)


@pytest.mark.parity("K18", "L20")
async def test_the_ledger_sees_for_whom_through_whom_and_in_which_transaction() -> None:
    """The user that the gateway asserted, the gateway in the chain, one transaction from end to end."""
    async with open_town() as town, town.gateway() as gateway:
        answer = await gateway.post("/orders", json={"item": 7})
        assert (answer.status_code, answer.json()) == (200, {"booked": True})
        (at_orders,), (at_ledger,) = town.orders.seen, town.ledger.seen
        assert str(at_ledger.client) == "orders@test.realm"
        subject = at_ledger.subject
        assert subject is not None
        assert (str(subject.principal), subject.how) == ("alice@test.realm", 2)
        assert [str(hop.principal) for hop in at_ledger.chain] == ["gateway@test.realm"]
        assert at_ledger.act == ("orders@test.realm", "gateway@test.realm")
        assert at_ledger.path == ("gateway", "orders")
        assert at_ledger.transaction_id == at_orders.transaction_id


@pytest.mark.parity("L20")
@pytest.mark.parametrize("flags", ["00", "01"])
async def test_one_trace_from_end_to_end_is_the_one_that_the_request_came_with(flags: str) -> None:
    """Of the request, where the transaction is of the login: two requests are two traces and one transaction."""
    traces = ["4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"]
    async with open_town() as town, town.gateway() as gateway:
        for trace in traces:
            with serving(None, traceparent=f"00-{trace}-00f067aa0ba902b7-{flags}"):
                assert (await gateway.get("/orders", headers={"tracestate": "vendor=1"})).status_code == 200
        told = [each.split("-") for each in (*town.orders.traces, *town.ledger.traces)]
        assert [(version, trace, sampled) for version, trace, _parent, sampled in told] == [
            ("00", trace, flags) for trace in (*traces, *traces)
        ]
        parents = {parent for _version, _trace, parent, _sampled in told}
        assert len(parents - {"00f067aa0ba902b7"}) == len(told)
        assert len({one.transaction_id for one in (*town.orders.seen, *town.ledger.seen)}) == 1
        assert town.ledger.states == [None, None]  # orders has put nothing into it, and passes nothing on


@pytest.mark.parity("L20")
async def test_a_request_without_a_trace_begins_one_that_its_calls_share() -> None:
    """Made once for each request that is served; nothing of it follows from the transaction."""
    async with open_town() as town, town.gateway() as gateway:

        async def twice(_request: Request) -> Response:
            for _ in range(2):
                assert (await town.orders.client.get(f"{LEDGER}/entries")).status_code == 200
            return JSONResponse({})

        town.transport.apps = dict(town.transport.apps) | {
            ORDERS: guarded(town.realm, "orders", Endpoint(twice), [Route("/*", accept_user=True)])
        }
        for bad in ({}, {"traceparent": "00-junk"}):
            assert (await gateway.get("/orders", headers=bad)).status_code == 200
        ids = [trace.split("-")[1] for trace in town.ledger.traces]
        assert ids[0] == ids[1] != ids[2] == ids[3]
        assert len({one.transaction_id for one in town.ledger.seen}) == 1
        assert town.ledger.seen[0].transaction_id not in ids


@pytest.mark.parity("K18")
async def test_without_a_subject_the_caller_itself_is_it() -> None:
    """What orders calls while the gateway calls it, it calls for the gateway."""
    async with open_town() as town, town.gateway(None) as gateway:
        assert (await gateway.get("/orders")).status_code == 200
        subject = town.ledger.seen[0].subject
        assert subject is not None
        assert (str(subject.principal), subject.how) == ("gateway@test.realm", 1)


@pytest.mark.parity("L20")
async def test_an_own_call_afterwards_is_in_the_own_name() -> None:
    """The ticket on behalf of alice stays hers, also in the caches of client and daemon."""
    async with open_town() as town, town.gateway() as gateway:
        assert (await gateway.get("/orders")).status_code == 200
        assert (await town.orders.client.get(f"{LEDGER}/entries")).status_code == 200
        assert (await gateway.get("/orders")).status_code == 200
        seen = [
            (None if one.subject is None else one.subject.principal.name, len(one.chain)) for one in town.ledger.seen
        ]
        assert seen == [("alice", 1), (None, 0), ("alice", 1)]
        own, behalf = town.ledger.seen[1], town.ledger.seen[0]
        assert own.transaction_id != behalf.transaction_id
        assert town.ledger.traces[1] == ""
        assert own.scopes == {"read", "write", "close-books"}


@pytest.mark.parity("L20")
async def test_two_users_at_once_are_two_subjects() -> None:
    """Neither their tickets nor their transactions meet in what orders holds."""
    async with open_town() as town:
        town.realm.allow("gateway", "orders", "read", delegable=True, subjects=["alice", "bob"])

        async def call(subject: str) -> None:
            async with town.gateway(subject) as gateway:
                for _ in range(3):
                    assert (await gateway.get("/orders")).status_code == 200

        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, "alice")
            nursery.start_soon(call, "bob")
        pairs = {
            (one.subject.principal.name, one.transaction_id)
            for one in (*town.ledger.seen, *town.orders.seen)
            if one.subject is not None
        }
        assert sorted(name for name, _transaction in pairs) == ["alice", "bob"]


@pytest.mark.parity("L23", "K18")
async def test_orders_cannot_be_made_to_shed_a_restriction() -> None:
    """The confused deputy. What the gateway left of its ticket is all that orders gets for it."""
    async with open_town() as town, town.gateway(scopes=["read"], lifetime=60) as gateway:
        assert (await gateway.post("/orders")).status_code == 200
        (seen,) = town.ledger.seen
        assert seen.scopes == {"read"}
        assert seen.expires_at - town.realm.clock.now() / 1000 <= 60
        await town.orders.client.post(f"{LEDGER}/entries")
        assert town.ledger.seen[1].scopes == {"read", "write", "close-books"}


@pytest.mark.parity("L23", "K18")
async def test_a_restriction_that_would_be_lost_is_a_refusal_all_the_way_back() -> None:
    """A caller that may only GET gets no POST through orders, and learns why; the ledger hears nothing."""
    async with open_town() as town, town.gateway(methods=["GET"]) as gateway:
        refused = await gateway.get("/orders")
        assert (refused.status_code, refused.json()["code"]) == (403, "caveat-not-carried")
        assert town.ledger.seen == []
        assert len(town.orders.seen) == 1


@pytest.mark.parity("K18")
async def test_who_did_not_ask_to_be_spoken_for_is_not() -> None:
    """Orders serves the gateway, and cannot go on in its name; nor does it go on in its own."""
    async with open_town() as town, town.gateway(delegable=False) as gateway:
        refused = await gateway.get("/orders")
        assert (refused.status_code, refused.json()["code"]) == (403, "evidence-refused")
        assert town.ledger.seen == []


@pytest.mark.parity("P8")
async def test_a_subject_that_no_rule_lets_the_gateway_name_gets_nowhere() -> None:
    """A forged subject is refused by the KDC, before anybody is called."""
    async with open_town() as town, town.gateway("mallory") as gateway:
        with pytest.raises(Exception, match="subject-refused"):
            await gateway.get("/orders")
        assert town.orders.seen == []


@pytest.mark.parity("M5")
@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (ChainRule(deny_via=["gateway"]), "it came through gateway"),
        (ChainRule(require_via=["audit"]), "it did not come through audit"),
        (ChainRule(max_depth=0), "at most 0"),
    ],
)
async def test_the_ledger_has_rules_of_its_own_for_paths(rule: ChainRule, says: str) -> None:
    """What the KDC issued all the same, the target refuses: under MAC, to orders."""
    async with open_town(ledger_route=Route("/*", accept_user=True, chain=rule)) as town, town.gateway() as gateway:
        refusals: list[TargetRefusal] = []

        async def endpoint(_request: Request) -> Response:
            with pytest.raises(TargetRefusal, match="chain-refused") as caught:
                await town.orders.client.get(f"{LEDGER}/entries")
            refusals.append(caught.value)
            return JSONResponse({})

        town.transport.apps = dict(town.transport.apps) | {
            ORDERS: guarded(town.realm, "orders", Endpoint(endpoint), [Route("/*", accept_user=True)])
        }
        assert (await gateway.get("/orders")).status_code == 200
        assert says in refusals[0].detail
        assert town.ledger.seen == []


@pytest.mark.parity("M8")
@pytest.mark.parametrize("accepts", [True, False])
async def test_a_service_without_rules_for_paths_serves_chains_where_it_serves_others(accepts: bool) -> None:
    """Chains need no configuration to be let through, and a handler that did not opt in refuses them."""
    async with open_town(ledger_route=Route("/*", accept_user=accepts)) as town, town.gateway() as gateway:
        if not accepts:
            failed = await gateway.get("/orders")
            assert failed.status_code == 500  # orders' own failure: nothing of it is told to the gateway
            assert "user-not-accepted" not in failed.text
        else:
            assert (await gateway.get("/orders")).status_code == 200
        assert len(town.ledger.seen) == accepts


@pytest.mark.parity("B2", "L20")
async def test_a_refusal_further_down_is_told_where_the_service_says_so() -> None:
    """403 under proof with the code; whom it was for and what would help is in the log of orders."""
    async with open_town(ledger_route=Route("/*")) as town, town.gateway() as gateway:
        log, routes = Lines(), [Route("/*", accept_user=True)]
        town.transport.apps = dict(town.transport.apps) | {
            ORDERS: guarded(town.realm, "orders", town.orders, routes, log=log)
        }
        at_target = await gateway.get("/orders")
        town.realm.deny("orders", "ledger")
        town.realm.allow("gateway", "orders", "read", delegable=True, subjects=["bob"])
        async with town.gateway("bob") as another:
            at_kdc = await another.get("/orders")
        told = [(each.status_code, each.json()["error"], each.json()["code"]) for each in (at_target, at_kdc)]
        assert told == [(403, "onward_refused", "user-not-accepted"), (403, "onward_refused", "not-granted")]
        assert b"alice" not in at_target.content + at_kdc.content
        (_event, first), (_event, second) = log.lines
        assert (first["ref"], first["subject"]) == (at_target.json()["reference"], "alice@test.realm")
        assert "orthros-admin policy explain orders ledger --behalf bob --via gateway" in str(second["remedy"])
        # What orders asks for itself and does not get is its own trouble.
        async with town.gateway(None) as nobody:
            town.orders.client.auth = OrthrosAuth({LEDGER: "ledger"}, client=town.clients["orders"]).on_behalf_of(None)
            own = await nobody.get("/orders")
        assert (own.status_code, own.json()["code"]) == (502, "not-granted")


@define
class Endpoint:
    """A function in the place of an application."""

    function: Any

    async def __call__(self, request: Request) -> Response:
        response: Response = await self.function(request)
        return response
