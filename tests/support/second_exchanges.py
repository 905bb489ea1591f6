"""The exchanges with the KDC once more, from docs/protocol/ alone; shares no code with the library.

Refusals are `Verdict`s with the code as their word, as in the oracle.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.support import naive, second_authority
from tests.support.naive import enc, kd, mac, sha256
from tests.support.oracle import Verdict, array, blob, caveat_list, extensions, name, need, number, scopes
from tests.support.second_keys import kid, role, sealer_of
from tests.support.second_tickets import caveat_field, open_ticket, opened, split, tail_key

Inputs = dict[str, Any]
unhex = bytes.fromhex
FULL = 64 * 1024
_PAGE = Path(__file__).parents[2] / "docs" / "protocol" / "errors.md"
WORDS = {
    int(row[1]): row[2] for row in re.finditer(r"(?m)^\| ([0-9]+) \| `([a-z-]+)` \|", _PAGE.read_text(encoding="utf-8"))
}
TRAVELLING = {word: code for code, word in WORDS.items()}


def word_of(code: int) -> str:
    """The code of a refusal by its number, as the reference of the vectors writes it."""
    return WORDS.get(code, f"code-{code}")


def detail(value: Any) -> bool:
    """Words for people, or nil."""
    return value is None or (type(value) is str and 1 <= len(value) <= 200 and all(" " <= one <= "~" for one in value))


def as_req(given: Inputs) -> bytes:
    client = given["client"]
    key = role(client, "as")
    body = enc(
        1, 1, client["realm"], kid(key), unhex(given["nonce"]), given["ts"], given["service"], given["ttl_s"], 0,
        unhex(given["instance"]), [], [],
    )  # fmt: skip
    try:
        as_items(body)
    except Verdict:
        raise Verdict("value-invalid") from None
    return enc(body, mac(key, "as-req", body))


def as_items(body: bytes) -> list[Any]:
    version, kind, realm, named, nonce, ts, service, ttl, flags, instance, crit, opt = items = array(body, 4096, 12)
    need((version, kind) == (1, 1) and name(realm) and blob(named, 8) and blob(nonce, 16) and number(ts), "malformed")
    need(name(service) and number(ttl, 2**32 - 1) and number(flags, 2**32 - 1) and blob(instance, 16), "malformed")
    need(extensions(crit) and extensions(opt), "malformed")
    return items


def verify_as(given: Inputs) -> Inputs:
    key = role(given["client"], "as")
    body, received = array(unhex(given["message"]), FULL, 2)
    need(blob(body, 4, FULL) and blob(received, 32), "malformed")
    _version, _kind, realm, named, nonce, ts, service, ttl, flags, _instance, crit, _opt = as_items(body)
    need(named == kid(key) and realm == given["client"]["realm"], "unknown-key")
    need(received == mac(key, "as-req", body), "wrong-mac")
    need(not crit and not flags & 0xFFFF, "unsupported-critical")
    return {"service": service, "ts": ts, "ttl_s": ttl, "nonce": nonce.hex()}


def error_box(key: bytes, label: str, context: bytes, given: Inputs) -> Inputs:
    need(given["error"] in TRAVELLING and detail(given["detail"] or None), "value-invalid")
    plain = enc(TRAVELLING[given["error"]], given["kdc_time"], given["retry_s"], given["detail"] or None, [])
    return {"reply": enc(1, 1, naive.seal(key, label, context, plain, unhex(given["entropy"]))).hex()}


def as_rep(given: Inputs) -> Inputs:
    request, key = as_req(given["request"]), role(given["request"]["client"], "as")
    if "error" in given:
        return error_box(kd(key, "as-err"), "as-err", sha256(request), given)
    client, asked = given["request"]["client"], given["request"]
    need(name(given["kdc_id"]), "value-invalid")
    plain = enc(
        unhex(asked["nonce"]), given["kdc_time"], given["kdc_id"],
        [unhex(given["ticket"])[2], client["realm"], asked["service"]],
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
        code, time, retry, words, opt = array(plain, 4096, 5)
        need(number(code, 0xFFFF) and number(time) and number(retry, 2**32 - 1) and extensions(opt), "malformed")
        need(detail(words), "malformed")
        raise Verdict(word_of(code))
    return plain


def open_as_err(given: Inputs) -> Inputs:
    key = role(given["request"]["client"], "as")
    _version, _kind, box = array(unhex(given["reply"]), FULL, 3)
    plain = opened(kd(key, "as-err"), "as-err", sha256(as_req(given["request"])), box, "reply-mismatch")
    code, time, retry, words, _opt = array(plain, 4096, 5)
    return {"error": word_of(code), "kdc_time": time, "retry_s": retry, "detail": words or ""}


def open_as_rep(given: Inputs) -> Inputs:
    asked, client = given["request"], given["request"]["client"]
    plain = reply_in(unhex(given["reply"]), role(client, "as"), "as", sha256(as_req(asked)))
    nonce, time, kdc_id, sealed_for, cname, cuid, credential, key, ttl, flags, newest, opt = array(plain, FULL, 12)
    need(blob(nonce, 16) and number(time) and name(kdc_id) and name(cname) and number(cuid), "malformed")
    need(blob(credential, 16, 8192) and blob(key, 32) and number(ttl, 2**32 - 1), "malformed")
    need(number(flags, 2**32 - 1) and number(newest, 2**32 - 1, 1) and extensions(opt), "malformed")
    need(type(sealed_for) is list and len(sealed_for) == 3 and number(sealed_for[0], 2, 1), "malformed")
    need(all(map(name, sealed_for[1:])), "malformed")
    expected = 1 if asked["service"] == "kdc/tgt" else 2
    need(nonce == unhex(asked["nonce"]), "reply-mismatch")
    need(sealed_for == [expected, client["realm"], asked["service"]], "reply-mismatch")
    need((cname, cuid) == (client["name"], client["uid"]), "reply-mismatch")
    need(not flags & 0xFFFC, "unsupported-critical")
    need(credential[:2] == b"\1\1", "malformed")
    need(credential[2] in (1, 2, 3), "wrong-ticket-type")
    need(credential[2] == expected, "malformed")
    return {
        "kdc_time": time, "kdc_id": kdc_id, "ticket": credential.hex(), "ttl_s": ttl, "session_key": key.hex(),
        "flags": flags, "newest_kvno": newest,
    }  # fmt: skip


def tgs_req(given: Inputs) -> bytes:
    wants = [
        [want["kind"], *split(want["target"]), want["scopes"], want["ttl_s"], want["flags"],
         [[1, caveat_field(want["limits"])]] if want.get("limits") else []]
        for want in given["wants"]
    ]  # fmt: skip
    shown = list(map(unhex, given["caveats"]))
    field = enc(*wants)
    body = enc(
        1, 2, unhex(given["tgt"]), enc(*shown) if shown else b"", [], given["ts"], unhex(given["nonce"]), field,
        second_authority.behalf_items(given.get("behalf")), [], [],
    )  # fmt: skip
    message = enc(body, mac(tail_key(given, "tgt"), "tgs-req", body))
    need(1 <= len(wants) <= 32 and len(body) - len(field) <= 16 * 1024 and len(message) <= FULL, "value-invalid")
    return message


def read_wants(given: Inputs) -> Inputs:
    try:
        wants = array(unhex(given["wants"]), FULL)
    except Verdict:
        return {"detail": "wants"}
    if not 1 <= len(wants) <= 32:
        return {"detail": "wants"}
    wrong = ((at, wrong_part(want)) for at, want in enumerate(wants))
    return {"detail": next((f"want {at}{part}" for at, part in wrong if part is not None), "")}


def wrong_part(want: Any) -> str | None:
    if type(want) is not list or len(want) != 7:
        return ""
    kind, realm, target, asked, ttl, flags, ext = want
    right = {
        "kind": number(kind, 1), "realm": name(realm), "target": name(target), "scopes": asked is None or scopes(asked),
        "ttl_s": number(ttl, 2**32 - 1), "flags": number(flags, 2**32 - 1), "ext": extensions(ext),
    }  # fmt: skip
    for field, fits in right.items():
        if not fits:
            return f": {field}"
    try:
        caveat_list(dict(ext).get(1, b""))
    except Verdict:
        return ": limits"
    return None


def verify_tgs(given: Inputs) -> Inputs:
    body, received = array(unhex(given["message"]), FULL, 2)
    need(blob(body, 4, FULL) and blob(received, 32), "malformed")
    version, kind, tgt, shown, dis, ts, nonce, wants, behalf, crit, opt = array(body, FULL, 11)
    need((version, kind) == (1, 2) and blob(tgt, 16, 8192) and blob(shown, 0, 8243), "malformed")
    need(type(dis) is list and len(dis) <= 4 and all(blob(one, 0, 8243) for one in dis), "malformed")
    need(number(ts) and blob(nonce, 16), "malformed")
    need(blob(wants, 1, FULL) and extensions(crit) and extensions(opt), "malformed")
    need(len(body) - len(wants) <= 16 * 1024, "malformed")
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
    need(not read_wants({"wants": wants.hex()})["detail"], "want-invalid")
    rows = [
        {"target": f"{want[2]}@{want[1]}", "kind": want[0], "scopes": want[3], "ttl_s": want[4], "flags": want[5],
         "limits": [one.hex() for one in caveat_list(dict(want[6]).get(1, b""))]}
        for want in array(wants, FULL)
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


def note(value: Any) -> bool:
    if type(value) is not list or len(value) != 3 or not all(number(one, 255, 1) for one in value[:2]):
        return False
    return value[2] is None or number(value[2], 31)


def result_shaped(row: Any) -> bool:
    if type(row) is not list or len(row) not in (7, 13) or not number(row[0], 1) or not all(map(name, row[1:3])):
        return False
    if row[0] == 1:
        return (
            len(row) == 7 and number(row[3], 0xFFFF) and number(row[4], 2**32 - 1) and blob(row[5], 8)
            and extensions(row[6])
        )  # fmt: skip
    return (
        len(row) == 13 and number(row[3]) and blob(row[4], 16, 8192) and (row[5] is None or blob(row[5], 32))
        and all(number(one, 2**32 - 1) for one in row[6:9]) and scopes(row[9])
        and (row[10] is None or second_authority.subject_shaped(row[10]))
        and type(row[11]) is list and len(row[11]) <= 64 and all(map(note, row[11])) and extensions(row[12], 4096)
    )  # fmt: skip


def open_tgs_rep(given: Inputs) -> Inputs:
    asked = given["request"]
    plain = reply_in(unhex(given["reply"]), tail_key(asked, "tgt"), "tgs", sha256(tgs_req(asked)))
    nonce, time, kdc_id, seq, rows, opt = array(plain, FULL, 6)
    need(blob(nonce, 16) and number(time) and name(kdc_id) and number(seq) and extensions(opt), "malformed")
    need(type(rows) is list and 1 <= len(rows) <= 32, "malformed")
    need(all(map(result_shaped, rows)), "malformed")
    need(nonce == unhex(asked["nonce"]) and len(rows) == len(asked["wants"]), "reply-mismatch")
    shown: list[Inputs] = []
    for row, want in zip(rows, asked["wants"], strict=True):
        need(row[1:3] == split(want["target"]), "reply-mismatch")
        if row[0]:
            shown.append({"target": want["target"], "code": word_of(row[3]), "retry_s": row[4], "ref": row[5].hex()})
            continue
        need((row[5] is None) == (want["kind"] == 1), "reply-mismatch")
        need(not row[7] & 0xFFFC, "unsupported-critical")
        demands = second_authority.demands_in(dict(row[12]).get(1))
        need(second_authority.named_as_asked(row[10], asked.get("behalf")), "reply-mismatch")
        shown.append({
            "target": want["target"], "uid": row[3], "credential": row[4].hex(), "ttl_s": row[6], "flags": row[7],
            "session_key": None if row[5] is None else row[5].hex(), "kvno": row[8], "scopes": row[9], "notes": row[11],
            "subject": second_authority.subject_shown(row[10]), "demands": demands,
        })  # fmt: skip
    return {"kdc_time": time, "kdc_id": kdc_id, "policy_seq": seq, "results": shown}
