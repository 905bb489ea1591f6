"""What tests of the HTTP port share: a token service that repeats what it was asked, and raw HTTP over a stream."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import h11
import trio
from attrs import define, field, frozen

from orthros_kdc.config import LimitSettings
from orthros_kdc.http.app import App
from orthros_kdc.http.connections import HttpServer
from orthros_kdc.http.health import Health
from orthros_kdc.http.routes import routes
from orthros_kdc.http.senders import TrustedProxies
from orthros_kdc.oauth.http_boundary import HttpAnswer, HttpRequest, OAuthOptions
from orthros_kdc.ports.port_server import deadlines_of
from orthros_protocol.errors import OrthrosError
from orthros_protocol.testing import ManualClock
from orthros_runtime.serving.connections import Connection
from orthros_runtime.serving.peers import UNKNOWN_PEER, Peer

FORM = (("content-type", "application/x-www-form-urlencoded"),)
LIMITS = LimitSettings(
    read_deadline_s=10, idle_deadline_s=300, max_connections=4, max_unauthenticated_connections=3
)  # fmt: skip


@define(eq=False)
class Repeater:
    """Stands where the token service stands, and answers with what the shell handed over."""

    status: int = 200
    fault: Exception | None = None
    gate: trio.Event | None = None
    asked: list[HttpRequest] = field(factory=list)
    admitted: list[HttpRequest] = field(factory=list)
    rejected: list[tuple[str, OrthrosError, int]] = field(factory=list)
    too_much: HttpAnswer | None = None

    async def admit(self, ask: HttpRequest) -> HttpAnswer | None:
        self.admitted.append(ask)
        return self.too_much

    def reject(self, source: str, error: OrthrosError, size: int) -> None:
        self.rejected.append((source, error, size))

    async def token(self, ask: HttpRequest) -> HttpAnswer:
        self.asked.append(ask)
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        said = {"path": ask.path, "method": ask.method, "body": ask.body.decode("latin-1"),
                "source": ask.source, "address": ask.address}  # fmt: skip
        return HttpAnswer(
            status=self.status, body=json.dumps(said).encode("ascii"), headers=(("X-Told", "yes"),),
            proves="shop" if self.status == 200 else "",
        )  # fmt: skip

    introspect = revoke = paladin = simple_token = token

    async def metadata(self) -> HttpAnswer:
        return HttpAnswer(status=200, body=b'{"issuer":"https://corp.test/realms/a"}')


def app_of(
    tokens: Repeater, *, trusted: tuple[str, ...] = (), max_body: int = 2048,
    issuer: str = "https://corp.test/realms/a", **options: bool,
) -> App:  # fmt: skip
    async def now() -> str:
        return issuer

    find = routes(tokens, Health({}, ManualClock().now), OAuthOptions(**options), now)  # type: ignore[arg-type]
    return App(find, max_body=max_body, proxies=TrustedProxies(trusted), admit=tokens.admit)


@frozen
class Got:
    """A response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(method: str, path: str, *headers: tuple[str, str], body: bytes = b"") -> bytes:
    """An HTTP/1.1 request as bytes, with the length of its body unless the headers say something about it."""
    lines = [f"{method} {path} HTTP/1.1", "host: kdc.test", *(f"{name}: {value}" for name, value in headers)]
    if body and not {"content-length", "transfer-encoding"} & {name.lower() for name, _ in headers}:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Wire:
    """The client's end of a connection: raw bytes out, responses in."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self._peer = h11.Connection(h11.CLIENT)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def receive(self, *, to: str = "POST") -> Got | None:
        """The next response to a request with the method `to`, or None at the end of the connection."""
        if self._peer.our_state is h11.IDLE:
            # So that the parser knows what it reads; what was really sent is up to the test.
            self._peer.send(h11.Request(method=to, target="/", headers=[("host", "x"), ("content-length", "0")]))
            self._peer.send(h11.EndOfMessage())
        head: h11.Response | None = None
        body = b""
        while True:
            event = self._peer.next_event()
            if event is h11.NEED_DATA:
                data = bytes(await self.stream.receive_some(65536))
                if not data and head is None and not self._peer.trailing_data[0]:
                    return None
                self._peer.receive_data(data)
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                if self._peer.our_state is h11.DONE and self._peer.their_state is h11.DONE:
                    self._peer.start_next_cycle()
                headers = {name.decode(): value.decode() for name, value in head.headers}
                return Got(head.status_code, headers, body)
            elif isinstance(event, h11.ConnectionClosed):
                return None


async def call(
    app: App,
    method: str,
    path: str,
    *headers: tuple[bytes, bytes],
    parts: Sequence[bytes] = (b"a=b",),
    client: str = "192.0.2.7",
) -> Got:
    """The answer to one request of a peer at this address. More than one part comes in chunks, unless headers tell."""
    lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), b"host: kdc.test"]
    body = b"" if method in ("GET", "HEAD") else b"".join(parts)
    if not {b"content-length", b"transfer-encoding"} & {name for name, _ in headers} and body:
        length = b"content-length: %d" % len(body)
        if len(parts) > 1:
            length = b"transfer-encoding: chunked"
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*filter(None, parts), b""))
        lines.append(length)
    lines += [b"%s: %s" % one for one in headers]
    ours, theirs = stream_pair()
    peer = Peer(-1, frozenset(), address=client) if client else UNKNOWN_PEER
    connection = Connection(theirs, peer, deadlines_of(LIMITS), _nothing, _nothing)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(HttpServer(app, ignored, LIMITS).converse, connection)
        wire = Wire(ours)
        await wire.send(b"\r\n".join([*lines, b"", body]))
        got = await wire.receive(to=method)
        assert got is not None
        nursery.cancel_scope.cancel()
    await ours.aclose()
    await theirs.aclose()
    return got


def _nothing(_connection: Connection) -> None:
    """These connections have no listener that counts them."""


def ignored(_source: str, _error: OrthrosError, _size: int) -> None:
    """For tests that do not look at what is no request."""


def stream_pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    """Two ends of one connection within this process."""
    here, there = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in socket.socketpair())
    return here, there


@asynccontextmanager
async def connected(server: HttpServer) -> AsyncIterator[Wire]:
    """A connection to the server through a pair of sockets."""
    ours, theirs = stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, theirs)
        yield Wire(ours)
        await ours.aclose()
        nursery.cancel_scope.cancel()
