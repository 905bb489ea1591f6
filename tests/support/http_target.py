"""A target in HTTP written from the protocol alone, over an in-process httpx transport and over real sockets.

Small and strict: it knows none of the guard's options, and says on demand what a liar between would say.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import httpx2
from attrs import define, evolve, field, frozen

from orthros_client import Credentials, Token
from orthros_client.credentials.credentials import KnownTargets
from orthros_protocol.errors import OrthrosError, PeerMisbehaved, Refused
from orthros_protocol.exchanges.acceptance import AcceptanceRules, Received, accept, build_ap_error
from orthros_protocol.exchanges.ap_exchange import USE_HTTP, parse_ap_request
from orthros_protocol.exchanges.epochs import Repetition
from orthros_protocol.exchanges.http_profile import (
    SAFE_METHODS,
    HttpBinding,
    HttpResponse,
    canonical_authority,
    format_challenge,
    parse_authorization,
    parse_content_digest,
    seal_http_reply,
)
from orthros_protocol.exchanges.replay import ReplaySet
from orthros_protocol.primitives.derivation import digest, mac_matches
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import InMemoryRealm
from orthros_protocol.testing.fakes import ManualStore
from orthros_protocol.tickets.attenuation import tail_of
from orthros_protocol.tickets.credential import Life
from orthros_protocol.tickets.presented import open_presented
from orthros_runtime.clocks import HostClock

__all__ = ["CallerRest", "Heard", "HttpTarget", "Pieces", "RealmSource", "Said", "in_process", "listening"]

COVERED = ("content-type", "content-encoding", "location")


@frozen
class Heard:
    """A request as it arrived. Headers are (lower-case name, value) in order."""

    method: str
    target: bytes
    headers: tuple[tuple[str, bytes], ...]
    body: bytes = b""

    def value(self, name: str) -> bytes | None:
        """The one value of a header."""
        found = [value for known, value in self.headers if known == name]
        assert len(found) < 2, name
        return found[0] if found else None


@frozen
class Said:
    """A response as it leaves."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def with_header(self, name: str, value: str | None) -> Said:
        """The same with another value for a header, or without it."""
        kept = tuple(one for one in self.headers if one[0].lower() != name)
        return evolve(self, headers=kept if value is None else (*kept, (name, value)))


@define
class Process:
    """One replay instance of a target: its epoch, since when it is there, and what it has burnt."""

    epoch: bytes = field(factory=lambda: os.urandom(8))
    burnt: ReplaySet = field(factory=ReplaySet)
    born: Timestamp | None = None

    def store(self, now: Callable[[], Timestamp]) -> ManualStore:
        """What it judges by. By default it came into being just now, so it wants its epoch named."""
        return ManualStore(now, self.epoch, now() if self.born is None else self.born, self.burnt)


def greet(heard: Heard) -> Said:
    """An application that echoes."""
    return Said(200, (("Content-Type", "text/plain"),), b"you sent " + heard.body[:100])


@define
class HttpTarget:
    """`orders` at `origin`. `heard` is every request, `executed` those that reached the application.

    `between` changes responses on their way; `choose` says which process gets the request of this number. `requires` is
    a scope; a caller without it gets a 403 with the AP-ERR, and with `proves_refusals` a proof of the whole response.
    """

    realm: InMemoryRealm
    scheme: str = "https"
    authority: str = "orders.example:443"
    application: Callable[[Heard], Said] = greet
    between: Callable[[Said], Said] = lambda said: said
    choose: Callable[[int], int] = lambda _number: 0
    reads_bodies: bool = True
    sealed_bodies: bool = True
    requires: str | None = None
    proves_refusals: bool = False
    wrong_ms: int = 0
    host_is_ahead_ms: int | None = None
    processes: list[Process] = field(factory=lambda: [Process(), Process()])
    heard: list[Heard] = field(factory=list)
    executed: list[Heard] = field(factory=list)
    verdicts: list[str] = field(factory=list)
    lock: threading.Lock = field(factory=threading.Lock)

    def hear(self, heard: Heard) -> Said:
        """The answer to one request, as it arrives at the caller."""
        with self.lock:
            process = self.processes[self.choose(len(self.heard))]
            self.heard.append(heard)
        return self.between(self._answer(heard, process))

    def now(self) -> Timestamp:
        """The time that this target believes in: the realm's clock, or the host's when threads must read it."""
        if self.host_is_ahead_ms is not None:
            return Timestamp(HostClock().wall_ms() - self.host_is_ahead_ms)
        return Timestamp(self.realm.clock.now() + self.wrong_ms)

    def _answer(self, heard: Heard, process: Process) -> Said:
        value = heard.value("authorization")
        if value is None or not value.startswith(b"Orthros "):
            self.verdicts.append("credentials-missing")
            return self._challenge("credentials-missing", None)
        try:
            message, accepted = self._accept(heard, value.decode("ascii"), process)
        except OrthrosError as error:
            self.verdicts.append(error.code)
            return self._challenge(error.code, error.reply)
        if self.requires is None or self.requires in accepted.scopes:
            self.verdicts.append("accepted")
            self.executed.append(heard)
            said = self.application(heard)
        else:
            refusal = Refused("insufficient-scope", f"{accepted.ticket.client} lacks {self.requires}")
            self.verdicts.append(refusal.code)
            told = build_ap_error(accepted.request, accepted.pop_key, refusal, now=self.now(), epoch=accepted.epoch)
            said = evolve(self._challenge(refusal.code, told), status=403)
            if not self.proves_refusals:
                return said
        headers = tuple((name.lower(), text.encode("latin-1")) for name, text in said.headers)
        proof = seal_http_reply(
            accepted.pop_key,
            message,
            HttpResponse(status=said.status, headers=headers),
            covered=[name for name in COVERED if any(name == known for known, _ in headers)],
            body_digest=digest(said.body) if self.sealed_bodies else None,
            now=self.now(),
            epoch=process.epoch,
        )
        return said.with_header("Orthros-Reply", proof)

    def _accept(self, heard: Heard, value: str, process: Process) -> tuple[bytes, Any]:
        parsed = parse_authorization(value)
        given = heard.value("content-digest")
        covered = []
        for name in parsed.covered:
            found = heard.value(name)
            if found is None:
                raise PeerMisbehaved("malformed", f"{name} is not there")
            covered.append((name, found))
        binding = HttpBinding(
            method=heard.method,
            scheme=self.scheme,
            authority=canonical_authority((heard.value("host") or b"").decode("ascii"), self.scheme),
            target=heard.target,
            covered=tuple(covered),
            content_digest=given,
        )
        if binding.authority != self.authority:
            raise PeerMisbehaved("malformed", "another host")
        accepted = accept(
            parse_ap_request(parsed.message),
            lambda ticket, caveats: open_presented(ticket, caveats, self.realm.keytab("orders")),
            now=self.now(),
            replay=process.store(self.now),
            received=Received(
                use=USE_HTTP,
                bind=binding.bind(),
                repetition=Repetition.ALLOWED if heard.method in SAFE_METHODS else Repetition.UNSAFE,
            ),
            rules=AcceptanceRules(max_life_s=86_400),
        )
        for name, _value in heard.headers:
            if name in ("content-type", "content-encoding", "idempotency-key") and name not in parsed.covered:
                raise Refused("not-covered", name)
        if heard.body and self.reads_bodies and given is not None:
            assert mac_matches(parse_content_digest(given), digest(heard.body)), "the body was changed"
        return parsed.message, accepted

    def _challenge(self, code: str, reply: bytes | None) -> Said:
        challenge = format_challenge(self.realm.name, code, reply)
        return Said(401, (("WWW-Authenticate", challenge), ("Content-Type", "application/json")), b'{"error":"..."}')


@define
class CallerClock:
    """The caller's clocks, moved with the realm's."""

    realm: InMemoryRealm

    def wall_ms(self) -> Timestamp:
        """The realm's time."""
        return self.realm.clock.now()

    def elapsed_s(self) -> float:
        """Seconds from any origin."""
        return self.realm.clock.now() / 1000


@define
class CallerRest:
    """Waits by turning the realm's clock on; `waits` are the seconds of each time."""

    realm: InMemoryRealm
    waits: list[float]

    def block(self, seconds: float) -> None:
        """In a thread."""
        self.waits.append(seconds)
        self.realm.clock.advance(seconds)

    async def sleep(self, seconds: float) -> None:
        """In a task."""
        self.block(seconds)


@define
class RealmSource:
    """What `Client` is, without a daemon: credentials of `client` from the realm itself. `asked` are the questions."""

    realm: InMemoryRealm
    client: str = "web"
    asked: list[tuple[str, str, tuple[str, ...] | None]] = field(factory=list)
    peers: dict[str, KnownTargets] = field(factory=dict)
    issued: list[Credentials] = field(factory=list)
    waits: list[float] = field(factory=list)

    def credentials(self, target: str, scopes: Iterable[str] | None = None) -> Credentials:
        """Credentials for `target`, fresh each time."""
        self.asked.append(("ticket", target, None if scopes is None else tuple(scopes)))
        issued = self.realm.issue(self.client, target, scopes=("read",))
        credentials = Credentials(
            target=issued.target,
            client=issued.client,
            scopes=issued.scopes,
            ticket=issued.ticket,
            tail=tail_of(issued.session_key, issued.ticket),
            life=Life(3600, self.realm.clock.now() / 1000 + 3600),
            peers=self.peers.setdefault(target, KnownTargets()),
            clock=CallerClock(self.realm),
            rest=CallerRest(self.realm, self.waits),
        )
        self.issued.append(credentials)
        return credentials

    def token(self, target: str, scopes: Iterable[str] | None = None) -> Token:
        """A stand-in for a JWT."""
        self.asked.append(("token", target, None if scopes is None else tuple(scopes)))
        return Token(
            value=f"jwt-for.{target}.0123456789abcdef",
            target=self.realm.principal(target),
            scopes=(),
            life=Life(300, self.realm.clock.now() / 1000 + 300),
            clock=CallerClock(self.realm),
        )


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream, httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A response body that comes in pieces, from the network as far as httpx and httpx2 know."""

    def __init__(self, body: bytes, size: int = 7) -> None:
        self._pieces = [body[at : at + size] for at in range(0, len(body), size)]

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


class _InProcess(httpx.BaseTransport, httpx.AsyncBaseTransport, httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    def __init__(self, hear: Callable[[Heard], Said], others: Callable[[Any], Any] | None) -> None:
        self._hear = hear
        self._others = others

    def handle_request(self, request: Any) -> Any:
        request.read()
        return self._respond(request)

    async def handle_async_request(self, request: Any) -> Any:
        await request.aread()
        return self._respond(request)

    def _respond(self, request: Any) -> Any:
        if self._others is not None and request.url.host != "orders.example":
            return self._others(request)
        headers = tuple((name.decode().lower(), value) for name, value in request.headers.raw)
        said = self._hear(Heard(request.method, request.url.raw_path, headers, request.content))
        library = httpx if isinstance(request, httpx.Request) else httpx2
        return library.Response(said.status, headers=list(said.headers), stream=Pieces(said.body))


def in_process(target: HttpTarget, others: Callable[[Any], Any] | None = None) -> Any:
    """A transport for all kinds of clients of httpx and httpx2; `others` answers for other hosts."""
    return _InProcess(target.hear, others)


@contextmanager
def listening(
    hear: Callable[[Heard], Said], *, tls: ssl.SSLContext | None = None, path: str | None = None
) -> Iterator[int]:
    """A server on a loopback port, one thread for each connection. Yields the port; 0 for a Unix socket at `path`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 20

        def handle_any(self) -> None:
            headers = tuple((name.lower(), value.encode("latin-1")) for name, value in self.headers.items())
            said = hear(Heard(self.command, self.path.encode("latin-1"), headers, self._body()))
            self.send_response_only(said.status)
            for name, value in said.headers:
                self.send_header(name, value)
            has_body = self.command != "HEAD" and said.status not in (204, 304)
            if has_body and not {"content-length", "transfer-encoding"} & {
                name.lower() for name, _value in said.headers
            }:
                self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            if has_body:
                self.wfile.write(said.body)
            if any(name.lower() == "connection" for name, _value in said.headers):
                self.close_connection = True

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.handle_any
            raise AttributeError(name)

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                pieces = []
                while size := int(self.rfile.readline(), 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(pieces)
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Callers may hang up when they like."""

        def server_bind(self) -> None:
            if path is None:
                super().server_bind()
            else:
                self.socket.bind(path)

        def get_request(self) -> Any:
            return self.socket.accept()[0], ("somewhere", 0)

    Server.address_family = socket.AF_INET if path is None else socket.AF_UNIX
    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield 0 if path is not None else int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
