"""Demands, discharges, hand-overs, evidence and paths at each limit, accepted, and one past it, refused.

What the library refuses to build is built from its primitives, under the right keys.
"""

from __future__ import annotations

from typing import Any

from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import derive, digest, mac
from orthros_protocol.primitives.sealing import seal
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from workshop.vectors import positive as good
from workshop.vectors import positive_authority as held
from workshop.vectors.edges import MOST_INT, MOST_U32, both, filler, marked_ticket_inputs, scopes_of, ticket_of
from workshop.vectors.negative import edited, flip, refused
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, root_of, tgs_pending, unhex
from workshop.vectors.positive import ENTROPY, NOW, REALM, SECOND, SESSION_KEY, span, vector

_APPROVALS = root_of(held.APPROVALS).ticket_key()


def authority() -> list[Vector]:
    """Authority that narrows and travels."""
    return [*_of_kdc(), *_of_holder(), *_discharges(), *_hand_overs(), *_evidence(), *_carried(), *_paths()]


def _content(changes: Inputs) -> bytes:
    items: dict[str, Any] = {
        "root": bytes(32), "about": [REALM, "billing"], "predicate": "p", "expires": SECOND + 60
    } | changes  # fmt: skip
    return encode(*items.values())


def _of_kdc() -> list[Vector]:
    def given(changes: Inputs) -> Inputs:
        outer: dict[str, Any] = {
            "realm": REALM, "name": "approvals", "kvno": 2, "kid": _APPROVALS.kid, "box": None
        }  # fmt: skip
        now = changes.get("now", NOW)
        context = encode("3p", REALM, "kdc", "approvals", 2)
        inside = {name: one for name, one in changes.items() if name not in outer and name != "now"}
        box = seal(derive(_APPROVALS.material, "3p"), "3p", context, _content(inside), entropy=unhex(ENTROPY))
        outer |= {"box": box} | {name: one for name, one in changes.items() if name in outer}
        return {"cid": encode(*outer.values()).hex(), "discharger": held.APPROVALS, "now": now}

    passing: dict[str, Inputs] = {
        "predicate of 200 characters": {"predicate": "p" * 200}, "predicate of one": {"predicate": " "},
        "ends in a second": {"expires": SECOND + 1}, "ends in a millisecond": {
            "expires": SECOND + 1, "now": SECOND * 1000 + 999},
        "end at 2^63-1": {"expires": MOST_INT}, "about of 128 characters": {"about": ["n" * 128, "n" * 128]},
    }  # fmt: skip
    failing: dict[str, Inputs] = {
        "predicate of 201 characters": {"predicate": "p" * 201}, "predicate with a line break": {"predicate": "a\nb"},
        "predicate with DEL": {"predicate": "\x7f"}, "root of 31 bytes": {"root": bytes(31)}, "root of 33 bytes": {
            "root": bytes(33)},
        "about not canonical": {"about": [REALM, "A"]}, "its realm not canonical": {"about": ["A", "a"]},
        "about of one item": {"about": [REALM]}, "about of three items": {"about": [REALM, "a", 0]}, "end as nil": {
            "expires": None},
        "kid of 7 bytes": {"kid": bytes(7)}, "kid of 9 bytes": {"kid": bytes(9)}, "kvno of 2^32": {
            "kvno": MOST_U32 + 1},
        "name not canonical": {"name": "A"}, "realm not canonical": {"realm": "A"}, "box of 71 bytes": {
            "box": bytes(71)},
        "box of 1025 bytes": {"box": bytes(1025)}, "box as nil": {"box": None},
    }  # fmt: skip
    outer = ("kid", "kvno", "name", "realm", "box")
    shut = {name: one for name, one in failing.items() if set(one) & set(outer)}
    made = both("demand", "open-demand", given, "body", passing, {
        name: one for name, one in failing.items() if name not in shut})  # fmt: skip
    made += both("demand", "open-demand", given, "encoding", {}, shut)
    made.append(refused("demand: ended at this second", "open-demand", given({"expires": SECOND}), "demand"))
    made += both("demand", "open-demand", given, "kid", {}, {
        "another realm": {"realm": "a.example"}, "another name": {"name": "orders"}, "another kvno": {"kvno": 1},
        "another kid": {"kid": bytes(8)}})  # fmt: skip
    made += both("demand", "open-demand", given, "box", {}, {"box of 72 bytes": {"box": bytes(72)},
        "box of 1024 bytes":
        {"box": bytes(1024)}})  # fmt: skip
    for name, cid in {"of nothing": "", "an array of three": encode(1, 2, 3).hex(), "an array of none": "90"}.items():
        shown = {"cid": cid, "discharger": held.APPROVALS, "now": NOW}
        made.append(refused(f"demand: {name}", "open-demand", shown, "encoding"))
    unbuilt: dict[str, Inputs] = {
        "predicate of 201 characters": {"predicate": "p" * 201}, "empty predicate": {"predicate": ""},
        "predicate with a tab": {"predicate": "a\tb"}, "root of 31 bytes": {"root": span(0, 31)},
        "end at 2^63": {"expires": MOST_INT + 1},
    }  # fmt: skip
    made += both("demand is not built", "demand-of-kdc", lambda one: held.WRITTEN | one, "build", {}, unbuilt)
    longest = held.WRITTEN | {"predicate": "p" * 200, "about": f"{'n' * 128}@{'n' * 128}"}
    made.append(vector("longest demand of the KDC", "demand-of-kdc", longest))
    return [*made, vector("longest demand of a holder", "demand-of-holder", held.HELD | {"predicate": "p" * 200})]


def _of_holder() -> list[Vector]:
    def given(changes: Inputs) -> Inputs:
        ticket = unhex(changes.get("ticket", held.TO_APPROVALS))
        key = derive(pop_key_of(tail_of(unhex(SESSION_KEY), ticket)), "3p")
        box = seal(key, "3p", encode("3p", REALM, "billing", "approvals"), _content({}), entropy=unhex(ENTROPY))
        return {
            "cid": encode(ticket, changes.get("box", box)).hex(), "discharger": held.APPROVALS,
            "now": changes.get("now", NOW),
        }  # fmt: skip

    def of_size(size: int) -> Inputs:
        # Scopes fill it up: a ticket with caveats seals nothing.
        sealer = held.ticket_key_of(held.APPROVALS)
        bare = len(given({"ticket": edited(sealer, held.TO_APPROVALS)})["cid"]) // 2
        opt = [[1, bytes(1017)]]
        chain = [[None, "n" * 100, 1]] * 8
        wide = len(given({"ticket": edited(sealer, held.TO_APPROVALS, opt=opt, chain=chain)})["cid"]) // 2
        names = [f"{one:02}".ljust(64, "s") for one in range((size - wide) // 66)]
        rest = (size - wide) % 66 - (2 if len(names) > 15 else 0)
        if rest < 0:
            names, rest = names[:-1], rest + 66
        if rest:
            names = [*(["r" * (rest - (1 if rest <= 32 else 2))]), *names]
        made = given({"ticket": edited(sealer, held.TO_APPROVALS, opt=opt, chain=chain, scopes=names)})
        if len(made["cid"]) != 2 * size:
            raise ValueError(f"a demand of {len(made['cid']) // 2} bytes, {bare} bare, {wide} wide, {len(names)}")
        return made

    made = both("demand of a holder", "open-demand", of_size, "size", {"of 4096 bytes": 4096},
                {"of 4097 bytes": 4097})  # fmt: skip
    failing: dict[str, Inputs] = {
        "box of 71 bytes": {"box": bytes(71)}, "box of 1025 bytes": {"box": bytes(1025)}, "ticket of 15 bytes": {
            "ticket": span(0, 15)},
        "box as nil": {"box": None},
    }  # fmt: skip
    made += both("demand of a holder", "open-demand", given, "encoding", {}, failing)
    made.append(refused("demand of a holder: box of 72 bytes", "open-demand", given({"box": bytes(72)}), "box"))
    sealer = held.ticket_key_of(held.APPROVALS)
    end = SECOND + 3600
    cases: dict[str, tuple[Inputs, str]] = {
        "ticket issued 301 s from now": (
            {"ticket": edited(sealer, held.TO_APPROVALS, iat=SECOND + 301, exp=SECOND + 400)}, "ticket-times"),
        "ticket that lives 86401 s": (
            {"ticket": edited(sealer, held.TO_APPROVALS, exp=SECOND + 86_401)}, "ticket-times"),
        "ticket with an unknown flag": ({"ticket": edited(sealer, held.TO_APPROVALS, flags=4)}, "body"),
        "TGT around it": ({"ticket": flip(flip(held.TO_APPROVALS, 2), 2)[:4] + "01" + held.TO_APPROVALS[6:]},
        "header"),
        "ticket of another service": ({"ticket": held.TO_ORDERS}, "kid"),
        "ticket that ends now": ({"now": end * 1000}, "ticket-times"),
    }  # fmt: skip
    for name, (changes, stage) in cases.items():
        made.append(refused(f"demand of a holder: {name}", "open-demand", given(changes), stage))
    longest = {"ticket": edited(sealer, held.TO_APPROVALS, exp=SECOND + 86_400)}
    made.append(vector("demand of a holder: ticket that lives 86400 s", "open-demand", given(longest)))
    late = {"ticket": edited(sealer, held.TO_APPROVALS, iat=SECOND + 300, exp=SECOND + 400)}
    made.append(vector("demand of a holder: ticket issued 300 s from now", "open-demand", given(late)))
    unbuilt = held.HELD | {"salt": span(0, 15)}
    made.append(refused("demand of a holder is not built: salt of 15 bytes", "demand-of-holder", unbuilt, "build"))
    large = held.HELD | {"ticket": OPERATIONS["ticket"](marked_ticket_inputs(4097, sealer))["ticket"]}
    return [*made, refused("demand of a holder is not built: above 4 KiB", "demand-of-holder", large, "build")]


def _discharges() -> list[Vector]:
    end = encode(1, SECOND + 60)

    def judged(caveats: bytes) -> Inputs:
        return {"caveats": caveats.hex()}

    passing = {
        "16 caveats": encode(*[end] * 16), "an end behind others": encode(unhex(good.READ), end),
        "two ends": encode(end, encode(1, 5)), "caveat of 512 bytes": encode(end, filler(512)),
    }  # fmt: skip
    failing = {
        "17 caveats": encode(*[end] * 17), "caveat of 513 bytes": encode(end, bytes(513)), "empty array": encode(),
        "caveat of no bytes": encode(end, b""), "root of the KDC": encode(end, unhex(held.OF_KDC["caveat"])),
        "a byte behind": encode(end) + b"\0", "caveat of a wrong shape": encode(end, encode(2, 1)),
    }  # fmt: skip
    made = both("discharge", "judge-discharge", judged, "discharges", passing, failing)
    box = {"pop_key": span(5, 32), "request_digest": span(6, 32), "cid": held.OF_KDC["cid"]}
    key = derive(unhex(box["pop_key"]), "dis-rep")

    def boxed(items: tuple[Any, ...]) -> Inputs:
        plain = encode(*items)
        sealed = seal(key, "dis-rep", unhex(box["request_digest"]), plain, entropy=unhex(ENTROPY))
        return box | {"box": sealed.hex()}

    full = encode(end, *[filler(512)] * 15)
    made += both(
        "discharge in its box", "open-discharge", boxed, "encoding", {"16 caveats": (full, bytes(32))},
        {"tail of 33 bytes": (encode(end), bytes(33)), "three items": (encode(end), bytes(32), 0), "one item": (
            encode(end),), "tail as nil": (encode(end), None), "caveats of 8244 bytes": (bytes(8244), bytes(32))},
    )  # fmt: skip
    made += both("discharge in its box", "open-discharge", boxed, "discharges", {}, {
        "17 caveats": (encode(*[end] * 17), bytes(32)), "no end": (encode(unhex(good.READ)), bytes(32))})  # fmt: skip
    inputs = held.discharge_inputs(held.OF_KDC["cid"])
    made.append(vector("discharge as short as asked", "discharge", inputs | {"expires": SECOND + 199}))
    made.append(vector("discharge exactly as long as its demand", "discharge", inputs | {"expires": SECOND + 200}))
    made.append(vector("discharge one second longer than its demand", "discharge", inputs | {"expires": SECOND + 201}))
    nested = inputs | {"caveats": [held.OF_HOLDER["caveat"]]}
    made.append(refused("discharge is not built: nested", "discharge", nested, "build"))
    many = inputs | {"caveats": [good.READ] * 16}
    made.append(refused("discharge is not built: 17 caveats", "discharge", many, "build"))
    return [*made, vector("discharge of 16 caveats", "discharge", inputs | {"caveats": [good.READ] * 15})]


def _hand_overs() -> list[Vector]:
    key = derive(pop_key_of(tail_of(unhex(SESSION_KEY), unhex(held.TO_ORDERS))), "deleg")
    row = held.HANDED["handed"]
    whole: dict[str, Any] = {
        "ticket": unhex(row["ticket"]), "caveats": encode(unhex(good.READ)), "tail": unhex(row["tail"]),
        "realm": REALM, "name": "payroll", "uid": 17, "crealm": REALM, "cname": "billing", "scopes": ["read"],
        "expires": SECOND + 3600, "ttl_s": 3600, "subject": None, "demands": [],
    }  # fmt: skip

    def given(changes: Inputs) -> Inputs:
        items = whole | {name: one for name, one in changes.items() if name in whole}
        named = changes.get("named", digest(items["ticket"]))
        context = encode("deleg", REALM, "billing", "orders", named)
        box = seal(key, "deleg", context, encode(*items.values()), entropy=unhex(ENTROPY))
        outer = [changes.get("version", 1), unhex(held.TO_ORDERS), named, changes.get("box", box)]
        return {"message": encode(*outer).hex(), "receiver": held.ORDERS, "now": NOW}

    passing: dict[str, Inputs] = {
        "ticket of 8192 bytes": {"ticket": unhex(ticket_of(8192))}, "16 caveats of 512 bytes": {
            "caveats": encode(*[filler(512)] * 16)},
        "ticket of 16 bytes": {"ticket": unhex(good.TICKET)[:16]}, "32 scopes": {"scopes": scopes_of(32)},
        "no scopes": {"scopes": []}, "no caveats": {"caveats": b""},
        "4 demands": {"demands": [b"x"] * 4}, "demand of 4096 bytes": {"demands": [bytes(4096)]}, "subject": {
            "subject": [REALM, "alice", 7, 1]},
        "times of 2^63-1": {"expires": MOST_INT, "ttl_s": MOST_INT}, "names of 128 characters": {
            "realm": "n" * 128, "name": "n" * 128, "crealm": "n" * 128, "cname": "n" * 128},
        "the largest": {"ticket": unhex(ticket_of(8192)), "caveats": encode(*[filler(512)] * 16), "demands": [
            bytes(4096)] * 4, "scopes": scopes_of(32)},
    }  # fmt: skip
    failing: dict[str, Inputs] = {
        "ticket of 8193 bytes": {"ticket": unhex(ticket_of(8193))}, "ticket of 15 bytes": {"ticket": bytes(15)},
        "tail of 31 bytes": {"tail": bytes(31)}, "tail of 33 bytes": {"tail": bytes(33)}, "33 scopes": {
            "scopes": scopes_of(33)},
        "scopes in another order": {"scopes": ["b", "a"]}, "5 demands": {"demands": [b"x"] * 5},
        "demand of no bytes": {
            "demands": [b""]},
        "demand of 4097 bytes": {"demands": [bytes(4097)]}, "demand as str": {"demands": ["x"]}, "17 caveats": {
            "caveats": encode(*[unhex(good.READ)] * 17)},
        "empty array of caveats": {"caveats": encode()}, "caveats of 8244 bytes": {"caveats": bytes(8244)},
        "subject with how 3": {"subject": [REALM, "alice", 0, 3]}, "target not canonical": {"name": "A"},
        "realm not canonical": {"realm": "A"}, "client not canonical": {"cname": "A"}, "its realm not canonical": {
            "crealm": "A"},
        "ticket of another version": {"ticket": b"\2" + unhex(good.TICKET)[1:]}, "ticket of another suite": {
            "ticket": b"\1\2" + unhex(good.TICKET)[2:]},
        "version 0": {"version": 0}, "version 2": {"version": 2}, "digest of 31 bytes": {"named": bytes(31)},
        "digest of 33 bytes": {"named": bytes(33)}, "box of 71 bytes": {"box": bytes(71)}, "end as nil": {
            "expires": None},
        "demands as nil": {"demands": None}, "box of 48 KiB and a byte": {"box": bytes(48 * 1024 + 1)},
    }  # fmt: skip
    outer = ("version", "named", "box")
    shut = {name: one for name, one in failing.items() if set(one) & set(outer)}
    made = both("hand-over", "open-hand-over", given, "body", passing, {
        name: one for name, one in failing.items() if name not in shut})  # fmt: skip
    made += both("hand-over", "open-hand-over", given, "encoding", {}, shut)
    made += both("hand-over", "open-hand-over", given, "box", {}, {
        "digest of another ticket, in the box as well": {"named": bytes(32)}, "box of 72 bytes": {"box": bytes(72)},
        "box of 48 KiB": {"box": bytes(48 * 1024)}})  # fmt: skip
    changed = b"\1\1\7" + unhex(good.TICKET)[3:]
    made.append(refused("hand-over: ticket of type 7", "open-hand-over", given({"ticket": changed}), "header"))
    made.append(refused("hand-over: under a ticket with a subject", "open-hand-over", _under(
        edited(held.ticket_key_of(held.ORDERS), held.TO_ORDERS, subject=[None, "alice", 0, 1])), "user"))  # fmt: skip
    unbuilt: dict[str, Inputs] = {
        "33 scopes": {"scopes": scopes_of(33)}, "5 demands": {"demands": ["00"] * 5}, "tail of 31 bytes": {
            "tail": span(0, 31)},
        "demand of 4097 bytes": {"demands": [bytes(4097).hex()]}, "17 caveats": {"caveats": [good.READ] * 17},
    }  # fmt: skip
    return made + both("hand-over is not built", "hand-over", lambda one: held.HANDED | {"handed": row | one}, "build",
                       {}, unbuilt)  # fmt: skip


def _under(ticket: str) -> Inputs:
    message = OPERATIONS["hand-over"](held.HANDED | {"ticket": ticket})["message"]
    return {"message": message, "receiver": held.ORDERS, "now": NOW}


def _evidence() -> list[Vector]:
    """TGS-REQs with evidence that the KDC opens, and with evidence that it does not."""
    key = held.ticket_key_of(good.BILLING)

    def given(case: tuple[str, Inputs]) -> Inputs:
        evidence, kdc = case
        message = OPERATIONS["tgs-req"](good.tgs_inputs(behalf=held.BEHALF | {"evidence": evidence}))["message"]
        return {"kdc": held.ACTING_KDC | kdc, "message": message}

    hops = [[f"web{one}@{REALM}", SECOND - 90] for one in range(8)]
    fields = held.BY_GATEWAY | {"chain": hops, "caveats": [good.READ] * 16}
    full = OPERATIONS["ticket"](good.ticket_inputs(key, **fields))["ticket"]
    passing: dict[str, tuple[str, Inputs]] = {"8 hops and 16 caveats": (full, {})}
    made = both("evidence", "verify-tgs-req", given, "kid", passing, {
        "of another kvno": (held.EVIDENCE[:6] + "00000002" + held.EVIDENCE[14:], {}),
    })  # fmt: skip
    made += both("evidence", "verify-tgs-req", given, "header", {}, {
        "of another version": ("02" + held.EVIDENCE[2:], {}), "of another suite": ("0102" + held.EVIDENCE[4:], {}),
    })  # fmt: skip
    other = good.ticket_inputs(key | {"uid": 99}, **held.BY_GATEWAY)
    made.append(refused("evidence: of an earlier principal of this name", "verify-tgs-req", given(
        (OPERATIONS["ticket"](other)["ticket"], {"evidence_key": key | {"uid": 99}})), "kid"))  # fmt: skip
    asked = good.tgs_inputs(behalf=held.BEHALF)
    made.append(vector("TGS-ERR to evidence", "tgs-rep", good.TGS_ERROR | {"request": asked, "kdc": held.ACTING_KDC}))
    opened = {"request": asked, "reply": made[-1]["out"]["reply"]}
    made.append(refused("TGS-ERR to evidence is opened", "open-tgs-rep", opened, "refused-by-peer"))
    pending = tgs_pending(good.tgs_inputs())
    for name, caveats in {"empty array": encode(), "17 caveats": encode(*[unhex(good.READ)] * 17)}.items():
        items = [1, 2, unhex(good.TGT), b"", [], NOW, unhex(good.NONCE), [[0, REALM, "payroll", None, 0, 0, []]],
                 [unhex(held.EVIDENCE), caveats, None], [], []]  # fmt: skip
        body = encode(*items)
        proof = unhex(OPERATIONS["evidence"]({"evidence": held.EVIDENCE, "session_key": held.EVIDENCE_KEY,
                                              "pop_key": pending.key.hex()})["key"])  # fmt: skip
        message = encode(body, mac(proof, "tgs-req", body)).hex()
        made.append(refused(f"evidence: caveats: {name}", "verify-tgs-req",
                            {"kdc": held.ACTING_KDC, "message": message}, "encoding"))  # fmt: skip
    return made


def _carried() -> list[Vector]:
    ends = [encode(1, SECOND + one).hex() for one in (30, 20, 10, 40)]
    made = [vector("the earliest end passes on", "carry", {"caveats": ends, "of_tgt": 1})]
    scopes = [encode(2, one).hex() for one in (["a", "b"], ["b", "c"], [])]
    made.append(vector("two scopes caveats pass on", "carry", {"caveats": scopes[:2], "of_tgt": 0}))
    made.append(vector("no scope passes on", "carry", {"caveats": scopes, "of_tgt": 0}))
    return made


def _paths() -> list[Vector]:
    eight = ["a", "b", "c", "d", "e", "f", "g", "h"]

    def given(case: tuple[list[str], Inputs]) -> Inputs:
        path, rule = case
        return {"path": path, "target": "payroll", "rule": rule}

    passing: dict[str, tuple[list[str], Inputs]] = {
        "8 hops": ([*eight, "billing"], {}), "8 hops by a rule": ([*eight, "billing"], {"max_depth": 8}),
        "no hop, depth 0": ([], {"max_depth": 0}), "one hop, depth 1": (["web", "billing"], {"max_depth": 1}),
        "somebody twice, with callbacks": (["web", "billing", "web"], {"callbacks": 1}),
        "the target, with callbacks": (["web", "payroll", "billing"], {"callbacks": 1}),
        "own call under every rule but one": ([], {"deny_via": ["web"], "max_depth": 0, "callbacks": 0}),
        "another realm's name": (["web@a.example", "billing"], {"require_via": ["web@a.example"]}),
    }  # fmt: skip
    failing: dict[str, tuple[list[str], Inputs]] = {
        "9 hops": ([*eight, "i", "billing"], {}), "8 hops, depth 7": ([*eight, "billing"], {"max_depth": 7}),
        "one hop, depth 0": (["web", "billing"], {"max_depth": 0}), "target last": (["web", "payroll"], {}),
        "client denied": (["web", "billing"], {"deny_via": ["x", "billing"]}), "one of two required": (
            ["web", "billing"], {"require_via": ["web", "x"]}),
        "9 hops with callbacks": ([*eight, "i", "billing"], {"callbacks": 1}), "denied with callbacks": (
            ["web", "billing"], {"deny_via": ["web"], "callbacks": 1}),
    }  # fmt: skip
    return both("path", "path", given, "chain", passing, failing)
