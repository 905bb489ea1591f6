"""Narrowed TGTs that work, and what the KDC writes into tickets by itself: the caveats of rules, limits and demands."""

from __future__ import annotations

from typing import Any

import pytest

from orthros_kdc.admin import jwt_keys, principals, rules
from orthros_kdc.policy.rule_caveats import RequiredDischarge
from orthros_protocol.exchanges.wants import WANT_JWT, Granted, NotGranted, Want
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.caveats import (
    AppCaveat,
    Caveat,
    ChannelCaveat,
    ExpiresCaveat,
    MethodsCaveat,
    PathCaveat,
    PeerCaveat,
    ScopesCaveat,
    TargetsCaveat,
    ThirdPartyCaveat,
    parse_caveat,
)
from orthros_protocol.tickets.discharges import open_demand, peek_unverified_discharger
from orthros_protocol.tickets.presented import open_presented
from tests.support.kdc_bench import REALM, KdcBench, open_bench

ORDERS = Principal(REALM, "orders")


@pytest.fixture
async def bench() -> KdcBench:
    bench = await open_bench()
    await bench.add("billing", "orders", "payroll", "approvals", "legal")
    await rules.allow(bench.admin, "billing", "orders", scopes=("read", "write"), max_ttl_s=600)
    return bench


def caveats_in(bench: KdcBench, granted: Granted) -> tuple[bytes, ...]:
    return open_presented(granted.credential, b"", bench.keytabs[granted.target.name]).ticket.caveats


@pytest.mark.parity("B4", "L23")
async def test_a_narrowed_tgt_obtains_less_and_nothing_else(bench: KdcBench) -> None:
    """A worker's login: these targets, these scopes, this long; the KDC was not asked to make it."""
    login = await bench.log_in("billing")
    end = bench.clock.now() // 1000 + 30
    narrowed = [
        TargetsCaveat((ORDERS,)).to_bytes(),
        ScopesCaveat(("read", "erase")).to_bytes(),
        ExpiresCaveat(end + 5).to_bytes(),
        ExpiresCaveat(end).to_bytes(),
    ]
    granted = await bench.ask_one(login, "orders", caveats=narrowed)
    assert isinstance(granted, Granted)
    assert (granted.scopes, granted.ttl_s) == (("read",), 30)
    assert {(note.field, note.cause) for note in granted.notes} >= {(1, 5)}
    asked = await bench.ask_one(login, "orders", caveats=narrowed, scopes=("write",))
    assert isinstance(asked, NotGranted)
    assert asked.reason.name == "no-scope-left"
    # The targets caveat was checked, and the others are in scopes and end: nothing is left to carry.
    assert caveats_in(bench, granted) == ()


async def test_a_worker_spends_the_share_of_its_host_and_is_recorded_under_its_name(bench: KdcBench) -> None:
    """A narrowed login is a login of its principal: nobody gets a second share by making workers."""
    bench.restart(burst=40)
    login = await bench.log_in("billing")
    narrowed = [TargetsCaveat((ORDERS,)).to_bytes()]
    await bench.ask(login, *([Want(target=ORDERS)] * 32), caveats=narrowed)
    assert {event.to_dict()["client"] for event in bench.ledger.named("tgs-issued")} == {"billing"}
    own = await bench.ask(login, *([Want(target=ORDERS)] * 32))
    assert sum(isinstance(result, Granted) for result in own.results) < 10


@pytest.mark.parity("L7", "L23")
async def test_limits_of_a_request_bind_inside_the_ticket(bench: KdcBench) -> None:
    """What a client limits at the request binds everybody it hands the ticket to."""
    limits = [
        caveat.to_bytes()
        for caveat in (
            ExpiresCaveat(bench.clock.now() // 1000 + 30), ScopesCaveat(("read",)), MethodsCaveat(("GET",)),
            PathCaveat("/orders"), PeerCaveat(("192.0.2.0/24",)), ChannelCaveat(bytes(32)), AppCaveat("a/rows", b"9"),
        )
    ]  # fmt: skip
    granted = await bench.ask_one(await bench.log_in("billing"), "orders", limits=join_caveats(limits))
    assert isinstance(granted, Granted)
    assert caveats_in(bench, granted) == tuple(limits)


@pytest.mark.parity("L24")
@pytest.mark.parametrize(
    "limit",
    [
        TargetsCaveat((ORDERS,)).to_bytes(),
        ThirdPartyCaveat(ORDERS, bytes(16), None, bytes(32)).to_bytes(),
        ThirdPartyCaveat(ORDERS, None, bytes(32), bytes(32)).to_bytes(),
        encode(99, "later"),
    ],
    ids=["targets", "third-party-by-holder", "third-party-with-root", "unknown"],
)
async def test_limits_that_the_kdc_does_not_write_refuse_the_want(bench: KdcBench, limit: bytes) -> None:
    """Neither lost nor written blindly."""
    answer = await bench.ask_one(await bench.log_in("billing"), "orders", limits=join_caveats([limit]))
    assert isinstance(answer, NotGranted)
    assert answer.reason.name == "caveat-not-carried"
    (event,) = bench.ledger.named("tgs-refused")
    assert "type" in event.to_dict()["detail"]


async def test_a_jwt_takes_no_limits(bench: KdcBench) -> None:
    await jwt_keys.enable(bench.admin, "orders")
    await rules.allow(bench.admin, "billing", "orders", scopes=("read",), jwt=True)
    login = await bench.log_in("billing")
    limits = join_caveats([ScopesCaveat(("read",)).to_bytes()])
    assert isinstance(await bench.ask_one(login, "orders", kind=WANT_JWT), Granted)
    answer = await bench.ask_one(login, "orders", kind=WANT_JWT, limits=limits)
    assert isinstance(answer, NotGranted)
    assert answer.reason.name == "caveat-not-carried"


@pytest.mark.parity("P6")
async def test_the_caveats_of_a_rule_are_in_the_ticket(bench: KdcBench) -> None:
    """A rule can say more than scopes; all that it says is sealed."""
    caveats: dict[str, Any] = {"methods": ("GET", "HEAD"), "path": "/pay", "peers": ("192.0.2.0/24",)}
    await rules.allow(bench.admin, "billing", "payroll", scopes=("read",), **caveats)
    granted = await bench.ask_one(
        await bench.log_in("billing"), "payroll", limits=join_caveats([PathCaveat("/pay/2024").to_bytes()])
    )
    assert isinstance(granted, Granted)
    expected: list[Caveat] = [
        MethodsCaveat(("GET", "HEAD")), PathCaveat("/pay"), PeerCaveat(("192.0.2.0/24",)), PathCaveat("/pay/2024"),
    ]  # fmt: skip
    assert [parse_caveat(one) for one in caveats_in(bench, granted)] == expected
    assert granted.demands == ()


@pytest.mark.parity("B3")
async def test_rules_together_write_the_caveats_of_both(bench: KdcBench) -> None:
    """A grant is never wider than any rule that it rests on."""
    for scope, methods in (("read", ("GET",)), ("write", ("POST",))):
        await rules.allow(bench.admin, "billing", "payroll", scopes=(scope,), methods=methods)
    granted = await bench.ask_one(await bench.log_in("billing"), "payroll")
    assert isinstance(granted, Granted)
    assert granted.scopes == ("read", "write")
    written = [parse_caveat(one) for one in caveats_in(bench, granted)]
    assert written == [MethodsCaveat(("GET",)), MethodsCaveat(("POST",))]


@pytest.mark.parity("L8", "B4")
async def test_a_rule_demands_discharges_and_the_client_gets_the_demands(bench: KdcBench) -> None:
    """To each demand its caveat, sealed to the discharger alone, about the client, until the ticket ends."""
    wanted = (RequiredDischarge("approvals", "four-eyes"), RequiredDischarge("legal", "no-hold"))
    await rules.allow(bench.admin, "billing", "payroll", max_ttl_s=60, discharges=wanted)
    granted = await bench.ask_one(await bench.log_in("billing"), "payroll")
    assert isinstance(granted, Granted)
    written = [parse_caveat(one) for one in caveats_in(bench, granted)]
    assert len(written) == len(granted.demands) == 2
    roots = set()
    for caveat, cid, demand in zip(written, granted.demands, wanted, strict=True):
        assert isinstance(caveat, ThirdPartyCaveat)
        assert (caveat.discharger.name, caveat.salt, caveat.cid_digest) == (demand.discharger, None, digest(cid))
        opened = open_demand(cid, bench.keytabs[demand.discharger], now=bench.clock.now())
        assert (opened.about.name, opened.predicate, opened.adder) == ("billing", demand.predicate, None)
        assert opened.expires == bench.clock.now() // 1000 + 60
        assert opened.root == caveat.root
        roots.add(opened.root)
    assert len(roots) == 2


@pytest.mark.parity("L8")
@pytest.mark.parametrize("trouble", ["disabled", "deleted"])
async def test_without_its_discharger_a_rule_issues_nothing(bench: KdcBench, trouble: str) -> None:
    """Fail closed; a ticket that nobody could use is not made, and the log names the discharger."""
    demanded: dict[str, Any] = {"discharges": (RequiredDischarge("approvals", "four-eyes"),)}
    await rules.allow(bench.admin, "billing", "payroll", **demanded)
    if trouble == "disabled":
        await principals.disable(bench.admin, "approvals")
    else:
        record = (await principals.show(bench.admin, "approvals")).record
        await bench.store.change(lambda tx: tx.delete_principal(record.uid))
    answer = await bench.ask_one(await bench.log_in("billing"), "payroll")
    assert isinstance(answer, NotGranted)
    assert answer.reason.name == "discharger-unavailable"
    assert bench.ledger.named("tgs-refused")[-1].to_dict()["detail"] == "approvals"


@pytest.mark.parity("P6")
async def test_a_discharger_of_a_rule_that_is_not_needed_does_not_matter(bench: KdcBench) -> None:
    """The scope of the other rule is granted without."""
    demanded: dict[str, Any] = {"discharges": (RequiredDischarge("approvals", "four-eyes"),)}
    await rules.allow(bench.admin, "billing", "orders", scopes=("erase",), **demanded)
    await principals.disable(bench.admin, "approvals")
    login = await bench.log_in("billing")
    assert isinstance(await bench.ask_one(login, "orders", scopes=("read",)), Granted)
    refused = await bench.ask_one(login, "orders", scopes=("read", "erase"))
    assert isinstance(refused, NotGranted)


async def test_more_caveats_than_a_ticket_holds_refuse_the_want(bench: KdcBench) -> None:
    """Never a seventeenth, and never one less than was asked for."""
    login = await bench.log_in("billing")
    await rules.allow(bench.admin, "billing", "payroll", methods=("GET",))
    many = [ScopesCaveat((f"s{number}",)).to_bytes() for number in range(16)]
    fifteen = await bench.ask_one(login, "payroll", limits=join_caveats(many[:15]))
    sixteen = await bench.ask_one(login, "payroll", limits=join_caveats(many))
    assert isinstance(fifteen, Granted)
    assert len(caveats_in(bench, fifteen)) == 16
    assert isinstance(sixteen, NotGranted)
    assert sixteen.reason.name == "caveat-not-carried"


async def test_more_bytes_than_a_ticket_holds_refuse_the_want(bench: KdcBench) -> None:
    """A ticket has at most 8 KiB; whoever asks for less of what these rules allow gets it."""
    pairs = [tuple(f"scope-{number:02}-{part}-{'x' * 50}" for part in range(2)) for number in range(12)]
    for number, scopes in enumerate(pairs):
        path: dict[str, Any] = {"path": f"/{number:02}/" + "p" * 470}
        await rules.allow(bench.admin, "billing", "payroll", scopes=scopes, **path)
    login = await bench.log_in("billing")
    answer = await bench.ask_one(login, "payroll")
    assert isinstance(answer, NotGranted)
    assert answer.reason.name == "caveat-not-carried"
    assert bench.ledger.named("tgs-refused")[-1].to_dict()["detail"] == "the ticket would be too large"
    assert isinstance(await bench.ask_one(login, "payroll", scopes=pairs[0]), Granted)


async def test_four_demands_fit_a_result_whatever_the_names(bench: KdcBench) -> None:
    """At most four, and the longest names and predicates are no reason to refuse."""
    names = [f"{'d' * 120}-{number}" for number in range(4)]
    await bench.add(*names)
    wanted = tuple(RequiredDischarge(name, "p" * 64) for name in names)
    await rules.allow(bench.admin, "billing", "payroll", discharges=wanted)
    answer = await bench.ask_one(await bench.log_in("billing"), "payroll")
    assert isinstance(answer, Granted)
    dischargers = [peek_unverified_discharger(cid) for cid in answer.demands]
    assert [one.name for one in dischargers if one is not None] == names
