"""The ticket-granting exchange at each of its limits, accepted, and one past it, refused.

Every message carries a right MAC or opens with the right key unless that is the point.
"""

from __future__ import annotations

from typing import Any

from orthros_protocol.primitives.canonical import decode, encode
from orthros_protocol.primitives.derivation import derive, mac
from orthros_protocol.primitives.sealing import seal
from workshop.vectors import positive as good
from workshop.vectors import positive_authority as held
from workshop.vectors.edges import (
    HIGH_FLAGS,
    MOST_INT,
    MOST_U32,
    bad_extensions,
    both,
    filler,
    fillers,
    good_extensions,
    marked_ticket_inputs,
    scopes_of,
)
from workshop.vectors.edges_as_exchange import TRAVELLING
from workshop.vectors.negative import refused
from workshop.vectors.negative_exchanges import tgs_answer, tgs_body
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, tgs_pending, unhex
from workshop.vectors.positive import NOW, REALM, vector


def tgs_exchange() -> list[Vector]:
    """TGS-REQ and TGS-REP."""
    return [*_tgs_requests(), *_wants(), *_wrong_wants(), *_frames(), *_tgs_replies(), *_results()]


def _tgs_requests() -> list[Vector]:
    def given(changes: Inputs) -> Inputs:
        return {"kdc": good.KDC, "message": tgs_body(**changes)}

    want = [0, REALM, "payroll", None, 0, 0, []]
    large = OPERATIONS["ticket"](marked_ticket_inputs(8192, good.TGT_KEY, scopes=[], flags=1))["ticket"]
    passing: dict[str, Inputs] = {
        "32 wants": {"wants": [want] * 32}, "TGT of 8192 bytes": {"tgt": large}, "timestamp of 2^63-1": {
            "ts": MOST_INT},
        "asserted subject of 128 characters": {"behalf": [None, b"", ["n" * 128, "n" * 128, 0, 2]]},
    }  # fmt: skip
    failing: dict[str, Inputs] = {
        "nonce of 15 bytes": {"nonce": bytes(15)}, "nonce of 17 bytes": {"nonce": bytes(17)},
        "version 0": {"version": 0}, "kind 3": {"kind": 3}, "five discharges": {"dis": [b""] * 5},
        "discharge of 8244 bytes": {"dis": [bytes(8244)]}, "discharge as str": {"dis": ["a"]},
        "caveats of 8244 bytes": {"caveats": bytes(8244)}, "wants as nil": {"wants": None}, "wants of no bytes": {
            "wants": b""}, "wants as str": {"wants": "a"},
        "asserted subject with how 0": {"behalf": [None, b"", [REALM, "alice", 0, 0]]},
        "asserted subject of 129 characters": {"behalf": [None, b"", [REALM, "n" * 129, 0, 2]]},
        "behalf of four items": {"behalf": [None, b"", [REALM, "alice", 0, 2], None]},
        "evidence of 8193 bytes": {"behalf": [bytes(8193), b"", None]},
    }  # fmt: skip
    made = both("TGS-REQ", "verify-tgs-req", given, "encoding", passing, failing)
    made += both("TGS-REQ: opt", "verify-tgs-req", lambda opt: given({"opt": opt}), "encoding", good_extensions(),
                 bad_extensions())  # fmt: skip
    made += both("TGS-REQ: crit", "verify-tgs-req", lambda one: given({"crit": one}), "critical", {}, good_extensions())
    made += both("TGS-REQ: crit", "verify-tgs-req", lambda one: given({"crit": one}), "encoding", {}, bad_extensions())
    made.append(refused("TGS-REQ: four discharges", "verify-tgs-req", given({"dis": [b""] * 4}), "discharges"))
    broken = {"empty array": encode(), "17 caveats": encode(*[unhex(good.READ)] * 17),
              "caveat of no bytes": encode(b""),
              "caveat of 513 bytes": encode(bytes(513)), "no array": b"\0"}  # fmt: skip
    for name, field in broken.items():
        made.append(refused(f"TGS-REQ: caveats: {name}", "verify-tgs-req", given({"caveats": field}), "encoding"))
    full = good.tgs_inputs(caveats=[filler(512).hex()] * 16)
    made.append(vector("TGS-REQ: 16 caveats of 512 bytes", "tgs-req", full))
    made.append(vector("TGS-REQ: 16 caveats of 512 bytes, verified", "verify-tgs-req",
                       {"kdc": good.KDC, "message": made[-1]["out"]["message"]}))  # fmt: skip
    plain = good.tgs_inputs()["wants"][0]
    for name, wants in {"no want": [], "33 wants": [plain] * 33}.items():
        made.append(refused(f"TGS-REQ is not built: {name}", "tgs-req", good.tgs_inputs(wants=wants), "build"))
    return made


def _wants() -> list[Vector]:
    def given(changes: Inputs) -> Inputs:
        items: dict[str, Any] = {
            "kind": 0, "realm": REALM, "target": "payroll", "scopes": None, "ttl_s": 0, "flags": 0, "ext": []
        } | changes  # fmt: skip
        return {"kdc": good.KDC, "message": tgs_body(wants=[list(items.values())])}

    def limits(*caveats: bytes) -> Inputs:
        return {"ext": [[1, encode(*caveats)]]}

    passing: dict[str, Inputs] = {
        "JWT": {"kind": 1}, "32 scopes": {"scopes": scopes_of(32)}, "life of 2^32-1": {"ttl_s": MOST_U32},
        "every flag": {"flags": MOST_U32}, "names of 128 characters": {"realm": "n" * 128, "target": "n" * 128},
        "unknown extension": {"ext": [[0, b"x"], [2, b"y"]]}, "limits behind another extension": {
            "ext": [[0, b"x"], [1, encode(unhex(good.READ))]]},
        "16 limits": limits(*[encode(1, one) for one in range(16)]), "limits that are empty": {"ext": [[1, b""]]},
        "limits that are no caveat of a known shape": limits(b"x"),
    }  # fmt: skip
    passing |= {f"ext: {name}": {"ext": ext} for name, ext in good_extensions().items() if "1024" not in name
                and "8 ext" not in name}  # fmt: skip
    passing |= {"ext of 1024 bytes": {"ext": [[2, bytes(1018)]]}, "8 extensions": {
        "ext": [[one, b""] for one in range(8)]}}  # fmt: skip
    failing: dict[str, Inputs] = {
        "33 scopes": {"scopes": scopes_of(33)}, "scope twice": {"scopes": ["a", "a"]}, "scope of 65 characters": {
            "scopes": ["s" * 65]},
        "life of 2^32": {"ttl_s": MOST_U32 + 1}, "flags of 33 bits": {"flags": MOST_U32 + 1},
        "target of 129 characters": {"target": "n" * 129}, "realm of 129 characters": {"realm": "n" * 129},
        "17 limits": limits(*[encode(1, one) for one in range(17)]), "limits that are an empty array": limits(),
        "limit of 513 bytes": limits(bytes(513)), "limit of no bytes": limits(b""), "limit that is no bin": {
            "ext": [[1, encode(1)]]},
        "limits with a byte behind them": {"ext": [[1, encode(unhex(good.READ)) + b"\0"]]},
        "life as nil": {"ttl_s": None},
    }  # fmt: skip
    failing |= {f"ext: {name}": {"ext": ext} for name, ext in bad_extensions().items()}
    return both("want", "verify-tgs-req", given, "wants", passing, failing)


def _wrong_wants() -> list[Vector]:
    """What the refusal of a bin of wants says is wrong."""
    want: dict[str, Any] = {
        "kind": 0, "realm": REALM, "target": "payroll", "scopes": None, "ttl_s": 0, "flags": 0, "ext": []
    }  # fmt: skip
    good_one = list(want.values())

    def wrong(**changes: Any) -> list[Any]:
        return list((want | changes).values())

    bins: dict[str, bytes] = {
        "one want": encode(good_one), "32 wants": encode(*[good_one] * 32), "no want": encode(),
        "33 wants": encode(*[good_one] * 33), "no array": b"\0", "nothing": b"", "byte behind": encode(good_one)
        + b"\0",
        "long integer": encode(good_one).replace(b"\xc0\0\0\x90", b"\xc0\xcc\0\0\x90"),
        "bool": encode(good_one).replace(b"\xc0\0\0\x90", b"\xc0\xc2\0\x90"),
        "kind": encode(wrong(kind=2)), "realm": encode(wrong(realm="A")), "target": encode(wrong(target=None)),
        "scopes": encode(wrong(scopes=["b", "a"])), "life": encode(wrong(ttl_s=MOST_U32 + 1)),
        "flags": encode(wrong(flags=b"")), "ext": encode(wrong(ext=[[1, b""], [1, b""]])),
        "limits": encode(wrong(ext=[[1, b"x"]])), "two fields": encode(wrong(target="A", flags=None)),
        "want of six items": encode(good_one[:6]), "want of eight items": encode([*good_one, None]),
        "want as nil": encode(None),
        "second want": encode(good_one, wrong(kind=3)), "last of 32": encode(*[good_one] * 31, wrong(realm="A")),
        "two wants": encode(good_one, wrong(ttl_s=None), wrong(kind=3)), "list as realm": encode(wrong(realm=[])),
        "one scope": encode(wrong(scopes=["A"])), "ext of 1025 bytes": encode(wrong(ext=[[2, bytes(1019)]])),
        "limits among 8 extensions": encode(wrong(ext=[[1, b"x"], *([one, b""] for one in range(2, 9))])),
    }  # fmt: skip
    return [vector(f"wants: {name}", "read-wants", {"wants": field.hex()}) for name, field in bins.items()]


def _frames() -> list[Vector]:
    """A TGS-REQ of 16 KiB besides its wants, a TGS-REP that fills a frame, and those of one byte more."""
    limits = [filler(500).hex(), filler(490).hex()]
    want = {"target": f"payroll@{REALM}", "kind": 0, "scopes": None, "ttl_s": 0, "flags": 0, "limits": limits}
    shown = OPERATIONS["ticket"](marked_ticket_inputs(4096, held.ticket_key_of(good.BILLING)))["ticket"]
    asked = good.tgs_inputs(
        wants=[want] * 32, caveats=[filler(512).hex()] * 16,
        behalf={"evidence": shown, "session_key": good.SESSION_KEY, "caveats": []},
    )  # fmt: skip

    def besides(caveats: list[str]) -> int:
        body, _mac = decode(tgs_pending(asked | {"behalf": asked["behalf"] | {"caveats": caveats}}).message, 64 * 1024)
        items = decode(body, 64 * 1024)
        return len(body) - len(items[7])

    room = 16 * 1024 - besides([])
    sizes = range(room - 8, room + 1)  # a field of more bytes has a longer header
    caveats = next(found for found in map(_hexes, sizes) if besides(found) == 16 * 1024)
    asked["behalf"]["caveats"] = caveats
    made = [vector("TGS-REQ of 16 KiB besides its wants", "tgs-req", asked)]
    message = made[0]["out"]["message"]
    made.append(vector("TGS-REQ of 16 KiB besides its wants is verified", "verify-tgs-req",
                       {"kdc": held.ACTING_KDC, "message": message}))  # fmt: skip
    longer = _hexes(len(encode(*map(unhex, caveats))) + 1)
    more = asked | {"behalf": asked["behalf"] | {"caveats": longer}}
    made.append(refused("TGS-REQ of a byte more is not built", "tgs-req", more, "build"))
    body, _mac = decode(unhex(message), 64 * 1024)
    items = decode(body, 64 * 1024)
    items[8][1] = encode(*map(unhex, longer))
    changed = encode(*items)
    made.append(refused("TGS-REQ of a byte more", "verify-tgs-req", {
        "kdc": held.ACTING_KDC, "message": encode(changed, mac(tgs_pending(asked).key, "tgs-req", changed)).hex()
    }, "encoding"))  # fmt: skip
    return [*made, *_full_replies()]


def _hexes(size: int) -> list[str]:
    return [one.hex() for one in fillers(size)]


def _full_replies() -> list[Vector]:
    wants = [{"target": f"payroll@{REALM}", "kind": 1, "scopes": None, "ttl_s": 0, "flags": 0}] * 8
    asked = good.tgs_inputs(wants=wants)
    pending = tgs_pending(asked)
    key = derive(pending.key, "tgs-rep")

    def reply(size: int) -> str:
        def plain(last: int) -> bytes:
            rows: list[Any] = [
                [0, REALM, "payroll", 17, bytes(one), None, 1, 0, 0, [], None, [], []] for one in [8192] * 7 + [last]
            ]
            return encode(unhex(good.NONCE), NOW, "kdc-a", 1, rows, [])

        room = size - 6 - 72 - len(plain(256)) + 256
        box = seal(key, "tgs-rep", pending.context, plain(room), entropy=unhex(good.ENTROPY))
        made = encode(1, 0, box)
        if len(made) != size:
            raise ValueError(f"a reply of {len(made)} bytes")
        return made.hex()

    opened = {"request": asked, "reply": reply(64 * 1024)}
    return [
        vector("TGS-REP of 64 KiB", "open-tgs-rep", opened),
        refused("TGS-REP of 64 KiB and a byte", "open-tgs-rep", opened | {"reply": reply(64 * 1024 + 1)}, "encoding"),
    ]


def _tgs_replies() -> list[Vector]:
    no = [1, REALM, "payroll", 15, 0, bytes(8), []]
    orders = [1, REALM, "orders", 15, 0, bytes(8), []]

    def given(changes: Inputs) -> Inputs:
        return {"request": good.tgs_inputs(), "reply": tgs_answer([no, orders, no], **changes)}

    passing: dict[str, Inputs] = {
        "KDC of 128 characters": {"kdc_id": "n" * 128}, "policy 2^63-1": {"seq": MOST_INT}, "time of 2^63-1": {
            "time": MOST_INT},
    }  # fmt: skip
    failing: dict[str, Inputs] = {
        "KDC of 129 characters": {"kdc_id": "n" * 129}, "KDC not canonical": {"kdc_id": "A"},
        "nonce of 15 bytes": {"nonce": bytes(15)}, "nonce of 17 bytes": {"nonce": bytes(17)}, "policy as nil": {
            "seq": None},
    }  # fmt: skip
    made = both("TGS-REP", "open-tgs-rep", given, "body", passing, failing)
    made += both("TGS-REP: opt", "open-tgs-rep", lambda opt: given({"opt": opt}), "body", good_extensions(),
                 bad_extensions())  # fmt: skip
    shown = {"request": good.tgs_inputs()}
    made.append(refused("TGS-REP: one result more", "open-tgs-rep", shown | {
        "reply": tgs_answer([no, orders, no, no])}, "answer"))  # fmt: skip
    made.append(refused("TGS-REP: 33 results", "open-tgs-rep", shown | {"reply": tgs_answer([no] * 33)}, "body"))
    wants = [{"target": f"payroll@{REALM}", "kind": 0, "scopes": None, "ttl_s": 0, "flags": 0}] * 32
    asked = good.tgs_inputs(wants=wants)
    reply = good.TGS_REPLY | {"request": asked, "results": [good.TGS_REPLY["results"][2]] * 32}
    made.append(vector("TGS-REP: 32 results", "tgs-rep", reply))
    made.append(vector("TGS-REP: 32 results, opened", "open-tgs-rep",
                       {"request": asked, "reply": made[-1]["out"]["reply"]}))  # fmt: skip
    return made


def _results() -> list[Vector]:
    want = {"target": f"payroll@{REALM}", "kind": 0, "scopes": None, "ttl_s": 0, "flags": 0}

    def given(row: list[Any], kind: int = 0) -> Inputs:
        asked = good.tgs_inputs(wants=[want | {"kind": kind}])
        pending = tgs_pending(asked)
        body = encode(unhex(good.NONCE), NOW, "kdc-a", 1, [row], [])
        box = seal(derive(pending.key, "tgs-rep"), "tgs-rep", pending.context, body, entropy=unhex(good.ENTROPY))
        return {"request": asked, "reply": encode(1, 0, box).hex()}

    def granted(changes: Inputs) -> Inputs:
        row: dict[str, Any] = {
            "ok": 0, "realm": REALM, "target": "payroll", "uid": 17, "credential": bytes(16), "key": bytes(32),
            "ttl_s": 1, "flags": 0, "kvno": 1, "scopes": [], "subject": None, "notes": [], "ext": [],
        } | changes  # fmt: skip
        return given([*row.values()])

    def denied(changes: Inputs) -> Inputs:
        row: dict[str, Any] = {
            "no": 1, "realm": REALM, "target": "payroll", "code": 15, "retry_s": 0, "ref": bytes(8), "ext": []
        } | changes  # fmt: skip
        return given([*row.values()])

    note = [1, 1, None]
    passing: dict[str, Inputs] = {
        "credential of 8192 bytes": {"credential": bytes(8192)}, "life of 2^32-1": {"ttl_s": MOST_U32},
        "every high flag": {"flags": HIGH_FLAGS}, "flags initial and delegable": {"flags": 3}, "kvno of 2^32-1": {
            "kvno": MOST_U32},
        "32 scopes": {"scopes": scopes_of(32)}, "64 notes": {"notes": [note] * 64}, "note of numbers to come": {
            "notes": [[255, 255, 31]]},
        "uid of 2^63-1": {"uid": MOST_INT}, "4 demands": {"ext": [[1, encode(*[b"x"] * 4)]]},
        "demands behind another extension": {
            "ext": [[0, b""], [1, encode(b"x")]]},
        "an extension to come": {"ext": [[2, encode(*[b"x"] * 5)]]},
    }  # fmt: skip
    passing |= {"ext of 4096 bytes": {"ext": [[2, bytes(4090)]]}, "8 extensions": {
        "ext": [[one + 2, b""] for one in range(8)]}}  # fmt: skip
    failing: dict[str, Inputs] = {
        "credential of 15 bytes": {"credential": bytes(15)}, "credential of 8193 bytes": {"credential": bytes(8193)},
        "key of 31 bytes": {"key": bytes(31)}, "key of 33 bytes": {"key": bytes(33)}, "life of 2^32": {
            "ttl_s": MOST_U32 + 1},
        "flags of 33 bits": {"flags": MOST_U32 + 1}, "kvno of 2^32": {"kvno": MOST_U32 + 1}, "33 scopes": {
            "scopes": scopes_of(33)},
        "scopes as nil": {"scopes": None}, "note of field 0": {"notes": [[0, 1, None]]}, "note of cause 0": {
            "notes": [[1, 0, None]]},
        "note of field 256": {"notes": [[256, 1, None]]}, "note of cause 256": {"notes": [[1, 256, None]]},
        "note of scope 32": {"notes": [[1, 1, 32]]}, "note of two items": {"notes": [[1, 1]]}, "notes as nil": {
            "notes": None},
        "subject with how 3": {"subject": [REALM, "a", 0, 3]}, "demand that is no bin": {"ext": [[1, encode(1)]]},
        "demands that are empty": {"ext": [[1, b""]]}, "no demand": {"ext": [[1, encode()]]}, "demand of no bytes": {
            "ext": [[1, encode(b"")]]},
        "demands that are no array": {"ext": [[1, b"\0"]]}, "demands with a byte behind them": {
            "ext": [[1, encode(b"x") + b"\0"]]},
        "result of kind 2": {"ok": 2}, "result of kind 1": {"ok": 1}, "realm not canonical": {"realm": "A"},
    }  # fmt: skip
    failing |= {f"ext: {name}": {"ext": ext} for name, ext in bad_extensions(4096).items()}
    failing |= {"ext of 4097 bytes": {"ext": [[2, bytes(4091)]]}, "9 extensions without demands": {
        "ext": [[one + 2, b""] for one in range(9)]}}  # fmt: skip
    made = both("granted", "open-tgs-rep", granted, "body", passing, failing)
    for low in (4, 0x8000, MOST_U32):
        made.append(refused(f"granted: flag {low:#x}", "open-tgs-rep", granted({"flags": low}), "critical"))
    other: dict[str, Inputs] = {"another realm": {"realm": "a.example"}, "another target": {"target": "orders"}}
    made += both("granted", "open-tgs-rep", granted, "answer", {}, other | {"no key for a ticket": {"key": None}})
    made += both("refused", "open-tgs-rep", denied, "answer", {}, other)
    token = [0, REALM, "payroll", 17, bytes(16), None, 1, 0, 0, [], None, [], []]
    made.append(vector("JWT without a key", "open-tgs-rep", given(token, 1)))
    made.append(refused("JWT with a key", "open-tgs-rep", given([*token[:5], bytes(32), *token[6:]], 1), "answer"))
    made.append(vector("JWT refused", "open-tgs-rep", given([1, REALM, "payroll", 20, 0, bytes(8), []], 1)))
    codes: dict[str, Inputs] = {f"code {name}": {"code": number} for number, name in TRAVELLING.items()}
    made += both(
        "refused", "open-tgs-rep", denied, "body",
        codes | {"code of a newer version": {"code": 9}, "code 65535": {"code": 0xFFFF}, "retry in 2^32-1 s": {
            "retry_s": MOST_U32}} | {f"ext: {name}": {"ext": ext} for name, ext in good_extensions().items()},
        {"code 65536": {"code": 0x10000}, "retry in 2^32 s": {"retry_s": MOST_U32 + 1}, "reference of 7 bytes": {
            "ref": bytes(7)}, "reference of 9 bytes": {"ref": bytes(9)}, "target not canonical": {"target": "A"}}
        | {f"ext: {name}": {"ext": ext} for name, ext in bad_extensions().items()},
    )  # fmt: skip
    made.append(refused("result of no items", "open-tgs-rep", given([]), "body"))
    made.append(refused("result of twelve items", "open-tgs-rep", given(token[:12]), "body"))
    return made
