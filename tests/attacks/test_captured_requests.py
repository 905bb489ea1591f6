"""Proven requests that somebody copied: they cost their maker nothing and gain their bearer nothing."""

import pytest

from orthros_kdc.admin import rules
from orthros_protocol.exchanges.as_exchange import PendingAs, build_as_request, open_as_reply
from orthros_protocol.exchanges.replay import ReplaySet
from orthros_protocol.exchanges.tgs_exchange import open_tgs_reply
from orthros_protocol.exchanges.wants import Granted, Want
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.primitives.names import KDC_TGT, Principal
from orthros_protocol.tickets.caveats import ScopesCaveat
from tests.support.kdc_bench import REALM, KdcBench, open_bench

BURST = 40


@pytest.fixture
async def bench() -> KdcBench:
    bench = await open_bench(burst=BURST)
    await bench.add("billing", "orders")
    await rules.allow(bench.admin, "billing", "orders", scopes=("read",))
    return bench


def login_request(bench: KdcBench, *, at: Timestamp | None = None) -> PendingAs:
    return build_as_request(
        bench.as_key("billing"),
        service=KDC_TGT,
        ttl_s=0,
        instance=bytes(16),
        now=at or bench.clock.now(),
        nonce=bench.entropy(16),
    )


@pytest.mark.parametrize("age_s", [0, 299, 301, 86_400 * 365])
async def test_a_captured_login_cannot_keep_its_maker_out(bench: KdcBench, age_s: int) -> None:
    """Lesson 36: lockout is a lever. Copies of one old login must not use up the share of its principal."""
    captured = login_request(bench)
    open_as_reply(captured, bench.as_key("billing"), await bench.send(captured.message))
    bench.clock.advance(age_s)
    for number in range(2 * BURST):
        await bench.send(captured.message, f"198.51.100.{number}")
    assert isinstance(await bench.ask_one(await bench.log_in("billing"), "orders"), Granted)


async def test_a_captured_batch_of_guesses_cannot_keep_its_maker_out(bench: KdcBench) -> None:
    login = await bench.log_in("billing")
    guesses = [Want(target=Principal(REALM, f"guess-{number}")) for number in range(2)]
    captured = bench.tgs_request(login, *guesses)
    open_tgs_reply(captured, await bench.send(captured.message))
    for number in range(BURST):
        await bench.send(captured.message, f"198.51.100.{number}")
    assert isinstance(await bench.ask_one(login, "orders"), Granted)


async def test_lookaside_are_bounded_all_the_same(bench: KdcBench) -> None:
    captured = login_request(bench)
    for number in range(2 * BURST):
        await bench.send(captured.message, f"198.51.100.{number}")
    assert len(bench.ledger.named("as-issued")) == 1 + BURST
    assert {event.to_dict()["code"] for event in bench.ledger.named("as-refused")} == {"rate-limited"}


async def test_a_copy_does_not_authenticate_its_bearer(bench: KdcBench) -> None:
    """The places for strangers and their short deadline would be no limit if one captured request lifted it.

    A login proves nothing, not even the first time: a copy that overtakes it, or that meets a KDC which has just
    started, is as good. Nor does another request under a key that was first used elsewhere.
    """
    login = await bench.log_in("billing")

    def ask() -> bytes:
        return bench.tgs_request(login, Want(target=Principal(REALM, "orders"))).message

    async def proven(message: bytes, connection: int) -> str:
        return (await bench.service.answer(message, "192.0.2.1", "192.0.2.1", connection)).proves

    as_request, first, second, held_back = login_request(bench).message, ask(), ask(), ask()
    assert [await proven(message, 1) for message in (as_request, first, second)] == ["", "billing", "billing"]
    assert [await proven(message, 2) for message in (as_request, first, second, held_back)] == [""] * 4
    bench.clock.advance(301)
    assert [await proven(message, 3) for message in (as_request, first, second)] == [""] * 3


async def test_who_narrowed_a_login_proves_its_own_connection(bench: KdcBench) -> None:
    """The key of a narrowed login is another key: it is first used where its holder sits."""
    login = await bench.log_in("billing")
    want = Want(target=Principal(REALM, "orders"))
    whole = bench.tgs_request(login, want)
    narrowed = bench.tgs_request(login, want, caveats=[ScopesCaveat(("read",)).to_bytes()])
    assert (await bench.service.answer(whole.message, "here", "", 1)).proves == "billing"
    assert (await bench.service.answer(narrowed.message, "there", "", 2)).proves == "billing"
    assert (await bench.service.answer(bench.tgs_request(login, want).message, "there", "", 2)).proves == ""


async def test_a_principal_cannot_fill_the_memory_of_replays_for_ever(bench: KdcBench) -> None:
    """A timestamp that no window accepts would never leave the set again."""
    for number in range(BURST // 2):
        far = login_request(bench, at=Timestamp(2**62 + number))
        await bench.send(far.message)
    assert len(bench.service._lookaside._seen) == 0


async def test_a_copy_that_meets_a_new_process_proves_nothing(bench: KdcBench) -> None:
    """A KDC that has just started knows neither what was seen nor which keys were used before it."""
    login = await bench.log_in("billing")

    def ask() -> bytes:
        return bench.tgs_request(login, Want(target=Principal(REALM, "orders"))).message

    async def proven(message: bytes, connection: int) -> str:
        return (await bench.service.answer(message, "192.0.2.1", "192.0.2.1", connection)).proves

    captured, never_sent = ask(), ask()
    assert await proven(captured, 1) == "billing"
    bench.clock.advance(1)
    bench.restart(burst=BURST)
    assert [await proven(captured, 2), await proven(never_sent, 2)] == ["", ""]
    assert await proven(ask(), 3) == "billing"


async def test_lookaside_from_before_the_start_cost_their_maker_nothing(bench: KdcBench) -> None:
    login = await bench.log_in("billing")
    captured = [bench.tgs_request(login, Want(target=Principal(REALM, "orders"))) for _ in range(2 * BURST)]
    bench.clock.advance(1)
    bench.restart(burst=BURST)
    for number, copy in enumerate(captured):
        await bench.send(copy.message, f"198.51.100.{number}")
    assert isinstance(await bench.ask_one(login, "orders"), Granted)


async def test_lookaside_of_what_a_clock_that_is_ahead_has_stamped_cost_no_more_than_the_originals(
    bench: KdcBench,
) -> None:
    """Behind a start nothing tells them from their originals. Each counts once, and its reply opens for its maker."""
    login = await bench.log_in("billing")
    ahead = Timestamp(bench.clock.now() + 200_000)
    captured = [login_request(bench, at=ahead).message]
    bench.clock.advance(200)
    captured += [bench.tgs_request(login, Want(target=Principal(REALM, "orders"))).message for _ in range(4)]
    bench.clock.advance(-200)
    for message in captured:
        await bench.send(message)
    bench.clock.advance(1)
    bench.restart(burst=BURST)
    bench.clock.advance(199)
    for number in range(BURST):
        for message in captured:
            answer = await bench.service.answer(message, f"198.51.100.{number}", "", number)
            assert message is not captured[0] or answer.proves == ""
    for _ in range(BURST - len(captured)):
        assert isinstance(await bench.ask_one(login, "orders"), Granted)
    with pytest.raises(KdcRefusal, match="rate-limited"):
        await bench.ask_one(login, "orders")


async def test_the_time_of_the_start_counts_for_as_long_as_lookaside_live(bench: KdcBench) -> None:
    """A KDC that starts with a clock that is ahead would else take every request for one from before its start."""
    bench.clock.advance(301)
    bench.service._lookaside._started = Timestamp(bench.clock.now() + 3_600_000)
    login = await bench.log_in("billing")
    request = bench.tgs_request(login, Want(target=Principal(REALM, "orders")))
    assert (await bench.service.answer(request.message, "here", "", 1)).proves == "billing"


async def test_where_nothing_can_be_told_nobody_has_proven_anything_and_the_maker_does_not_pay(
    bench: KdcBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full share remembers nothing of its client: whatever comes then may be a copy."""
    login = await bench.log_in("billing")
    first = bench.tgs_request(login, Want(target=Principal(REALM, "orders")))
    assert (await bench.service.answer(first.message, "here", "", 1)).proves == "billing"
    full = ReplaySet(capacity=1, per_client=1, past_ms=300_000, ahead_ms=None)
    monkeypatch.setattr(bench.service._lookaside, "_seen", full)
    captured = bench.tgs_request(login, Want(target=Principal(REALM, "orders")))
    assert (await bench.service.answer(captured.message, "here", "", 1)).proves == "billing"
    more = bench.tgs_request(login, Want(target=Principal(REALM, "orders")))
    for number in range(2 * BURST):
        answer = await bench.service.answer(more.message, f"198.51.100.{number}", "", 1)
        assert answer.proves == ""
    monkeypatch.undo()
    assert isinstance(await bench.ask_one(login, "orders"), Granted)
