"""ASGI: a middleware that verifies every request before the application sees it, and proves every response.

For FastAPI, Starlette, Django and any other ASGI 3 application, on any server and event loop. Decides nothing itself:
`orthros_client.http` does. Needs the extra `asgi` (anyio).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, Unpack

from attrs import evolve

from orthros_client.http.propagation import serves_requests, serving
from orthros_client.http.server.bodies import RequestBodyMismatch
from orthros_client.http.server.callers import Caller
from orthros_client.http.server.exchange import CALLER, EXCHANGE, Exchange
from orthros_client.http.server.guard import Admitted, Denied, Guard
from orthros_client.http.server.incoming import IncomingRequest, rebuild_target
from orthros_client.http.server.options import GuardOptions
from orthros_client.http.server.probes import PROBE, Probe, judge_probe, probes_of
from orthros_client.http.server.routes import Route
from orthros_client.integrations.asgi_call import App, AsgiCall, Message, Receive, Scope, Send, send_answer
from orthros_client.integrations.asgi_servers import mount_is_unsure
from orthros_client.integrations.asgi_unread import AnswersLast, discard
from orthros_client.integrations.async_judge import judge_async
from orthros_client.integrations.registered import StartCheck
from orthros_protocol.errors import LocalMisuse, Misconfigured

__all__ = ["Caller", "OrthrosMiddleware", "RequestBodyMismatch", "Route", "self_test"]

Channel = Callable[[Scope], bytes | None]
"""Names the connection of a scope in 32 bytes, such as the SHA-256 of the client's certificate; None without one."""

# Ways for an application to answer past `http.response.body`, where nothing could be proven.
_BYPASSES: Final = "http.response."
_DENIAL: Final = "websocket.http.response"
_POLICY_VIOLATION: Final = 1008


class OrthrosMiddleware:
    """Wraps an ASGI application: `OrthrosMiddleware(app, origins=[...])`.

    The verified caller is in `scope["orthros.caller"]`, None on public routes. Websockets are refused unless their
    route is public. At start-up the application is asked without credentials, and does not start when it answers.

    channel: names the connection, for caveats that bind to one. The other options are those of `GuardOptions`.
    Raises as `Guard`.
    """

    def __init__(
        self,
        app: App,
        *,
        channel: Channel | None = None,
        **options: Unpack[GuardOptions],
    ) -> None:
        serves_requests(from_now_on=True)
        self._app = app
        self._channel = channel
        self.guard = Guard(**options)
        self.start = StartCheck(app, self.guard.routes.rows, self.guard.journal.log)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
        elif kind == "http":
            await self._serve(scope, receive, send)
        elif kind == "websocket":
            await self._serve_websocket(scope, receive, send)
        else:
            raise LocalMisuse("value-invalid", f"the ASGI scope {str(kind)[:40]!r} is not guarded, so it is not served")

    async def _judge(self, scope: Scope, *, upgrade: bool = False) -> Admitted | Denied:
        request = _incoming(scope, self.start.own_mount)
        if self._channel is not None:
            try:
                request = evolve(request, channel=self._channel(scope))
            except Exception as error:  # noqa: BLE001  # the service's own function: what it breaks stays closed
                return self.guard.broken(request, None, error)
        verdict = await judge_async(self.guard, request, upgrade=upgrade)
        if isinstance(verdict, Admitted) and not request.is_probe:
            try:
                self.start.at_request()
            except Misconfigured as error:
                return self.guard.broken(request, verdict.route, error)
        return verdict

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        verdict = await self._judge(scope)
        is_public = isinstance(verdict, Admitted) and verdict.route.public
        if not is_public and not scope.get("http_version", "1.1").startswith("1"):
            channels = AnswersLast(receive, send)
            receive, send = channels.receive, channels.send
        if isinstance(verdict, Denied):
            if not self.guard.observing or verdict.is_handshake:
                await discard(verdict, receive)
                await send_answer(verdict.answer, send)
                return
            verdict = Admitted(request=verdict.request, route=verdict.route or Route("/*"))
        exchange = Exchange(self.guard, verdict)
        # The server's own dictionary, so that what an application leaves there still reaches what stands outside.
        # The list of headers is a copy: uvicorn with httptools appends trailers to its own, after the MAC was checked.
        scope["headers"] = [(name.encode("latin-1"), value) for name, value in verdict.request.headers]
        scope[CALLER] = exchange.caller
        scope[EXCHANGE] = exchange
        extensions = scope.get("extensions") or {}
        scope["extensions"] = {name: extensions[name] for name in extensions if not name.startswith(_BYPASSES)}
        with serving(exchange.caller, traceparent=exchange.traceparent) as request:
            await AsgiCall(exchange, receive, send, request).run(self._app, scope)

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        verdict = await self._judge(scope, upgrade=True)
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

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application's lifespan, with the self-test before its start is reported as complete."""
        # Frameworks leave their outermost application here: what stands around this middleware counts, not inside.
        outermost, root_path = scope.get("app"), scope.get("root_path", "")
        reported: list[str] = []

        async def report(message: Message) -> None:
            reported.append(message["type"])
            failed = None
            if message["type"] == "lifespan.startup.complete":
                failed = await self._failure(outermost, root_path)
            await send(failed or message)

        try:
            await self._app(scope, receive, report)
        except Exception:
            # Django's handler knows no start, and servers go on without one. What is wrong is told all the same.
            failed = None if reported else await self._failure(outermost, root_path)
            if failed is None:
                raise
            await send(failed)

    async def _failure(self, outermost: App | None, root_path: str) -> Message | None:
        if self.guard.observing:
            return None
        try:
            self.start.at_start(outermost)
            await self_test(
                outermost or self,
                self.guard.routes.rows,
                host=self.guard.origins.hosts[0],
                root_path=self.start.own_mount or root_path,
            )
        except Misconfigured as error:
            return {"type": "lifespan.startup.failed", "message": str(error)}
        return None


def _incoming(scope: Scope, own_mount: str = "") -> IncomingRequest:
    client = scope.get("client")
    path: str = scope["path"]
    root = scope.get("root_path", "").rstrip("/")
    mount = own_mount or (None if mount_is_unsure(scope) else root)
    # The path includes the mount point (uvicorn, Starlette), or begins behind it (older ones).
    if root and path != root and not path.startswith(root + "/"):
        path = root + path
    raw: bytes | None = scope.get("raw_path")
    query: bytes = scope.get("query_string", b"")
    if raw is None:
        target = rebuild_target(path.encode("utf-8", "replace"), query)
    else:
        target = raw + b"?" + query if query else raw
    return IncomingRequest(
        method=scope.get("method", "GET"),
        target=target,
        is_rebuilt=raw is None,
        headers=tuple([(name.lower().decode("latin-1"), bytes(value)) for name, value in scope["headers"]]),
        decoded_path=path,
        mount=mount,
        # A port of 0 is what servers write that took the address from a header.
        transport_peer=client[0] if client and client[1] else "",
        is_probe=PROBE in scope,
    )


async def self_test(
    app: App,
    routes: Iterable[Route] = (),
    *,
    host: str = "localhost",
    paths: Iterable[str] = (),
    root_path: str = "",
) -> None:
    """Asks `app` without credentials, as a server would, at every route and at a path that it does not have.

     `app` is the outermost application, the one that the server runs; `root_path` is where it says that it is mounted,
     below which `routes` are written. Raises Misconfigured `unprotected` when it answers anything but 401 or 403
    , and `config-invalid` for a route that is written with the mount point.
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
