"""The bodies that `httpx_auth` puts into httpx's requests and responses: proven, drained, spent, read again.

Each is sync and async, as httpx asks. Knows neither targets nor credentials.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import anyio
import httpx

from orthros_client.http.attachment import redirected
from orthros_client.http.file_body import CHUNK_BYTES, FileBody
from orthros_client.http.outgoing import BodyProof

__all__ = ["Checked", "Drained", "FileStream", "Once", "Spending"]

_MOST_DRAINED: Final = 64 * 1024


class _Around(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A response stream around another one, of the kind that the client has."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def close(self) -> None:
        self._inner.close()

    async def aclose(self) -> None:
        await self._inner.aclose()


class Checked(_Around):
    """Passes the bytes on and raises at their end unless they are the target's."""

    def __init__(self, inner: Any, check: BodyProof) -> None:
        super().__init__(inner)
        self._check = check

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._inner:
            self._check.feed(chunk)
            yield chunk
        self._check.finish()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._inner:
            self._check.feed(chunk)
            yield chunk
        self._check.finish()


class Drained(_Around):
    """Nothing: a short body of a refusal is read, unseen, so that the connection can be used again."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response.stream)
        size = response.headers.get("Content-Length", "")
        # All or nothing: whoever stops halfway leaves httpx's own generators hanging.
        self._is_short = size.isdecimal() and int(size) <= _MOST_DRAINED

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


class Spending(httpx.ByteStream):
    """A body in memory that takes the credentials out of its request's head, which has left by then.

    httpx follows redirects before the flow sees a response, and copies the head for the same origin and for https.
    """

    def __init__(self, request: httpx.Request) -> None:
        super().__init__(request.content)
        self._headers = request.headers

    def __iter__(self) -> Iterator[bytes]:
        self._headers.pop("Authorization", None)
        yield from super().__iter__()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._headers.pop("Authorization", None)
        async for chunk in super().__aiter__():
            yield chunk


class Once(httpx.ByteStream):
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


class FileStream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A request stream that reads a file anew for each attempt."""

    def __init__(self, file: FileBody) -> None:
        self._stream = file

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with await anyio.open_file(self._stream.path, "rb") as file:
            while chunk := await file.read(CHUNK_BYTES):
                yield chunk
