"""The HTTP port over real sockets: loopback TCP, TLS and a Unix socket, asked by httpx and by hand."""

from __future__ import annotations

import socket
import ssl
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest
import trio
import trustme
from attrs import evolve, frozen

from orthros_kdc.audit import AuditLog
from orthros_kdc.config import KDC_SETTINGS, Config
from orthros_kdc.http.serving import HttpPort, _check_loopback, open_http_port
from orthros_protocol.errors import Misconfigured
from orthros_runtime.clocks import wall_clock
from tests.support.http_port import FORM, Repeater, Wire, request
from tests.support.kdc_bench import open_bench
from tests.support.realm_views import PromptView

FORM_BODY = {"grant_type": "client_credentials"}
PATIENCE_S = 30.0


@frozen
class Certified:
    authority: trustme.CA
    settings: dict[str, str]

    def client(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    def renew(self) -> None:
        made = self.authority.issue_cert("127.0.0.1")
        Path(self.settings["http.tls_cert"]).write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        key = Path(self.settings["http.tls_key"])
        key.touch(0o600)
        key.write_bytes(made.private_key_pem.bytes())


@pytest.fixture
def certified(tmp_path: Path) -> Certified:
    found = Certified(
        trustme.CA(), {"http.tls_cert": str(tmp_path / "tls.pem"), "http.tls_key": str(tmp_path / "tls.key")}
    )
    found.renew()
    return found


@asynccontextmanager
async def opened(
    folder: Path, settings: Mapping[str, object] = MappingProxyType({}), tokens: Repeater | None = None
) -> AsyncIterator[HttpPort]:
    """An HTTP port as the KDC opens it; the token service repeats what it is asked."""
    bench = await open_bench()
    flags = {name: str(value) for name, value in settings.items()}
    config: Config = KDC_SETTINGS.load(None, {}, {"http.tcp": "127.0.0.1:0", **flags})
    audit = AuditLog(folder / "audit", "kdc-1", bench.store)
    async with trio.open_nursery() as nursery:
        await nursery.start(audit.serve)
        port = await open_http_port(
            config, tokens or Repeater(), store=bench.store,
            view=PromptView(bench.store, bench.admin.vault), audit=audit, clock=wall_clock,
        )  # fmt: skip
        async with trio.open_nursery() as serving:
            serving.start_soon(port.serve)
            with trio.fail_after(PATIENCE_S):
                yield port
            port.server.drain()
        audit.close()


def port_of(port: HttpPort) -> int:
    return int(port.addresses[0].rpartition(":")[2])


async def by_hand(port: HttpPort) -> Wire:
    return Wire(await trio.open_tcp_stream("127.0.0.1", port_of(port)))


async def test_plain_http_on_loopback(tmp_path: Path) -> None:
    async with opened(tmp_path) as port:
        assert port.addresses[0].startswith("http://127.0.0.1:")
        async with httpx.AsyncClient(base_url=port.addresses[0]) as client:
            got = await client.post("/token", data=FORM_BODY)
            assert got.status_code == 200
            assert got.json()["body"] == "grant_type=client_credentials"
            assert got.json()["source"] == got.json()["address"] == "127.0.0.1"
            assert got.headers["cache-control"] == "no-store"
            assert "server" not in got.headers
            ready = await client.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (200, "ok")
            assert (await client.head("/livez")).status_code == 200
            metadata = await client.get("/.well-known/oauth-authorization-server")
            assert metadata.status_code == 200
            assert (await client.get("/token")).headers["allow"] == "POST"
            assert port.server.connection_count == 1


async def test_tls_speaks_http_1_1_only(tmp_path: Path, certified: Certified) -> None:
    """Whoever offers HTTP/2 gets HTTP/1.1, and nothing older than TLS 1.2."""
    async with opened(tmp_path, certified.settings) as port:
        assert port.addresses[0].startswith("https://127.0.0.1:")
        async with httpx.AsyncClient(base_url=port.addresses[0], verify=certified.client(), http2=True) as client:
            got = await client.post("/token", data=FORM_BODY)
            assert (got.status_code, got.http_version) == (200, "HTTP/1.1")
        async with httpx.AsyncClient(base_url=port.addresses[0]) as stranger:
            with pytest.raises(httpx.ConnectError):
                await stranger.get("/livez")
        async with httpx.AsyncClient(base_url=port.addresses[0].replace("https", "http")) as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get("/livez")


async def test_a_renewed_certificate_is_shown_to_new_connections(tmp_path: Path, certified: Certified) -> None:
    async def serial(port: HttpPort) -> bytes:
        stream = trio.SSLStream(
            await trio.open_tcp_stream("127.0.0.1", port_of(port)), certified.client(),
            server_hostname="127.0.0.1", https_compatible=True,
        )  # fmt: skip
        async with stream:
            await stream.do_handshake()
            found = stream.getpeercert(binary_form=True)
            assert isinstance(found, bytes)
            return found

    async with opened(tmp_path, certified.settings) as port:
        http = KDC_SETTINGS.load(None, {}, {"http.tcp": "127.0.0.1:0", **certified.settings}).http
        before = await serial(port)
        certified.renew()
        assert await serial(port) == before
        port.server.tls = port.tls_of(http, wall_clock())
        assert await serial(port) != before
        Path(http.tls_cert).write_text("nonsense")
        with pytest.raises(Misconfigured, match="no PEM certificate"):
            port.tls_of(http, wall_clock())
        with pytest.raises(Misconfigured, match="with a restart only"):
            port.tls_of(evolve(http, tls_cert="", tls_key=""), wall_clock())


async def test_a_unix_socket_has_its_mode_and_a_local_user_as_its_source(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    async with opened(tmp_path, {"http.tcp": "", "http.unix": str(path), "http.unix_mode": "0600"}) as port:
        assert port.addresses == (f"unix://{path}",)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
            got = await client.post("http://kdc/token", data=FORM_BODY, headers={"x-forwarded-for": "203.0.113.1"})
            assert got.json()["source"].startswith("uid:")
            assert got.json()["address"] == ""
    assert not path.exists()


@pytest.mark.parity("L15")
async def test_a_proxy_on_the_unix_socket_speaks_for_its_callers(tmp_path: Path) -> None:
    """Only because the operator says so."""
    path = tmp_path / "http.sock"
    async with opened(tmp_path, {"http.unix": str(path), "http.trusted_proxies": "unix"}) as port:
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as proxy:
            got = await proxy.post("http://kdc/token", data=FORM_BODY, headers={"x-forwarded-for": "203.0.113.1"})
            assert got.json()["address"] == got.json()["source"] == "203.0.113.1"
        async with httpx.AsyncClient(base_url=port.addresses[0]) as stranger:
            got = await stranger.post("/token", data=FORM_BODY, headers={"x-forwarded-for": "203.0.113.1"})
            assert got.json()["address"] == "127.0.0.1"


async def test_the_unix_socket_is_plain_also_where_tcp_is_not(tmp_path: Path, certified: Certified) -> None:
    path = tmp_path / "http.sock"
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with (
        opened(tmp_path, {"http.unix": str(path), **certified.settings}),
        httpx.AsyncClient(transport=transport) as client,
    ):
        assert (await client.get("http://kdc/livez")).status_code == 200


@pytest.mark.parity("P5")
@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /livez HTTP/1.1\r\nhost: x\r\n",
        request("POST", "/token", *FORM, ("content-length", "10"), body=b"a=b"),
    ],
    ids=["silent", "slow headers", "slow body"],
)
async def test_the_server_hangs_up_on_who_is_slow(tmp_path: Path, sent: bytes) -> None:
    """Over a real socket, with a real deadline that is short."""
    async with opened(tmp_path, {"limits.read_deadline_s": 0.3}) as port:
        wire = await by_hand(port)
        await wire.send(sent)
        got = await wire.receive()
        assert got is None or (got.status, await wire.receive()) == (408, None)
        await wire.stream.aclose()


async def test_the_server_hangs_up_on_who_never_finishes_the_handshake(tmp_path: Path, certified: Certified) -> None:
    async with opened(tmp_path, {"limits.read_deadline_s": 0.3, **certified.settings}) as port:
        wire = await by_hand(port)
        await wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
        assert await wire.stream.receive_some() == b""
        await wire.stream.aclose()


async def test_who_does_not_read_his_answers_is_hung_up_on(tmp_path: Path) -> None:
    """Otherwise a connection without a reader would hold its place for ever."""
    many = request("GET", "/livez") * 200
    async with opened(tmp_path, {"limits.read_deadline_s": 0.3}) as port:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client = trio.socket.from_stdlib_socket(sock)
        await client.connect(("127.0.0.1", port_of(port)))
        stream = trio.SocketStream(client)
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(many * 1000)  # far more than the buffers on the way can hold
        await stream.aclose()


async def test_a_body_that_is_too_large_is_told_so_while_it_is_still_being_sent(tmp_path: Path) -> None:
    async with opened(tmp_path) as port, httpx.AsyncClient(base_url=port.addresses[0]) as client:
        for size in (33_000, 200_000):
            got = await client.post("/token", content=b"x" * size, headers=dict(FORM))
            assert (got.status_code, got.json()["error"]) == (413, "invalid_request")
        assert (await client.post("/token", content=b"x" * 32_768, headers=dict(FORM))).status_code == 200
        big = await client.get("/livez", headers={"x": "y" * 40_000})
        assert (big.status_code, big.json()["error"]) == (431, "invalid_request")


async def test_strangers_make_room_for_each_other(tmp_path: Path) -> None:
    settings = {"limits.max_connections": 8, "limits.max_unauthenticated_connections": 6,
                "limits.max_unauthenticated_per_source": 3}  # fmt: skip
    async with opened(tmp_path, settings) as port:
        kept = [await by_hand(port) for _ in range(4)]
        for wire in kept:
            await wire.send(request("GET", "/livez"))
        assert await kept[0].receive(to="GET") is None
        for wire in kept[1:]:
            assert await wire.receive(to="GET") is not None
        await kept[1].send(request("POST", "/token", *FORM, body=b"a=b"))
        assert await kept[1].receive() is not None
        welcome = await by_hand(port)
        await welcome.send(request("GET", "/livez"))
        assert await welcome.receive(to="GET") is not None
        for wire in (*kept, welcome):
            await wire.stream.aclose()


async def test_a_drain_answers_what_is_under_way(tmp_path: Path) -> None:
    tokens = Repeater(gate=trio.Event())
    async with opened(tmp_path, tokens=tokens) as port, httpx.AsyncClient(base_url=port.addresses[0]) as client:
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                got = await client.post("/token", data=FORM_BODY)
                assert (got.status_code, got.headers["connection"]) == (200, "close")

            nursery.start_soon(ask)
            while not tokens.asked:
                await trio.lowlevel.checkpoint()
            port.server.drain()
            assert tokens.gate is not None
            tokens.gate.set()
        with pytest.raises(httpx.ConnectError):
            await client.get("/livez")


async def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    """And what was opened before it is closed again: a listener left open would be a warning, which is an error."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        for settings in ({"http.tcp": address}, {"http.tcp": "127.0.0.1:0", "http.unix": str(tmp_path)}):
            bench = await open_bench()
            with pytest.raises(Misconfigured, match=rf"http\.tcp {address}|http\.unix: .* is not a socket"):
                await open_http_port(
                    KDC_SETTINGS.load(None, {}, settings), Repeater(), store=bench.store,
                    view=PromptView(bench.store, bench.admin.vault),
                    audit=AuditLog(tmp_path, "kdc-1", bench.store), clock=wall_clock,
                )  # fmt: skip


async def test_a_name_that_leads_elsewhere_is_not_loopback() -> None:
    """`localhost` is allowed for what it is called; what counts is where it leads."""
    for host, is_fine in (("127.0.0.1", True), ("0.0.0.0", False)):
        (listener,) = await trio.open_tcp_listeners(0, host=host)
        async with listener:
            with nullcontext() if is_fine else pytest.raises(Misconfigured, match="no loopback address: use TLS"):
                _check_loopback((listener,))
