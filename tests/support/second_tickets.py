"""Tickets, tails and single caveats once more, from docs/protocol/ alone; shares no code with the library.

Refusals are `Verdict`s with the code as their word, as in the oracle.
"""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import InvalidTag

from tests.support import naive, second_authority
from tests.support.naive import enc, kd, sha256
from tests.support.oracle import Oracle, Verdict, caveat_list, need
from tests.support.second_keys import sealer_of

Inputs = dict[str, Any]
unhex = bytes.fromhex


def opened(key: bytes, label: str, context: bytes, box: bytes, word: str = "box-unopened") -> bytes:
    try:
        return naive.unseal(key, label, context, box)
    except (ValueError, InvalidTag):
        raise Verdict(word) from None


def split(principal: str) -> list[str]:
    who, _, realm = principal.partition("@")
    return [realm, who]


def within(realm: str, items: list[Any] | None) -> list[Any] | None:
    """As a ticket of this realm says it."""
    return items and [None if items[0] == realm else items[0], *items[1:]]


def ticket(given: Inputs) -> Inputs:
    fields, sealer = given["fields"], sealer_of(given["sealed_with"])
    client, _, realm = fields["client"].partition("@")
    body = [
        1, unhex(fields["tid"]), realm, client, fields["client_uid"], unhex(fields["session_key"]), fields["iat"],
        fields["exp"], fields["auth_time"], unhex(fields["ckid"]), fields["flags"], fields["scopes"], b"", [], None,
        unhex(fields["txn"]), [], [], given["mac_no"],
    ]  # fmt: skip
    body[12] = caveat_field(fields.get("caveats", []))
    body[13] = [within(realm, [*split(hop), at]) for hop, at in fields.get("chain", [])]
    body[14] = within(realm, second_authority.subject_items(fields.get("subject")))
    body.append(sealer.mark(unhex(given["mac_key"]), body))
    try:
        made = sealer.seal(body, unhex(given["entropy"]))
        need(len(made) <= 8192, "value-invalid")
        Oracle._content(sealer, made)
    except (OverflowError, Verdict):
        raise Verdict("value-invalid") from None
    return {"ticket": made.hex()}


def ticket_header(given: Inputs) -> Inputs:
    data = unhex(given["ticket"])
    need(15 < len(data) <= 8192 and data[:2] == b"\1\1", "malformed")
    need(data[2] in (1, 2, 3), "wrong-ticket-type")
    return {"type": data[2], "kvno": int(data[3:7].hex(), 16), "kid": data[7:15].hex()}


def flags(given: Inputs) -> Inputs:
    names = {"ticket": ["initial", "delegable"], "want": ["exact", "delegable"]}[given["of"]]
    need(given["flags"] % 2**16 < 4, "unsupported-critical")
    return {"names": [name for at, name in enumerate(names) if given["flags"] >> at & 1]}


def open_ticket(given: Inputs) -> Inputs:
    data, sealer = unhex(given["ticket"]), sealer_of(given["key"])
    need(15 < len(data) <= 8192, "malformed")
    need(data[0] == 1 and data[1] == 1, "malformed")
    need(data[2] == sealer.ticket_type, "wrong-ticket-type")
    need(data[:15] == sealer.header, "unknown-key")
    Oracle._content(sealer, data)
    body = sealer.open(data)
    caveats = caveat_list(body[12])
    if "mac_keys" in given:
        key = given["mac_keys"].get(str(body[18]))
        need(key is not None and sealer.mark(unhex(key), body[:19]) == body[19], "ticket-altered")
    return {
        "server": f"{sealer.name}@{sealer.realm}", "server_uid": sealer.uid, "kvno": sealer.kvno, "tid": body[1].hex(),
        "client": f"{body[3]}@{body[2]}", "client_uid": body[4], "session_key": body[5].hex(), "iat": body[6],
        "exp": body[7], "auth_time": body[8], "ckid": body[9].hex(), "flags": body[10], "scopes": body[11],
        "txn": body[15].hex(), "caveats": [one.hex() for one in caveats],
        "chain": [[f"{hop}@{realm or body[2]}", at] for realm, hop, at in body[13]],
        "subject": second_authority.subject_shown(body[14] and [body[14][0] or body[2], *body[14][1:]]),
    }  # fmt: skip


def chain(given: Inputs) -> Inputs:
    tails = [kd(unhex(given["session_key"]), "chain0", sha256(unhex(given["ticket"])))]
    for one in given["caveats"]:
        tails.append(kd(tails[-1], "cav", unhex(one)))
    return {"tails": [tail.hex() for tail in tails], "pop_key": kd(tails[-1], "pop").hex()}


def tail_key(given: Inputs, field: str) -> bytes:
    key = naive.pop_key(unhex(given["session_key"]), unhex(given[field]), tuple(map(unhex, given["caveats"])))
    for one in given.get("discharges", []):
        key = kd(key, "mix", unhex(one["tail"]))
    behalf = given.get("behalf")
    if behalf and "evidence" in behalf:
        proof = kd(unhex(behalf["session_key"]), "evid", sha256(unhex(behalf["evidence"])))
        key = kd(key, "evmix", proof)
    return key


def caveat_field(given: list[str]) -> bytes:
    need(len(given) <= 16 and all(2 <= len(one) <= 1024 for one in given), "value-invalid")
    return enc(*map(unhex, given)) if given else b""


def caveat(given: Inputs) -> Inputs:
    condition = Oracle._condition(unhex(given["caveat"]))
    if condition is None:
        raise Verdict("caveat-unsupported")
    kind, *values = condition
    shown: Any = values[0]
    if kind == 5:
        shown = [f"{one}@{realm}" for realm, one in values[0]]
    elif kind == 7:
        shown = values[0].hex()
    elif kind == 8:
        shown = [f"{values[1]}@{values[0]}", *(one and one.hex() for one in values[2:])]
    elif kind == 9:
        shown = [values[0], values[1].hex()]
    return {"type": kind, "value": shown}
