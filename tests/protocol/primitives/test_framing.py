"""Frames: length first, checked before anything is collected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, PeerMisbehaved
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.data())
def test_messages_come_out_whole_however_the_bytes_arrive(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frame(message) for message in messages)
    reader, received = FrameReader(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        reader.feed(stream[:size])
        stream = stream[size:]
        received += list(reader.messages())
    reader.end()
    assert received == messages


def test_stopping_in_the_middle_loses_and_repeats_nothing() -> None:
    reader = FrameReader()
    reader.feed(frame(b"one") + frame(b"two") + frame(b"three")[:5])
    first = reader.messages()
    assert next(first) == b"one"
    assert list(reader.messages()) == [b"two"]
    assert list(first) == []
    assert reader.pending_bytes == 5


@pytest.mark.parametrize("header", [b"\0\0\0\0", b"\0\x01\0\x01", b"\xff\xff\xff\xff", b"GET ", b"\x16\x03\x01\x02"])
def test_an_impossible_length_is_refused_before_its_bytes_arrive(header: bytes) -> None:
    reader = FrameReader()
    reader.feed(header)
    with pytest.raises(PeerMisbehaved, match="frame-too-large"):
        list(reader.messages())


def test_messages_before_a_bad_frame_are_still_handed_out() -> None:
    reader = FrameReader(most_bytes=3)
    reader.feed(frame(b"one") + frame(b"four"))
    received = reader.messages()
    assert next(received) == b"one"
    with pytest.raises(PeerMisbehaved, match="4 bytes announced"):
        next(received)


def test_the_end_inside_a_message_is_an_error_of_the_connection() -> None:
    reader = FrameReader()
    reader.feed(frame(b"message")[:-1])
    assert list(reader.messages()) == []
    with pytest.raises(PeerMisbehaved, match="connection-truncated"):
        reader.end()


@pytest.mark.parametrize("size", [0, MAX_FRAME_BYTES + 1])
def test_a_frame_has_at_least_one_byte_and_at_most_64_kib(size: int) -> None:
    with pytest.raises(LocalMisuse):
        frame(bytes(size))
    assert len(frame(bytes(MAX_FRAME_BYTES))) == MAX_FRAME_BYTES + 4
