"""The callers of this library against its own middlewares, over real sockets and real servers."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import flask
import httpx
import pytest
import requests
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route as Path_
from werkzeug.serving import make_server

from orthros_client import LocalMisuse, MaybeExecuted, PeerMisbehaved, TargetRefusal, Verifier
from orthros_client.http.server.routes import Route
from orthros_client.integrations import asgi, wsgi
from orthros_client.integrations.httpx_auth import FileBody, OrthrosAuth
from orthros_client.integrations.httpx_auth import proven_of as proven_by_httpx
from orthros_client.integrations.requests_auth import OrthrosRequestsAuth
from orthros_client.integrations.requests_auth import proven_of as proven_by_requests
from orthros_protocol.exchanges.http_profile import format_content_digest
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.testing import CountingEntropy, InMemoryRealm
from tests.support.http_target import RealmSource

ROUTES = (
    Route("/open", public=True),
    Route("/admin", scopes=("admin",)),
    Route("/sink", unsized_bodies=True),
    Route("/tenant", covers=("x-tenant",)),
)
LARGE = b"0123456789abcdef" * (100 << 10)


@pytest.fixture
def realm() -> InMemoryRealm:
    realm = InMemoryRealm()
    for name in ("web", "orders"):
        realm.add(name)
    return realm


def verifier_of(realm: InMemoryRealm, process: bytes = b"process 1") -> Verifier:
    clock = realm.clock.now
    return Verifier(realm.keytab("orders"), clock=clock, monotonic_ms=clock, entropy=CountingEntropy(process))


async def echo(request: Request) -> Response:
    caller = request.scope["orthros.caller"]
    return JSONResponse({"caller": str(caller.client), "body": (await request.body()).decode()[:100]})


async def count(request: Request) -> Response:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    return JSONResponse({"size": size})


async def large(request: Request) -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(LARGE), 1 << 16):
            yield LARGE[at : at + (1 << 16)]

    headers = {"Content-Digest": format_content_digest(digest(LARGE)).decode()} if "digest" in request.url.query else {}
    return StreamingResponse(pieces(), headers=headers, media_type="application/octet-stream")


async def away(_request: Request) -> Response:
    return RedirectResponse("https://evil.example/")


METHODS = ["GET", "POST", "PUT", "DELETE"]
APPLICATION = Starlette(
    routes=[
        Path_("/echo", echo, methods=METHODS), Path_("/tenant", echo, methods=METHODS), Path_("/admin", echo),
        Path_("/sink", count, methods=METHODS), Path_("/large", large), Path_("/away", away),
    ]
)  # fmt: skip


@contextmanager
def uvicorn_with(realm: InMemoryRealm) -> Iterator[tuple[str, list[Any]]]:
    """A Starlette application behind the middleware; the second value holds the middleware, to be replaced."""
    holder: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await holder[0](scope, receive, send)

    config = uvicorn.Config(application, port=0, lifespan="off", log_level="critical")
    server = uvicorn.Server(config)
    listener = config.bind_socket()
    listener.listen()  # from now on callers may queue, before the server takes them
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    holder.append(asgi.OrthrosMiddleware(APPLICATION, verifier=verifier_of(realm), origins=[origin], routes=ROUTES))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield origin, holder
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.mark.parity("L6", "L11", "L19")
@pytest.mark.usefixtures("either_httpx")
def test_httpx_and_the_asgi_middleware(realm: InMemoryRealm, tmp_path: Path) -> None:
    """Bodies of every kind, proven responses, refusals with reasons, and a restart in between."""
    path = tmp_path / "upload"
    path.write_bytes(LARGE)
    with uvicorn_with(realm) as (origin, holder):
        auth = OrthrosAuth({origin: "orders"}, client=RealmSource(realm), cover=["X-Tenant"])
        with httpx.Client(auth=auth, base_url=origin) as client:
            assert client.post("/echo", json={"a": 1}).json() == {"caller": "web@test.realm", "body": '{"a":1}'}
            assert client.get("/echo?x=%2F&y=a b").json()["body"] == ""
            assert client.head("/echo").status_code == 200
            assert client.get("/nothing").status_code == 404
            assert client.get("/nothing/[a]|^`?[b]|^`{}").status_code == 404  # what the application says, proven
            for refused in ("/a%2fb", "/a\\b", "/a//b"):
                with pytest.raises(LocalMisuse, match="which targets refuse"):
                    client.get(refused)
            assert client.put("/sink", content=FileBody(path)).json() == {"size": len(LARGE)}
            assert client.get("/tenant", headers={"X-Tenant": "acme"}).status_code == 200
            forbidden = client.get("/admin")
            assert (forbidden.status_code, forbidden.json()["error"]) == (403, "insufficient_scope")
            assert proven_by_httpx(forbidden) is not None
            redirect = client.get("/away")
            assert (redirect.status_code, redirect.headers["location"]) == (307, "https://evil.example/")
            with pytest.raises(PeerMisbehaved, match="its body is not covered"):
                client.get("/large")
            whole = client.get("/large?digest")
            assert whole.content == LARGE
            proven = proven_by_httpx(whole)
            assert proven is not None
            assert proven.body_is_proven
            holder[0] = asgi.OrthrosMiddleware(
                APPLICATION, verifier=verifier_of(realm, b"process 2"), origins=[origin], routes=ROUTES
            )
            with pytest.raises(MaybeExecuted):
                client.post("/echo")
            assert client.post("/echo").status_code == 200
            stated = {"Content-Digest": format_content_digest(digest(b"ab")).decode()}
            assert client.post("/sink", content=iter([b"a", b"b"]), headers=stated).json() == {"size": 2}
        plain = OrthrosAuth({origin: "orders"}, client=RealmSource(realm), accept_unproven_bodies=True)
        with httpx.Client(auth=plain, base_url=origin) as client:
            assert client.get("/large").content == LARGE
            with pytest.raises(TargetRefusal, match="not-covered"):
                client.get("/tenant", headers={"X-Tenant": "acme"})
            # A new acquaintance begins with the probe, which no application sees.
            assert client.post("/sink", content=iter([b"a", b"b"]), headers=stated).json() == {"size": 2}


@pytest.mark.parity("L6")
@pytest.mark.usefixtures("either_httpx")
def test_a_stream_meets_the_target_first(realm: InMemoryRealm) -> None:
    """The probe is refused by the guard, before any application code, and the body is read once."""
    with uvicorn_with(realm) as (origin, holder):
        stated = {"Content-Digest": format_content_digest(digest(b"ab")).decode()}
        auth = OrthrosAuth({origin: "orders"}, client=RealmSource(realm))
        with httpx.Client(auth=auth, base_url=origin) as client:
            response = client.post("/sink", content=iter([b"a", b"b"]), headers=stated)
            assert (response.json(), [one.status_code for one in response.history]) == ({"size": 2}, [401])
            assert holder[0].guard.counts() == {("/sink", "epoch-required"): 1}
        wrong = {"Content-Digest": format_content_digest(digest(b"other")).decode()}
        with httpx.Client(auth=auth, base_url=origin) as client:
            refused = client.post("/sink", content=iter([b"a", b"b"]), headers=wrong)
            assert (refused.status_code, proven_by_httpx(refused) is not None) == (400, True)


@pytest.mark.parity("L6")
@pytest.mark.usefixtures("either_httpx")
def test_httpx_async_and_the_asgi_middleware(realm: InMemoryRealm) -> None:
    """In process, under asyncio."""
    origin = "https://orders.example"
    app = asgi.OrthrosMiddleware(APPLICATION, verifier=verifier_of(realm), origins=[origin], routes=ROUTES)

    async def calls() -> None:
        auth = OrthrosAuth({origin: "orders"}, client=RealmSource(realm))
        async with httpx.AsyncClient(auth=auth, transport=httpx.ASGITransport(app), base_url=origin) as client:
            assert (await client.post("/echo", content=b"x")).json()["body"] == "x"
            assert (await client.get("/large?digest")).content == LARGE

    anyio.run(calls)


@pytest.mark.parity("L6", "L11", "L19")
def test_requests_and_the_wsgi_middleware(realm: InMemoryRealm, tmp_path: Path) -> None:
    """The same with requests, Flask and a WSGI server."""
    path = tmp_path / "upload"
    path.write_bytes(LARGE)
    application = flask.Flask(__name__)

    @application.route("/echo", methods=METHODS)
    def echo_it() -> Any:
        caller = flask.request.environ["orthros.caller"]
        return {"caller": str(caller.client), "body": flask.request.get_data().decode()[:100]}

    @application.route("/sink", methods=METHODS)
    def count_it() -> Any:
        return {"size": len(flask.request.get_data())}

    @application.route("/admin")
    def rule() -> Any:
        return {}

    holder: list[Any] = []

    def guarded(environ: Any, start_response: Any) -> Any:
        return holder[0](environ, start_response)

    server = make_server("127.0.0.1", 0, guarded, threaded=True)
    origin = f"http://127.0.0.1:{server.server_port}"
    holder.append(wsgi.OrthrosWsgiMiddleware(application, verifier=verifier_of(realm), origins=[origin], routes=ROUTES))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with requests.Session() as session:
            session.trust_env = False
            session.auth = OrthrosRequestsAuth({origin: "orders"}, client=RealmSource(realm))
            answer = session.post(f"{origin}/echo?x=%2f&y=[1]", json={"a": 1})
            assert answer.json() == {"caller": "web@test.realm", "body": '{"a": 1}'}
            assert proven_by_requests(answer) is not None
            assert session.put(f"{origin}/sink", data=FileBody(path)).json() == {"size": len(LARGE)}
            with path.open("rb") as file:
                assert session.put(f"{origin}/sink", data=file).json() == {"size": len(LARGE)}
            assert session.head(f"{origin}/echo").status_code == 200
            assert session.get(f"{origin}/admin").status_code == 403
            assert session.get(f"{origin}/nothing").status_code == 404
            assert session.get(f"{origin}/nothing/[a]|^`?[b]|^`{{}}").status_code == 404
            holder[0] = wsgi.OrthrosWsgiMiddleware(
                application, verifier=verifier_of(realm, b"process 2"), origins=[origin], routes=ROUTES
            )
            with pytest.raises(MaybeExecuted):
                session.post(f"{origin}/echo")
            assert session.post(f"{origin}/echo", headers={"Idempotency-Key": "k"}).status_code == 200
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
