"""Both ends of a local connection as state machines of bytes: frames in, messages out, in order.

Sans-IO: the daemon, the blocking front and the async front drive the same code over their own sockets.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

from orthros_client.errors import Failure, Malformed, PeerMisbehaved
from orthros_client.local_api.messages import (
    decode_reply,
    decode_request,
    encode_failure,
    encode_reply,
    encode_request,
)
from orthros_client.local_api.values import AnyRequest, Op, Reply
from orthros_protocol import FrameReader, frame, reason_for
from orthros_protocol.limits import MAX_FRAME_BYTES

__all__ = ["MAX_REQUEST_BYTES", "ServerSession", "exchange"]

# Evidence and hand-overs travel in requests.
MAX_REQUEST_BYTES: Final = MAX_FRAME_BYTES

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

    def farewell(self, error: PeerMisbehaved) -> bytes:
        """The last bytes to send to a peer that was not understood."""
        code = "bad-local-request" if isinstance(error, Malformed) else error.code
        failure = Failure(family="local-misuse", reason=reason_for(code), detail=error.detail)
        return frame(encode_failure(0, failure))
