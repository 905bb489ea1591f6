"""A file as the body of a request: hashed before it is sent, read again for every attempt, in flat memory.

Knows no HTTP library; each of them takes an iterable with a length.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen

from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.derivation import RunningDigest

__all__ = ["CHUNK_BYTES", "FileBody", "Measure"]

CHUNK_BYTES: Final = 128 * 1024


@frozen
class Measure:
    """What was read from a file: its size in bytes and its SHA-256."""

    size: int
    sha256: bytes

    @classmethod
    def of(cls, chunks: Iterable[bytes]) -> Measure:
        """Reads them all, one at a time."""
        size, running = 0, RunningDigest()
        for chunk in chunks:
            running.update(chunk)
            size += len(chunk)
        return cls(size, running.digest())


class FileBody:
    """The file at `path`, which must not change until the request has been answered.

    Iterating opens it anew and yields its bytes in pieces. Raises Misconfigured `file-unreadable`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def __repr__(self) -> str:
        return f"FileBody({self.path!r})"

    def __len__(self) -> int:
        try:
            return os.stat(self.path).st_size
        except OSError as error:
            raise self._unreadable(error) from None

    def __iter__(self) -> Iterator[bytes]:
        try:
            with open(self.path, "rb", buffering=0) as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except OSError as error:
            raise self._unreadable(error) from None

    def measure(self) -> Measure:
        """Reads the whole file once. Blocks; async callers use a thread."""
        return Measure.of(self)

    def _unreadable(self, error: OSError) -> Misconfigured:
        return Misconfigured("file-unreadable", f"{self.path}: {error.strerror}")
