"""A batch of more than eight wants takes turns with other requests: each turn is decided by the realm as it is then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from orthros_kdc.admin import principals, rules
from orthros_kdc.issuing.tgs_exchange import ENTROPY_PER_WANT
from orthros_kdc.realm.view import RealmView
from orthros_protocol.exchanges.tgs_exchange import TgsReply
from orthros_protocol.exchanges.wants import Granted, NotGranted, Want
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.primitives.names import Principal
from tests.support.kdc_bench import REALM, KdcBench, open_bench, service_over

ORDERS = Want(target=Principal(REALM, "orders"), scopes=("read",))


@pytest.fixture
async def bench() -> KdcBench:
    bench = await open_bench()
    await bench.add("billing", "orders")
    await rules.allow(bench.admin, "billing", "orders", scopes=("read", "write"))
    return bench


async def reply_to_nine(
    bench: KdcBench, clock: MockClock, change: Callable[[], Awaitable[object]]
) -> tuple[TgsReply, int]:
    """The reply to nine wants, and the policy seq when they were asked for. The realm is changed at once, and the KDC
    hears of the change when the eighth want is decided: so late that it must look before the ninth."""
    view = RealmView(bench.store, bench.admin.vault)
    turned = trio.Event()
    decided: list[int] = []

    def entropy(size: int) -> bytes:
        if size == ENTROPY_PER_WANT:
            decided.append(size)
            if len(decided) == 8:
                clock.jump(1.5)
                turned.set()
        return bench.entropy(size)

    bench.service = service_over(view, bench.ledger, bench.clock, entropy)
    await view.loader.look()
    login = await bench.log_in("billing")
    await bench.ask(login, ORDERS)  # so that all rows are at hand
    decided.clear()
    bench.ledger.events.clear()
    seq = view.loader.snapshot.facts.policy.seq
    await change()
    clock.jump(1.0)  # the snapshot counts for another second
    replies: list[TgsReply] = []

    async def ask() -> None:
        replies.append(await bench.ask(login, *[ORDERS] * 9))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await turned.wait()
        while not replies:
            await view.loader.look()
    return replies[0], seq


async def test_a_rule_that_goes_between_two_turns_grants_nothing_more(bench: KdcBench, mock_clock: MockClock) -> None:
    """The reply says the older policy, so that its reader asks again."""
    reply, seq = await reply_to_nine(bench, mock_clock, lambda: rules.deny(bench.admin, "billing", "orders"))
    assert [type(result) for result in reply.results] == [Granted] * 8 + [NotGranted]
    last = reply.results[-1]
    assert isinstance(last, NotGranted)
    assert (last.reason.name, reply.policy_seq) == ("not-granted", seq)
    assert {event.to_dict()["policy_seq"] for event in bench.ledger.named("tgs-issued")} == {seq}


async def test_a_rule_that_comes_between_two_turns_counts_for_the_rest(bench: KdcBench, mock_clock: MockClock) -> None:
    await rules.deny(bench.admin, "billing", "orders")
    reply, _ = await reply_to_nine(
        bench, mock_clock, lambda: rules.allow(bench.admin, "billing", "orders", scopes=("read",))
    )
    assert [type(result) for result in reply.results] == [NotGranted] * 8 + [Granted]


async def test_a_caller_who_is_disabled_between_two_turns_gets_nothing(bench: KdcBench, mock_clock: MockClock) -> None:
    """What was issued before stands in the log, and does not leave."""
    with pytest.RaisesGroup(pytest.RaisesExc(KdcRefusal, match="principal-disabled")):
        await reply_to_nine(bench, mock_clock, lambda: principals.disable(bench.admin, "billing"))
    assert len(bench.ledger.named("tgs-issued")) == 8
    assert [event.to_dict()["code"] for event in bench.ledger.named("tgs-refused")] == ["principal-disabled"]


async def test_a_target_that_is_disabled_between_two_turns_gets_no_more_callers(
    bench: KdcBench, mock_clock: MockClock
) -> None:
    reply, _ = await reply_to_nine(bench, mock_clock, lambda: principals.disable(bench.admin, "orders"))
    last = reply.results[-1]
    assert [type(result) for result in reply.results[:8]] == [Granted] * 8
    assert isinstance(last, NotGranted)
    assert last.reason.name == "target-unavailable"
