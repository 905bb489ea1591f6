"""What a client, a captured request and a stranger can have written in a day, in bytes, through a whole KDC service."""

import json

import pytest

from orthros_kdc.admin import rules
from orthros_protocol.errors import OrthrosError
from orthros_protocol.exchanges.wants import NotGranted, Want
from orthros_protocol.primitives.names import Principal
from tests.support.kdc_bench import REALM, KdcBench, open_bench

SECONDS = 60
DAY_S = 24 * 3600
GB = 1_000_000_000
SCOPES = tuple("s" * 62 + str(number) for number in range(10, 42))


@pytest.fixture
async def bench() -> KdcBench:
    bench = await open_bench()
    await bench.add("billing", "orders")
    return bench


def written(bench: KdcBench) -> int:
    """Bytes of all lines, hashes and numbers included."""
    return sum(len(json.dumps(event.to_dict())) + 180 for event in bench.ledger.events)


async def next_second(bench: KdcBench) -> None:
    bench.clock.advance(1)
    bench.service.sum_up(bench.clock.now())


def a_day_at_this_rate(bench: KdcBench, before: int) -> float:
    return (written(bench) - before) / SECONDS * DAY_S


@pytest.mark.parity("O5")
async def test_a_client_that_is_refused_in_long_words(bench: KdcBench) -> None:
    """Refusals with 32 scopes each, as fast as the rate allows and behind the burst; before, 114 GB a day."""
    login = await bench.log_in("billing")
    refs: set[str] = set()

    async def ask() -> None:
        want = Want(target=Principal(REALM, "orders"), scopes=SCOPES)
        try:
            results = (await bench.ask(login, *[want] * 8)).results
        except OrthrosError:
            return
        refs.update(result.ref.hex() for result in results if isinstance(result, NotGranted))

    for _ in range(30):
        await ask()
    before = written(bench)
    for _ in range(SECONDS):
        for _ in range(3):
            await ask()
        await next_second(bench)
    assert a_day_at_this_rate(bench, before) < 0.2 * GB
    bench.service.sum_up(bench.clock.now(), all_of_them=True)
    assert refs <= {getattr(event, "ref", "") for event in bench.ledger.events}


@pytest.mark.parity("O5")
async def test_one_captured_request_sent_again_and_again(bench: KdcBench) -> None:
    """Before, 44 GB a day."""
    await rules.allow(bench.admin, "billing", "orders", scopes=("read",))
    login = await bench.log_in("billing")
    before = 0
    for second in range(2 * SECONDS):
        if second % SECONDS == 0:
            before = written(bench)
        captured = bench.tgs_request(login, Want(target=Principal(REALM, "orders"))).message
        for number in range(10):
            await bench.send(captured, f"198.51.100.{number}")
        await next_second(bench)
    issued = len(bench.ledger.named("tgs-issued"))
    assert issued < 2 * SECONDS + 128, "each request of the client's own, and some copies"
    assert a_day_at_this_rate(bench, before) < 0.2 * GB


@pytest.mark.parity("O5")
async def test_garbage_of_strangers(bench: KdcBench) -> None:
    """Before, 7 GB a day, and 27 over HTTP, whose texts were longer; each is cut now."""
    for number in range(1000):
        await bench.send(b"garbage", f"2001:db8:{number:x}::/64")
    before = written(bench)
    for _ in range(SECONDS):
        for number in range(20):
            await bench.send(b"garbage", f"2001:db8:{number:x}::/64")
        await next_second(bench)
    assert a_day_at_this_rate(bench, before) < 0.25 * GB
