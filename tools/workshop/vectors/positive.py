"""Positive vectors: inputs for every operation; the outputs come from the code when the files are written.

All of them tell one story: billing logs in, asks for tickets, and calls payroll.
"""

from __future__ import annotations

from typing import Any, Final

from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.tickets.caveats import ExpiresCaveat, ScopesCaveat
from workshop.vectors import integers
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, root_of

NOW: Final = 1_800_000_000_000
SECOND: Final = NOW // 1000
REALM: Final = "example.org"


def span(start: int, size: int) -> str:
    """`size` consecutive bytes from `start`, as hex."""
    return bytes((start + offset) % 256 for offset in range(size)).hex()


BILLING: Final[Inputs] = {"root": span(0x00, 32), "realm": REALM, "name": "billing", "uid": 16, "kvno": 1}
PAYROLL: Final[Inputs] = {"root": span(0x20, 32), "realm": REALM, "name": "payroll", "uid": 17, "kvno": 3}
SESSION_KEY: Final = span(0x40, 32)
TGT_KEY: Final[Inputs] = {"key": span(0x60, 32), "type": 1, "realm": REALM, "name": "kdc/tgt", "uid": 1, "kvno": 1}
TICKET_KEY: Final[Inputs] = {
    "key": root_of(PAYROLL).ticket_key().material.hex(), "type": 2, "realm": REALM, "name": "payroll", "uid": 17,
    "kvno": 3,
}  # fmt: skip
MAC_KEYS: Final[Inputs] = {"1": span(0x80, 32)}
KDC: Final[Inputs] = {"tgt_key": TGT_KEY, "mac_keys": MAC_KEYS}
ENTROPY: Final = span(0xA0, 24)
NONCE: Final = span(0xB0, 16)
EPOCH: Final = span(0xC0, 8)
BIND: Final = bind_raw("payroll/run", b"payload").hex()
READ: Final = ScopesCaveat(("read",)).to_bytes().hex()
UNTIL: Final = ExpiresCaveat(SECOND + 300).to_bytes().hex()
ROOTS: Final = (BILLING, PAYROLL)


def vector(name: str, op: str, given: Inputs) -> Vector:
    """A positive vector: whatever the code answers now."""
    return {"name": name, "op": op, "in": integers.written(given), "out": integers.written(OPERATIONS[op](given))}


def ticket_inputs(sealed_with: Inputs, **changes: Any) -> Inputs:
    """Inputs of `ticket`."""
    fields = {
        "tid": span(0xD0, 16), "client": f"billing@{REALM}", "client_uid": 16, "session_key": SESSION_KEY,
        "iat": SECOND, "exp": SECOND + 3600, "auth_time": SECOND - 60,
        "ckid": root_of(BILLING).as_key().kid.hex(), "flags": 0,
        "scopes": ["read", "write"], "txn": span(0xE0, 16),
    } | changes  # fmt: skip
    return {"sealed_with": sealed_with, "mac_no": 1, "mac_key": MAC_KEYS["1"], "fields": fields, "entropy": ENTROPY}


TGT: Final = OPERATIONS["ticket"](ticket_inputs(TGT_KEY, scopes=[], flags=1))["ticket"]
TICKET: Final = OPERATIONS["ticket"](ticket_inputs(TICKET_KEY))["ticket"]


def as_inputs(**changes: Any) -> Inputs:
    """Inputs of `as-req`."""
    return {
        "client": BILLING, "service": "kdc/tgt", "ttl_s": 3600, "instance": span(0xF0, 16), "ts": NOW, "nonce": NONCE
    } | changes  # fmt: skip


def tgs_inputs(**changes: Any) -> Inputs:
    """Inputs of `tgs-req`."""
    want = {"target": f"payroll@{REALM}", "kind": 0, "scopes": ["read"], "ttl_s": 600, "flags": 1}
    jwt = {"target": f"orders@{REALM}", "kind": 1, "scopes": None, "ttl_s": 0, "flags": 0}
    return {
        "tgt": TGT, "session_key": SESSION_KEY, "caveats": [], "wants": [want, jwt, want | {"scopes": []}], "ts": NOW,
        "nonce": NONCE,
    } | changes  # fmt: skip


def ap_inputs(**changes: Any) -> Inputs:
    """Inputs of `ap-req`."""
    return {
        "ticket": TICKET, "session_key": SESSION_KEY, "caveats": [], "use": 0, "bind": BIND, "ts": NOW, "nonce": NONCE,
        "epoch": EPOCH, "flags": 0, "user": None,
    } | changes  # fmt: skip


def accept_inputs(message: str, **changes: Any) -> Inputs:
    """Inputs of `accept`."""
    return {
        "target": PAYROLL, "now": NOW, "use": 0, "bind": BIND, "epoch": EPOCH, "accept_user": False,
        "max_life_s": 86_400, "earlier": [], "message": message,
    } | changes  # fmt: skip


def _reply(op: str, given: Inputs) -> str:
    reply: str = OPERATIONS[op](given)["reply"]
    return reply


AS_REPLY: Final[Inputs] = {
    "request": as_inputs(), "ticket": TGT, "session_key": SESSION_KEY, "ttl_s": 3600, "flags": 1, "newest_kvno": 1,
    "kdc_id": "kdc-a", "kdc_time": NOW + 5, "entropy": ENTROPY,
}  # fmt: skip
AS_ERROR: Final[Inputs] = {
    "request": as_inputs(), "error": "rate-limited", "retry_s": 7, "detail": "", "kdc_time": NOW + 5, "entropy": ENTROPY
}  # fmt: skip
TGS_REPLY: Final[Inputs] = {
    "request": tgs_inputs(), "kdc": KDC, "kdc_id": "kdc-a", "policy_seq": 9, "kdc_time": NOW + 5, "entropy": ENTROPY,
    "results": [
        {"target": f"payroll@{REALM}", "uid": 17, "credential": TICKET, "session_key": SESSION_KEY, "ttl_s": 600,
         "flags": 0, "kvno": 3, "scopes": ["read"], "notes": [[2, 1, None]]},
        {"target": f"orders@{REALM}", "uid": 18, "credential": b"header.claims.mac".hex(), "session_key": None,
         "ttl_s": 300, "flags": 0, "kvno": 0, "scopes": [], "notes": []},
        {"target": f"payroll@{REALM}", "code": "not-granted", "retry_s": 0, "ref": span(1, 8)},
    ],
}  # fmt: skip
TGS_ERROR: Final[Inputs] = {
    "request": tgs_inputs(), "kdc": KDC, "error": "tgt-expired", "retry_s": 0, "detail": "60 s ago", "kdc_time": NOW,
    "entropy": ENTROPY,
}  # fmt: skip


def _message(op: str, given: Inputs) -> str:
    message: str = OPERATIONS[op](given)["message"]
    return message


AS_REQ: Final = _message("as-req", as_inputs())
TGS_REQ: Final = _message("tgs-req", tgs_inputs())
AP_REQ: Final = _message("ap-req", ap_inputs())
AS_REP: Final = _reply("as-rep", AS_REPLY)
TGS_REP: Final = _reply("tgs-rep", TGS_REPLY)
AP_REP: Final = OPERATIONS["accept"](accept_inputs(AP_REQ))["reply"]


def primitives() -> list[Vector]:
    """Encoding, names, PRF and box."""
    items: list[Any] = [None, 0, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63 - 1]
    strings = ["a", "a" * 31, "a" * 32, {"bin": ""}, {"bin": "00" * 255}, {"bin": "00" * 256}, [], [[], [None]]]
    made = [vector("every size of integer", "encode", {"items": items})]
    made.append(vector("str, bin and array", "encode", {"items": strings}))
    made.append(vector("16 items", "encode", {"items": list(range(16))}))
    made.append(vector("64 items", "encode", {"items": [0] * 64}))
    made.append(vector("six deep", "encode", {"items": [[[[[[]]]]]]}))
    made += [vector(one["name"], "decode", {"bytes": one["out"]["bytes"], "limit": 1024}) for one in list(made)]
    made += [vector(f"name {text}", "name", {"text": text}) for text in ("a", "team/billing", "a.b-c_d/e", "0" * 128)]
    made += [vector(f"scope {text}", "scope", {"text": text}) for text in ("read", "a:b/c.d_e-f", "a--b", "a" * 64)]
    key = span(0, 32)
    made.append(vector("PRF of nothing", "prf", {"key": key, "label": "a", "message": ""}))
    made.append(vector("PRF with the longest label", "prf", {"key": key, "label": "a-." * 13 + "z", "message": "00"}))
    for size in (1, 8, 12, 32, 64):
        made.append(vector(f"derive {size}", "derive", {"key": key, "label": "x", "context": "0102", "size": size}))
    for plain in ("", "00", "ff" * 100):
        sealed = {"key": key, "label": "test", "context": "", "plaintext": plain, "entropy": ENTROPY}
        made.append(vector(f"box of {len(plain) // 2} bytes", "seal", sealed))
        opened = {"key": key, "label": "test", "context": "", "box": made[-1]["out"]["box"], "limit": 172}
        made.append(vector(f"open box of {len(plain) // 2} bytes", "open", opened))
    return made


def keys() -> list[Vector]:
    """Roots, role keys and key files."""
    made = [vector(f"role keys of {root['name']}", "role-keys", root) for root in ROOTS]
    for root in ROOTS:
        full = root_keytab(root)
        made.append(vector(f"key file of {root['name']}", "key-file", {"file": full.to_bytes().hex()}))
        made.append(vector(f"text form of {root['name']}", "key-text", {"text": full.to_text()}))
        narrow = full.verify_only()
        made.append(vector(f"verify-only file of {root['name']}", "key-file", {"file": narrow.to_bytes().hex()}))
    return made


def root_keytab(root: Inputs) -> Keytab:
    """A full keytab of one root."""
    return Keytab.of(root_of(root))


def tickets() -> list[Vector]:
    """Tickets, their marks, caveats and tails."""
    scopes = [f"s{number:02}" + "x" * 61 for number in range(32)]
    made = [
        vector("TGT", "ticket", ticket_inputs(TGT_KEY, scopes=[], flags=1)),
        vector("service ticket", "ticket", ticket_inputs(TICKET_KEY)),
        vector("ticket without rights", "ticket", ticket_inputs(TICKET_KEY, scopes=[])),
        vector("ticket with 32 scopes", "ticket", ticket_inputs(TICKET_KEY, scopes=scopes)),
        vector("delegable ticket", "ticket", ticket_inputs(TICKET_KEY, flags=2)),
        vector("high flags are ignored", "ticket", ticket_inputs(TICKET_KEY, flags=0xFFFF0000)),
    ]
    for one in list(made):
        key = one["in"]["sealed_with"]
        opened = {"ticket": one["out"]["ticket"], "key": key}
        made.append(vector(f"open: {one['name']}", "open-ticket", opened))
        made.append(vector(f"mark: {one['name']}", "kdc-mark", opened | {"mac_keys": MAC_KEYS}))
    for name, encoded in (("expires", UNTIL), ("scopes", READ), ("no scopes", ScopesCaveat(()).to_bytes().hex())):
        made.append(vector(f"caveat {name}", "caveat", {"caveat": encoded}))
    for caveats in ([], [READ], [READ, UNTIL], [UNTIL, READ]):
        chain = {"session_key": SESSION_KEY, "ticket": TICKET, "caveats": caveats}
        made.append(vector(f"tails of {len(caveats)} caveats", "chain", chain))
    return made


def exchanges() -> list[Vector]:
    """Every message of every exchange."""
    narrow = _message("ap-req", ap_inputs(caveats=[READ, UNTIL], flags=1))
    made = [
        vector("AS-REQ", "as-req", as_inputs()),
        vector("AS-REQ for kdc/keys", "as-req", as_inputs(service="kdc/keys", ttl_s=0)),
        vector("AS-REQ is verified", "verify-as-req", {"client": BILLING, "message": AS_REQ}),
        vector("AS-REP", "as-rep", AS_REPLY),
        vector("AS-REP is opened", "open-as-rep", {"request": as_inputs(), "reply": AS_REP}),
        vector("AS-ERR", "as-rep", AS_ERROR),
        vector("TGS-REQ", "tgs-req", tgs_inputs()),
        vector("TGS-REQ with a narrowed TGT", "tgs-req", tgs_inputs(caveats=[READ])),
        vector("TGS-REQ is verified", "verify-tgs-req", {"kdc": KDC, "message": TGS_REQ}),
        vector("TGS-REP", "tgs-rep", TGS_REPLY),
        vector("TGS-REP is opened", "open-tgs-rep", {"request": tgs_inputs(), "reply": TGS_REP}),
        vector("TGS-ERR", "tgs-rep", TGS_ERROR),
        vector("AP-REQ", "ap-req", ap_inputs()),
        vector("AP-REQ without epoch", "ap-req", ap_inputs(epoch=None)),
        vector("AP-REQ of a channel", "ap-req", ap_inputs(use=2, bind=None)),
        vector("AP-REQ for a user", "ap-req", ap_inputs(user=["alice", 2])),
        vector("AP-REQ is accepted", "accept", accept_inputs(AP_REQ)),
        vector("AP-REQ is accepted with two caveats", "accept", accept_inputs(narrow)),
        vector("AP-REQ 60 s old is accepted", "accept", accept_inputs(AP_REQ, now=NOW + 60_000)),
        vector("AP-REQ 5 s ahead is accepted", "accept", accept_inputs(AP_REQ, now=NOW - 5_000)),
        vector("another AP-REQ came before", "accept", accept_inputs(AP_REQ, earlier=[narrow])),
        vector("AP-REP is believed", "open-ap-rep", {"request": ap_inputs(), "reply": AP_REP}),
    ]
    for endpoint, payload, channel in (
        ("a", "", None),
        ("payroll/run", b"payload".hex(), None),
        ("a", "", span(0, 32)),
    ):
        given = {"endpoint": endpoint, "payload": payload, "channel_binding": channel}
        made.append(vector(f"bind of {endpoint}", "bind-raw", given))
    made += [vector(f"window {ago} ms", "window", {"ts": NOW - ago, "now": NOW}) for ago in (60_000, 0, -5_000)]
    steps = [
        (1, NOW, NOW, "a"), (1, NOW, NOW, "a"), (2, NOW, NOW, "a"),
        (3, NOW, NOW, "a"), (3, NOW, NOW, "b"), (4, NOW, NOW, "b"),
        (1, NOW, NOW + 60_000, "a"), (1, NOW, NOW + 61_000, "a"),
        (5, NOW, NOW, "a"), (5, NOW + 61_000, NOW + 61_000, "a"),
    ]  # fmt: skip
    shares: Inputs = {
        "capacity": 3,
        "per_client": 2,
        "per_ticket": 2,
        "steps": [[span(tag, 16), ts, now, client, span(ord(client), 16)] for tag, ts, now, client in steps],
    }
    made.append(vector("replay set with room for three, two for one client", "replay", shares))
    return made
