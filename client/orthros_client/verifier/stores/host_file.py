"""The file that the processes of a host share: opened once in a process, locked for each transaction, left by a child.

LMDB keeps it, without its own locks: one lock of ours is tried and never waited for, so that a process that was
stopped inside a transaction does not stop the others. Knows neither entries nor epochs.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from contextlib import suppress
from typing import Any, Final

from orthros_client.verifier.stores.folder import is_tmpfs
from orthros_protocol.errors import Misconfigured
from orthros_runtime.extras import extra

with extra("wsgi"):
    import lmdb

__all__ = ["DAMAGED", "MIN_MAP_BYTES", "HostFile", "open_file"]

DAMAGED: Final = (
    lmdb.InvalidError,
    lmdb.CorruptedError,
    lmdb.VersionMismatchError,
    lmdb.PageNotFoundError,
    lmdb.MapResizedError,
    lmdb.PanicError,
    lmdb.BadTxnError,
)
MIN_MAP_BYTES: Final = 4 << 20
_MAX_MAP_BYTES: Final = 256 << 20
_OF_FREE_SPACE: Final = 4
_PAGE_BYTES: Final = 4096


class HostFile:
    """One open file. Every use of `env` stands between `lock`, `take` and `give`.

    `identity` is (device, inode) of the open file, which no rename changes; `map_bytes` how large it may grow.
    """

    def __init__(self, path: str, descriptor: int) -> None:
        facts = os.fstat(descriptor)
        self.path = path
        self.identity = (facts.st_dev, facts.st_ino)
        self.pid = os.getpid()
        # The thread that holds it may be interrupted anywhere, by a signal whose handler raises, asks or forks.
        self.lock = threading.RLock()
        self.in_transaction = False
        self.is_closed = False
        self.env: Any = None
        self.map_bytes = 0
        self._descriptor = descriptor

    def take(self) -> bool:
        """Locks the file against other processes, if that takes no waiting; opens the environment at the first time.

        Raises lmdb.Error, or OSError for a file system that is too small.
        """
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if self.env is None:
            try:
                self._open_environment()
            except BaseException:
                self.give()
                raise
        return True

    def give(self) -> None:
        """Lets the other processes go on."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def is_in_place(self) -> bool:
        """Whether the path still leads here: another file there is another memory."""
        try:
            facts = os.lstat(self.path)
        except OSError:
            return False
        return (facts.st_dev, facts.st_ino) == self.identity

    @property
    def progress(self) -> int:
        """A number that grows with each transaction of any process; needs no lock."""
        env = self.env
        try:
            return 0 if env is None else int(env.info()["last_txnid"])
        except lmdb.Error:  # closed by another thread
            return 0

    def discard(self) -> None:
        """Makes room for another file: this one is damaged."""
        if self.is_in_place():
            os.unlink(self.path)

    def close(self) -> None:
        """Gives up what this process has open. A child must, or its copy of the descriptor keeps a dead parent's lock.

        A child that was made inside a transaction of its parent, by a server that forks without Python's knowledge, can
        neither end that nor open the file again: it is busy until it is restarted.
        """
        self.is_closed = True
        env, self.env = self.env, None
        if env is not None and self.in_transaction:
            _ABANDONED.append(env)
        elif env is not None:
            env.close()
        with suppress(OSError):
            os.close(self._descriptor)

    def _open_environment(self) -> None:
        size = 0  # what an earlier process has fixed stands in the file
        if os.fstat(self._descriptor).st_size == 0:
            size = _map_bytes(self._descriptor)
        # By the descriptor that was checked, not by a path that may lead elsewhere by now. No writemap: on a full
        # tmpfs the kernel would end the process with SIGBUS. No sync: a memory that outlives no reboot needs none.
        self.env = lmdb.open(
            f"/proc/self/fd/{self._descriptor}",
            subdir=False,
            lock=False,
            sync=False,
            metasync=False,
            writemap=False,
            map_size=size,
        )
        self.map_bytes = self.env.info()["map_size"]


class _Registry:
    """The open files of one process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.files: dict[tuple[int, int], HostFile] = {}


# By process: a server may fork without Python's knowledge, as uWSGI does.
_REGISTRIES: dict[int, _Registry] = {os.getpid(): _Registry()}
_ABANDONED: list[Any] = []
"""Environments of a parent: neither used nor closed here, where that could end what the parent has begun."""


def _registry() -> _Registry:
    return _REGISTRIES.get(os.getpid()) or _leave_parent()


def _leave_parent() -> _Registry:
    """The registry of a child that no hook has told of its birth."""
    registry = _REGISTRIES.setdefault(os.getpid(), _Registry())
    for pid, other in list(_REGISTRIES.items()):
        if pid != os.getpid() and _REGISTRIES.pop(pid, None) is not None:
            for file in other.files.values():
                file.close()
    return registry


def open_file(path: str) -> HostFile:
    """The file at `path`, made if need be, and the same object for all who share it in this process.

    Raises Misconfigured for a file that others can write to, that is a link, or not on tmpfs; OSError.
    """
    registry = _registry()
    with registry.lock:
        descriptor = _opened(path)
        try:
            _check(path, descriptor)
            found = HostFile(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        known = registry.files.setdefault(found.identity, found)
        if known is not found:
            os.close(descriptor)
        for other in [one for one in registry.files.values() if one.path == path and one is not known]:
            # Another one has taken its place.
            del registry.files[other.identity]
            with other.lock:
                other.close()
        return known


def _opened(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        # The folder was cleared away under a running service.
        os.mkdir(os.path.dirname(path), 0o700)
        return os.open(path, flags, 0o600)


def _check(path: str, descriptor: int) -> None:
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
        raise Misconfigured("config-invalid", f"{path}: not a file of this user alone; remove it")
    if not is_tmpfs(descriptor):
        raise Misconfigured("config-invalid", f"{path}: not on tmpfs")


def _map_bytes(descriptor: int) -> int:
    """A quarter of what is free, so that full is told by LMDB before the file system is full."""
    facts = os.fstatvfs(descriptor)
    free = facts.f_bavail * facts.f_frsize
    size = _MAX_MAP_BYTES if facts.f_blocks == 0 else min(_MAX_MAP_BYTES, free // _OF_FREE_SPACE)
    if size < MIN_MAP_BYTES:
        raise OSError(errno.ENOSPC, f"{free} bytes are free, {MIN_MAP_BYTES * _OF_FREE_SPACE} needed")
    return size // _PAGE_BYTES * _PAGE_BYTES


def _before_fork() -> None:
    # No transaction of another thread is under way in the child then: it could neither end it nor leave it.
    registry = _registry()
    held = _HELD.locks
    for lock in (registry.lock, *(file.lock for file in registry.files.values())):
        if lock.acquire(timeout=_FORK_S):
            held.append(lock)


def _after_fork_in_parent() -> None:
    while _HELD.locks:
        _HELD.locks.pop().release()


def _after_fork_in_child() -> None:
    _HELD.locks.clear()
    for registry in list(_REGISTRIES.values()):
        for file in registry.files.values():
            file.close()  # at once: closed later, while the parent writes, it has been seen to hang
    _REGISTRIES.clear()
    _REGISTRIES[os.getpid()] = _Registry()


class _Held(threading.local):
    """What the forking thread holds over a fork."""

    def __init__(self) -> None:
        self.locks: list[Any] = []


_HELD: Final = _Held()
_FORK_S: Final = 1.0

os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
