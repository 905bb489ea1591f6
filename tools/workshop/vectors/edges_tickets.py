"""Tickets and caveats at each of their limits, accepted, and one past it, refused.

A ticket here is sealed under the right key whatever its body is; only marks that are judged are right.
"""

from __future__ import annotations

from typing import Any

from orthros_protocol.primitives.canonical import encode
from workshop.vectors import positive as good
from workshop.vectors import positive_authority as held
from workshop.vectors import positive_http as web
from workshop.vectors.edges import (
    HIGH_FLAGS,
    MOST_INT,
    MOST_U32,
    bad_extensions,
    both,
    filler,
    good_extensions,
    marked_ticket_inputs,
    scopes_of,
    ticket_of,
)
from workshop.vectors.negative import edited, refused, sealed
from workshop.vectors.parties import Inputs, Vector, unhex
from workshop.vectors.positive import REALM, vector

_REALM_128 = "n" * 128
_HOP = [None, "web", 1]


def tickets() -> list[Vector]:
    """Tickets, then caveats of every type."""
    return [*_headers(), *_clear_headers(), *_flags(), *_bodies(), *_marks(), *_caveats(), *_facts()]


def _opened(ticket: str) -> Inputs:
    return {"ticket": ticket, "key": good.TICKET_KEY}


def _headers() -> list[Vector]:
    made = both(
        "ticket", "open-ticket", _opened, "header", {"of 8192 bytes": ticket_of(8192)},
        {"of 8193 bytes": ticket_of(8193), "of 15 bytes": good.TICKET[:30], "of no bytes": "", "of one byte": "01"},
    )  # fmt: skip
    for kind in (0, 3, 4, 255):
        changed = f"{good.TICKET[:4]}{kind:02x}{good.TICKET[6:]}"
        made.append(refused(f"ticket: type {kind}", "open-ticket", _opened(changed), "header"))
    tgt = {"ticket": good.TGT, "key": good.TGT_KEY}
    made.append(vector("ticket: TGT under its key", "open-ticket", tgt))
    made.append(refused("ticket: box of 71 bytes", "open-ticket", _opened(good.TICKET[: 2 * 86]), "box"))
    made.append(vector("ticket of 8192 bytes", "ticket", marked_ticket_inputs(8192)))
    made.append(refused("ticket of 8193 bytes", "ticket", marked_ticket_inputs(8193), "build"))
    return made


def _clear_headers() -> list[Vector]:
    rest = "01020304" + "a0a1a2a3a4a5a6a7" + "00"
    passing = {f"of type {kind}": f"0101{kind:02x}{rest}" for kind in (1, 2, 3)}
    passing |= {"of kvno 2^32-1": "010102" + "ff" * 13, "of 8192 bytes": "010102" + "00" * 8189}
    return both(
        "clear header",
        "ticket-header",
        lambda one: {"ticket": one},
        "header",
        passing,
        {
            "of 15 bytes": "010102" + rest[:-2],
            "of 8193 bytes": "010102" + "00" * 8190,
            "of version 2": "020102" + rest,
            "of suite 2": "010202" + rest,
            "of type 0": "010100" + rest,
            "of type 4": "010104" + rest,
        },
    )


def _flags() -> list[Vector]:
    def given(case: tuple[str, int]) -> Inputs:
        of, flags = case
        return {"of": of, "flags": flags}

    known = (0, 1, 2, 3, 0x10000, HIGH_FLAGS + 1)
    passing = {f"{flags:#x} of a {of}": (of, flags) for of in ("ticket", "want") for flags in known}
    failing = {f"{flags:#x} of a {of}": (of, flags) for of in ("ticket", "want") for flags in (4, 0x8003)}
    return both("flags", "flags", given, "critical", passing, failing)


def _bodies() -> list[Vector]:
    def given(changes: Inputs) -> Inputs:
        return _opened(edited(good.TICKET_KEY, good.TICKET, **changes))

    passing: dict[str, Inputs] = {
        "flags initial and delegable": {"flags": 3}, "every high flag": {"flags": HIGH_FLAGS},
        "names of 128 characters": {"crealm": _REALM_128, "cname": _REALM_128}, "uid of 2^63-1": {"cuid": MOST_INT},
        "times of 0": {"iat": 0, "exp": 0, "auth_time": 0}, "times of 2^63-1": {
            "iat": MOST_INT, "exp": MOST_INT, "auth_time": MOST_INT},
        "32 scopes": {"scopes": scopes_of(32)}, "scope of 64 characters": {"scopes": ["s" * 64]},
        "8 hops": {"chain": [_HOP] * 8}, "subject with a uid, proven": {"subject": [None, "alice", MOST_INT, 1]},
        "hop of another realm": {"chain": [_HOP, ["a.example", "web", 1]]}, "subject of another realm": {
            "subject": ["a.example", "alice", 0, 1]},
        "hop of another realm's ticket": {"crealm": "a.example", "chain": [[REALM, "web", 1], _HOP]},
        "subject that is asserted": {"subject": [None, "alice", 0, 2]}, "mark of key 2^32-1": {"mac_no": MOST_U32},
        "16 caveats of 400 bytes": {"caveats": encode(*[filler(400)] * 16)},
    }  # fmt: skip
    failing: dict[str, Inputs] = {
        "flags of 33 bits": {"flags": MOST_U32 + 1}, "realm of 129 characters": {"crealm": "n" * 129},
        "name of 129 characters": {"cname": "n" * 129}, "realm not canonical": {"crealm": "A"},
        "tid of 15 bytes": {"tid": bytes(15)}, "tid of 17 bytes": {"tid": bytes(17)},
        "key of 31 bytes": {"key": bytes(31)}, "key of 33 bytes": {"key": bytes(33)},
        "ckid of 7 bytes": {"ckid": bytes(7)}, "ckid of 9 bytes": {"ckid": bytes(9)},
        "33 scopes": {"scopes": scopes_of(33)}, "scope of 65 characters": {"scopes": ["s" * 65]},
        "scope twice": {"scopes": ["a", "a"]}, "scope as bin": {"scopes": [b"a"]}, "scopes as nil": {"scopes": None},
        "9 hops": {"chain": [_HOP] * 9}, "hop of two items": {"chain": [_HOP[:2]]}, "hop of four items": {
            "chain": [[*_HOP, 1]]},
        "hop not canonical": {"chain": [[None, "Web", 1]]}, "hop with its realm not canonical": {
            "chain": [["A", "web", 1]]},
        "hop that says the realm of the client": {"chain": [[REALM, "web", 1]]},
        "second hop that says it": {"chain": [_HOP, [REALM, "web", 1]]},
        "subject that says the realm of the client": {"subject": [REALM, "alice", 0, 1]},
        "hop without a time": {"chain": [[None, "web", None]]}, "chain as nil": {"chain": None},
        "subject with how 0": {"subject": [None, "alice", 0, 0]}, "subject of three items": {
            "subject": [None, "alice", 0]},
        "subject not canonical": {"subject": [None, "Alice", 0, 1]},
        "subject with its realm not canonical": {"subject": ["A", "alice", 0, 1]},
        "txn of 15 bytes": {"txn": bytes(15)}, "txn of 17 bytes": {"txn": bytes(17)},
        "mark of key 2^32": {"mac_no": MOST_U32 + 1}, "mark of 15 bytes": {"kmac": bytes(15)},
        "mark of 17 bytes": {"kmac": bytes(17)}, "version 0": {"version": 0}, "time as nil": {"exp": None},
        "caveats as nil": {"caveats": None}, "17 caveats": {"caveats": encode(*[unhex(good.READ)] * 17)},
        "caveat of 513 bytes": {"caveats": encode(bytes(513))}, "caveat of no bytes": {"caveats": encode(b"")},
        "caveat as str": {"caveats": encode("a")}, "caveats with a byte behind them": {
            "caveats": encode(unhex(good.READ)) + b"\0"},
    }  # fmt: skip
    made = both("ticket body", "open-ticket", given, "body", passing, failing)
    made += both("ticket body: opt", "open-ticket", lambda opt: given({"opt": opt}), "body", good_extensions(),
                 bad_extensions())  # fmt: skip
    made += both("ticket body: crit", "open-ticket", lambda crit: given({"crit": crit}), "body", {},
                 good_extensions() | bad_extensions())  # fmt: skip
    made += [
        refused(f"ticket body: flag {low:#x}", "open-ticket", given({"flags": low}), "body") for low in (4, 0x8000)
    ]
    made.append(refused("ticket body: of no bytes", "open-ticket", _opened(sealed(good.TICKET_KEY, b"")), "body"))
    return made


def _marks() -> list[Vector]:
    inputs = good.ticket_inputs(good.TICKET_KEY) | {"mac_no": MOST_U32}
    made = [vector("mark of key 2^32-1", "ticket", inputs)]
    opened = {"ticket": made[0]["out"]["ticket"], "key": good.TICKET_KEY}
    keys = {str(MOST_U32): good.MAC_KEYS["1"]}
    made.append(vector("mark: key 2^32-1", "kdc-mark", opened | {"mac_keys": keys}))
    made.append(refused("mark: no key of that number", "kdc-mark", opened | {"mac_keys": good.MAC_KEYS}, "kdc-mark"))
    flipped = edited(good.TICKET_KEY, good.TICKET)
    marked = {"ticket": flipped, "key": good.TICKET_KEY, "mac_keys": good.MAC_KEYS}
    return [*made, refused("mark: of zeros", "kdc-mark", marked, "kdc-mark")]


def _caveats() -> list[Vector]:
    def given(items: Any) -> Inputs:
        return {"caveat": (items if isinstance(items, bytes) else encode(*items)).hex()}

    pairs = [[REALM, f"p{one:02}"] for one in range(33)]
    methods = [chr(65 + one // 26) + chr(65 + one % 26) for one in range(32)]
    digest, salt, root = bytes(32), bytes(16), bytes(32)
    part = "a" * 63
    passing: dict[str, Any] = {
        "expires at 0": (1, 0), "expires at 2^63-1": (1, MOST_INT), "32 scopes": (2, scopes_of(32)),
        "scope of 64 characters": (2, ["s" * 64]), "scopes of 512 bytes": filler(512), "32 methods": (3, methods),
        "method of 20 letters": (3, ["A" * 20]), "method of one letter": (3, ["A"]), "one target": (5, pairs[:1]),
        "32 targets": (5, [
            ["a", f"p{one:02}"] for one in range(32)]),
        "32 networks": (6, [f"10.{one}.0.0/16" for one in range(10, 42)]),
        "IPv4 host": (6, ["10.0.0.1/32"]), "every IPv4 peer": (6, ["0.0.0.0/0"]), "IPv6 host": (6,
        ["2001:db8::1/128"]),
        "address of all bits": (6, ["255.255.255.255/32"]), "IPv6 without a gap": (6, ["1:2:3:4:5:6:7:8/128"]),
        "IPv6 with one zero word": (6, ["1:0:3:4:5:6:7:8/128"]), "IPv6, the first of two runs": (
            6, ["1::4:0:0:7:8/128"]),
        "IPv6, the longer run": (6, ["1:0:0:4::8/128"]), "IPv6, gap at the end": (6, ["1:2:3:4:5:6::/128"]),
        "IPv6, gap in front": (6, ["::3:4:5:6:7:8/128"]), "above the mapped addresses": (6, ["::1:0:0/128"]),
        "digest of a channel": (7, digest), "salt": (8, REALM, "p", salt, None, digest),
        "root": (8, REALM, "p", None, root, digest), "app name of 127 characters": (9, f"{part}/{part}", b""),
        "app name of other characters": (9, "a.b_c-d/0", b""), "payload of 360 bytes": (9, "a/b", bytes(360)),
    }  # fmt: skip
    failing: dict[str, Any] = {
        "expires, no integer": (1, "1"), "expires with more": (1, 1, 1), "33 scopes": (2, scopes_of(33)),
        "scope of 65 characters": (2, ["s" * 65]), "scope twice": (2, ["a", "a"]), "scopes with more": (2, [], 1),

        "scope as bin": (2, [b"a"]), "scopes as str": (2, "read"),
        "33 methods": (3, [*methods, "ZZ"]), "no target": (5, []), "33 targets": (5, [
            ["a", f"p{one:02}"] for one in range(33)]),
        "target twice": (5, [pairs[0], pairs[0]]), "targets in another order": (5, [pairs[1], pairs[0]]),
        "target of one item": (5, [["a"]]), "target of three items": (5, [["a", "b", 1]]),
        "target not canonical": (5, [["a", "B"]]), "target with its realm not canonical": (5, [["A", "b"]]),
        "target as text": (5, ["b@a"]), "33 networks": (6, [f"10.{one}.0.0/16" for one in range(10, 43)]),
        "IPv6 of length 129": (6, ["::/129"]), "IPv4 octet 256": (6, ["256.0.0.0/8"]), "octet with a zero": (
            6, ["010.0.0.0/8"]),
        "length with a zero": (6, ["10.0.0.0/08"]), "IPv6 host bits": (6, ["2001:db8::1/127"]), "IPv6 word of 5": (
            6, ["12345::/128"]),
        "IPv6 word with a zero": (6, ["2001:0db8::/32"]), "IPv6, two gaps": (6, ["1::2::3/128"]),
        "IPv6, gap for one word": (6, ["1::3:4:5:6:7:8/128"]), "IPv6, the second of two runs": (
            6, ["1:0:0:4:5::8/128"]),
        "IPv6, the shorter run": (6, ["1::4:0:0:0:8/128"]), "IPv6, a zero beside the gap": (
            6, ["1:0::4:5:6:7/128"]),
        "IPv6, a zero behind the gap": (6, ["1::0:5:6:7:8/128"]), "IPv6, two zero words": (
            6, ["1:0:0:4:5:6:7:8/128"]),
        "IPv6 of nine words": (6, ["1:2:3:4:5:6:7:8:9/128"]), "IPv6 of seven words": (6, ["1:2:3:4:5:6:7/128"]),
        "mapped address": (6, ["::ffff:102:304/128"]), "network of 129 characters": (6, ["1" * 129]),
        "network as bin": (6, [b"10.0.0.0/8"]), "digest of 33 bytes": (7, bytes(33)), "channel with more": (
            7, digest, 1),
        "salt of 15 bytes": (8, REALM, "p", bytes(15), None, digest), "salt of 17 bytes": (
            8, REALM, "p", bytes(17), None, digest),
        "root of 31 bytes": (8, REALM, "p", None, bytes(31), digest), "root of 33 bytes": (
            8, REALM, "p", None, bytes(33), digest),
        "demand of 31 bytes": (8, REALM, "p", salt, None, bytes(31)), "demand of 33 bytes": (
            8, REALM, "p", salt, None, bytes(33)),
        "salt and root": (8, REALM, "p", salt, root, digest), "neither salt nor root": (8, REALM, "p", None, None,
                                                                                        digest),
        "discharger not canonical": (8, REALM, "P", salt, None, digest), "its realm not canonical": (
            8, "A", "p", salt, None, digest),
        "demand with more": (8, REALM, "p", salt, None, digest, 1),
        "app namespace of 64 characters": (9, f"a{part}/b", b""), "app name of 64 characters": (9, f"b/a{part}", b""),
        "app name without a namespace": (9, "run", b""), "app name in capitals": (9, "a/B", b""),
        "app name that begins with a dot": (9, "a/.b", b""), "app namespace that begins with a dot": (9, ".a/b", b""),
        "app name of three parts": (9, "a/b/c", b""), "payload of 361 bytes": (9, "a/b", bytes(361)),
        "payload as str": (9, "a/b", "x"), "app without a payload": (9, "a/b"),
        "path as nil": (4, None), "path with more": (4, "/", 1), "path of nothing": (4,),
        "nothing": (), "type as nil": (None, 1),
        "unknown type, not canonical": b"\x92\xcc\x0a\x01",
        "known type in a long form": b"\x92\xcc\x01\x01", "array in a long form": b"\xdc\x00\x02\x01\x01",
        "trailing byte": encode(1, 1) + b"\0",
    }  # fmt: skip
    made = both("caveat", "caveat", given, "encoding", passing, failing)
    large = {"scopes": (2, ["z" * 46, *(chr(97 + at).ljust(64, "x") for at in range(7))]), "type 10": (10, bytes(508))}
    made += [refused(f"caveat: {name} of 513 bytes", "caveat", given(one), "size") for name, one in large.items()]
    made.append(refused("caveat: unknown type of 512 bytes", "caveat", given((10, bytes(507))), "caveat"))
    return made


def _facts() -> list[Vector]:
    def given(case: tuple[Any, Inputs]) -> Inputs:
        caveat, access = case
        encoded = caveat if isinstance(caveat, str) else encode(*caveat).hex()
        return {"caveat": encoded, "access": web.KNOWN | access}

    second = good.SECOND
    longest = "/runs/" + "a" * (8192 - 6)
    app = {"app": {"payroll/run": b"7".hex()}}
    passing: dict[str, tuple[Any, Inputs]] = {
        "expires in a second": ((1, second + 1), {}), "expires in a millisecond": (
            (1, second + 1), {"now": (second + 1) * 1000 - 1}),
        "scopes": (good.READ, {}), "path of 8192 characters": (web.PATH, {"path": longest}),
        "IPv4 host": ((6, ["10.1.2.3/32"]), {}), "last address": ((6, ["10.1.2.0/30"]), {}),
        "every IPv4 peer": ((6, ["0.0.0.0/0"]), {}), "IPv6 host": ((6, ["2001:db8::1/128"]), {"peer": "2001:db8::1"}),
        "the second of two networks": ((6, ["10.0.0.0/8", "11.0.0.0/8"]), {"peer": "11.1.2.3"}),
    }  # fmt: skip
    failing: dict[str, tuple[Any, Inputs]] = {
        "expires now": ((1, second), {}),
        "expired at the last millisecond": ((1, second), {"now": second * 1000 + 999}),
        "path of 8193 characters": (web.PATH, {"path": longest + "a"}), "another IPv4 host": (
            (6, ["10.1.2.2/32"]), {}),
        "the address behind the last": ((6, ["10.1.2.0/31"]), {}), "no network": ((6, []), {}), "no method": (
            (3, []), {}),
        "path beside a prefix with a slash": ((4, "/runs/"), {"path": "/other"}), "path above a prefix with a slash": (
            (4, "/runs/7/"), {"path": "/runs"}),
        "another IPv6 host": ((6, ["2001:db8::1/128"]), {"peer": "2001:db8::2"}),
        "targets": (held.TARGETS, {}), "a demand of a holder": (held.OF_HOLDER["caveat"], {}), "a demand of the KDC": (
            held.OF_KDC["caveat"], {}),
        "app without any rule": (held.APP, {"app": {}}), "app with another payload": (held.APP, {
            "app": {"payroll/run": b"8".hex()}}),
        "app of another name": ((9, "payroll/stop", b"7"), app),
        "channel of 31 bytes": (web.CHANNEL, {"channel": web.KNOWN["channel"][:-2]}),
    }  # fmt: skip
    return both("fact", "judge-caveat", given, "caveat", passing, failing)
