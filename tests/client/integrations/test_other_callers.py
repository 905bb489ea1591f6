"""aiohttp's client and urllib3: bodies, repeats and answers of their own kinds. For all libraries: test_callers.py."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import urllib3

from orthros_client import AsyncClient, LocalMisuse, MaybeExecuted, Misconfigured, PeerMisbehaved, Unavailable
from orthros_client.http.server.routes import Route
from orthros_client.integrations import aiohttp_server
from orthros_client.integrations.aiohttp_auth import FileBody, OrthrosAiohttpAuth, proven_of
from orthros_client.integrations.urllib3_auth import OrthrosPoolManager
from orthros_client.verifier import Verifier
from orthros_protocol.testing import CountingEntropy, InMemoryRealm
from tests.support.http_libraries import Shop, open_shop
from tests.support.http_target import Heard, RealmSource, Said, listening

LARGE = b"0123456789abcdef" * 20_000


@pytest.fixture
def shop() -> Iterator[Shop]:
    with open_shop("requests") as shop:
        yield shop


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    path = tmp_path / "upload"
    path.write_bytes(LARGE)
    return path


Work = Callable[[aiohttp.ClientSession], Coroutine[Any, Any, Any]]


def by_aiohttp(shop: Shop, work: Work, *, auto_decompress: bool = False, **options: Any) -> Any:
    async def run() -> Any:
        auth = OrthrosAiohttpAuth({shop.origin: "orders"}, client=shop.source, **options)
        async with aiohttp.ClientSession(middlewares=[auth], auto_decompress=auto_decompress) as session:
            return await work(session)

    return asyncio.run(run())


def pool_of(shop: Shop, **options: Any) -> OrthrosPoolManager:
    return OrthrosPoolManager({shop.origin: "orders"}, client=shop.source, **options)


@pytest.mark.parity("B2", "O12")
def test_files_are_hashed_in_pieces_and_sent_again_from_their_beginning(shop: Shop, upload: Path) -> None:
    """A path, an open file, one in memory; after a probe, because they are large and nothing is known of the target."""

    async def put(session: aiohttp.ClientSession) -> None:
        for make in (lambda: FileBody(upload), lambda: upload.open("rb"), lambda: io.BytesIO(LARGE)):
            shop.source.peers.clear()
            body = make()
            async with session.put(shop.url, data=body, headers={"Content-Type": "text/plain"}) as response:
                assert response.status == 200
            if not isinstance(body, FileBody):
                body.close()
        with pytest.raises(Misconfigured, match="file-unreadable"):
            await session.put(shop.url, data=FileBody(f"{upload}.gone"))

    by_aiohttp(shop, put)
    pool = pool_of(shop)
    for make in (lambda: FileBody(upload), lambda: upload.open("rb"), lambda: io.BytesIO(LARGE)):
        shop.source.peers.clear()
        body: Any = make()
        assert pool.request("PUT", shop.url, body=body).status == 200
        if not isinstance(body, FileBody):
            body.close()
    pool.close()
    assert [heard.body for heard in shop.target.executed] == [LARGE] * 6
    probes = [heard for heard in shop.target.heard if heard.method == "OPTIONS"]
    assert len(probes) == 6
    assert not any(heard.body or heard.value("content-length") not in (None, b"0") for heard in probes)


def test_forms_of_aiohttp(shop: Shop, upload: Path) -> None:
    """One that can be written once is kept in memory, up to 1 MiB; above that it takes a digest or a choice."""

    async def post(session: aiohttp.ClientSession) -> None:
        for content in (LARGE, upload.open("rb")):
            form = aiohttp.FormData({"a": "1"})
            form.add_field("f", content, filename="f")
            async with session.post(shop.url, data=form) as response:
                assert response.status == 200
        with aiohttp.MultipartWriter() as large:
            large.append(io.BytesIO(b"x" * (2 << 20)))
        with pytest.raises(LocalMisuse, match="not-covered"):
            await session.post(shop.url, data=large)
        with pytest.raises(LocalMisuse, match="compress it first"):
            await session.post(shop.url, data=b"x", compress=True)

    by_aiohttp(shop, post)
    assert [LARGE in heard.body for heard in shop.target.executed] == [True, True]


def test_a_response_that_aiohttp_decodes_is_not_believed(shop: Shop) -> None:
    """It is not what the target proved, and what the target proved is gone."""
    shop.target.application = lambda _heard: Said(200, (("Content-Encoding", "gzip"),), b"\x1f\x8b")

    async def get(session: aiohttp.ClientSession) -> None:
        await session.get(shop.url, headers={"Accept-Encoding": "gzip"})

    with pytest.raises(PeerMisbehaved, match="decodes it before") as caught:
        by_aiohttp(shop, get, auto_decompress=True)
    assert "auto_decompress=False" in caught.value.remedy


def test_what_a_response_says_of_itself_helps_both(shop: Shop) -> None:
    """Nobody with Orthros: the words of the error are the same."""

    def unguarded(_heard: Heard) -> Said:
        return Said(401, (("Content-Type", "application/json"), ("Server", "other/1")), b'{"error": "unauthorized"}')

    with listening(unguarded) as port:
        shop.origin = f"http://127.0.0.1:{port}"
        with pytest.raises(PeerMisbehaved, match="nothing in it is of Orthros"):
            by_aiohttp(shop, lambda session: session.get(shop.url))
        pool = pool_of(shop)
        with pytest.raises(PeerMisbehaved, match="nothing in it is of Orthros"):
            pool.request("GET", shop.url)
        pool.close()


@pytest.mark.parity("L6")
def test_the_retry_of_urllib3_is_named(shop: Shop) -> None:
    """A read is signed anew; of anything else it is said how often urllib3 has sent it."""
    honest, lost = shop.target.hear, [0]

    def hear(heard: Heard) -> Said:
        said = honest(heard)
        if said.status == 200 and lost[0]:
            lost[0] -= 1
            return Said(503)
        return said

    with listening(hear) as port:
        shop.target.authority, shop.origin = f"127.0.0.1:{port}", f"http://127.0.0.1:{port}"
        retries = urllib3.Retry(total=3, allowed_methods=None, status_forcelist=[503], backoff_factor=0)
        pool = pool_of(shop, pool={"retries": retries})
        lost[0] = 1
        assert pool.request("GET", shop.url).status == 200
        lost[0] = 1
        with pytest.raises(MaybeExecuted, match="the Retry of urllib3 sent this request 2 times"):
            pool.request("POST", shop.url)
        pool.close()


@pytest.mark.parity("L29")
def test_a_redirect_of_a_target_is_followed_nowhere(shop: Shop) -> None:
    """Also not to where requests go out untouched."""
    shop.target.application = lambda _heard: Said(302, (("Location", "http://127.0.0.1:1/"),))
    with pytest.raises(PeerMisbehaved, match="redirect was followed"):
        by_aiohttp(shop, lambda session: session.get(shop.url), pass_others=True)
    pool = pool_of(shop, pass_others=True)
    with pytest.raises(PeerMisbehaved, match="redirect was followed"):
        pool.request("GET", shop.url)
    pool.close()


def test_without_a_daemon_nothing_is_sent(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTHROS_SOCKET", f"{tmp_path}/none")

    async def get(client: Any) -> None:
        auth = OrthrosAiohttpAuth({shop.origin: "orders"}, client=client)
        async with aiohttp.ClientSession(middlewares=[auth]) as session:
            with pytest.raises(Unavailable, match="daemon-unreachable"):
                await session.get(shop.url)
        await auth.aclose()

    asyncio.run(get(None))
    asyncio.run(get(AsyncClient()))
    pool = OrthrosPoolManager({shop.origin: "orders"})
    with pytest.raises(Unavailable, match="daemon-unreachable"):
        pool.request("GET", shop.url)
    pool.close()
    assert shop.target.heard == []


@pytest.mark.parity("L6", "L11", "L19", "O11", "O12")
def test_both_sides_of_aiohttp(upload: Path) -> None:
    """Client and server of this library, over a socket: bodies, refusals, and a restart in between."""
    realm = InMemoryRealm()
    for name in ("web", "orders"):
        realm.add(name)

    async def echo(request: Any) -> Any:
        caller = aiohttp_server.caller_of(request)
        assert caller is not None
        size = len(await request.read())
        return aiohttp.web.json_response({"caller": str(caller.client), "size": size})

    def started(process: bytes, port: int = 0) -> Any:
        clock = realm.clock.now
        verifier = Verifier(realm.keytab("orders"), clock=clock, monotonic_ms=clock, entropy=CountingEntropy(process))
        app = aiohttp.web.Application(client_max_size=1 << 22)
        app.router.add_route("*", "/{rest:.*}", echo)
        routes = [Route("/admin", scopes=["admin"]), Route("/*")]
        aiohttp_server.protect(app, verifier=verifier, origins=["http://orders.test"], routes=routes)
        return aiohttp.web.AppRunner(app)

    async def run() -> None:
        runner = started(b"1")
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]

        class Resolver(aiohttp.abc.AbstractResolver):
            async def resolve(self, host: str, port_: int = 0, family: Any = 0) -> Any:
                return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": 2, "proto": 0, "flags": 0}]

            async def close(self) -> None: ...

        auth = OrthrosAiohttpAuth({"http://orders.test": "orders"}, client=RealmSource(realm))
        connector = aiohttp.TCPConnector(resolver=Resolver())
        async with aiohttp.ClientSession("http://orders.test", middlewares=[auth], connector=connector) as session:
            async with session.post("/echo?x=%2F", json={"a": 1}) as response:
                assert await response.json() == {"caller": "web@test.realm", "size": 8}
                proven = proven_of(response)
                assert proven is not None
                assert proven.body_is_proven
            async with session.put("/sink", data=FileBody(upload)) as response:
                assert (await response.json())["size"] == len(LARGE)
            async with session.get("/admin") as response:
                assert (response.status, (await response.json())["error"]) == (403, "insufficient_scope")
            async with session.head("/echo") as response:
                assert response.status == 200
            await runner.cleanup()
            runner = started(b"2")
            await runner.setup()
            await aiohttp.web.TCPSite(runner, "127.0.0.1", port).start()
            with pytest.raises(MaybeExecuted):
                await session.post("/echo")
            async with session.post("/echo") as response:
                assert response.status == 200
        await runner.cleanup()

    asyncio.run(run())
