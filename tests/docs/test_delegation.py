"""docs/delegation.md: its realm is founded, and its samples run in it, each before the daemon of its own host."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from orthros_client import Client, Discharges, Refused, TargetRefusal, TicketRefused, Verifier
from orthros_client.credentials.discharging import DischargeExchange, DischargeRefused, ask
from orthros_tools.admin.__main__ import main as orthros_admin
from tests.docs.pages import ROOT, blocks
from tests.support.processes import REALM, Estate, found_realm, open_estate

PAGE = ROOT / "docs" / "delegation.md"
GATEWAY, NARROW, HAND_OVER, WORKER, DEMAND, APPROVALS, ORDERS, LEDGER = range(8)
HOSTS = ("gateway", "orders", "worker")


@define
class Street:
    """The hosts of the page; each sample leaves its names where it ran."""

    estate: Estate
    monkeypatch: pytest.MonkeyPatch
    names: dict[str, dict[str, Any]] = field(factory=dict)

    def run(self, host: str, *numbers: int, **given: Any) -> dict[str, Any]:
        names = self.names.setdefault(host, {})
        names.update(given)
        self.monkeypatch.setenv("ORTHROS_SOCKET", str(self.estate.folder / f"{host}.sock"))
        self.monkeypatch.setenv("ORTHROS_KEY_FILE", str(self.estate.key_file(f"{host}.key")))
        for number in numbers:
            text = blocks(PAGE, "python")[number]
            assert len(text.splitlines()) <= 12
            exec(compile(text, f"delegation.md, sample {number}", "exec"), names)
        return names

    def close(self) -> None:
        for names in self.names.values():
            for client in names.values():
                if isinstance(client, Client):
                    client.close()


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """The realm of the page, applied as its file; running."""
    with open_estate(found_realm(tmp_path_factory.mktemp("realm"))) as estate:
        file = estate.folder / "realm.toml"
        file.write_text(blocks(PAGE, "toml")[0].replace("corp.example", REALM), encoding="utf-8")
        lines = [f"realm apply {file} --yes --max-removals 9"]
        lines += [f"key export {name} --out {again(estate, name)}" for name in (*HOSTS, "ledger", "approvals")]
        for line in lines:
            assert orthros_admin(["--config", str(estate.config), "--quiet", *shlex.split(line)]) == 0
        estate.start_kdc()
        for host in HOSTS:
            estate.start_daemon(host)
        yield estate


def again(estate: Estate, name: str) -> Path:
    """Where its key file belongs; one of the realm before is taken away."""
    path = estate.key_file(f"{name}.key")
    path.unlink(missing_ok=True)
    return path


@pytest.fixture
def street(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> Iterator[Street]:
    found = Street(estate, monkeypatch)
    yield found
    found.close()


def answered(serve: Callable[[bytes, bytes], bytes], payload: bytes) -> Callable[[bytes], bytes]:
    """A transport to a sample, which answers refusals as `serve` of docs/library.md does."""

    def send(request: bytes) -> bytes:
        try:
            return serve(request, payload)
        except Refused as refusal:
            if refusal.reply is None:  # not about its caller: whom it called refused, or the KDC
                raise
            return refusal.reply

    return send


def open_services(street: Street) -> tuple[Callable[[bytes], bytes], list[Any]]:
    """The transport to orders, which calls ledger; and what ledger saw."""
    ledger = street.run("ledger", LEDGER)
    orders = street.run("orders", ORDERS, to_ledger=answered(ledger["book"], b"order 7"))
    return answered(orders["submit"], b"order 7"), ledger["seen"]


@pytest.mark.parity("L20", "P17")
def test_orders_acts_for_alice_and_then_for_itself(street: Street) -> None:
    """Evidence, by the page's samples; the same client object asks in its own name afterwards."""
    gateway = street.run("gateway", GATEWAY)
    to_orders, seen = open_services(street)
    gateway["ticket"].call(to_orders, "orders/submit", b"order 7")
    assert seen == [("user/alice", ("gateway", "orders")), (None, ())]


@pytest.mark.parity("L20")
def test_what_gateway_took_away_stays_away(street: Street) -> None:
    """The confused deputy; orders may write, the call that it serves may not."""
    gateway = street.run("gateway", GATEWAY, NARROW)
    to_orders, seen = open_services(street)
    with pytest.raises(TicketRefused, match="no-scope-left"):
        gateway["less"].call(to_orders, "orders/submit", b"order 7")
    assert seen == []


def test_a_hand_over_is_used_in_the_name_of_its_giver(street: Street) -> None:
    box = street.run("gateway", GATEWAY, NARROW, HAND_OVER)["box"]
    ticket = street.run("worker", WORKER, box=box)["ticket"]
    assert (ticket.client.name, ticket.subject.principal.name, ticket.scopes) == ("gateway", "user/alice", ("read",))
    assert ticket.expires_in_s <= 60


@pytest.mark.parity("L19")
def test_what_a_holder_demands_is_attested(street: Street) -> None:
    """The sample's discharger refuses, and once it was approved, attests; orders checks that by itself."""
    gateway = street.run("gateway", GATEWAY, NARROW, HAND_OVER, DEMAND)
    box = gateway["checked"].hand_over(gateway["to_worker"])
    worker = street.run("worker", WORKER, box=box)
    approvals = street.run("approvals", APPROVALS)
    to_approvals = street.estate.client("worker").credentials("approvals")
    orders = Verifier.from_file(street.estate.key_file("orders.key"))

    def deliver(exchange: DischargeExchange) -> tuple[bytes, bytes]:
        answer: tuple[bytes, bytes] = approvals["discharger"].serve(exchange.request, exchange.cid)
        return answer

    seen: list[str] = []

    def accept(request: bytes, payload: bytes) -> bytes:
        caller = orders.accept(request, "orders/read", payload, accept_user=True)
        seen.append(f"{caller.subject and caller.subject.principal.name} by {caller.client.name}")
        return caller.reply

    with pytest.raises(DischargeRefused):
        Discharges().collect(worker["ticket"], lambda demanded: ask(to_approvals, demanded.cid, deliver))
    with pytest.raises(TargetRefusal, match="discharge-mismatch"):
        worker["ticket"].call(answered(accept, b""), "orders/read")
    approvals["approved"].add("worker")
    ready = Discharges().collect(worker["ticket"], lambda demanded: ask(to_approvals, demanded.cid, deliver))
    ready.call(answered(accept, b""), "orders/read")
    assert seen == ["user/alice by gateway"]


def test_what_a_rule_demands_is_in_the_ticket(street: Street) -> None:
    refund = street.estate.client("orders").credentials("ledger", ["refund"])
    assert [demanded.discharger and demanded.discharger.name for demanded in refund.demanded] == ["approvals"]
