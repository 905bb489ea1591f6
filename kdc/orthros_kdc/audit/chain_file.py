"""One writer's chain as a folder of segments: locked, checked from its anchor on, appended to, synced, and mended.

Synchronous, for a worker thread; knows no decision and no database. Three things can go wrong with a segment, and
none of them may lose a line whose answer has left:

* A write fails (a full disk). What was written of the batch is cut off again; the batch is refused.
* A sync or the cut fails. What the disk holds is unknown, and a second sync would say that all is well. The file
  is never written again; the next segment goes on behind the last line that was kept and says so.
* The file is no longer where its path leads, or another process wrote to it. The same, before any answer leaves.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from orthros_kdc.audit.chain import CLOSED, OPENED, STOPPED, Head, Problem, Walk, append, genesis, peek
from orthros_kdc.audit.segments import SUFFIX, Segment, end_of_last_line, file_of, lines_from, opened, segments_in
from orthros_kdc.reasons import AUDIT_BROKEN
from orthros_kdc.store.base import AuditAnchor
from orthros_protocol.errors import Misconfigured
from orthros_runtime.clocks import wall_clock

__all__ = ["FAULTS", "SEGMENT_BYTES", "ChainFile", "first_line", "start_for", "sync_folder", "walk_segment"]

SEGMENT_BYTES: Final = 64 * 1024 * 1024
_WINDOW_BYTES: Final = 64 * 1024
_DAY_MS: Final = 24 * 3600 * 1000
_GIVEN_UP: Final = frozenset({"failed-sync", "failed-write", "moved"})
FAULTS: Final = _GIVEN_UP | {"altered"}
"""Why a segment was begun, when something had gone wrong."""
_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class ChainFile:
    """An open chain. `head` is its end as far as it is kept, `synced` as far as it is certainly on the disk;
    `unanchored` is how many entries the anchor had not seen, and `torn` how many bytes of a half-written last line
    were moved aside when it was opened. `path` is the newest segment, `opened_for` why it was begun."""

    def __init__(self, directory: Path, writer: str, *, segment_bytes: int, now_ms: Callable[[], int]) -> None:
        """Use `open`."""
        self.writer = writer
        self.path = file_of(directory, writer, 0)
        self.head = self.synced = genesis(writer)
        self.unanchored = 0
        self.torn = 0
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._now_ms = now_ms
        self._descriptor = -1
        self._number = 0
        self._end = 0
        self._at = 0
        self._unsound = -1
        self._why = self.opened_for = "first"
        self._is_closed = True

    @classmethod
    def open(
        cls,
        directory: Path,
        writer: str,
        anchor: AuditAnchor | None,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        now_ms: Callable[[], int] = wall_clock,
    ) -> Self:
        """Opens, locks and checks the chain of `writer`. Nothing is written before `begin` or `append`.

        Raises Misconfigured: `audit-broken` when the chain or its anchor says so, and then nothing is changed;
        `wrong-state` when another process writes it; `file-unreadable`.
        """
        opened = cls(directory, writer, segment_bytes=segment_bytes, now_ms=now_ms)
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            raise Misconfigured("file-unreadable", f"{directory} does not exist") from None
        except OSError as error:
            raise Misconfigured("file-unreadable", f"{directory}: {error.strerror}") from None
        try:
            opened._take_over(anchor)
        except BaseException:
            opened.close()
            raise
        return opened

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def begin(self) -> None:
        """Makes sure that there is a segment to write to. Raises OSError when there cannot be one."""
        if self._descriptor < 0 or self._is_closed:
            self._open_next()

    def append(self, entries: Sequence[Mapping[str, Any]], *, sync: bool = True) -> None:
        """Writes the entries, and returns when they are kept: written, and with `sync` on the disk.

        Raises OSError when they are not, and then none of them is part of the chain.
        """
        while True:
            self._make_ready()
            lines, head, at, last = self._chained(entries)
            content = b"".join(lines)
            self._write(content)
            if sync:
                self._sync_or_leave()
            misplaced = self._misplaced(self._end + len(content))
            if not misplaced:
                break
            self._leave(misplaced)
        self._end += len(content)
        self.head, self._at = head, at
        self._is_closed = last == STOPPED
        if sync:
            self.synced = head

    def sync(self) -> None:
        """Syncs what is written. May run beside `append`, in another thread. Raises OSError; see the module."""
        head, number, descriptor = self.head, self._number, os.dup(self._descriptor)
        try:
            os.fsync(descriptor)
        except OSError:
            self._unsound = number
            raise
        finally:
            os.close(descriptor)
        self.synced = head

    def look(self) -> None:
        """Compares the open segment with its path; if that leads elsewhere, the chain goes on in a new segment.

        Raises OSError when there cannot be one.
        """
        if self._descriptor >= 0:
            misplaced = self._misplaced(self._end)
            if misplaced:
                self._leave(misplaced)
        if self._descriptor < 0:
            self._open_next()

    def close(self) -> None:
        """Releases file and lock. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # Writing

    def _make_ready(self) -> None:
        """A segment that takes the next line: the open one, or a new one by size, by day or because it must be."""
        if self._descriptor >= 0:
            misplaced = self._misplaced(self._end)
            if misplaced:
                self._leave(misplaced)
        if self._descriptor >= 0 and not self._is_closed:
            today = max(self._now_ms(), self._at) // _DAY_MS
            why = "size" if self._end >= self._segment_bytes else "day" if today > self._at // _DAY_MS else ""
            if why:
                self._close_segment(why)
        if self._descriptor < 0 or self._is_closed:
            self._open_next()

    def _chained(self, entries: Iterable[Mapping[str, Any]]) -> tuple[list[bytes], Head, int, str]:
        """The lines of the entries. A time before that of the line above becomes a field of its own."""
        lines, head, at, event = [], self.head, self._at, ""
        for entry in entries:
            fields = dict(entry)
            clock, event = fields.get("at", at), fields.get("event", "")
            if clock < at:
                fields |= {"at": at, "clock": clock}
            at = max(at, clock)
            line, head = append(head, fields)
            lines.append(line)
        return lines, head, at, event

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            try:
                os.ftruncate(self._descriptor, self._end)
            except OSError:
                self._leave("failed-write")
            raise

    def _sync_or_leave(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError:
            self._leave("failed-sync")
            raise

    def _misplaced(self, size: int) -> str:
        """Why this file can take no more lines, if it cannot: its path leads elsewhere, somebody else has written to
        it, or a sync has failed."""
        if self._unsound == self._number:
            return "failed-sync"
        mine = os.fstat(self._descriptor)
        try:
            there = os.stat(self.path, follow_symlinks=False)
        except OSError:
            return "moved"
        if (mine.st_dev, mine.st_ino) != (there.st_dev, there.st_ino):
            return "moved"
        return "" if mine.st_size == size else "altered"

    def _leave(self, why: str) -> None:
        """Never writes this file again. What was written to it is synced first, for the next segment goes on behind it;
        where a write or a sync has failed, another sync would say that all is well."""
        if why in {"moved", "altered"}:
            try:
                os.fsync(self._descriptor)
            except OSError:
                why = "failed-sync" if why == "moved" else why
        self._why = why
        self.close()

    def _close_segment(self, why: str) -> None:
        lines, head, at, _ = self._chained([{"event": CLOSED, "at": self._now_ms(), "kdc_id": self.writer}])
        self._write(lines[0])
        self._sync_or_leave()
        self._end += len(lines[0])
        self.head = self.synced = head
        self._at, self._why, self._is_closed = at, why, True

    def _open_next(self) -> None:
        """A new segment, on the disk with its first line and its name before anything follows in it."""
        self._directory.mkdir(mode=0o700, exist_ok=True)  # the whole folder may have been removed
        known = [segment.number for segment in segments_in(self._directory, self.writer)]
        number = max([self._number, *known]) + 1
        path = file_of(self._directory, self.writer, number)
        facts: dict[str, Any] = {"event": OPENED, "at": self._now_ms(), "kdc_id": self.writer, "segment": number}
        facts |= {"why": self._why} | ({"before": self.path.name} if self.head.seq else {})
        lines, head, at, _ = self._chained([facts])
        descriptor = os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.write(descriptor, lines[0]) != len(lines[0]):
                raise OSError(28, os.strerror(28))
            os.fsync(descriptor)
            sync_folder(self._directory)
        except BaseException:
            os.close(descriptor)  # first: each retry would lose a descriptor else
            with suppress(OSError):
                os.unlink(path)
            raise
        self.close()
        self._descriptor, self.path, self._number, self._end = descriptor, path, number, len(lines[0])
        self.head = self.synced = head
        self._at, self.opened_for, self._is_closed = at, self._why, False
        self._why = ""

    # Opening

    def _take_over(self, anchor: AuditAnchor | None) -> None:
        while True:
            found = [segment for segment in segments_in(self._directory, self.writer) if not segment.is_stub]
            if not found:
                if anchor is not None:
                    name = f"{self.writer}.*{SUFFIX}"
                    detail = f"there is no {self._directory / name}; the database has seen {anchor.seq} lines"
                    raise Misconfigured(AUDIT_BROKEN, detail)
                return
            self._lock(found[-1])
            newest = [segment for segment in segments_in(self._directory, self.writer) if not segment.is_stub]
            if newest == found:
                break
            self.close()  # its writer was faster
        walk = self._walk(found, anchor)
        report = walk.report()
        if report.broken:
            where = f"{found[-1].path.parent}: {self.writer}"
            raise Misconfigured(AUDIT_BROKEN, f"{where}: line {report.line}: {report.problem}: {report.detail}")
        if report.problem is Problem.HALF_WRITTEN:
            self._move_torn_line_aside(report.head)
        self.head = self.synced = report.head
        self.unanchored = report.unanchored
        self._at = walk.at
        self._end = os.fstat(self._descriptor).st_size
        # A crash may leave a segment without its first line. The next one has it.
        self._is_closed = walk.closed != "" or self._number == 0 or self._end == 0
        self._why = "start"

    def _lock(self, newest: Segment) -> None:
        self.path, self._number = newest.path, newest.number
        try:
            self._descriptor = os.open(self.path, _FLAGS)
        except OSError as error:
            raise Misconfigured("file-unreadable", f"{self.path}: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            raise Misconfigured("file-unreadable", f"{self.path} is not a plain file")
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Misconfigured(
                "wrong-state", f"another process writes {self.path}; no two KDCs share a writer's name"
            ) from None

    def _walk(self, found: list[Segment], anchor: AuditAnchor | None) -> Walk:
        """Checks what stands at the anchor and behind it; everything above, the anchored hash vouches for."""
        walk = Walk(self.writer, anchor, genesis(self.writer))
        first = 0
        for first in range(len(found) - 1, -1, -1):  # the first one to look at, when the loop ends
            begins = first_line(found[first].path)
            if anchor is not None and begins is not None and begins[0].seq <= anchor.seq:
                break
        todo = found[first:]
        for segment, after in zip(todo, [*todo[1:], None], strict=True):
            with opened(segment.path) as descriptor:
                offset = 0
                if segment is todo[0]:
                    offset, walk.head = start_for(descriptor, self.writer, anchor)
                for fields in walk_segment(walk, segment, descriptor, offset, after):
                    if anchor is None and segment.number and fields.get("event") != OPENED:
                        walk.found = (Problem.UNKNOWN, walk.head.seq, "the database knows no writer of this name")
            if walk.found is not None:
                break
        return walk

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


def first_line(path: Path) -> tuple[Head, dict[str, Any]] | None:
    """The file's first line; None for a file without a whole one."""
    with opened(path) as descriptor:
        return peek(next(lines_from(descriptor, 0), b""))


def walk_segment(
    walk: Walk, segment: Segment, descriptor: int, offset: int, after: Segment | None
) -> Iterator[dict[str, Any]]:
    """Walks one segment from `offset` on. What its writer had given up in it, as the first line of the segment
    `after` it says, was never part of the chain."""
    until = None
    if after is not None and not after.is_stub:
        begins = first_line(after.path)
        if begins is not None and begins[1].get("why") in _GIVEN_UP:
            until = begins[0].seq - 1
    yield from walk.take(lines_from(descriptor, offset), is_segment=segment.number > 0, until=until)


def _open_aside(path: Path, seq: int) -> int:
    attempt = 0
    while True:
        aside = path.with_name(f"{path.stem}.{seq}.{attempt}.torn")
        try:
            return os.open(aside, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            attempt += 1


def sync_folder(directory: Path) -> None:
    """Else a power cut may take a new file's name."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def start_for(descriptor: int, writer: str, anchor: AuditAnchor | None) -> tuple[int, Head]:
    """Where to begin to check in a file, as (offset, head there): at or before the anchored line, whose hash vouches
    for everything above it; else at the beginning, whose first line says what it goes on from, unless it is the
    chain's own."""
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
    seen = peek(next(lines_from(descriptor, 0), b""))
    if anchor is not None and seen is not None and 1 < seen[0].seq <= anchor.seq:
        return 0, Head(seen[0].seq - 1, seen[1]["prev"])
    return 0, genesis(writer)
