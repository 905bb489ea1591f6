"""Bytes that never become a request cost their source what a malformed message costs, on both ports, and are recorded
as the rejections of strangers are. Over real sockets, with real deadlines that are short."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio
import trustme
from attrs import evolve

from orthros_kdc.http.connections import HttpServer
from orthros_kdc.http.senders import TrustedProxies
from orthros_kdc.ports.native_port import Server
from orthros_protocol.primitives.framing import frame
from orthros_runtime.serving.sockets import open_tcp_listener
from tests.kdc.http.test_refusals import app_before
from tests.support.http_port import FORM, LIMITS, Got, Wire, request
from tests.support.kdc_bench import KdcBench, open_bench
from tests.support.oauth_bench import Tokens, open_tokens

SHORT = evolve(LIMITS, read_deadline_s=0.3)
BURST = 3
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
"""The beginning of a ClientHello."""
BODY = request("POST", "/token", *FORM, ("content-length", "500"), body=b"grant_type=")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@asynccontextmanager
async def listening(server: HttpServer | Server) -> AsyncIterator[Callable[[], Awaitable[trio.SocketStream]]]:
    listener = open_tcp_listener("127.0.0.1", 0)
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve, [listener])
        with trio.fail_after(60):
            yield partial(trio.open_tcp_stream, "127.0.0.1", port)
        nursery.cancel_scope.cancel()


async def ends(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        while await stream.receive_some():
            pass


async def probe(stream: trio.abc.HalfCloseableStream) -> Got:
    wire = Wire(stream)
    await wire.send(request("GET", "/livez"))
    got = await wire.receive(to="GET")
    assert got is not None
    return got


async def trusting(stream: trio.SocketStream, authority: trustme.CA) -> Any:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    secure = trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)
    await secure.do_handshake()
    return secure


def distrust(address: tuple[str, int]) -> None:
    """A client that knows no authority: trio's would end without an alert."""
    with socket.create_connection(address) as sock:
        ssl.create_default_context(cadata=trustme.CA().cert_pem.bytes().decode()).wrap_socket(sock, server_hostname="x")


def require_counted(tokens: Tokens, code: str, detail: str) -> None:
    found = [(row["code"], row.get("detail", ""), row["source"]) for row in tokens.events("request-rejected")]
    assert found[:BURST] == [(code, detail, "127.0.0.1")] * BURST
    assert {row[0] for row in found[BURST:]} == {"rate-limited"}


NO_HTTP = "this is not HTTP/1.1 as RFC 9112 has it"


@pytest.mark.parametrize(
    ("sent", "is_ended", "code", "detail"),
    [
        (b"nonsense\r\n\r\n", False, "malformed", NO_HTTP),
        (b"GET /livez HTTP/1.1\r\nhost: x\r\n", True, "malformed", NO_HTTP),
        (b"GET /livez HTTP/1.1\r\nhost: x\r\n", False, "connection-truncated", "no whole request came"),
        (BODY, True, "malformed", NO_HTTP),
    ],
    ids=["nonsense", "half a head", "half a head that stalls", "half a body"],
)
async def test_what_is_no_http_request_is_paid_for(sent: bytes, is_ended: bool, code: str, detail: str) -> None:
    tokens = await open_tokens(burst=BURST)
    async with listening(HttpServer(app_before(tokens), tokens.service.reject, SHORT)) as connect:
        for _ in range(BURST):
            async with await connect() as stream:
                await stream.send_all(sent)
                if is_ended:
                    await stream.send_eof()
                await ends(stream)
        async with await connect() as stream:
            assert (await probe(stream)).status == 429
    require_counted(tokens, code, detail)


@pytest.mark.parametrize("is_ended", [True, False], ids=["ends", "stalls"])
async def test_half_a_body_behind_a_proxy_costs_whom_the_proxy_names(is_ended: bool) -> None:
    """Else a stranger behind a proxy that passes bodies on as they come takes the share of the proxy's own probes."""
    tokens = await open_tokens(burst=BURST)
    app = app_before(tokens)
    app.proxies = TrustedProxies(["127.0.0.1"])
    head = (*FORM, ("content-length", "500"), ("x-forwarded-for", "203.0.113.9"))
    async with listening(HttpServer(app, tokens.service.reject, SHORT)) as connect:
        for _ in range(BURST + 1):
            async with await connect() as stream:
                await stream.send_all(request("POST", "/token", *head, body=b"grant_type="))
                if is_ended:
                    await stream.send_eof()
                await ends(stream)
        async with await connect() as stream:
            assert (await probe(stream)).status == 200
    rows = tokens.events("request-rejected")
    assert {row["source"] for row in rows} == {"203.0.113.9"}
    assert rows[-1]["code"] == "rate-limited"


async def test_a_head_that_is_too_large_costs_a_token_for_each_kilobyte() -> None:
    tokens = await open_tokens(burst=20)
    async with listening(HttpServer(app_before(tokens), tokens.service.reject, SHORT)) as connect:
        async with await connect() as stream:
            await stream.send_all(b"GET /livez HTTP/1.1\r\nx: " + b"y" * 20_000)
            await ends(stream)
        statuses = []
        for _ in range(5):
            async with await connect() as stream:
                statuses.append((await probe(stream)).status)
    assert statuses[-1] == 429
    assert tokens.events("request-rejected")[0]["detail"] == "the headers are too large"


@pytest.mark.parametrize(
    ("sent", "is_ended", "told"),
    [
        (HELLO, False, ("connection-truncated", "no whole TLS handshake came")),
        (HELLO, True, ("connection-truncated", "no whole TLS handshake came")),
        (b"GET /livez HTTP/1.1\r\n\r\n", False, ("malformed", "TLS: HTTP_REQUEST")),
    ],
    ids=["stalls", "ends", "no TLS"],
)
async def test_a_tls_handshake_that_fails_is_paid_for(
    authority: trustme.CA, tls: ssl.SSLContext, sent: bytes, is_ended: bool, told: tuple[str, str]
) -> None:
    tokens = await open_tokens(burst=BURST)
    async with listening(HttpServer(app_before(tokens), tokens.service.reject, SHORT, tls)) as connect:
        for _ in range(BURST):
            async with await connect() as stream:
                await stream.send_all(sent)
                if is_ended:
                    await stream.send_eof()
                await ends(stream)
        async with await connect() as stream:
            assert (await probe(await trusting(stream, authority))).status == 429
    require_counted(tokens, *told)


async def test_a_client_that_does_not_trust_the_certificate_is_told_in_the_log(tls: ssl.SSLContext) -> None:
    """The cause is on the client's side, and the KDC's operator sees it."""
    tokens = await open_tokens(burst=BURST)
    async with listening(HttpServer(app_before(tokens), tokens.service.reject, SHORT, tls)) as connect:
        async with await connect() as stream:
            address = stream.socket.getpeername()
        for _ in range(BURST):
            with pytest.raises(ssl.SSLCertVerificationError):
                await trio.to_thread.run_sync(distrust, address)
        async with await connect() as stream:
            await stream.send_all(HELLO)
            await ends(stream)
    rows = tokens.events("request-rejected")
    assert [row.get("detail") for row in rows] == ["TLS: TLSV1_ALERT_UNKNOWN_CA"] * BURST + [None]


async def test_requests_over_one_connection_pay_for_themselves_alone(
    authority: trustme.CA, tls: ssl.SSLContext
) -> None:
    """Neither a handshake before a request nor the end of a connection counts."""
    tokens = await open_tokens(burst=BURST)
    async with listening(HttpServer(app_before(tokens), tokens.service.reject, SHORT, tls)) as connect:
        secure = await trusting(await connect(), authority)
        wire = Wire(secure)
        for _ in range(BURST):
            await wire.send(request("GET", "/livez"))
            got = await wire.receive(to="GET")
            assert got is not None
            assert got.status == 200
        await secure.aclose()
        async with await connect() as silent:
            await ends(silent)
        async with await connect() as stream:
            assert (await probe(await trusting(stream, authority))).status == 429
    assert {row["code"] for row in tokens.events("request-rejected")} == {"rate-limited"}


@pytest.mark.parametrize("end", ["waits", "ends"])
@pytest.mark.parametrize(
    ("sent", "code"), [(b"\0\0\0\x10half", "connection-truncated"), (b"\xff\xff\xff\xff", "frame-too-large")]
)
async def test_what_is_no_frame_is_paid_for(sent: bytes, code: str, end: str) -> None:
    bench = await open_bench(burst=BURST)
    server = Server(bench.service.answer, bench.service.turn_away, bench.service.reject, SHORT)
    async with listening(server) as connect:
        for _ in range(BURST):
            async with await connect() as stream:
                await stream.send_all(sent)
                if end == "ends":
                    await stream.send_eof()
                await ends(stream)
        async with await connect() as stream:
            await stream.send_all(frame(b"no message"))
            await ends(stream)
    assert codes_of(bench) == [code] * BURST + ["rate-limited"]


def codes_of(bench: KdcBench) -> list[str]:
    return [event.to_dict()["code"] for event in bench.ledger.named("request-rejected")]
