"""Requests and responses as urllib3 has them, for urllib3 itself and for requests: measured, proven, drained, rewound.

Knows neither targets nor credentials.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, Final, cast

from orthros_client.errors import LocalMisuse, MaybeExecuted, OrthrosError
from orthros_client.http.client.file_body import CHUNK_BYTES, FileBody, Measure
from orthros_client.http.client.outgoing import BodyProof
from orthros_runtime.extras import extra

with extra("urllib3"):
    import urllib3

__all__ = [
    "CheckedFile",
    "PathFile",
    "RepeatableFile",
    "drain",
    "lowered",
    "proven_response",
    "rewound",
    "target_sent",
    "with_cause",
]

_MOST_DRAINED: Final = 64 * 1024
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}", re.ASCII)
# What urllib3 puts on the wire as it is.
_TARGET = re.compile(
    r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})*(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-F]{2})*)?", re.ASCII
)


class CheckedFile:
    """A file of the undecoded body, which raises at its end unless it is the target's."""

    def __init__(self, raw: Any, check: BodyProof) -> None:
        self._raw = raw
        self._check = check
        self.closed = False

    def read(self, amt: int | None = None) -> bytes:
        """At most `amt` bytes, or all; nothing more means that the end was reached and is proven."""
        data: bytes = self._raw.read(amt, decode_content=False)
        if data:
            self._check.feed(data)
        # Whoever reads as many bytes as Content-Length says does not ask again.
        if not data or amt is None or self._raw.length_remaining == 0:
            self._check.finish()
            self.close()
        return data

    def close(self) -> None:
        """Closes the response, and gives its connection back."""
        self.closed = True
        self._raw.close()
        self._raw.release_conn()


def drain(raw: Any) -> None:
    """Reads a short body, unseen, so that the connection can be used again."""
    with suppress(urllib3.exceptions.HTTPError):
        if len(raw.read(_MOST_DRAINED, decode_content=False)) < _MOST_DRAINED:
            raw.read(1, decode_content=False)  # to the end
    raw.close()  # the connection as well, if something is left
    raw.release_conn()


def with_cause(error: OrthrosError, raw: Any) -> OrthrosError:
    """The error, with what urllib3 tells of its own repeats: `raw` is the response to the last of them."""
    times = 1 + len(getattr(getattr(raw, "retries", None), "history", ()))
    if isinstance(error, MaybeExecuted) and error.refusal.code == "replayed" and times > 1:
        words = f"the Retry of urllib3 sent this request {times} times, and an earlier copy had reached the target"
        return MaybeExecuted(error.refusal, until=error.until, because=words)
    return error


def proven_response(raw: Any, check: BodyProof, method: str | None, **options: Any) -> urllib3.HTTPResponse:
    """`raw` as a response whose body raises at its end unless it is the target's."""
    return urllib3.HTTPResponse(
        body=cast("IO[bytes]", CheckedFile(raw, check)),
        headers=raw.headers,
        status=raw.status,
        version=raw.version,
        reason=raw.reason,
        original_response=getattr(raw, "_original_response", None),  # where Session of requests looks for cookies
        request_method=method,
        **options,
    )


def target_sent(path_and_query: str) -> bytes:
    """The request target as urllib3 sends it, which writes escapes in capitals. Raises LocalMisuse."""
    target = _ESCAPE.sub(lambda found: found[0].upper(), path_and_query)
    if _TARGET.fullmatch(target) is None:
        raise LocalMisuse("value-invalid", "the path or query holds characters that must be escaped")
    return target.encode("ascii")


def lowered(raw: Any) -> tuple[tuple[str, bytes], ...]:
    """The header fields of a response as they came, names in lower case."""
    return tuple((name.lower(), value.encode("latin-1")) for name, value in raw.headers.items())


class RepeatableFile:
    """The body of a request that is read anew for each attempt; and before them, to be hashed.

    A file, as far as requests and urllib3 ask: `len` is its size in bytes, and they may go back to its beginning.
    `_start` makes a new source that begins at the beginning.
    """

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._source = start()
        self._position = 0
        self.len = 0

    def measure(self) -> Measure:
        """Reads all of it once, in pieces."""
        measure = Measure.of(iter(lambda: self.read(CHUNK_BYTES), b""))
        self.len = measure.size
        self.seek(0)
        return measure

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, or all that are left."""
        chunk = self._source.read(size)
        if not isinstance(chunk, bytes):
            raise LocalMisuse("value-invalid", "the file is open as text; open it in binary mode")
        self._position += len(chunk)
        return chunk

    def tell(self) -> int:
        """How many bytes were read."""
        return self._position

    def seek(self, position: int) -> int:
        """Goes back to the beginning, and nowhere else."""
        if position:
            raise OSError("this body can be read from its beginning alone")
        self._source, self._position = self._start(), 0
        return 0


class PathFile:
    """A file at a path, as something to read."""

    def __init__(self, file: FileBody) -> None:
        self._pieces = iter(file)
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        """As `RepeatableFile.read`."""
        if size < 0:
            return self._left + b"".join(self._pieces)
        if not self._left:
            self._left = next(self._pieces, b"")
        chunk, self._left = self._left[:size], self._left[size:]
        return chunk


def rewound(file: Any, position: int) -> Any:
    """An open file, from `position` on."""
    file.seek(position)
    return file
