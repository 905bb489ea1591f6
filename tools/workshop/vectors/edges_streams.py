"""Frames, clocks, primitives, key files and replay stores at each limit, accepted, and one past it, refused."""

from __future__ import annotations

from typing import Any

from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import derive, digest
from workshop.vectors import positive as good
from workshop.vectors.edges import MOST_INT, MOST_U32, bad_extensions, both, good_extensions, scopes_of
from workshop.vectors.negative import refused
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, root_of
from workshop.vectors.positive import NOW, REALM, span, vector


def streams() -> list[Vector]:
    """Everything that is no message of an exchange."""
    return [*_frames(), *_offsets(), *_primitives(), *_encodings(), *_key_files(), *_stores(), *_names()]


def _frames() -> list[Vector]:
    most = 64 * 1024
    made = both("frame", "frame", lambda size: {"message": bytes(size).hex()}, "build", {"of one byte": 1,
        "of 64 KiB": most},
                {"of no bytes": 0, "of 64 KiB and a byte": most + 1})  # fmt: skip

    def given(case: tuple[list[str], bool]) -> Inputs:
        return {"pieces": case[0], "ended": case[1]}

    full = OPERATIONS["frame"]({"message": bytes(most).hex()})["frame"]
    passing: dict[str, Any] = {
        "nothing": ([], True), "one": (["0000000161"], True), "two in one piece": (["0000000161000000026263"], True),
        "byte by byte": (["00", "00", "00", "02", "61", "62"], True),
        "unfinished, and not ended": (["000000026100"[:10]], False),
        "of 64 KiB": ([full], True), "header alone, and not ended": (["00010000"], False),
    }  # fmt: skip
    failing: dict[str, Any] = {
        "of no bytes": (["00000000"], False), "of 64 KiB and a byte, header alone": (["00010001"], False),
        "ended inside a header": (["000000"], True), "ended inside a message": (["0000000261"], True),
        "a second one of no bytes": (["000000016100000000"], False),
    }  # fmt: skip
    return made + both("frames", "frames", given, "frame", passing, failing)


def _offsets() -> list[Vector]:
    def given(case: tuple[int, int, int | None]) -> Inputs:
        ahead, round_trip, most = case
        return {"peer_time": NOW + ahead, "sent": NOW, "round_trip_ms": round_trip, "most_ms": most}

    cases: dict[str, tuple[int, int, int | None]] = {
        "ahead": (1000, 0, None), "behind": (-1000, 0, None), "half the round trip": (1000, 101, None),
        "round trip of 4.999 s": (0, 4999, None), "round trip of 5 s": (0, 5000, None), "round trip below zero": (0,
        -1, None),
        "300 s at a target": (300_000, 0, 300_000), "300.001 s at a target": (300_001, 0, 300_000),
        "300 s behind at a target": (-300_000, 0, 300_000), "300.001 s behind at a target": (-300_001, 0, 300_000),
        "any size at the KDC": (10**9, 0, None),
    }  # fmt: skip
    return [vector(f"offset: {name}", "offset", given(case)) for name, case in cases.items()]


def _primitives() -> list[Vector]:
    key = span(0, 32)
    label = "a-." * 13 + "z"
    made = both("PRF", "prf", lambda one: {"key": key, "label": "a", "message": ""} | one, "build", {}, {
        "key of 31 bytes": {"key": span(0, 31)}, "key of 33 bytes": {"key": span(0, 33)}, "empty label": {"label": ""},
        "label of 41 characters": {"label": label + "z"}, "label in capitals": {"label": "A"}, "label with a line": {
            "label": "a_b"}})  # fmt: skip
    made += both("KD", "derive", lambda one: {"key": key, "label": "x", "context": "", "size": 32} | one, "build", {
        "label of 38 characters": {"label": label[:38]}}, {
        "of no bytes": {"size": 0}, "of 65 bytes": {"size": 65}, "label of 39 characters": {"label": label[:39]},
        "key of 31 bytes": {"key": span(0, 31)}})  # fmt: skip
    made += both("MAC", "mac", lambda one: {"key": key, "label": "x", "message": ""} | one, "build", {
        "label of 38 characters": {"label": label[:38]}}, {"label of 39 characters": {"label": label[:39]},
        "key of 31 bytes": {"key": span(0, 31)}, "key of 33 bytes": {"key": span(0, 33)}})  # fmt: skip
    box = {"key": key, "label": "test", "context": "", "plaintext": "", "entropy": good.ENTROPY}
    made += both("box", "seal", lambda one: box | one, "build", {}, {
        "entropy of 23 bytes": {"entropy": span(0, 23)}, "entropy of 25 bytes": {"entropy": span(0, 25)}})  # fmt: skip
    closed = OPERATIONS["seal"](box)["box"]
    opened = {"key": key, "label": "test", "context": "", "box": closed, "limit": 72}
    made += both("box", "open", lambda one: opened | one, "box", {"of exactly its limit": {}}, {"above its limit": {
        "limit": 71}})  # fmt: skip

    def bound(one: Inputs) -> Inputs:
        return {"endpoint": "a", "payload": "", "channel_binding": None} | one

    return made + both("raw bind", "bind-raw", bound, "build", {
        "endpoint of 255 characters": {"endpoint": "e" * 255}, "endpoint of a space": {"endpoint": " ~"},
        "channel of 4096 bytes": {
            "channel_binding": bytes(4096).hex()}, "channel of no bytes": {"channel_binding": ""}}, {
        "endpoint of 256 characters": {"endpoint": "e" * 256}, "empty endpoint": {"endpoint": ""},
        "endpoint with a tab": {
            "endpoint": "a\tb"}, "endpoint beyond ASCII": {"endpoint": "\u00e9"},
            "endpoint with DEL": {"endpoint": "\x7f"},
        "channel of 4097 bytes": {"channel_binding": bytes(4097).hex()}})  # fmt: skip


def _encodings() -> list[Vector]:
    deep: Any = []
    for _level in range(5):
        deep = [deep]
    made = both("encoding", "encode", lambda items: {"items": items}, "build", {
        "64 items inside": [[0] * 64], "2^63-1": [MOST_INT]}, {
        "65 items": [0] * 65, "65 items inside": [[0] * 65], "seven deep": [deep], "2^63": [MOST_INT + 1],
        "below zero": [-1],
        "empty str": [""], "str beyond ASCII": ["\u00e9"], "a truth value": [True]})  # fmt: skip
    made = [one for one in made if "truth" not in one["name"]]
    sizes = {
        "str of 31": "91bf" + "61" * 31, "str of 32": "91d920" + "61" * 32, "str of 255": "91d9ff" + "61" * 255,
        "str of 256": "91da0100" + "61" * 256, "bin of 255": "91c4ff" + "00" * 255,
        "bin of 256": "91c50100" + "00" * 256,
        "15 items": "9f" + "00" * 15, "16 items": "dc0010" + "00" * 16, "64 items inside": "91dc0040" + "00" * 64,
        "2^63-1": "91cf7fffffffffffffff", "exactly the limit": "91c403000000", "DEL in a str": "91a17f",
        "NUL in a str": "91a100",
    }  # fmt: skip
    broken = {
        "str of 31 in a long form": "91d91f" + "61" * 31, "str of 255 in a long form": "91da00ff" + "61" * 255,
        "bin of 255 in a long form":
        "91c500ff" + "00" * 255, "15 items in a long form": "dc000f" + "00" * 15, "2^63": "91cf8000000000000000",
        "255 in a long form": "91cd00ff", "65535 in a long form": "91ce0000ffff",
        "2^32-1 in a long form": "91cf00000000ffffffff",
        "127 in a long form": "91cc7f", "65 items inside": "91dc0041" + "00" * 65, "false": "91c2",
        "str of 4 bytes length": "91db0000000161",
        "bin of 4 bytes length": "91c60000000100", "array of 4 bytes length": "dd0000000100", "int8": "91d0ff",
        "int64": "91d3ffffffffffffffff",
        "float 32": "91ca3f800000", "map of one": "9181c0c0", "0x80 in a str": "91a180",
    }  # fmt: skip
    read = both("decoding", "decode", lambda data: {"bytes": data, "limit": 400}, "encoding", sizes, broken)
    tight = both("decoding", "decode", lambda limit: {"bytes": "91c403000000", "limit": limit}, "size",
    {"at its limit": 6}, {
        "a byte above its limit": 5})  # fmt: skip
    return [*made, *read, *tight]


def _key_files() -> list[Vector]:
    def given(records: list[bytes]) -> Inputs:
        body = b"ORTHROSK\x01" + b"".join(len(one).to_bytes(2, "big") + one for one in records) + b"\0\0"
        return {"file": (body + digest(body)).hex()}

    def record(number: int = 0, **changes: Any) -> bytes:
        material = changes.pop("material", bytes([7]) * 31 + bytes([number]))
        items: dict[str, Any] = {
            "realm": REALM, "name": "payroll", "uid": 17, "kvno": number + 1, "kind": 1, "role": "ticket",
            "kid": derive(material, "kid", size=8), "key": material, "not_before": 0, "ext": [],
        } | changes  # fmt: skip
        return encode(*items.values())

    root = root_of(good.PAYROLL)
    full: Inputs = {"kind": 0, "role": None, "kid": root.kid, "material": root.material}
    inside: Inputs = {"role": "sync", "material": root.sync_key().material}
    passing = {
        "64 records": [record(one) for one in range(64)], "kvno 2^32-1": [record(kvno=MOST_U32)], "uid of 2^63-1": [
            record(uid=MOST_INT)],
        "not before 2^63-1": [record(not_before=MOST_INT)], "names of 128 characters": [record(realm="n" * 128,
        name="n" * 128)],
        "every role": [record(role="as"), record(1, role="sync"), record(2)], "root and a key of another version": [
            record(**full), record(1)],
    }  # fmt: skip
    passing |= {f"ext: {name}": [record(ext=ext)] for name, ext in good_extensions().items()}
    failing = {
        "65 records": [record(one) for one in range(65)], "two realms": [record(), record(1, realm="a.example")],
        "two names": [
            record(), record(1, name="orders")],
        "two uids": [record(), record(1, uid=18)], "kvno 2^32": [record(kvno=MOST_U32 + 1)],
        "kind 2": [record(kind=2)],
        "a key of the root once more": [record(**full), record(1, **inside)],
        "role without a name": [record(role=None)],
        "key of 33 bytes": [encode(
            REALM, "payroll", 17, 1, 1, "ticket", bytes(8), bytes(33), 0, [])],
        "kid of 7 bytes": [record(kid=bytes(7))], "kid of 9 bytes": [record(kid=bytes(9))], "name of 129 characters": [
            record(name="n" * 129)],
        "realm not canonical": [record(realm="A")], "not before as nil": [record(not_before=None)],
        "record of nine items": [
            encode(REALM, "payroll", 17, 1, 1, "ticket", bytes(8), bytes(32), 0)],
        "role as bin": [record(role=b"as")],
    }  # fmt: skip
    failing |= {f"ext: {name}": [record(ext=ext)] for name, ext in bad_extensions().items()}
    made = both("key file", "key-file", given, "key-file", passing, failing)
    whole = record()
    cut = {
        "the last record is cut": (len(whole) + 1).to_bytes(2, "big") + whole,
        "no mark of the end": len(whole).to_bytes(2, "big") + whole,
    }
    for name, rest in cut.items():
        body = b"ORTHROSK\x01" + rest
        made.append(refused(f"key file: {name}", "key-file", {"file": (body + digest(body)).hex()}, "key-file"))
    return made + both("role keys", "role-keys", lambda kvno: good.PAYROLL | {"kvno": kvno}, "build", {
        "kvno 2^32-1": MOST_U32}, {"kvno 0": 0, "kvno 2^32": MOST_U32 + 1})  # fmt: skip


def _stores() -> list[Vector]:
    def steps(*rows: tuple[int, int, int], client: str = "a", ticket: int = 0) -> list[list[Any]]:
        return [[span(tag, 16), NOW + ts, NOW + now, client, span(ticket, 16)] for tag, ts, now in rows]

    cases: dict[str, Inputs] = {
        "ahead by 365 s, and by a millisecond more": {"steps": steps((1, 365_000, 0), (2, 365_001, 0), (1, 365_000, 0),
        (2, 365_001, 0))},
        "the edge of what is forgotten": {"steps": steps((1, 0, 0), (1, 0, 60_999), (1, 0, 61_000), (2, 999, 60_999),
        (3, 999, 61_000), (
            4, 1000, 61_000))},
        "a clock that goes back": {"steps": steps((1, 70_000, 70_000), (2, 9_999, 0), (3, 10_000, 0), (1, 70_000, 0))},
        "a copy that is too far ahead by now": {"steps": steps((1, 365_000, 0), (1, 365_000, -1))},
        "room again second by second": {"capacity": 2, "per_client": 2, "steps": steps(
            (1, 0, 0), (2, 1000, 0), (3, 1000, 0), (3, 1000, 60_999), (3, 1000, 61_000), (4, 1000, 61_000))},
        "what is refused takes no room": {"capacity": 2, "per_client": 1, "steps": [
            *steps((1, 0, 0), (2, 0, 0), (3, 0, 0)), *steps((4, 0, 0), client="b"), *steps((5, 0, 0), client="c"),
            *steps((1, 0, 0))]},
        "one tag of two clients": {"steps": [*steps((1, 0, 0)), *steps((1, 0, 0), client="b")]},
        "the first moment of 1970": {"steps": steps((1, -NOW, -NOW), (1, -NOW, -NOW))},
        "one tag of two seconds": {"steps": steps((1, 0, 0), (1, 1000, 0))},
        "the share of a ticket, then that of its client": {"per_ticket": 2, "per_client": 3, "steps": [
            *steps((1, 0, 0), (2, 0, 0), (3, 0, 0)), *steps((4, 0, 0), (5, 0, 0), ticket=1),
            *steps((6, 0, 0), client="b", ticket=2)]},
        "a ticket's share again second by second": {"per_ticket": 1, "steps": [
            *steps((1, 0, 0), (2, 1000, 0), (2, 1000, 60_999), (2, 1000, 61_000), (3, 1000, 61_000)),
            *steps((4, 1000, 61_000), ticket=1)]},
    }  # fmt: skip
    return [
        vector(f"replay store: {name}", "replay", {"capacity": 8, "per_client": 8, "per_ticket": 8} | case)
        for name, case in cases.items()
    ]


def _names() -> list[Vector]:
    names = {"of 128 characters": "n" * 128, "digits": "0", "every separator": "a.b_c/d-e"}
    bad = {
        "of 129 characters": "n" * 129,
        "two separators": "a-.b",
        "separator last": "a.",
        "slash first": "/a",
        "space": " ",
    }
    made = both("name", "name", lambda text: {"text": text}, "name", names, bad)
    scopes = {"of 64 characters": "s" * 64, "of one": "s", "every character": "a.b_c:d/e-0"}
    unfit = {"of 65 characters": "s" * 65, "dot first": ".a", "line break last": "a\n", "at": "a@b"}
    made += both("scope", "scope", lambda text: {"text": text}, "name", scopes, unfit)
    sets = {
        "none": [],
        "32": scopes_of(32),
        "33 texts of 32 scopes": [*scopes_of(32), "s00"],
        "the shorter first, then by bytes": ["b", "a1", "aaa", "a.", "a"],
    }
    unfit_sets = {"33": scopes_of(33), "one that is none": ["a", "A"]}
    return made + both("scopes", "scope-set", lambda texts: {"texts": texts}, "name", sets, unfit_sets)
