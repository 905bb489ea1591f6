"""HTTP/1.1 over one connection: one request, one answer, again. One that sends ahead is answered once.

Knows bytes, deadlines and when a connection must end; neither what may be asked nor how a refusal is worded.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Final

import trio
from attrs import define, field

from orthros_runtime.serving.connections import Connection
from orthros_runtime.serving.http.messages import (
    CONTINUE,
    Chunks,
    RequestHead,
    Unreadable,
    answer_bytes,
    head_end,
    read_head,
)

__all__ = ["HttpConversation"]

_HEAD_BYTES: Final = 8192
# What chunks may come to: these bytes for sizes, extensions and trailers, and so many more for each byte of the body.
_CHUNKS_BYTES: Final = 16 * 1024
_CHUNK_BYTES: Final = 16
_CUT_SHORT: Final = "the connection ended within a request"


@define(eq=False)
class HttpConversation:
    """The requests of one connection, in order. A head has at most `most_head_bytes`, its first line included.

    A peer that has proven nothing has `stranger_s` for its first request, and after each answer; what it asks once
    that time is over since the beginning is answered, and is the last.
    """

    connection: Connection
    most_head_bytes: int = _HEAD_BYTES
    request: RequestHead | None = field(default=None, init=False)
    """The one that is being worked on."""
    body: bytearray = field(factory=bytearray, init=False)
    """What has come of its body."""
    ended: bool = field(default=False, init=False)
    """Whether the last answer has been given."""
    _unread: bytearray = field(factory=bytearray, init=False)
    _goes_on: bool = field(default=False, init=False)
    _answered: bool = field(default=False, init=False)

    async def next_request(self) -> RequestHead | None:
        """The head of the next request, whose time runs from its first byte; None without one. Raises Unreadable."""
        self.request, self._goes_on, searched = None, False, 0
        self.body.clear()
        while (end := head_end(self._unread, searched)) is None and len(self._unread) <= self.most_head_bytes:
            searched = max(0, len(self._unread) - 2)
            if not await self._receive("the request did not arrive"):
                return None
        if end is None or end > self.most_head_bytes:
            raise Unreadable(431)
        self.request = read_head(bytes(self._unread[:end]))
        del self._unread[:end]
        self.connection.work()
        # The parser could not be stopped between two requests: who sends a second one too early is answered once.
        self._goes_on = self.request.length == 0 and self.request.goes_on and not self._unread
        return self.request

    async def read_body(self, most: int) -> bytes:
        """The whole body of the request. Raises Unreadable: 413 for one past `most` bytes, 408 for one that is late."""
        request = self.request
        if request is None or request.length == 0:
            return b""
        too_large = Unreadable(413, "the body is too large" if most else "a body is not expected")
        if request.length is not None and request.length > most:
            raise too_large
        chunks, raw, waits = Chunks() if request.length is None else None, 0, request.waits
        while True:
            raw += len(self._unread)
            is_whole = self._take_chunks(chunks) if chunks is not None else self._take_body(request.length or 0)
            if len(self.body) > most:
                raise too_large
            if raw > _CHUNKS_BYTES + _CHUNK_BYTES * len(self.body):
                raise Unreadable(431)
            if is_whole:
                self._goes_on = request.goes_on and not self._unread
                return bytes(self.body)
            if waits:
                await self.connection.send(CONTINUE, is_answer=False)
                waits = False
            if not await self._receive("the body did not arrive"):
                raise Unreadable(400, why=_CUT_SHORT)

    def _take_body(self, length: int) -> bool:
        """Moves what has come of a body of this length; whether it is whole."""
        missing = length - len(self.body)
        self.body += self._unread[:missing]
        del self._unread[:missing]
        return len(self.body) == length

    def _take_chunks(self, chunks: Chunks) -> bool:
        """The same for chunks. What came behind them is unread still."""
        self.body += chunks.feed(bytes(self._unread))
        if not chunks.is_followed:
            self._unread.clear()
        return chunks.is_whole

    async def answer(
        self, status: int, headers: Sequence[tuple[str, str]], body: bytes, *, close: bool = False
    ) -> bool:
        """Sends it; whether another request may follow. The body of an answer to HEAD stays here."""
        connection = self.connection
        is_over = connection.leaving or trio.current_time() >= connection.stranger_until
        close = close or is_over or not self._goes_on
        if self.request is not None and self.request.method == "HEAD":
            body = b""
        self._answered, self.ended = True, close
        await connection.send(answer_bytes(status, headers, body, close=close))
        if close:
            await connection.linger()
        return not (close or connection.leaving)

    async def _receive(self, late: str) -> bool:
        """Takes in what comes next; False at the end of a connection that owes nothing."""
        begun = self.request is not None or bool(self._unread)
        try:
            data = await self.connection.receive(begun=begun, until=self._until(begun=begun))
        except trio.TooSlowError:
            raise Unreadable(408, late) from None
        if not data and begun and not self.connection.leaving:
            raise Unreadable(400, why=_CUT_SHORT)
        self._unread += data
        return bool(data)

    def _until(self, *, begun: bool) -> float:
        connection, deadlines = self.connection, self.connection.deadlines
        if self.request is not None:
            return inf
        first_until = inf if self._answered else connection.stranger_until
        if begun:
            return first_until
        idle_s = deadlines.idle_s if connection.proven else min(deadlines.idle_s, deadlines.stranger_s)
        return min(first_until, trio.current_time() + idle_s)
