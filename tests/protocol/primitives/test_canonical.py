"""Canonical msgpack: one value, one encoding, or Malformed."""

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.primitives.canonical import decode, decode_as, encode, encode_as
from orthros_protocol.primitives.limits import MAX_INT
from tests.support.forbidden import FORBIDDEN
from tests.support.naive import enc
from tests.support.specimens import Shape, again, collect_specimens

ARRAYS = collect_specimens().arrays
EVERY_ARRAY = pytest.mark.parametrize("name", ARRAYS)

# Everything that msgpack can say, most of which is forbidden here.
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=True)
    | st.binary(max_size=40)
    | st.text(max_size=20)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=8))
    | st.builds(msgpack.Timestamp, st.integers(0, 2**33)),
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3) | st.integers(0, 5), inner, max_size=3)
    ),
    max_leaves=12,
)


def is_canonical_or_malformed(shape: Shape, data: bytes) -> bool:
    """The malleability property. Any error but Malformed escapes and fails the test."""
    try:
        return again(shape, data) == data
    except Malformed:
        return True


def wide(value: Any, widen: set[int], counter: list[int]) -> bytes:
    """`value` as msgpack in which the items counted by `widen` have a longer header than necessary."""
    counter[0] += 1
    longer = counter[0] in widen
    match value:
        case None:
            return b"\xc0"
        case int():
            return struct.pack(">BQ", 0xCF, value) if longer else bytes(msgpack.packb(value))
        case bytes():
            return struct.pack(">BI", 0xC6, len(value)) + value if longer else bytes(msgpack.packb(value))
        case str():
            raw = value.encode()
            return struct.pack(">BI", 0xDB, len(raw)) + raw if longer else bytes(msgpack.packb(value))
        case _:
            inner = b"".join(wide(item, widen, counter) for item in value)
            plain = bytes([0x90 | len(value)]) if len(value) < 16 else struct.pack(">BH", 0xDC, len(value))
            return (struct.pack(">BI", 0xDD, len(value)) if longer else plain) + inner


@EVERY_ARRAY
def test_a_real_message_survives_the_round_trip(name: str) -> None:
    shape, data = ARRAYS[name]
    assert again(shape, data) == data


@EVERY_ARRAY
def test_every_flipped_bit_gives_another_canonical_message_or_none(name: str) -> None:
    shape, data = ARRAYS[name]
    for at in range(len(data) * 8 if len(data) < 400 else 3200):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        assert is_canonical_or_malformed(shape, bytes(flipped))


@EVERY_ARRAY
def test_every_prefix_and_every_trailing_byte_is_malformed(name: str) -> None:
    shape, data = ARRAYS[name]
    for end in range(0, len(data), 1 + len(data) // 300):
        with pytest.raises(Malformed):
            again(shape, data[:end])
    for extra in (b"\0", b"\xc0", b"\xc1", data):
        with pytest.raises(Malformed):
            again(shape, data + extra)


@EVERY_ARRAY
@settings(max_examples=40)
@given(st.data())
def test_a_header_that_is_not_the_shortest_is_malformed(name: str, data: st.DataObject) -> None:
    shape, message = ARRAYS[name]
    items = msgpack.unpackb(message, raw=False)
    assert wide(items, set(), [0]) == message
    at = data.draw(st.integers(1, 14 + len(items)))
    widened = wide(items, {at}, [0])
    if widened != message:
        with pytest.raises(Malformed):
            again(shape, widened)
        with pytest.raises(Malformed):
            decode(widened, 1 << 16)


@EVERY_ARRAY
@settings(max_examples=40)
@given(st.binary(max_size=80))
def test_random_bytes_never_decode_twice(name: str, data: bytes) -> None:
    shape, message = ARRAYS[name]
    assert is_canonical_or_malformed(shape, data)
    assert is_canonical_or_malformed(shape, message[:1] + data)


@EVERY_ARRAY
@settings(max_examples=40)
@given(st.data())
def test_a_message_with_one_item_replaced_by_anything_stays_canonical_or_malformed(
    name: str, data: st.DataObject
) -> None:
    shape, message = ARRAYS[name]
    items = msgpack.unpackb(message, raw=False)
    items[data.draw(st.integers(0, len(items) - 1))] = data.draw(anything)
    assert is_canonical_or_malformed(shape, bytes(msgpack.packb(items)))


@given(anything)
def test_generic_decode_of_anything_is_canonical_or_malformed(value: Any) -> None:
    data = bytes(msgpack.packb(value, datetime=True))
    try:
        items = decode(data, 1 << 16)
    except Malformed:
        return
    assert encode(*items) == data


@given(st.binary(max_size=120))
def test_generic_decode_of_random_bytes_is_canonical_or_malformed(data: bytes) -> None:
    try:
        items = decode(data, 100)
    except Malformed:
        return
    assert encode(*items) == data


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_the_encoding_forbids_is_malformed(name: str) -> None:
    """Section 17: bool for int, non-canonical msgpack, map, ext, NaN, depth bomb, trailing bytes."""
    with pytest.raises(Malformed):
        decode(FORBIDDEN[name], 1 << 17)


def test_the_largest_allowed_values_pass() -> None:
    items = [MAX_INT, b"", None, [0] * 64, [[[[[]]]]]]
    assert decode(encode(*items), 1000) == items


def test_one_byte_over_the_limit_is_malformed_before_it_is_read() -> None:
    data = encode(b"x" * 10)
    assert decode(data, len(data)) == [b"x" * 10]
    with pytest.raises(Malformed, match="larger"):
        decode(data, len(data) - 1)


@pytest.mark.parametrize("data", [bytearray(b"\x90"), "\x90", None, memoryview(b"\x90")])
def test_only_bytes_are_decoded(data: Any) -> None:
    with pytest.raises(Malformed):
        decode(data, 100)


@pytest.mark.parametrize(
    "value", [True, -1, 2**63, 1.5, "", "é", {}, {"a": 1}, object(), [[[[[[[]]]]]]], [0] * 65, bytearray(b"x")]
)
def test_encode_refuses_what_decode_would_not_read(value: Any) -> None:
    with pytest.raises(LocalMisuse, match="value-invalid"):
        encode(value)


def test_what_a_check_refuses_is_neither_read_nor_written() -> None:
    def check(items: list[Any]) -> None:
        if items != [1]:
            raise Malformed("another one")

    assert decode_as("it", encode_as([1], check), check) == [1]
    with pytest.raises(LocalMisuse, match="another one"):
        encode_as([2], check)
    long_form = b"\x91\xcc\x01"
    for data, words in (
        (enc(2), "another one"),
        (b"\x01", "it: not an array"),
        (long_form, "it: not"),
        (b"", "msgpack"),
    ):
        with pytest.raises(Malformed, match=words):
            decode_as("it", data, check)


def test_an_error_never_quotes_its_input() -> None:
    """A secret that a caller confused with a message must not end up in a log."""
    with pytest.raises(Malformed) as caught:
        decode(b"\x91\xa6hunter\xff", 100)
    assert "hunter" not in str(caught.value)
