"""A guard asked by a program with an event loop, under asyncio and trio: nothing here blocks the loop.

Knows no framework. Needs anyio, which every extra of an async server brings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from orthros_client.flows import adrive
from orthros_client.http.server.guard import Admitted, Denied, Guard
from orthros_client.http.server.incoming import IncomingRequest
from orthros_client.verifier.stores.waiting import THREAD_WITHIN_S, admit_async
from orthros_protocol.exchanges.replay import Entry, Standing
from orthros_runtime.extras import extra

with extra("asgi"):
    import anyio
    import anyio.to_thread
    from anyio.lowlevel import RunVar

__all__ = ["judge_async"]

# Threads for replay stores on a network, apart from the application's: those may all wait for this service.
_MOST_THREADS: Final = 64
_LIMITER: Final[RunVar[anyio.CapacityLimiter]] = RunVar("orthros replay store")


async def judge_async(guard: Guard, request: IncomingRequest, *, upgrade: bool = False) -> Admitted | Denied:
    """`Guard.judge` without blocking. Raises nothing."""

    async def admit(entry: Entry) -> Standing:
        return await admit_async(guard.store, entry, sleep=anyio.sleep, in_thread=_in_thread)

    return await adrive(guard.judging(request, upgrade=upgrade), admit)


async def _in_thread(admit: Callable[[Entry], Standing], entry: Entry) -> Standing | None:
    limiter = _LIMITER.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(_MOST_THREADS)
        _LIMITER.set(limiter)
    with anyio.move_on_after(THREAD_WITHIN_S):  # what a thread has begun is waited for: it may burn the request
        return await anyio.to_thread.run_sync(admit, entry, limiter=limiter)
    return None
