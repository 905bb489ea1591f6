"""Negative vectors: exactly one thing is wrong, and the stage that must notice it is declared here.

What the library refuses to build is built from its primitives.
"""

from __future__ import annotations

from typing import Any

from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.sealing import open_box, seal
from orthros_protocol.tickets.ticket import open_ticket
from workshop.vectors import integers
from workshop.vectors import positive as good
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, root_of, sealing_key_of, unhex
from workshop.vectors.run import outcome

_TICKET_FIELDS = (
    "version", "tid", "crealm", "cname", "cuid", "key", "iat", "exp", "auth_time", "ckid", "flags", "scopes", "caveats",
    "chain", "subject", "txn", "crit", "opt", "mac_no", "kmac",
)  # fmt: skip


def refused(name: str, op: str, given: Inputs, stage: str) -> Vector:
    """A negative vector. Raises ValueError when the code does not refuse it at that stage."""
    found = outcome(op, given)
    if found.get("stage") != stage:
        raise ValueError(f"{name}: declared for stage {stage}, but the code says {found}")
    return {"name": name, "op": op, "in": integers.written(given), "stage": stage, "code": found["code"]}


def flip(data: str, at: int) -> str:
    """One bit of one byte changed; negative positions count from the end."""
    changed = bytearray(unhex(data))
    changed[at] ^= 1
    return changed.hex()


def primitives() -> list[Vector]:
    """Encodings, names and boxes."""
    bad = {
        "bool": "91c3", "float": "91cb3ff0000000000000", "NaN": "91cb7ff8000000000000", "negative": "91ff",
        "integer of 64 bits": "91cfffffffffffffffff", "map": "9181a16101", "empty map": "9180", "ext": "91d50500ff",
        "zero-length ext": "91c70005", "timestamp": "91d6ff00000000", "invalid UTF-8": "91a2fffe",
        "not ASCII": "91a2c3a9",
        "empty str": "91a0", "unused byte": "91c1", "long integer": "91cc01", "long bin": "91c5000161",
        "long str": "91d90161",
        "long array": "dc000101", "trailing byte": "910100", "cut short": "9201", "nothing": "", "not an array": "01",
        "nil instead of an array": "c0", "65 items": "dc0041" + "00" * 65, "seven deep": "91" * 6 + "90",
        "depth bomb": "91" * 600, "array of 4 Gi items": "ddffffffff", "bin of 4 GiB": "91c6ffffffff",
    }  # fmt: skip
    made = [refused(name, "decode", {"bytes": data, "limit": 1024}, "encoding") for name, data in bad.items()]
    made.append(refused("over the limit", "decode", {"bytes": "91c401" + "00", "limit": 3}, "size"))
    names = ("", "A", "a b", "a..b", "/a", "a/", "-a", "a_", "a\n", "é", "a" * 129, "a@b", "*")
    made += [refused(f"name {text!r}", "name", {"text": text}, "name") for text in names]
    scopes = ("", "A", ":a", "a b", "*", "a" * 65, "é")
    made += [refused(f"scope {text!r}", "scope", {"text": text}, "name") for text in scopes]
    box = {"key": good.span(0, 32), "label": "test", "context": "", "plaintext": "00ff", "entropy": good.ENTROPY}
    closed = OPERATIONS["seal"](box)["box"]
    opened = {"key": box["key"], "label": "test", "context": "", "box": closed, "limit": 100}
    changes: dict[str, Inputs] = {
        "another key": {"key": good.span(1, 32)}, "another label": {"label": "tess"},
        "another context": {"context": "00"},
        "bit of the salt": {"box": flip(closed, 0)}, "bit of the commitment": {"box": flip(closed, 24)},
        "bit of the ciphertext": {"box": flip(closed, 56)}, "bit of the tag": {"box": flip(closed, -1)},
        "one byte short": {"box": closed[:-2]}, "one byte more": {"box": closed + "00"},
        "71 bytes": {"box": closed[:142]},
        "over the limit": {"limit": 73}, "empty": {"box": ""},
    }  # fmt: skip
    return made + [refused(f"box: {name}", "open", opened | change, "box") for name, change in changes.items()]


def keys() -> list[Vector]:
    """Key files."""
    keytab = good.root_keytab(good.PAYROLL)
    file, text = keytab.to_bytes(), keytab.to_text()
    record = file[11 : 11 + int.from_bytes(file[9:11], "big")]

    def rebuilt(*records: bytes, end: bytes = b"\0\0", magic: bytes = b"ORTHROSK\x01") -> str:
        body = magic + b"".join(len(one).to_bytes(2, "big") + one for one in records) + end
        return (body + digest(body)).hex()

    root = root_of(good.PAYROLL)
    name = (good.REALM, "payroll", 17)
    kid = root.kid
    files = {
        "checksum": flip(file.hex(), -1), "cut short": file[:-1].hex(), "empty": "",
        "another magic": rebuilt(record, magic=b"ORTHROSX\x01"),
        "version 2": rebuilt(record, magic=b"ORTHROSK\x02"), "no record": rebuilt(),
        "duplicate kid": rebuilt(record, record),
        "no end mark": rebuilt(record, end=b""), "more after the end": rebuilt(record, end=b"\0\0\0"),
        "31-byte key": rebuilt(encode(*name, 3, 0, None, kid, root.material[:31], 0, [])),
        "wrong kid": rebuilt(encode(*name, 3, 0, None, bytes(8), root.material, 0, [])),
        "root with a role": rebuilt(encode(*name, 3, 0, "as", kid, root.material, 0, [])),
        "unknown role": rebuilt(encode(*name, 3, 1, "tgt", kid, root.material, 0, [])),
        "kvno 0": rebuilt(encode(*name, 0, 0, None, kid, root.material, 0, [])),
        "name not canonical": rebuilt(encode(good.REALM, "Payroll", 17, 3, 0, None, kid, root.material, 0, [])),
        "record not canonical": rebuilt(record.replace(b"\x11\x03", b"\xcc\x11\x03", 1)),
    }  # fmt: skip
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    # Of these lengths, one leaves spare bits in the last character.
    specimens = [good.root_keytab(one) for one in good.ROOTS]
    lines = [one for each in specimens for one in (each, each.verify_only()) if len(one.to_bytes()) % 5]
    line = lines[0].to_text()
    texts = {
        "no prefix": text.removeprefix("ort1k_"), "upper case": "ort1k_" + text[6:].upper(), "padding": text + "=",
        "letter outside the alphabet": text[:20] + "1" + text[21:], "one character short": text[:-1],
        "stray bits": line[:-1] + alphabet[alphabet.index(line[-1]) ^ 1],
    }  # fmt: skip
    made = [refused(f"key file: {what}", "key-file", {"file": data}, "key-file") for what, data in files.items()]
    return made + [
        refused(f"text form: {what}", "key-text", {"text": data}, "key-file") for what, data in texts.items()
    ]


def edited(key: Inputs, ticket: str, /, **changes: Any) -> str:
    """A ticket with other fields, sealed anew by whoever holds its key; the mark stays as it was."""
    sealer = sealing_key_of(key)
    content = open_ticket(unhex(ticket), sealer)
    body: dict[str, Any] = dict(
        zip(
            _TICKET_FIELDS,
            [
                1, content.tid, content.client.realm, content.client.name, content.client_uid, content.session_key,
                content.iat, content.exp, content.auth_time, content.ckid, content.flags, list(content.scopes), b"", [],
                None, content.txn, [], [], 1, bytes(16),
            ],
            strict=True,
        )
    )  # fmt: skip
    return sealed(key, encode(*(body | changes).values()))


def sealed(key: Inputs, body: bytes) -> str:
    sealer = sealing_key_of(key)
    return (sealer.header + seal(sealer.box_key, "ticket", sealer.context, body, entropy=unhex(good.ENTROPY))).hex()


def tickets() -> list[Vector]:
    """Tickets under the wrong key, in the wrong shape, or without the KDC's mark."""
    opened = {"ticket": good.TICKET, "key": good.TICKET_KEY}
    headers = {0: "header", 1: "header", 2: "header", 3: "kid", 7: "kid", 15: "box", 40: "box", 80: "box", -1: "box"}
    made = [
        refused(f"ticket: bit of byte {at}", "open-ticket", opened | {"ticket": flip(good.TICKET, at)}, stage)
        for at, stage in headers.items()
    ]
    other: dict[str, tuple[Inputs, str]] = {
        "realm": ({"realm": "example.com"}, "box"), "name": ({"name": "payrol"}, "box"), "uid": ({"uid": 18}, "box"),
        "kvno": ({"kvno": 4}, "kid"), "key": ({"key": good.span(1, 32)}, "kid"), "type": ({"type": 1}, "header"),
    }  # fmt: skip
    for what, (change, stage) in other.items():
        made.append(
            refused(f"ticket: another {what}", "open-ticket", opened | {"key": good.TICKET_KEY | change}, stage)
        )
    body: dict[str, Any] = {
        "version": 2, "tid": b"", "cname": "Billing", "scopes": ["write", "read"], "caveats": encode(), "flags": 4,
        "crit": [[1, b""]], "subject": [None, "alice", 0, 3], "opt": [[2, b""], [1, b""]], "mac_no": 0,
    }  # fmt: skip
    for field, value in body.items():
        changed = edited(good.TICKET_KEY, good.TICKET, **{field: value})
        made.append(refused(f"ticket body: {field}", "open-ticket", opened | {"ticket": changed}, "body"))
    marked = opened | {"mac_keys": good.MAC_KEYS}
    edits: dict[str, Any] = {
        "cname": "root", "scopes": ["admin"], "flags": 2, "exp": good.SECOND + 7200, "auth_time": good.SECOND,
        "ckid": bytes(8), "chain": [[None, "gateway", 1]], "subject": [None, "alice", 0, 1], "mac_no": 2,
    }  # fmt: skip
    for field, value in edits.items():
        changed = edited(good.TICKET_KEY, good.TICKET, **{field: value})
        made.append(refused(f"mark: edited {field}", "kdc-mark", marked | {"ticket": changed}, "kdc-mark"))
    made.append(refused("mark: another key", "kdc-mark", marked | {"mac_keys": {"1": good.span(1, 32)}}, "kdc-mark"))
    caveats = {
        "arity": encode(1),
        "bool": b"\x92\x01\xc3",
        "order": encode(2, ["b", "a"]),
        "type as str": encode("1", 1),
    }
    for what, encoded in caveats.items():
        made.append(refused(f"caveat: {what}", "caveat", {"caveat": encoded.hex()}, "encoding"))
    made.append(refused("caveat: unknown type", "caveat", {"caveat": encode(10, "x").hex()}, "caveat"))
    return made


def plain_body() -> bytes:
    """The body of the good ticket."""
    content = edited(good.TICKET_KEY, good.TICKET)
    sealer = sealing_key_of(good.TICKET_KEY)
    return open_box(sealer.box_key, "ticket", sealer.context, unhex(content)[15:], limit=8192)
