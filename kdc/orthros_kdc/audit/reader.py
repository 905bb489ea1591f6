"""Reads audit logs: the newest entries of all writers, new ones as they come, one reference, the whole proof.

Never writes, locks or waits; a line that is still being written is left for the next look.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from orthros_kdc.audit.chain import Problem, VerifyReport, genesis, peek, verify
from orthros_kdc.audit.chain_file import SUFFIX, end_of_last_line, lines_from
from orthros_kdc.store.base import AuditAnchor
from orthros_protocol import Misconfigured

__all__ = ["UNREADABLE", "Entry", "Follower", "find_ref", "tail", "verify_all"]

UNREADABLE: Final = "unreadable"
_WINDOW_BYTES: Final = 64 * 1024


@frozen(order=True)
class Entry:
    """One line. `fields` are all of it; a line that does not agree with its own hash is an event `unreadable`."""

    at: int
    writer: str
    seq: int
    event: str = field(order=False)
    fields: dict[str, Any] = field(order=False)


def tail(directory: str | os.PathLike[str], most: int) -> list[Entry]:
    """The newest `most` entries of all writers together, oldest first."""
    found: list[Entry] = []
    for path in _files(directory):
        with _opened(path) as descriptor:
            found += [_entry(path, line) for line in _last_lines(descriptor, most)]
    return sorted(found)[-most:] if most > 0 else []


class Follower:
    """Hands out the entries that were added since the last look. The caller decides when to look."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = directory
        self._offsets: dict[Path, int] = {}
        for path in _files(directory):
            with _opened(path) as descriptor:
                self._offsets[path] = end_of_last_line(descriptor)

    def poll(self) -> list[Entry]:
        """The new entries of all writers, oldest first."""
        found: list[Entry] = []
        for path in _files(self._directory):
            offset = self._offsets.get(path, 0)
            with _opened(path) as descriptor:
                if os.fstat(descriptor).st_size < offset:
                    offset = 0
                for line in lines_from(descriptor, offset):
                    if not line.endswith(b"\n"):
                        break
                    offset += len(line)
                    found.append(_entry(path, line))
            self._offsets[path] = offset
        return sorted(found)


def find_ref(directory: str | os.PathLike[str], ref: str) -> Entry | None:
    """The newest entry with this reference in hex, as a caller was given it."""
    wanted = ref.strip().lower()
    needle = json.dumps(wanted).encode("ascii")
    found = []
    for path in _files(directory):
        with _opened(path) as descriptor:
            candidates = (line for line in lines_from(descriptor, 0) if needle in line)
            found += [one for one in (_entry(path, line) for line in candidates) if one.fields.get("ref") == wanted]
    return max(found, default=None)


def verify_all(directory: str | os.PathLike[str], anchors: Iterable[AuditAnchor]) -> list[VerifyReport]:
    """Every chain in the directory checked from its first line, and every anchor accounted for, by writer.

    Read the anchors from the store first: entries that come later are merely behind the anchor.
    """
    expected = {anchor.writer: anchor for anchor in anchors}
    reports = []
    present = {path.stem: path for path in _files(directory)}
    for writer in sorted(present.keys() | expected.keys()):
        anchor = expected.get(writer)
        if writer in present:
            with _opened(present[writer]) as descriptor:
                reports.append(verify(lines_from(descriptor, 0), writer=writer, anchor=anchor))
        elif anchor is not None:
            detail = f"there is no {writer}{SUFFIX}; the database has seen {anchor.seq} lines"
            reports.append(
                VerifyReport(
                    writer=writer, head=genesis(writer), unanchored=0, problem=Problem.MISSING, line=1, detail=detail
                )
            )
    return reports


def _files(directory: str | os.PathLike[str]) -> list[Path]:
    try:
        return sorted(path for path in Path(directory).iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{os.fspath(directory)}: {error.strerror}") from None


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{path}: {error.strerror}") from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _last_lines(descriptor: int, most: int) -> list[bytes]:
    """The last `most` complete lines, read from the end."""
    at = os.fstat(descriptor).st_size
    content = b""
    while at and content.count(b"\n") <= most:
        before = max(0, at - _WINDOW_BYTES)
        content = os.pread(descriptor, at - before, before) + content
        at = before
    complete = [line + b"\n" for line in content.split(b"\n")[:-1]]
    return complete[-most:] if most > 0 else []


def _entry(path: Path, line: bytes) -> Entry:
    seen = peek(line)
    if seen is None:
        return Entry(0, path.stem, 0, UNREADABLE, {"line": line[:200].decode("ascii", "backslashreplace")})
    head, fields = seen
    at, event = fields.get("at"), fields.get("event")
    return Entry(at if type(at) is int else 0, path.stem, head.seq, event if type(event) is str else UNREADABLE, fields)
