"""ASGI: a middleware that verifies every request before the application sees it, and proves every response.

For FastAPI, Starlette, Django and any other ASGI 3 application, on any server and event loop. Decides nothing itself:
`orthros_client.http` does. Needs the extra `asgi` (anyio).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from anyio import Lock
from attrs import evolve

from orthros_client.http.answers import Answer
from orthros_client.http.bodies import RequestBodyMismatch
from orthros_client.http.callers import Caller
from orthros_client.http.exchange import EXCHANGE, Exchange, refusal_in
from orthros_client.http.guard import Admitted, Bearers, Denied, Guard, Hook
from orthros_client.http.incoming import IncomingRequest
from orthros_client.http.observed import Log
from orthros_client.http.probes import Probe, judge_probe, probes_of
from orthros_client.http.responses import Leaving
from orthros_client.http.routes import Route
from orthros_client.propagation import Serving, serving
from orthros_client.verifier import Verifier
from orthros_protocol import LocalMisuse, Misconfigured, Refused

__all__ = ["Caller", "OrthrosMiddleware", "RequestBodyMismatch", "Route", "self_test"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Channel = Callable[[Scope], bytes | None]
"""Names the connection of a scope in 32 bytes, such as the SHA-256 of the client's certificate; None without one."""

CALLER: Final = "orthros"
PROBE: Final = "orthros.probe"
# Ways for an application to answer past `http.response.body`, where nothing could be proven.
_BYPASSES: Final = "http.response."
_DENIAL: Final = "websocket.http.response"
_POLICY_VIOLATION: Final = 1008
_MOST_DISCARDED: Final = 64 * 1024


class OrthrosMiddleware:
    """Wraps an ASGI application: `OrthrosMiddleware(app, verifier=..., origins=[...])`.

    The verified caller is in `scope["orthros"]`, None on public routes. Websockets are refused unless their route is
    public. At start-up the application is asked without credentials, and does not start when it answers.

    verifier, bearer, origins, routes, mode, trusted_proxies, on_verify, hold_bytes: see `Guard`.
    channel: names the connection, for caveats that bind to one.
    Raises as `Guard`.
    """

    def __init__(
        self,
        app: App,
        *,
        verifier: Verifier | None = None,
        bearer: Bearers | None = None,
        origins: Iterable[str],
        routes: Iterable[Route] = (),
        mode: str = "enforce",
        trusted_proxies: Iterable[str] = (),
        on_verify: Hook | None = None,
        hold_bytes: int | None = None,
        channel: Channel | None = None,
        log: Log | None = None,
    ) -> None:
        self._app = app
        self._channel = channel
        self.guard = Guard(
            verifier=verifier,
            bearer=bearer,
            origins=origins,
            routes=routes,
            mode=mode,
            trusted_proxies=trusted_proxies,
            on_verify=on_verify,
            hold_bytes=hold_bytes,
            log=log,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self._app(scope, receive, self._tested(scope, send))
        elif kind == "http":
            await self._serve(scope, receive, send)
        elif kind == "websocket":
            await self._serve_websocket(scope, receive, send)
        else:
            raise LocalMisuse("value-invalid", f"the ASGI scope {str(kind)[:40]!r} is not guarded, so it is not served")

    def _judge(self, scope: Scope, ask: Callable[[IncomingRequest], Admitted | Denied]) -> Admitted | Denied:
        request = _incoming(scope)
        if self._channel is not None:
            try:
                request = evolve(request, channel=self._channel(scope))
            except Exception as error:  # noqa: BLE001  # the service's own function: what it breaks stays closed
                return self.guard.broken(request, None, error)
        return ask(request)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        verdict = self._judge(scope, self.guard.judge)
        if isinstance(verdict, Denied):
            if not self.guard.observing or verdict.is_handshake:
                await _discard(verdict.request, receive)
                await send_answer(verdict.answer, send)
                return
            verdict = Admitted(request=verdict.request, route=verdict.route or Route("/*"))
        exchange = Exchange(self.guard, verdict)
        # The server's own dictionary, so that what an application leaves there still reaches what stands outside.
        scope[CALLER] = verdict.caller
        scope[EXCHANGE] = exchange
        extensions = scope.get("extensions") or {}
        scope["extensions"] = {name: extensions[name] for name in extensions if not name.startswith(_BYPASSES)}
        with serving(verdict.caller, traceparent=exchange.traceparent) as request:
            await _Call(exchange, receive, send, request).run(self._app, scope)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        verdict = self._judge(scope, self.guard.judge_upgrade)
        if isinstance(verdict, Admitted) or self.guard.observing:
            scope[CALLER] = None
            with serving(None, traceparent=verdict.request.traceparent):
                await self._app(scope, receive, send)
            return
        await receive()  # websocket.connect
        if _DENIAL in (scope.get("extensions") or {}):
            await send_answer(verdict.answer, send, prefix=_DENIAL)
        else:
            reason = "websockets are served on public routes only"
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason})

    def _tested(self, scope: Scope, send: Send) -> Send:
        """`send` for lifespan events, with the self-test before the start-up is reported as complete."""

        async def report(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete" and not self.guard.observing:
                try:
                    # Frameworks leave their outermost application here: what stands around this middleware counts.
                    await self_test(
                        scope.get("app") or self,
                        self.guard.routes.rows,
                        host=self.guard.origins.hosts[0],
                        root_path=scope.get("root_path", ""),
                    )
                except Misconfigured as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
            await send(message)

        return report


class _Call:
    """The two channels of one verified request, checked both ways. `request` ends with the answer to it."""

    def __init__(self, exchange: Exchange, receive: Receive, send: Send, request: Serving) -> None:
        self._exchange = exchange
        self._request = request
        self._receive = receive
        self._send = send
        self._reading = Lock(fast_acquire=True)
        self._last: Leaving | None = None
        self._told_end = False  # of the request's body
        self._begun = False  # something of an answer has left

    async def run(self, app: App, scope: Scope) -> None:
        try:
            await app(scope, self.receive, self.send)
        except Exception as error:
            refusal, begun = refusal_in(error), self._begun
            if not begun:
                await self._settle(refusal)
            if refusal is None or begun:
                raise
            return
        if self._begun:
            return
        if self._exchange.is_spoilt and self._exchange.refusal is not None:
            await self._answer(self._exchange.refusal.answer)
        elif self._last is not None:
            await self._pass_on(self._last)

    async def _settle(self, refusal: Refused | None) -> None:
        """Answers for an application that raised before anything of its answer had left."""
        exchange = self._exchange
        if refusal is not None:
            await self._answer(exchange.answer_to(refusal))
        elif exchange.refusal is not None:
            await self._answer(exchange.refusal.answer)
        elif self._last is not None:
            await self._pass_on(self._last)
        elif exchange.proves:
            await self._answer(exchange.failure())

    async def receive(self) -> Message:
        """What the application reads: pieces of the body that may be handed on, then whatever the server says."""
        exchange = self._exchange
        if not exchange.body.settled:
            async with self._reading:
                while not exchange.body.settled:
                    message = await self._pass_in(await self._receive())
                    if message["type"] != "http.request" or message["body"] or exchange.body.settled:
                        return message
        exchange.require_whole()
        ended = self._told_end
        while True:
            message = await self._pass_in(await self._receive())
            # Servers may tell the end on its own, behind the piece with which the application was told of it here.
            if not ended or message["type"] != "http.request":
                return message

    async def _pass_in(self, message: Message) -> Message:
        exchange = self._exchange
        if message["type"] == "http.disconnect":
            exchange.cut()
        if message["type"] != "http.request":
            return message
        more = bool(message.get("more_body", False))
        data = exchange.received(message.get("body", b""), more=more)
        more = more and not exchange.body.settled
        self._told_end = self._told_end or not more
        return {"type": "http.request", "body": data, "more_body": more}

    async def _drain(self) -> None:
        """Reads what the application left unread: nothing that succeeds leaves before the body is known to be right."""
        exchange = self._exchange
        try:
            async with self._reading:
                while not exchange.body.settled:
                    await self._pass_in(await self._receive())
        except RequestBodyMismatch:
            pass  # the exchange keeps it as its refusal

    async def send(self, message: Message) -> None:
        """What the application answers: held, proven and let go.

        Raises RequestBodyMismatch instead of letting anything go, so that work that follows a response never begins.
        """
        reply = self._exchange.reply
        if not self._begun:
            self._exchange.require_whole()
        if message["type"] == "http.response.start":
            headers = tuple(
                (name.lower().decode("latin-1"), bytes(value)) for name, value in message.get("headers", ())
            )
            reply.start(message["status"], headers)
        elif message["type"] == "http.response.body":
            leaving = reply.write(bytes(message.get("body", b"")), more=bool(message.get("more_body", False)))
            if leaving is None:
                return
            if leaving.head is not None and leaving.head.status >= 500 and not leaving.more:
                # A framework that answers 500 may raise next: what it raises can be a refusal.
                self._last = leaving
            else:
                await self._pass_on(leaving)
        else:
            raise LocalMisuse("value-invalid", f"{message['type']} cannot be proven to an Orthros caller")

    async def _pass_on(self, leaving: Leaving) -> None:
        exchange = self._exchange
        head = leaving.head
        if head is not None:
            if head.status < 400 and not exchange.body.settled:
                await self._drain()
            exchange.require_whole()
            headers = [(name.encode("latin-1"), value) for name, value in head.headers]
            self._begun = True
            await self._send({"type": "http.response.start", "status": head.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": leaving.data, "more_body": leaving.more})
        if not leaving.more:
            self._request.end()  # what the application still does, it does in its own name or not at all

    async def _answer(self, answer: Answer) -> None:
        self._begun = True
        with suppress(OSError):  # the client may be gone; one that has merely stopped sending is told
            await send_answer(answer, self._send)


def _incoming(scope: Scope) -> IncomingRequest:
    target: bytes | None = scope.get("raw_path")
    query: bytes = scope.get("query_string", b"")
    if target is not None and query:
        target = target + b"?" + query
    client = scope.get("client")
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    # Frameworks serve a path that does not begin with their mount point as if it did: by a second name, that is.
    is_below = not root or path == root or path.startswith(root + "/")
    return IncomingRequest(
        method=scope.get("method", "GET"),
        target=target,
        headers=tuple((name.lower().decode("latin-1"), bytes(value)) for name, value in scope["headers"]),
        decoded_path=path if is_below else root + path,
        # A port of 0 is what servers write that took the address from a header.
        transport_peer=client[0] if client and client[1] else "",
        is_probe=PROBE in scope,
    )


async def _discard(request: IncomingRequest, receive: Receive) -> None:
    """Reads a small body that nobody wants.

    Servers hang up on whoever is answered before all of his request has come. His repeat, which every first contact
    takes, would meet another worker then, and be refused once more.
    """
    stated = request.values_of("content-length")
    if len(stated) != 1 or not stated[0].isdigit() or request.values_of("expect"):
        return
    if len(stated[0]) > len(str(_MOST_DISCARDED)) or int(stated[0]) > _MOST_DISCARDED:
        return
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


async def send_answer(answer: Answer, send: Send, *, prefix: str = "http.response") -> None:
    headers = [(name.encode("latin-1"), value) for name, value in answer.headers]
    await send({"type": f"{prefix}.start", "status": answer.status, "headers": headers})
    await send({"type": f"{prefix}.body", "body": answer.body, "more_body": False})


async def self_test(
    app: App,
    routes: Iterable[Route] = (),
    *,
    host: str = "localhost",
    paths: Iterable[str] = (),
    root_path: str = "",
) -> None:
    """Asks `app` without credentials, as a server would, at every route and at a path that it does not have.

    `app` is the outermost application, the one that the server runs; `root_path` is where it says that it is mounted.
    Raises Misconfigured `unprotected` when it answers anything but 401 or 403 (row L12), and `config-invalid` for a
    route that is not below its mount point.
    """
    for probe in probes_of(routes, host, paths, root_path):
        judge_probe(probe, await _status_of(app, probe))


async def _status_of(app: App, probe: Probe) -> int | None:
    found: list[int] = []

    pending = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Message:
        return pending.pop() if pending else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])

    with suppress(Exception):  # whatever the application raises, it was reached without credentials
        await app(_scope_of(probe), receive, send)
    return found[0] if found else None


def _scope_of(probe: Probe) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": probe.decoded_path,
        "raw_path": probe.path.encode("ascii"),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode("ascii"), value) for name, value in probe.headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": {},
        "extensions": {},
        PROBE: True,
    }
