"""httpx and httpx2: what their streams, event loops and transports bring. What all libraries share: test_callers.py."""

from __future__ import annotations

import gzip
import io
import logging
import tracemalloc
from collections.abc import AsyncIterator, Iterator
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
    PeerMisbehaved,
    TargetRefusal,
    Unavailable,
)
from orthros_client.integrations.httpx_auth import FileBody, OrthrosAuth, proven_of
from orthros_protocol.exchanges.http_profile import format_content_digest
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.testing import InMemoryRealm
from orthros_runtime.clocks import HostClock
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
def test_a_digest_is_stated_once(client: httpx.Client, target: HttpTarget) -> None:
    with pytest.raises(LocalMisuse, match="twice"):
        client.post(URL, content=b"a", headers=[("Content-Digest", "a"), ("Content-Digest", "b")])
    assert target.heard == []


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
def test_compression_is_not_asked_for_where_no_header_is_left(target: HttpTarget, source: RealmSource) -> None:
    """And what goes to other origins stays as httpx makes it."""
    with client_of(target, source) as client:
        request = client.build_request("GET", URL)
        del request.headers["Accept-Encoding"]
        client.send(request)
        assert [heard.value("accept-encoding") for heard in target.executed] == [b"identity"]
    with client_of(target, source, others=lambda request: httpx.Response(200), pass_others=True) as client:
        sent = client.get("https://other.example/").request
        assert sent.headers["Accept-Encoding"].startswith("gzip, deflate")


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


@pytest.mark.parity("L29")
def test_a_request_names_its_target_once_and_may_be_sent_again(client: httpx.Client, target: HttpTarget) -> None:
    """Another form of the target is refused before anything is sent."""
    with pytest.raises(LocalMisuse, match="slash"):
        client.get(URL, extensions={"target": b"https://orders.example/"})
    assert target.heard == []
    request = client.build_request("GET", URL)
    assert client.send(request).status_code == client.send(request).status_code == 200


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
            target.between = lambda said: said.with_header("orthros-reply", None)
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
