"""Which files of a folder are whose log: `WRITER.000001.jsonl` and so on, and what the names say.

Knows no line. A log from before there were segments is one file, `WRITER.jsonl`; it counts as segment 0. A segment
that was archived leaves a stub, `WRITER.000001.archived`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from orthros_protocol.errors import Misconfigured

__all__ = ["STUB", "SUFFIX", "Segment", "end_of_last_line", "file_of", "lines_from", "opened", "segments_in", "stub_of"]

SUFFIX: Final = ".jsonl"
STUB: Final = ".archived"
_WINDOW_BYTES: Final = 64 * 1024
_NAME = re.compile(r"(?P<writer>.+?)(?:\.(?P<number>[0-9]{6}))?(?P<suffix>\.jsonl|\.archived)", re.ASCII)


@frozen(order=True)
class Segment:
    """One file of a writer's log. `is_stub`: only what was left where it had been."""

    writer: str
    number: int
    path: Path
    is_stub: bool = False


def file_of(directory: Path, writer: str, number: int) -> Path:
    """Where the segment of this number stands."""
    return directory / f"{writer}.{number:06}{SUFFIX}"


def stub_of(segment: Segment) -> Path:
    """Where the stub of an archived segment stands."""
    return segment.path.with_name(f"{segment.path.name.removesuffix(SUFFIX)}{STUB}")


def segments_in(directory: str | os.PathLike[str], writer: str | None = None) -> list[Segment]:
    """All segments and stubs of the folder, or those of one writer, by writer and number.

    Raises Misconfigured `file-unreadable` when the folder cannot be read.
    """
    found = []
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{os.fspath(directory)}: {error.strerror}") from None
    for name in names:
        parts = _NAME.fullmatch(name)
        if parts is None or (writer is not None and parts["writer"] != writer):
            continue
        is_stub = parts["suffix"] == STUB
        found.append(Segment(parts["writer"], int(parts["number"] or 0), Path(directory) / name, is_stub))
    return sorted(found)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor for reading. Raises Misconfigured `file-unreadable`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{path}: {error.strerror}") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Misconfigured("file-unreadable", f"{path} is not a plain file")
        yield descriptor
    finally:
        os.close(descriptor)


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


def lines_from(descriptor: int, offset: int) -> Iterator[bytes]:
    """The lines of the file from `offset` on, each with its newline. Leaves the descriptor open."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(offset)
        yield from file
