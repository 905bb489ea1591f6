"""The bodies that `requests_auth` puts into requests' messages: proven, drained, measured and rewound.

Knows neither targets nor credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from orthros_client.errors import LocalMisuse
from orthros_client.http.client.file_body import CHUNK_BYTES, FileBody, Measure
from orthros_client.http.client.outgoing import BodyProof
from orthros_runtime.extras import extra

with extra("requests"):
    import requests
    import urllib3

__all__ = ["CheckedFile", "RepeatableFile", "drain", "readable_again", "times_sent"]

_MOST_DRAINED: Final = 64 * 1024


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
        if not data or amt is None:
            self._check.finish()
            self.close()
        return data

    def close(self) -> None:
        """Closes the response, and gives its connection back."""
        self.closed = True
        self._raw.close()
        self._raw.release_conn()


def drain(response: requests.Response) -> None:
    """Reads a short body, unseen, so that the connection can be used again."""
    with suppress(urllib3.exceptions.HTTPError):
        if len(response.raw.read(_MOST_DRAINED, decode_content=False)) < _MOST_DRAINED:
            response.raw.read(1, decode_content=False)  # to the end
    response.close()


def times_sent(response: requests.Response) -> int:
    """How often urllib3 sent the request, below whoever sees this response alone."""
    retries = getattr(response.raw, "retries", None)
    return 1 + len(getattr(retries, "history", ()))


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


class _Path:
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


def readable_again(r: requests.PreparedRequest) -> RepeatableFile | None:
    """The body of a request as one that can be read as often as needed; None for one that can be read once."""
    body: Any = r.body
    if isinstance(body, FileBody):
        return RepeatableFile(lambda: _Path(body))
    position = getattr(r, "_body_position", None)  # where requests would go back to
    if isinstance(position, int):
        return RepeatableFile(lambda: _at(body, position))
    # Of requests-toolbelt, a MultipartEncoder, or a monitor around one.
    encoder = getattr(body, "encoder", body)
    if not hasattr(encoder, "boundary_value"):
        return None
    files = _files_of(encoder.fields)
    if files is None:
        return None
    return RepeatableFile(lambda: _encoded(body, encoder, files))


def _at(file: Any, position: int) -> Any:
    file.seek(position)
    return file


def _files_of(fields: Any) -> list[tuple[Any, int]] | None:
    """The files of a form, and where each begins; None where one cannot be rewound, or the fields are gone by now."""
    if not isinstance(fields, (Mapping, list, tuple)):
        return None
    values = [value for _name, value in (fields.items() if isinstance(fields, Mapping) else fields)]
    contents = [value[1] if isinstance(value, (list, tuple)) else value for value in values]
    found: list[tuple[Any, int]] = []
    for content in contents:
        if hasattr(content, "read"):
            if not (hasattr(content, "seekable") and content.seekable()):
                return None
            found.append((content, content.tell()))
    return found


def _encoded(body: Any, encoder: Any, files: list[tuple[Any, int]]) -> Any:
    for file, position in files:
        file.seek(position)
    fresh = type(encoder)(encoder.fields, encoder.boundary_value, encoder.encoding)
    if body is encoder:
        return fresh
    body.encoder, body.bytes_read = fresh, 0
    return body
