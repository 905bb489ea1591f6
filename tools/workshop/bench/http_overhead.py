"""What Orthros adds to one HTTP request: the ASGI middleware at the service, the httpx authentication at the caller.

In process, without sockets: the same application bare, behind a PyJWT middleware and behind Orthros, and the same
httpx client bare and with authentication. Every response is checked; what the other side costs is taken off.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any, Final

import httpx
import jwt

from orthros_client.credentials.credentials import Credentials
from orthros_client.integrations.asgi import OrthrosMiddleware
from orthros_client.integrations.httpx_auth import OrthrosAuth
from orthros_client.local.conversation import Token
from orthros_client.verifier import Verifier
from orthros_protocol.errors import LocalMisuse
from orthros_protocol.exchanges.http_profile import HttpBinding, format_authorization
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import InMemoryRealm, ManualClock
from orthros_protocol.tickets.attenuation import tail_of
from orthros_protocol.tickets.credential import Life
from workshop.bench.epochs import epoch_of
from workshop.bench.figures import Figure

__all__ = ["TARGET", "Caller", "InProcess", "answered", "authenticators", "measure_http", "scope_of", "service"]

_ORIGIN: Final = "https://orders.example"
_AUTHORITY: Final = b"orders.example"
TARGET: Final = b"/v1/orders/17?expand=lines"
_REQUESTS: Final = 1500
_REPEAT: Final = 5

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def service(scope: Scope, receive: Receive, send: Send) -> None:
    """The application: a small JSON answer, once the request has been read."""
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"application/json"), (b"content-length", b"14")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"lines": [1]}', "more_body": False})


def _behind_pyjwt(app: App, key: bytes) -> App:
    """What services do today: a bearer JWT, decoded with all its claims."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        header = next(value for name, value in scope["headers"] if name == b"authorization")
        token = header.partition(b" ")[2].decode("ascii")
        scope["caller"] = jwt.decode(token, key, ["HS256"], audience="orders", issuer="kdc")
        await app(scope, receive, send)

    return guarded


def scope_of(authorization: bytes | None) -> Scope:
    headers = [(b"host", _AUTHORITY), (b"accept", b"*/*"), (b"user-agent", b"bench")]
    if authorization is not None:
        headers.append((b"authorization", authorization))
    path, _, query = TARGET.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": path.decode("ascii"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 443),
        "extensions": {},
    }


async def answered(app: App, scope: Scope) -> list[MutableMapping[str, Any]]:
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


async def _microseconds(app: App, authorizations: Iterator[bytes | None]) -> float:
    """The best of several runs. Raises RuntimeError when a request is refused."""
    best = float("inf")
    for _ in range(_REPEAT):
        scopes = [scope_of(next(authorizations)) for _ in range(_REQUESTS)]
        started = time.perf_counter()
        for scope in scopes:
            sent = await answered(app, scope)
            if sent[0]["status"] != 200:
                raise RuntimeError("the bench was refused")
        best = min(best, time.perf_counter() - started)
    return best / _REQUESTS * 1e6


def _now() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)


class Caller:
    """What `orthros_client.Client` is, without a daemon: one ticket from the realm, kept."""

    def __init__(self, realm: InMemoryRealm) -> None:
        issued = realm.issue("billing", "orders", scopes=("read",))
        self._credentials = Credentials(
            target=issued.target,
            client=issued.client,
            scopes=issued.scopes,
            ticket=issued.ticket,
            tail=tail_of(issued.session_key, issued.ticket),
            life=Life(3600, time.monotonic() + 3600),
        )

    def credentials(self, target: str, scopes: Iterable[str] | None = None) -> Credentials:
        """The kept ones."""
        return self._credentials

    def token(self, target: str, scopes: Iterable[str] | None = None) -> Token:
        """There is none."""
        raise LocalMisuse("wrong-state", f"no tokens for {target} here")


def authenticators(caller: Caller, epoch: bytes) -> Iterator[bytes]:
    binding = HttpBinding(method="GET", scheme="https", authority="orders.example:443", target=TARGET)
    bind, credentials = binding.bind(), caller.credentials("orders")
    while True:
        yield format_authorization(credentials.present(bind, use=1, safe=True, epoch=epoch).request).encode("ascii")


class InProcess(httpx.BaseTransport):
    """Hands requests to an ASGI application, and takes the time that is spent there."""

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self.spent_s = 0.0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request, answered by the application."""
        started = time.perf_counter()
        header = request.headers.get("authorization")
        head, body = self._loop.run_until_complete(
            answered(self._app, scope_of(None if header is None else header.encode("ascii")))
        )
        self.spent_s += time.perf_counter() - started
        return httpx.Response(head["status"], headers=head["headers"], content=body["body"])


def _httpx_microseconds(app: App, auth: OrthrosAuth | None) -> float:
    """Of the caller alone."""
    best = float("inf")
    with asyncio.Runner() as runner:
        transport = InProcess(app, runner.get_loop())
        with httpx.Client(transport=transport, auth=auth, base_url=_ORIGIN) as client:
            for _ in range(_REPEAT):
                transport.spent_s = 0.0
                started = time.perf_counter()
                for _ in range(_REQUESTS // 3):
                    client.get(TARGET.decode("ascii")).raise_for_status()
                best = min(best, time.perf_counter() - started - transport.spent_s)
    return best / (_REQUESTS // 3) * 1e6


def measure_http() -> list[Figure]:
    """The middleware beside a PyJWT middleware, and the authentication of httpx beside a bare request."""
    realm = InMemoryRealm("corp.example", clock=ManualClock(_now()))
    realm.add("billing")
    keytab = realm.add("orders").verify_only()
    caller = Caller(realm)
    verifier = Verifier(keytab, replay="memory")
    guarded = OrthrosMiddleware(service, verifier=verifier, origins=[_ORIGIN])
    key = os.urandom(32)
    claims = {"iss": "kdc", "sub": "billing", "aud": "orders", "exp": _now() // 1000 + 600, "scope": "read"}
    bearer = f"Bearer {jwt.encode(claims, key, 'HS256')}".encode("ascii")

    def forever(value: bytes | None) -> Iterator[bytes | None]:
        while True:
            yield value

    async def services() -> tuple[float, float, float]:
        return (
            await _microseconds(service, forever(None)),
            await _microseconds(_behind_pyjwt(service, key), forever(bearer)),
            await _microseconds(guarded, authenticators(caller, epoch_of(verifier))),
        )

    bare, pyjwt, orthros = asyncio.run(services())
    unguarded = _httpx_microseconds(service, None)
    authenticated = _httpx_microseconds(guarded, OrthrosAuth({_ORIGIN: "orders"}, client=Caller(realm)))
    remark = f"bare application {bare:.0f} us; the Orthros response is proven, the other is not"
    return [
        Figure(
            name="ASGI middleware, added per request",
            us=orthros - bare,
            beside="PyJWT middleware",
            beside_us=pyjwt - bare,
            remark=remark,
        ),
        Figure(
            name="httpx auth, added per request",
            us=authenticated - unguarded,
            beside="bare httpx request",
            beside_us=unguarded,
            remark="request bound, response verified",
        ),
    ]
