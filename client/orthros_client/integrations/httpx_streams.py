"""The bodies that `httpx_auth` puts into httpx's requests and responses: proven, drained, spent, read again.

Each is sync and async, as httpx asks. Knows neither targets nor credentials.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, Final

from orthros_client.errors import LocalMisuse
from orthros_client.http.client.attachment import redirected
from orthros_client.http.client.discharges import MOST_ANSWER_BYTES, too_long
from orthros_client.http.client.file_body import CHUNK_BYTES, FileBody, Measure
from orthros_client.http.client.outgoing import BodyProof
from orthros_client.integrations.httpx_libraries import AsyncByteStream, ByteStream, SyncByteStream
from orthros_protocol.primitives.http_fields import stated_length
from orthros_runtime.extras import extra

with extra("httpx"):
    import anyio.to_thread

__all__ = ["CheckedStream", "Drained", "Once", "RepeatableStream", "Short", "Spending", "readable_again"]

_MOST_DRAINED: Final = 64 * 1024


class _Around(SyncByteStream, AsyncByteStream):
    """A response stream around another one, of the kind that the client has."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def elapsed(self) -> Any:
        """Where httpx2 keeps how long the call took."""
        return getattr(self._inner, "elapsed", None)

    def close(self) -> None:
        self._inner.close()

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _chunks(self) -> Any:
        # httpx's streams are generators, and one that is left in the middle must be closed by who left it.
        return aclosing(aiter(self._inner))


class CheckedStream(_Around):
    """Passes the bytes on and raises at their end unless they are the target's.

    The last chunk is passed on when it is proven: whoever reads as many bytes as Content-Length says asks no further.
    """

    def __init__(self, inner: Any, check: BodyProof) -> None:
        super().__init__(inner)
        self._check = check

    def __iter__(self) -> Iterator[bytes]:
        held = b""
        for chunk in self._inner:
            self._check.feed(chunk)
            if held:
                yield held
            held = chunk
        self._check.finish()
        yield held

    async def __aiter__(self) -> AsyncIterator[bytes]:
        held = b""
        async with self._chunks() as chunks:
            async for chunk in chunks:
                self._check.feed(chunk)
                if held:
                    yield held
                held = chunk
        self._check.finish()
        yield held


class Short(_Around):
    """A discharger's answer: raises as soon as it is longer than one may be, whatever its head said."""

    def __init__(self, inner: Any, target: object) -> None:
        super().__init__(inner)
        self._target = target
        self._left = MOST_ANSWER_BYTES

    def _passed(self, chunk: bytes) -> bytes:
        self._left -= len(chunk)
        if self._left < 0:
            raise too_long(self._target)
        return chunk

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._inner:
            yield self._passed(chunk)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with self._chunks() as chunks:
            async for chunk in chunks:
                yield self._passed(chunk)


class Drained(_Around):
    """Nothing: a short body of a refusal is read, unseen, so that the connection can be used again."""

    def __init__(self, response: Any) -> None:
        super().__init__(response.stream)
        size = stated_length(response.headers.get_list("content-length"))
        # All or nothing: whoever stops halfway leaves httpx's own generators hanging.
        self._is_short = size is not None and size <= _MOST_DRAINED

    def __iter__(self) -> Iterator[bytes]:
        if self._is_short:
            for _chunk in self._inner:
                pass
        yield from ()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._is_short:
            async for _chunk in self._inner:
                pass
        nothing: tuple[bytes, ...] = ()
        for chunk in nothing:
            yield chunk


class Spending(ByteStream):
    """A body in memory that takes the credentials out of its request's head, which has left by then.

    httpx follows redirects before the flow sees a response, and copies the head for the same origin and for https.
    """

    def __init__(self, request: Any) -> None:
        super().__init__(request.content)
        self._headers = request.headers

    def __iter__(self) -> Iterator[bytes]:
        self._headers.pop("Authorization", None)
        yield from super().__iter__()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._headers.pop("Authorization", None)
        async for chunk in super().__aiter__():
            yield chunk


class Once(ByteStream):
    """A body in memory that goes to one place: to read it again, as for a redirect that httpx follows, raises."""

    def __init__(self, content: bytes, where: str) -> None:
        super().__init__(content)
        self._where = where
        self._is_spent = False

    def _spend(self) -> None:
        if self._is_spent:
            raise redirected(f"another place than {self._where}")
        self._is_spent = True

    def __iter__(self) -> Iterator[bytes]:
        self._spend()
        yield from super().__iter__()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._spend()
        async for chunk in super().__aiter__():
            yield chunk


class RepeatableStream(SyncByteStream, AsyncByteStream):
    """A request stream that is read anew for each attempt, in pieces; and before them, to be hashed."""

    def measure(self) -> Measure:
        """Reads the whole once. Blocks; async callers use a thread. Raises Misconfigured for a file that is gone."""
        return Measure.of(self)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self)
        while (chunk := await anyio.to_thread.run_sync(next, pieces, None)) is not None:
            yield chunk


class _Path(RepeatableStream):
    """The file at a path."""

    def __init__(self, file: FileBody) -> None:
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._file)


class _Open(RepeatableStream):
    """What is left of an open file."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._start = file.tell()

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(self._start)
        while chunk := self._file.read(CHUNK_BYTES):
            if not isinstance(chunk, bytes):
                raise LocalMisuse("value-invalid", "the file is open as text; open it in binary mode")
            yield chunk


class _Form(RepeatableStream):
    """A multipart form, which begins its files anew by itself."""

    def __init__(self, form: Any) -> None:
        self._form = form

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._form)


def readable_again(stream: Any) -> RepeatableStream | None:
    """The stream of a request as one that can be read as often as needed; None for one that can be read once."""
    if isinstance(stream, RepeatableStream):
        return stream
    source = getattr(stream, "_stream", None)  # what httpx was given as `content`
    if isinstance(source, FileBody):
        return _Path(source)
    if _is_rewindable(source):
        return _Open(source)
    # The stream of `files` has no public name in either library.
    fields = getattr(stream, "fields", None) if hasattr(stream, "boundary") else None
    if fields is None:
        return None
    contents = [getattr(one, "file", b"") for one in fields]
    return _Form(stream) if all(isinstance(one, (str, bytes)) or _is_rewindable(one) for one in contents) else None


def _is_rewindable(file: Any) -> bool:
    seekable = getattr(file, "seekable", None)
    return hasattr(file, "read") and seekable is not None and bool(seekable())
