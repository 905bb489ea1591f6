"""Frames on a byte stream: u32be length, then that many bytes, 64 KiB at most.

Knows no sockets and no messages.
"""

from __future__ import annotations

from collections.abc import Iterator

from orthros_protocol.errors import LocalMisuse, PeerMisbehaved
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES

__all__ = ["FrameReader", "frame"]

_HEADER_BYTES = 4


def frame(message: bytes) -> bytes:
    """`message` with its length in front. Raises LocalMisuse for an empty or too large one."""
    if not 1 <= len(message) <= MAX_FRAME_BYTES:
        raise LocalMisuse("value-invalid", f"a frame has 1 to {MAX_FRAME_BYTES} bytes")
    return len(message).to_bytes(_HEADER_BYTES, "big") + message


class FrameReader:
    """Collects received bytes and hands out whole messages in order."""

    def __init__(self, most_bytes: int = MAX_FRAME_BYTES) -> None:
        self._most = most_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Adds bytes as they arrived."""
        self._buffer += data

    def messages(self) -> Iterator[bytes]:
        """Every complete message. Raises PeerMisbehaved `frame-too-large` as soon as a length says so."""
        while len(self._buffer) >= _HEADER_BYTES:
            size = int.from_bytes(self._buffer[:_HEADER_BYTES], "big")
            if not 1 <= size <= self._most:
                raise PeerMisbehaved("frame-too-large", f"{size} bytes announced, 1 to {self._most} allowed")
            end = _HEADER_BYTES + size
            if len(self._buffer) < end:
                return
            message = bytes(self._buffer[_HEADER_BYTES:end])
            # Taken out before it is handed out: whoever stops here and asks again gets the next one.
            del self._buffer[:end]
            yield message

    def end(self) -> None:
        """Called at end of stream. Raises PeerMisbehaved `connection-truncated` inside a message."""
        if self._buffer:
            raise PeerMisbehaved("connection-truncated", f"{len(self._buffer)} bytes of an unfinished frame")

    @property
    def pending_bytes(self) -> int:
        """How many bytes wait for the rest of their message."""
        return len(self._buffer)
