from __future__ import annotations

import gzip
import io
import logging
import re
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import trio
from attrs import evolve

from orthros_client import (
    AsyncClient,
    Client,
    LocalMisuse,
    MaybeExecuted,
    Misconfigured,
    OrthrosError,
    PeerMisbehaved,
    TargetRefusal,
    Unavailable,
)
from orthros_client.clocks import HostClock
from orthros_client.integrations.httpx_auth import FileBody, OrthrosAuth, proven_of
from orthros_protocol.exchanges.http_profile import format_content_digest
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.testing import InMemoryRealm
from tests.client.house import open_house
from tests.client.world import KdcClock
from tests.docs.pages import ROOT, blocks
from tests.support.http_target import Heard, HttpTarget, RealmSource, Said, in_process, listening
from tests.support.leaks import forms_of

pytestmark = pytest.mark.usefixtures("either_httpx")

ORDERS = "https://orders.example"
URL = f"{ORDERS}/v1/orders?id=7"


@pytest.fixture
def realm() -> InMemoryRealm:
    realm = InMemoryRealm()
    for name in ("web", "orders"):
        realm.add(name)
    return realm


@pytest.fixture
def target(realm: InMemoryRealm) -> HttpTarget:
    return HttpTarget(realm)


@pytest.fixture
def source(realm: InMemoryRealm) -> RealmSource:
    return RealmSource(realm)


@pytest.fixture
def client(target: HttpTarget, source: RealmSource) -> Iterator[httpx.Client]:
    with client_of(target, source) as client:
        yield client


def client_of(target: HttpTarget, source: Any, *, others: Any = None, **options: Any) -> httpx.Client:
    auth = OrthrosAuth(options.pop("targets", {ORDERS: "orders"}), client=source, **options)
    return httpx.Client(auth=auth, transport=in_process(target, others))


@pytest.mark.parity("L6", "L11", "O12")
def test_a_call_is_authenticated_and_its_response_proven(
    client: httpx.Client, target: HttpTarget, source: RealmSource
) -> None:
    """Every kind of body in memory; scopes are asked for as given."""
    for arguments in ({}, {"content": b"x"}, {"json": {"a": 1}}, {"data": {"a": "1"}}, {"files": {"f": b"x"}}):
        response = client.post(URL, **arguments)
        assert response.status_code == 200
        proven = proven_of(response)
        assert proven is not None
        assert proven.target.name == "orders"
        assert proven.body_is_proven
    assert target.verdicts == ["epoch-required"] + ["accepted"] * 5
    assert source.asked == [("ticket", "orders", None)] * 5
    with client_of(target, source, scopes=["read"]) as other:
        other.get(URL)
    with client_of(target, source, scopes={"orders": ["write"], "billing": ["x"]}) as other:
        other.get(URL)
    assert [asked[2] for asked in source.asked[5:]] == [("read",), ("write",)]


@pytest.mark.parity("L6")
def test_what_the_library_measures_is_there(client: httpx.Client) -> None:
    """httpx2 keeps it in the stream of the response."""
    response = client.get(URL)
    assert response.elapsed.total_seconds() >= 0
    assert response.num_bytes_downloaded == len(response.content)


@pytest.mark.parity("L6")
async def test_the_same_under_trio(target: HttpTarget, source: RealmSource) -> None:
    """One generator, two drivers; a blocking source waits in a thread."""
    auth = OrthrosAuth({ORDERS: "orders"}, client=source)
    async with httpx.AsyncClient(auth=auth, transport=in_process(target)) as client:
        response = await client.post(URL, content=b"x")
        assert response.text == "you sent x"
        assert proven_of(response) is not None
        with pytest.raises(Misconfigured, match="origin-unknown"):
            await client.get("https://evil.example")
        target.between = lambda said: evolve(said, body=said.body + b"!")
        with pytest.raises(PeerMisbehaved, match="response-unproven"):
            await client.get(URL)


@pytest.mark.parity("L6")
def test_the_same_under_asyncio(target: HttpTarget, source: RealmSource) -> None:
    """The adapter does not care which loop it is."""

    async def call() -> str:
        auth = OrthrosAuth({ORDERS: "orders"}, client=source)
        async with httpx.AsyncClient(auth=auth, transport=in_process(target)) as client:
            return (await client.post(URL, content=b"x")).text

    assert anyio.run(call) == "you sent x"


@pytest.mark.parity("L29")
def test_other_origins_get_nothing(realm: InMemoryRealm, source: RealmSource) -> None:
    """Nothing is sent, nothing is asked of the daemon; or, by choice, the request goes out as it is."""
    reached: list[httpx.Request] = []

    def others(request: httpx.Request) -> httpx.Response:
        reached.append(request)
        return httpx.Response(200)

    strangers = [
        "https://evil.example/", "http://orders.example/", "https://orders.example:8443/", "https://orders.example./",
        "https://user@orders.example/", "https://orders.example@evil.example/", "https://x.orders.example/",
        "https://orders.example.evil.example/", "https://evil.example/?https://orders.example/",
    ]  # fmt: skip
    target = HttpTarget(realm)
    with client_of(target, source, others=others) as client:
        for url in strangers:
            with pytest.raises(Misconfigured, match="origin-unknown"):
                client.get(url)
    assert (reached, target.heard, source.asked) == ([], [], [])
    with client_of(target, source, others=others, pass_others=True) as client:
        for url in strangers:
            client.get(url)
    assert all("authorization" not in request.headers for request in reached)
    assert all(heard.value("authorization") is None for heard in target.heard)
    assert len(reached) + len(target.heard) == len(strangers)
    assert source.asked == []


@pytest.mark.parity("L29")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["https://evil.example/", "/v2/orders"])
def test_redirects_are_not_followed(status: int, where: str, target: HttpTarget, source: RealmSource) -> None:
    """A proven redirect is a result; one that httpx follows is an error, and elsewhere nothing arrives."""
    reached: list[httpx.Request] = []

    def others(request: httpx.Request) -> httpx.Response:
        reached.append(request)
        return httpx.Response(200)

    target.application = lambda _heard: Said(status, (("Location", where),))
    with client_of(target, source, others=others) as client:
        client.get(URL)
        response = client.get(URL)
        assert (response.status_code, response.headers["location"]) == (status, where)
        executed = len(target.executed)
        target.application = lambda heard: Said(status, (("Location", where),)) if b"v1" in heard.target else Said(200)
        with pytest.raises(PeerMisbehaved, match="redirect was followed"):
            client.get(URL, follow_redirects=True)
    assert len(target.executed) == executed + 1  # the authenticator of the first does not serve the second
    assert all("authorization" not in request.headers for request in reached)


LIES: dict[str, Callable[[Said], Said]] = {
    "stripped": lambda said: said.with_header("orthros-reply", None),
    "status": lambda said: evolve(said, status=201),
    "header": lambda said: said.with_header("content-type", "text/html"),
}


@pytest.mark.parity("L11")
@pytest.mark.parametrize("lie", LIES)
def test_a_fake_head_is_no_response(lie: str, client: httpx.Client, target: HttpTarget) -> None:
    """Not even with `stream`: the head is judged before the caller sees it."""
    client.get(URL)
    target.between = LIES[lie]
    with pytest.raises(PeerMisbehaved, match="response-unproven"):
        client.get(URL)
    with pytest.raises(PeerMisbehaved, match="response-unproven"), client.stream("GET", URL):
        raise AssertionError("no response")


BODIES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda body: body[:-1],
    "empty": lambda _body: b"",
    "longer": lambda body: body + b"x",
    "changed": lambda body: b"Y" + body[1:],
}


@pytest.mark.parity("L11")
@pytest.mark.parametrize("change", BODIES)
def test_a_fake_body_is_noticed_at_its_end(change: str, client: httpx.Client, target: HttpTarget) -> None:
    """`read()` raises instead of returning; whoever streams is told before the end."""
    client.get(URL)
    target.between = lambda said: evolve(said, body=BODIES[change](said.body))
    with pytest.raises(PeerMisbehaved, match=r"response-unproven.*bytes came"):
        client.get(URL)
    with client.stream("GET", URL) as response:
        pieces = response.iter_raw()
        with pytest.raises(PeerMisbehaved, match="response-unproven"):
            for _piece in pieces:
                pass
    with client.stream("GET", URL) as response, pytest.raises(PeerMisbehaved, match="response-unproven"):
        response.read()


@pytest.mark.parity("L11")
def test_compressed_bodies_are_checked_as_they_travel(client: httpx.Client, target: HttpTarget) -> None:
    """Before decoding; the caller gets the decoded text."""
    packed = gzip.compress(b"hello " * 1000)
    target.application = lambda _heard: Said(200, (("Content-Encoding", "gzip"),), packed)
    assert client.get(URL).content == b"hello " * 1000
    target.between = lambda said: evolve(said, body=gzip.compress(b"hullo " * 1000))
    with pytest.raises(PeerMisbehaved, match="response-unproven"):
        client.get(URL)


@pytest.mark.parity("L11")
def test_a_hook_that_reads_first_does_not_hide_a_fake_body(target: HttpTarget, source: RealmSource) -> None:
    """Then the read body is compared; after decoding that is impossible, and refused."""
    with client_of(target, source) as client:
        client.event_hooks = {"response": [lambda response: response.read() and None]}
        assert client.get(URL).status_code == 200
        target.between = lambda said: evolve(said, body=b"fake")
        with pytest.raises(PeerMisbehaved, match="response-unproven"):
            client.get(URL)
        target.between = lambda said: said
        target.application = lambda _heard: Said(200, (("Content-Encoding", "gzip"),), gzip.compress(b"x"))
        with pytest.raises(PeerMisbehaved, match="before it could be checked"):
            client.get(URL)


@pytest.mark.parity("L11")
def test_streams_without_proof_only_on_request(target: HttpTarget, source: RealmSource) -> None:
    """The head is proven all the same."""
    target.sealed_bodies = False
    with client_of(target, source) as client, pytest.raises(PeerMisbehaved, match="response-unproven"):
        client.get(URL)
    with client_of(target, source, accept_unproven_bodies=True) as client:
        proven = proven_of(client.get(URL))
        assert proven is not None
        assert not proven.body_is_proven
        target.between = LIES["status"]
        with pytest.raises(PeerMisbehaved, match="response-unproven"):
            client.get(URL)


@pytest.mark.parity("L11")
async def test_the_body_of_a_refusal_is_read_up_to_a_limit(target: HttpTarget, source: RealmSource) -> None:
    """Nobody has proven it; it is thrown away, and decoded never."""
    bomb = gzip.compress(bytes(1 << 20))
    target.between = lambda said: (
        said
        if said.status == 200
        else evolve(said, headers=(*said.headers, ("Content-Encoding", "gzip")), body=bomb * 100 + b"x" * 200_000)
    )
    with client_of(target, source) as client:
        response = client.get(URL)
        assert (response.status_code, [one.content for one in response.history]) == (200, [b""])
    auth = OrthrosAuth({ORDERS: "orders"}, client=RealmSource(target.realm))
    async with httpx.AsyncClient(auth=auth, transport=in_process(target)) as async_client:
        assert (await async_client.get(URL)).status_code == 200
    for size in (100, 200_000):  # as a real server would say it
        target.between = lambda said, size=size: (  # type: ignore[misc]
            said if said.status == 200 else evolve(said, body=b"x" * size).with_header("Content-Length", str(size))
        )
        with client_of(target, RealmSource(target.realm)) as client:
            assert client.get(URL).status_code == 200
        auth = OrthrosAuth({ORDERS: "orders"}, client=RealmSource(target.realm))
        async with httpx.AsyncClient(auth=auth, transport=in_process(target)) as async_client:
            assert (await async_client.get(URL)).status_code == 200


@pytest.mark.parity("L6")
def test_a_refusal_explains_itself(client: httpx.Client, realm: InMemoryRealm) -> None:
    """The reason that the target proved, as an exception with cause and remedy."""
    realm.clock.advance(-3000)
    issued_early = RealmSource(realm)
    credentials = issued_early.credentials("orders")
    realm.clock.advance(3000 + 3700)

    class Stale(RealmSource):
        def credentials(self, target: str, scopes: Any = None) -> Any:
            return credentials

    with client_of(HttpTarget(realm), Stale(realm)) as stale:
        with pytest.raises(TargetRefusal, match="ticket-expired") as caught:
            stale.get(URL)
        assert caught.value.remedy.startswith("Obtain a new one")


@pytest.mark.parity("L6")
def test_an_unsafe_call_is_never_repeated_silently(client: httpx.Client, target: HttpTarget) -> None:
    """After a restart of the target POST may have run, with a key or without; GET is repeated."""
    client.post(URL)
    for headers in ({}, {"Idempotency-Key": "k"}):
        target.processes = HttpTarget(target.realm).processes
        target.executed.clear()
        with pytest.raises(MaybeExecuted):
            client.post(URL, headers=headers)
        assert target.executed == []
        client.post(URL)
    target.processes = HttpTarget(target.realm).processes
    assert client.get(URL).status_code == 200


@pytest.mark.parity("L6")
def test_a_file_is_hashed_first_and_sent_as_often_as_needed(
    client: httpx.Client, target: HttpTarget, tmp_path: Path
) -> None:
    """With its length and digest; an empty one as no body."""
    path = tmp_path / "upload"
    content = b"0123456789abcdef" * 40_000
    path.write_bytes(content)
    assert client.put(URL, content=FileBody(path)).status_code == 200
    assert target.verdicts == ["epoch-required", "accepted"]
    probe, sent = target.heard
    assert (probe.method, probe.body, probe.value("content-digest")) == ("OPTIONS", b"", None)
    assert sent.body == content
    assert sent.value("content-length") == str(len(content)).encode()
    assert sent.value("content-digest") == format_content_digest(digest(content))
    assert sent.value("transfer-encoding") is None
    path.write_bytes(b"")
    assert client.put(URL, content=FileBody(path)).status_code == 200
    with pytest.raises(Misconfigured, match="file-unreadable"):
        client.put(URL, content=FileBody(tmp_path / "none"))
    path.write_bytes(content[: 64 * 1024])  # small enough to meet a target without an epoch
    target.heard.clear()
    with client_of(target, RealmSource(target.realm)) as newcomer:
        assert newcomer.put(URL, content=FileBody(path)).status_code == 200
    assert [heard.body for heard in target.heard] == [content[: 64 * 1024]] * 2


@pytest.mark.parity("L6")
async def test_a_file_is_sent_by_the_async_client(target: HttpTarget, source: RealmSource, tmp_path: Path) -> None:
    """Also replayable."""
    path = tmp_path / "upload"
    path.write_bytes(b"x" * 300_000)
    auth = OrthrosAuth({ORDERS: "orders"}, client=source)
    async with httpx.AsyncClient(auth=auth, transport=in_process(target)) as client:
        request = client.build_request("PUT", URL, content=FileBody(path))
        assert (await client.send(request)).status_code == 200
        assert (await client.send(request)).status_code == 200
    assert [len(heard.body) for heard in target.executed] == [300_000, 300_000]


@pytest.mark.parity("L6")
def test_a_large_file_needs_little_memory(realm: InMemoryRealm, source: RealmSource, tmp_path: Path) -> None:
    """64 MiB are hashed and sent in a few MiB, though nothing proves the answer to the probe before."""
    path = tmp_path / "large"
    size = 64 << 20
    with path.open("wb") as file:
        file.truncate(size)
    auth = OrthrosAuth({ORDERS: "orders"}, client=source)
    hashes = []

    class Sink(httpx.BaseTransport):
        """Counts what is sent, and refuses it for want of an epoch, as a fake would: unproven."""

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            total = sum(map(len, request.stream))  # type: ignore[arg-type]
            hashes.append(total)
            return httpx.Response(401)

    with httpx.Client(auth=auth, transport=Sink()) as client:
        tracemalloc.start()
        try:
            with pytest.raises(PeerMisbehaved, match="response-unproven"):
                client.put(URL, content=FileBody(path))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert hashes == [0, size]
    assert peak < 8 << 20


def generator(*pieces: bytes) -> Iterator[bytes]:
    yield from pieces


async def async_generator(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


@pytest.mark.parity("L6")
def test_a_generator_needs_a_digest_or_a_choice(client: httpx.Client, target: HttpTarget, source: RealmSource) -> None:
    """Without either nothing is sent; with a digest a probe meets the target first."""
    with pytest.raises(LocalMisuse, match="not-covered"):
        client.post(URL, content=generator(b"a", b"b"))
    assert target.heard == []
    stated = {"Content-Digest": format_content_digest(digest(b"ab")).decode()}
    assert client.post(URL, content=generator(b"a", b"b"), headers=stated).text == "you sent ab"
    assert [heard.method for heard in target.heard] == ["OPTIONS", "POST"]
    probe = target.heard[0]
    assert (probe.body, probe.value("content-digest"), probe.value("transfer-encoding")) == (b"", None, None)
    with client_of(target, RealmSource(target.realm), allow_unbound_bodies=True) as unbound:
        assert unbound.post(URL, content=generator(b"c")).text == "you sent c"
        assert target.heard[-1].value("content-digest") is None
    with pytest.raises(LocalMisuse, match="value-invalid"):
        client.post(URL, content=generator(b"a"), headers={"Content-Digest": "md5=:AAAA:"})
    with pytest.raises(LocalMisuse, match="twice"):
        client.post(URL, content=b"a", headers=[("Content-Digest", "a"), ("Content-Digest", "b")])


@pytest.mark.parity("L6")
async def test_an_async_generator_with_a_digest(target: HttpTarget, source: RealmSource) -> None:
    """The same probe."""
    auth = OrthrosAuth({ORDERS: "orders"}, client=source)
    stated = {"Content-Digest": format_content_digest(digest(b"ab")).decode()}
    async with httpx.AsyncClient(auth=auth, transport=in_process(target)) as client:
        response = await client.post(URL, content=async_generator(b"a", b"b"), headers=stated)
        assert response.text == "you sent ab"
    assert [heard.method for heard in target.heard] == ["OPTIONS", "POST"]


@pytest.mark.parity("L6")
def test_open_files_are_hashed_and_begun_anew(client: httpx.Client, target: HttpTarget, tmp_path: Path) -> None:
    """Of any size, from where they stand; with their length."""
    path = tmp_path / "upload"
    for content in (b"small", bytes(range(256)) * 6000):
        path.write_bytes(content)
        target.executed.clear()
        with path.open("rb") as file:
            file.seek(3)
            request = client.build_request("POST", URL, content=file)
            for _ in range(2):
                assert client.send(request).status_code == 200
        assert [heard.body for heard in target.executed] == [content[3:]] * 2
        assert target.executed[0].value("content-length") == str(len(content) - 3).encode()
        assert target.executed[0].value("transfer-encoding") is None
    with path.open("r", encoding="latin-1") as text, pytest.raises(LocalMisuse, match="binary mode"):
        client.post(URL, content=text)  # type: ignore[arg-type]


@pytest.mark.parity("L6")
def test_a_form_of_any_size_is_hashed_and_sent_again(client: httpx.Client, target: HttpTarget, tmp_path: Path) -> None:
    """Files= above what is kept in memory; also where httpx cannot tell the length beforehand."""
    path = tmp_path / "upload"
    path.write_bytes(bytes(range(256)) * 6000)

    class Unsized(io.BytesIO):
        def fileno(self) -> int:
            raise OSError("no file")

        def tell(self) -> int:
            raise OSError("nobody knows")

    for file in (path.open("rb"), Unsized(path.read_bytes())):
        target.heard.clear()
        with file:
            response = client.post(URL, data={"a": "1"}, files={"f": ("name", file, "text/plain")})
        assert response.status_code == 200
        (sent,) = [heard for heard in target.heard if heard.method == "POST"]
        assert path.read_bytes() in sent.body
        assert sent.value("content-length") == str(len(sent.body)).encode()
        assert sent.value("content-digest") == format_content_digest(digest(sent.body))
        assert sent.value("transfer-encoding") is None


@pytest.mark.parity("L6")
async def test_a_form_of_the_async_client(target: HttpTarget, source: RealmSource, tmp_path: Path) -> None:
    """Hashed in a thread."""
    path = tmp_path / "upload"
    path.write_bytes(b"x" * (2 << 20))
    auth = OrthrosAuth({ORDERS: "orders"}, client=source)
    async with httpx.AsyncClient(auth=auth, transport=in_process(target)) as client:
        with path.open("rb") as file:
            assert (await client.post(URL, files={"f": file})).status_code == 200
    assert [(heard.method, len(heard.body) > 2 << 20) for heard in target.heard] == [("OPTIONS", False), ("POST", True)]


@pytest.mark.parity("B2")
def test_what_can_be_read_once_says_what_to_do(client: httpx.Client, target: HttpTarget) -> None:
    """A large form with a pipe in it."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    with pytest.raises(LocalMisuse, match="a file that can be rewound or a FileBody"):
        client.post(URL, files={"f": Pipe(b"x" * (2 << 20))})
    assert target.heard == []


@pytest.mark.parity("L6")
def test_a_large_form_needs_little_memory(source: RealmSource, tmp_path: Path) -> None:
    """64 MiB, read twice."""
    path = tmp_path / "large"
    with path.open("wb") as made:
        made.truncate(64 << 20)
    sizes: list[int] = []

    class Sink(httpx.BaseTransport):
        def handle_request(self, request: Any) -> Any:
            sizes.append(sum(map(len, request.stream)))
            return httpx.Response(401)

    auth = OrthrosAuth({ORDERS: "orders"}, client=source)
    with httpx.Client(auth=auth, transport=Sink()) as client, path.open("rb") as file:
        tracemalloc.start()
        try:
            with pytest.raises(PeerMisbehaved, match="response-unproven"):
                client.put(URL, files={"f": file})
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert [size >> 20 for size in sizes] == [0, 64]
    assert peak < 8 << 20


@pytest.mark.parity("L6")
def test_a_stated_digest_is_compared_where_the_body_can_be_read(client: httpx.Client, tmp_path: Path) -> None:
    """A wrong one is a local error."""
    path = tmp_path / "upload"
    path.write_bytes(b"content")
    right = {"Content-Digest": format_content_digest(digest(b"content")).decode()}
    assert client.put(URL, content=FileBody(path), headers=right).status_code == 200
    with pytest.raises(LocalMisuse, match="body-mismatch"):
        client.put(URL, content=FileBody(path), headers={"Content-Digest": right["Content-Digest"][:-5] + "AAA=:"})


@pytest.mark.parity("L11")
def test_compression_is_not_asked_for_unless_the_caller_does(target: HttpTarget, source: RealmSource) -> None:
    """What a proxy compresses is not what the target proved; the error says so."""
    with client_of(target, source) as client:
        client.get(URL)
        client.get(URL, headers={"Accept-Encoding": "gzip"})
        client.get(URL, headers={"Accept-Encoding": "gzip;q=0.5, identity"})
        request = client.build_request("GET", URL)
        del request.headers["Accept-Encoding"]
        client.send(request)
        said = [heard.value("accept-encoding") for heard in target.executed]
        assert said == [b"identity", b"gzip", b"gzip;q=0.5, identity", b"identity"]
        target.between = lambda said: evolve(
            said, headers=(*said.headers, ("Content-Encoding", "gzip")), body=gzip.compress(said.body)
        )
        with pytest.raises(PeerMisbehaved, match="a proxy on the way compressed it"):
            client.get(URL)
    with client_of(target, source, others=lambda request: httpx.Response(200), pass_others=True) as client:
        sent = client.get("https://other.example/").request
        assert sent.headers["Accept-Encoding"].startswith("gzip, deflate")


@pytest.mark.parity("L6")
def test_a_key_is_added_and_promised(target: HttpTarget, source: RealmSource) -> None:
    """To unsafe requests that have none, random and covered; with it they are repeated as reads are."""
    with client_of(target, source, idempotency="header") as client:
        for _ in range(2):
            client.post(URL)
            target.processes = HttpTarget(target.realm).processes
        assert client.post(URL, headers={"Idempotency-Key": "mine"}).status_code == 200
        client.get(URL)
    keys = [heard.value("idempotency-key") for heard in target.executed]
    assert (keys[2], keys[3]) == (b"mine", None)
    assert all(re.fullmatch(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", key or b"") for key in keys[:2])
    assert keys[0] != keys[1]
    assert all(b'h="idempotency-key"' in (heard.value("authorization") or b"") for heard in target.executed[:3])
    repeats = [heard.value("idempotency-key") for heard in target.heard[1:4]]
    assert repeats == [keys[0], keys[1], keys[1]]  # the same key each time the call is sent
    with pytest.raises(LocalMisuse, match="idempotency"):
        client_of(target, source, idempotency="body")


@pytest.mark.parity("L6")
def test_the_caller_can_say_that_a_call_is_harmless(target: HttpTarget, source: RealmSource) -> None:
    """For single requests; then it is repeated as a read is."""
    auth = OrthrosAuth({ORDERS: "orders"}, client=source)
    with httpx.Client(auth=auth, transport=in_process(target)) as client:
        client.put(URL)
        target.processes = HttpTarget(target.realm).processes
        assert client.put(URL, auth=auth.harmless()).status_code == 200
        target.processes = HttpTarget(target.realm).processes
        with pytest.raises(MaybeExecuted):
            client.put(URL)


class Again:
    """A transport that repeats by itself: it sends a request once more when the answer was lost."""

    def __init__(self, target: HttpTarget, lost: int) -> None:
        self._inner = in_process(target)
        self._lost = lost

    def handle_request(self, request: Any) -> Any:
        response = self._inner.handle_request(request)
        if response.status_code == 200 and self._lost:
            self._lost -= 1
            return self._inner.handle_request(request)
        return response

    def close(self) -> None:
        pass


@pytest.mark.parity("L6")
def test_a_transport_that_repeats(target: HttpTarget, source: RealmSource) -> None:
    """A read is signed anew, once; of anything else the likelier cause is said, not an attacker first."""

    class Retrying(Again, httpx.BaseTransport):
        pass

    auth = OrthrosAuth({ORDERS: "orders"}, client=source)
    with httpx.Client(auth=auth, transport=Retrying(target, lost=1)) as client:
        assert client.get(URL).status_code == 200
        # The repeat names no epoch, so that a target which lets nothing be repeated can say so.
        assert target.verdicts == ["epoch-required", "accepted", "replayed", "epoch-required", "accepted"]
    transport = Retrying(target, lost=1)
    with httpx.Client(auth=auth, transport=transport) as client:
        with pytest.raises(MaybeExecuted, match="replayed: a transport or proxy repeated this request") as caught:
            client.post(URL)
        assert caught.value.refusal.code == "replayed"
        transport._lost = 2
        with pytest.raises(TargetRefusal, match="an HTTP library that repeats requests below"):
            client.get(URL)
        assert target.verdicts[-5:] == ["accepted", "replayed", "epoch-required", "accepted", "replayed"]


@pytest.mark.parity("L6")
def test_headers_are_covered_as_they_are_sent(target: HttpTarget, source: RealmSource) -> None:
    """The floor, what is listed, and nothing else; cookies and proxies' credentials stay as they are."""
    with client_of(target, source, cover=["X-Tenant"]) as client:
        client.cookies.set("session", "c1")
        client.post(URL, json={}, headers={"X-Tenant": "acme", "Proxy-Authorization": "Basic eA==", "X-Other": "o"})
    sent = target.executed[0]
    authorization = sent.value("authorization")
    assert authorization is not None
    assert b'h="content-type;x-tenant"' in authorization
    assert (sent.value("cookie"), sent.value("proxy-authorization")) == (b"session=c1", b"Basic eA==")


@pytest.mark.parity("L29")
def test_a_request_cannot_serve_two_masters(client: httpx.Client, target: HttpTarget) -> None:
    """Another Authorization, another Host, another target form: refused before anything is sent."""
    with pytest.raises(LocalMisuse, match="Authorization"):
        client.get(URL, headers={"Authorization": "Bearer x"})
    with pytest.raises(LocalMisuse, match="Host"):
        client.get(URL, headers={"Host": "other.example"})
    with pytest.raises(LocalMisuse, match="slash"):
        client.get(URL, extensions={"target": b"https://orders.example/"})
    assert target.heard == []
    request = client.build_request("GET", URL)
    assert client.send(request).status_code == client.send(request).status_code == 200


@pytest.mark.parity("P14", "L29")
def test_tokens_go_to_their_origins_alone(target: HttpTarget, source: RealmSource) -> None:
    """One auth object, tickets inside and JWTs at the edge; no fall-back from one to the other."""
    ledger: list[httpx.Request] = []

    def others(request: httpx.Request) -> httpx.Response:
        ledger.append(request)
        return httpx.Response(401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})

    targets = {ORDERS: "orders", "https://ledger.example": "ledger"}
    options: dict[str, Any] = {"targets": targets, "bearer": ["https://ledger.example"], "others": others}
    with client_of(target, source, **options) as client:
        response = client.get("https://ledger.example/x")
        assert (response.status_code, proven_of(response)) == (401, None)
        client.get(URL)
        target.between = lambda _said: Said(401, (("WWW-Authenticate", "Bearer"),))
        with pytest.raises(PeerMisbehaved, match="response-unproven"):
            client.get(URL)
        with pytest.raises(LocalMisuse, match="Authorization"):
            client.get("https://ledger.example/x", headers={"Authorization": "Basic x"})
    assert [request.headers["authorization"] for request in ledger] == ["Bearer jwt-for.ledger.0123456789abcdef"]
    assert [kind for kind, _target, _scopes in source.asked] == ["token", "ticket", "ticket"]
    assert all((heard.value("authorization") or b"").startswith(b"Orthros ") for heard in target.heard)


@pytest.mark.parity("L29")
def test_a_redirect_of_a_bearer_origin_is_not_followed(target: HttpTarget, source: RealmSource) -> None:
    """The token does not arrive elsewhere."""
    seen: list[httpx.Request] = []

    def others(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return (
            httpx.Response(302, headers={"Location": "https://evil.example/"})
            if len(seen) == 1
            else httpx.Response(200)
        )

    options: dict[str, Any] = {"targets": {"https://l.example": "orders"}, "bearer": ["https://l.example"]}
    with client_of(target, source, others=others, **options) as client, pytest.raises(PeerMisbehaved, match="redirect"):
        client.get("https://l.example/", follow_redirects=True)
    assert "authorization" not in seen[1].headers


@pytest.mark.parity("L29")
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"bearer": ["https://other.example"]}, Misconfigured),
        ({"targets": {"http://o.example": "orders"}, "bearer": ["http://o.example"]}, Misconfigured),
        ({"targets": {"https://o.example/x": "orders"}}, Misconfigured),
        ({"targets": {"https://o.example": "Orders"}}, Misconfigured),
        ({"cover": ["authorization"]}, LocalMisuse),
        ({"scopes": "read"}, LocalMisuse),
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any], error: type[OrthrosError]) -> None:
    """Not at the first request."""
    with pytest.raises(error):
        OrthrosAuth(**{"targets": {ORDERS: "orders"}, "client": Client(), **options})


@pytest.mark.parity("L6")
def test_threads_may_share_one_auth(target: HttpTarget, source: RealmSource) -> None:
    """Each call has its own authenticator; the target executes each once."""
    failures: list[BaseException] = []
    with client_of(target, source) as client:
        client.get(URL)

        def work(number: int) -> None:
            try:
                for at in range(20):
                    text = client.post(URL, content=b"%d.%d" % (number, at)).text
                    assert text == f"you sent {number}.{at}"
            except BaseException as error:  # noqa: BLE001  # handed to the test
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    bodies = [heard.body for heard in target.executed]
    assert len(set(bodies)) == len(bodies) == 161


@pytest.mark.parity("L6")
async def test_tasks_may_share_one_auth(target: HttpTarget, source: RealmSource) -> None:
    """The same for tasks."""
    auth = OrthrosAuth({ORDERS: "orders"}, client=source)
    async with httpx.AsyncClient(auth=auth, transport=in_process(target)) as client:

        async def work(number: int) -> None:
            for at in range(5):
                assert (await client.post(URL, content=b"%d.%d" % (number, at))).text == f"you sent {number}.{at}"

        await client.get(URL)
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(work, number)
    assert len({heard.body for heard in target.executed}) == len(target.executed) == 51


@pytest.mark.parity("L6")
def test_no_secret_is_shown(
    client: httpx.Client, target: HttpTarget, source: RealmSource, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither in reprs, nor in errors, nor in the logs of httpx at its most talkative."""
    caplog.set_level(logging.DEBUG)
    with listening(target.hear) as port:
        target.scheme, target.authority = "http", f"127.0.0.1:{port}"
        auth = OrthrosAuth({f"http://127.0.0.1:{port}": "orders"}, client=source)
        with httpx.Client(auth=auth) as real:
            response = real.get(f"http://127.0.0.1:{port}/")
            target.between = LIES["stripped"]
            with pytest.raises(PeerMisbehaved) as caught:
                real.get(f"http://127.0.0.1:{port}/")
    shown = repr(auth) + repr(response) + repr(response.request.headers) + repr(proven_of(response))
    shown += repr(caught.value) + str(caught.value)
    text = shown.encode()
    logged = caplog.text.encode()
    for credentials in source.issued:
        for name, form in forms_of(credentials.tail).items():
            assert form not in text + logged, name
        assert credentials.ticket.hex().encode() not in text + logged


@pytest.mark.parity("L6", "L11")
def test_over_a_real_socket(realm: InMemoryRealm, source: RealmSource) -> None:
    """What httpx really sends is what was bound, whatever the URL holds."""
    target = HttpTarget(realm, scheme="http")
    with listening(target.hear) as port:
        target.authority = f"127.0.0.1:{port}"
        auth = OrthrosAuth({f"http://127.0.0.1:{port}": "orders"}, client=source)
        with httpx.Client(auth=auth) as client:
            for path in (
                "",
                "/",
                "/a b",
                "/é",
                "/a%c3%a9b",
                "/a/../b",
                "/x?q=a b&r=%c3%a9",
                "/x?",
                "/x#frag",
                "/[x]?[y]",
            ):
                assert client.get(f"http://127.0.0.1:{port}{path}").status_code == 200
            stated = {"Content-Digest": format_content_digest(digest(b"a")).decode()}
            streamed = client.post(f"http://127.0.0.1:{port}/", content=generator(b"a"), headers=stated)
            assert streamed.text == "you sent a"
            target.between = lambda said: evolve(
                said,
                headers=(*said.headers, ("Content-Length", str(len(said.body))), ("Connection", "close")),
                body=said.body[:3],
            )
            with pytest.raises(httpx.RemoteProtocolError):
                client.get(f"http://127.0.0.1:{port}/")
    assert target.verdicts.count("epoch-required") == 1


@pytest.mark.parity("L29")
@pytest.mark.parametrize("kind", ["ticket", "token"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_credentials_travel_once_also_to_the_same_origin(
    kind: str, method: str, realm: InMemoryRealm, source: RealmSource
) -> None:
    """Httpx follows a redirect with a copy of the head that it has sent; they are not in it any more."""
    target = HttpTarget(realm, scheme="http")
    credentials: list[bool] = []

    def hear(heard: Heard) -> Said:
        credentials.append(heard.value("authorization") is not None)
        return target.hear(heard) if kind == "ticket" else Said(307, (("Location", "/again"),))

    target.application = lambda _heard: Said(307, (("Location", "/again"),))
    with listening(hear) as port:
        origin = f"http://127.0.0.1:{port}"
        target.authority = origin.removeprefix("http://")
        auth = OrthrosAuth({origin: "orders"}, client=source, bearer=[origin] if kind == "token" else [])
        with httpx.Client(auth=auth, max_redirects=2) as client:
            request = client.build_request(method, origin, content=b"a" if method == "POST" else None)
            for _ in range(2):  # and the request can be sent again
                assert client.send(request).status_code == 307
            credentials.clear()
            with pytest.raises((PeerMisbehaved, httpx.TooManyRedirects)):
                client.send(request, follow_redirects=True)
    assert credentials[0]
    assert len(credentials) > 1
    assert not any(credentials[1:])


@pytest.mark.parity("L29")
def test_a_proxy_of_the_environment_learns_nothing(source: RealmSource, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for a tunnel, and gets no authenticator."""
    tunnels: list[Heard] = []

    def refuse(heard: Heard) -> Said:
        tunnels.append(heard)
        return Said(502)

    with listening(refuse) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        auth = OrthrosAuth({ORDERS: "orders"}, client=source)
        with httpx.Client(auth=auth) as client, pytest.raises(httpx.ProxyError):
            client.get(URL)
    assert [heard.method for heard in tunnels] == ["CONNECT"]
    assert tunnels[0].value("authorization") is None
    # A tunnel protects what is sent through it; in clear the proxy would read a token, or write a response.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    origin = "http://127.0.0.1:9"
    for choice in ("bearer", "forwarded"):
        auth = OrthrosAuth({origin: "orders"}, client=source, **{choice: [origin]})  # type: ignore[arg-type]
        with httpx.Client() as client, pytest.raises(Misconfigured, match="to NO_PROXY"):
            client.get(origin, auth=auth)


@pytest.mark.parity("L6")
def test_the_clients_must_fit(target: HttpTarget, tmp_path: Path) -> None:
    """An AsyncClient does not serve httpx.Client; without a daemon the reason is said."""
    with client_of(target, AsyncClient(tmp_path / "none")) as client, pytest.raises(LocalMisuse, match="AsyncClient"):
        client.get(URL)
    with client_of(target, Client(tmp_path / "none")) as client, pytest.raises(Unavailable, match="daemon-unreachable"):
        client.get(URL)
    assert target.heard == []


def host_is_ahead_by() -> int:
    """How far this host's clock is ahead of the realm in the house, in milliseconds."""
    return HostClock().wall_ms() - KdcClock().now()


@pytest.mark.parity("L6", "P2")
async def test_with_a_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both clients made by the adapter itself, against a real daemon."""
    ahead = host_is_ahead_by()
    async with open_house(wrong_ms=ahead) as house:
        monkeypatch.setenv("ORTHROS_SOCKET", house.socket)
        target = HttpTarget(house.world.realm, host_is_ahead_ms=ahead)
        auth = OrthrosAuth({ORDERS: "orders"}, scopes=["read"])

        def call() -> None:
            with httpx.Client(auth=auth, transport=in_process(target)) as client:
                assert client.post(URL, content=b"x").status_code == 200

        await house.in_thread(call)
        async with httpx.AsyncClient(auth=auth, transport=in_process(target)) as client:
            assert (await client.post(URL, content=b"x")).status_code == 200
        auth.close()
        await auth.aclose()
    assert target.verdicts == ["epoch-required", "accepted", "epoch-required", "accepted"]


@pytest.mark.parity("L6")
@pytest.mark.parametrize("number", [0, 1])
async def test_the_samples_of_the_page_run(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/http-clients.md, against a daemon and a target that listens."""
    ahead = host_is_ahead_by()
    async with open_house(wrong_ms=ahead) as house:
        monkeypatch.setenv("ORTHROS_SOCKET", house.socket)
        target = HttpTarget(house.world.realm, scheme="http", host_is_ahead_ms=ahead)
        with listening(target.hear) as port:
            target.authority = f"127.0.0.1:{port}"
            sample = blocks(ROOT / "docs" / "http-clients.md", "python")[number]
            names: dict[str, Any] = {}
            code = compile(sample.replace(ORDERS, f"http://127.0.0.1:{port}"), "sample", "exec")
            await house.in_thread(lambda: exec(code, names))
            for name in ("auth", "session"):
                if name in names:
                    getattr(names[name], "auth", names[name]).close()
                    names[name].close()
    assert names["response"].text == 'you sent {"item":7}' or names["response"].text == 'you sent {"item": 7}'
    assert target.verdicts == ["epoch-required", "accepted"]


@pytest.mark.parity("L6")
async def test_an_async_client_serves_the_async_flow() -> None:
    """Given by the caller."""
    async with open_house(wrong_ms=host_is_ahead_by()) as house, AsyncClient(house.socket) as source:
        target = HttpTarget(house.world.realm)
        auth = OrthrosAuth({ORDERS: "orders"}, client=source)
        async with httpx.AsyncClient(auth=auth, transport=in_process(target)) as client:
            assert (await client.get(URL)).status_code == 200
