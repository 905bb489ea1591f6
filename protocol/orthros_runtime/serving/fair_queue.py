"""Whose request is worked on next: each source in its turn, however many requests one of them has sent.

The problem: one source with 250 connections has 250 requests waiting. Served in the order of their arrival, the request
of another source waits for all of them.

The mechanism: one request begins in each pass of trio's scheduler. Those that wait are kept in one queue a source, and
the sources take turns. So a request waits for at most one request of each other source. A request that waits for
something else, such as a database, does not hold up the next one.

Rejected: to count the requests that are worked on and to let the next one begin when one ends (a source whose requests
wait for a slow disk would then hold up all others), and threads (the work is Python and holds one processor).

Knows neither sockets nor what a request costs.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Final

import trio

__all__ = ["FairQueue"]


class FairQueue:
    """The turns of one event loop."""

    def __init__(self) -> None:
        self._waiting: Final[OrderedDict[Hashable, deque[trio.Event]]] = OrderedDict()
        self._is_taken = False

    async def take(self, source: Hashable) -> None:
        """Returns when a request of `source` may begin: at once if none has begun in this pass of the scheduler."""
        if not self._is_taken:
            self._is_taken = True
            trio.lowlevel.current_trio_token().run_sync_soon(self._pass_on)
            return
        turn = trio.Event()
        self._waiting.setdefault(source, deque()).append(turn)
        try:
            await turn.wait()
        except trio.Cancelled:
            self._give_up(source, turn)
            raise

    def _pass_on(self) -> None:
        """Runs in the next pass, and lets the next request begin in the one after it."""
        if not self._waiting:
            self._is_taken = False
            return
        source, turns = self._waiting.popitem(last=False)
        turns.popleft().set()
        if turns:
            self._waiting[source] = turns
        trio.lowlevel.current_trio_token().run_sync_soon(self._pass_on)

    def _give_up(self, source: Hashable, turn: trio.Event) -> None:
        turns = self._waiting.get(source)
        if turns is not None and turn in turns:
            turns.remove(turn)
            if not turns:
                del self._waiting[source]
