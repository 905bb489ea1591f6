"""Programs with an event loop ask each store without blocking: at once, in pauses, or in a thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator
from functools import partial

import anyio
import anyio.to_thread
import pytest

from orthros_client.integrations import async_judge
from orthros_client.verifier.stores.memory import MemoryStore
from orthros_client.verifier.stores.waiting import admit_async
from orthros_protocol.exchanges.replay import NO_EPOCH, Admission, Entry, Standing
from orthros_protocol.primitives.instants import Timestamp
from orthros_runtime.clocks import read_clocks

ENTRY = Entry(b"t" * 16, Timestamp(1_800_000_000_000), "billing@test.realm")


class Asked:
    """What an event loop was asked for."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.threads: list[str] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def in_thread(self, admit: Callable[[Entry], Standing], entry: Entry) -> Standing:
        told: list[Standing] = []
        thread = threading.Thread(target=lambda: told.append(admit(entry)), name="a thread")
        thread.start()
        thread.join()
        self.threads.append(thread.name)
        return told[0]


class Crowded:
    """A store that is free at the third try."""

    def admit(self, entry: Entry) -> Standing:
        raise AssertionError("it would block")

    def admitting(self, entry: Entry) -> Generator[float, None, Standing]:
        yield 0.001
        yield 0.002
        return Standing(Admission.FRESH, b"an epoch", entry.ts, entry.ts)


class Remote:
    """A store on a network."""

    is_remote = True

    def admit(self, entry: Entry) -> Standing:
        assert threading.current_thread() is not threading.main_thread()
        return Standing(Admission.FRESH, b"an epoch", entry.ts, entry.ts)


class HeldStore:
    """Answers when it is let go, as a slow server would."""

    is_remote = True

    def __init__(self) -> None:
        self.asked, self.released = threading.Event(), threading.Event()
        self._store = MemoryStore()

    def admit(self, entry: Entry) -> Standing:
        self.asked.set()
        assert self.released.wait(30)
        return self._store.admit(entry)


async def test_a_store_in_memory_is_asked_at_once() -> None:
    asked, store = Asked(), MemoryStore(clocks=lambda: (ENTRY.ts, 0))
    told = [await admit_async(store, ENTRY, sleep=asked.sleep, in_thread=asked.in_thread) for _ in range(2)]
    assert [one.admission for one in told] == [Admission.FRESH, Admission.SEEN]
    assert (asked.pauses, asked.threads) == ([], [])


async def test_a_store_of_a_host_is_tried_again_after_pauses() -> None:
    asked = Asked()
    told = await admit_async(Crowded(), ENTRY, sleep=asked.sleep, in_thread=asked.in_thread)
    assert (told.admission, asked.pauses) == (Admission.FRESH, [0.001, 0.002])


async def test_a_store_on_a_network_is_asked_in_a_thread() -> None:
    asked = Asked()
    told = await admit_async(Remote(), ENTRY, sleep=asked.sleep, in_thread=asked.in_thread)
    assert (told.admission, asked.threads) == (Admission.FRESH, ["a thread"])


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_without_a_free_thread_a_request_is_busy_and_not_burnt(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a slow server has a queue that grows as long as requests come. What a thread has begun counts."""
    monkeypatch.setattr(async_judge, "_MOST_THREADS", 1)
    store = HeldStore()
    ask = partial(admit_async, store, sleep=anyio.sleep, in_thread=async_judge._in_thread)
    entries = [Entry(os.urandom(16), read_clocks()[0], "billing@test.realm") for _ in range(2)]
    first: list[Standing] = []

    async def ask_first() -> None:
        first.append(await ask(entries[0]))

    async def run() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask_first)
            await anyio.to_thread.run_sync(store.asked.wait, 30)
            before = read_clocks()[0]
            busy = await ask(entries[1])
            assert (busy.admission, busy.epoch) == (Admission.FULL, NO_EPOCH)
            assert before <= busy.now <= read_clocks()[0]  # callers learn the time from it
            store.released.set()
        assert first[0].admission is Admission.FRESH
        assert (await ask(entries[1])).admission is Admission.FRESH

    anyio.run(run, backend=backend)
