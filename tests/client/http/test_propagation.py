"""Whose request is being served: by code, by what it starts, and by nobody once the request has ended."""

from __future__ import annotations

import contextvars
import threading

import pytest
import trio

from orthros_client.http.propagation import Serving, carried, current, serving
from orthros_client.http.server.callers import Caller
from orthros_client.verifier import VerifiedCaller
from orthros_protocol.errors import LocalMisuse


def test_a_block_serves_its_caller_and_ends(callers: tuple[VerifiedCaller, ...]) -> None:
    alice, bob = callers
    assert current() is None
    with serving(alice):
        assert current() is alice
        with serving(bob):
            assert current() is bob
        with serving(None):
            assert current() is None  # nobody's request is not that of whoever is outside
        assert current() is alice
    assert current() is None


def test_what_was_started_in_it_finds_it_ended(callers: tuple[VerifiedCaller, ...]) -> None:
    with serving(callers[0]):
        inside = contextvars.copy_context()
        assert inside.run(current) is callers[0]
    with pytest.raises(LocalMisuse, match="ended") as caught:
        inside.run(current)
    assert caught.value.code == "wrong-state"
    with serving(None):
        nobody = contextvars.copy_context()
    with pytest.raises(LocalMisuse, match="ended"):
        nobody.run(current)


def test_an_error_ends_it_as_well(callers: tuple[VerifiedCaller, ...]) -> None:
    kept: list[contextvars.Context] = []

    def fail() -> None:
        with serving(callers[0]):
            kept.append(contextvars.copy_context())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert current() is None
    with pytest.raises(LocalMisuse):
        kept[0].run(current)


def test_a_request_may_be_left_and_entered_again(callers: tuple[VerifiedCaller, ...]) -> None:
    """As a WSGI server does, whose threads serve others between two pieces of one response."""
    first, second = map(Serving, callers)
    for request, caller in ((first, callers[0]), (second, callers[1]), (first, callers[0])):
        with request.active():
            assert current() is caller
        assert current() is None
    first.end()
    first.end()
    with pytest.raises(LocalMisuse), first.active():
        current()
    with second.active():
        assert current() is callers[1]


async def test_tasks_inherit_it_and_threads_that_copy_their_context(callers: tuple[VerifiedCaller, ...]) -> None:
    seen: list[Caller | None] = []

    async def look() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(current())

    with serving(callers[0]):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
        seen.append(await trio.to_thread.run_sync(current))
    assert seen == [callers[0], callers[0]]


def test_a_thread_started_by_hand_serves_nobody_unless_it_carries_the_request(
    callers: tuple[VerifiedCaller, ...],
) -> None:
    """A context that was merely copied says nothing of what waits for the thread."""
    seen: list[Caller | str | None] = []

    def look() -> None:
        try:
            seen.append(current())
        except LocalMisuse as error:
            seen.append(error.code)

    with serving(callers[0]):
        inside = contextvars.copy_context()
        carrying = carried(look)
        for target in (look, lambda: inside.run(look), carrying, carrying):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    carrying()
    assert seen == [None, "wrong-state", callers[0], callers[0], "wrong-state"]


def test_only_a_request_can_be_carried(callers: tuple[VerifiedCaller, ...]) -> None:
    with pytest.raises(LocalMisuse, match="no request"):
        carried(print)
    with serving(callers[0]):
        inside = contextvars.copy_context()
    with pytest.raises(LocalMisuse, match="ended"):
        inside.run(carried, print)
