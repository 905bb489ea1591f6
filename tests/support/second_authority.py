"""Narrowed and handed-on authority once more, from docs/protocol/ alone; shares no code with the library.

Refusals are `Verdict`s with the code as their word, as in the oracle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag

from tests.support import naive
from tests.support.naive import Sealer, enc, kd, sha256
from tests.support.oracle import (
    Oracle,
    Verdict,
    array,
    blob,
    caveat_list,
    name,
    need,
    number,
    path_allowed,
    scopes,
)

Inputs = dict[str, Any]
unhex = bytes.fromhex


def split(principal: str) -> list[str]:
    who, _, realm = principal.partition("@")
    return [realm, who]


def subject_items(given: list[Any] | None) -> list[Any] | None:
    return None if given is None else [*split(given[0]), *given[1:]]


def subject_shown(items: list[Any] | None) -> list[Any] | None:
    return None if items is None else [f"{items[1]}@{items[0]}", *items[2:]]


def subject_shaped(items: Any) -> bool:
    if type(items) is not list or len(items) != 4:
        return False
    return name(items[0]) and name(items[1]) and number(items[2]) and number(items[3], 2, 1)


def behalf_items(given: Inputs | None) -> list[Any] | None:
    if given is None:
        return None
    if "subject" in given:
        return [None, b"", [*split(given["subject"]), 0, 2]]
    shown = list(map(unhex, given["caveats"]))
    return [unhex(given["evidence"]), enc(*shown) if shown else b"", None]


def behalf_read(items: Any) -> bytes | None:
    """The evidence in it, if any."""
    if items is None:
        return None
    need(type(items) is list and len(items) == 3, "malformed")
    evidence, caveats, subject = items
    need(blob(caveats, 0, 8243), "malformed")
    if evidence is None:
        need(caveats == b"" and subject_shaped(subject) and subject[2:] == [0, 2], "malformed")
        return None
    need(blob(evidence, 16, 8192) and subject is None, "malformed")
    return bytes(evidence)


def named_as_asked(subject: list[Any] | None, behalf: Inputs | None) -> bool:
    if behalf is None:
        return subject is None
    if "subject" not in behalf:
        return subject is not None
    return subject is not None and subject[:2] == split(behalf["subject"]) and subject[3] == 2


def demands_in(field: bytes | None) -> list[str]:
    if field is None:
        return []
    items = array(field, 4096)
    need(1 <= len(items) <= 4 and all(blob(one, 1, 4096) for one in items), "malformed")
    return [one.hex() for one in items]


def opened(key: bytes, label: str, context: bytes, box: bytes, limit: int) -> bytes:
    need(72 <= len(box) <= limit, "box-unopened")
    try:
        return naive.unseal(key, label, context, box)
    except (ValueError, InvalidTag):
        raise Verdict("box-unopened") from None


def mix(given: Inputs) -> Inputs:
    key = unhex(given["pop_key"])
    for tail in given["tails"]:
        key = kd(key, "mix", unhex(tail))
    return {"key": key.hex()}


def read_caveat(encoded: str) -> list[Any]:
    items = Oracle._condition(unhex(encoded))
    if items is None:
        raise Verdict("caveat-unsupported")
    return items


def carry(given: Inputs) -> Inputs:
    ends: list[int] = []
    kept: dict[int, set[str]] = {}
    for encoded in given["caveats"]:
        items = read_caveat(encoded)
        kind, value = items[0], items[1]
        need(kind in (1, 2) or (kind == 5 and given["of_tgt"]), "caveat-not-carried")
        if kind == 1:
            ends.append(value)
            continue
        named = {f"{one[1]}@{one[0]}" for one in value} if kind == 5 else set(value)
        kept[kind] = kept.get(kind, named) & named
    return {
        "expires": min(ends) if ends else None, "scopes": sorted(kept[2]) if 2 in kept else None,
        "targets": sorted(kept[5]) if 5 in kept else None,
    }  # fmt: skip


def limits(given: Inputs) -> Inputs:
    for encoded in given["caveats"]:
        need(read_caveat(encoded)[0] not in (5, 8), "caveat-not-carried")
    return {}


def demanded(given: Inputs, discharger: list[str], root: bytes, salt: bytes | None, cid: bytes) -> Inputs:
    items = [8, *discharger, salt, None if salt else root, sha256(cid)]
    return {"caveat": enc(*items).hex(), "cid": cid.hex(), "d0": kd(root, "dis", sha256(cid)).hex()}


def predicate(value: Any) -> bool:
    return type(value) is str and 1 <= len(value) <= 200 and all(" " <= one <= "~" for one in value)


def content_of(given: Inputs, root: bytes) -> bytes:
    need(len(root) == 32 and predicate(given["predicate"]) and number(given["expires"]), "value-invalid")
    return enc(root, split(given["about"]), given["predicate"], given["expires"])


def demand_of_holder(given: Inputs) -> Inputs:
    ticket, salt, discharger = unhex(given["ticket"]), unhex(given["salt"]), split(given["discharger"])
    root = kd(unhex(given["tail"]), "3p-root", enc(discharger, salt))
    realm, adder = split(given["adder"])
    key = kd(naive.pop_key(unhex(given["session_key"]), ticket), "3p")
    context = enc("3p", realm, adder, discharger[1])
    box = naive.seal(key, "3p", context, content_of(given, root), unhex(given["entropy"]))
    cid = enc(ticket, box)
    need(len(salt) == 16 and len(cid) <= 4096, "value-invalid")
    return demanded(given, discharger, root, salt, cid)


def sealer_for(party: Inputs) -> Sealer:
    key = kd(unhex(party["root"]), "role.ticket")
    return Sealer(key, 2, party["realm"], party["name"], party["uid"], party["kvno"])


def demand_of_kdc(given: Inputs) -> Inputs:
    sealer, root = sealer_for(given["discharger"]), unhex(given["root"])
    context = enc("3p", sealer.realm, "kdc", sealer.name, sealer.kvno)
    box = naive.seal(kd(sealer.material, "3p"), "3p", context, content_of(given, root), unhex(given["entropy"]))
    cid = enc(sealer.realm, sealer.name, sealer.kvno, sealer.header[7:15], box)
    return demanded(given, [sealer.realm, sealer.name], root, None, cid)


def sender_of(ticket: bytes, sealer: Sealer, now: int) -> tuple[list[str], bytes]:
    """Who sealed something under this ticket, and the K_pop that it sealed with."""
    need(ticket[0] == 1 and ticket[1] == 1, "malformed")
    need(ticket[2] == 2, "wrong-ticket-type")
    need(ticket[:15] == sealer.header, "unknown-key")
    content, second = Oracle._content(sealer, ticket), now // 1000
    need(content["exp"] > second, "ticket-expired")
    need(content["iat"] <= content["exp"] <= content["iat"] + 86_400, "ticket-times-invalid")
    need(content["iat"] <= second + 300, "ticket-times-invalid")
    need(not caveat_list(content["caveats"]), "caveat-refused")
    need(content["subject"] is None, "user-not-accepted")
    return split(content["client"]), naive.pop_key(content["key"], ticket)


def demand_read(given: Inputs) -> tuple[list[Any], list[str] | None]:
    cid, sealer = unhex(given["cid"]), sealer_for(given["discharger"])
    items = array(cid, 4096)
    adder: list[str] | None = None
    if len(items) == 2:
        ticket, box = items
        need(blob(ticket, 16, 8192) and blob(box, 72, 1024), "malformed")
        adder, key = sender_of(ticket, sealer, given["now"])
        context = enc("3p", *adder, sealer.name)
    else:
        need(len(items) == 5, "malformed")
        realm, place, kvno, kid, box = items
        need(name(realm) and name(place) and number(kvno, 2**32 - 1) and blob(kid, 8), "malformed")
        need(blob(box, 72, 1024), "malformed")
        need((realm, place, kvno, kid) == (sealer.realm, sealer.name, sealer.kvno, sealer.header[7:15]), "unknown-key")
        key, context = sealer.material, enc("3p", realm, "kdc", place, kvno)
    content = array(opened(kd(key, "3p"), "3p", context, box, 1024), 1024, 4)
    root, about, words, expires = content
    need(blob(root, 32) and type(about) is list and len(about) == 2 and all(map(name, about)), "malformed")
    need(predicate(words) and number(expires), "malformed")
    need(expires > given["now"] // 1000, "discharge-refused")
    return content, adder


def open_demand(given: Inputs) -> Inputs:
    (root, about, words, expires), adder = demand_read(given)
    return {
        "root": root.hex(), "about": f"{about[1]}@{about[0]}", "predicate": words, "expires": expires,
        "adder": None if adder is None else f"{adder[1]}@{adder[0]}",
    }  # fmt: skip


def discharge(given: Inputs) -> Inputs:
    (root, _about, _predicate, expires), _adder = demand_read(given)
    cid_digest = sha256(unhex(given["cid"]))
    rows = [enc(1, min(given["expires"], expires)), *map(unhex, given["caveats"])]
    need(len(rows) <= 16 and all(read_caveat(row.hex())[0] != 8 for row in rows), "value-invalid")
    tail = kd(root, "dis", cid_digest)
    for row in rows:
        tail = kd(tail, "cav", row)
    return {"cid_digest": cid_digest.hex(), "caveats": enc(*rows).hex(), "tail": tail.hex()}


def judge_discharge(given: Inputs) -> Inputs:
    return {"caveats": len(Oracle._discharge(unhex(given["caveats"])))}


def seal_discharge(given: Inputs) -> Inputs:
    key, plain = kd(unhex(given["pop_key"]), "dis-rep"), enc(unhex(given["caveats"]), unhex(given["tail"]))
    box = naive.seal(key, "dis-rep", unhex(given["request_digest"]), plain, unhex(given["entropy"]))
    return {"box": box.hex()}


def open_discharge(given: Inputs) -> Inputs:
    key = kd(unhex(given["pop_key"]), "dis-rep")
    plain = opened(key, "dis-rep", unhex(given["request_digest"]), unhex(given["box"]), 8499)
    caveats, tail = array(plain, 8307, 2)
    need(blob(caveats, 1, 8243) and blob(tail, 32), "malformed")
    Oracle._discharge(caveats)
    return {"cid_digest": sha256(unhex(given["cid"])).hex(), "caveats": caveats.hex(), "tail": tail.hex()}


def hand_over(given: Inputs) -> Inputs:
    row, around = given["handed"], unhex(given["ticket"])
    shown = list(map(unhex, row["caveats"]))
    cids = list(map(unhex, row["demands"]))
    need(len(shown) <= 16 and scopes(row["scopes"]) and len(row["tail"]) == 64, "value-invalid")
    need(len(cids) <= 4 and all(1 <= len(cid) <= 4096 for cid in cids), "value-invalid")
    content = enc(
        unhex(row["ticket"]), enc(*shown) if shown else b"", unhex(row["tail"]), *split(row["target"]),
        row["target_uid"], *split(row["client"]), row["scopes"], row["expires"], row["ttl_s"],
        subject_items(row["subject"]), cids,
    )  # fmt: skip
    named = sha256(unhex(row["ticket"]))
    realm, sender = split(given["sender"])
    context = enc("deleg", realm, sender, split(given["receiver"])[1], named)
    key = kd(naive.pop_key(unhex(given["session_key"]), around), "deleg")
    return {"message": enc(1, around, named, naive.seal(key, "deleg", context, content, unhex(given["entropy"]))).hex()}


def open_hand_over(given: Inputs) -> Inputs:
    sealer = sealer_for(given["receiver"])
    version, around, named, box = array(unhex(given["message"]), 64 * 1024, 4)
    need(version == 1 and blob(around, 16, 8192) and blob(named, 32) and blob(box, 72, 48 * 1024), "malformed")
    sender, key = sender_of(around, sealer, given["now"])
    context = enc("deleg", *sender, sealer.name, named)
    plain = opened(kd(key, "deleg"), "deleg", context, box, 48 * 1024)
    ticket, caveats, tail, realm, target, uid, crealm, client, held, expires, ttl, subject, demands = array(
        plain, 48 * 1024, 13
    )
    need(blob(ticket, 16, 8192) and blob(caveats, 0, 8243) and blob(tail, 32) and number(uid), "malformed")
    need(all(map(name, (realm, target, crealm, client))) and scopes(held) and number(expires), "malformed")
    need(number(ttl) and (subject is None or subject_shaped(subject)), "malformed")
    need(type(demands) is list and len(demands) <= 4 and all(blob(one, 1, 4096) for one in demands), "malformed")
    need(sha256(ticket) == named, "box-unopened")
    need(ticket[:2] == b"\1\1", "malformed")
    need(ticket[2] in (1, 2, 3), "wrong-ticket-type")
    return {
        "ticket": ticket.hex(), "caveats": [one.hex() for one in caveat_list(caveats)], "tail": tail.hex(),
        "target": f"{target}@{realm}", "target_uid": uid, "client": f"{client}@{crealm}", "scopes": held,
        "expires": expires, "ttl_s": ttl, "subject": subject_shown(subject), "demands": [one.hex() for one in demands],
        "sender": f"{sender[1]}@{sender[0]}",
    }  # fmt: skip


def evidence(given: Inputs) -> Inputs:
    proof = kd(unhex(given["session_key"]), "evid", sha256(unhex(given["evidence"])))
    return {"proof": proof.hex(), "key": kd(unhex(given["pop_key"]), "evmix", proof).hex()}


def path(given: Inputs) -> Inputs:
    need(path_allowed(given["path"], given["target"], given["rule"]), "chain-refused")
    return {}


OPERATIONS: dict[str, Callable[[Inputs], Inputs]] = {
    "mix": mix, "carry": carry, "limits": limits, "demand-of-holder": demand_of_holder, "demand-of-kdc": demand_of_kdc,
    "open-demand": open_demand, "discharge": discharge, "judge-discharge": judge_discharge,
    "seal-discharge": seal_discharge, "open-discharge": open_discharge, "hand-over": hand_over,
    "open-hand-over": open_hand_over, "evidence": evidence, "path": path,
}  # fmt: skip
