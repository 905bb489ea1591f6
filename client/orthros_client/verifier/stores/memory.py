"""The replay store of one process: its memory, which a fork, a restart or a step of the clock ends.

For tests, and wherever no store can be shared. Knows nothing of other processes.
"""

from __future__ import annotations

import os
import threading

from attrs import define, field

from orthros_client.verifier.stores.forks import renew_after_fork
from orthros_client.verifier.stores.shares import Shares
from orthros_protocol.exchanges.epochs import RANDOM_BYTES, Memory, derive_epoch
from orthros_protocol.exchanges.replay import Entry, ReplaySet, Standing
from orthros_protocol.primitives.instants import Timestamp
from orthros_runtime.clocks import Clocks, Entropy, read_clocks

__all__ = ["MemoryStore"]


@define(eq=False)
class _Life:
    """What one process remembers. A forked child begins another one: its parent goes on with this."""

    memory: Memory
    burnt: ReplaySet
    reached: Timestamp
    lock: threading.Lock = field(factory=threading.Lock)


class MemoryStore:
    """A bounded set in memory. Thread-safe. `clocks` and `entropy` exist for tests."""

    def __init__(
        self, shares: Shares | None = None, *, clocks: Clocks = read_clocks, entropy: Entropy = os.urandom
    ) -> None:
        self._shares = shares or Shares()
        self._clocks = clocks
        self._entropy = entropy
        # By process: a server may fork without Python's knowledge, as uWSGI does.
        self._lives = {os.getpid(): self._begun(Timestamp(0))}
        renew_after_fork(self)

    def admit(self, entry: Entry) -> Standing:
        """See `ReplayStore`."""
        life = self._lives.get(os.getpid()) or self._begun_here()
        with life.lock:
            now, boot_ms = self._clocks()
            if life.memory.has_stepped(now=now, boot_ms=boot_ms):
                # No request that was measured by the old time may enter the new set.
                begun = self._begun(life.reached)
                life.memory, life.burnt = begun.memory, begun.burnt
            life.reached = max(life.reached, now)
            return Standing(life.burnt.admit(entry, now), derive_epoch(life.memory.random), life.memory.born, now)

    def after_fork(self) -> None:
        """The child's memory begins with the child, not with its first request."""
        self._lives = {}
        self._begun_here()

    def _begun_here(self) -> _Life:
        reached = max([life.reached for life in self._lives.values()], default=Timestamp(0))
        # One step decides between threads: no lock, since one that was held at the fork stays held.
        return self._lives.setdefault(os.getpid(), self._begun(reached))

    def _begun(self, reached: Timestamp) -> _Life:
        now, boot_ms = self._clocks()
        memory = Memory.begun(self._entropy(RANDOM_BYTES), now=now, boot_ms=boot_ms, reached=reached)
        shares = self._shares
        burnt = ReplaySet(capacity=shares.capacity, per_client=shares.per_client, per_ticket=shares.per_ticket)
        return _Life(memory, burnt, max(reached, now))
