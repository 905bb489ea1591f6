"""Turns: how many requests of others a request waits for."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from orthros_runtime.serving.fair_queue import FairQueue


async def test_250_requests_of_one_source_do_not_delay_one_of_another() -> None:
    """It begins behind those that have begun, and one more of each other source."""
    turns, begun = FairQueue(), list[str]()

    async def request(source: str) -> None:
        await turns.take(source)
        begun.append(source)

    async with trio.open_nursery() as nursery:
        for _ in range(250):
            nursery.start_soon(request, "busy")
        while len(begun) < 10:
            await trio.lowlevel.checkpoint()
        nursery.start_soon(request, "quiet")
        nursery.start_soon(request, "another")
    assert len(begun) == 252
    assert begun.index("quiet") <= 20
    assert begun.index("another") <= 20


async def test_one_request_begins_in_each_pass_and_none_waits_for_the_end_of_another() -> None:
    turns, gate, begun = FairQueue(), trio.Event(), list[int]()

    async def request(number: int) -> None:
        await turns.take("one")
        begun.append(number)
        await gate.wait()

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(request, number)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert len(begun) < 5
        await wait_all_tasks_blocked()
        assert len(begun) == 5
        gate.set()


async def test_who_is_cancelled_while_waiting_takes_no_turn() -> None:
    turns, begun = FairQueue(), list[str]()

    async def request(source: str, scope: trio.CancelScope) -> None:
        with scope:
            await turns.take(source)
            begun.append(source)

    async with trio.open_nursery() as nursery:
        scopes = [trio.CancelScope() for _ in range(9)]
        for scope in scopes:
            scope.cancel()
            nursery.start_soon(request, "gone", scope)
        nursery.start_soon(request, "next", trio.CancelScope())
    assert "next" in begun
    assert len(begun) <= 2  # the first one did not wait
    assert not turns._waiting
