"""Authority that travels, with real programs: a service speaks for its caller, a worker lives off a narrowed login."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from orthros_client import Client, Credentials, Refused, TicketRefused, VerifiedCaller, Verifier
from orthros_client.errors import TargetRefusal
from orthros_client.http.propagation import serving
from orthros_protocol.tickets.evidence import Behalf
from tests.support.processes import Estate, Founded, eventually, open_estate
from workshop.stage import Process

pytestmark = pytest.mark.stories

SERVE = "orders/serve"
POST = "ledger/post"


@pytest.fixture(scope="module")
def three(founded: Founded) -> Iterator[Estate]:
    """`shop` calls `orders`, which may call `ledger` on its behalf; daemons for both give logins to workers."""
    with open_estate(founded) as estate:
        estate.admin("policy allow shop orders --scope read --scope write --delegable").require()
        estate.admin("policy allow orders ledger --scope post --behalf shop").require()
        estate.start_kdc()
        for host in ("shop", "orders"):
            config = estate.folder / f"{host}.toml"
            daemon = estate.start_daemon(host)
            with config.open("a") as text:
                text.write(f"[workers]\nlifetime_s = 300\n[[workers.allow]]\nuid = {os.geteuid()}\ntargets = 'all'\n")
            daemon.popen.send_signal(signal.SIGHUP)
            eventually(partial(_has_reloaded, daemon), "the daemon reads its configuration again")
        yield estate


def _has_reloaded(daemon: Process) -> bool:
    return "reloaded" in daemon.errors()


def call(verifier: Verifier, credentials: Credentials, endpoint: str, *, accept_user: bool = False) -> VerifiedCaller:
    """One call, raw, in this process; returns what the target learnt of its caller."""
    seen: list[VerifiedCaller] = []

    def deliver(request: bytes) -> bytes:
        try:
            seen.append(verifier.accept(request, endpoint, accept_user=accept_user))
        except Refused as refusal:
            return refusal.reply or b""
        return seen[-1].reply

    credentials.call(deliver, endpoint)
    return seen[-1]


@pytest.mark.parity("L20", "L23")
def test_a_service_speaks_for_whom_it_serves(three: Estate) -> None:
    """The whole way through two daemons and a KDC; the last target sees for whom and through whom."""
    orders = Verifier.from_file(three.key_file("orders.verify.key"))
    ledger = Verifier.from_file(three.key_file("ledger.verify.key"))
    caller = call(orders, three.client("shop").credentials("orders", delegable=True), SERVE)
    with Client(three.folder / "orders.sock", propagate=True) as client, serving(caller):
        credentials = client.credentials("ledger")
        seen = call(ledger, credentials, POST, accept_user=True)
        assert seen.subject is not None
        assert (seen.client.name, seen.subject.principal.name) == ("orders", "shop")
        assert [hop.principal.name for hop in seen.chain] == ["shop"]
        assert seen.transaction_id == caller.transaction_id
        with pytest.raises(TargetRefusal, match="user-not-accepted"):
            call(ledger, credentials, POST)
        sniffed = Behalf(evidence=caller.behalf().evidence, proof=bytes(32))
        with pytest.raises(TicketRefused, match="evidence-refused"):
            client.credentials("ledger", behalf=sniffed)
        assert client.credentials("ledger") is credentials
    plain = call(orders, three.client("shop").credentials("orders"), SERVE)
    with (
        Client(three.folder / "orders.sock", propagate=True) as client,
        serving(plain),
        pytest.raises(Refused, match="evidence-refused"),
    ):
        client.credentials("ledger")


@pytest.mark.parity("L23", "B4")
def test_a_worker_lives_off_a_narrowed_login(three: Estate) -> None:
    """The KDC issues within the login's targets and scopes, and nothing else."""
    login, socket = three.folder / "worker.login", three.folder / "worker.sock"
    three.orthros(f"worker-login --target orders --scope read --lifetime 2m --out {login}").require()
    words = ("--login", str(login), "--kdcs", f"unix://{three.folder}/kdc.sock", "--socket", str(socket))
    three.stage.start("worker-daemon", "orthros-daemon", *words).await_line("^orthros-daemon ready: ")
    orders = Verifier.from_file(three.key_file("orders.verify.key"))
    with Client(socket) as client:
        credentials = client.credentials("orders")
        assert credentials.expires_in_s <= 120
        seen = call(orders, credentials, SERVE)
        assert (seen.client.name, sorted(seen.scopes)) == ("shop", ["read"])
        for question in (
            lambda: client.credentials("ledger"),
            lambda: client.credentials("orders", delegable=True),
            lambda: client.token("orders"),
        ):
            with pytest.raises(TicketRefused, match="excluded-by-your-caveat"):
                question()
        with pytest.raises(TicketRefused, match="subject-refused"):
            client.credentials("orders", behalf="alice")


@pytest.mark.parity("B4")
def test_what_is_handed_over_is_opened_by_the_receivers_daemon(three: Estate) -> None:
    """Shop gives orders its own right to post, once narrowed; orders acts in shop's name with it."""
    mine = three.client("shop").credentials("ledger").narrow(lifetime=60)
    box = mine.hand_over(three.client("shop").credentials("orders"))
    ledger = Verifier.from_file(three.key_file("ledger.verify.key"))
    with Client(three.folder / "orders.sock") as client:
        received = client.receive(box)
    assert received.expires_in_s <= 60
    assert call(ledger, received, POST).client.name == "shop"
