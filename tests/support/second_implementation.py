"""The operations of the vectors, implemented from docs/protocol/ alone; nothing here imports the library.

Longer than 400 lines because a second implementation is read beside the pages, from top to bottom.

Refusals are `Verdict`s with the code as their word, as in the oracle.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support import naive, second_authority, second_caveats, second_http
from tests.support.naive import Sealer, enc, kd, mac, sha256
from tests.support.oracle import (
    SCOPE,
    Oracle,
    Verdict,
    array,
    blob,
    caveat_list,
    extensions,
    name,
    need,
    number,
    scopes,
)

Inputs = dict[str, Any]
unhex = bytes.fromhex
FULL = 64 * 1024
TRAVELLING = {
    "key-retired": 10, "principal-disabled": 11, "clock-skew": 12, "tgt-expired": 13, "rate-limited": 14,
    "not-granted": 15, "epoch-required": 40,
}  # fmt: skip
WORDS = {code: word for word, code in TRAVELLING.items()}


def items_of(value: Any) -> Any:
    if isinstance(value, dict):
        return unhex(value["bin"])
    return [items_of(one) for one in value] if isinstance(value, list) else value


def json_of(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    return [json_of(one) for one in value] if isinstance(value, list) else value


def opened(key: bytes, label: str, context: bytes, box: bytes, word: str = "box-unopened") -> bytes:
    try:
        return naive.unseal(key, label, context, box)
    except (ValueError, InvalidTag):
        raise Verdict(word) from None


def sealer_of(given: Inputs) -> Sealer:
    return Sealer(unhex(given["key"]), given["type"], given["realm"], given["name"], given["uid"], given["kvno"])


def role(given: Inputs, label: str) -> bytes:
    return kd(unhex(given["root"]), f"role.{label}")


def kid(key: bytes) -> bytes:
    return kd(key, "kid", size=8)


def role_keys(given: Inputs) -> Inputs:
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
    need(len(set(kids)) == len(kids), bad)
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


def ticket(given: Inputs) -> Inputs:
    fields, sealer = given["fields"], sealer_of(given["sealed_with"])
    client, _, realm = fields["client"].partition("@")
    body = [
        1, unhex(fields["tid"]), realm, client, fields["client_uid"], unhex(fields["session_key"]), fields["iat"],
        fields["exp"], fields["auth_time"], unhex(fields["ckid"]), fields["flags"], fields["scopes"], b"", [], None,
        unhex(fields["txn"]), [], [], given["mac_no"],
    ]  # fmt: skip
    body[12] = caveat_field(fields.get("caveats", []))
    body[13] = [[*split(hop), at] for hop, at in fields.get("chain", [])]
    body[14] = second_authority.subject_items(fields.get("subject"))
    body.append(sealer.mark(unhex(given["mac_key"]), body))
    return {"ticket": sealer.seal(body, unhex(given["entropy"])).hex()}


def open_ticket(given: Inputs) -> Inputs:
    data, sealer = unhex(given["ticket"]), sealer_of(given["key"])
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
        "chain": [[f"{hop}@{realm}", at] for realm, hop, at in body[13]],
        "subject": second_authority.subject_shown(body[14]),
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


def facts_of(access: Inputs) -> Inputs:
    known = {one: access[one] for one in ("method", "path", "peer")}
    known["app"] = {one: unhex(payload) for one, payload in access.get("app", {}).items()}
    return known | {"channel": None if access["channel"] is None else unhex(access["channel"])}


def judge_caveat(given: Inputs) -> Inputs:
    condition, access = Oracle._condition(unhex(given["caveat"])), given["access"]
    facts = second_caveats.Facts(access["now"] // 1000, **facts_of(access))
    need(condition and second_caveats.holds(condition, facts), "caveat-refused")
    return {"holds": 1}


def as_req(given: Inputs) -> bytes:
    client = given["client"]
    key = role(client, "as")
    body = enc(
        1, 1, client["realm"], kid(key), unhex(given["nonce"]), given["ts"], given["service"], given["ttl_s"], 0,
        unhex(given["instance"]), [], [],
    )  # fmt: skip
    return enc(body, mac(key, "as-req", body))


def verify_as(given: Inputs) -> Inputs:
    key = role(given["client"], "as")
    body, received = array(unhex(given["message"]), FULL, 2)
    need(blob(body, 4, FULL) and blob(received, 32), "malformed")
    version, kind, realm, named, nonce, ts, service, ttl, flags, instance, crit, opt = array(body, 4096, 12)
    need((version, kind) == (1, 1) and name(realm) and blob(named, 8) and blob(nonce, 16) and number(ts), "malformed")
    need(name(service) and number(ttl, 2**32 - 1) and number(flags, 2**32 - 1) and blob(instance, 16), "malformed")
    need(extensions(crit) and extensions(opt), "malformed")
    need(named == kid(key) and realm == given["client"]["realm"], "unknown-key")
    need(received == mac(key, "as-req", body), "wrong-mac")
    need(not crit and not flags & 0xFFFF, "unsupported-critical")
    return {"service": service, "ts": ts, "ttl_s": ttl, "nonce": nonce.hex()}


def error_box(key: bytes, label: str, context: bytes, given: Inputs) -> Inputs:
    plain = enc(TRAVELLING[given["error"]], given["kdc_time"], given["retry_s"], given["detail"] or None, [])
    return {"reply": enc(1, 1, naive.seal(key, label, context, plain, unhex(given["entropy"]))).hex()}


def as_rep(given: Inputs) -> Inputs:
    request, key = as_req(given["request"]), role(given["request"]["client"], "as")
    if "error" in given:
        return error_box(kd(key, "as-err"), "as-err", sha256(request), given)
    client, asked = given["request"]["client"], given["request"]
    plain = enc(
        unhex(asked["nonce"]), given["kdc_time"], given["kdc_id"], [1, client["realm"], asked["service"]],
        client["name"], client["uid"], unhex(given["ticket"]), unhex(given["session_key"]), given["ttl_s"],
        given["flags"], given["newest_kvno"], [],
    )  # fmt: skip
    box = naive.seal(kd(key, "as-rep"), "as-rep", sha256(request), plain, unhex(given["entropy"]))
    return {"reply": enc(1, 0, box).hex()}


def reply_in(data: bytes, key: bytes, family: str, context: bytes) -> bytes:
    version, kind, content = array(data, FULL, 3)
    need(version == 1 and number(kind, 2) and blob(content, 8, FULL), "malformed")
    if kind == 2:
        need(len(content) == 8, "malformed")
        raise Verdict("unauthenticated-refusal")
    label = f"{family}-{'err' if kind else 'rep'}"
    plain = opened(kd(key, label), label, context, content, "reply-mismatch")
    if kind == 1:
        code, time, retry, _detail, opt = array(plain, 4096, 5)
        need(number(code, 0xFFFF) and number(time) and number(retry, 2**32 - 1) and extensions(opt), "malformed")
        raise Verdict(WORDS[code])
    return plain


def open_as_rep(given: Inputs) -> Inputs:
    asked, client = given["request"], given["request"]["client"]
    plain = reply_in(unhex(given["reply"]), role(client, "as"), "as", sha256(as_req(asked)))
    nonce, time, kdc_id, sealed_for, cname, cuid, credential, key, ttl, flags, newest, opt = array(plain, FULL, 12)
    need(blob(nonce, 16) and number(time) and name(kdc_id) and name(cname) and number(cuid), "malformed")
    need(blob(credential, 16, 8192) and blob(key, 32) and number(ttl, 2**32 - 1), "malformed")
    need(number(flags, 2**32 - 1) and number(newest, 2**32 - 1, 1) and extensions(opt), "malformed")
    need(nonce == unhex(asked["nonce"]) and sealed_for == [1, client["realm"], asked["service"]], "reply-mismatch")
    need((cname, cuid) == (client["name"], client["uid"]), "reply-mismatch")
    need(credential[2] == 1, "malformed")
    return {
        "kdc_time": time, "kdc_id": kdc_id, "ticket": credential.hex(), "ttl_s": ttl, "session_key": key.hex(),
        "flags": flags, "newest_kvno": newest,
    }  # fmt: skip


def split(principal: str) -> list[str]:
    who, _, realm = principal.partition("@")
    return [realm, who]


def tgs_req(given: Inputs) -> bytes:
    wants = [
        [want["kind"], *split(want["target"]), want["scopes"], want["ttl_s"], want["flags"],
         [[1, caveat_field(want["limits"])]] if want.get("limits") else []]
        for want in given["wants"]
    ]  # fmt: skip
    shown = list(map(unhex, given["caveats"]))
    body = enc(
        1, 2, unhex(given["tgt"]), enc(*shown) if shown else b"", [], given["ts"], unhex(given["nonce"]), wants,
        second_authority.behalf_items(given.get("behalf")), [], [],
    )  # fmt: skip
    return enc(body, mac(tail_key(given, "tgt"), "tgs-req", body))


def verify_tgs(given: Inputs) -> Inputs:
    body, received = array(unhex(given["message"]), FULL, 2)
    need(blob(body, 4, FULL) and blob(received, 32), "malformed")
    version, kind, tgt, shown, dis, ts, nonce, wants, behalf, crit, opt = array(body, FULL, 11)
    need((version, kind) == (1, 2) and blob(tgt, 16, 8192) and blob(shown, 0, 8243), "malformed")
    need(type(dis) is list and len(dis) <= 4 and number(ts) and blob(nonce, 16), "malformed")
    need(type(wants) is list and 1 <= len(wants) <= 32 and extensions(crit) and extensions(opt), "malformed")
    limits: list[list[bytes]] = []
    for want in wants:
        need(type(want) is list and len(want) == 7, "malformed")
        need(number(want[0], 1) and name(want[1]) and name(want[2]) and extensions(want[6]), "malformed")
        need((want[3] is None or scopes(want[3])) and all(number(one, 2**32 - 1) for one in want[4:6]), "malformed")
        limits.append(caveat_list(dict(want[6]).get(1, b"")))
    evidence = second_authority.behalf_read(behalf)
    kdc = given["kdc"]
    sealer = sealer_of(kdc["tgt_key"])
    need(tgt[7:15] == sealer.header[7:15], "unknown-key")
    content = open_ticket({"ticket": tgt.hex(), "key": kdc["tgt_key"], "mac_keys": kdc["mac_keys"]})
    walked = tuple(caveat_list(shown))
    tgt_key = key = naive.pop_key(unhex(content["session_key"]), tgt, walked)
    shown_for: Inputs | None = None
    if evidence is not None:
        shown_for, key = _with_evidence(evidence, behalf[1], kdc, content, tgt_key)
    elif behalf is not None:
        shown_for = {"subject": second_authority.subject_shown(behalf[2])}
    need(received == mac(key, "tgs-req", body), "wrong-mac")
    need(not crit, "unsupported-critical")
    need(not dis, "discharge-mismatch")
    rows = [
        {"target": f"{want[2]}@{want[1]}", "kind": want[0], "scopes": want[3], "ttl_s": want[4], "flags": want[5],
         "limits": [one.hex() for one in limit]}
        for want, limit in zip(wants, limits, strict=True)
    ]  # fmt: skip
    return {"client": content["client"], "pop_key": tgt_key.hex(), "wants": rows, "behalf": shown_for}


def _with_evidence(evidence: bytes, caveats: bytes, kdc: Inputs, tgt: Inputs, tgt_key: bytes) -> tuple[Inputs, bytes]:
    need(evidence[0] == 1 and evidence[1] == 1, "malformed")
    need(evidence[2] == 2, "wrong-ticket-type")
    opened = open_ticket({"ticket": evidence.hex(), "key": kdc["evidence_key"], "mac_keys": kdc["mac_keys"]})
    held = [one.hex() for one in caveat_list(caveats)]
    need((opened["server"], opened["server_uid"]) == (tgt["client"], tgt["client_uid"]), "unknown-key")
    proof = kd(unhex(opened["session_key"]), "evid", sha256(evidence))
    key = kd(tgt_key, "evmix", proof)
    shown = {"evidence": opened, "proof": proof.hex(), "caveats": held, "reply_key": kd(key, "tgs-rep").hex()}
    return shown, key


def tgs_rep(given: Inputs) -> Inputs:
    asked = given["request"]
    key, context = tail_key(asked, "tgt"), sha256(tgs_req(asked))
    if "error" in given:
        return error_box(kd(key, "tgs-err"), "tgs-err", context, given)
    rows = [
        [1, *split(one["target"]), TRAVELLING[one["code"]], one["retry_s"], unhex(one["ref"]), []]
        if "code" in one
        else [
            0, *split(one["target"]), one["uid"], unhex(one["credential"]),
            None if one["session_key"] is None else unhex(one["session_key"]), one["ttl_s"], one["flags"], one["kvno"],
            one["scopes"], second_authority.subject_items(one.get("subject")), one["notes"],
            [[1, enc(*map(unhex, one["demands"]))]] if one.get("demands") else [],
        ]
        for one in given["results"]
    ]  # fmt: skip
    plain = enc(unhex(asked["nonce"]), given["kdc_time"], given["kdc_id"], given["policy_seq"], rows, [])
    box = naive.seal(kd(key, "tgs-rep"), "tgs-rep", context, plain, unhex(given["entropy"]))
    return {"reply": enc(1, 0, box).hex()}


def open_tgs_rep(given: Inputs) -> Inputs:
    asked = given["request"]
    plain = reply_in(unhex(given["reply"]), tail_key(asked, "tgt"), "tgs", sha256(tgs_req(asked)))
    nonce, time, kdc_id, seq, rows, opt = array(plain, FULL, 6)
    need(blob(nonce, 16) and number(time) and name(kdc_id) and number(seq) and extensions(opt), "malformed")
    need(type(rows) is list and 1 <= len(rows) <= 32, "malformed")
    for row in rows:
        need(type(row) is list and len(row) == (7 if row[0] else 13), "malformed")
        need(row[0] == 1 or (scopes(row[9]) and blob(row[4], 16, 8192)), "malformed")
    need(nonce == unhex(asked["nonce"]) and len(rows) == len(asked["wants"]), "reply-mismatch")
    shown: list[Inputs] = []
    for row, want in zip(rows, asked["wants"], strict=True):
        need(row[1:3] == split(want["target"]), "reply-mismatch")
        if row[0]:
            shown.append({"target": want["target"], "code": WORDS[row[3]], "retry_s": row[4], "ref": row[5].hex()})
            continue
        need((row[5] is None) == (want["kind"] == 1), "reply-mismatch")
        demands = second_authority.demands_in(dict(row[12]).get(1, b""))
        need(second_authority.named_as_asked(row[10], asked.get("behalf")), "reply-mismatch")
        shown.append({
            "target": want["target"], "uid": row[3], "credential": row[4].hex(), "ttl_s": row[6], "flags": row[7],
            "session_key": None if row[5] is None else row[5].hex(), "kvno": row[8], "scopes": row[9], "notes": row[11],
            "subject": second_authority.subject_shown(row[10]), "demands": demands,
        })  # fmt: skip
    return {"kdc_time": time, "kdc_id": kdc_id, "policy_seq": seq, "results": shown}


def ap_req(given: Inputs) -> bytes:
    shown = list(map(unhex, given["caveats"]))
    return naive.ap_request(
        tail_key(given, "ticket"), unhex(given["ticket"]), ts=given["ts"], use=given["use"],
        caveats=enc(*shown) if shown else b"",
        dis=[unhex(one["caveats"]) for one in given.get("discharges", [])],
        nonce=unhex(given["nonce"]), flags=given["flags"], user=given["user"],
        epoch=None if given["epoch"] is None else unhex(given["epoch"]),
        bind=None if given["bind"] is None else unhex(given["bind"]),
    )  # fmt: skip


def accept(given: Inputs) -> Inputs:
    target = given["target"]
    sealer = Sealer(role(target, "ticket"), 2, target["realm"], target["name"], target["uid"], target["kvno"])
    oracle = Oracle({sealer.header[7:15]: sealer})
    situation = {
        "now": given["now"], "use": given["use"], "bind": unhex(given["bind"]), "epoch": unhex(given["epoch"]),
        "accept_user": given["accept_user"], "max_life_s": given["max_life_s"],
        "access": facts_of(given["access"]) if "access" in given else None, "chain": given.get("chain"),
    }  # fmt: skip
    for earlier in given["earlier"]:
        oracle.verdict(unhex(earlier), **situation)
    message = unhex(given["message"])
    word, *left = oracle.verdict(message, **situation).split()
    need(word == "accepted", word)
    body = naive.dec(naive.dec(message)[0])
    content = sealer.open(body[3])
    opened_ticket = Oracle._content(sealer, body[3])
    _conditions, key, _demanded = Oracle._walked(opened_ticket, body[3], caveat_list(body[4]), body[5])
    answer = enc(1, body[7], given["now"], unhex(given["epoch"]), 0, [])
    sealed = enc(answer, mac(key, f"ap-rep.{given['use']}", sha256(message) + answer))
    return {"client": f"{content[3]}@{content[2]}", "scopes": left, "reply": sealed.hex()}


def open_ap_rep(given: Inputs) -> Inputs:
    asked = given["request"]
    key, context = tail_key(asked, "ticket"), sha256(ap_req(asked))
    body, received = array(unhex(given["reply"]), 24 * 1024, 2)
    if received == mac(key, f"ap-err.{asked['use']}", context + body):
        raise Verdict(WORDS[array(body, 4096, 6)[1]])
    need(received == mac(key, f"ap-rep.{asked['use']}", context + body), "wrong-mac")
    version, nonce, time, epoch, flags, opt = array(body, 4096, 6)
    need(version == 1 and blob(nonce, 16) and number(time) and blob(epoch, 8) and extensions(opt), "malformed")
    need(nonce == unhex(asked["nonce"]), "reply-mismatch")
    need(not flags & 0xFFFF, "unsupported-critical")
    return {"target_time": time, "epoch": epoch.hex()}


def replay(given: Inputs) -> Inputs:
    kept: set[tuple[str, str, int]] = set()
    floor, answers = 0, []
    for tag, ts, now, client in given["steps"]:
        floor = max(floor, (now - 60_000) // 1000)
        kept = {one for one in kept if one[2] >= floor}
        entry = (client, tag, ts // 1000)
        if ts // 1000 < floor:
            answers.append("stale")
        elif entry in kept:
            answers.append("seen")
        elif len(kept) >= given["capacity"] or sum(one[0] == client for one in kept) >= given["per_client"]:
            answers.append("full")
        else:
            kept.add(entry)
            answers.append("fresh")
    return {"answers": answers}


def decode(given: Inputs) -> Inputs:
    return {"items": json_of(array(unhex(given["bytes"]), given["limit"]))}


def named(given: Inputs) -> Inputs:
    need(name(given["text"]), "name-invalid")
    return {"name": given["text"]}


def scoped(given: Inputs) -> Inputs:
    need(SCOPE.fullmatch(given["text"]), "scope-invalid")
    return {"scopes": [given["text"]]}


def window(given: Inputs) -> Inputs:
    need(given["now"] - 60_000 <= given["ts"] <= given["now"] + 5_000, "clock-skew")
    return {}


def open_box(given: Inputs) -> Inputs:
    box = unhex(given["box"])
    need(72 <= len(box) <= given["limit"], "box-unopened")
    return {"plaintext": opened(unhex(given["key"]), given["label"], unhex(given["context"]), box).hex()}


def bind(given: Inputs) -> Inputs:
    channel = None if given["channel_binding"] is None else unhex(given["channel_binding"])
    return {"bind": sha256(enc("raw/1", given["endpoint"], channel, sha256(unhex(given["payload"])))).hex()}


def with_prf(function: Callable[[bytes, str, bytes], bytes]) -> Callable[[Inputs], Inputs]:
    return lambda i: {"output": function(unhex(i["key"]), i["label"], unhex(i["message"])).hex()}


OPERATIONS: dict[str, Callable[[Inputs], Inputs]] = {
    "hmac-sha512": lambda i: {"output": hmac.new(unhex(i["key"]), unhex(i["message"]), "sha512").hexdigest()},
    "hkdf-expand-sha512": lambda i: {
        "output": hmac.new(unhex(i["prk"]), unhex(i["info"]) + b"\1", "sha512").digest()[: i["size"]].hex()
    },
    "aes-256-gcm": lambda i: {
        "sealed": AESGCM(unhex(i["key"])).encrypt(unhex(i["nonce"]), unhex(i["plaintext"]), b"").hex()
    },
    "digest": lambda i: {"output": sha256(unhex(i["data"])).hex()},
    "prf": with_prf(naive.prf),
    "mac": with_prf(mac),
    "derive": lambda i: {"output": kd(unhex(i["key"]), i["label"], unhex(i["context"]), i["size"]).hex()},
    "seal": lambda i: {
        "box": naive.seal(
            unhex(i["key"]), i["label"], unhex(i["context"]), unhex(i["plaintext"]), unhex(i["entropy"])
        ).hex()
    },
    "open": open_box, "encode": lambda i: {"bytes": enc(*items_of(i["items"])).hex()}, "decode": decode,
    "name": named, "scope": scoped, "role-keys": role_keys, "key-file": lambda i: key_file(unhex(i["file"])),
    "key-text": key_text, "ticket": ticket, "open-ticket": open_ticket, "kdc-mark": open_ticket, "chain": chain,
    "caveat": caveat, "bind-raw": bind, "as-req": lambda i: {"message": as_req(i).hex()}, "verify-as-req": verify_as,
    "as-rep": as_rep, "open-as-rep": open_as_rep, "tgs-req": lambda i: {"message": tgs_req(i).hex()},
    "verify-tgs-req": verify_tgs, "tgs-rep": tgs_rep, "open-tgs-rep": open_tgs_rep,
    "ap-req": lambda i: {"message": ap_req(i).hex()}, "accept": accept, "open-ap-rep": open_ap_rep, "replay": replay,
    "window": window, "judge-caveat": judge_caveat, "bind-http": second_http.bind,
    "authority": lambda i: {"authority": second_http.authority(i["text"], i["scheme"])},
    "authorization": second_http.authorization, "challenge": second_http.challenge,
    "content-digest": lambda i: {"sha256": second_http.content_digest(i["value"]).hex(), "written": i["value"]},
    "http-reply": lambda i: second_http.reply(tail_key(i["request"], "ticket"), ap_req(i["request"]), i),
    **second_authority.OPERATIONS,
    "open-http-reply": lambda i: second_http.open_reply(tail_key(i["request"], "ticket"), ap_req(i["request"]), i),
}  # fmt: skip


def outcome(op: str, given: Inputs) -> Inputs:
    """{"out": ...} or {"code": ...}."""
    try:
        return {"out": OPERATIONS[op](given)}
    except Verdict as word:
        return {"code": str(word)}
