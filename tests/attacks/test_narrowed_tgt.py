"""A login that was narrowed for a worker, in the hands of a worker that wants more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve

from orthros_kdc.admin import jwt_keys, rules
from orthros_kdc.store.base import Transaction
from orthros_protocol.errors import PeerMisbehaved
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import WANT_DELEGABLE, WANT_JWT, Granted, NotGranted, Want
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.caveats import AppCaveat, ExpiresCaveat, MethodsCaveat, ScopesCaveat, TargetsCaveat
from tests.support.kdc_bench import REALM, KdcBench, Login, open_bench

ORDERS, PAYROLL = Principal(REALM, "orders"), Principal(REALM, "payroll")
ONLY_ORDERS, ONLY_READ = TargetsCaveat((ORDERS,)).to_bytes(), ScopesCaveat(("read",)).to_bytes()


@pytest.fixture
async def bench() -> KdcBench:
    bench = await open_bench()
    await bench.add("billing", "orders", "payroll")
    for target in ("orders", "payroll"):
        await jwt_keys.enable(bench.admin, target)
        await rules.allow(bench.admin, "billing", target, scopes=("read", "write"), jwt=True, delegable=True)
    return bench


async def code_of(bench: KdcBench, login: Login, target: str, caveats: Sequence[bytes], **want: Any) -> str:
    answer = await bench.ask_one(login, target, caveats=caveats, **want)
    assert isinstance(answer, NotGranted)
    return answer.reason.name


@pytest.mark.parity("B4", "L23")
async def test_another_target_than_those_named(bench: KdcBench) -> None:
    """Whether there is a rule, or a target, or a realm, is not even looked up."""
    login = await bench.log_in("billing")
    for target in ("payroll", "nobody", "kdc/keys", "order", "orders2"):
        assert await code_of(bench, login, target, [ONLY_ORDERS]) == "excluded-by-your-caveat"
    foreign = Want(target=Principal("other.test", "orders"))
    (answer,) = (await bench.ask(login, foreign, caveats=[ONLY_ORDERS])).results
    assert isinstance(answer, NotGranted)
    assert answer.reason.name == "excluded-by-your-caveat"
    both = [ONLY_ORDERS, TargetsCaveat((PAYROLL,)).to_bytes()]
    assert await code_of(bench, login, "orders", both) == "excluded-by-your-caveat"
    assert isinstance(await bench.ask_one(login, "orders", caveats=[ONLY_ORDERS]), Granted)


async def test_guessing_behind_a_caveat_costs_no_more_and_tells_no_more(bench: KdcBench) -> None:
    """Decided before any look-up, so the price of a guess is not charged either."""
    small = await open_bench(burst=40)
    await small.add("billing", "orders")
    await rules.allow(small.admin, "billing", "orders")
    login = await small.log_in("billing")
    wants = [Want(target=Principal(REALM, f"guess{number}")) for number in range(32)]
    reply = await small.ask(login, *wants, caveats=[ONLY_ORDERS])
    codes = {one.reason.name for one in reply.results if isinstance(one, NotGranted)}
    assert codes == {"excluded-by-your-caveat"}
    assert isinstance(await small.ask_one(login, "orders", caveats=[ONLY_ORDERS]), Granted)


async def test_what_a_caveat_excludes_is_not_looked_up(bench: KdcBench) -> None:
    """Shown with a target whose row cannot be read: only who may reach it runs into that."""

    def spoil(tx: Transaction) -> None:
        record = tx.principal_by_name("payroll")
        assert record is not None
        (key,) = tx.keys_of(record.uid)
        tx.set_key(evolve(key, sealed=bytes(len(key.sealed))))

    await bench.store.change(spoil)
    login = await bench.log_in("billing")
    assert await code_of(bench, login, "payroll", [ONLY_ORDERS]) == "excluded-by-your-caveat"
    assert await code_of(bench, login, "payroll", [ONLY_READ], kind=WANT_JWT) == "excluded-by-your-caveat"
    with pytest.raises(KdcRefusal, match="kdc-fault"):
        await bench.ask_one(login, "payroll", caveats=[ONLY_READ])


@pytest.mark.parametrize(
    "want",
    [{"flags": WANT_DELEGABLE}, {"kind": WANT_JWT}, {"kind": WANT_JWT, "flags": WANT_DELEGABLE}],
    ids=["delegable", "jwt", "delegable-jwt"],
)
async def test_what_would_outgrow_the_caveats(bench: KdcBench, want: dict[str, Any]) -> None:
    """Else a restricted worker and a colluding target reach a third service as the delegator."""
    login = await bench.log_in("billing")
    for caveats in ([ONLY_ORDERS], [ONLY_READ], [ExpiresCaveat(2**40).to_bytes()]):
        assert await code_of(bench, login, "orders", caveats, **want) == "excluded-by-your-caveat"
    assert isinstance(await bench.ask_one(login, "orders", **want), Granted)


@pytest.mark.parity("L15", "B4")
async def test_after_the_end_of_the_caveat(bench: KdcBench) -> None:
    """To the second, whatever the login itself has left."""
    login = await bench.log_in("billing")
    end = [ExpiresCaveat(bench.clock.now() // 1000 + 60).to_bytes()]
    bench.clock.advance(59)
    granted = await bench.ask_one(login, "orders", caveats=end)
    assert isinstance(granted, Granted)
    assert granted.ttl_s == 1
    bench.clock.advance(1)
    for target in ("orders", "nobody"):
        assert await code_of(bench, login, target, end) == "excluded-by-your-caveat"


@pytest.mark.parity("B4", "L24")
async def test_a_caveat_that_the_kdc_cannot_carry(bench: KdcBench) -> None:
    """Said under the key of the tail, so that the worker learns which."""
    login = await bench.log_in("billing")
    carried = (MethodsCaveat(("GET",)).to_bytes(), AppCaveat("corp/rows", b"9").to_bytes())
    for caveat in carried:
        with pytest.raises(KdcRefusal, match="caveat-not-carried"):
            await bench.ask_one(login, "orders", caveats=[ONLY_ORDERS, caveat])
    with pytest.raises(KdcRefusal, match="caveat-unsupported"):
        await bench.ask_one(login, "orders", caveats=[encode(99, "later")])


WRITE, LONG = ScopesCaveat(("write",)).to_bytes(), ExpiresCaveat(2**40).to_bytes()


@pytest.mark.parity("L7")
@pytest.mark.parametrize(
    ("held", "shown"),
    [
        ((ONLY_ORDERS,), ()),
        ((ONLY_ORDERS, ONLY_READ), (ONLY_READ,)),
        ((ONLY_ORDERS, ONLY_READ), (ONLY_ORDERS,)),
        ((ONLY_ORDERS, ONLY_READ), (ONLY_READ, ONLY_ORDERS)),
        ((ONLY_READ,), (WRITE,)),
        ((ONLY_READ,), (ScopesCaveat(("read", "write")).to_bytes(),)),
        ((ONLY_ORDERS,), (TargetsCaveat((ORDERS, PAYROLL)).to_bytes(),)),
        ((ONLY_READ,), (ONLY_READ, ONLY_READ)),
        ((ONLY_READ,), (LONG,)),
    ],
    ids=["dropped", "first", "last", "reordered", "edited", "widened", "more-targets", "doubled", "replaced"],
)
async def test_a_worker_cannot_change_what_came_before(
    bench: KdcBench, held: tuple[bytes, ...], shown: tuple[bytes, ...]
) -> None:
    """Caveat dropped, reordered, edited: the key of the tail fits one list only, and the KDC tells
    nobody why."""
    login = await bench.log_in("billing")
    for caveats in (shown, held):
        pending = build_tgs_request(
            login.reply.ticket,
            login.pop_key_behind(held),
            [Want(target=ORDERS)],
            now=bench.clock.now(),
            nonce=bench.entropy(16),
            caveats=join_caveats(caveats),
        )
        answer = await bench.send(pending.message)
        if caveats == held:
            assert isinstance(open_tgs_reply(pending, answer).results[0], Granted)
        else:
            with pytest.raises(PeerMisbehaved, match="unauthenticated-refusal"):
                open_tgs_reply(pending, answer)
            assert bench.ledger.events[-1].to_dict()["code"] == "wrong-mac"


async def test_a_narrowed_login_is_never_taken_for_the_whole_one(bench: KdcBench) -> None:
    """What the KDC remembers of an opened login has no caveats, so it is not used for one that has."""
    login = await bench.log_in("billing")
    for caveats in ((), (ONLY_READ,), (), (ONLY_READ, ONLY_ORDERS), (ONLY_READ,)):
        granted = await bench.ask_one(login, "orders", caveats=caveats)
        assert isinstance(granted, Granted)
        assert granted.scopes == (("read",) if caveats else ("read", "write"))
