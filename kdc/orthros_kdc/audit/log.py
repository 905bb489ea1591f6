"""The KDC's audit writer: takes events at once, writes and syncs them in batches, anchors the chain's head.

Knows no decision. What it cannot keep, nobody may act on: a full or stopped queue refuses the event, and the
answer that it belongs to becomes a refusal. What was taken is on disk a few milliseconds later; a crash of the
host can lose that much, and never the order or the completeness of what was there before.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from orthros_kdc.audit.chain_file import ChainFile
from orthros_kdc.audit.events import Event
from orthros_kdc.store.base import AuditAnchor, Store
from orthros_protocol import Unavailable

__all__ = ["AuditLog"]

_CAPACITY: Final = 16_384
_BATCH: Final = 1024
_GATHER_S: Final = 0.005
_ANCHOR_EVERY_S: Final = 1.0


class AuditLog:
    """One writer's log, `<directory>/<writer>.jsonl`. Nothing is written before `serve` runs."""

    def __init__(
        self,
        directory: str | os.PathLike[str],
        writer: str,
        store: Store,
        *,
        capacity: int = _CAPACITY,
        gather_s: float = _GATHER_S,
    ) -> None:
        self.writer = writer
        self._directory = Path(directory)
        self._store = store
        self._gather_s = gather_s
        self._queue, self._taken = trio.open_memory_channel[Event](capacity)
        self._anchored = 0

    def record(self, event: Event) -> None:
        """Takes an event without waiting. Raises Unavailable `kdc-fault` when it cannot be kept."""
        try:
            self._queue.send_nowait(event)
        except trio.WouldBlock:
            raise Unavailable("kdc-fault", "the audit log's queue is full") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise Unavailable("kdc-fault", "the audit log is closed") from None

    def check(self) -> None:
        """Raises Unavailable `kdc-fault` when `record` would: no writer is alive, or the queue is full."""
        facts = self._queue.statistics()
        if not facts.open_receive_channels or not facts.open_send_channels:
            raise Unavailable("kdc-fault", "the audit log is closed")
        if facts.current_buffer_used >= facts.max_buffer_size:
            raise Unavailable("kdc-fault", "the audit log's queue is full")

    def close(self) -> None:
        """Takes no more events; `serve` writes what it has and returns."""
        self._queue.close()

    async def serve(self, *, task_status: trio.TaskStatus[ChainFile] = trio.TASK_STATUS_IGNORED) -> None:
        """Writes until closed or cancelled, then writes and anchors the rest. Starts with the opened chain, whose
        `unanchored` and `torn` tell what a crash left.

        Raises Misconfigured `audit-broken`, `wrong-state` or `file-unreadable` before it started, and OSError
        when the disk fails: the KDC must not go on then.
        """
        with self._taken:
            anchor = await self._store.read(lambda tx: tx.anchor(self.writer))
            chain = await trio.to_thread.run_sync(ChainFile.open, self._directory, self.writer, anchor)
            with chain:
                self._anchored = chain.head.seq - chain.unanchored
                task_status.started(chain)
                failed = False
                try:
                    await self._write_all(chain)
                except OSError:
                    failed = True
                    raise
                finally:
                    if not failed:
                        with trio.CancelScope(shield=True):
                            await self._write_rest(chain)

    async def _write_all(self, chain: ChainFile) -> None:
        next_anchor = trio.current_time() + _ANCHOR_EVERY_S
        while True:
            with trio.move_on_at(next_anchor if chain.head.seq > self._anchored else math.inf):
                try:
                    first = await self._taken.receive()
                except trio.EndOfChannel:
                    return
                # Shielded: an event that has left the queue is written, whatever happens to this task.
                with trio.CancelScope(shield=True):
                    # One write and one sync serve everything that is decided within a moment.
                    await trio.sleep(self._gather_s)
                    await self._write([first, *self._waiting(_BATCH - 1)], chain)
            if chain.head.seq > self._anchored and trio.current_time() >= next_anchor:
                with suppress(Unavailable):  # a database that is busy gets its anchor a second later
                    await self._anchor(chain)
                next_anchor = trio.current_time() + _ANCHOR_EVERY_S

    async def _write_rest(self, chain: ChainFile) -> None:
        self._queue.close()
        while batch := self._waiting(_BATCH):
            await self._write(batch, chain)
        if chain.head.seq > self._anchored:
            await self._anchor(chain)

    def _waiting(self, most: int) -> list[Event]:
        batch: list[Event] = []
        while len(batch) < most:
            try:
                batch.append(self._taken.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        return batch

    async def _write(self, batch: list[Event], chain: ChainFile) -> None:
        await trio.to_thread.run_sync(lambda: chain.append(event.to_dict() for event in batch))

    async def _anchor(self, chain: ChainFile) -> None:
        head = chain.head
        anchor = AuditAnchor(writer=self.writer, seq=head.seq, head=head.hash)
        await self._store.change(lambda tx: tx.set_anchor(anchor))
        self._anchored = head.seq
