"""Forward authentication with real proxies, each configured by its example of the documentation itself."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import evolve

from orthros_client import PeerMisbehaved, TargetRefusal
from orthros_client.credentials.known_targets import KnownTargets
from orthros_client.daemon.listeners.forward_auth_dialects import TELLS_BODY
from orthros_client.integrations.httpx_auth import OrthrosAuth, proven_of
from tests.client.forwarding import ORIGIN, Sender, Sent
from tests.interop.proxies import PROXIES, start_proxy
from tests.interop.proxy_programs import PATIENCE_S
from tests.interop.proxy_site import Site, fetch, open_application, open_site, start_daemon
from tests.support.peers import LARGE, require
from tests.support.processes import eventually
from workshop.stage import Stage

pytestmark = pytest.mark.stories

MIB = 1 << 20
KINDS = [pytest.param(kind, marks=[pytest.mark.campaign] if kind in LARGE else []) for kind in PROXIES]


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Everything running. Tests do not stop what they share."""
    require(request.param)
    with open_site(tmp_path_factory.mktemp("realm"), request.param) as running:
        running.meet()
        yield running


@pytest.fixture(autouse=True)
def _nothing_reached(request: pytest.FixtureRequest) -> None:
    if "site" in request.fixturenames:
        request.getfixturevalue("site").reached.clear()


@pytest.mark.parity("L16", "L11", "O13")
def test_a_signed_request_reaches_the_application_with_the_name_of_its_caller(site: Site) -> None:
    """The application sees who calls and no credential; the client that the target accepted its request."""
    sent = Sent(target="/entries/a%20b?x=%2F&y=1", headers=(("content-type", "text/plain"),))
    answer = site.send(site.sender.sign(sent))
    assert (answer.status, answer.body) == (200, b"ok")
    (seen,) = site.reached
    assert (seen.method, seen.path) == ("GET", "/entries/a%20b?x=%2F&y=1")
    assert seen.values_of("x-orthros-client") == ["shop@corp.test"]
    assert seen.values_of("x-orthros-subject") == ["shop@corp.test"]
    assert seen.values_of("x-orthros-scopes") == ["post"]
    assert len(bytes.fromhex(seen.values_of("x-orthros-transaction")[0])) == 16
    assert "authorization" not in seen.names()
    assert [name for name, _ in answer.headers].count("orthros-accepted") == 1  # not the application's own as well
    if site.kind != "traefik":  # it can give the proof to the application only
        site.sender.confirm(answer)
        assert "orthros-accepted" not in seen.names()


@pytest.mark.parity("L12")
def test_a_stranger_is_told_what_is_expected(site: Site) -> None:
    """401 with the challenge of the route."""
    answer = site.send(Sent())
    assert answer.status == 401
    assert dict(answer.headers)["www-authenticate"] == 'Orthros realm="corp.test"'
    assert site.reached == []


@pytest.mark.parity("L16")
def test_silent_connections_of_other_programs_do_not_shut_the_proxy_out(site: Site) -> None:
    """Neither while they come nor while they stay; that the daemon closed what the proxy kept is not noticed."""
    host, colon, port = site.forward.rpartition(":")
    family, place = (socket.AF_INET, (host, int(port))) if colon else (socket.AF_UNIX, site.forward)
    with ExitStack() as silent:
        for number in range(300):
            silent.enter_context(socket.socket(family)).connect(place)
            if number % 50 == 0:
                assert site.status(Sent()) == 401
        assert site.status(site.sender.sign(Sent())) == 200


@pytest.mark.parity("L16")
@pytest.mark.parametrize("name", ["X-Orthros-Client", "x-orthros-client", "X_Orthros_Client", "X-Orthros_Client"])
def test_a_spoofed_result_never_reaches_the_application(site: Site, name: str) -> None:
    """Refused by the daemon or by Envoy, or dropped by nginx and Caddy; with good credentials and without."""
    for sent in (Sent(), site.sender.sign(Sent())):
        answer = site.send(evolve(sent, headers=(*sent.headers, (name, "root@corp.test"))))
        assert answer.status in (200, 400, 401, 403)
    for seen in site.reached:
        assert seen.values_of("x-orthros-client") == ["shop@corp.test"]
        assert not [value for _, value in seen.headers if "root@corp.test" in value]


@pytest.mark.parity("L16")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "envoy" not in kind.values])
def test_the_example_itself_writes_over_what_a_client_brings_along(kind: str) -> None:
    """The second line of defence, behind somebody who allows everything and names nobody. Envoy has none: what the
    daemon does not name would stay, so that the daemon refuses it."""
    require(kind)
    with Stage("orthros-proxy-") as stage, open_application() as application, open_application() as gullible:
        forward = f"127.0.0.1:{gullible.server_address[1]}"
        running = start_proxy(stage, kind, application.server_address[1], forward)
        names = ("X-Orthros-Client", "X-Orthros-Scopes", "X-Orthros-Subject", "X-Orthros-Chain", "Authorization")
        sent = Sent(target="/a?x=1", headers=tuple((name, "spoofed") for name in names))
        assert fetch(running.port, running.trust, sent).status == 200
        (seen,) = application.reached  # type: ignore[attr-defined]
        assert not [value for _, value in seen.headers if value == "spoofed"]
        (asked,) = gullible.reached  # type: ignore[attr-defined]
        assert asked.path == "/v1/forward-auth"


@pytest.mark.parity("L6")
def test_a_replay_is_refused_and_explained(site: Site) -> None:
    """The reason comes through the proxy, proven."""
    signed = site.sender.sign(Sent())
    assert site.status(signed) == 200
    again = site.send(signed)
    assert again.status == 401
    assert site.sender.told(again) == "replayed"
    assert len(site.reached) == 1


@pytest.mark.parity("L6")
@pytest.mark.parametrize(
    "change",
    [{"target": "/orders/7?full=2"}, {"target": "/orders/8?full=1"}, {"method": "DELETE"}, {"host": "other.example"}],
)
def test_a_changed_request_is_refused(site: Site, change: dict[str, Any]) -> None:
    """Query, path, method, host."""
    signed = site.sender.sign(Sent())
    answer = site.send(evolve(signed, **change))
    if "host" in change and site.kind in (
        "caddy",
        "traefik",
    ):  # they have no such site, which Caddy answers with nothing
        assert (answer.status, answer.body) in ((200, b""), (404, b"404 page not found\n"))
    else:
        assert answer.status in (401, 403)
    assert site.reached == []


@pytest.mark.parity("L16")
def test_what_a_proxy_tells_the_daemon_cannot_be_told_by_a_client(site: Site) -> None:
    """X-Original-* and X-Forwarded-* of the client are written over."""
    signed = site.sender.sign(Sent(target="/harmless"))
    lies = (
        ("X-Original-Method", "GET"),
        ("X-Original-URI", "/harmless"),
        ("X-Original-Body", ";"),
        ("X-Original-Peer", "192.0.2.1"),
        ("X-Original-Upgrade", ";"),
        ("X-Forwarded-Method", "GET"),
        ("X-Forwarded-Uri", "/harmless"),
        ("X-Forwarded-Host", "other.example"),
    )
    moved = evolve(signed, target="/orders/7", headers=(*signed.headers, *lies))
    assert site.status(moved) == 401
    assert site.reached == []
    assert site.status(evolve(signed, headers=(*site.sender.sign(Sent(target="/harmless")).headers, *lies))) == 200


@pytest.mark.parity("L6")
def test_a_body_goes_through_and_must_be_bound(site: Site) -> None:
    """The proxy keeps it to itself; nginx and Caddy tell that it is there."""
    sent = Sent(method="POST", target="/entries", body=b'{"amount":1}')
    assert site.status(site.sender.sign(sent)) == 200
    (seen,) = site.reached
    assert seen.body == sent.body
    if site.kind not in TELLS_BODY:  # the application compares the digest, which is bound
        assert site.status(site.sender.sign(sent).without("content-digest")) == 401
        return
    unbound = site.send(site.sender.sign(sent, digested=False))
    assert (unbound.status, site.sender.told(unbound)) == (401, "not-covered")
    appended = evolve(site.sender.sign(Sent(method="POST", target="/entries")), body=b"more")
    assert site.status(appended) == 401
    unsized = site.send(site.sender.sign(sent), chunked=True)
    assert (unsized.status, site.sender.told(unsized)) == (401, "not-covered")
    assert len(site.reached) == 1


def test_a_body_may_be_as_large_as_the_location_of_the_application_allows(site: Site) -> None:
    """The question to the daemon has the client's Content-Length: nginx would hold it against 1 MiB, and answer 500."""
    sent = Sent(method="POST", target="/entries", body=bytes(2 * MIB))
    assert site.status(site.sender.sign(sent)) == 200
    (seen,) = site.reached
    assert seen.body == sent.body
    if site.kind == "nginx":  # which has a limit in its example
        assert site.status(site.sender.sign(evolve(sent, body=bytes(16 * MIB + 1)))) == 413
        assert len(site.reached) == 1


@pytest.mark.parity("L19")
def test_a_missing_scope_is_a_403_that_says_so(site: Site) -> None:
    """The challenge of a 403 comes through as well."""
    assert site.status(site.sender.sign(Sent(target="/desk/1"))) == 200
    answer = site.send(site.sender.sign(Sent(target="/audit/1")))
    assert answer.status == 403
    assert site.sender.told(answer) == "insufficient-scope"
    assert len(site.reached) == 1


@pytest.mark.parity("P14")
def test_a_token_of_the_kdc_passes_where_a_route_takes_it(site: Site) -> None:
    """The same application by JWT; it sees the same name, and not the token."""
    token = site.estate.client().token("ledger").value
    bearing = Sent(target="/api/1", headers=(("Authorization", f"Bearer {token}"),))
    assert site.status(bearing) == 200
    (seen,) = site.reached
    assert (seen.values_of("x-orthros-client"), seen.values_of("x-orthros-scopes")) == (["shop@corp.test"], ["post"])
    assert not [value for _, value in seen.headers if token in value]
    assert site.status(evolve(bearing, target="/orders/1")) == 401
    assert site.status(evolve(bearing, headers=(("Authorization", f"Bearer {token[:-2]}"),))) == 401
    assert len(site.reached) == 1


def test_an_upgrade_goes_nowhere_and_may_not_be_repeated(site: Site) -> None:
    """Nothing proves what follows it. A daemon that is told of upgrades lets other reads pass without its epoch once it
    is 5 s old; behind Traefik, which does not tell, it never does."""
    stranger = Sender(evolve(site.sender.credentials, peers=KnownTargets()))
    if site.kind != "traefik":
        eventually(lambda: site.status(stranger.sign(Sent())) == 200, "the daemon is old enough")
    site.reached.clear()
    plain = site.send(stranger.sign(Sent()))
    assert plain.status == (401 if site.kind == "traefik" else 200)
    asking = Sent(headers=(("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")))
    refused = site.send(stranger.sign(asking))
    assert refused.status == {"nginx": 401, "caddy": 401, "traefik": 404, "envoy": 403}[site.kind]
    if refused.status == 401:
        assert stranger.told(refused) == "epoch-required"
    site.status(site.sender.sign(asking))
    assert not [seen for seen in site.reached if "upgrade" in seen.names()]


@pytest.mark.parity("L12")
@pytest.mark.parametrize("kind", KINDS)
def test_without_the_daemon_nothing_passes(tmp_path: Path, kind: str) -> None:
    """It fails closed, recovers, and ends without a word of trouble."""
    require(kind)
    with open_site(tmp_path, kind) as site:
        site.meet()
        assert site.status(site.sender.sign(Sent())) == 200
        site.estate.daemons["shop"].kill()
        refused = site.status(site.sender.sign(Sent()))
        assert refused == 403 if kind == "envoy" else 500 <= refused < 600
        assert len(site.reached) == 1
        start_daemon(site.estate, kind, site.forward)
        site.sender = Sender(site.estate.client().credentials("ledger"))
        eventually(lambda: _passes(site), f"{kind} asks the daemon again")
        assert site.proxy.stop(PATIENCE_S) == 0
        assert not [line for line in site.proxy.errors().splitlines() if "[alert]" in line or "[emerg]" in line]


def _passes(site: Site) -> bool:
    """Whether a request passes. A refusal under MAC teaches the epoch of a daemon whose memory did not outlive it."""
    answer = site.send(site.sender.sign(Sent(method="POST")))
    if answer.status == 401:
        site.sender.told(answer)
    return answer.status == 200


class _ThroughProxy(httpx.BaseTransport):
    """Carries the requests of httpx to the proxy, over TLS; `change` is what somebody does to the answers."""

    def __init__(self, site: Site, *, without: str = "") -> None:
        self.site = site
        self.without = without

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        headers = tuple((name, value) for name, value in request.headers.items() if name not in ("host", "connection"))
        own = tuple(pair for pair in headers if pair[0] not in ("content-length", "accept-encoding"))
        target = request.url.raw_path.decode("ascii")
        answer = self.site.send(Sent(method=request.method, target=target, headers=own, body=request.read()))
        kept = [(name, value) for name, value in answer.headers if name != self.without]
        return httpx.Response(answer.status, headers=kept, content=answer.body)


@pytest.mark.parity("L11", "L16")
def test_httpx_calls_through_a_proxy_that_asks_the_daemon(site: Site) -> None:
    """The target proves that it accepted; what came back is TLS's word, and the client had to say so."""
    source = site.estate.client()
    trusting = OrthrosAuth({ORIGIN: "ledger"}, client=source, forwarded=[ORIGIN])
    if site.kind == "traefik":  # the proof ends at the application, and what that says proves nothing
        with (
            httpx.Client(transport=_ThroughProxy(site), auth=trusting) as client,
            pytest.raises(PeerMisbehaved, match="response-unproven"),
        ):
            client.get(f"{ORIGIN}/entries")
        return
    with httpx.Client(transport=_ThroughProxy(site), auth=trusting) as client:
        answer = client.post(f"{ORIGIN}/entries?x=1", content=b"{}")
        assert (answer.status_code, answer.text) == (200, "ok")
        proven = proven_of(answer)
        assert proven is not None
        assert (str(proven.target), proven.covered, proven.body_is_proven) == ("ledger@corp.test", (), False)
        with pytest.raises(TargetRefusal, match="insufficient-scope"):
            client.get(f"{ORIGIN}/audit/7")
    with (
        httpx.Client(transport=_ThroughProxy(site), auth=OrthrosAuth({ORIGIN: "ledger"}, client=source)) as strict,
        pytest.raises(PeerMisbehaved, match="response-unproven"),
    ):
        strict.get(f"{ORIGIN}/entries")
    with (
        httpx.Client(transport=_ThroughProxy(site, without="orthros-accepted"), auth=trusting) as fooled,
        pytest.raises(PeerMisbehaved, match="response-unproven"),
    ):
        fooled.get(f"{ORIGIN}/entries")
