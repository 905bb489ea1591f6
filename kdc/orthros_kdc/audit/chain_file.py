"""One writer's chain as a file: locked, checked from its anchor on, appended to and synced.

Synchronous, so that a worker thread or a store transaction can hold it. Knows no events and no database.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

from orthros_kdc.audit.chain import Head, Problem, append, genesis, peek, verify
from orthros_kdc.store.base import AuditAnchor
from orthros_protocol import Misconfigured

__all__ = ["SUFFIX", "ChainFile", "end_of_last_line", "lines_from", "start_for"]

SUFFIX: Final = ".jsonl"
_WINDOW_BYTES: Final = 64 * 1024


class ChainFile:
    """An open chain. `head` is its end, `unanchored` how many entries at its end the anchor had not seen,
    `torn` how many bytes of a half-written last line were moved aside when it was opened."""

    def __init__(self, path: Path, descriptor: int, head: Head) -> None:
        self.path = path
        self.head = head
        self.unanchored = 0
        self.torn = 0
        self._descriptor = descriptor

    @classmethod
    def open(cls, directory: Path, writer: str, anchor: AuditAnchor | None, *, wait: bool = False) -> Self:
        """Opens, locks and checks the chain of `writer`; a chain without anchor may be new.

        Raises Misconfigured: `audit-broken` when the chain or its anchor says so, and then nothing is changed;
        `wrong-state` when another process writes it (unless `wait`); `file-unreadable`.
        """
        path = directory / f"{writer}{SUFFIX}"
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            descriptor = _open(path, create=anchor is None)
        except FileNotFoundError:
            if anchor is not None and directory.is_dir():
                raise Misconfigured(
                    "audit-broken", f"{path} is missing; the database has seen {anchor.seq} lines of it"
                ) from None
            raise Misconfigured("file-unreadable", f"{directory} does not exist") from None
        except OSError as error:
            raise Misconfigured("file-unreadable", f"{path}: {error.strerror}") from None
        opened = cls(path, descriptor, genesis(writer))
        try:
            opened._lock(wait=wait)
            opened._check(writer, anchor)
        except BaseException:
            opened.close()
            raise
        return opened

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Writes the entries and syncs them to the disk. After an OSError the file may hold a part of them."""
        lines = []
        head = self.head
        for entry in entries:
            line, head = append(head, entry)
            lines.append(line)
        rest = memoryview(b"".join(lines))
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        os.fsync(self._descriptor)
        self.head = head

    def close(self) -> None:
        """Releases file and lock. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _lock(self, *, wait: bool) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Misconfigured(
                "wrong-state", f"another process writes {self.path}; no two KDCs share a writer's name"
            ) from None

    def _check(self, writer: str, anchor: AuditAnchor | None) -> None:
        offset, start = start_for(self._descriptor, writer, anchor)
        report = verify(lines_from(self._descriptor, offset), writer=writer, anchor=anchor, start=start)
        if report.broken:
            raise Misconfigured("audit-broken", f"{self.path}: line {report.line}: {report.problem}: {report.detail}")
        if report.problem is Problem.HALF_WRITTEN:
            self._move_torn_line_aside(report.head)
        self.head = report.head
        self.unanchored = report.unanchored

    def _move_torn_line_aside(self, head: Head) -> None:
        """What a crash left of the last line is kept beside the log, then cut off. It was never complete."""
        end = end_of_last_line(self._descriptor)
        torn = os.pread(self._descriptor, os.fstat(self._descriptor).st_size - end, end)
        with os.fdopen(_open_aside(self.path, head.seq + 1), "wb") as file:
            file.write(torn)
            file.flush()
            os.fsync(file.fileno())
        os.ftruncate(self._descriptor, end)
        os.fsync(self._descriptor)
        self.torn = len(torn)


def _open(path: Path, *, create: bool, exclusive: bool = False) -> int:
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    flags |= os.O_CREAT if create else 0
    flags |= os.O_EXCL if exclusive else 0
    descriptor = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Misconfigured("file-unreadable", f"{path} is not a plain file")
    if create:
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)  # else a power cut may take the new file's name
        finally:
            os.close(directory)
    return descriptor


def _open_aside(path: Path, seq: int) -> int:
    attempt = 0
    while True:
        try:
            return _open(path.with_name(f"{path.stem}.{seq}.{attempt}.torn"), create=True, exclusive=True)
        except FileExistsError:
            attempt += 1


def end_of_last_line(descriptor: int) -> int:
    """The offset behind the last newline: what follows it is not a line yet."""
    at = os.fstat(descriptor).st_size
    while at:
        before = max(0, at - _WINDOW_BYTES)
        found = os.pread(descriptor, at - before, before).rfind(b"\n")
        if found >= 0:
            return before + found + 1
        at = before
    return 0


def start_for(descriptor: int, writer: str, anchor: AuditAnchor | None) -> tuple[int, Head]:
    """Where to begin to check, as (offset, head there): at or before the anchored line, whose hash vouches for
    everything above it; without an anchor, at the beginning."""
    size = os.fstat(descriptor).st_size
    step = _WINDOW_BYTES
    while anchor is not None and step < size:
        window = os.pread(descriptor, _WINDOW_BYTES, size - step)
        first = window.find(b"\n") + 1
        line = window[first : window.find(b"\n", first) + 1]
        seen = peek(line) if first else None
        if seen is not None and seen[0].seq <= anchor.seq:
            return size - step + first, Head(seen[0].seq - 1, seen[1]["prev"])
        step *= 2
    return 0, genesis(writer)


def lines_from(descriptor: int, offset: int) -> Iterator[bytes]:
    """The lines of the file from `offset` on, each with its newline. Leaves the descriptor open."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(offset)
        yield from file
