"""The store in one SQLite file, shared by every process of this machine: connections, threads, transactions.

Knows no statement of any table but `meta`; `sqlite_rows.py` has the rows and `migrations.py` the schema.

Why `peek_head` may run on the event loop: in WAL mode readers and writers do not wait for one another,
however long a change takes; only while a counter of the shared index is being written does a reader look
again. `PRAGMA data_version` compares such counters in mapped memory; only when another connection has
committed, one row of `meta` is read, from a page written moments ago on this machine. Its connection has no
busy timeout: in the one case that needs the write lock (rebuilding the index after a crash elsewhere) it keeps
the last answer, and the next peek asks again.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final, Self, TypeVar
from urllib.parse import quote

import trio

from orthros_kdc.reasons import DATABASE_INVALID, DATABASE_NEWER
from orthros_kdc.store.base import Transaction
from orthros_kdc.store.database_file import require_private
from orthros_kdc.store.lock_holder import holder_of
from orthros_kdc.store.lock_limit import Deadline, LockLimit
from orthros_kdc.store.migrations import APPLICATION_ID, migrate, newest
from orthros_kdc.store.sqlite_rows import SqliteRows
from orthros_protocol.errors import LocalMisuse, Misconfigured, Unavailable
from orthros_protocol.keys.full_disk import is_on_full_disk, unwritable
from orthros_runtime.clocks import wall_clock

__all__ = ["SqliteStore"]

T = TypeVar("T")

_BUSY_MS: Final = 5_000
_READERS: Final = 4
_STEPS_BETWEEN_LOOKS: Final = 10_000  # of SQLite's own machine: less than a millisecond
_HEADER = struct.Struct(">16s44xI4xI28x")  # magic, user_version, application_id: sqlite.org/fileformat2.html 1.3
_MAGIC: Final = b"SQLite format 3\0"


@contextmanager
def _typed_errors(path: Path) -> Iterator[None]:
    """What SQLite reports, in this project's words."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise Unavailable("timeout", f"{holder_of(path)} holds {path} for writing") from error
        if name.startswith("SQLITE_FULL") or (name.startswith("SQLITE_IOERR") and is_on_full_disk(path)):
            raise unwritable(path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) from error
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT", "SQLITE_CANTOPEN", "SQLITE_READONLY")):
            raise Misconfigured(DATABASE_INVALID, f"{path}: {name}") from error
        if str(error).startswith("Could not decode"):  # Python's own word, which has no name of SQLite's
            raise Misconfigured(DATABASE_INVALID, f"{path}: a text in it is not UTF-8") from error
        raise Unavailable("kdc-fault", f"{path}: {name}") from error


def _check_header(path: Path) -> None:
    """Refuses what is not ours by its first hundred bytes, read as a plain file.

    Even a read-only connection would create -wal and -shm files beside another user's database.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(_HEADER.size)
    except PermissionError as error:
        raise Misconfigured("file-unreadable", f"{path}: {error.strerror}") from None
    except OSError as error:
        raise Misconfigured(DATABASE_INVALID, f"{path}: {error.strerror}") from None
    if len(start) < _HEADER.size or not start.startswith(_MAGIC):
        raise Misconfigured(DATABASE_INVALID, f"{path} is not a database")
    _, version, application = _HEADER.unpack(start)
    _check_version(path, version, application)


def _check_version(path: Path, version: int, application: int) -> None:
    if application != APPLICATION_ID or version == 0:
        raise Misconfigured(DATABASE_INVALID, f"{path} belongs to another application")
    if version > newest():
        raise Misconfigured(DATABASE_NEWER, f"{path} has version {version}, this program knows up to {newest()}")


def _connect(path: Path, *pragmas: str) -> sqlite3.Connection:
    # mode=rw: never create. Each connection is used by one thread at a time, though not always the same one.
    uri = f"file:{quote(os.fspath(path.absolute()))}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("trusted_schema = OFF", *pragmas):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _interrupted(connection: sqlite3.Connection, deadline: Deadline | None) -> Iterator[None]:
    """Ends a statement that runs past the deadline."""
    if deadline is None:
        yield
        return
    connection.set_progress_handler(lambda: deadline.is_over, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    except sqlite3.OperationalError as error:
        # Only what SQLite itself reports has a name: text that is not UTF-8 has none.
        if getattr(error, "sqlite_errorname", None) == "SQLITE_INTERRUPT":
            raise deadline.error() from error
        raise
    finally:
        connection.set_progress_handler(None, 0)


_FOR_WRITING: Final = (
    f"busy_timeout = {_BUSY_MS}",
    "foreign_keys = ON",
    "secure_delete = ON",  # an erased root is overwritten, not just unlinked
)
_DURABLE: Final = "synchronous = FULL"  # a committed change survives a power cut
_FLEETING: Final = "synchronous = OFF"  # nothing is worth waiting for a disk
_FOR_READING: Final = (f"busy_timeout = {_BUSY_MS}", "query_only = ON")
_FOR_PEEKING: Final = ("busy_timeout = 0", "query_only = ON")
# On a full disk there is no room for the index that processes share, so one process reads alone, its index in memory.
_FOR_READING_ALONE: Final = (*_FOR_READING, "locking_mode = EXCLUSIVE")


class SqliteStore:
    """A Store in a file. `open` and `create` block, so they belong before the first request."""

    def __init__(
        self,
        path: Path,
        now_ms: Callable[[], int],
        durable: bool,
        lock_limit: LockLimit | None,
        *,
        is_alone: bool = False,
    ) -> None:
        """Use `open` or `create`. `is_alone`: on a full disk, where nothing can be changed."""
        self._path = path
        self._now_ms = now_ms
        self._closed = False
        self._connections: list[sqlite3.Connection] = []
        self._is_alone = is_alone
        self._lock_limit = lock_limit
        try:
            changing = (*_FOR_WRITING, _DURABLE if durable else _FLEETING)
            self._writer = self._opened(*(_FOR_READING_ALONE if is_alone else changing))
            self._is_current = self._check_version()
            readers = 1 if is_alone else _READERS
            self._idle_readers = [self._writer if is_alone else self._opened(*_FOR_READING) for _ in range(readers)]
            self._peeker = self._writer if is_alone else self._opened(*_FOR_PEEKING)
            self._peeked = self._read_head() if self._is_current else None
        except BaseException:
            self.close()
            raise
        self._one_writer = trio.CapacityLimiter(1)
        self._some_readers = trio.CapacityLimiter(readers)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        now_ms: Callable[[], int] = wall_clock,
        durable: bool = True,
        lock_limit: LockLimit | None = None,
    ) -> Self:
        """The store in an existing file, of which nothing is changed. An older version waits for `upgrade`.

        Without `durable` no change waits for a disk: only for a file that is thrown away with its process. With
        `lock_limit`, a change that holds the write lock for longer is undone. Raises Misconfigured
        `database-invalid`, `database-newer`, `file-unreadable`, or `database-unsafe` for what others can reach.
        """
        _check_header(Path(path))
        require_private(Path(path))
        with _typed_errors(Path(path)):
            try:
                return cls(Path(path), now_ms, durable, lock_limit)
            except sqlite3.OperationalError:
                if not is_on_full_disk(path):
                    raise
                return cls(Path(path), now_ms, durable, lock_limit, is_alone=True)

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], *, now_ms: Callable[[], int] = wall_clock, durable: bool = True
    ) -> Self:
        """The store in a new file of mode 0600; `durable` is as in `open`. Raises Misconfigured `file-exists` or
        `file-unreadable`."""
        target = Path(path)
        draft = target.with_name(f".{target.name}.{os.getpid()}.new")
        try:
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
            try:
                with _typed_errors(target):
                    connection = _connect(draft, *_FOR_WRITING, _DURABLE if durable else _FLEETING)
                    try:
                        connection.execute("PRAGMA journal_mode = WAL")
                        migrate(connection)
                    finally:
                        connection.close()
                os.link(draft, target)  # the whole database or none; fails when the path exists
                folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
            finally:
                for left in (draft, Path(f"{draft}-wal"), Path(f"{draft}-shm")):
                    left.unlink(missing_ok=True)
        except FileExistsError:
            raise Misconfigured("file-exists", str(target)) from None
        except OSError as error:
            raise unwritable(target, error) from None
        return cls.open(target, now_ms=now_ms, durable=durable)

    def _opened(self, *pragmas: str) -> sqlite3.Connection:
        connection = _connect(self._path, *pragmas)
        self._connections.append(connection)
        return connection

    def _check_version(self) -> bool:
        """Asks again over the connection, for the WAL may be ahead of the file's first page: is it up to date?"""
        ((version,),) = self._writer.execute("PRAGMA user_version").fetchall()
        ((application,),) = self._writer.execute("PRAGMA application_id").fetchall()
        _check_version(self._path, version, application)
        # Stored in the file since `create`; a copy restored from a backup may have lost it.
        ((journal,),) = self._writer.execute("PRAGMA journal_mode").fetchall()
        return bool(version == newest() and journal == "wal")

    async def upgrade(self) -> None:
        """As `Store.upgrade`. Safe when several processes do it at once, and beside older programs that serve."""

        def in_thread() -> None:
            with _typed_errors(self._path):
                self._writer.execute("PRAGMA journal_mode = WAL").fetchall()
                migrate(self._writer)
                # Into the file itself, so that an older program sees the version before it touches anything.
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

        self._require_open()
        if self._is_current:
            await trio.lowlevel.checkpoint()
            return
        await trio.to_thread.run_sync(in_thread, limiter=self._one_writer)
        self._peeked = self._read_head()
        self._is_current = True

    async def check(self) -> None:
        """Reads the whole file. Raises Misconfigured `database-invalid` when its pages do not belong together."""

        def in_thread() -> None:
            with _typed_errors(self._path), ExitStack() as stack:
                connection = self._writer
                if not self._is_alone:
                    connection = stack.enter_context(closing(_connect(self._path, *_FOR_READING)))
                ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
            if found != "ok":
                raise Misconfigured(DATABASE_INVALID, f"{self._path}: {found}")

        self._require_open()
        await trio.to_thread.run_sync(in_thread, limiter=self._some_readers)

    def _read_head(self) -> tuple[int, int]:
        ((version,),) = self._peeker.execute("PRAGMA data_version").fetchall()
        ((seq,),) = self._peeker.execute("SELECT change_seq FROM meta").fetchall()
        return version, seq

    def peek_head(self) -> int:
        """See the module's documentation; call it on the event loop's thread only."""
        self._require_open()
        if self._peeked is None:
            raise self._waits_for_upgrade()
        try:
            with _typed_errors(self._path):
                ((version,),) = self._peeker.execute("PRAGMA data_version").fetchall()
                if version != self._peeked[0]:
                    # Anchors of the audit log commit as well, but leave the head as it is.
                    self._peeked = self._read_head()
        except Unavailable as error:
            if error.code != "timeout":
                raise
        return self._peeked[1]

    async def read(self, work: Callable[[Transaction], T]) -> T:
        def in_thread() -> T:
            connection = self._idle_readers.pop()  # the limiter guarantees one; list.pop is atomic
            try:
                with _typed_errors(self._path):
                    return self._run(connection, "BEGIN DEFERRED", work)
            finally:
                self._idle_readers.append(connection)

        self._require_open()
        return await trio.to_thread.run_sync(in_thread, limiter=self._some_readers)

    async def change(self, work: Callable[[Transaction], T]) -> T:
        def in_thread() -> T:
            with _typed_errors(self._path):
                if self._is_alone:
                    raise unwritable(self._path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
                return self._run(self._writer, "BEGIN IMMEDIATE", work)

        self._require_open()
        if not self._is_current:
            raise self._waits_for_upgrade()
        # Not abandoned on cancellation: the caller always learns whether the change happened.
        return await trio.to_thread.run_sync(in_thread, limiter=self._one_writer)

    def _run(self, connection: sqlite3.Connection, begin: str, work: Callable[[Transaction], T]) -> T:
        connection.execute(begin)
        try:
            if begin != "BEGIN IMMEDIATE":
                outcome = self._worked(SqliteRows(connection, None), work)
            else:  # which locks the head row, with all the rest
                deadline = None if self._lock_limit is None else self._lock_limit.begin()
                ((feed_seq,),) = connection.execute("SELECT seq FROM meta").fetchall()
                rows = SqliteRows(connection, max(feed_seq + 1, self._now_ms()), deadline)
                with _interrupted(connection, deadline):
                    outcome = self._worked(rows, work)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # some failures (a full disk) have rolled back already
                connection.execute("ROLLBACK")
            raise
        return outcome

    def _worked(self, rows: SqliteRows, work: Callable[[Transaction], T]) -> T:
        try:
            outcome = work(rows)
            rows.finish()
        finally:
            rows.end()
        return outcome

    def _waits_for_upgrade(self) -> LocalMisuse:
        return LocalMisuse("wrong-state", f"{self._path} waits for an upgrade")

    def _require_open(self) -> None:
        if self._closed:
            raise LocalMisuse("wrong-state", "the store is closed")

    async def aclose(self) -> None:
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        with trio.CancelScope(shield=True):
            # Work that was accepted before comes first: the limiters are fair.
            for _ in range(int(self._some_readers.total_tokens)):
                await self._some_readers.acquire_on_behalf_of(object())
            async with self._one_writer:
                # The last one out checkpoints the WAL, which is I/O.
                await trio.to_thread.run_sync(self.close)

    def close(self) -> None:
        """Releases the files at once: for a caller that has no event loop any more, and no work that runs."""
        self._closed = True
        for connection in self._connections:
            connection.close()
