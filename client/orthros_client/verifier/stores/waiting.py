"""How a program with an event loop asks a replay store: at once, in pauses, or in a thread, as the store needs it.

Knows no event loop: its two functions are the caller's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Final

from orthros_protocol.exchanges.replay import Entry, ReplayStore, Standing
from orthros_runtime.clocks import read_clocks

__all__ = ["THREAD_WITHIN_S", "admit_async"]

THREAD_WITHIN_S: Final = 0.25
"""How long a question may wait for a thread. A slow server would else have a queue that grows with the load."""


async def admit_async(
    store: ReplayStore,
    entry: Entry,
    *,
    sleep: Callable[[float], Awaitable[object]],
    in_thread: Callable[[Callable[[Entry], Standing], Entry], Awaitable[Standing | None]],
) -> Standing:
    """`store.admit(entry)` without blocking. `sleep` takes seconds, `in_thread` a function and its argument.

    `in_thread` gives None when no thread was free within THREAD_WITHIN_S: nothing was burnt, and the answer is busy.
    """
    if getattr(store, "is_remote", False):
        answered = await in_thread(store.admit, entry)
        return Standing.unavailable(read_clocks()[0]) if answered is None else answered
    admitting = getattr(store, "admitting", None)
    if admitting is None:
        return store.admit(entry)
    steps: Generator[float, None, Standing] = admitting(entry)
    while True:
        try:
            pause = next(steps)
        except StopIteration as done:
            standing: Standing = done.value
            return standing
        await sleep(pause)
