"""HTTP/1.1 over one connection, for every socket that speaks it: one request without body, one answer, again.

Knows h11 and deadlines; neither what may be asked nor how a refusal is worded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
import trio
from attrs import define, field

from orthros_runtime.extras import extra
from orthros_runtime.log_sieve import LogSieve
from orthros_runtime.serving.connections import Connection

with extra("daemon"):
    import h11

__all__ = ["HttpConversation", "Unreadable", "answer_unasked"]

log = structlog.get_logger()

_MOST_SHOWN_CHARS: Final = 120
_sieve: Final = LogSieve()


class Unreadable(Exception):
    """The request cannot be read to its end: answer, then close. `status` is what HTTP would call it."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@define(eq=False)
class HttpConversation:
    """The requests of one connection, in order. `most_head_bytes` is how much of a head may be kept unfinished."""

    connection: Connection
    most_head_bytes: int = 8192
    _h11: h11.Connection = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=self.most_head_bytes)

    async def next_request(self, check_head: Callable[[h11.Request], None] | None = None) -> h11.Request | None:
        """The next request, complete; None when there is none. Its time runs from its first byte.

        `check_head` sees it as soon as the head is there, and may raise. Raises Unreadable.
        """
        request: h11.Request | None = None
        begun = bool(self._h11.trailing_data[0])  # what came behind the request before
        while True:
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                # The words of h11 quote what it read.
                shown = {"peer": str(self.connection.peer), "error": str(error)[:_MOST_SHOWN_CHARS]}
                _sieve.write(log.info, "http request not understood", {}, **shown)
                status = error.error_status_hint if error.error_status_hint in (400, 413, 431, 501, 505) else 400
                raise Unreadable(status, "not HTTP/1.1") from None
            if event is h11.NEED_DATA:
                try:
                    data = await self.connection.receive(begun=begun)
                except trio.TooSlowError:
                    raise Unreadable(408, "the request did not arrive") from None
                if not data and (self.connection.leaving or not begun):
                    return None
                begun = True
                self._h11.receive_data(data)
            elif isinstance(event, h11.Request):
                request = event
                if check_head is not None:
                    check_head(event)
            elif isinstance(event, h11.Data):
                raise Unreadable(413, "a body is not expected")
            elif isinstance(event, h11.EndOfMessage):
                return request
            else:
                return None

    async def answer(
        self,
        status: int,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        *,
        close: bool = False,
        head: bool = False,
    ) -> bool:
        """Sends it; whether another request may follow. `head`: the answer to a HEAD, whose body stays here."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return False
        close = close or self.connection.leaving
        await self.connection.send(_bytes_of(self._h11, status, headers, body, close=close, head=head))
        return not close and self._begin_next()

    def _begin_next(self) -> bool:
        if self._h11.our_state is h11.MUST_CLOSE or self.connection.leaving:
            return False
        self._h11.start_next_cycle()
        return True


def answer_unasked(status: int, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    """The bytes of an answer to a connection whose request is not read. The connection closes behind it."""
    return _bytes_of(h11.Connection(h11.SERVER), status, headers, body, close=True, head=False)


def _bytes_of(
    end: h11.Connection, status: int, headers: Sequence[tuple[str, str]], body: bytes, *, close: bool, head: bool
) -> bytes:
    fields: list[Any] = [*headers, ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    if close:
        fields.append(("Connection", "close"))
    parts: list[h11.Event] = [
        h11.Response(status_code=status, headers=fields),
        *(() if head else (h11.Data(data=body),)),
        h11.EndOfMessage(),
    ]
    return b"".join(end.send(part) or b"" for part in parts)
