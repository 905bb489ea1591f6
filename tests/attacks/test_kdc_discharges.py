"""Discharges that the KDC demands: nobody discharges his own ticket, and nobody learns of what he may not call."""

from __future__ import annotations

from typing import Any

import pytest

from orthros_kdc.admin import principals, rules
from orthros_kdc.policy.rule_caveats import RequiredDischarge
from orthros_protocol.errors import Malformed, OrthrosError, PeerMisbehaved, Refused
from orthros_protocol.exchanges.acceptance import AcceptanceRules, Received, accept
from orthros_protocol.exchanges.ap_exchange import ApRequest, parse_ap_request, sign_ap_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.exchanges.wants import Granted, NotGranted
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import derive, digest
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing.fakes import ManualStore
from orthros_protocol.tickets.attenuation import join_caveats, pop_key_of, tail_after, tail_of
from orthros_protocol.tickets.caveats import ExpiresCaveat, ThirdPartyCaveat
from orthros_protocol.tickets.discharges import Demand as Question
from orthros_protocol.tickets.discharges import Discharge, make_discharge, open_demand
from orthros_protocol.tickets.presented import open_presented
from tests.support.behalf_bench import principal, resealed
from tests.support.kdc_bench import KdcBench, open_bench
from tests.support.naive import Sealer

NAMES = ("billing", "payroll", "approvals", "mallory")


@pytest.fixture
async def bench() -> KdcBench:
    """billing may call payroll, but only with a discharge of approvals."""
    bench = await open_bench()
    await bench.add(*NAMES)
    demanded: dict[str, Any] = {"discharges": (RequiredDischarge("approvals", "four-eyes"),)}
    await rules.allow(bench.admin, "billing", "payroll", scopes=("pay",), **demanded)
    return bench


async def obtain(bench: KdcBench) -> Granted:
    granted = await bench.ask_one(await bench.log_in("billing"), "payroll")
    assert isinstance(granted, Granted)
    return granted


class Payroll:
    """The target, with its own key alone."""

    def __init__(self, bench: KdcBench) -> None:
        self._bench = bench
        self._store = ManualStore(bench.clock.now)

    def called(self, granted: Granted, *discharges: Discharge) -> tuple[str, ...]:
        """The scopes of the caller that shows these discharges."""
        now = self._bench.clock.now()
        key = pop_key_of(tail_of(granted.session_key or b"", granted.credential))
        for one in discharges:
            key = derive(key, "mix", one.tail)
        request = ApRequest(
            use=0, ticket=granted.credential, ts=now, nonce=self._bench.entropy(16), epoch=self._store.epoch,
            bind=bind_raw("pay", b""), discharges=tuple(one.caveats for one in discharges),
        )  # fmt: skip
        return accept(
            parse_ap_request(sign_ap_request(request, key).message),
            lambda ticket, caveats: open_presented(ticket, caveats, self._bench.keytabs["payroll"]),
            now=now,
            replay=self._store,
            received=Received(use=0, bind=bind_raw("pay", b"")),
            rules=AcceptanceRules(max_life_s=86400),
        ).scopes


def self_made(root: bytes, cid: bytes, expires: int) -> Discharge:
    """What `make_discharge` would make, if this were the root of the demand."""
    question = Question(root=root, about=principal("billing"), predicate="four-eyes", expires=expires, adder=None)
    return make_discharge(question, cid, [], expires=expires)


@pytest.mark.parity("L8")
async def test_the_discharger_opens_the_way(bench: KdcBench) -> None:
    """The control of these experiments."""
    granted, payroll, now = await obtain(bench), Payroll(bench), bench.clock.now()
    (cid,) = granted.demands
    question = open_demand(cid, bench.keytabs["approvals"], now=now)
    discharge = make_discharge(question, cid, [], expires=now // 1000 + 30)
    assert payroll.called(granted, discharge) == ("pay",)
    with pytest.raises(Refused, match="discharge-mismatch"):
        payroll.called(granted)


@pytest.mark.parity("L8", "B4")
async def test_a_client_cannot_discharge_what_the_kdc_demands(bench: KdcBench) -> None:
    """Self-made for a KDC-added caveat. The client knows k32, the ticket, the cid and all tails;
    the root is random, and stands in the sealed body alone."""
    granted, payroll = await obtain(bench), Payroll(bench)
    (cid,) = granted.demands
    key, end = granted.session_key or b"", bench.clock.now() // 1000 + 30
    tail = tail_of(key, granted.credential)
    at = encode([granted.target.realm, "approvals"], bytes(16))
    known = {
        "k32": key,
        "tail": tail,
        "pop key": pop_key_of(tail),
        "holder's root": derive(tail, "3p-root", at),
        "k32's root": derive(key, "3p-root", at),
        "cid": digest(cid),
        "ticket": digest(granted.credential),
        "box key": derive(key, "3p"),
        "nothing": bytes(32),
    }
    for name, root in known.items():
        with pytest.raises(OrthrosError) as refused:
            payroll.called(granted, self_made(root, cid, end))
        assert refused.value.code in {"wrong-mac", "discharge-mismatch"}, name


@pytest.mark.parity("L8")
async def test_a_demand_opens_for_its_discharger_alone(bench: KdcBench) -> None:
    """Not for the client that carries it, nor for the target, nor for a stranger."""
    granted = await obtain(bench)
    (cid,) = granted.demands
    for name in ("billing", "payroll", "mallory"):
        with pytest.raises(PeerMisbehaved, match="unknown-key"):
            open_demand(cid, bench.keytabs[name], now=bench.clock.now())
    question = open_demand(cid, bench.keytabs["approvals"], now=bench.clock.now())
    assert question.root not in granted.credential
    assert question.root.hex() not in repr(granted) + repr(question)
    assert question.about == principal("billing")


@pytest.mark.parity("L8")
async def test_a_discharge_of_one_ticket_is_none_for_another(bench: KdcBench) -> None:
    """Foreign; each demand has its own root, also for the same rule in the same second."""
    first, second, payroll = await obtain(bench), await obtain(bench), Payroll(bench)
    now = bench.clock.now()
    question = open_demand(first.demands[0], bench.keytabs["approvals"], now=now)
    for cid in (first.demands[0], second.demands[0]):
        foreign = make_discharge(question, cid, [], expires=now // 1000 + 30)
        with pytest.raises(OrthrosError):
            payroll.called(second, foreign)


@pytest.mark.parity("L8")
async def test_a_discharge_cannot_be_prolonged(bench: KdcBench) -> None:
    """Its end hangs off its tail."""
    granted, payroll, now = await obtain(bench), Payroll(bench), bench.clock.now()
    (cid,) = granted.demands
    question = open_demand(cid, bench.keytabs["approvals"], now=now)
    short = make_discharge(question, cid, [], expires=now // 1000 + 5)
    longer = ExpiresCaveat(now // 1000 + 500).to_bytes()
    edited = Discharge(cid_digest=short.cid_digest, caveats=join_caveats([longer]), tail=short.tail)
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        payroll.called(granted, edited)
    more = Discharge(cid_digest=short.cid_digest, caveats=short.caveats, tail=tail_after(short.tail, [longer]))
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        payroll.called(granted, more)
    bench.clock.advance(6)
    with pytest.raises(Refused, match="caveat-refused"):
        payroll.called(granted, short)


@pytest.mark.parity("K18")
async def test_the_caveat_stands_under_the_kdcs_mark(bench: KdcBench) -> None:
    """Payroll itself may shed it, for it is payroll's to enforce; but what it edits is evidence of nothing."""
    demanded: dict[str, Any] = {"discharges": (RequiredDischarge("approvals", "four-eyes"),)}
    await rules.allow(bench.admin, "mallory", "payroll", scopes=("see",), delegable=True, **demanded)
    await rules.allow(bench.admin, "payroll", "billing", scopes=("x",), behalf=("*",))
    login = await bench.log_in("payroll")
    granted = await bench.ask_one(await bench.log_in("mallory"), "payroll", flags=2)
    assert isinstance(granted, Granted)
    (entry,) = bench.keytabs["payroll"].entries
    key = entry.key.ticket_key()  # type: ignore[union-attr]
    sealer = Sealer(key.material, 2, "corp.test", "payroll", key.uid, key.kvno)
    with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
        await bench.ask_one(login, "billing", behalf=resealed(sealer, granted, caveats=b""))
    with pytest.raises(Refused, match="caveat-not-carried"):
        await bench.ask_one(login, "billing", behalf=resealed(sealer, granted))


async def test_where_there_is_no_rule_no_discharger_is_looked_for(bench: KdcBench) -> None:
    """Policy before existence: a refusal is the same whether or not somebody's rule names a discharger, and whether
    or not that one is there."""
    login = await bench.log_in("mallory")
    answers = [await bench.ask_one(login, "payroll")]
    await principals.disable(bench.admin, "approvals")
    answers.append(await bench.ask_one(login, "payroll"))
    answers.append(await bench.ask_one(login, "nobody"))
    seen = {(one.reason.name, one.retry_s) for one in answers if isinstance(one, NotGranted)}
    assert seen == {("not-granted", 0)}
    assert len(answers) == 3


@pytest.mark.parity("L8")
async def test_an_edited_demand_opens_for_nobody(bench: KdcBench) -> None:
    """Every byte of it."""
    (cid,) = (await obtain(bench)).demands
    for at in range(0, len(cid), 7):
        broken = cid[:at] + bytes([cid[at] ^ 1]) + cid[at + 1 :]
        with pytest.raises((PeerMisbehaved, Malformed)):
            open_demand(broken, bench.keytabs["approvals"], now=bench.clock.now())
    with pytest.raises(Refused, match="discharge-refused"):
        open_demand(cid, bench.keytabs["approvals"], now=Timestamp(bench.clock.now() + 3_600_000))


async def test_the_root_is_random_and_in_the_ticket(bench: KdcBench) -> None:
    """The target reads it in the ticket, so it needs to ask nobody."""
    tickets = [await obtain(bench), await obtain(bench)]
    roots = []
    for granted in tickets:
        (caveat,) = open_presented(granted.credential, b"", bench.keytabs["payroll"]).caveats
        assert isinstance(caveat, ThirdPartyCaveat)
        roots.append(caveat.root)
        assert caveat.root not in (granted.session_key, None)
    assert roots[0] != roots[1]
