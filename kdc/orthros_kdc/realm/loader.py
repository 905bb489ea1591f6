"""The one task that reads the realm: it owns the snapshot, which requests look at and never load.

Were each request to read for itself what has changed, one `group add-member` in a realm of 5,000 rules would hold up
every client for seconds, and strangers could have all of policy read by sending bytes. So requests never look whether
anything has changed: the loader does, 20 times a second, over a connection that only reads. What it finds it applies
in one step, in which no request can see a part.

A snapshot that has not been confirmed for two seconds is not used: the request waits for the next look, and for its
outcome. So what was revoked does not go on because the database cannot be reached.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

import structlog
import trio

from orthros_kdc.realm.snapshot import RealmStep, Snapshot, follow, load
from orthros_kdc.realm.vault import Vault
from orthros_kdc.store.base import Store
from orthros_protocol.errors import LocalMisuse, OrthrosError, Unavailable

__all__ = ["RealmLoader"]

_POLL_S: Final = 0.05
_CONFIRMED_FOR_S: Final = 2.0
_PATIENCE_S: Final = 5.0
_log = structlog.get_logger(__name__)


class RealmLoader:
    """Keeps a snapshot of the realm in `store` up to date. `taken` hears of each step as it is taken into force: the
    snapshot and what `taken` does change at once for everybody. When it raises, the step is not taken."""

    def __init__(self, store: Store, vault: Vault, taken: Callable[[RealmStep], None]) -> None:
        self._store = store
        self._vault = vault
        self._taken = taken
        self._snapshot: Snapshot | None = None
        self._confirmed_at = -inf
        self._problem: OrthrosError | None = None
        self._looked = trio.Event()
        self._looking = trio.Lock()

    @property
    def snapshot(self) -> Snapshot:
        """The realm as of the last step. Raises LocalMisuse `wrong-state` before the first one."""
        if self._snapshot is None:
            raise LocalMisuse("wrong-state", "the realm has not been loaded yet")
        return self._snapshot

    async def serve(self, *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED) -> None:
        """Looks for changes until the scope is cancelled that it starts with, once the realm has been loaded.

        Raises as `look` for the first time; later troubles are logged, and told to the requests that wait.
        """
        await self.look()
        with trio.CancelScope() as scope:
            task_status.started(scope)
            while True:
                await trio.sleep(_POLL_S)
                await self._look_again()

    async def _look_again(self) -> None:
        before = self._problem
        try:
            await self.look()
        except OrthrosError as error:
            if before is None or before.code != error.code:  # once for each trouble, not 20 times a second
                _log.error("the realm cannot be read", code=error.code, detail=error.detail)
        else:
            if before is not None:
                _log.info("the realm is read again")

    async def look(self) -> None:
        """One look at the store; what has changed is in force when it returns.

        Raises Misconfigured or Unavailable when it cannot be read, and then the snapshot is as it was.
        """
        async with self._looking:
            looked, self._looked = self._looked, trio.Event()
            begun = trio.current_time()
            try:
                await self._step()
            except OrthrosError as error:
                self._problem = error
                raise
            else:
                self._problem, self._confirmed_at = None, begun
            finally:
                looked.set()

    async def _step(self) -> None:
        before = self._snapshot
        if before is None:
            step = await self._store.read(lambda tx: load(tx, self._vault))
        elif self._store.peek_head() != before.seq:
            step = await self._store.read(lambda tx: follow(tx, self._vault, before))
        else:
            return
        self._taken(step)
        self._snapshot = step.snapshot

    @property
    def is_fresh(self) -> bool:
        """Whether the snapshot was confirmed in the last two seconds."""
        return trio.current_time() - self._confirmed_at < _CONFIRMED_FOR_S

    async def confirmed(self) -> None:
        """Returns when the snapshot is fresh. Raises what keeps it from being so: Misconfigured or Unavailable."""
        with trio.move_on_after(_PATIENCE_S):
            while not self.is_fresh:
                await self._looked.wait()
                self.check()
            return
        raise Unavailable("timeout", "reading the realm takes too long")

    async def reached(self, seq: int) -> None:
        """Returns when change `seq` is in force. Raises as `confirmed`."""
        with trio.move_on_after(_PATIENCE_S):
            while self.snapshot.seq < seq:
                await self._looked.wait()
                self.check()
            return
        raise Unavailable("timeout", f"change {seq} is not in force yet")

    def check(self) -> None:
        """Raises what went wrong at the last look: Misconfigured or Unavailable."""
        if self._problem is not None:
            raise type(self._problem)(self._problem.reason, self._problem.detail) from self._problem
