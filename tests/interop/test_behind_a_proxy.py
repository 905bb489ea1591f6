"""docs/behind-a-proxy.md with the real programs, each configured by its example of the documentation."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from attrs import define

from orthros_client import MaybeExecuted, PeerMisbehaved, TargetRefusal
from orthros_client.integrations.httpx_auth import OrthrosAuth
from tests.client.forwarding import Sent
from tests.interop.front_proxies import HOST, MISTAKES, PROXIES, Change, is_tls, start_proxy
from tests.interop.proxy_programs import Running
from tests.interop.proxy_site import fetch, open_application
from tests.support.http_servers import await_open
from tests.support.peers import LARGE, require
from tests.support.ports import free_port
from tests.support.processes import Estate, eventually, found_realm, open_estate
from workshop.stage import Process, Stage

pytestmark = [pytest.mark.stories, pytest.mark.parity("O13")]

PROGRAMS = Path(__file__).with_name("programs")
KINDS = [pytest.param(kind, marks=[pytest.mark.campaign] if kind in LARGE else []) for kind in PROXIES]
MADE = [
    pytest.param(mistake, kind, marks=[pytest.mark.campaign] if kind in LARGE else [])
    for mistake, programs in MISTAKES.items()
    for kind in programs
]
SERVERS = {
    "uvicorn": "uvicorn --port 0 --workers 2 --no-proxy-headers --no-access-log service_behind:app",
    "gunicorn": "gunicorn -b 127.0.0.1:0 -w 2 --threads 2 wsgi_behind:app",
}


@define(eq=False)
class House:
    """A realm, and the service `orders` in two workers, which answers to the origins of all proxies."""

    estate: Estate
    ports: Mapping[str, int]
    executed: Path

    def origin(self, kind: str) -> str:
        return f"{'https' if is_tls(kind) else 'http'}://{HOST}:{self.ports[kind]}"

    def start(self, server: str) -> Served:
        environ = {
            "ORTHROS_KEY_FILE": str(self.estate.key_file("orders.verify.key")),
            "ORIGINS": " ".join(self.origin(kind) for kind in self.ports),
            "EXECUTED": str(self.executed),
            "PYTHONPATH": str(PROGRAMS),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = f'exec "$0" -m {SERVERS[server]} 2>&1'
        process = self.estate.stage.start(server, "sh", "-c", command, sys.executable, environ=environ)
        return Served(process, await_open(process))

    def executions(self, name: str) -> int:
        return self.executed.read_text("utf-8").split().count(name)


@define(eq=False)
class Served:
    """The service behind one server."""

    process: Process
    port: int


@define(eq=False)
class Site:
    """A proxy in front of the service, and who calls through it."""

    kind: str
    house: House
    running: Running

    @contextmanager
    def client(self, *, http2: bool = False) -> Iterator[httpx.Client]:
        origin = self.house.origin(self.kind)
        auth = OrthrosAuth({origin: "orders"}, client=self.house.estate.client())
        trust = self.running.trust
        with httpx.Client(auth=auth, base_url=origin, verify=trust, http2=http2, timeout=30, trust_env=False) as client:
            yield client


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_estate(found_realm(tmp_path_factory.mktemp("realm"))) as estate:
        estate.start_kdc()
        estate.start_daemon()
        executed = estate.folder / "executed"
        executed.touch()
        yield House(estate, {kind: free_port() for kind in PROXIES}, executed)


@pytest.fixture(scope="module")
def service(house: House) -> Served:
    return house.start("uvicorn")


@contextmanager
def open_site(house: House, service: Served, kind: str, *changes: Change) -> Iterator[Site]:
    require(kind)
    running = start_proxy(house.estate.stage, kind, service.port, *changes, port=house.ports[kind])
    try:
        yield Site(kind, house, running)
    finally:
        running.process.stop()


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, house: House, service: Served) -> Iterator[Site]:
    """Everything running, as the page shows it."""
    with open_site(house, service, request.param) as running:
        yield running


def test_calls_pass_through_every_proxy(site: Site) -> None:
    """Reads, uploads that the proxy buffers or not, long answers, redirects, HTTP/2 in front; nothing compressed."""
    upload = b"a" * (3 << 20)
    with site.client() as client:
        shown = client.get("/show/a%3Ab%20c/?x=%2F&y=%7E").json()
        assert shown["target"] == "/show/a%3Ab%20c/?x=%2F&y=%7E"
        assert dict(shown["headers"])["host"] == f"{HOST}:{site.house.ports[site.kind]}"
        assert client.post("/show/up", content=upload).json()["body"] == sha256(upload).hexdigest()
        pieces = {"Content-Digest": f"sha-256=:{b64encode(sha256(upload).digest()).decode()}:"}
        streamed = client.post("/show/up", content=iter([upload[:1000], upload[1000:]]), headers=pieces)
        assert streamed.json()["body"] == sha256(upload).hexdigest()
        assert len(client.get("/large").content) == 3 << 20
        willing = client.get("/text", headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in willing.headers
        moved = client.get("/moved")
        assert moved.headers["location"] == f"http://{HOST}:{site.house.ports[site.kind]}/show/there"
    if is_tls(site.kind):
        with site.client(http2=True) as client:
            assert client.post("/show/a", content=b"x").http_version == "HTTP/2"


@pytest.mark.parametrize("body", [b"", b"x"], ids=["without a body", "with a body"])
def test_a_post_whose_worker_died_is_executed_once(site: Site, body: bytes) -> None:
    """With the example, a proxy does not send it again: the caller reads of a proxy, or its connection ends. Varnish
    sends one without a body again, if it had kept the connection; the replay protection refuses the second copy."""
    name = f"{site.kind}-example-{len(body)}"
    is_copied = site.kind == "varnishd" and not body
    with site.client() as client:
        client.get("/show/first")
        with pytest.raises(MaybeExecuted if is_copied else (PeerMisbehaved, httpx.RemoteProtocolError)) as caught:
            client.post(f"/execute/{name}?die", content=body)
    assert site.house.executions(name) == 1
    if isinstance(caught.value, PeerMisbehaved):
        assert "a proxy" in caught.value.detail
        assert "may have executed the request" in caught.value.detail


WORDS = {
    "another Host": (
        PeerMisbehaved,
        ("status 400", "none of its origins, or a proxy sent it another Host", "A proxy must pass Host on"),
        (
            "reason=malformed",
            "the Host header names no origin of this service; received Host",
            "let the proxy pass Host",
        ),
    ),
    "no Authorization": (
        PeerMisbehaved,
        ("status 401", "something between removed the Authorization header", "pass Authorization on"),
        ("reason=credentials-missing", "no Authorization came", "let proxies pass Authorization on"),
    ),
    "another path": (
        TargetRefusal,
        ("wrong-binding", "signed: GET http", "received: GET http", "a proxy passes path, query, Host"),
        ("reason=wrong-binding", "client=shop@corp.test", "received: GET http"),
    ),
    "compression": (
        PeerMisbehaved,
        ("status 200: its content-encoding is not covered", "a proxy on the way compressed it: turn that off there"),
        (),
    ),
    "POST sent again": (
        MaybeExecuted,
        ("refused as replayed: a transport or proxy repeated this request", "in a proxy, the retries of POST"),
        ("reason=replayed", "client=shop@corp.test", "a proxy or an HTTP library that repeats requests"),
    ),
}


@pytest.mark.parity("O14")
@pytest.mark.parametrize(("mistake", "kind"), MADE)
def test_a_mistake_in_a_proxy_explains_itself(mistake: str, kind: str, house: House, service: Served) -> None:
    """The example with what is usually wrong: what the caller reads, and what the service logs."""
    expected, read, logged = WORDS[mistake]
    name, before = f"{kind}-again", len(service.process.text())
    # A path with escapes that need not be, and a query out of order, as a client may write them.
    method, target = (
        ("POST", f"/execute/{name}?die") if mistake == "POST sent again" else ("GET", "/show/%41%3Ab?b=1&a=2")
    )
    headers = {}
    if mistake == "compression":  # Orthros clients ask for `identity` unless their caller says otherwise
        target, headers = "/text", {"Accept-Encoding": "gzip"}
    with open_site(house, service, kind, *MISTAKES[mistake][kind]) as site, site.client() as client:
        with pytest.raises(expected) as caught:
            client.request(method, target, headers=headers)
        said = str(caught.value)
        assert [word for word in read if word not in said] == [], said
        written = eventually(
            lambda: all(word in service.process.text()[before:] for word in logged), f"the service logs {logged}", 10.0
        )
        assert written
    if method == "POST":
        assert house.executions(name) == 1


# What the page's table says of each program.
RESOLVED = {"/a//b": "/a/b", "/a/../b": "/b", "/a/%2e%2e/b": "/b", "/%41%3A%7e": "/A%3A~"}
TARGETS = (*RESOLVED, "/a%2Fb", "/a%5Cb", "/a/", "/a?", "/a;b", "/?x=//..")
DROPS_UNDERSCORES = {"nginx", "caddy"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_reaches_the_application_is_what_was_sent(kind: str) -> None:
    """Target and headers, byte for byte, also the longest credential; one line says where the request came from."""
    require(kind)
    credential = f"Orthros {'x' * 32_768}"
    own = (("Authorization", credential), ("X-Tenant", "a"), ("X_Tenant", "b"), ("X-Forwarded-For", "6.6.6.6"))
    with Stage("orthros-proxy-") as stage, open_application() as application:
        running = start_proxy(stage, kind, application.server_address[1])
        trust, host = running.trust if is_tls(kind) else None, f"{HOST}:{running.port}"
        for target in TARGETS:
            assert fetch(running.port, trust, Sent(target=target, host=host, headers=own), host=HOST).status == 200
            seen = application.reached.pop()  # type: ignore[attr-defined]
            assert seen.path == (RESOLVED.get(target, target) if kind == "traefik" else target)
            assert seen.values_of("host") == [host]
            assert seen.values_of("authorization") == [credential]
            assert seen.values_of("x-tenant") == ["a"]
            assert seen.values_of("x_tenant") == ([] if kind in DROPS_UNDERSCORES else ["b"])
            (forwarded,) = seen.values_of("x-forwarded-for")
            assert forwarded.split(",")[0] == ("6.6.6.6" if kind == "envoy" else "127.0.0.1")
        for size in (3, 3 << 20):
            sent = Sent(method="POST", target="/", host=host, body=bytes(size))
            assert fetch(running.port, trust, sent, host=HOST, chunked=True).status == 200
            seen = application.reached.pop()  # type: ignore[attr-defined]
            assert len(seen.body) == size
            assert bool(seen.values_of("content-length")) == (kind == "nginx" or (kind, size) == ("apache2", 3))


# nginx speaks HTTP/1.0 to the service by default before 1.29.7.
UNBUFFERED = "proxy_request_buffering off; proxy_buffering off;"
OLD = ("proxy_http_version 1.1;", "proxy_http_version 1.0;")
WAYS = {
    "HTTP/1.0": (OLD,),
    "HTTP/1.0, nothing buffered": (OLD, ("proxy_redirect off;", UNBUFFERED)),
    "nothing buffered": (("proxy_redirect off;", UNBUFFERED),),
}


@pytest.fixture(scope="module", params=SERVERS)
def served(request: pytest.FixtureRequest, house: House) -> Served:
    return house.start(request.param)


@pytest.mark.parametrize("changes", WAYS.values(), ids=WAYS)
def test_old_http_and_no_buffers_change_nothing(served: Served, changes: tuple[Change, ...], house: House) -> None:
    """Neither to uploads nor to answers."""
    with open_site(house, served, "nginx", *changes) as site, site.client() as client:
        for size in (0, 1000, 3 << 20):
            assert client.post("/show/up", content=b"a" * size).status_code == 200
        assert client.get("/show/a").status_code == 200
