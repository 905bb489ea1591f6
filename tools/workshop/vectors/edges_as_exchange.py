"""The initial exchange at each of its limits, accepted, and one past it, refused.

Every message carries a right MAC or opens with the right key unless that is the point.
"""

from __future__ import annotations

from typing import Any, Final

from orthros_protocol.primitives.canonical import decode, encode
from orthros_protocol.primitives.derivation import mac
from orthros_protocol.primitives.sealing import seal
from orthros_protocol.reasons.table import REASONS
from workshop.vectors import positive as good
from workshop.vectors.edges import (
    HIGH_FLAGS,
    MOST_INT,
    MOST_U32,
    bad_extensions,
    both,
    good_extensions,
    ticket_of,
)
from workshop.vectors.negative import refused
from workshop.vectors.negative_exchanges import as_answer, as_body
from workshop.vectors.parties import Inputs, Vector, as_pending, unhex
from workshop.vectors.positive import NOW, REALM, vector

TRAVELLING: Final = {reason.number: reason.name for reason in REASONS if reason.number}


def as_exchange() -> list[Vector]:
    """AS-REQ, AS-REP and AS-ERR."""
    return [*_as_requests(), *_as_replies(), *_errors()]


def _as_requests() -> list[Vector]:
    def given(changes: Inputs) -> Inputs:
        return {"client": good.BILLING, "message": as_body(**changes)}

    passing: dict[str, Inputs] = {
        "life of 2^32-1": {"ttl_s": MOST_U32}, "every high flag": {"flags": HIGH_FLAGS},
        "service of 128 characters": {"service": "n" * 128}, "timestamp of 2^63-1": {"ts": MOST_INT},
        "the longest": {"service": "n" * 128, "ttl_s": MOST_U32, "ts": MOST_INT, "flags": HIGH_FLAGS,
                        "opt": good_extensions()["extensions of 1024 bytes"]},
    }  # fmt: skip
    failing: dict[str, Inputs] = {
        "life of 2^32": {"ttl_s": MOST_U32 + 1}, "flags of 33 bits": {"flags": MOST_U32 + 1},
        "service of 129 characters": {"service": "n" * 129}, "realm not canonical": {"realm": "A"},
        "realm of 129 characters": {"realm": "n" * 129}, "kid of 7 bytes": {"kid": bytes(7)},
        "kid of 9 bytes": {"kid": bytes(9)}, "nonce of 15 bytes": {"nonce": bytes(15)},
        "nonce of 17 bytes": {"nonce": bytes(17)}, "process of 15 bytes": {"instance": bytes(15)},
        "process of 17 bytes": {"instance": bytes(17)}, "version 0": {"version": 0}, "kind 0": {"kind": 0},
        "life as nil": {"ttl_s": None}, "timestamp as nil": {"ts": None},
    }  # fmt: skip
    made = both("AS-REQ", "verify-as-req", given, "encoding", passing, failing)
    made += both("AS-REQ: opt", "verify-as-req", lambda opt: given({"opt": opt}), "encoding", good_extensions(),
                 bad_extensions())  # fmt: skip
    made += both("AS-REQ: crit", "verify-as-req", lambda crit: given({"crit": crit}), "critical", {}, good_extensions())
    made += both("AS-REQ: crit", "verify-as-req", lambda crit: given({"crit": crit}), "encoding", {}, bad_extensions())
    made.append(refused("AS-REQ: flag 0x8000", "verify-as-req", given({"flags": 0x8000}), "critical"))
    key = as_pending(good.as_inputs())[0].material
    whole = decode(unhex(as_body()), 64 * 1024)[0]
    below = {
        "life of -1": (b"\0\0\xc4\x10", b"\xff\0\xc4\x10"), "flags of -1": (b"\0\0\xc4\x10", b"\0\xff\xc4\x10"),
        "timestamp of -1": (b"\xcf" + NOW.to_bytes(8, "big"), b"\xff"),
    }  # fmt: skip
    for name, (before, after) in below.items():
        changed = whole.replace(before, after, 1)
        signed = encode(changed, mac(key, "as-req", changed)).hex()
        shown = {"client": good.BILLING, "message": signed}
        made.append(refused(f"AS-REQ: {name}", "verify-as-req", shown, "encoding"))
    body, proof = decode(unhex(good.AS_REQ), 64 * 1024)
    for name, items in {
        "MAC of 31 bytes": (body, proof[:31]), "MAC of 33 bytes": (body, proof + b"\0"), "no MAC": (body,),
        "a third item": (body, proof, 0), "body as str": ("body", proof), "MAC as nil": (body, None),
        "body that is no array": (bytes(5), proof), "body of four bytes": (b"\x93\1\1\0", proof),
    }.items():  # fmt: skip
        message = {"client": good.BILLING, "message": encode(*items).hex()}
        made.append(refused(f"AS-REQ: {name}", "verify-as-req", message, "encoding"))
    large = good.BILLING | {"realm": "n" * 128, "name": "n" * 128, "uid": MOST_INT, "kvno": MOST_U32}
    asked = good.as_inputs(client=large, service="kdc/tgt", ttl_s=MOST_U32)
    made.append(vector("AS-REQ: of the longest name", "as-req", asked))
    made.append(vector("AS-REQ: of the longest name, verified", "verify-as-req",
                       {"client": large, "message": made[-1]["out"]["message"]}))  # fmt: skip
    unbuilt: dict[str, Inputs] = {
        "life of 2^32": {"ttl_s": MOST_U32 + 1}, "service not canonical": {"service": "KDC"},
        "process of 15 bytes": {"instance": good.span(0, 15)}, "nonce of 17 bytes": {"nonce": good.span(0, 17)},
        "timestamp of 2^63": {"ts": MOST_INT + 1},
    }  # fmt: skip
    for name, change in unbuilt.items():
        made.append(refused(f"AS-REQ is not built: {name}", "as-req", good.as_inputs(**change), "build"))
    return made


def _as_replies() -> list[Vector]:
    def given(changes: Inputs) -> Inputs:
        return {"request": good.as_inputs(), "reply": as_answer(**changes)}

    tgt = ticket_of(8192, good.TGT_KEY)
    passing: dict[str, Inputs] = {
        "ticket of 8192 bytes": {"ticket": unhex(tgt)}, "ticket of 16 bytes": {"ticket": unhex(good.TGT)[:16]},
        "life of 2^32-1": {"ttl_s": MOST_U32},
        "every high flag": {"flags": HIGH_FLAGS | 1}, "flags initial and delegable": {"flags": 3},
        "newest kvno of 2^32-1": {"kvno": MOST_U32}, "KDC of 128 characters": {"kdc_id": "n" * 128},
        "time of 2^63-1": {"time": MOST_INT},
    }  # fmt: skip
    failing: dict[str, Inputs] = {
        "ticket of 8193 bytes": {"ticket": unhex(ticket_of(8193, good.TGT_KEY))}, "ticket of 15 bytes": {
            "ticket": unhex(good.TGT)[:15]},
        "life of 2^32": {"ttl_s": MOST_U32 + 1}, "flags of 33 bits": {"flags": MOST_U32 + 1},
        "newest kvno of 2^32": {"kvno": MOST_U32 + 1}, "KDC of 129 characters": {"kdc_id": "n" * 129},
        "KDC not canonical": {"kdc_id": "KDC"}, "key of 31 bytes": {"key": bytes(31)}, "key of 33 bytes": {
            "key": bytes(33)},
        "nonce of 15 bytes": {"nonce": bytes(15)}, "nonce of 17 bytes": {"nonce": bytes(17)},
        "type 0": {"for": [0, REALM, "kdc/tgt"]}, "type 3": {"for": [3, REALM, "kdc/tgt"]},
        "realm not canonical": {"for": [1, "A", "kdc/tgt"]}, "service not canonical": {"for": [1, REALM, "KDC"]},
        "client not canonical": {"cname": "A"}, "ticket of another version": {"ticket": b"\2" + unhex(good.TGT)[1:]},
        "ticket of another suite": {"ticket": b"\1\2" + unhex(good.TGT)[2:]}, "ticket as nil": {"ticket": None},
        "service of two items": {"for": [1, REALM]}, "service of four items": {"for": [1, REALM, "kdc/tgt", 0]},
    }  # fmt: skip
    made = both("AS-REP", "open-as-rep", given, "body", passing, failing)
    made += both("AS-REP: opt", "open-as-rep", lambda opt: given({"opt": opt}), "body", good_extensions(),
                 bad_extensions())  # fmt: skip
    for low in (4, 0x8000):
        made.append(refused(f"AS-REP: flag {low:#x}", "open-as-rep", given({"flags": low | 1}), "critical"))
    other: dict[str, Inputs] = {
        "type 2 for a TGT": {"for": [2, REALM, "kdc/tgt"]}, "another realm": {"for": [1, "a.example", "kdc/tgt"]},
        "another service of the KDC": {"for": [1, REALM, "kdc/admin"]},
    }  # fmt: skip
    made += both("AS-REP", "open-as-rep", given, "answer", {}, other)
    made.append(refused("AS-REP: ticket of type 3", "open-as-rep", given(
        {"ticket": b"\1\1\3" + unhex(good.TGT)[3:]}), "body"))  # fmt: skip
    made += _kdc_service()
    outer = unhex(good.AS_REP)
    for name, data in {
        "kind 3": encode(1, 3, outer[6:]), "version 0": encode(0, 0, outer[6:]),
        "NAK of 7 bytes": encode(1, 2, bytes(7)),
        "NAK of 9 bytes": encode(1, 2, bytes(9)), "NAK of another version": encode(2, 2, bytes(8)),
        "two items": encode(1, 0), "box as nil": encode(1, 0, None),
    }.items():  # fmt: skip
        shown = {"request": good.as_inputs(), "reply": data.hex()}
        made.append(refused(f"reply: {name}", "open-as-rep", shown, "encoding"))
    short = {"request": good.as_inputs(), "reply": encode(1, 0, bytes(71)).hex()}
    return [*made, refused("reply: box of 71 bytes", "open-as-rep", short, "box")]


def _kdc_service() -> list[Vector]:
    """Tickets for kdc/keys: of type 2, also where the reply says so and the ticket does not."""
    asked = good.as_inputs(service="kdc/keys", ttl_s=120)
    key, pending = as_pending(asked)

    def given(changes: Inputs) -> Inputs:
        items: dict[str, Any] = {
            "nonce": unhex(good.NONCE), "time": NOW, "kdc_id": "kdc-a", "for": [2, REALM, "kdc/keys"],
            "cname": "billing", "cuid": 16, "ticket": unhex(good.TICKET), "key": bytes(32), "ttl_s": 1, "flags": 1,
            "kvno": 1, "opt": [],
        } | changes  # fmt: skip
        box = seal(key.reply_key, "as-rep", pending.context, encode(*items.values()), entropy=unhex(good.ENTROPY))
        return {"request": asked, "reply": encode(1, 0, box).hex()}

    made = both("AS-REP for kdc/keys", "open-as-rep", given, "body", {"of type 2": {}},
                {"with a TGT": {"ticket": unhex(good.TGT)}})  # fmt: skip
    made.append(refused("AS-REP for kdc/keys: of type 1", "open-as-rep", given({"for": [1, REALM, "kdc/keys"]}),
                        "answer"))  # fmt: skip
    reply = good.AS_REPLY | {"request": asked, "ticket": good.TICKET, "ttl_s": 120}
    return [*made, vector("AS-REP for kdc/keys", "as-rep", reply)]


def _errors() -> list[Vector]:
    key, pending = as_pending(good.as_inputs())

    def given(changes: Inputs) -> Inputs:
        items: dict[str, Any] = {"code": 14, "time": NOW, "retry_s": 7, "detail": None, "opt": []} | changes
        plain = encode(*items.values())
        box = seal(key.error_key, "as-err", pending.context, plain, entropy=unhex(good.ENTROPY))
        return {"request": good.as_inputs(), "reply": encode(1, 1, box).hex()}

    passing: dict[str, Inputs] = {f"code {name}": {"code": number} for number, name in TRAVELLING.items()}
    passing |= {
        "code of a newer version": {"code": 9}, "code 65535": {"code": 0xFFFF}, "code 0": {"code": 0},
        "retry in 2^32-1 s": {"retry_s": MOST_U32}, "detail of 200 characters": {"detail": "d" * 200},
        "detail of one character": {"detail": "~"}, "detail with a space": {"detail": "a b"},
        "time of 2^63-1": {"time": MOST_INT},
    }  # fmt: skip
    passing |= {f"opt: {name}": {"opt": opt} for name, opt in good_extensions().items()}
    failing: dict[str, Inputs] = {
        "code 65536": {"code": 0x10000}, "retry in 2^32 s": {"retry_s": MOST_U32 + 1}, "detail of 201 characters": {
            "detail": "d" * 201},
        "detail with a line break": {"detail": "a\nb"}, "detail with a tab": {"detail": "a\tb"},
        "detail with DEL": {"detail": "\x7f"}, "detail with NUL": {"detail": "\0"}, "detail as bin": {"detail": b"a"},
        "code as nil": {"code": None},
    }  # fmt: skip
    failing |= {f"opt: {name}": {"opt": opt} for name, opt in bad_extensions().items()}
    made = [refused(f"AS-ERR: {name}", "open-as-rep", given(one), "refused-by-peer") for name, one in passing.items()]
    made += [refused(f"AS-ERR: {name}", "open-as-rep", given(one), "body") for name, one in failing.items()]
    for number, name in TRAVELLING.items():
        error = good.AS_ERROR | {"error": name}
        made.append(vector(f"AS-ERR {number}", "as-rep", error))
    longest = good.AS_ERROR | {"retry_s": MOST_U32, "detail": "d" * 200}
    made.append(vector("AS-ERR with the longest detail", "as-rep", longest))
    made.append(refused("AS-ERR is not built: a code that never travels", "as-rep",
                        good.AS_ERROR | {"error": "wrong-mac"}, "build"))  # fmt: skip
    for name, detail in (("line break", "a\nb"), ("DEL", "\x7f"), ("letter beyond ASCII", "\u00e9")):
        made.append(refused(f"AS-ERR is not built: detail with a {name}", "as-rep",
                            good.AS_ERROR | {"detail": detail}, "build"))  # fmt: skip
    dressed = as_answer()
    swapped = unhex(dressed)
    other = {"request": good.as_inputs(), "reply": (swapped[:2] + b"\1" + swapped[3:]).hex()}
    return [*made, refused("AS-ERR: AS-REP dressed as error", "open-as-rep", other, "box")]
