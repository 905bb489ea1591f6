"""Proven requests that somebody copied: they cost their maker nothing and gain their bearer nothing."""

import pytest

from orthros_kdc.admin import rules
from orthros_protocol import (
    KDC_TGT,
    Granted,
    Principal,
    Timestamp,
    Want,
    build_as_request,
    open_as_reply,
    open_tgs_reply,
)
from orthros_protocol.as_exchange import PendingAs
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


async def test_copies_are_bounded_all_the_same(bench: KdcBench) -> None:
    captured = login_request(bench)
    for number in range(2 * BURST):
        await bench.send(captured.message, f"198.51.100.{number}")
    assert len(bench.ledger.named("as-issued")) == 1 + BURST
    assert {event.to_dict()["code"] for event in bench.ledger.named("as-refused")} == {"rate-limited"}


async def test_a_copy_does_not_authenticate_its_bearer(bench: KdcBench) -> None:
    """The places for strangers and their short deadline would be no limit if one captured login lifted it."""
    login = await bench.log_in("billing")
    captured = [login_request(bench).message, bench.tgs_request(login, Want(target=Principal(REALM, "orders"))).message]
    assert [(await bench.service.answer(message, "first")).authenticated for message in captured] == [True, True]
    assert [(await bench.service.answer(message, "copy")).authenticated for message in captured] == [False, False]
    bench.clock.advance(301)
    assert [(await bench.service.answer(message, "late")).authenticated for message in captured] == [False, False]


async def test_a_principal_cannot_fill_the_memory_of_replays_for_ever(bench: KdcBench) -> None:
    """A timestamp that no window accepts would never leave the set again."""
    for number in range(BURST // 2):
        far = login_request(bench, at=Timestamp(2**62 + number))
        await bench.send(far.message)
    assert len(bench.service._copies._seen) == 0
