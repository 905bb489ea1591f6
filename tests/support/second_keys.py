"""Keys and key files once more, from docs/protocol/keys.md alone; shares no code with the library.

Refusals are `Verdict`s with the code as their word, as in the oracle.
"""

from __future__ import annotations

import base64
from typing import Any

from tests.support import naive
from tests.support.naive import Sealer, enc, kd, sha256
from tests.support.oracle import Verdict, blob, extensions, name, need, number

Inputs = dict[str, Any]
unhex = bytes.fromhex


def sealer_of(given: Inputs) -> Sealer:
    return Sealer(unhex(given["key"]), given["type"], given["realm"], given["name"], given["uid"], given["kvno"])


def role(given: Inputs, label: str) -> bytes:
    return kd(unhex(given["root"]), f"role.{label}")


def kid(key: bytes) -> bytes:
    return kd(key, "kid", size=8)


def role_keys(given: Inputs) -> Inputs:
    need(1 <= given["kvno"] < 2**32, "value-invalid")
    a, t, s = (role(given, label) for label in ("as", "ticket", "sync"))
    header = Sealer(t, 2, given["realm"], given["name"], given["uid"], given["kvno"]).header
    return {
        "root_kid": kid(unhex(given["root"])).hex(),
        "as": {"key": a.hex(), "kid": kid(a).hex(), "reply_key": kd(a, "as-rep").hex(),
               "error_key": kd(a, "as-err").hex()},
        "ticket": {"key": t.hex(), "kid": kid(t).hex(), "box_key": kd(t, "ticket.2").hex(), "header": header.hex(),
                   "context": enc(header, given["realm"], given["name"], given["uid"]).hex()},
        "sync": {"key": s.hex(), "kid": kid(s).hex()},
    }  # fmt: skip


def key_file(content: bytes) -> Inputs:
    bad = "key-file-invalid"
    body, at = content[:-32], 9
    records: list[list[Any]] = []
    kids: list[bytes] = []
    need(len(content) > 41 and body[:9] == b"ORTHROSK\x01" and sha256(body) == content[-32:], bad)
    while size := int.from_bytes(body[at : at + 2], "big"):
        record = body[at + 2 : at + 2 + size]
        need(len(record) == size <= 2048, bad)
        try:
            records.append(naive.strict(record))
        except ValueError:
            raise Verdict(bad) from None
        at += 2 + size
    need(at + 2 == len(body) and records, bad)
    for items in records:
        need(len(items) == 10, bad)
        realm, who, uid, kvno, kind, held, named, key, not_before, ext = items
        need(name(realm) and name(who) and number(uid) and number(kvno, 2**32 - 1, 1) and number(kind, 1), bad)
        need(
            held in ((None,) if kind == 0 else ("as", "ticket", "sync")) and number(not_before) and extensions(ext), bad
        )
        need(blob(key, 32) and named == kid(key) and items[:3] == records[0][:3], bad)
        kids += [kid(key)] if kind else [kid(key), *(kid(kd(key, f"role.{one}")) for one in ("as", "ticket", "sync"))]
    need(len(set(kids)) == len(kids) and len(records) <= 64, bad)
    written = [enc(*items[:9], []) for items in records]
    body = body[:9] + b"".join(len(one).to_bytes(2, "big") + one for one in written) + b"\0\0"
    content = body + sha256(body)
    first = records[0]
    return {
        "principal": f"{first[1]}@{first[0]}", "uid": first[2], "kvnos": sorted({items[3] for items in records}),
        "verify_only": not any(items[4] == 0 or items[5] == "as" for items in records),
        "kids": [items[6].hex() for items in records], "file": content.hex(),
        "text": "ort1k_" + base64.b32encode(content).decode().rstrip("=").lower(),
    }  # fmt: skip


def key_text(given: Inputs) -> Inputs:
    line = given["text"]
    body = line.removeprefix("ort1k_")
    need(body != line and set(body) <= set("abcdefghijklmnopqrstuvwxyz234567"), "key-file-invalid")
    bits = "".join(f"{'abcdefghijklmnopqrstuvwxyz234567'.index(letter):05b}" for letter in body)
    whole = len(bits) // 8 * 8
    need(set(bits[whole:]) <= {"0"} and len(bits) - whole < 5, "key-file-invalid")
    return key_file(int(bits[:whole], 2).to_bytes(whole // 8, "big"))
