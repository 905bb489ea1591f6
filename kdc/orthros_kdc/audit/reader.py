"""Reads audit logs: the newest entries of all writers, new ones as they come, one reference.

Never writes, locks or waits; a line that is still being written is left for the next look. Entries of administration
come from the database: the caller hands them in.
"""

from __future__ import annotations

import heapq
import json
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen

from orthros_kdc.audit.chain import peek
from orthros_kdc.audit.segments import Segment, end_of_last_line, lines_from, opened, segments_in

__all__ = ["UNREADABLE", "AuditEntry", "Follower", "entry_of", "find_ref", "tail"]

UNREADABLE: Final = "unreadable"
_WINDOW_BYTES: Final = 64 * 1024


@frozen(order=True)
class AuditEntry:
    """One line. `fields` are all of it; a line that does not agree with its own hash is an event `unreadable`."""

    at: int
    writer: str
    seq: int
    event: str = field(order=False)
    fields: dict[str, Any] = field(order=False)


def entry_of(writer: str, line: bytes) -> AuditEntry:
    """The entry that `line` is."""
    seen = peek(line)
    if seen is None:
        return AuditEntry(0, writer, 0, UNREADABLE, {"line": line[:200].decode("ascii", "backslashreplace")})
    head, fields = seen
    at, event = fields.get("at"), fields.get("event")
    return AuditEntry(
        at if type(at) is int else 0, writer, head.seq, event if type(event) is str else UNREADABLE, fields
    )


def tail(
    directory: str | os.PathLike[str],
    most: int,
    *,
    matching: Callable[[AuditEntry], bool] = lambda _: True,
    changes: Iterable[AuditEntry] = (),
) -> list[AuditEntry]:
    """The newest `most` entries of all writers that match, oldest first. `changes` are those of administration,
    newest first; they and the logs are read only as far back as need be."""
    writers: dict[str, list[Segment]] = {}
    for segment in _files(directory):
        writers.setdefault(segment.writer, []).append(segment)
    streams = [_backwards(segments) for segments in writers.values()]
    merged = heapq.merge(changes, *streams, reverse=True)
    found = list(islice((entry for entry in merged if matching(entry)), max(most, 0)))
    return found[::-1]


class Follower:
    """Hands out the entries that were added since the last look. The caller decides when to look."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = directory
        self._offsets: dict[Path, int] = {}
        for segment in _files(directory):
            with opened(segment.path) as descriptor:
                self._offsets[segment.path] = end_of_last_line(descriptor)

    def poll(self) -> list[AuditEntry]:
        """The new entries of all writers, oldest first."""
        found: list[AuditEntry] = []
        for segment in _files(self._directory):
            offset = self._offsets.get(segment.path, 0)
            with opened(segment.path) as descriptor:
                size = os.fstat(descriptor).st_size
                if size == offset:
                    continue
                if size < offset:
                    offset = 0
                for line in lines_from(descriptor, offset):
                    if not line.endswith(b"\n"):
                        break
                    offset += len(line)
                    found.append(entry_of(segment.writer, line))
            self._offsets[segment.path] = offset
        return sorted(found)


def find_ref(directory: str | os.PathLike[str], ref: str) -> AuditEntry | None:
    """The newest entry with this reference in hex, as a caller was given it."""
    wanted = ref.strip().lower()
    needle = json.dumps(wanted).encode("ascii")
    found = [entry for segment in _files(directory) for entry in _with(segment, needle)]
    return max((entry for entry in found if entry.fields.get("ref") == wanted), default=None)


def _files(directory: str | os.PathLike[str]) -> list[Segment]:
    return [segment for segment in segments_in(directory) if not segment.is_stub]


def _with(segment: Segment, needle: bytes) -> Iterator[AuditEntry]:
    """The entries of a file whose line holds `needle`."""
    with opened(segment.path) as descriptor:
        if os.fstat(descriptor).st_size == 0:
            return
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
            at = content.find(needle)
            while at >= 0:
                begin, end = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", at) + 1
                if not end:
                    return
                yield entry_of(segment.writer, content[begin:end])
                at = content.find(needle, end)


def _backwards(segments: list[Segment]) -> Iterator[AuditEntry]:
    """The entries of one writer, newest first. What cannot be read has the time of the entry before it."""
    unread: list[AuditEntry] = []
    for segment in reversed(segments):
        with opened(segment.path) as descriptor:
            for line in _lines_backwards(descriptor):
                entry = entry_of(segment.writer, line)
                if entry.event == UNREADABLE:
                    unread.append(entry)
                    continue
                yield from (evolve(one, at=entry.at) for one in unread)
                unread.clear()
                yield entry
    yield from unread


def _lines_backwards(descriptor: int) -> Iterator[bytes]:
    """The complete lines of a file, the last one first, read from its end."""
    end = at = end_of_last_line(descriptor)
    begun = b""
    while at:
        before = max(0, at - _WINDOW_BYTES)
        block = os.pread(descriptor, at - before, before)
        begun, *whole = ((block[:-1] if at == end else block) + begun).split(b"\n")
        yield from (line + b"\n" for line in reversed(whole))
        at = before
    if end:
        yield begun + b"\n"
