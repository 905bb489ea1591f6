"""The operations that are counted: each line of the bench that runs in one process, and five whole journeys."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shlex
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import trio
import trio.testing

from orthros_client.cli.__main__ import main as orthros
from orthros_client.integrations.asgi import OrthrosMiddleware
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.integrations.wsgi import OrthrosWsgiMiddleware
from orthros_client.verifier import Verifier
from orthros_kdc.admin import rules
from orthros_kdc.config import LimitSettings
from orthros_kdc.ports.native_port import Server
from orthros_protocol.exchanges.ap_exchange import USE_RAW, ApRequest, open_ap_reply, sign_ap_request
from orthros_protocol.exchanges.as_exchange import build_as_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.exchanges.replay import Entry, ReplaySet
from orthros_protocol.exchanges.wants import Want
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.framing import frame
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import KDC_TGT, Principal
from orthros_protocol.testing import InMemoryRealm, IssuedTicket, ManualClock
from orthros_tools.admin.__main__ import main as orthros_admin
from tests.client.integrations.test_three_services import open_town
from tests.measure.calls import TIMES, Calls, counted, counted_async
from tests.support.behalf_bench import open_journey
from tests.support.kdc_bench import REALM, KdcBench, Login, open_bench
from tests.support.processes import found_realm, open_estate
from workshop.bench import http_overhead, policy_load
from workshop.bench.epochs import epoch_of

__all__ = ["count_all"]

_ENDPOINT, _PAYLOAD = "orders/submit", b"one book, please"
_ORIGIN: Final = "https://orders.example"


def count_all() -> Iterator[tuple[str, Calls]]:
    """Each operation by its name, in the order of the table."""
    yield from _library()
    yield from _policy()
    yield from trio.run(_kdc)
    yield from _http()
    yield from _commands()
    yield from trio.run(_delegated)


def _library() -> Iterator[tuple[str, Calls]]:
    realm = InMemoryRealm("corp.example", clock=ManualClock())
    realm.add("billing")
    verifier = Verifier(realm.add("orders").verify_only(), clock=realm.clock.now, replay="memory")
    ticket = realm.issue("billing", "orders", scopes=("read", "write"))
    epoch, bind = epoch_of(verifier), bind_raw(_ENDPOINT, _PAYLOAD)

    def build(under: IssuedTicket) -> Any:
        request = ApRequest(
            use=USE_RAW, ticket=under.ticket, bind=bind, ts=realm.clock.now(), nonce=os.urandom(16), epoch=epoch
        )
        return sign_ap_request(request, under.pop_key)

    waiting = iter([build(realm.issue("billing", "orders", scopes=("read", "write"))).message for _ in range(TIMES)])
    yield "accept, first sight", counted(lambda: verifier.accept(next(waiting), _ENDPOINT, _PAYLOAD))
    known = iter([build(ticket).message for _ in range(TIMES)])
    yield "accept, ticket seen before", counted(lambda: verifier.accept(next(known), _ENDPOINT, _PAYLOAD))
    pending = build(ticket)
    caller = verifier.accept(pending.message, _ENDPOINT, _PAYLOAD)
    open_ap_reply(pending, caller.reply)
    yield "AP-REP for an accepted request", counted(lambda: caller.reply)
    yield "build an AP-REQ", counted(lambda: build(ticket))
    replay, now = ReplaySet(capacity=1000, per_client=1000), realm.clock.now()
    yield "replay set, admit", counted(lambda: replay.admit(Entry(os.urandom(16), now, "billing"), now))


def _policy() -> Iterator[tuple[str, Calls]]:
    policy = policy_load.policy_of(10_000, 1_000)
    for words, again in (("pair not seen before", False), ("pair seen before", True)):
        yield f"decide by 10,000 rules, {words}", counted(partial(policy_load.decided, policy, again=again))


async def _kdc() -> list[tuple[str, Calls]]:
    """From the bytes of a frame to the bytes of its answer."""
    found: list[tuple[str, Calls]] = []
    bench = await open_bench()
    await bench.add("shop", "orders", *(f"service-{number}" for number in range(16)))
    await rules.allow(bench.admin, "shop", "orders", scopes=("read",))
    for number in range(16):
        await rules.allow(bench.admin, "shop", f"service-{number}", scopes=("read",))
    login = await bench.log_in("shop")
    many = [Want(target=Principal(REALM, f"service-{number}")) for number in range(16)]
    for name, ask in (
        ("AS exchange, socket to bytes", partial(_as_message, bench)),
        (
            "TGS exchange, socket to bytes",
            partial(_tgs_message, bench, login, [Want(target=Principal(REALM, "orders"))]),
        ),
        ("TGS exchange, batch of 16", partial(_tgs_message, bench, login, many)),
    ):
        found.append((name, await _served(bench, ask)))
    journey = await open_journey()
    evidence = journey.evidence(await journey.obtain("web", "orders"))
    between = await journey.login("orders")

    def on_behalf() -> bytes:
        want = Want(target=Principal(REALM, "ledger"))
        return journey.kdc.tgs_request(between, want, behalf=evidence).message

    found.append(("TGS exchange with evidence", await _served(journey.kdc, on_behalf)))
    return found


def _as_message(bench: KdcBench) -> bytes:
    key = bench.as_key("shop")
    return build_as_request(
        key, service=KDC_TGT, ttl_s=0, instance=bytes(16), now=bench.clock.now(), nonce=os.urandom(16)
    ).message


def _tgs_message(bench: KdcBench, login: Login, wants: list[Want]) -> bytes:
    return bench.tgs_request(login, *wants).message


async def _served(bench: KdcBench, ask: Callable[[], bytes]) -> Calls:
    """What a connection to a KDC's port costs the KDC for one request."""
    server = Server(bench.service.answer, bench.service.turn_away, bench.service.reject, LimitSettings())
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = await trio.testing.open_stream_to_socket_listener(listener)
    frames = iter([frame(ask()) for _ in range(TIMES)])
    async with listener, client, trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, await listener.accept())

        async def once() -> None:
            await client.send_all(next(frames))
            await _receive_frame(client)

        calls = await counted_async(once)
        nursery.cancel_scope.cancel()
    return calls


async def _receive_frame(stream: trio.abc.ReceiveStream) -> None:
    """Four bytes of length and what they announce, read by hand: the product's own reader would be counted."""
    data = b""
    while len(data) < 4 or len(data) < 4 + int.from_bytes(data[:4]):
        piece = bytes(await stream.receive_some(1 << 16))
        if not piece:
            raise RuntimeError("the KDC ended the connection")
        data += piece


def _http() -> Iterator[tuple[str, Calls]]:
    realm = InMemoryRealm("corp.example", clock=ManualClock(Timestamp(time.time_ns() // 1_000_000)))
    realm.add("billing")
    verifier = Verifier(realm.add("orders").verify_only(), replay="memory")
    guarded = OrthrosMiddleware(http_overhead.service, verifier=verifier, origins=[_ORIGIN])
    caller = http_overhead.Caller(realm)
    authorizations = http_overhead.authenticators(caller, epoch_of(verifier))
    scopes = iter([http_overhead.scope_of(next(authorizations)) for _ in range(TIMES)])

    async def answer() -> None:
        sent = await http_overhead.answered(guarded, next(scopes))
        if sent[0]["status"] != 200:
            raise RuntimeError("the request was refused")

    yield "ASGI request, whole answer", trio.run(counted_async, answer)
    with asyncio.Runner() as runner:
        transport = http_overhead.InProcess(guarded, runner.get_loop())
        auth = OrthrosAuth({_ORIGIN: "orders"}, client=caller)
        with httpx.Client(transport=transport, auth=auth, base_url=_ORIGIN) as client:
            both = counted(lambda: client.get(http_overhead.TARGET.decode("ascii")).raise_for_status())
    yield "httpx request and its ASGI answer", both


async def _delegated() -> list[tuple[str, Calls]]:
    """gateway, orders and ledger in one process with the daemons of the first two: everything warm."""
    async with open_town() as town, town.gateway() as gateway:

        async def call() -> None:
            (await gateway.get("/orders")).raise_for_status()

        return [("delegated call through two services", await counted_async(call))]


def _commands() -> Iterator[tuple[str, Calls]]:
    """From the words of a command to its output."""
    with tempfile.TemporaryDirectory(prefix="orthros-measure-") as folder:
        with contextlib.redirect_stdout(io.StringIO()):
            founded = found_realm(Path(folder))
        with open_estate(founded) as estate:
            for number in range(TIMES):
                _run(orthros_admin, f"--config {estate.config} principal add target-{number} --out {folder}/{number}")
            numbers = count()
            allow = f"--config {estate.config} policy allow shop target-{{}} --scope read --scope write --jwt"
            yield "orthros-admin policy allow", counted(lambda: _run(orthros_admin, allow.format(next(numbers))))
            estate.start_kdc()
            estate.start_daemon()
            with _service(Keytab.load(estate.key_file("orders.verify.key"))) as origin:
                call = f"call --socket {estate.folder}/shop.sock --target orders {origin}/orders/7"
                yield "orthros call", counted(lambda: _run(orthros, call))


@contextlib.contextmanager
def _service(keytab: Keytab) -> Iterator[str]:
    """A service in another thread, whose calls are not counted. Yields its origin."""

    def application(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
        return [b"done\r\n"]

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
    origin = f"http://127.0.0.1:{server.server_port}"
    server.set_app(OrthrosWsgiMiddleware(application, verifier=Verifier(keytab, replay="memory"), origins=[origin]))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield origin
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _run(program: Callable[[list[str]], int], words: str) -> None:
    out = io.TextIOWrapper(io.BytesIO())
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as said:
        code = program(shlex.split(words))
    if code:
        raise RuntimeError(f"`{words}` ended with {code}: {said.getvalue()}")
