"""A class that is a message: what its fields allow is read and written, and nothing else."""

from __future__ import annotations

import pickle
import re
import traceback
from typing import Any

import attrs
import msgpack
import pytest
from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal, is_name, is_scope
from orthros_protocol.primitives.schema import (
    Extension,
    Message,
    Record,
    adapted,
    array,
    binary,
    const,
    extensions,
    instant,
    integer,
    message,
    nested,
    offset,
    optional,
    principal,
    record_of,
    record_set,
    secret,
    several,
    source_of,
    spread,
    text,
    text_set,
    wire,
)
from tests.support.forbidden import FORBIDDEN


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


def alone(shape: Any) -> type[Message]:
    """A message of one field."""

    class Alone(Message):
        value: Any = shape

    return message("alone")(Alone)


@message("pair", eq=True, kw_only=False)
class Pair(Record):
    number: int = integer()
    name: str = text(is_name)


@pytest.mark.parametrize(
    ("shape", "good", "bad"),
    [
        (integer(9, 1), [1, 9], [0, 10, True, None, "1", b"1", [1]]),
        (integer(), [0, 2**63 - 1], [-1, 2**63, False, 0.0, float("nan"), msgpack.ExtType(1, b""), {}]),
        (binary(2), [b"12"], [b"1", b"123", "12", None, msgpack.ExtType(1, b"12")]),
        (binary(1, 2), [b"1", b"12"], [b"", b"123"]),
        (text(is_name), ["a", "a/b"], ["", "A", "a//b", "a\n", b"a", None, "é"]),
        (text(str.isprintable, 3), ["abc", " "], ["abcd", "é", "\n"]),
        (optional(integer(5)), [None, 0, 5], [6, "x", False, -1, 0.0]),
        (optional(binary(2)), [None, b"12"], [b"", b"1"]),
        (optional(text(is_name)), [None, "a"], ["A", "", 0, False]),
        (array(integer(3), 2), [(), (1, 2)], [[4], [1, 2, 3], [True], [None], None, {}, ""]),
        (array(array(integer(3), 2), 2), [(), ((),), ((1,), (2, 3))], [[4], [[4]], [[1, 2, 3]], [[[]]], [None]]),
        (record_of(Pair), [Pair(1, "a")], [[], [1], [1, "A"], [1, "a", 2], None, {}, "1a"]),
        (optional(record_of(Pair)), [None, Pair(1, "a")], [[], [1], [1, "A"], [1, "a", 2], [[1, "a"]], False]),
        (nested(principal()), [Principal("r", "a")], [[], ["r"], ["r", "A"], ["r", ""], ["r", "a", "b"], None, "ra"]),
        (optional(nested(principal())), [None, Principal("r", "a")], [[], ["r"], [None, None], [["r", "a"]], False]),
        (text_set(is_scope, 3), [(), ("b", "aa"), ("a", "b", "aa")], [["b", "a"], ["a", "a"], ["aa", "b"], ["A"]]),
        (extensions(), [(), ((1, b""), (2, b"x"))], [[[2, b""], [1, b""]], [[1, b""], [1, b""]], [[65536, b""]]]),
        (extensions(), [tuple((at, b"") for at in range(8))], [[[at, b""] for at in range(9)], [[1, b"x" * 1020]]]),
        (extensions(), [((1, b"x" * 1000),)], [[[1, None]], [[1, "x"]], [[1]], [1], [[True, b""]]]),
    ],
)
def test_each_kind_of_field_takes_exactly_its_values(shape: Any, good: list[Any], bad: list[Any]) -> None:
    one: Any = alone(shape)
    for value in good:
        assert one.decode(one(value=value).encode()).value == value
    for value in bad:
        with pytest.raises(Malformed):
            one.decode(bytes(msgpack.packb([value])))


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_the_encoding_forbids_is_malformed_in_every_message(name: str) -> None:
    for shape in (integer(), array(integer(), 64), optional(binary(0, 9)), text(str.isprintable), extensions()):
        with pytest.raises(Malformed):
            alone(shape).decode(FORBIDDEN[name])


@frozen(kw_only=True)
class Span:
    """Two items, of which the second is no field of its own."""

    length: int
    end: int = 0

    @property
    def begin(self) -> int:
        return self.end - self.length

    @classmethod
    def of(cls, begin: int, length: int) -> Span:
        return cls(end=begin + length, length=length)


@frozen(kw_only=True)
class Parcel:
    label: str | None = field(metadata=wire(optional(text(is_name))), default=None)
    span: Span = field(metadata=wire(several(Span.of, begin=integer(), length=integer(9))))
    owner: Principal = field(metadata=wire(principal()))
    tags: tuple[bytes, ...] = field(metadata=wire(array(binary(0, 3), 2)), default=())
    weight: int = field(metadata=wire(integer(9)), default=0)
    seen: int = 0


@message("sent", eq=True)
class Sent(Message):
    version: int = const(1)
    parcel: Parcel = spread(Parcel, without=("weight",), label=text(is_name))
    skew: int = offset()
    to: str = text(is_name)


SENT = Sent(parcel=Parcel(label="a", span=Span.of(5, 2), owner=Principal("r", "b"), tags=(b"x",)), skew=-3, to="c")
SENT_ITEMS: list[Any] = [1, "a", 5, 2, "r", "b", [b"x"], 0, 3, "c"]


def test_the_items_of_an_object_stand_in_line_among_those_of_the_message() -> None:
    assert SENT.encode() == msgpack.packb(SENT_ITEMS)
    assert Sent.decode(SENT.encode()) == SENT
    assert [row.name for member in Sent.members for row in member.rows()] == [
        *("version", "label", "span_begin", "span_length", "owner_realm", "owner_name", "tags"),
        *("skew_ahead", "skew_behind", "to"),
    ]


@pytest.mark.parametrize("at", range(len(SENT_ITEMS)))
def test_no_item_of_such_an_object_takes_what_its_field_does_not_allow(at: int) -> None:
    """Nothing shifts: not with another type, not with another count, and a field that was left out stays out."""
    numbers, texts = (True, -1, 2**63, 0.5, float("nan")), ("", "A", "é", b"1234")
    hostile: tuple[Any, ...] = (*numbers, *texts, [True], [[]], [b"x"] * 3, {}, None, msgpack.ExtType(1, b""))
    for value in hostile:
        if value != SENT_ITEMS[at] or type(value) is not type(SENT_ITEMS[at]):
            with pytest.raises(Malformed):
                Sent.decode(bytes(msgpack.packb([*SENT_ITEMS[:at], value, *SENT_ITEMS[at + 1 :]])))
    for items in ([*SENT_ITEMS[:at], *SENT_ITEMS[at + 1 :]], [*SENT_ITEMS[:at], SENT_ITEMS[at], *SENT_ITEMS[at:]]):
        with pytest.raises(Malformed):
            Sent.decode(bytes(msgpack.packb(items)))


def test_an_offset_has_one_encoding() -> None:
    for ahead, behind, skew in ((0, 0, 0), (4, 0, 4), (0, 4, -4)):
        assert Sent.decode(bytes(msgpack.packb([*SENT_ITEMS[:7], ahead, behind, "c"]))).skew == skew
    with pytest.raises(Malformed, match="both ahead and behind"):
        Sent.decode(bytes(msgpack.packb([*SENT_ITEMS[:7], 4, 3, "c"])))


def test_what_such_an_object_does_not_allow_is_not_written() -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"label": None},
        {"span": Span(length=10, end=20)},
        {"span": Span(length=2, end=1)},
        {"tags": (b"1234",)},
    )
    for changes in wrong:
        with pytest.raises(LocalMisuse, match="building sent: "):
            SENT.altered(parcel=attrs.evolve(SENT.parcel, **changes)).encode()


def test_a_declaration_that_would_leave_an_item_unjudged_is_refused() -> None:
    """A field that does not exist, an item that is several, two items of one name, also in an array of their own."""
    with pytest.raises(TypeError, match="Parcel has no field lable"):
        spread(Parcel, lable=text(is_name))
    with pytest.raises(TypeError, match="Parcel has no field seen"):
        spread(Parcel, without=("seen",))
    for declared in (
        lambda: optional(principal()),
        lambda: array(offset(), 3),
        lambda: record_set(spread(Parcel), 3),
        lambda: adapted(principal(), str, str),
    ):
        with pytest.raises(TypeError, match="several items in line"):
            declared()
    with pytest.raises(TypeError, match="owner_realm"):

        @message("twice")
        class Twice(Message):
            parcel: Parcel = spread(Parcel)
            owner: Principal = principal()

    @message("part")
    class Part(Record):
        label: str = text(is_name)

    @frozen(kw_only=True)
    class SameName:
        owner_realm: str = field(metadata=wire(text(is_name)))
        owner: Principal = field(metadata=wire(principal()))

    @frozen(kw_only=True)
    class SameVariable:
        part: Part = field(metadata=wire(record_of(Part)))
        part_label: str = field(metadata=wire(text(is_name)))

    for cls, name in ((SameName, "box_owner_realm"), (SameVariable, "box_part_label")):
        with pytest.raises(TypeError, match=name):

            @message("within an array")
            class Within(Message):
                box: object = nested(spread(cls))


def test_a_name_with_a_quotation_mark_is_a_name() -> None:
    @message('worker\'s "box"', limit=6)
    class Box(Message):
        content: bytes = binary(0, 9)

    with pytest.raises(LocalMisuse, match='building worker\'s "box": larger than 6 bytes'):
        Box(content=b"1234").encode()
