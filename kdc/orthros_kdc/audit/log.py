"""The KDC's audit writer: nothing that is issued leaves before its line is durable.

Group commit without a delay: while one batch is written and synced, the next decisions gather; then these are the
next batch. So a lonely decision waits for one sync, and a thousand at once wait for two. An answer that carries a
credential waits for the receipt of its line; a refusal gives nothing away and does not wait.

What was rejected: to gather for some milliseconds first. It makes the lonely decision slow, and under load the sync
itself is delay enough. To let answers leave at once and write within milliseconds: a kill then loses the lines of
what was issued.

When a batch cannot be written, its credentials are refused, at once and until a line could be written again; refusals
are kept for later, as many as there is room for, since their references have been given away. A KDC that stops on
a full disk tries once more and then ends: what it could not write is counted in the log of the process.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog
import trio

from orthros_kdc.audit.chain_file import FAULTS, SEGMENT_BYTES, ChainFile
from orthros_kdc.audit.events import AuditResumed, Event, Facts
from orthros_kdc.audit.receipts import Batch, Receipt
from orthros_kdc.store.base import AuditAnchor, Store
from orthros_protocol.errors import Misconfigured, OrthrosError, Unavailable
from orthros_protocol.keys.full_disk import unwritable
from orthros_protocol.primitives.instants import Timestamp
from orthros_runtime.clocks import wall_clock

__all__ = ["AuditLog", "Sync"]

_CAPACITY: Final = 16_384
_LOOK_S: Final = 1.0
_RETRY_S: Final = 1.0
_ANCHOR_EVERY_S: Final = 1.0
_SYNC_EVERY_S: Final = 0.1
_log = structlog.get_logger(__name__)


class Sync(StrEnum):
    """When a line counts as durable: on the disk, or written (then the death of the machine loses up to 100 ms)."""

    ALWAYS = "always"
    WRITTEN = "written"


class AuditLog:
    """One writer's log, `<directory>/<writer>.000001.jsonl` and so on. Nothing is written before `serve` runs."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        writer: str,
        store: Store,
        *,
        sync: Sync = Sync.ALWAYS,
        capacity: int = _CAPACITY,
        segment_bytes: int = SEGMENT_BYTES,
        now_ms: Callable[[], Timestamp] = wall_clock,
    ) -> None:
        self.writer = writer
        self._directory = Path(directory)
        self._store = store
        self._sync = sync
        self._capacity = capacity
        self._segment_bytes = segment_bytes
        self._clock = now_ms
        self._read_at = Timestamp(0)
        self._pending: list[Event] = []
        self._batch = Batch()
        self._work = trio.Event()
        self._closing = trio.Event()
        self._is_closed = False
        self._anchored = 0
        self._problem: OrthrosError | None = None
        self._failed_at = 0
        self._refused = 0
        self._one = trio.CapacityLimiter(1)

    def now_ms(self) -> Timestamp:
        """The log's time, for events that no request has caused. Not for other threads: a clock that is watched may
        record here that it has jumped."""
        self._read_at = self._clock()
        return self._read_at

    def record(self, event: Event) -> Receipt:
        """Takes an event without waiting. Its answer leaves when `wait` of the receipt has returned.

        Raises Unavailable `kdc-fault` when it cannot be kept; while the log cannot be written, that is every event
        that gives something away.
        """
        if self._is_closed:
            raise Unavailable("kdc-fault", "the audit log is closed")
        if self._problem is not None and event.gives:
            self._refused += 1
            raise Unavailable("kdc-fault", f"the audit log cannot be written: {self._problem.detail}")
        if len(self._pending) >= self._capacity:
            raise Unavailable("kdc-fault", "the audit log's queue is full")
        self._pending.append(event)
        self._work.set()
        return Receipt(self._batch, trio.current_time())

    def check(self) -> None:
        """Raises OrthrosError when `record` would refuse a credential: nothing writes, or cannot, or too much waits."""
        if self._is_closed:
            raise Unavailable("kdc-fault", "the audit log is closed")
        if self._problem is not None:
            raise self._problem
        if len(self._pending) >= self._capacity:
            raise Unavailable("kdc-fault", "the audit log's queue is full")

    def close(self) -> None:
        """Takes no more events; `serve` writes what it has, as far as it can be written, and returns."""
        self._is_closed = True
        self._closing.set()
        self._work.set()

    async def serve(self, *, task_status: trio.TaskStatus[ChainFile] = trio.TASK_STATUS_IGNORED) -> None:
        """Writes until closed or cancelled, then writes and anchors the rest. Starts with the opened chain, whose
        `unanchored` and `torn` tell what a crash left; its writer is known to the database then.

        Raises before it started: Misconfigured `audit-broken`, `wrong-state` or `file-unreadable`; Unavailable
        `disk-full`, or `timeout` when another process holds the database.
        """
        try:
            anchor = await self._store.read(lambda tx: tx.anchor(self.writer))
            self.now_ms()
            chain = await trio.to_thread.run_sync(self._open, anchor)
            with chain:
                self._anchored = 0 if anchor is None else anchor.seq
                await self._anchor(chain)
                task_status.started(chain)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._keep_anchored, chain)
                    if self._sync is Sync.WRITTEN:
                        nursery.start_soon(self._keep_synced, chain)
                    try:
                        await self._write_all(chain)
                    finally:
                        with trio.CancelScope(shield=True):
                            await self._write_rest(chain)
                    nursery.cancel_scope.cancel()
        finally:
            self._is_closed = True
            self._batch.settle(Unavailable("kdc-fault", "the audit log is closed"))

    def _open(self, anchor: AuditAnchor | None) -> ChainFile:
        chain = ChainFile.open(
            self._directory, self.writer, anchor, segment_bytes=self._segment_bytes, now_ms=lambda: self._read_at
        )
        try:
            chain.begin()
        except OSError as error:
            chain.close()
            raise unwritable(self._directory, error) from None
        return chain

    async def _write_all(self, chain: ChainFile) -> None:
        while not self._is_closed or self._pending:
            if self._problem is not None:
                if self._is_closed:
                    return
                with trio.move_on_after(_RETRY_S):
                    await self._closing.wait()
                    continue
                await self._resume(chain)
                continue
            with trio.move_on_after(_LOOK_S):
                await self._work.wait()
            # Shielded: an event that has left the queue is written, whatever happens to this task.
            with trio.CancelScope(shield=True):
                if self._pending:
                    await self._write(chain)
                else:
                    await self._look(chain)

    async def _write_rest(self, chain: ChainFile) -> None:
        self._is_closed = True
        if self._problem is not None:
            await self._resume(chain)
        while self._pending and self._problem is None:
            await self._write(chain)
        if self._pending:
            lines = Counter(event.name for event in self._pending)
            _log.error(
                "audit log closed without its last lines",
                writer=self.writer,
                lines=dict(lines),
                detail="" if self._problem is None else self._problem.detail,
            )
        try:
            if self._problem is None and chain.head != chain.synced:
                await trio.to_thread.run_sync(chain.sync, limiter=self._one)
            await self._anchor(chain)
        except (OSError, OrthrosError) as error:
            _log.error("audit log not anchored at the end", writer=self.writer, detail=str(error))

    async def _write(self, chain: ChainFile) -> None:
        """Writes what waits as one batch, then lets its answers go."""
        self.now_ms()
        events, batch = self._pending, self._batch
        self._pending, self._batch, self._work = [], Batch(), trio.Event()
        if self._is_closed:
            self._work.set()
        try:
            await trio.to_thread.run_sync(self._append, chain, events, limiter=self._one)
        except (OSError, Misconfigured) as error:
            self._fail(chain, error, events, batch)
        else:
            batch.settle()

    def _append(self, chain: ChainFile, events: list[Event]) -> None:
        before = chain.path
        chain.append([event.to_dict() for event in events], sync=self._sync is Sync.ALWAYS)
        _tell(chain, before)

    def _fail(self, chain: ChainFile, error: Exception, events: list[Event], batch: Batch) -> None:
        """Refuses every credential that waits; keeps the refusals."""
        problem = unwritable(chain.path, error)
        if self._problem is None:
            self._failed_at = self.now_ms()
            _log.error(
                "audit log cannot be written, nothing is issued",
                code=problem.code,
                detail=problem.detail,
                remedy=problem.remedy,
            )
        self._problem = problem
        told = Unavailable("kdc-fault", f"the audit log cannot be written: {problem.detail}")
        waiting, later = self._pending, self._batch
        self._batch = Batch()
        refusals = [event for event in (*events, *waiting) if not event.gives]
        self._refused += len(events) + len(waiting) - len(refusals)
        self._pending = refusals[: self._capacity]
        batch.settle(told)
        later.settle(told)

    async def _resume(self, chain: ChainFile) -> None:
        """Tries once whether the log can be written again, with the line that says for how long it could not."""
        resumed: Event = AuditResumed(
            about=Facts(at=self.now_ms(), kdc_id=self.writer),
            since=self._failed_at,
            refused=self._refused,
            why="" if self._problem is None else self._problem.detail,
        )
        with trio.CancelScope(shield=True):
            # This line alone: what waits may be thousands of lines, and is encoded once it can be written.
            try:
                await trio.to_thread.run_sync(self._append, chain, [resumed], limiter=self._one)
            except (OSError, Misconfigured) as error:
                self._problem = unwritable(chain.path, error)
                return
        _log.warning("audit log is written again", writer=self.writer, refused=self._refused)
        self._problem, self._refused = None, 0
        if self._pending:
            self._work.set()

    async def _look(self, chain: ChainFile) -> None:
        self.now_ms()
        before = chain.path
        try:
            await trio.to_thread.run_sync(chain.look, limiter=self._one)
        except (OSError, Misconfigured) as error:
            self._fail(chain, error, [], Batch())
        else:
            _tell(chain, before)

    async def _keep_synced(self, chain: ChainFile) -> None:
        while True:
            await trio.sleep(_SYNC_EVERY_S)
            if chain.head == chain.synced or self._problem is not None:
                continue
            try:
                await trio.to_thread.run_sync(chain.sync)
            except OSError as error:
                _log.error("audit log not synced", path=str(chain.path), detail=error.strerror)

    async def _keep_anchored(self, chain: ChainFile) -> None:
        fails = False
        while True:
            await trio.sleep(_ANCHOR_EVERY_S)
            before = fails
            try:
                await self._anchor(chain)
            except OrthrosError as error:  # a database that is busy gets its anchor a second later
                fails = True
                if not before:  # once for each trouble, not once a second
                    _log.warning("audit log not anchored", code=error.code, detail=error.detail)
            else:
                fails = False
                if before:
                    _log.info("audit log anchored again")

    async def _anchor(self, chain: ChainFile) -> None:
        head = chain.synced
        if head.seq > self._anchored:
            anchor = AuditAnchor(writer=self.writer, seq=head.seq, head=head.hash)
            await self._store.change(lambda tx: tx.set_anchor(anchor))
            self._anchored = head.seq


def _tell(chain: ChainFile, before: Path) -> None:
    """Says when the chain goes on in another file because of a fault."""
    if chain.path != before and chain.opened_for in FAULTS:
        _log.error("audit log goes on in a new file", was=str(before), why=chain.opened_for, now=str(chain.path))
