"""The persisted lease of a single-process verifier: how far requests without an epoch may be dated.

The bound is on disk before it is used, and a new process begins behind it, so a restart forgets no
request that it must remember. Valid for one process on one host; knows nothing about tickets.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading

from orthros_protocol import Misconfigured, Timestamp
from orthros_protocol.canonical import Schema, const, integer
from orthros_protocol.errors import Malformed
from orthros_protocol.limits import WINDOW_FUTURE_MS

__all__ = ["ReplayLease"]

_FORMAT = Schema("lease file", const(1), integer(), limit=16)
_STEP_MS = 30_000


class ReplayLease:
    """Holds `path` exclusively and keeps the bound in it.

    Raises Misconfigured `conflict` when another process holds the lease, `file-unreadable` when the file
    cannot be used. A request is covered when it is dated behind everything that an earlier process may
    have accepted.
    """

    def __init__(self, path: str | os.PathLike[str], now: Timestamp) -> None:
        self._path = os.path.abspath(path)  # the process may change its directory
        self._pid = os.getpid()
        self._lock = threading.Lock()
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Misconfigured("file-unreadable", f"{self._path}: {error.strerror}") from None
        try:
            self._take(now)
        except BaseException:
            os.close(self._file)
            raise

    def _take(self, now: Timestamp) -> None:
        # The lock comes before the bound is read: overlapping processes cannot both start from it.
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured("conflict", f"another process holds the lease {self._path}") from None
        facts = os.fstat(self._file)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
            raise Misconfigured("key-file-unsafe", f"{self._path} can be changed by others")
        content = os.pread(self._file, 64, 0)
        # With no bound on record, an earlier process may have accepted anything that its window let in.
        bound = now + WINDOW_FUTURE_MS
        if content:
            try:
                bound = _FORMAT.decode(content)[1]
            except Malformed:
                raise Misconfigured("file-unreadable", f"{self._path} is not a lease file") from None
        self._start = bound
        self._bound = bound
        self._identity = (facts.st_dev, facts.st_ino)

    def covers(self, ts: Timestamp) -> bool:
        """Whether a request dated `ts` cannot have been accepted before this process began.

        Extends the bound on disk when needed. False in a forked child: the lease belongs to its parent; and when
        the file was removed or replaced: another process may hold the new one.
        """
        if os.getpid() != self._pid or ts <= self._start or not self._is_in_place():
            return False
        if ts > self._bound:
            with self._lock:
                if ts > self._bound:
                    self._extend(ts + _STEP_MS)
        return True

    def _is_in_place(self) -> bool:
        try:
            facts = os.lstat(self._path)
        except OSError:
            return False
        return (facts.st_dev, facts.st_ino) == self._identity

    def _extend(self, bound: int) -> None:
        try:
            os.pwrite(self._file, _FORMAT.encode(1, bound), 0)
            os.fsync(self._file)
        except OSError as error:
            raise Misconfigured("file-unreadable", f"{self._path} cannot be written: {error.strerror}") from None
        self._bound = bound

    def close(self) -> None:
        """Gives the lease up."""
        os.close(self._file)
