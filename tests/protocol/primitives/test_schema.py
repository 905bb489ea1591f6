"""A class that is a message: what its fields allow is read and written, and nothing else."""

from __future__ import annotations

import pickle
import re
import traceback
from typing import Any

import attrs
import msgpack
import pytest
from attrs import field

from orthros_protocol import LocalMisuse, Malformed, Principal, Timestamp
from orthros_protocol.primitives.names import is_name, is_scope
from orthros_protocol.primitives.schema import (
    Extension,
    Message,
    Record,
    array,
    binary,
    const,
    extensions,
    instant,
    integer,
    message,
    optional,
    principal,
    record_of,
    record_set,
    secret,
    source_of,
    text,
    text_set,
)


@message("stop", eq=True, kw_only=False)
class Stop(Record):
    at: str = text(is_name)
    wait_s: int = integer(9)


@message("trip", limit=600, eq=True)
class Trip(Message):
    version: int = const(1)
    owner: Principal = principal()
    begun: Timestamp = instant()
    ref: bytes = binary(2)
    note: str | None = optional(text(str.isprintable, 5), default=None)
    first: Stop | None = optional(record_of(Stop), default=None)
    stops: tuple[Stop, ...] = array(record_of(Stop), 3, default=())
    tags: tuple[bytes, ...] = array(binary(0, 3), 2, default=())
    scopes: tuple[str, ...] | None = optional(text_set(is_scope, 3), default=None)
    seen: tuple[Stop, ...] = record_set(record_of(Stop), 3)
    crit: tuple[Extension, ...] = extensions(default=())
    came_by: str = field(default="", eq=False)


TRIP = Trip(
    owner=Principal("r", "alice"),
    begun=Timestamp(5),
    ref=b"12",
    note="hello",
    first=Stop("a", 1),
    stops=(Stop("b", 0), Stop("a", 9)),
    tags=(b"", b"123"),
    scopes=("b", "aa"),
    seen=(Stop("a", 1), Stop("a", 2)),
    crit=((1, b""), (2, b"x")),
)
ITEMS: list[Any] = [
    *(1, "r", "alice", 5, b"12", "hello", ["a", 1], [["b", 0], ["a", 9]], [b"", b"123"], ["b", "aa"]),
    *([["a", 1], ["a", 2]], [[1, b""], [2, b"x"]]),
]


def changed(one: Any, **changes: Any) -> Any:
    """The same message with other values in the named fields."""
    return attrs.evolve(one, **changes)


def encoded(**changes: Any) -> bytes:
    """The bytes of ITEMS with other items in the named places."""
    names = ["version", "realm", "name", "begun", "ref", "note", "first", "stops", "tags", "scopes", "seen", "crit"]
    return bytes(msgpack.packb([changes.get(name, item) for name, item in zip(names, ITEMS, strict=True)]))


def test_what_is_written_is_read_again() -> None:
    assert TRIP.encode() == encoded()
    assert Trip.decode(TRIP.encode(), came_by="train") == TRIP
    bare = changed(TRIP, note=None, first=None, stops=(), tags=(), scopes=None, crit=())
    assert Trip.decode(bare.encode(), came_by="") == bare


def test_a_field_that_does_not_travel_is_handed_over() -> None:
    assert Trip.decode(encoded(), came_by="train").came_by == "train"


def test_a_constant_belongs_to_the_class() -> None:
    assert Trip.version == 1
    with pytest.raises(TypeError):
        Trip(version=2, owner=TRIP.owner, begun=TRIP.begun, ref=b"12", seen=())  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("item", "value", "words"),
    [
        ("version", 2, "trip: version is not 1"),
        ("version", True, "trip: version has a wrong type"),
        ("realm", "A", "trip: owner_realm does not match its pattern"),
        ("name", "", "trip: owner_name has a wrong length"),
        ("name", b"alice", "trip: owner_name has a wrong type"),
        ("begun", -1, "trip: begun is out of range"),
        ("begun", 2**63, "trip: begun is out of range"),
        ("begun", True, "trip: begun has a wrong type"),
        ("begun", 5.0, "trip: begun has a wrong type"),
        ("begun", None, "trip: begun has a wrong type"),
        ("ref", b"1", "trip: ref has a wrong length"),
        ("ref", "12", "trip: ref has a wrong type"),
        ("note", "", "trip: note has a wrong length"),
        ("note", "hello!", "trip: note has a wrong length"),
        ("note", "é", "trip: note does not match its pattern"),
        ("note", 1, "trip: note has a wrong type"),
        ("first", [], "trip: first has a wrong length"),
        ("first", ["a"], "trip: first has a wrong length"),
        ("first", ["a", 1, 1], "trip: first has a wrong length"),
        ("first", ["a", True], "trip: first.wait_s has a wrong type"),
        ("first", ["a", 10], "trip: first.wait_s is out of range"),
        ("first", ["A", 1], "trip: first.at does not match its pattern"),
        ("first", "a1", "trip: first has a wrong type"),
        ("stops", [["a", 1]] * 4, "trip: stops has a wrong length"),
        ("stops", [["a", 1], None], r"trip: stops\[\] has a wrong type"),
        ("stops", [["a", 1], ["a"]], r"trip: stops\[\] has a wrong length"),
        ("stops", [["a", 1], ["a", 10]], r"trip: stops\[\].wait_s is out of range"),
        ("stops", None, "trip: stops has a wrong type"),
        ("tags", [b"1234"], r"trip: tags\[\] has a wrong length"),
        ("tags", [None], r"trip: tags\[\] has a wrong type"),
        ("scopes", ["aa", "b"], "trip: scopes is not in strictly increasing order"),
        ("scopes", ["b", "b"], "trip: scopes is not in strictly increasing order"),
        ("scopes", ["a", "b", "c", "d"], "trip: scopes has a wrong length"),
        ("scopes", [1], r"trip: scopes\[\] does not match its pattern"),
        ("scopes", ["a" * 129], r"trip: scopes\[\] does not match its pattern"),
        ("seen", [], "trip: seen has a wrong length"),
        ("seen", [["a", 2], ["a", 1]], "trip: seen is not in strictly increasing order"),
        ("seen", [["a", 1], ["a", 1]], "trip: seen is not in strictly increasing order"),
        ("seen", [["b", 1], ["a", 2]], "trip: seen is not in strictly increasing order"),
        ("crit", [[2, b""], [1, b""]], "trip: crit is not in strictly increasing order"),
        ("crit", [[1, b""], [1, b""]], "trip: crit is not in strictly increasing order"),
        ("crit", [[65536, b""]], r"trip: crit\[\] is out of range"),
        ("crit", [[True, b""]], r"trip: crit\[\] is not a number and its value"),
        ("crit", [[1, None]], r"trip: crit\[\] is not a number and its value"),
        ("crit", [[1]], r"trip: crit\[\] is not a number and its value"),
        ("crit", [1], r"trip: crit\[\] is not a number and its value"),
        ("crit", [[at, b""] for at in range(9)], "trip: crit has a wrong length"),
    ],
)
def test_what_a_field_does_not_allow_is_refused_by_its_name(item: str, value: Any, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        Trip.decode(encoded(**{item: value}), came_by="")


def test_types_are_judged_before_constants_and_these_before_ranges() -> None:
    changes = {"version": 2, "begun": -1, "realm": "A", "ref": b"", "note": ""}
    found = []
    for item, mended in (("ref", b"12"), ("begun", 5), ("note", None), ("realm", "r")):
        with pytest.raises(Malformed) as refused:
            Trip.decode(encoded(crit=0, **changes), came_by="")
        assert refused.value.detail == "trip: crit has a wrong type"
        with pytest.raises(Malformed) as refused:
            Trip.decode(encoded(**changes), came_by="")
        found.append(refused.value.detail.removeprefix("trip: "))
        changes |= {"version": 1, item: mended}
    assert found == [
        "version is not 1",
        "begun is out of range",
        "note has a wrong length",
        "owner_realm does not match its pattern",
    ]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(msgpack.packb(ITEMS[:-1]), id="an item missing"),
        pytest.param(msgpack.packb([*ITEMS, None]), id="an item more"),
        pytest.param(msgpack.packb([ITEMS[0], *ITEMS]), id="an item twice"),
        pytest.param(msgpack.packb({}), id="a map"),
        pytest.param(msgpack.packb(7), id="no array"),
        pytest.param(b"", id="nothing"),
        pytest.param(encoded() + b"\0", id="a byte behind"),
        pytest.param(encoded()[:-1], id="cut short"),
        pytest.param(b"\xdc\x00\x0c" + encoded()[1:], id="a long array"),
        pytest.param(encoded().replace(b"\x05\xc4", b"\xcc\x05\xc4", 1), id="a long integer"),
        pytest.param(encoded().replace(b"\xa5hello", b"\xd9\x05hello", 1), id="a long str"),
        pytest.param(encoded().replace(b"\xc4\x0212", b"\xc5\x00\x0212", 1), id="a long bin"),
        pytest.param(encoded(tags=[b"x" * 3] * 2) + b"x" * 600, id="past its limit"),
        pytest.param(bytearray(encoded()), id="not bytes"),
        pytest.param(encoded().decode("latin-1"), id="text"),
    ],
)
def test_bytes_that_are_not_the_one_encoding_are_malformed(data: Any) -> None:
    with pytest.raises(Malformed):
        Trip.decode(data, came_by="")


def test_a_message_at_its_limit_passes_and_one_byte_more_does_not() -> None:
    @message("small", limit=6)
    class Small(Message):
        content: bytes = binary(0, 9)

    assert Small.decode(Small(content=b"123").encode()).content == b"123"
    with pytest.raises(LocalMisuse, match="building small: larger than 6 bytes"):
        Small(content=b"1234").encode()
    with pytest.raises(Malformed, match="small: not bytes, or larger than 6 bytes"):
        Small.decode(msgpack.packb([b"1234"]))


def test_what_decode_would_refuse_is_not_written() -> None:
    for wrong in ({"begun": True}, {"note": ""}, {"scopes": ("aa", "b")}, {"first": Stop("A", 1)}, {"seen": ()}):
        with pytest.raises(LocalMisuse, match="building trip: "):
            changed(TRIP, **wrong).encode()


def test_a_record_alone_is_checked_and_taken_apart() -> None:
    assert Stop.of_items(["a", 1]) == Stop("a", 1)
    assert Stop("a", 1).to_items() == ["a", 1]
    Stop.check(["a", 1])
    with pytest.raises(Malformed, match="stop: not an array of 2 items"):
        Stop.check(["a", 1, 2])


def test_a_secret_is_not_shown_compared_or_pickled() -> None:
    @message("kept", eq=True)
    class Kept(Message):
        name: str = text(is_name)
        key: bytes = secret(4)

    kept = Kept.decode(Kept(name="a", key=b"hush").encode())
    assert "hush" not in repr(kept)
    assert kept == changed(kept, key=b"else")
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps(kept)


def test_a_field_that_would_hide_what_the_source_calls_is_refused() -> None:
    with pytest.raises(TypeError, match="len"):

        @message("hiding")
        class Hiding(Message):
            len: int = integer()


def test_a_field_with_the_name_of_a_variable_of_the_source_is_refused() -> None:
    """What is judged would be another value than what came for the field."""
    with pytest.raises(TypeError, match="after"):

        @message("hiding")
        class Walked(Message):
            tags: tuple[str, ...] = text_set(str.isalpha, 4)
            after: str = text(re.compile(r"[a-z]+"), 20)


def test_tracebacks_show_the_line_that_refused() -> None:
    with pytest.raises(Malformed) as refused:
        Trip.decode(encoded(ref=b""), came_by="")
    shown = "".join(traceback.format_exception(refused.value))
    assert "raise Malformed('trip: ref has a wrong length')" in shown
    assert "if len(ref) != 2:" in source_of(Trip)
