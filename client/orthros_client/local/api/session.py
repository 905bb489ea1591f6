"""Both ends of a local connection as state machines of bytes: frames in, messages out, in order.

Sans-IO: the daemon, the blocking front and the async front drive the same code over their own sockets.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Generator, Iterator
from typing import Final, TypeGuard

from attrs import define, field

from orthros_client.backoff import Backoff
from orthros_client.errors import Failure, Malformed, OrthrosError, PeerMisbehaved, Unavailable, busy
from orthros_client.local.api.messages import (
    decode_reply,
    decode_request,
    encode_failure,
    encode_reply,
    encode_request,
)
from orthros_client.local.api.values import AnyRequest, Op, Reply
from orthros_client.reasons import BAD_LOCAL_REQUEST, DAEMON_BUSY, DAEMON_UNREACHABLE
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES

__all__ = ["MAX_REQUEST_BYTES", "Attempts", "ServerSession", "exchange", "is_turned_away"]

# Evidence and hand-overs travel in requests.
MAX_REQUEST_BYTES: Final = MAX_FRAME_BYTES

_FIRST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.5
_MOST_UNANSWERED: Final = 3
_CLOSED: Final = frozenset({errno.ECONNRESET, errno.EPIPE})

Exchange = Generator[bytes, bytes, Reply]
"""Yields bytes to send (empty: just read on), is sent received bytes (empty: end of stream), returns the reply."""


def exchange(request: AnyRequest) -> Exchange:
    """One question over a connection that has no other one open.

    Raises PeerMisbehaved (`connection-truncated`, `malformed`, `frame-too-large`).
    """
    reader = FrameReader()
    outgoing = frame(encode_request(request))
    while True:
        received = yield outgoing
        outgoing = b""
        if not received:
            reader.end()
            raise PeerMisbehaved("connection-truncated", "the daemon closed the connection without an answer")
        reader.feed(received)
        for message in reader.messages():
            return decode_reply(request.op, message)


def is_turned_away(reply: Reply) -> TypeGuard[Failure]:
    """Whether the daemon has no room for this connection. It closes it, and has not looked at the request."""
    return isinstance(reply, Failure) and reply.reason is DAEMON_BUSY


@define
class Attempts:
    """When to ask the daemon once more after it did not serve a new connection: questions to it are safe to repeat.

    Without room it says so, or its queue is full: that passes, so it is asked again for as long as the caller waits. A
    connection that closes without an answer may have made room for another, or the daemon may have failed over the
    question: it is asked again a few times. `path` is the daemon's socket, `chance` gives numbers in [0, 1).
    """

    path: str
    chance: Callable[[], float] = random.random
    _backoff: Backoff | None = field(default=None, init=False)  # most questions need only one attempt
    _unanswered: int = field(default=0, init=False)
    _busy: OrthrosError | None = field(default=None, init=False)

    def pause_s(self, error: OSError | OrthrosError, left_s: float) -> float:
        """Seconds to wait before the next attempt, of `left_s` that are left. Raises what is to be told instead."""
        told = self._told_of(error)
        if told.reason is DAEMON_BUSY:
            self._busy = told
        else:
            self._unanswered += 1
            if self._unanswered > _MOST_UNANSWERED or not _is_unanswered(error):
                raise told from None
        self._backoff = self._backoff or Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        pause_s = self._backoff.failed(0.0, chance=self.chance())
        if pause_s >= left_s:
            raise told from None
        return pause_s

    def timed_out(self, timeout_s: float) -> OrthrosError:
        """What to tell when the caller's time is over: that there was no room, where the daemon has said so."""
        return self._busy or Unavailable("timeout", f"no answer within {timeout_s:g} s")

    def _told_of(self, error: OSError | OrthrosError) -> OrthrosError:
        if isinstance(error, Malformed):
            words = f"{self.path}: what answers there is no orthros-daemon ({error.detail})"
            return Unavailable(DAEMON_UNREACHABLE, words)
        if isinstance(error, OrthrosError):
            return error
        if error.errno == errno.EAGAIN:
            return busy(f"{self.path}: the queue of new connections is full").to_error()
        return Unavailable(DAEMON_UNREACHABLE, f"{self.path}: {error.strerror or error}")


def _is_unanswered(error: OSError | OrthrosError) -> bool:
    return error.code == "connection-truncated" if isinstance(error, OrthrosError) else error.errno in _CLOSED


class ServerSession:
    """The daemon's end: requests come out as they were sent, replies go in in the same order."""

    def __init__(self) -> None:
        self._reader = FrameReader(MAX_REQUEST_BYTES)

    def received(self, data: bytes) -> Iterator[AnyRequest]:
        """The requests in `data`. Raises PeerMisbehaved; answer with `farewell`, then close."""
        self._reader.feed(data)
        for message in self._reader.messages():
            yield decode_request(message)

    def reply(self, op: Op, reply: Reply) -> bytes:
        """Bytes to send."""
        return frame(encode_reply(op, reply))

    @property
    def is_pending(self) -> bool:
        """Whether a part of a request is here."""
        return self._reader.pending_bytes > 0

    def busy(self, cause: str) -> bytes:
        """The last bytes to send to a peer that there is no room for."""
        return frame(encode_failure(0, busy(cause)))

    def farewell(self, error: PeerMisbehaved) -> bytes:
        """The last bytes to send to a peer that was not understood."""
        reason = BAD_LOCAL_REQUEST if isinstance(error, Malformed) else error.reason
        failure = Failure(family="local-misuse", reason=reason, detail=error.detail)
        return frame(encode_failure(0, failure))
