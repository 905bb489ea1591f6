"""requests: what its sessions, adapters and urllib3 bring. What all libraries share: test_callers.py."""

from __future__ import annotations

import gzip
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from attrs import define, evolve, field
from requests.adapters import HTTPAdapter
from requests_toolbelt import MultipartEncoder, MultipartEncoderMonitor  # type: ignore[import-untyped]
from urllib3.util.retry import Retry

from orthros_client import (
    LocalMisuse,
    MaybeExecuted,
    Misconfigured,
    PeerMisbehaved,
    Unavailable,
)
from orthros_client.integrations.requests_auth import FileBody, OrthrosRequestsAuth, proven_of
from orthros_protocol.exchanges.http_profile import format_content_digest
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.testing import InMemoryRealm
from tests.support.http_target import Heard, HttpTarget, RealmSource, Said, listening
from tests.support.leaks import forms_of


@define
class Shop:
    """A target that listens, and somebody who may call it."""

    target: HttpTarget
    source: RealmSource
    origin: str
    sessions: list[requests.Session] = field(factory=list)

    def url(self, path: str = "/v1/orders?id=7") -> str:
        return self.origin + path

    def session(self, **options: Any) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.auth = OrthrosRequestsAuth({self.origin: "orders"}, client=self.source, **options)
        self.sessions.append(session)
        return session

    def restart(self) -> None:
        self.target.processes = HttpTarget(self.target.realm).processes


@pytest.fixture
def shop() -> Iterator[Shop]:
    realm = InMemoryRealm()
    for name in ("web", "orders"):
        realm.add(name)
    target = HttpTarget(realm, scheme="http")
    with listening(target.hear) as port:
        target.authority = f"127.0.0.1:{port}"
        shop = Shop(target, RealmSource(realm), f"http://127.0.0.1:{port}")
        yield shop
        for session in shop.sessions:
            session.close()


@pytest.mark.parity("L6", "L11")
def test_a_session_keeps_its_cookies(shop: Shop) -> None:
    """And a text as body is sent as UTF-8."""
    session = shop.session()
    shop.target.application = lambda heard: Said(200, (("Set-Cookie", "a=1"),), b"you sent " + heard.body)
    for body, sent in ((None, b""), (b"x", b"x"), ("é", "é".encode())):
        assert session.post(shop.url(), data=body).content == b"you sent " + sent
    assert session.cookies.get_dict() == {"a": "1"}
    assert [heard.value("cookie") for heard in shop.target.executed[1:]] == [b"a=1"] * 2


@pytest.mark.parity("L29")
def test_a_backslash_does_not_hide_another_origin(shop: Shop) -> None:
    """Nothing is sent, nothing is asked of the daemon."""
    reached: list[Heard] = []

    def others(heard: Heard) -> Said:
        reached.append(heard)
        return Said(200)

    with listening(others) as port, pytest.raises(Misconfigured, match="origin-unknown"):
        shop.session().get(f"http://127.0.0.1:{port}\\@{shop.origin.removeprefix('http://')}/")
    assert (reached, shop.target.heard, shop.source.asked) == ([], [], [])


@pytest.mark.parity("L11")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_fake_body_is_noticed_at_its_end(chunked: bool, stream: bool, shop: Shop) -> None:
    """With and without length, in pieces and at once; a good one passes, also compressed."""
    packed, forged = gzip.compress(b"hello " * 5000), gzip.compress(b"hullo " * 5000)
    shop.target.application = lambda _heard: Said(200, (("Content-Encoding", "gzip"),), packed)

    def deliver(body: bytes) -> Callable[[Said], Said]:
        return lambda said: framed(said, body) if chunked and said.status == 200 else evolve(said, body=body)

    def read(response: requests.Response) -> bytes:
        return b"".join(response.iter_content(1000)) if stream else response.content

    session = shop.session()
    session.get(shop.url())
    shop.target.between = deliver(packed)
    for _ in range(2):
        assert read(session.get(shop.url(), stream=stream)) == b"hello " * 5000
    for other in (forged, packed + b"x", packed[:-1]):
        shop.target.between = deliver(other)
        with pytest.raises(PeerMisbehaved, match=r"response-unproven.*bytes came"):
            read(session.get(shop.url(), stream=stream))


def framed(said: Said, body: bytes) -> Said:
    """The response as a server cuts it into chunks."""
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:10], body[10:], b"")]
    return evolve(said, headers=(*said.headers, ("Transfer-Encoding", "chunked")), body=b"".join(chunks))


class Eager(requests.adapters.HTTPAdapter):
    """Reads every response before anybody else."""

    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        response = super().send(*arguments, **options)
        assert response.content is not None
        return response


@pytest.mark.parity("L11")
def test_an_adapter_that_reads_first_does_not_hide_a_fake_body(shop: Shop) -> None:
    """Then the read body is compared; after decoding that is impossible, and refused."""
    session = shop.session()
    session.mount("http://", Eager())
    assert session.get(shop.url()).text == "you sent "
    shop.target.between = lambda said: evolve(said, body=b"fake")
    with pytest.raises(PeerMisbehaved, match="response-unproven"):
        session.get(shop.url())
    shop.target.between = lambda said: said
    shop.target.application = lambda _heard: Said(200, (("Content-Encoding", "gzip"),), gzip.compress(b"x"))
    with pytest.raises(PeerMisbehaved, match="before it could be checked"):
        session.get(shop.url())


@pytest.mark.parity("L6")
def test_an_abandoned_stream_leaks_nothing(shop: Shop) -> None:
    """Closing early gives the connection up; the session goes on."""
    shop.target.application = lambda _heard: Said(200, (), b"x" * 500_000)
    session = shop.session()
    for _ in range(3):
        with session.get(shop.url(), stream=True) as response:
            assert next(response.iter_content(10)) == b"x" * 10
    assert session.get(shop.url()).content == b"x" * 500_000


@pytest.mark.parity("L6")
def test_bodies_are_rewound_for_the_repeat(shop: Shop, tmp_path: Path) -> None:
    """Files from where they stood, FileBody from its start; both with their length and digest."""
    path = tmp_path / "upload"
    path.write_bytes(b"0123456789" * 30_000)
    with path.open("rb") as file:
        file.seek(5)
        assert shop.session().put(shop.url(), data=file).status_code == 200
    assert [heard.body for heard in shop.target.heard] == [b"", path.read_bytes()[5:]]
    assert [heard.method for heard in shop.target.heard] == ["OPTIONS", "PUT"]
    shop.target.heard.clear()
    with path.open("rb") as file:
        file.seek(300_000 - (60 << 10))  # small enough to meet the target without an epoch
        auth = OrthrosRequestsAuth({shop.origin: "orders"}, client=RealmSource(shop.target.realm))
        assert requests.put(shop.url(), data=file, auth=auth, timeout=10).status_code == 200
    assert [heard.body for heard in shop.target.heard] == [path.read_bytes()[-(60 << 10) :]] * 2
    shop.target.heard.clear()
    shop.restart()
    session = OrthrosRequestsAuth({shop.origin: "orders"}, client=RealmSource(shop.target.realm))
    assert requests.put(shop.url(), data=FileBody(path), auth=session, timeout=10).status_code == 200
    assert [heard.body for heard in shop.target.heard] == [b"", path.read_bytes()]
    sent = shop.target.heard[-1]
    assert sent.value("content-digest") == format_content_digest(digest(path.read_bytes()))
    assert (sent.value("content-length"), sent.value("transfer-encoding")) == (b"300000", None)
    with pytest.raises(LocalMisuse, match="binary"):
        shop.session().put(shop.url(), data=io.StringIO("text"))


@pytest.mark.parity("L6")
@pytest.mark.parametrize("watched", [False, True])
def test_an_encoder_of_the_toolbelt_is_hashed_and_begun_anew(watched: bool, shop: Shop, tmp_path: Path) -> None:
    """From where its files stand, with and without a monitor, which sees what is sent and not what is hashed."""
    path = tmp_path / "upload"
    path.write_bytes(bytes(range(256)) * 6000)
    seen: list[int] = []
    with path.open("rb") as file:
        file.seek(5)
        fields = {"a": "1", "f": ("name", file, "text/plain"), "g": ("small", io.BytesIO(b"in memory"))}
        body: Any = MultipartEncoder(fields)
        if watched:
            body = MultipartEncoderMonitor(body, lambda monitor: seen.append(monitor.bytes_read))
        session = shop.session()
        response = session.post(shop.url(), data=body, headers={"Content-Type": body.content_type})
        assert response.status_code == 200
    assert [heard.method for heard in shop.target.heard] == ["OPTIONS", "POST"]
    (sent,) = shop.target.executed
    assert path.read_bytes()[5:] in sent.body
    assert b"in memory" in sent.body
    assert sent.value("content-length") == str(len(sent.body)).encode()
    assert sent.value("content-digest") == format_content_digest(digest(sent.body))
    assert not watched or seen[-1] == len(sent.body)


@pytest.mark.parity("L6")
def test_a_small_encoder_is_sent_again_at_first_contact(shop: Shop) -> None:
    """The same boundary and the same bytes."""
    body = MultipartEncoder([("a", "1"), ("f", ("name", io.BytesIO(b"x" * 100)))])
    response = shop.session().post(shop.url(), data=body, headers={"Content-Type": body.content_type})
    assert response.status_code == 200
    first, second = shop.target.heard
    assert first.body == second.body
    assert b"x" * 100 in first.body


@pytest.mark.parity("B2")
def test_an_encoder_that_can_be_read_once_says_what_to_do(shop: Shop) -> None:
    """A pipe in a form, or fields that are gone."""

    class Pipe:
        len = 10

        def read(self, size: int) -> bytes:
            return b"0123456789"

    for fields in ({"f": ("name", Pipe())}, iter([("a", "1")])):
        body = MultipartEncoder(fields)
        with pytest.raises(LocalMisuse, match="a file that can be rewound or a FileBody"):
            shop.session().post(shop.url(), data=body, headers={"Content-Type": body.content_type})
    assert shop.target.heard == []


@pytest.mark.parity("L29")
def test_a_file_that_requests_would_send_elsewhere_is_not_sent(shop: Shop, tmp_path: Path) -> None:
    """A redirect that is followed goes back to its beginning, without authenticator, and raises."""
    path = tmp_path / "upload"
    path.write_bytes(b"0123456789")
    shop.target.application = lambda _heard: Said(307, (("Location", "/v2"),))
    with path.open("rb") as file, pytest.raises(PeerMisbehaved, match="redirect was followed"):
        shop.session().put(shop.url(), data=file)
    assert [heard.value("authorization") for heard in shop.target.heard if heard.target == b"/v2"] == [None]


class Flaky(HTTPAdapter):
    """An adapter with urllib3's own repeats, as programs mount it."""

    def __init__(self) -> None:
        retries = Retry(total=3, read=3, allowed_methods=None, status_forcelist=[503], backoff_factor=0)
        super().__init__(max_retries=retries)


@pytest.mark.parity("L6")
@pytest.mark.parametrize("how", ["the answer is lost", "503"])
def test_urllib3_that_repeats(how: str, shop: Shop) -> None:
    """A read is signed anew; of anything else it is said that urllib3 has sent it, and how often."""
    honest, lost = shop.target.hear, [0]

    def hear(heard: Heard) -> Said:
        said = honest(heard)
        if said.status == 200 and lost[0]:
            lost[0] -= 1
            if how == "503":
                return Said(503)
            raise ConnectionAbortedError
        return said

    with listening(hear) as port:
        shop.target.authority = f"127.0.0.1:{port}"
        shop.origin = f"http://127.0.0.1:{port}"
        session = shop.session()
        session.mount("http://", Flaky())
        lost[0] = 1
        assert session.get(shop.url()).status_code == 200
        assert shop.target.verdicts == ["epoch-required", "accepted", "replayed", "epoch-required", "accepted"]
        lost[0] = 1
        with pytest.raises(MaybeExecuted, match="the Retry of urllib3 sent this request 2 times") as caught:
            session.post(shop.url())
        assert caught.value.until is not None
        lost[0] = 1
        with path_of(b"0123456789" * 3000) as path, path.open("rb") as file:
            assert session.put(shop.url(), data=file, auth=harmless(session)).status_code == 200
        assert [heard.body for heard in shop.target.heard[-4:]] == [b"0123456789" * 3000] * 4
        session.close()


def harmless(session: requests.Session) -> Any:
    assert isinstance(session.auth, OrthrosRequestsAuth)
    return session.auth.harmless()


@contextmanager
def path_of(content: bytes) -> Iterator[Path]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield Path(file.name)


def pieces(*parts: bytes) -> Iterator[bytes]:
    yield from parts


@pytest.mark.parity("L6")
def test_a_probe_is_history(shop: Shop) -> None:
    """It met the target before a generator was read: what the caller sees is its own request."""
    stated = {"Content-Digest": format_content_digest(digest(b"ab")).decode()}
    response = shop.session().post(shop.url(), data=pieces(b"a", b"b"), headers=stated)
    assert (response.request.method, len(response.history)) == ("POST", 1)


@pytest.mark.parity("L6")
def test_what_is_bound_is_what_urllib3_sends(shop: Shop) -> None:
    """Whatever the URL holds; characters that it would rewrite are refused."""
    session = shop.session(cover=["X-Tenant"])
    for path in ("", "/", "/a b", "/é", "/a%c3%a9b", "/a/../b", "/x?q=a b&r=%c3%a9", "/x?", "/x#frag", "/[x]|^?[y]|"):
        assert session.get(shop.url(path), headers={"X-Tenant": "acme"}).status_code == 200
    prepared = session.prepare_request(requests.Request("GET", shop.url("/%c3%a9")))
    assert prepared.path_url == "/%C3%A9"
    raw = requests.Request("GET", shop.url("/x")).prepare()
    raw.url = shop.url("/%c3%a9?[")
    assert session.auth is not None
    with pytest.raises(LocalMisuse, match="escaped"):
        session.auth(raw)  # type: ignore[operator]
    raw.url = shop.url("/%c3%a9")
    session.auth(raw)  # type: ignore[operator]
    assert session.send(raw).status_code == 200


@pytest.mark.parity("L29")
def test_a_prepared_request_serves_once(shop: Shop) -> None:
    session = shop.session()
    prepared = session.prepare_request(requests.Request("GET", shop.url()))
    assert session.send(prepared).status_code == 200
    with pytest.raises(LocalMisuse, match="sent once"):
        session.send(prepared)
    assert shop.target.verdicts == ["epoch-required", "accepted", "replayed"]


@pytest.mark.parity("L29")
def test_a_proxy_of_the_environment_learns_nothing(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for a tunnel, and gets no authenticator."""
    tunnels: list[Heard] = []

    def refuse(heard: Heard) -> Said:
        tunnels.append(heard)
        return Said(502)

    with listening(refuse) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        auth = OrthrosRequestsAuth({"https://orders.example": "orders"}, client=shop.source)
        with requests.Session() as session, pytest.raises(requests.exceptions.ProxyError):
            session.get("https://orders.example/", auth=auth)
    assert [heard.method for heard in tunnels] == ["CONNECT"]
    assert tunnels[0].value("authorization") is None
    # A tunnel protects what is sent through it; in clear the proxy would read a token, or write a response.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    origin = "http://127.0.0.1:9"
    for choice in ("bearer", "forwarded"):
        auth = OrthrosRequestsAuth({origin: "orders"}, client=shop.source, **{choice: [origin]})  # type: ignore[arg-type]
        with requests.Session() as client, pytest.raises(Misconfigured, match="to NO_PROXY"):
            client.get(origin, auth=auth)


@pytest.mark.parity("L6")
def test_no_secret_is_shown(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in reprs nor in errors nor in logs."""
    caplog.set_level(logging.DEBUG)
    session = shop.session()
    response = session.get(shop.url())
    shop.target.between = lambda said: said.with_header("orthros-reply", None)
    with pytest.raises(PeerMisbehaved) as caught:
        session.get(shop.url())
    hooks = response.request.hooks["response"]
    shown = (repr(session.auth) + repr(hooks) + repr(proven_of(response)) + repr(caught.value)).encode()
    for credentials in shop.source.issued:
        for name, form in forms_of(credentials.tail).items():
            assert form not in shown + caplog.text.encode(), name
        assert credentials.ticket.hex().encode() not in shown + caplog.text.encode()


@pytest.mark.parity("L6")
def test_without_a_daemon_nothing_is_sent(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is said; a client made here can be closed."""
    monkeypatch.setenv("ORTHROS_SOCKET", f"{tmp_path}/none")
    auth = OrthrosRequestsAuth({shop.origin: "orders"})
    with pytest.raises(Unavailable, match="daemon-unreachable"):
        requests.get(shop.url(), auth=auth, timeout=10)
    auth.close()
    assert shop.target.heard == []
