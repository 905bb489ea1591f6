"""What binds the body of a request that aiohttp is about to send: hashed in memory or in pieces, or read once.

Knows neither targets nor credentials.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from orthros_client.errors import LocalMisuse
from orthros_client.http.client.file_body import FileBody
from orthros_client.http.client.outgoing import Body
from orthros_protocol.primitives.derivation import RunningDigest
from orthros_runtime.extras import extra

with extra("aiohttp"):
    from aiohttp import ClientRequest, payload, payload_type
    from aiohttp.abc import AbstractStreamWriter
    from multidict import CIMultiDict

__all__ = ["bind_body"]

_MOST_IN_MEMORY: Final = 1 << 20


async def bind_body(request: ClientRequest, *, unbound: bool) -> Body:
    """What binds the body of `request`, whose headers then say how long it is. Raises LocalMisuse as `Body`."""
    headers, body = request.headers, request.body
    if request.compress:
        raise LocalMisuse(
            "not-covered", "aiohttp compresses this body while it sends it: compress it first, and say Content-Encoding"
        )
    skipped: Any = request.skip_auto_headers or ()
    if request.method in request.POST_METHODS and "Content-Type" not in skipped:  # as aiohttp does when it sends
        headers.setdefault("Content-Type", "application/octet-stream")
    digests = headers.getall("Content-Digest", [])
    if len(digests) > 1:
        raise LocalMisuse("value-invalid", "Content-Digest is set twice")
    stated = digests[0].encode("latin-1") if digests else None
    if not body:
        return Body.of(b"", stated)
    if isinstance(body, payload.BytesPayload):
        return Body.of(await body.as_bytes(), stated)
    if _is_repeatable(body):
        hashing = _Hashing()
        await body.write(hashing)
        headers.popall("Transfer-Encoding", None)
        headers["Content-Length"] = str(hashing.size)
        request.chunked = None
        return Body.measured(hashing.size, hashing.running.digest(), stated)
    if stated is None and body.size is not None and body.size <= _MOST_IN_MEMORY:
        content = await body.as_bytes()
        await request.update_body(content)
        return Body.of(content)
    return Body.of_stream(stated, unbound=unbound)


def _is_repeatable(body: payload.Payload) -> bool:
    if isinstance(body, _FilePayload):
        return True
    seekable = getattr(getattr(body, "_value", None), "seekable", None)
    return isinstance(body, payload.IOBasePayload) and seekable is not None and bool(seekable())


class _Hashing(AbstractStreamWriter):
    """Where a body is written to be hashed."""

    def __init__(self) -> None:
        self.running = RunningDigest()
        self.size = 0

    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """The next piece."""
        self.running.update(bytes(chunk))
        self.size += len(chunk)

    async def write_eof(self, chunk: bytes = b"") -> None:
        """The last piece."""
        await self.write(chunk)

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """A body has none."""

    async def drain(self) -> None:
        """Nothing waits."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Refused before."""

    def enable_chunking(self) -> None:
        """What is hashed has no transfer coding."""


@payload_type(FileBody)
class _FilePayload(payload.Payload):
    """A `FileBody`, as aiohttp takes bodies."""

    _value: FileBody

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self._value)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Opens the file anew, and writes all of it."""
        pieces = iter(self._value)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            await writer.write(piece)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """The same: its length is that of the file."""
        await self.write(writer)

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """All of it in memory."""
        return b"".join(self._value)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """All of it as text."""
        return b"".join(self._value).decode(encoding, errors)
