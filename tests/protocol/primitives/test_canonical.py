"""Canonical msgpack: one value, one encoding, or Malformed."""

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orthros_protocol import LocalMisuse, Malformed
from orthros_protocol.primitives.canonical import (
    Schema,
    array,
    binary,
    const,
    decode,
    encode,
    extensions,
    integer,
    nested,
    optional,
    text,
    text_set,
)
from orthros_protocol.primitives.limits import MAX_INT
from orthros_protocol.primitives.names import is_name, is_scope
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
ONE_VALUE = Schema("one", integer(), binary(0, 64), optional(text(is_name)), array(integer(9), 4), extensions())


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


FORBIDDEN = {
    "bool": msgpack.packb([True]),
    "false": msgpack.packb([False]),
    "float": msgpack.packb([1.0]),
    "nan": msgpack.packb([float("nan")]),
    "negative": msgpack.packb([-1]),
    "bigint": msgpack.packb([2**63]),
    "map": msgpack.packb([{"a": 1}]),
    "empty map": msgpack.packb([{}]),
    "ext": msgpack.packb([msgpack.ExtType(5, b"12")]),
    "zero-length ext": b"\x91\xc7\x00\x05",
    "timestamp": msgpack.packb([msgpack.Timestamp(1)]),
    "zero-length timestamp": b"\x91\xc7\x00\xff",
    "invalid utf-8": b"\x91\xa2\xff\xfe",
    "non-ascii": msgpack.packb(["é"]),
    "empty str": msgpack.packb([""]),
    "unused byte": b"\x91\xc1",
    "65 items": msgpack.packb([0] * 65),
    "array announced as 4 GiB": b"\xdd\xff\xff\xff\xff",
    "bin announced as 4 GiB": b"\x91\xc6\xff\xff\xff\xff",
    "str announced as 4 GiB": b"\x91\xdb\xff\xff\xff\xff",
    "empty": b"",
    "not an array": msgpack.packb(7),
    "nil": b"\xc0",
    "seven deep": b"\x91" * 6 + b"\x90",
    "a thousand deep": b"\x91" * 1000 + b"\x90",
    "depth bomb": b"\x91" * 60_000,
    "trailing byte": msgpack.packb([1]) + b"\0",
    "long integer": b"\x91\xcc\x01",
    "long array": b"\xdc\x00\x01\x01",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_the_encoding_forbids_is_malformed_with_and_without_a_schema(name: str) -> None:
    """Section 17: bool for int, non-canonical msgpack, map, ext, NaN, depth bomb, trailing bytes."""
    with pytest.raises(Malformed):
        decode(FORBIDDEN[name], 1 << 17)
    for schema in (ONE_VALUE, Schema("int", integer()), Schema("list", array(integer(), 64))):
        with pytest.raises(Malformed):
            schema.decode(FORBIDDEN[name])


def test_the_largest_allowed_values_pass() -> None:
    items = [MAX_INT, b"", None, [0] * 64, [[[[[]]]]]]
    assert decode(encode(*items), 1000) == items


def test_one_byte_over_the_limit_is_malformed_before_it_is_read() -> None:
    data = encode(b"x" * 10)
    assert decode(data, len(data)) == [b"x" * 10]
    with pytest.raises(Malformed, match="larger"):
        decode(data, len(data) - 1)
    with pytest.raises(Malformed, match="larger"):
        Schema("small", binary(10), limit=len(data) - 1).decode(data)


@pytest.mark.parametrize("data", [bytearray(b"\x90"), "\x90", None, memoryview(b"\x90")])
def test_only_bytes_are_decoded(data: Any) -> None:
    with pytest.raises(Malformed):
        decode(data, 100)
    with pytest.raises(Malformed):
        Schema("empty").decode(data)


@pytest.mark.parametrize(
    "value", [True, -1, 2**63, 1.5, "", "é", {}, {"a": 1}, object(), [[[[[[[]]]]]]], [0] * 65, bytearray(b"x")]
)
def test_encode_refuses_what_decode_would_not_read(value: Any) -> None:
    with pytest.raises(LocalMisuse, match="value-invalid"):
        encode(value)


def test_a_schema_refuses_to_write_what_it_would_not_read() -> None:
    schema = Schema("pair", const(1), binary(4), limit=6)
    with pytest.raises(LocalMisuse, match="building pair"):
        schema.encode(2, b"1234")
    with pytest.raises(LocalMisuse, match="larger than"):
        schema.encode(1, b"1234")
    with pytest.raises(LocalMisuse):
        schema.encode(1)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        (integer(9, 1), [1, 9], [0, 10, True, None, "1", b"1", [1]]),
        (const(3), [3], [2, 4, None]),
        (binary(2), [b"12"], [b"1", b"123", "12", None]),
        (binary(1, 2), [b"1", b"12"], [b"", b"123"]),
        (text(is_name), ["a", "a/b"], ["", "A", "a//b", "a\n", b"a", None, "é"]),
        (text(str.isprintable, 3), ["abc", " "], ["abcd", "é", "\n"]),
        (optional(integer(5)), [None, 0, 5], [6, "x", False]),
        (optional(binary(2)), [None, b"12"], [b"", b"1"]),
        (optional(text(is_name)), [None, "a"], ["A", ""]),
        (array(integer(3), 2), [[], [1, 2]], [[4], [1, 2, 3], [True], [None], None]),
        (nested(integer(), text(is_name)), [[1, "a"]], [[], [1], [1, "A"], [1, "a", 2]]),
        (text_set(is_scope, 3), [[], ["b", "aa"], ["a", "b", "aa"]], [["b", "a"], ["a", "a"], ["aa", "b"], ["A"]]),
        (extensions(), [[], [[1, b""], [2, b"x"]]], [[[2, b""], [1, b""]], [[1, b""], [1, b""]], [[65536, b""]]]),
        (extensions(), [[[at, b""] for at in range(8)]], [[[at, b""] for at in range(9)], [[1, b"x" * 1020]]]),
        (extensions(), [[[1, b"x" * 1000]]], [[[1, None]], [[1, "x"]], [[1]], [1]]),
    ],
)
def test_each_kind_of_field_takes_exactly_its_values(field: Any, good: list[Any], bad: list[Any]) -> None:
    schema = Schema("one", field)
    for value in good:
        assert schema.decode(schema.encode(value)) == [value]
    for value in bad:
        with pytest.raises(Malformed):
            schema.decode(bytes(msgpack.packb([value])))


def test_an_error_never_quotes_its_input() -> None:
    """A secret that a caller confused with a message must not end up in a log."""
    with pytest.raises(Malformed) as caught:
        decode(b"\x91\xa6hunter\xff", 100)
    assert "hunter" not in str(caught.value)
