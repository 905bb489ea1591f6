"""The replay store that all processes of a service on this host share, across restarts: a file on tmpfs.

One transaction asks, judges the memory and burns. The epoch is derived inside it from what the memory hangs on: the
file itself, the boot, and the wall clock's distance from the boot clock. Knows nothing of messages.
"""

from __future__ import annotations

import os
import random
import struct
import threading
import time
from collections.abc import Generator
from contextlib import suppress
from typing import Any, Final

import structlog
from attrs import define, field

from orthros_client.verifier.stores.forks import renew_after_fork
from orthros_client.verifier.stores.host_file import DAMAGED, HostFile, open_file
from orthros_client.verifier.stores.shares import Shares
from orthros_protocol.errors import Misconfigured
from orthros_protocol.exchanges.epochs import RANDOM_BYTES, Memory, derive_epoch
from orthros_protocol.exchanges.replay import Admission, Entry, Standing
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import TOO_FAR_AHEAD_MS, WINDOW_PAST_MS
from orthros_runtime.clocks import Clocks, Entropy, read_clocks
from orthros_runtime.extras import extra

with extra("wsgi"):
    import lmdb

__all__ = ["HostStore"]

WAIT_S: Final = 0.25
_BUSY_FOR_S: Final = 1.0
_LOOK_EVERY_S: Final = 1.0
_TELL_EVERY_S: Final = 10.0
_FIRST_PAUSE_S: Final = 0.0001
_MOST_PAUSE_S: Final = 0.001
_THREADS_S: Final = 0.005
_BUCKET_MS: Final = 16_000
_MOST_DELETED: Final = 64
_ENTRY_BYTES: Final = 144  # a tag, and its share of the counts, in pages that are two thirds full

# version, random, boot id, device, inode, time namespace, born, reached, lead, floor, generation
_HEAD: Final = struct.Struct(">B16s16sQQQQQqII")
_TOTAL: Final = struct.Struct(">II")  # bucket, entries
_COUNT: Final = struct.Struct(">I")
_KEY: Final = struct.Struct(">IIB")  # generation, bucket, kind; then an id
_HEAD_KEY: Final = b"\xff"  # behind all others
_VERSION: Final = 1
_OF_CLIENT, _OF_TICKET, _TAG = 0, 1, 2

_log = structlog.get_logger("orthros.verifier")


@define(eq=False)
class _State:
    """What stands at the head of the file. `totals` are the live entries by bucket."""

    memory: Memory
    boot_id: bytes
    identity: tuple[int, int]
    namespace: int
    reached: Timestamp
    floor: int
    generation: int
    totals: dict[int, int] = field(factory=dict)

    @classmethod
    def read(cls, data: bytes) -> _State | None:
        """None for what another version wrote: nothing can be said of its memory."""
        if len(data) < _HEAD.size or data[0] != _VERSION:
            return None
        _v, random, boot, device, inode, space, born, reached, lead, floor, generation = _HEAD.unpack_from(data)
        totals = dict(_TOTAL.iter_unpack(data[_HEAD.size :]))
        memory = Memory(random, Timestamp(born), lead)
        return cls(memory, boot, (device, inode), space, Timestamp(reached), floor, generation, totals)

    def is_elsewhere(self, boot_id: bytes, identity: tuple[int, int], namespace: int) -> bool:
        """Whether this is the memory of processes with another boot clock than this one's."""
        return (self.boot_id, self.identity) == (boot_id, identity) and self.namespace != namespace

    def to_bytes(self) -> bytes:
        memory = self.memory
        head = _HEAD.pack(
            _VERSION,
            memory.random,
            self.boot_id,
            *self.identity,
            self.namespace,
            memory.born,
            self.reached,
            memory.lead_ms,
            self.floor,
            self.generation,
        )
        return head + b"".join([_TOTAL.pack(*one) for one in self.totals.items()])


class HostStore:
    """A bounded store in the file `path`. Thread-safe; safe to use in forked children.

    Raises Misconfigured, OSError or lmdb.Error when the file cannot be used. `clocks` and `entropy` exist for tests.
    """

    def __init__(
        self,
        path: str,
        shares: Shares | None = None,
        *,
        clocks: Clocks = read_clocks,
        entropy: Entropy = os.urandom,
    ) -> None:
        self._path = path
        self._shares = shares or Shares()
        self._clocks = clocks
        self._entropy = entropy
        self._boot_id = _boot_id()
        self._namespace = _time_namespace()
        self._file: HostFile | None = None
        self._renewing = False
        self._looked_s = 0.0
        self._busy_until_s = 0.0
        self._told_s = 0.0
        try:
            self._begin()
        except lmdb.Error as error:
            # Without room for a word more, this process still is one of those that share the memory, not another one.
            if not self._has_memory():
                raise
            self._tell(f"{type(error).__name__}: {error}")
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"<HostStore {self._path}>"

    def admit(self, entry: Entry) -> Standing:
        """See `ReplayStore`. Waits at most 250 ms for other processes, then answers busy, for a second at once."""
        steps = self.admitting(entry)
        try:
            while True:
                time.sleep(next(steps))
        except StopIteration as done:
            standing: Standing = done.value
            return standing

    def admitting(self, entry: Entry) -> Generator[float, None, Standing]:
        """The same for callers that must not block: yields seconds to pause before the next try."""
        began = time.monotonic()
        before = None if self._file is None else self._file.progress
        pause = _FIRST_PAUSE_S
        while True:
            try:
                standing = self._try(entry)
            except (lmdb.Error, OSError, Misconfigured) as error:
                self._tell(f"{type(error).__name__}: {error}")
                break
            if standing is not None:
                return standing
            now_s = time.monotonic()
            if now_s < self._busy_until_s:
                break
            if now_s - began >= WAIT_S:
                if self._file is not None and self._file.progress != before:
                    self._tell("more requests than this host can record; this one waited for 250 ms")
                else:
                    # The next second's requests do not wait as well: a process that was stopped may stay so.
                    self._busy_until_s = now_s + _BUSY_FOR_S
                    self._tell("another process has held the lock for 250 ms; it may have been stopped")
                break
            yield pause * (1 + random.random())  # noqa: S311  # so that those who wait do not wake together
            pause = min(2 * pause, _MOST_PAUSE_S)
        return Standing.unavailable(self._clocks()[0])

    def renew(self) -> None:
        """Begins a new memory, whatever is known of the old one: for a machine that was restored from a snapshot.

        Raises Misconfigured, OSError or lmdb.Error; OSError also when another process holds the lock for 250 ms.
        """
        self._renewing = True
        try:
            if not self._begin():
                raise TimeoutError(f"{self._path} is locked")
        finally:
            self._renewing = False

    def after_fork(self) -> None:
        """The file is closed in the child already, and opened again by its next request."""
        self._file = None

    def _begin(self) -> bool:
        """Has the memory begun where there is none: now and not with the first request, since what may be repeated
        passes five seconds from here. Whether the file was free within 250 ms."""
        until = time.monotonic() + WAIT_S
        try:
            first = self._try(None)
        except DAMAGED:
            first = self._try(None)  # in the file that has taken its place
        while first is None:
            if time.monotonic() > until:
                return False
            time.sleep(_MOST_PAUSE_S)
            first = self._try(None)
        return True

    def _has_memory(self) -> bool:
        """Whether a process of this service has begun one in the file."""
        file = self._file
        if file is None or file.env is None:
            return False
        with file.lock:
            if not file.take():
                return True
            try:
                with file.env.begin() as transaction:
                    return transaction.get(_HEAD_KEY) is not None
            finally:
                file.give()

    def _tell(self, why: str) -> None:
        now_s = time.monotonic()
        if now_s >= self._told_s:
            self._told_s = now_s + _TELL_EVERY_S
            _log.error("replay-store-unavailable", store=self._path, error=why)

    def _open(self) -> HostFile:
        self._looked_s = time.monotonic()
        self._file = open_file(self._path)
        return self._file

    def _try(self, entry: Entry | None) -> Standing | None:
        """One transaction; None when another thread or process has the file."""
        file = self._file
        if file is None or file.is_closed or file.pid != os.getpid():
            file = self._open()
        elif time.monotonic() - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = time.monotonic()
            if not file.is_in_place():
                file = self._open()
        # Threads of one process come and go within microseconds: no pause is short enough for them.
        if not file.lock.acquire(timeout=_THREADS_S):
            return None
        nested = file.in_transaction
        try:
            if nested:  # a signal's handler asks, in the middle of another question of this thread
                return Standing.unavailable(self._clocks()[0])
            if file.is_closed or not file.take():
                return None
            file.in_transaction = True
            return self._transact(file, entry)
        except DAMAGED:
            file.discard()
            self._file = None
            raise
        finally:
            if nested:
                file.lock.release()
            else:
                file.in_transaction = False
                file.give()
                _release_all(file.lock)

    def _transact(self, file: HostFile, entry: Entry | None) -> Standing:
        try:
            with file.env.begin(write=True) as transaction:
                return self._admit(file, transaction, entry)
        except lmdb.MapFullError:
            # What was deleted in vain is deleted once more, so that a full file empties.
            with file.env.begin(write=True) as transaction:
                standing = self._admit(file, transaction, None)
            return Standing(Admission.FULL, standing.epoch, standing.born, standing.now)

    def _admit(self, file: HostFile, transaction: Any, entry: Entry | None) -> Standing:
        now, boot_ms = self._clocks()
        found = transaction.get(_HEAD_KEY)
        state = None if found is None else _State.read(found)
        if state is not None and state.is_elsewhere(self._boot_id, file.identity, self._namespace):
            # Its boot clock is another one, so it would take each of our turns for a step of the wall clock.
            raise Misconfigured("config-invalid", f"{self._path} belongs to processes of another time namespace")
        if state is None or self._renewing or not self._is_unbroken(file, state, now, boot_ms):
            state = self._begun(file, state, now, boot_ms)
        state.reached = max(state.reached, now)
        floor = (now - WINDOW_PAST_MS) // _BUCKET_MS
        if floor > state.floor:
            state.floor = floor
            state.totals = {bucket: count for bucket, count in state.totals.items() if bucket >= floor}
        _prune(transaction, _KEY.pack(state.generation, state.floor, 0))
        admission = Admission.FRESH
        if entry is not None:
            admission = _burn(transaction, state, entry, now, self._shares.within(file.map_bytes // 2 // _ENTRY_BYTES))
        transaction.put(_HEAD_KEY, state.to_bytes())
        if os.getpid() != file.pid:
            raise OSError("a child of this process was made inside its transaction")
        device, inode = file.identity
        # Derived, never only stored: a copy of this file has another inode, so it has another epoch.
        epoch = derive_epoch(state.memory.random, self._boot_id, device.to_bytes(8, "big"), inode.to_bytes(8, "big"))
        return Standing(admission, epoch, state.memory.born, now)

    def _is_unbroken(self, file: HostFile, state: _State, now: Timestamp, boot_ms: int) -> bool:
        return (
            state.identity == file.identity
            and state.boot_id == self._boot_id
            and not state.memory.has_stepped(now=now, boot_ms=boot_ms)
        )

    def _begun(self, file: HostFile, before: _State | None, now: Timestamp, boot_ms: int) -> _State:
        """A new memory. What the old one held is of an earlier generation: deleted piece by piece, and never seen."""
        reached = Timestamp(0) if before is None else before.reached
        memory = Memory.begun(self._entropy(RANDOM_BYTES), now=now, boot_ms=boot_ms, reached=reached)
        return _State(
            memory=memory,
            boot_id=self._boot_id,
            identity=file.identity,
            namespace=self._namespace,
            reached=memory.born,
            floor=0,
            generation=1 if before is None else before.generation + 1,
        )


def _prune(transaction: Any, limit: bytes) -> None:
    """Deletes entries below `limit`, a few at a time: LMDB must note each freed page, and a full file has few."""
    with transaction.cursor() as cursor:
        left = _MOST_DELETED
        found = cursor.first()
        while found and left and cursor.key() < limit:
            found = cursor.delete() and bool(cursor.key())
            left -= 1


def _burn(transaction: Any, state: _State, entry: Entry, now: Timestamp, shares: Shares) -> Admission:
    bucket = entry.ts // _BUCKET_MS
    if bucket < state.floor:
        return Admission.STALE
    tag = _KEY.pack(state.generation, bucket, _TAG) + entry.tag
    if transaction.get(tag) is not None:
        return Admission.SEEN
    if entry.ts > now + TOO_FAR_AHEAD_MS:
        return Admission.AHEAD
    mine = []
    for kind, owner, most in (
        (_OF_TICKET, entry.client.encode("ascii") + b"\0" + entry.ticket, shares.per_ticket),
        (_OF_CLIENT, entry.client.encode("ascii"), shares.per_client),
    ):
        name = digest(owner)[:8]
        counts = {}
        for each in state.totals:
            found = transaction.get(_KEY.pack(state.generation, each, kind) + name)
            if found is not None:
                counts[each] = _COUNT.unpack(found)[0]
        if sum(counts.values()) >= most:
            return Admission.QUOTA
        mine.append((_KEY.pack(state.generation, bucket, kind) + name, counts.get(bucket, 0) + 1))
    if sum(state.totals.values()) >= shares.capacity:
        return Admission.FULL
    for key, count in mine:
        transaction.put(key, _COUNT.pack(count))
    transaction.put(tag, b"")
    state.totals[bucket] = state.totals.get(bucket, 0) + 1
    return Admission.FRESH


def _release_all(lock: threading.RLock) -> None:
    """Also what an interrupted question of this thread has left behind."""
    with suppress(RuntimeError):
        while True:
            lock.release()


def _boot_id() -> bytes:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return bytes.fromhex(file.read().strip().replace("-", ""))


def _time_namespace() -> int:
    """Which time namespace this process is in (time_namespaces(7)); 0 where the kernel has none."""
    try:
        return os.stat("/proc/self/ns/time").st_ino
    except OSError:
        return 0
