"""Tickets that demand a discharge, over HTTP: the client collects, the discharger is served in one line."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import flask
import httpx
import pytest
import requests
import trio
from attrs import define, field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route as Path_
from werkzeug.serving import make_server

from orthros_client import Attested, Credentials, Discharger, DischargeRefused, Question, Refused, TargetRefusal
from orthros_client.credentials.discharging import Discharges
from orthros_client.errors import PeerMisbehaved, Unavailable
from orthros_client.http.client.discharges import MEDIA_TYPE, PATH
from orthros_client.integrations import asgi, wsgi
from orthros_client.integrations.aiohttp_auth import OrthrosAiohttpAuth
from orthros_client.integrations.asgi_discharges import DischargeEndpoint
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.requests_auth import OrthrosRequestsAuth
from orthros_client.integrations.urllib3_auth import OrthrosPoolManager
from orthros_client.integrations.wsgi_discharges import WsgiDischargeEndpoint
from orthros_client.local.conversation import Token
from orthros_protocol.tickets.caveats import PathCaveat
from tests.support import asgi_server, wsgi_server
from tests.support.asgi_transport import InProcess
from tests.support.http_caller import HttpCaller
from tests.support.parties import PREDICATE, HostClock, Parties

ORDERS, APPROVALS, EVIL = "https://orders.test", "https://approvals.test", "https://evil.test"


@define
class Office:
    """What `Client` is: `web`'s credentials from the realm, the same for a target until its end."""

    parties: Parties
    held: dict[str, Credentials] = field(factory=dict)
    asked: list[tuple[str, dict[str, Any]]] = field(factory=list)

    def credentials(self, target: str, scopes: Iterable[str] | None = None, **options: Any) -> Credentials:
        self.asked.append((target, options))
        name = target.partition("@")[0]
        return self.held.setdefault(name, self.parties.credentials("web", name))

    def token(self, target: str, scopes: Iterable[str] | None = None) -> Token:
        raise NotImplementedError


pytestmark = pytest.mark.usefixtures("either_httpx")


@define
class Rule:
    """What the discharger attests; `asked` are the questions."""

    attested: Attested | None = field(factory=lambda: Attested(lifetime_s=60))
    asked: list[Question] = field(factory=list)

    def __call__(self, question: Question) -> Attested | None:
        self.asked.append(question)
        return self.attested


@pytest.fixture
def parties() -> Parties:
    parties = Parties()
    parties.realm.allow("web", "orders", "read", discharges=[("approvals", PREDICATE)])
    return parties


def discharger_of(parties: Parties, rule: Any) -> Discharger:
    return parties.discharger(rule)


def starlette_of(parties: Parties, name: str, rule: Any = None) -> asgi.OrthrosMiddleware:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse(f"{name} for {request.scope['orthros.caller'].client.name}")

    app: Any = Starlette(routes=[Path_("/{rest:path}", endpoint)])
    if rule is not None:
        app = DischargeEndpoint(app, discharger=discharger_of(parties, rule))
    return asgi.OrthrosMiddleware(app, verifier=parties.verifier(name), origins=[f"https://{name}.test"])


def transport_of(parties: Parties, rule: Any, **others: Any) -> InProcess:
    apps = {ORDERS: starlette_of(parties, "orders"), APPROVALS: starlette_of(parties, "approvals", rule)}
    return InProcess(apps | others)


def auth_of(office: Office, **options: Any) -> OrthrosAuth:
    return OrthrosAuth({ORDERS: "orders"}, client=office, **({"dischargers": {"approvals": APPROVALS}} | options))


def sent_to(transport: InProcess, host: str) -> list[httpx.Request]:
    return [request for request in transport.seen if request.url.host == host]


@pytest.mark.parity("L8")
async def test_a_discharge_is_collected_once_and_shown_each_time(parties: Parties) -> None:
    """By the authentication itself, with a ticket of its own, over the client that makes the call."""
    rule, office = Rule(), Office(parties)
    transport = transport_of(parties, rule)
    headers = {"X-Secret": "of orders", "Cookie": "a=b"}
    async with httpx.AsyncClient(auth=auth_of(office), transport=transport, headers=headers) as client:
        for _ in range(2):
            assert (await client.get(f"{ORDERS}/7", timeout=3)).text == "orders for web"
    (question,) = rule.asked
    assert (str(question.about), question.predicate, question.adder) == ("web@test.realm", PREDICATE, None)
    asked = sent_to(transport, "approvals.test")
    assert [(one.method, one.url.path) for one in asked] == [("POST", PATH)] * 2  # the first one learns the epoch
    for one in asked:
        assert one.content == office.held["orders"].demands[0]
        assert not {"x-secret", "cookie"} & set(one.headers)
        assert one.extensions["timeout"]["read"] == 3
    assert len(sent_to(transport, "orders.test")) == 3


@pytest.mark.parity("L8")
def test_objects_made_of_one_authentication_share_what_is_collected(parties: Parties) -> None:
    """Also those for users and subjects."""
    rule, office = Rule(), Office(parties)
    transport = transport_of(parties, rule)
    auth = auth_of(office)

    async def calls() -> None:
        async with httpx.AsyncClient(transport=transport) as client:
            for each in (auth, auth.on_behalf_of(None), auth):
                assert (await client.get(f"{ORDERS}/7", auth=each)).status_code == 200

    trio.run(calls)
    assert len(rule.asked) == 1


@pytest.mark.parity("L8")
async def test_a_refusal_of_the_discharger_is_told_and_remembered(parties: Parties) -> None:
    """With its own words; the target hears nothing."""

    def attest(_question: Question) -> Attested | None:
        asked.append(1)
        raise Refused("discharge-refused", "release 7 waits for its tests")

    asked: list[int] = []
    transport = transport_of(parties, attest)
    async with httpx.AsyncClient(auth=auth_of(Office(parties)), transport=transport) as client:
        for _ in range(2):
            with pytest.raises(DischargeRefused, match="waits for its tests") as caught:
                await client.get(f"{ORDERS}/7")
            assert caught.value.discharger.name == "approvals"
            assert caught.value.detail == f"{caught.value.discharger}: release 7 waits for its tests"
    assert asked == [1]
    assert sent_to(transport, "orders.test") == []


@pytest.mark.parametrize("options", [{"dischargers": None}, {"dischargers": {"approvals@other.realm": APPROVALS}}])
async def test_a_demand_is_shown_to_nobody_but_its_discharger(options: dict[str, Any], parties: Parties) -> None:
    transport = transport_of(parties, Rule())
    async with httpx.AsyncClient(auth=auth_of(Office(parties), **options), transport=transport) as client:
        with pytest.raises(Refused, match=r"approvals@test\.realm") as caught:
            await client.get(f"{ORDERS}/7")
        assert caught.value.code == "discharger-unknown"
    assert transport.seen == []


@pytest.mark.parity("L11")
async def test_a_redirect_does_not_lead_a_demand_elsewhere(parties: Parties) -> None:
    """Not even with a client that follows redirects, and methods and bodies with them."""

    async def away(_request: Request) -> Response:
        return RedirectResponse(f"{EVIL}{PATH}", 307)

    seen: list[Any] = []

    async def evil(request: Request) -> Response:
        seen.append(await request.body())
        return PlainTextResponse("got it")

    def plain(endpoint: Any) -> Starlette:
        return Starlette(routes=[Path_("/{rest:path}", endpoint, methods=["GET", "POST"])])

    transport = transport_of(parties, Rule(), **{APPROVALS: plain(away), EVIL: plain(evil)})
    client = httpx.AsyncClient(auth=auth_of(Office(parties)), transport=transport, follow_redirects=True)
    async with client:
        with pytest.raises(PeerMisbehaved, match="redirect"):
            await client.get(f"{ORDERS}/7")
    assert seen == []


@pytest.mark.parity("L8")
async def test_collecting_does_not_go_round_in_circles(parties: Parties) -> None:
    """A ticket to the discharger that demands one in its turn."""
    parties.realm.allow("web", "approvals", "read", discharges=[("approvals", PREDICATE)])
    transport = transport_of(parties, Rule())
    async with httpx.AsyncClient(auth=auth_of(Office(parties)), transport=transport) as client:
        with pytest.raises(DischargeRefused, match="not nested"):
            await client.get(f"{ORDERS}/7")
    assert transport.seen == []


@pytest.mark.parity("L8")
async def test_what_the_target_refuses_is_asked_for_again(parties: Parties) -> None:
    """A discharge whose caveats do not fit is not kept for ever."""
    rule = Rule(Attested(lifetime_s=60, caveats=[PathCaveat("/8")]))
    transport = transport_of(parties, rule)
    async with httpx.AsyncClient(auth=auth_of(Office(parties)), transport=transport) as client:
        with pytest.raises(TargetRefusal, match="caveat-refused"):
            await client.get(f"{ORDERS}/7")
        rule.attested = Attested(lifetime_s=60)
        assert (await client.get(f"{ORDERS}/7")).status_code == 200
    assert len(rule.asked) == 2


async def test_a_service_that_is_no_discharger_says_so(parties: Parties) -> None:
    transport = transport_of(parties, None)

    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        await asgi_server.respond(send, 404, b"no such page")

    guarded = asgi.OrthrosMiddleware(nothing, verifier=parties.verifier("approvals"), origins=[APPROVALS])
    transport.apps = dict(transport.apps) | {APPROVALS: guarded}
    async with httpx.AsyncClient(auth=auth_of(Office(parties)), transport=transport) as client:
        with pytest.raises((DischargeRefused, PeerMisbehaved), match="approvals"):
            await client.get(f"{ORDERS}/7")


@pytest.mark.parity("L8")
@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_an_answer_that_could_grow_is_not_read(coding: str, parties: Parties) -> None:
    """A discharger is trusted with its word, not with this program's memory."""
    read: list[bytes] = []

    class Watched(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            read.append(b"x")
            yield gzip.compress(bytes(1000))

    class Network(InProcess):
        async def handle_async_request(self, request: Any) -> Any:
            response = await super().handle_async_request(request)
            if response.status_code == 200 and request.url.host == "approvals.test":
                response.stream = Watched()
            return response

    async def packed(_request: Request) -> Response:
        return Response(gzip.compress(bytes(1000)), headers={"Content-Encoding": coding, "Content-Type": MEDIA_TYPE})

    app = Starlette(routes=[Path_("/{rest:path}", packed, methods=["POST"])])
    guarded = asgi.OrthrosMiddleware(app, verifier=parties.verifier("approvals"), origins=[APPROVALS])
    transport = Network({ORDERS: starlette_of(parties, "orders"), APPROVALS: guarded})
    async with httpx.AsyncClient(auth=auth_of(Office(parties)), transport=transport) as client:
        with pytest.raises(PeerMisbehaved, match="Content-Encoding"):
            await client.get(f"{ORDERS}/7")
    assert read == []


@pytest.mark.parity("L8")
@pytest.mark.parametrize("length", ["000000000999999999", "+5", "5, 5", " 5", "5_0", "9" * 18, None, "10"])
async def test_an_answer_is_limited_whatever_its_length_says(length: str | None, parties: Parties) -> None:
    """Zeros in front passed a limit that looked at the first digits; one that lies is cut while it is read."""
    read: list[int] = []

    class Watched(httpx.AsyncByteStream):
        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            read.append(16 * 1024)
            return bytes(16 * 1024)

    class Network(InProcess):
        async def handle_async_request(self, request: Any) -> Any:
            response = await super().handle_async_request(request)
            if response.status_code == 200 and request.url.host == "approvals.test":
                del response.headers["Content-Length"]
                if length is not None:
                    response.headers["Content-Length"] = length
                response.stream = Watched()
            return response

    transport = Network(transport_of(parties, Rule()).apps)
    async with httpx.AsyncClient(auth=auth_of(Office(parties)), transport=transport) as client:
        with pytest.raises(PeerMisbehaved, match="has a length, up to 64 KiB"):
            await client.get(f"{ORDERS}/7")
    assert sum(read) == (80 * 1024 if length == "10" else 0)


@pytest.mark.parity("L8")
async def test_one_call_pays_for_a_discharger_that_is_away(parties: Parties) -> None:
    """And the next ones go on with what is in hand, as long as it is good."""
    dead: list[int] = []

    class Network(InProcess):
        async def handle_async_request(self, request: Any) -> Any:
            if dead and request.url.host == "approvals.test":
                dead.append(1)
                raise httpx.ConnectError("nobody listens", request=request)
            return await super().handle_async_request(request)

    transport = Network(transport_of(parties, Rule()).apps)
    auth = auth_of(Office(parties))
    auth._discharges = Discharges(clock=HostClock(parties.realm.clock))
    async with httpx.AsyncClient(auth=auth, transport=transport) as client:
        assert (await client.get(f"{ORDERS}/7")).status_code == 200
        parties.realm.clock.advance(55)
        dead.append(0)
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{ORDERS}/7")
        assert (await client.get(f"{ORDERS}/7")).status_code == 200
        assert dead == [0, 1]
        parties.realm.clock.advance(5)
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{ORDERS}/7")


@pytest.mark.parity("L8")
async def test_a_handler_without_its_discharger_has_failed_itself(parties: Parties) -> None:
    """Its caller did nothing wrong, and is told so under proof; it learns nothing of whom the service asks."""

    async def endpoint(_request: Request) -> Response:
        auth = auth_of(Office(parties), dischargers=None)
        async with httpx.AsyncClient(auth=auth, transport=InProcess({})) as client:
            await client.get(f"{ORDERS}/7")
        raise AssertionError("it went out")

    portal = "https://auditors.test"
    app = Starlette(routes=[Path_("/{rest:path}", endpoint)])
    guarded = asgi.OrthrosMiddleware(app, verifier=parties.verifier("auditors"), origins=[portal])
    auth = OrthrosAuth({portal: "auditors"}, client=Office(parties))
    async with httpx.AsyncClient(auth=auth, transport=InProcess({portal: guarded})) as client:
        answer = await client.get(f"{portal}/7")
    assert answer.status_code == 500
    assert "approvals" not in answer.text


class Boundless:
    """Answers demands, in the place of a `Discharger`, with `size` bytes of which the head says otherwise."""

    def __init__(self, length: str, size: int = 1 << 20) -> None:
        self._length = length
        self._size = size

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", MEDIA_TYPE), ("Content-Length", self._length)])
        return [bytes(self._size)]


@pytest.mark.parametrize("length", ["000000000001048576", "1048576"])
def test_an_answer_to_requests_is_limited_as_well(length: str, parties: Parties) -> None:
    with listening(parties, "orders") as orders, listening(parties, "approvals", app=Boundless(length)) as approvals:
        options: dict[str, Any] = {"client": Office(parties), "dischargers": {"approvals": approvals}}
        with requests.Session() as session, pytest.raises(PeerMisbehaved, match="has a length, up to 64 KiB"):
            session.get(f"{orders}/7", auth=OrthrosRequestsAuth({orders: "orders"}, **options))


@contextmanager
def listening(parties: Parties, name: str, rule: Any = None, app: Any = None) -> Iterator[str]:
    """A Flask application behind the middleware, on a loopback port. Yields its origin."""
    application = flask.Flask(name)

    @application.get("/<path:rest>")
    def endpoint(rest: str) -> str:
        return f"{name} for {flask.request.environ['orthros.caller'].client.name}"

    holder: list[Any] = []

    def guarded(environ: Any, start_response: Any) -> Any:
        return holder[0](environ, start_response)

    server = make_server("127.0.0.1", 0, guarded, threaded=True)
    origin = f"http://127.0.0.1:{server.server_port}"
    app = app or application
    if rule is not None:
        app = WsgiDischargeEndpoint(app, discharger=discharger_of(parties, rule))
    holder.append(wsgi.OrthrosWsgiMiddleware(app, verifier=parties.verifier(name), origins=[origin]))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield origin
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parity("L8")
def test_requests_collects_as_well(parties: Parties) -> None:
    """With a session of its own, in whose way neither a .netrc nor the caller's headers are."""
    rule = Rule()
    with listening(parties, "orders") as orders, listening(parties, "approvals", rule) as approvals:
        options: dict[str, Any] = {"client": Office(parties), "dischargers": {"approvals@test.realm": approvals}}
        with requests.Session() as session, requests.Session() as other:
            other.auth = ("somebody", "else")
            session.trust_env = other.trust_env = False
            session.auth = OrthrosRequestsAuth({orders: "orders"}, discharge_session=other, **options)
            for _ in range(2):
                assert session.get(f"{orders}/7").text == "orders for web"
        assert len(rule.asked) == 1
        rule.attested = None
        with httpx.Client(auth=OrthrosAuth({orders: "orders"}, **options), trust_env=False) as client:
            with pytest.raises(DischargeRefused, match="release 7 approved"):
                client.get(f"{orders}/7")
            rule.attested = Attested(lifetime_s=60)
        with httpx.Client(auth=OrthrosAuth({orders: "orders"}, **options), trust_env=False) as client:
            assert client.get(f"{orders}/7").text == "orders for web"


def get_by_urllib3(url: str, targets: dict[str, str], **options: Any) -> str:
    pool = OrthrosPoolManager(targets, **options)
    try:
        return str(pool.request("GET", url, timeout=10).data.decode())
    finally:
        pool.close()


def get_by_aiohttp(url: str, targets: dict[str, str], **options: Any) -> str:
    async def get() -> str:
        auth = OrthrosAiohttpAuth(targets, **options)
        async with aiohttp.ClientSession(middlewares=[auth]) as session, session.get(url) as response:
            return await response.text()

    return asyncio.run(get())


@pytest.mark.parity("L8", "O12")
@pytest.mark.parametrize("get", [get_by_urllib3, get_by_aiohttp])
def test_other_libraries_collect_over_the_connections_of_the_call(get: Any, parties: Parties) -> None:
    """What the discharger gave, its refusal in its words, and an answer that is too long."""
    rule = Rule()
    with (
        listening(parties, "orders") as orders,
        listening(parties, "approvals", rule) as approvals,
        listening(parties, "approvals", app=Boundless("100000", 100_000)) as boundless,
    ):
        targets, office = {orders: "orders"}, Office(parties)
        assert get(f"{orders}/7", targets, client=office, dischargers={"approvals": approvals}) == "orders for web"
        (question,) = rule.asked
        assert (str(question.about), question.predicate) == ("web@test.realm", PREDICATE)
        rule.attested = None
        with pytest.raises(DischargeRefused, match="release 7 approved"):
            get(f"{orders}/7", targets, client=office, dischargers={"approvals": approvals})
        with pytest.raises(Refused, match="discharger-unknown"):
            get(f"{orders}/7", targets, client=office)
        with pytest.raises(PeerMisbehaved, match="has a length, up to 64 KiB"):
            get(f"{orders}/7", targets, client=office, dischargers={"approvals": boundless})


def test_a_discharger_that_is_away_is_unavailable_to_requests(parties: Parties) -> None:
    with listening(parties, "orders") as orders:
        with listening(parties, "approvals", Rule()) as approvals:
            pass
        auth = OrthrosRequestsAuth(
            {orders: "orders"}, client=Office(parties), dischargers={"approvals": approvals}
        )  # fmt: skip
        with requests.Session() as session, pytest.raises(Unavailable, match="approvals"):
            session.get(f"{orders}/7", auth=auth)


ILL_FORMED = {
    "another method": ("PUT", MEDIA_TYPE, b"x"),
    "another type": ("POST", "text/plain", b"x"),
    "no demand": ("POST", MEDIA_TYPE, b""),
    "too long": ("POST", MEDIA_TYPE, b"x" * 4097),
    "no demand of ours": ("POST", MEDIA_TYPE, b"x" * 100),
}


def by_hand(parties: Parties) -> HttpCaller:
    return HttpCaller.of(
        parties.realm.issue("web", "approvals"), origin=("https", "approvals.test:443"), clock=parties.realm.clock.now
    )


@pytest.mark.parity("L8")
@pytest.mark.parametrize("case", ILL_FORMED.values(), ids=ILL_FORMED)
async def test_what_is_no_demand_is_refused_under_proof(case: tuple[str, str, bytes], parties: Parties) -> None:
    """By either interface, and the rule is not asked."""
    method, kind, body = case
    rule = Rule()
    over_asgi = starlette_of(parties, "approvals", rule)
    over_wsgi = wsgi.OrthrosWsgiMiddleware(
        WsgiDischargeEndpoint(flask.Flask("x"), discharger=discharger_of(parties, rule)),
        verifier=parties.verifier("approvals"), origins=[APPROVALS],
    )  # fmt: skip

    async def ask_wsgi(call: Any) -> Any:
        return wsgi_server.ask(over_wsgi, call)

    async def ask_asgi(call: Any) -> Any:
        return (await asgi_server.ask(over_asgi, call)).received

    for ask in (ask_wsgi, ask_asgi):
        caller = by_hand(parties)
        first = caller.call("OPTIONS", PATH.encode(), flags=0)
        caller.refusal(first, await ask(first))
        call = caller.call(method, PATH.encode(), headers=[("content-type", kind.encode())], body=body)
        answer = await ask(call)
        caller.open(call, answer)
        assert (answer.status, json.loads(answer.body)["code"]) == (403, "discharge-refused")
    assert rule.asked == []


@pytest.mark.parity("L12")
async def test_without_a_middleware_nothing_is_attested(parties: Parties) -> None:
    """Whoever forgot it answers nobody."""
    rule = Rule()
    call = by_hand(parties).call("POST", PATH.encode(), headers=[("content-type", MEDIA_TYPE.encode())], body=b"x")
    bare = DischargeEndpoint(Starlette(), discharger=discharger_of(parties, rule))
    assert (await asgi_server.ask(bare, call)).status == 401
    bare_wsgi = WsgiDischargeEndpoint(flask.Flask("x"), discharger=discharger_of(parties, rule))
    assert wsgi_server.ask(bare_wsgi, call).status == 401
    assert rule.asked == []
