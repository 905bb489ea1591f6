"""The forward-auth endpoint: what each proxy asks, judged; the answers as the proxy gets them."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from orthros_client.daemon.listeners.forward_auth import Verdict
from orthros_client.daemon.listeners.forward_auth_dialects import DIALECTS, PATH, TELLS_BODY, ProxyQuestion
from orthros_protocol.exchanges.http_profile import parse_challenge
from orthros_protocol.exchanges.replay import Entry, ReplayStore, Standing
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.tickets.caveats import PeerCaveat
from orthros_protocol.tickets.ticket import Hop, Subject
from tests.client.forwarding import (
    ASKS,
    PEER,
    Gate,
    Sender,
    Sent,
    by_caddy,
    by_envoy,
    by_nginx,
    by_traefik,
    judged,
)

ANY = pytest.mark.parametrize("dialect", sorted(DIALECTS))
UPGRADE = (("connection", "upgrade"), ("upgrade", "websocket"))


@pytest.mark.parity("L16", "L11")
@ANY
def test_a_signed_request_passes_and_its_caller_is_named(tmp_path: Path, dialect: str) -> None:
    """The application learns who calls, the client that the target accepted this very request."""
    gate = Gate.open(tmp_path, dialect, "read", "write")
    verdict = gate.ask(gate.sender.sign(Sent()))
    facts = dict(verdict.headers)
    assert verdict.status == 200
    assert (facts["x-orthros-client"], facts["x-orthros-subject"]) == ("web@test.realm", "web@test.realm")
    assert facts["x-orthros-scopes"] == "read write"
    assert len(bytes.fromhex(facts["x-orthros-transaction"])) == 16
    gate.sender.confirm(verdict)


@pytest.mark.parity("L6")
@ANY
def test_first_contact_costs_one_proven_refusal(tmp_path: Path, dialect: str) -> None:
    """401 with a challenge that teaches the epoch; the second request passes."""
    gate = Gate.open(tmp_path, dialect, met=False)
    first = gate.ask(gate.sender.sign(Sent()))
    assert first.status == 401
    assert gate.sender.told(first) == "epoch-required"
    assert gate.status(gate.sender.sign(Sent())) == 200


@pytest.mark.parity("L6")
@ANY
@pytest.mark.parametrize(
    "change",
    [
        {"target": "/orders/7?full=0"},
        {"target": "/orders/8?full=1"},
        {"target": "/orders/%37?full=1"},
        {"target": "/orders/7"},
        {"method": "DELETE"},
        {"host": "billing.example"},
        {"headers": (("content-type", "text/plain"),)},
    ],
)
def test_a_changed_request_is_refused(tmp_path: Path, dialect: str, change: dict[str, Any]) -> None:
    """Query, path, method, host, covered header."""
    gate = Gate.open(tmp_path, dialect)
    signed = gate.sender.sign(Sent(headers=(("content-type", "application/json"),)))
    if "headers" in change:
        change = {"headers": (*change["headers"], signed.headers[-1])}
    assert gate.status(evolve(signed, **change)) in (401, 403)
    assert gate.status(gate.sender.sign(Sent(headers=(("content-type", "application/json"),)))) == 200


@pytest.mark.parity("L6")
@ANY
def test_a_replay_is_refused_with_a_proven_reason(tmp_path: Path, dialect: str) -> None:
    """The same bytes again."""
    gate = Gate.open(tmp_path, dialect)
    signed = gate.sender.sign(Sent())
    assert gate.status(signed) == 200
    again = gate.ask(signed)
    assert again.status == 401
    assert gate.sender.told(again) == "replayed"
    assert b"replayed" in again.body


@pytest.mark.parity("L16")
@ANY
@pytest.mark.parametrize("name", ["X-Orthros-Client", "x-orthros-subject", "X_Orthros_Client", "X-Orthros_Whatever"])
def test_results_that_a_client_brings_along_are_refused(
    tmp_path: Path, dialect: str, name: str, daemon_log: io.StringIO
) -> None:
    """No honest client sends them; in any spelling that an application might take for one of ours."""
    gate = Gate.open(tmp_path, dialect)
    signed = gate.sender.sign(Sent())
    question = ASKS[dialect](signed)
    spoofed = evolve(question, headers=(*question.headers, (name.lower(), b"admin@test.realm")))
    verdict = judged(gate.endpoint, spoofed)
    assert verdict.status == 403
    assert not [header for header, _ in verdict.headers if header.startswith("x-orthros")]
    assert "spoofed-header" in daemon_log.getvalue()
    assert "admin@test.realm" not in daemon_log.getvalue()
    assert gate.status(signed) == 200  # it was not judged, hence not spent


ASKED_WITHOUT: dict[str, Callable[..., ProxyQuestion]] = {
    "nginx": by_nginx, "caddy": by_caddy, "traefik": by_traefik, "envoy": by_envoy,
}  # fmt: skip


@pytest.mark.parity("L16")
@pytest.mark.parametrize(
    ("dialect", "missing", "line"),
    [
        ("nginx", "x-original-method", "proxy_set_header X-Original-Method $request_method;"),
        ("nginx", "x-original-uri", "proxy_set_header X-Original-URI $request_uri;"),
        ("nginx", "x-original-body", 'proxy_set_header X-Original-Body "$content_length;$http_transfer_encoding";'),
        ("nginx", "x-original-peer", "proxy_set_header X-Original-Peer $remote_addr;"),
        ("nginx", "x-original-upgrade", 'proxy_set_header X-Original-Upgrade "$http_upgrade;";'),
        ("caddy", "x-forwarded-method", "forward_auth"),
        ("caddy", "x-forwarded-uri", "forward_auth"),
        ("caddy", "x-original-body", 'header_up X-Original-Body "{header.Content-Length};{vars.orthros_transfer}"'),
        ("caddy", "x-original-peer", "header_up X-Original-Peer {remote_host}"),
        ("caddy", "x-original-upgrade", 'header_up X-Original-Upgrade "{header.Upgrade};"'),
        ("traefik", "x-forwarded-method", "forwardAuth"),
        ("traefik", "x-forwarded-host", "forwardAuth"),
        ("traefik", "x-forwarded-uri", "forwardAuth"),
        ("envoy", "x-original-peer", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"),
        ("envoy", "x-original-upgrade", "%REQ(upgrade)%;"),
    ],
)
def test_a_proxy_that_does_not_write_one_of_its_headers_is_misconfigured(
    tmp_path: Path, dialect: str, missing: str, line: str, daemon_log: io.StringIO
) -> None:
    """Then a client could send it. 403 and a loud line that names what writes it, also when it comes twice."""
    gate = Gate.open(tmp_path, dialect)
    ask = ASKED_WITHOUT[dialect]
    signed = gate.sender.sign(Sent())
    assert judged(gate.endpoint, ask(signed, without=missing)).status == 403
    said = daemon_log.getvalue().splitlines()[-1]
    assert "level=error" in said
    assert "the proxy is misconfigured" in said
    assert f"{missing} occurs 0 times" in said
    assert line.replace('"', '\\"') in said or line in said
    whole = ask(signed)
    for spelling in (missing, missing.replace("-", "_")):
        twice = evolve(whole, headers=(*whole.headers, (spelling, b"/orders/7?full=1")))
        assert judged(gate.endpoint, twice).status == 403
    assert f"{missing} occurs 2 times" in daemon_log.getvalue()
    assert judged(gate.endpoint, whole).status == 200


@pytest.mark.parity("L16")
@pytest.mark.parametrize(
    ("dialect", "method", "target"),
    [
        ("nginx", "POST", PATH),
        ("nginx", "GET", f"{PATH}/orders/7?full=1"),
        ("nginx", "GET", "/livez"),
        ("caddy", "POST", PATH),
        ("caddy", "GET", f"{PATH}?full=1"),
        ("caddy", "GET", f"{PATH}/orders/7"),
        ("traefik", "PUT", PATH),
        ("traefik", "GET", "/"),
        ("envoy", "GET", "/orders/7?full=1"),
        ("envoy", "GET", f"{PATH}?full=1"),
        ("envoy", "GET", f"{PATH}orders"),
    ],
)
def test_another_question_than_the_dialects_is_refused(tmp_path: Path, dialect: str, method: str, target: str) -> None:
    """One endpoint, asked in one way."""
    gate = Gate.open(tmp_path, dialect)
    question = ASKS[dialect](gate.sender.sign(Sent()))
    assert judged(gate.endpoint, evolve(question, method=method, target=target.encode())).status == 403
    assert judged(gate.endpoint, question).status == 200


@pytest.mark.parametrize(
    ("dialect", "target", "told"),
    [
        ("caddy", f"{PATH}?card=4111222233334444", [f"asked GET {PATH}?..., expected", f"write `uri {PATH}?`"]),
        (
            "nginx",
            f"{PATH}?card=4111222233334444",
            [f"asked GET {PATH}?..., expected", "no variable behind proxy_pass"],
        ),
        (
            "nginx",
            f"{PATH}/orders/7?card=4111222233334444",
            [f"{PATH}/orders/7?...,", "only the dialect envoy is asked like that"],
        ),
        ("traefik", f"{PATH}?card=4111222233334444", [f"asked GET {PATH}?..., expected", "adds the client's query"]),
        ("traefik", f"{PATH}?", [f"asked GET {PATH}?, expected"]),
        ("envoy", f"{PATH}?card=4111222233334444", [f"asked {PATH}?..., expected"]),
        ("traefik", "/" + 80 * "x" + "?card=4111222233334444", ["xxx...?..., expected"]),
    ],
)
def test_a_query_in_the_question_is_told_and_not_shown(
    tmp_path: Path, dialect: str, target: str, told: list[str], daemon_log: io.StringIO
) -> None:
    """Without a sign of it the message read: asked GET /v1/forward-auth, expected GET /v1/forward-auth."""
    gate = Gate.open(tmp_path, dialect)
    question = ASKS[dialect](gate.sender.sign(Sent()))
    assert judged(gate.endpoint, evolve(question, target=target.encode())).status == 403
    log = daemon_log.getvalue()
    assert [words for words in told if words not in log] == []
    assert "4111222233334444" not in log


def test_caddy_keeps_a_bare_question_mark(tmp_path: Path) -> None:
    """Of a client's target that ends with it; `uri` drops queries only."""
    gate = Gate.open(tmp_path, "caddy")
    question = by_caddy(gate.sender.sign(Sent(target="/orders/7?")))
    assert judged(gate.endpoint, evolve(question, target=f"{PATH}?".encode())).status == 200


@pytest.mark.parity("L15")
@ANY
def test_the_headers_of_other_proxies_mean_nothing(tmp_path: Path, dialect: str) -> None:
    """A dialect's headers are believed because that proxy writes them over; the others come from the client."""
    gate = Gate.open(tmp_path, dialect)
    lies = {"x-original-method", "x-original-uri", "x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"}
    stolen = gate.sender.sign(Sent(target="/admin"))
    spoofed = stolen.with_header(*((name, "GET" if "method" in name else "/admin") for name in sorted(lies)))
    assert gate.status(evolve(spoofed, target="/orders/7?full=1")) in (401, 403)
    honest = gate.sender.sign(Sent()).with_header(("x-forwarded-proto", "http"), ("forwarded", "host=evil"))
    assert gate.status(honest) == 200


@pytest.mark.parity("L19", "L20")
@ANY
def test_a_missing_scope_is_a_403_with_a_proven_reason(tmp_path: Path, dialect: str, daemon_log: io.StringIO) -> None:
    """By route; the log says who was refused, in which transaction."""
    route = [{"path": "/orders/*", "scopes": ["write"]}, {"path": "/orders/7", "scopes": ["read"]}]
    gate = Gate.open(tmp_path, dialect, "read", route=route)
    assert gate.status(gate.sender.sign(Sent(target="/orders/7"))) == 200
    assert gate.status(gate.sender.sign(Sent(target="/other"))) == 200
    verdict = gate.ask(gate.sender.sign(Sent(target="/orders/8")))
    assert verdict.status == 403
    assert gate.sender.told(verdict) == "insufficient-scope"
    (line,) = [line for line in daemon_log.getvalue().splitlines() if "reason=insufficient-scope" in line]
    assert "client=web@test.realm" in line
    assert re.search(r"transaction=[0-9a-f]{32}\b", line)


@pytest.mark.parity("L12")
@ANY
@pytest.mark.parametrize(
    "value", [None, "Basic d2ViOnB3", "Orthros v=1", 'Orthros v=1, h="", r="AAAA"', "Bearer x.y.z"]
)
def test_without_proper_credentials_nothing_passes(tmp_path: Path, dialect: str, value: str | None) -> None:
    """401 with what is expected, or 403; never anything else."""
    gate = Gate.open(tmp_path, dialect)
    verdict = gate.ask(Sent() if value is None else Sent(headers=(("authorization", value),)))
    assert verdict.status in (401, 403)
    if value is None:
        assert parse_challenge(dict(verdict.headers)["www-authenticate"]).realm == "test.realm"


@pytest.mark.parity("L12")
@ANY
def test_two_authorization_headers_are_refused(tmp_path: Path, dialect: str) -> None:
    """Also when one of them is good."""
    gate = Gate.open(tmp_path, dialect)
    signed = gate.sender.sign(Sent())
    assert gate.status(signed.with_header(("authorization", "Bearer x"))) == 403
    assert gate.status(signed) == 200


@pytest.mark.parity("L6")
@ANY
@pytest.mark.parametrize(
    "target", ["/a/../orders/7", "//orders/7", "/orders%2f7", "http://orders.example/orders/7", "*"]
)
def test_paths_that_could_be_read_in_two_ways_are_refused(tmp_path: Path, dialect: str, target: str) -> None:
    """Although they are signed."""
    gate = Gate.open(tmp_path, dialect)
    assert gate.status(gate.sender.sign(Sent(target=target))) == 403


@pytest.mark.parity("L6")
@pytest.mark.parametrize("dialect", sorted(TELLS_BODY))
def test_a_body_must_be_bound_by_its_digest(tmp_path: Path, dialect: str) -> None:
    """Nginx and Caddy tell that there is a body, and without Content-Digest it is anybody's."""
    gate = Gate.open(tmp_path, dialect)
    sent = Sent(method="POST", body=b"{}")
    assert gate.status(gate.sender.sign(sent)) == 200
    assert gate.status(gate.sender.sign(sent, digested=False)) == 401
    appended = gate.sender.sign(Sent(method="POST"))
    assert gate.status(evolve(appended, body=b"more")) == 401
    stripped = gate.sender.sign(sent)
    assert gate.status(stripped.without("content-digest")) == 401


@pytest.mark.parity("L6")
@pytest.mark.parametrize(("dialect", "ask"), [("nginx", by_nginx), ("caddy", by_caddy)])
def test_a_body_of_unknown_length_needs_a_route_that_takes_it(
    tmp_path: Path, dialect: str, ask: Callable[..., ProxyQuestion]
) -> None:
    """Transfer-Encoding, as nginx and Caddy tell it."""
    gate = Gate.open(tmp_path, dialect, route=[{"path": "/stream", "unsized_bodies": True}])
    sent = Sent(method="POST", body=b"{}")
    refused = judged(gate.endpoint, ask(gate.sender.sign(sent), chunked=True))
    assert refused.status == 401
    assert gate.sender.told(refused) == "not-covered"
    passed = gate.sender.sign(evolve(sent, target="/stream"))
    assert judged(gate.endpoint, ask(passed, chunked=True)).status == 200
    bare = gate.sender.sign(evolve(sent, target="/stream"), digested=False)
    assert judged(gate.endpoint, ask(bare, chunked=True)).status == 401


@pytest.mark.parity("L6")
@pytest.mark.parametrize("dialect", ["traefik", "envoy"])
def test_where_the_proxy_does_not_tell_of_bodies_their_digest_is_bound(tmp_path: Path, dialect: str) -> None:
    """What is there holds; the application compares it with the body."""
    gate = Gate.open(tmp_path, dialect)
    signed = gate.sender.sign(Sent(method="POST", body=b"{}"))
    assert gate.status(signed.without("content-digest")) == 401
    again = gate.sender.sign(Sent(method="POST", body=b"{}"))
    assert gate.status(again) == 200


@pytest.mark.parity("L16")
@pytest.mark.parametrize("told", ["3", "3;chunked;x", "three;", ";;", "-1;", ""])
def test_a_body_that_nginx_does_not_tell_in_its_form_is_a_misconfiguration(tmp_path: Path, told: str) -> None:
    gate = Gate.open(tmp_path, "nginx")
    question = by_nginx(gate.sender.sign(Sent()), without="x-original-body")
    question = evolve(question, headers=(*question.headers, ("x-original-body", told.encode())))
    assert judged(gate.endpoint, question).status == 403


@pytest.mark.parity("L15")
@ANY
def test_an_address_caveat_holds_where_the_proxy_tells_the_address(tmp_path: Path, dialect: str) -> None:
    """The address of the connection to the proxy; X-Forwarded-For never; unknown refuses."""
    near, far = PeerCaveat((f"{PEER}/32",)).to_bytes(), PeerCaveat(("198.51.100.0/24",)).to_bytes()
    gate = Gate.open(tmp_path, dialect)
    assert gate.status(gate.sender.sign(Sent(), caveat=near)) == (403 if dialect == "traefik" else 200)
    forwarded = Sent(headers=(("x-forwarded-for", "198.51.100.1"), ("x-original-peer", "198.51.100.1")))
    assert gate.status(gate.sender.sign(forwarded, caveat=far)) == 403


@pytest.mark.parity("L15")
@pytest.mark.parametrize("address", [b"unix:", b"", b"-", b"@", b"localhost", b"198.51.100.1, 192.0.2.7"])
def test_what_is_no_address_lies_outside_every_network(tmp_path: Path, address: bytes) -> None:
    """The other end of a Unix socket, and whatever else a proxy writes there."""
    gate = Gate.open(tmp_path, "nginx")
    signed = gate.sender.sign(Sent(), caveat=PeerCaveat(("0.0.0.0/0",)).to_bytes())
    question = by_nginx(signed, without="x-original-peer")
    question = evolve(question, headers=(*question.headers, ("x-original-peer", address)))
    assert judged(gate.endpoint, question).status == 403


@ANY
def test_an_upgrade_is_told_where_the_proxy_can(tmp_path: Path, dialect: str) -> None:
    """Two replicas may execute a request that may be repeated, and never one that opens another protocol."""
    sent = Sent(headers=UPGRADE)
    plain, asking = DIALECTS[dialect](ASKS[dialect](Sent())), DIALECTS[dialect](ASKS[dialect](sent))
    assert (plain.upgrade, asking.upgrade) == ((None, None) if dialect == "traefik" else (False, True))
    told = [value for name, value in asking.headers if name == "upgrade"]
    assert told == ([] if dialect == "traefik" else [b"websocket"])
    odd = DIALECTS[dialect](ASKS[dialect](Sent(headers=(("upgrade", ";"),))))  # whatever it is, it is not nothing
    assert odd.upgrade is (None if dialect == "traefik" else True)
    assert not [name for name, _ in plain.headers if name in ("upgrade", "connection")]


class LongThere:
    """The endpoint's replay store, as it would be had it been there for ever."""

    def __init__(self, store: ReplayStore) -> None:
        self._store = store

    def admit(self, entry: Entry) -> Standing:
        return evolve(self._store.admit(entry), born=Timestamp(0))


@ANY
def test_a_request_may_be_repeated_only_where_the_proxy_tells_that_it_is_no_upgrade(
    tmp_path: Path, dialect: str
) -> None:
    """An instance that the client does not name executes what is safe, and known to ask for no other protocol."""
    gate = Gate.open(tmp_path, dialect, met=False)
    guard = gate.endpoint._terms.guard
    guard.store = LongThere(guard.store)
    plain, asking = gate.ask(gate.sender.sign(Sent())), gate.ask(gate.sender.sign(Sent(headers=UPGRADE)))
    if dialect == "traefik":
        assert (plain.status, gate.sender.told(asking)) == (401, "epoch-required")
    else:
        assert (plain.status, gate.sender.told(asking)) == (200, "epoch-required")


@pytest.mark.parametrize("told", ["", "websocket", "websocket;x"])
def test_an_upgrade_that_is_not_told_in_its_form_is_a_misconfiguration(
    tmp_path: Path, told: str, daemon_log: io.StringIO
) -> None:
    """nginx without the quotes and the semicolon sends no header, or a bare value."""
    gate = Gate.open(tmp_path, "nginx")
    question = by_nginx(gate.sender.sign(Sent()), without="x-original-upgrade")
    question = evolve(question, headers=(*question.headers, ("x-original-upgrade", told.encode())))
    assert judged(gate.endpoint, question).status == 403
    assert "x-original-upgrade is not the client's Upgrade" in daemon_log.getvalue()


@pytest.mark.parity("L20")
def test_a_user_is_named_only_where_a_route_takes_one(tmp_path: Path) -> None:
    """On behalf of; the application sees both."""
    gate = Gate.open(tmp_path, "nginx", "assert-user", route=[{"path": "/desk/*", "accept_user": True}])
    assert gate.status(gate.sender.sign(Sent(), user="alice")) == 403
    facts = dict(gate.ask(gate.sender.sign(Sent(target="/desk/1"), user="alice")).headers)
    assert (facts["x-orthros-client"], facts["x-orthros-subject"]) == ("web@test.realm", "alice")


def chained(gate: Gate, *via: str) -> Sender:
    """`web` on behalf of alice, through these; it has met the endpoint."""
    chain = tuple(Hop(gate.realm.principal(name), 1) for name in via)
    subject = Subject(gate.realm.principal("alice"), 0, 2)
    sender = Sender.of(gate.realm, chain=chain, subject=subject)
    assert sender.told(gate.ask(sender.sign(Sent()))) == "epoch-required"
    return sender


@pytest.mark.parity("L16", "L20")
@ANY
def test_subject_and_chain_are_named_in_order(tmp_path: Path, dialect: str) -> None:
    """The application sees for whom and through whom, in the KDC's words; the id is that of the ticket."""
    gate = Gate.open(tmp_path, dialect, route=[{"path": "/*", "accept_user": True}])
    facts = dict(gate.ask(gate.sender.sign(Sent())).headers)
    assert (facts["x-orthros-subject"], facts["x-orthros-chain"]) == ("web@test.realm", "")
    sender = chained(gate, "portal", "gateway")
    facts = dict(gate.ask(sender.sign(Sent())).headers)
    assert (facts["x-orthros-client"], facts["x-orthros-subject"]) == ("web@test.realm", "alice@test.realm")
    assert facts["x-orthros-chain"] == "portal@test.realm, gateway@test.realm"


@pytest.mark.parity("M5")
@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"deny_via": ["portal"]}, "chain-refused"),
        ({"require_via": ["audit"]}, "chain-refused"),
        ({"max_depth": 1}, "chain-refused"),
        ({"require_via": ["gateway"], "max_depth": 2}, None),
    ],
)
def test_a_route_has_rules_for_paths(tmp_path: Path, rule: dict[str, Any], told: str | None) -> None:
    """In the daemon's configuration, for applications that know nothing of chains."""
    gate = Gate.open(tmp_path, "nginx", route=[{"path": "/*", "accept_user": True, **rule}])
    sender = chained(gate, "portal", "gateway")
    verdict = gate.ask(sender.sign(Sent()))
    assert verdict.status == (200 if told is None else 403)
    if told is not None:
        assert sender.told(verdict) == told


@pytest.mark.parity("L16")
def test_a_public_route_names_nobody(tmp_path: Path) -> None:
    """It passes without credentials, and without any of our headers."""
    gate = Gate.open(tmp_path, "nginx", route=[{"path": "/health", "public": True}])
    assert gate.ask(Sent(target="/health")) == Verdict(200, ())
    assert gate.status(Sent(target="/health", headers=(("X-Orthros-Client", "root@test.realm"),))) == 403
    assert gate.status(Sent(target="/health/more")) == 401


@pytest.mark.parity("L6")
def test_a_head_request_is_asked_about_as_such(tmp_path: Path) -> None:
    """Envoy asks with the client's own method."""
    gate = Gate.open(tmp_path, "envoy")
    signed = gate.sender.sign(Sent(method="HEAD"))
    assert by_envoy(signed).method == "HEAD"
    assert gate.status(signed) == 200


@pytest.mark.parity("L16")
def test_nothing_secret_is_logged(tmp_path: Path, daemon_log: io.StringIO) -> None:
    """Neither credentials nor queries, whatever the verdict."""
    gate = Gate.open(tmp_path, "nginx")
    signed = gate.sender.sign(Sent(target="/orders/7?card=4111"))
    for sent in (signed, signed, signed.with_header(("X-Orthros-Client", "x")), evolve(signed, method="PUT")):
        gate.ask(sent)
    judged(gate.endpoint, by_nginx(signed, without="x-original-uri"))
    judged(gate.endpoint, evolve(by_nginx(signed), target=b"/orders/7?card=4111"))
    log = daemon_log.getvalue()
    assert len(log.splitlines()) >= 5
    assert dict(signed.headers)["authorization"][-200:] not in log
    assert "4111" not in log
