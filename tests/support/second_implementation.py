"""The operations of the vectors, implemented from docs/protocol/ alone; nothing here imports the library.

Refusals are `Verdict`s with the code as their word, as in the oracle.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support import naive, second_authority, second_caveats, second_http, second_tokens
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
from tests.support.second_exchanges import (
    TRAVELLING,
    as_rep,
    as_req,
    detail,
    open_as_err,
    open_as_rep,
    open_tgs_rep,
    read_wants,
    tgs_rep,
    tgs_req,
    verify_as,
    verify_tgs,
    word_of,
)
from tests.support.second_keys import key_file, key_text, role, role_keys
from tests.support.second_tickets import caveat, chain, flags, open_ticket, opened, tail_key, ticket, ticket_header

Inputs = dict[str, Any]
unhex = bytes.fromhex
LABELS = set("abcdefghijklmnopqrstuvwxyz0123456789.-")


def items_of(value: Any) -> Any:
    if isinstance(value, dict):
        return unhex(value["bin"])
    return [items_of(one) for one in value] if isinstance(value, list) else value


def json_of(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    return [json_of(one) for one in value] if isinstance(value, list) else value


def facts_of(access: Inputs) -> Inputs:
    known = {one: access[one] for one in ("method", "path", "peer")}
    known["app"] = {one: unhex(payload) for one, payload in access.get("app", {}).items()}
    return known | {"channel": None if access["channel"] is None else unhex(access["channel"])}


def judge_caveat(given: Inputs) -> Inputs:
    condition, access = Oracle._condition(unhex(given["caveat"])), given["access"]
    facts = second_caveats.Facts(access["now"] // 1000, **facts_of(access))
    need(condition and second_caveats.holds(condition, facts), "caveat-refused")
    return {"holds": 1}


def ap_req(given: Inputs) -> bytes:
    need(given["bind"] is not None or given["use"] == 2, "value-invalid")
    shown = list(map(unhex, given["caveats"]))
    need(len(shown) <= 16 and all(1 <= len(one) <= 512 for one in shown), "value-invalid")
    need(given["user"] is None or name(given["user"][0]), "value-invalid")
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
        "now": given["now"], "use": given["use"], "bind": None if given["bind"] is None else unhex(given["bind"]),
        "epoch": unhex(given["epoch"]),
        "accept_user": given["accept_user"], "max_life_s": given["max_life_s"],
        "access": facts_of(given["access"]) if "access" in given else None, "chain": given.get("chain"),
        "born": given.get("born", 0), "repetition": given.get("repetition", "unsafe"),
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


def refusal(given: Inputs) -> Inputs:
    """By the page: the hint of 4 bytes counts down to zero."""
    try:
        accept(given)
    except Verdict as word:
        waits = str(word) in ("epoch-required", "not-repeatable")
        left = max(given.get("born", 0) + 5_000 - given["now"], 0)
        return {"error": str(word), "ready_in_ms": left if waits else None}
    raise TypeError("it was accepted")


def open_ap_rep(given: Inputs) -> Inputs:
    asked = given["request"]
    key, context = tail_key(asked, "ticket"), sha256(ap_req(asked))
    body, received = array(unhex(given["reply"]), 24 * 1024, 2)
    need(blob(body, 4, 24 * 1024) and blob(received, 32), "malformed")
    if received == mac(key, f"ap-err.{asked['use']}", context + body):
        version, code, time, epoch, words, opt = array(body, 4096, 6)
        need(version == 1 and number(code, 0xFFFF) and number(time) and blob(epoch, 8) and detail(words), "malformed")
        need(extensions(opt), "malformed")
        raise Verdict(word_of(code))
    need(received == mac(key, f"ap-rep.{asked['use']}", context + body), "wrong-mac")
    version, nonce, time, epoch, flags, opt = array(body, 4096, 6)
    need(version == 1 and blob(nonce, 16) and number(time) and blob(epoch, 8) and extensions(opt), "malformed")
    need(number(flags, 2**32 - 1), "malformed")
    need(nonce == unhex(asked["nonce"]), "reply-mismatch")
    need(not flags & 0xFFFF, "unsupported-critical")
    return {"target_time": time, "epoch": epoch.hex()}


def ap_err(given: Inputs) -> Inputs:
    asked = given["request"]
    need(detail(given["detail"][:200] or None), "value-invalid")
    hints = [] if given["ready_in_ms"] is None else [[1, given["ready_in_ms"].to_bytes(4, "big")]]
    hints += [[2, b""]] if given["before_handler"] else []
    code = TRAVELLING.get(given["error"], TRAVELLING["kdc-fault"])
    body = enc(1, code, given["now"], unhex(given["epoch"]), given["detail"][:200] or None, hints)
    proof = mac(tail_key(asked, "ticket"), f"ap-err.{asked['use']}", sha256(ap_req(asked)) + body)
    return {"reply": enc(body, proof).hex()}


def open_ap_err(given: Inputs) -> Inputs:
    body, _proof = array(unhex(given["reply"]), 24 * 1024, 2)
    _version, code, time, epoch, words, opt = array(body, 4096, 6)
    hints = dict(opt)
    ready = int.from_bytes(hints[1], "big") if len(hints.get(1, b"")) == 4 else None
    try:
        open_ap_rep(given)
    except Verdict as word:
        need(str(word) == word_of(code), str(word))
    return {
        "error": word_of(code), "target_time": time, "epoch": epoch.hex(), "detail": words or "",
        "ready_in_ms": ready, "before_handler": hints.get(2) == b"",
    }  # fmt: skip


ADMISSIONS = {
    "fresh": None,
    "seen": "replayed",
    "stale": "replayed",
    "ahead": "too-far-ahead",
    "quota": "quota",
    "full": "busy",
}


def replay(given: Inputs) -> Inputs:
    kept: dict[tuple[str, str, int], str] = {}
    floor, answers = 0, []
    for tag, ts, now, client, tid in given["steps"]:
        floor = max(floor, (now - 60_000) // 1000)
        kept = {one: of for one, of in kept.items() if one[2] >= floor}
        entry = (client, tag, ts // 1000)
        of_client = sum(one[0] == client for one in kept)
        of_ticket = sum(of == tid for of in kept.values())
        if ts // 1000 < floor:
            answers.append("stale")
        elif entry in kept:
            answers.append("seen")
        elif ts > now + 365_000:
            answers.append("ahead")
        elif of_client >= given["per_client"] or of_ticket >= given["per_ticket"]:
            answers.append("quota")
        elif len(kept) >= given["capacity"]:
            answers.append("full")
        else:
            kept[entry] = tid
            answers.append("fresh")
    return {"answers": answers, "codes": [ADMISSIONS[one] for one in answers]}


def decode(given: Inputs) -> Inputs:
    return {"items": json_of(array(unhex(given["bytes"]), given["limit"]))}


def named(given: Inputs) -> Inputs:
    need(name(given["text"]), "name-invalid")
    return {"name": given["text"]}


def scoped(given: Inputs) -> Inputs:
    need(SCOPE.fullmatch(given["text"]), "scope-invalid")
    return {"scopes": [given["text"]]}


def scope_set(given: Inputs) -> Inputs:
    found = sorted(set(given["texts"]), key=enc)
    need(scopes(found), "scope-invalid")
    return {"scopes": found}


def window(given: Inputs) -> Inputs:
    need(given["now"] - 60_000 <= given["ts"] <= given["now"] + 5_000, "clock-skew")
    return {}


def open_box(given: Inputs) -> Inputs:
    box = unhex(given["box"])
    need(72 <= len(box) <= given["limit"], "box-unopened")
    return {"plaintext": opened(unhex(given["key"]), given["label"], unhex(given["context"]), box).hex()}


def bind(given: Inputs) -> Inputs:
    channel = None if given["channel_binding"] is None else unhex(given["channel_binding"])
    endpoint = given["endpoint"]
    need(1 <= len(endpoint) <= 255 and all(" " <= one <= "~" for one in endpoint), "value-invalid")
    need(channel is None or len(channel) <= 4096, "value-invalid")
    return {"bind": sha256(enc("raw/1", given["endpoint"], channel, sha256(unhex(given["payload"])))).hex()}


def fit_for_the_prf(given: Inputs, prefix: str) -> None:
    need(len(given["key"]) == 64, "key-misuse")
    need(1 <= len(prefix + given["label"]) <= 40 and set(given["label"]) <= LABELS, "value-invalid")


def prf(given: Inputs) -> Inputs:
    fit_for_the_prf(given, "")
    return {"output": naive.prf(unhex(given["key"]), given["label"], unhex(given["message"])).hex()}


def message_code(given: Inputs) -> Inputs:
    fit_for_the_prf(given, "m.")
    return {"output": mac(unhex(given["key"]), given["label"], unhex(given["message"])).hex()}


def derived(given: Inputs) -> Inputs:
    fit_for_the_prf(given, "k.")
    need(1 <= given["size"] <= 64, "value-invalid")
    return {"output": kd(unhex(given["key"]), given["label"], unhex(given["context"]), given["size"]).hex()}


def sealed(given: Inputs) -> Inputs:
    fit_for_the_prf(given, "b.")
    need(len(given["entropy"]) == 48, "value-invalid")
    parts = (unhex(given[one]) for one in ("context", "plaintext", "entropy"))
    return {"box": naive.seal(unhex(given["key"]), given["label"], *parts).hex()}


def encoded(given: Inputs) -> Inputs:
    try:
        made = enc(*items_of(given["items"]))
        naive.strict(made)
    except ValueError:
        raise Verdict("value-invalid") from None
    return {"bytes": made.hex()}


OPERATIONS: dict[str, Callable[[Inputs], Inputs]] = {
    "hmac-sha512": lambda i: {"output": hmac.new(unhex(i["key"]), unhex(i["message"]), "sha512").hexdigest()},
    "hkdf-expand-sha512": lambda i: {
        "output": hmac.new(unhex(i["prk"]), unhex(i["info"]) + b"\1", "sha512").digest()[: i["size"]].hex()
    },
    "aes-256-gcm": lambda i: {
        "sealed": AESGCM(unhex(i["key"])).encrypt(unhex(i["nonce"]), unhex(i["plaintext"]), b"").hex()
    },
    "digest": lambda i: {"output": sha256(unhex(i["data"])).hex()},
    "prf": prf, "mac": message_code, "derive": derived, "seal": sealed, "open": open_box, "encode": encoded,
    "decode": decode,
    "name": named, "scope": scoped, "scope-set": scope_set, "role-keys": role_keys,
    "key-file": lambda i: key_file(unhex(i["file"])),
    "key-text": key_text, "ticket": ticket, "open-ticket": open_ticket, "kdc-mark": open_ticket, "chain": chain,
    "ticket-header": ticket_header, "flags": flags,
    "caveat": caveat, "bind-raw": bind, "as-req": lambda i: {"message": as_req(i).hex()}, "verify-as-req": verify_as,
    "as-rep": as_rep, "open-as-rep": open_as_rep, "tgs-req": lambda i: {"message": tgs_req(i).hex()},
    "verify-tgs-req": verify_tgs, "read-wants": read_wants, "tgs-rep": tgs_rep, "open-tgs-rep": open_tgs_rep,
    "ap-req": lambda i: {"message": ap_req(i).hex()}, "accept": accept, "refusal": refusal, "open-ap-rep": open_ap_rep,
    "replay": replay,
    "window": window, "ap-err": ap_err, "open-ap-err": open_ap_err, "open-as-err": open_as_err,
    "judge-caveat": judge_caveat, "bind-http": second_http.bind,
    "authority": lambda i: {"authority": second_http.authority(i["text"], i["scheme"])},
    "authorization": second_http.authorization, "challenge": second_http.challenge,
    "content-digest": lambda i: {"sha256": second_http.content_digest(i["value"]).hex(), "written": i["value"]},
    "request-fields": second_http.request_fields, "write-authorization": second_http.write_authorization,
    "write-content-digest": second_http.write_content_digest, "write-challenge": second_http.write_challenge,
    "content-length": lambda i: {"length": second_http.content_length(i["value"])},
    "http-reply": lambda i: second_http.reply(tail_key(i["request"], "ticket"), ap_req(i["request"]), i),
    **second_authority.OPERATIONS,
    **second_tokens.OPERATIONS,
    "open-http-reply": lambda i: second_http.open_reply(tail_key(i["request"], "ticket"), ap_req(i["request"]), i),
}  # fmt: skip


def as_integers(value: Any) -> Any:
    """{"int": digits} is how the vectors write an integer that a double cannot hold."""
    if isinstance(value, dict):
        return int(value["int"]) if list(value) == ["int"] else {one: as_integers(value[one]) for one in value}
    return [as_integers(one) for one in value] if isinstance(value, list) else value


def as_digits(value: Any) -> Any:
    if isinstance(value, dict):
        return {one: as_digits(value[one]) for one in value}
    if isinstance(value, list):
        return [as_digits(one) for one in value]
    return {"int": f"{value}"} if type(value) is int and value >= 2**53 else value


def outcome(op: str, given: Inputs) -> Inputs:
    """{"out": ...} or {"code": ...}."""
    try:
        return {"out": as_digits(OPERATIONS[op](as_integers(given)))}
    except Verdict as word:
        return {"code": str(word)}
