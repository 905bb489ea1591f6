"""Negative vectors of narrowed and handed-on authority: exactly one thing is wrong, and who must notice is declared."""

from __future__ import annotations

from typing import Any

from orthros_protocol.primitives.canonical import decode, encode
from orthros_protocol.primitives.derivation import derive, digest, mac
from orthros_protocol.primitives.sealing import seal
from orthros_protocol.tickets.attenuation import add_caveat, tail_after
from workshop.vectors import positive as good
from workshop.vectors import positive_authority as held
from workshop.vectors import positive_http as web
from workshop.vectors.negative import flip, refused
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, tgs_pending, unhex
from workshop.vectors.positive import ENTROPY, NOW, REALM, SECOND, SESSION_KEY, span


def authority() -> list[Vector]:
    """Caveats that do not pass on, demands, discharges, hand-overs, evidence and paths."""
    return [*_caveats(), *_demands(), *_discharges(), *_calls(), *_hand_overs(), *_behalves(), *_paths()]


def _caveats() -> list[Vector]:
    made = []
    lost = {"methods": web.METHODS, "path": web.PATH, "peer": web.PEER, "channel": web.CHANNEL,
            "third-party": held.OF_HOLDER["caveat"], "app": held.APP}  # fmt: skip
    for name, caveat in lost.items():
        for of_tgt, what in ((1, "TGT"), (0, "evidence")):
            given = {"caveats": [good.UNTIL, caveat], "of_tgt": of_tgt}
            made.append(refused(f"{name} caveat of a {what}", "carry", given, "carry"))
    targets = {"caveats": [held.TARGETS]}
    made.append(refused("targets caveat of evidence", "carry", targets | {"of_tgt": 0}, "carry"))
    unknown = {"caveats": [encode(10, 1).hex()], "of_tgt": 1}
    made.append(refused("unknown caveat of a TGT", "carry", unknown, "caveat"))
    made.append(refused("caveat of a TGT without value", "carry", unknown | {"caveats": [encode(1).hex()]}, "encoding"))
    made.append(refused("targets as a limit", "limits", targets, "carry"))
    for name, demand in (("holder", held.OF_HOLDER), ("KDC", held.OF_KDC)):
        made.append(refused(f"demand of the {name} as a limit", "limits", {"caveats": [demand["caveat"]]}, "carry"))
    shapes = {
        "no targets": encode(5, []), "targets out of order": encode(5, [["b", "a"], ["a", "a"]]),
        "target twice": encode(5, [["a", "a"], ["a", "a"]]),
        "33 targets": encode(5, [[f"a{n}", "b"] for n in range(33)]),
        "neither salt nor root": encode(8, "a", "b", None, None, bytes(32)),
        "salt and root": encode(8, "a", "b", bytes(16), bytes(32), bytes(32)),
        "salt of 15": encode(8, "a", "b", bytes(15), None, bytes(32)),
        "digest of 31": encode(8, "a", "b", bytes(16), None, bytes(31)),
        "app without namespace": encode(9, "run", b""), "app in capitals": encode(9, "Payroll/run", b""),
        "payload of 361": encode(9, "a/b", bytes(361)), "payload as str": encode(9, "a/b", "x"),
    }  # fmt: skip
    made += [refused(f"caveat: {name}", "caveat", {"caveat": one.hex()}, "encoding") for name, one in shapes.items()]
    known = web.KNOWN | {"app": {"payroll/run": b"8".hex()}}
    for name, caveat in (("targets at a target", held.TARGETS), ("undischarged", held.OF_KDC["caveat"]),
                         ("another payload", held.APP),
                         ("unregistered", encode(9, "payroll/walk", b"8").hex())):  # fmt: skip
        made.append(refused(f"caveat: {name}", "judge-caveat", {"caveat": caveat, "access": known}, "caveat"))
    return made


def _demands() -> list[Vector]:
    of_holder, of_kdc = held.OF_HOLDER["cid"], held.OF_KDC["cid"]

    def demand(name: str, cid: str, stage: str, **changes: Any) -> Vector:
        given = {"cid": cid, "discharger": held.APPROVALS, "now": NOW} | changes
        return refused(f"demand: {name}", "open-demand", given, stage)

    def sealed(**changes: Any) -> str:
        cid: str = OPERATIONS["demand-of-holder"](held.HELD | changes)["cid"]
        return cid

    realm, name, kvno, kid, box = decode(unhex(of_kdc), 4096)
    narrowed = held.ticket_for(held.APPROVALS, scopes=[], caveats=[good.READ])
    in_a_name = held.ticket_for(held.APPROVALS, scopes=[], subject=[f"alice@{REALM}", 0, 2])
    return [
        demand("nothing", "", "encoding"), demand("cut short", of_kdc[:-2], "encoding"),
        demand("of a holder, for somebody else", of_holder, "kid", discharger=held.ORDERS),
        demand("of the KDC, for somebody else", of_kdc, "kid", discharger=held.ORDERS),
        demand("bit of a holder's box", flip(of_holder, -1), "box"),
        demand("bit of the KDC's box", flip(of_kdc, -1), "box"),
        demand("another discharger named", encode(realm, "orders", kvno, kid, box).hex(), "kid"),
        demand("another kvno", encode(realm, name, 3, kid, box).hex(), "kid"),
        demand("another adder", sealed(adder=f"orders@{REALM}"), "box"),
        demand("another discharger sealed for", sealed(discharger=f"orders@{REALM}"), "box"),
        demand("under a TGT", sealed(ticket=good.TGT), "header"),
        demand("under a narrowed ticket", sealed(ticket=narrowed), "caveat"),
        demand("under a ticket in another's name", sealed(ticket=in_a_name), "user"),
        demand("of a holder, ended", sealed(expires=SECOND), "demand"),
        demand("of the KDC, ended", of_kdc, "demand", now=(SECOND + 200) * 1000),
        demand("under an expired ticket", of_holder, "ticket-times", now=(SECOND + 3600) * 1000),
    ]  # fmt: skip


def _discharges() -> list[Vector]:
    until = unhex(good.UNTIL)
    fields = {
        "without an end": (encode(unhex(good.READ)), "discharges"), "empty": (b"", "discharges"),
        "nested": (encode(until, unhex(held.OF_HOLDER["caveat"])), "discharges"),
        "of another shape": (encode(until, encode(1)), "discharges"), "no list": (encode(1), "discharges"),
        "of an unknown type": (encode(until, encode(10, 1)), "caveat"),
    }  # fmt: skip
    made = [
        refused(f"discharge {name}", "judge-discharge", {"caveats": one.hex()}, stage)
        for name, (one, stage) in fields.items()
    ]
    given = held.discharge_of(held.OF_KDC["cid"])
    box = {"pop_key": span(5, 32), "request_digest": span(6, 32)}
    shut = box | {"cid": held.OF_KDC["cid"]} | OPERATIONS["seal-discharge"](
        box | {"caveats": given["caveats"], "tail": given["tail"], "entropy": ENTROPY}
    )  # fmt: skip
    changes: dict[str, Inputs] = {
        "another caller": {"pop_key": span(6, 32)}, "another request": {"request_digest": span(7, 32)},
        "bit of the box": {"box": flip(shut["box"], -1)}, "cut short": {"box": shut["box"][:-2]},
    }  # fmt: skip
    made += [refused(f"discharge: {name}", "open-discharge", shut | one, "box") for name, one in changes.items()]

    def boxed(*items: Any) -> Inputs:
        key, context = derive(unhex(box["pop_key"]), "dis-rep"), unhex(box["request_digest"])
        return shut | {"box": seal(key, "dis-rep", context, encode(*items), entropy=unhex(ENTROPY)).hex()}

    tail = unhex(given["tail"])
    made.append(refused("discharge: tail of 31", "open-discharge", boxed(encode(until), tail[:31]), "encoding"))
    made.append(refused("discharge: no caveats", "open-discharge", boxed(b"", tail), "encoding"))
    endless = boxed(encode(unhex(good.READ)), tail)
    return [*made, refused("discharge: without an end in its box", "open-discharge", endless, "discharges")]


def _request(ticket: str, caveats: list[str], *discharges: Inputs) -> str:
    asked = good.ap_inputs(ticket=ticket, caveats=caveats, discharges=list(discharges))
    message: str = OPERATIONS["ap-req"](asked)["message"]
    return message


def _calls() -> list[Vector]:
    def call(name: str, message: str, stage: str, **situation: Any) -> Vector:
        return refused(f"AP-REQ: {name}", "accept", good.accept_inputs(message, **situation), stage)

    of_kdc, of_holder = held.OF_KDC, held.OF_HOLDER
    kdc, other = held.discharge_of(of_kdc["cid"]), held.discharge_of(held.SECOND_OF_HOLDER["cid"])
    both = [held.SECOND_OF_HOLDER["caveat"]]
    until = unhex(good.UNTIL)

    def careless(*rows: bytes) -> Inputs:
        return {"caveats": encode(*rows).hex(), "tail": tail_after(unhex(of_kdc["d0"]), rows).hex()}

    known = {"access": web.KNOWN | {"app": {}}}
    inside = OPERATIONS["ticket"](good.ticket_inputs(good.TICKET_KEY, caveats=[of_holder["caveat"]]))["ticket"]
    # The attack: were the root of a KDC's demand derived from the session key, its client could discharge it.
    self_made = derive(derive(unhex(SESSION_KEY), "3p-root", encode([REALM, "approvals"], bytes(16))), "dis",
                       digest(unhex(of_kdc["cid"])))  # fmt: skip
    forged = {"caveats": encode(until).hex(), "tail": add_caveat(self_made, until).hex()}
    ended = held.discharge_of(of_kdc["cid"], encode(1, SECOND).hex())
    return [
        call("discharge of the KDC's demand missing", _request(held.DEMANDING, []), "discharges"),
        call("discharge of a holder's demand missing", _request(good.TICKET, [of_holder["caveat"]]), "discharges"),
        call("one of two discharges missing", _request(held.DEMANDING, both, kdc), "discharges"),
        call("one discharge too many", _extra(kdc), "discharges"),
        call("discharges in another order", _request(held.DEMANDING, both, other, kdc), "mac"),
        call("discharge of another demand", _request(held.DEMANDING, [], other), "mac"),
        call("self-made discharge of the KDC's demand", _request(held.DEMANDING, [], forged), "mac"),
        call("caveat of a discharge dropped", _request(held.DEMANDING, [], held.discharge_of(
            of_kdc["cid"], good.READ) | {"caveats": kdc["caveats"]}), "mac"),
        call("discharge that has ended", _request(held.DEMANDING, [], ended), "caveat"),
        call("discharge without an end", _request(held.DEMANDING, [], careless(unhex(good.READ))), "discharges"),
        call("nested discharge", _request(held.DEMANDING, [], careless(until, unhex(of_holder["caveat"]))),
             "discharges"),
        call("discharge of another shape", _request(held.DEMANDING, [], careless(until, encode(1))), "discharges"),
        call("discharge of an unknown type", _request(held.DEMANDING, [], careless(until, encode(10, 1))), "caveat"),
        call("discharge that is no list", _request(held.DEMANDING, [], kdc | {"caveats": "c0"}), "caveats"),
        call("root outside the sealed body", _request(good.TICKET, [of_kdc["caveat"]], kdc), "caveats"),
        call("salt inside the sealed body", _request(inside, [], kdc), "caveats"),
        call("demand dropped", _dropped(of_holder["caveat"]), "mac"),
        call("targets caveat at a target", _request(good.TICKET, [held.TARGETS]), "caveat"),
        call("app caveat that is not registered", _request(good.TICKET, [held.APP]), "caveat", **known),
        call("subject where nobody else is served", _request(held.CALLED, []), "user"),
        call("path that the target denies", _request(held.CALLED, []), "chain", accept_user=True,
             chain={"deny_via": ["web"]}),
        call("own call where a path is required", _request(good.TICKET, []), "chain", chain={"require_via": ["web"]}),
    ]  # fmt: skip


def _extra(given: Inputs) -> str:
    """A second discharge where one is demanded; the key is that of one."""
    asked = good.ap_inputs(ticket=held.DEMANDING, discharges=[given])
    body, _mac = decode(unhex(OPERATIONS["ap-req"](asked)["message"]), 24 * 1024)
    items = decode(body, 24 * 1024)
    items[5] = items[5] * 2
    changed = encode(*items)
    key = derive(_pop_of(held.DEMANDING), "mix", unhex(given["tail"]))
    return encode(changed, mac(key, "ap-req.0", changed)).hex()


def _pop_of(ticket: str, *caveats: str) -> bytes:
    chain = OPERATIONS["chain"]({"session_key": SESSION_KEY, "ticket": ticket, "caveats": list(caveats)})
    return unhex(chain["pop_key"])


def _dropped(caveat: str) -> str:
    """A request without the caveat, under the key behind it."""
    body, _mac = decode(unhex(_request(good.TICKET, [])), 24 * 1024)
    return encode(body, mac(_pop_of(good.TICKET, caveat), "ap-req.0", body)).hex()


def _hand_overs() -> list[Vector]:
    def handed(name: str, message: str, stage: str, **changes: Any) -> Vector:
        given = {"message": message, "receiver": held.ORDERS, "now": NOW} | changes
        return refused(f"hand-over: {name}", "open-hand-over", given, stage)

    def sealed(**changes: Any) -> str:
        message: str = OPERATIONS["hand-over"](held.HANDED | changes)["message"]
        return message

    _version, around, _named, box = decode(unhex(held.HAND_OVER), 64 * 1024)
    narrowed = held.ticket_for(held.ORDERS, scopes=[], caveats=[good.READ])
    return [
        handed("cut short", held.HAND_OVER[:-2], "encoding"),
        handed("version", flip(held.HAND_OVER, 1), "encoding"),
        handed("for somebody else", held.HAND_OVER, "kid", receiver=held.APPROVALS),
        handed("bit of the box", flip(held.HAND_OVER, -1), "box"),
        handed("another ticket named", encode(1, around, bytes(32), box).hex(), "box"),
        handed("another sender", sealed(sender=f"payroll@{REALM}"), "box"),
        handed("another receiver", sealed(receiver=f"payroll@{REALM}"), "box"),
        handed("sender and receiver exchanged", sealed(sender=f"orders@{REALM}", receiver=f"billing@{REALM}"), "box"),
        handed("under a narrowed ticket", sealed(ticket=narrowed), "caveat"),
        handed("under an expired ticket", held.HAND_OVER, "ticket-times", now=(SECOND + 3600) * 1000),
    ]


def _behalves() -> list[Vector]:
    key = held.ticket_key_of(good.BILLING)
    edits: dict[str, Any] = {
        "cname": ("client", f"root@{REALM}"), "flags": ("flags", 0), "caveats": ("caveats", []), "chain": ("chain", []),
        "subject": ("subject", [f"bob@{REALM}", 0, 1]), "exp": ("exp", SECOND + 7200),
    }  # fmt: skip

    def asked(name: str, behalf: Inputs, stage: str, **kdc: Any) -> Vector:
        message = OPERATIONS["tgs-req"](good.tgs_inputs(behalf=behalf))["message"]
        given = {"kdc": held.ACTING_KDC | kdc, "message": message}
        return refused(f"TGS-REQ: {name}", "verify-tgs-req", given, stage)

    made = []
    for what, (field, value) in edits.items():
        # Its service seals it anew, with another mark than the KDC's.
        forged = good.ticket_inputs(key, **held.BY_GATEWAY | {field: value}) | {"mac_key": span(9, 32)}
        evidence = OPERATIONS["ticket"](forged)["ticket"]
        made.append(asked(f"evidence with another {what}", held.BEHALF | {"evidence": evidence}, "kdc-mark"))
    foreign = held.ticket_for(held.ORDERS, **held.BY_GATEWAY)
    orders = {"evidence_key": held.ticket_key_of(held.ORDERS)}
    made += [
        asked("evidence whose key is not known", held.BEHALF | {"session_key": span(1, 32)}, "mac"),
        asked("evidence of someone else", held.BEHALF | {"evidence": foreign}, "kid"),
        asked("evidence of someone else, under its key", held.BEHALF | {"evidence": foreign}, "kid", **orders),
        asked("TGT as evidence", held.BEHALF | {"evidence": good.TGT}, "header"),
    ]
    shown = [unhex(held.EVIDENCE), encode(unhex(good.READ)), None]
    alice = [REALM, "alice", 0, 2]
    shapes: dict[str, Any] = {
        "neither evidence nor subject": [None, b"", None], "evidence and subject": [shown[0], b"", alice],
        "caveats without evidence": [None, shown[1], alice], "subject that is proven": [None, b"", [REALM, "a", 0, 1]],
        "subject with a uid": [None, b"", [REALM, "alice", 7, 2]], "evidence of 15 bytes": [bytes(15), b"", None],
        "caveats as nil": [shown[0], None, None], "behalf of two items": [shown[0], b""],
    }  # fmt: skip
    for name, behalf in shapes.items():
        made.append(_changed(name, "encoding", behalf=behalf))
    made.append(_changed("evidence added without its key", "mac", behalf=shown))
    made.append(_changed("limits that are no caveats", "wants",
                         wants=encode([0, REALM, "payroll", None, 0, 0, [[1, b"x"]]])))  # fmt: skip
    return made + _replies()


def _changed(name: str, stage: str, **changes: Any) -> Vector:
    """A TGS-REQ with other items and a right MAC, that of a request without evidence."""
    pending = tgs_pending(good.tgs_inputs())
    body, _mac = decode(pending.message, 64 * 1024)
    items = decode(body, 64 * 1024)
    for field, value in changes.items():
        items[{"wants": 7, "behalf": 8}[field]] = value
    encoded = encode(*items)
    message = encode(encoded, mac(pending.key, "tgs-req", encoded)).hex()
    return refused(f"TGS-REQ: {name}", "verify-tgs-req", {"kdc": held.ACTING_KDC, "message": message}, stage)


def _replies() -> list[Vector]:
    want = {"target": f"payroll@{REALM}", "kind": 0, "scopes": None, "ttl_s": 0, "flags": 0}
    row = [0, REALM, "payroll", 17, bytes(16), bytes(32), 1, 0, 1, [], None, [], []]
    named = {"alice": [REALM, "alice", 0, 2], "bob": [REALM, "bob", 0, 2], "proven": [REALM, "alice", 0, 1]}

    def reply(name: str, behalf: Inputs | None, stage: str, **changes: Any) -> Vector:
        asked = good.tgs_inputs(wants=[want], behalf=behalf)
        pending = tgs_pending(asked)
        items = list(row)
        for field, value in changes.items():
            items[{"subject": 10, "ext": 12}[field]] = value
        body = encode(unhex(good.NONCE), NOW, "kdc-a", 1, [items], [])
        box = seal(derive(pending.key, "tgs-rep"), "tgs-rep", pending.context, body, entropy=unhex(ENTROPY))
        given = {"request": asked, "reply": encode(1, 0, box).hex()}
        return refused(f"TGS-REP: {name}", "open-tgs-rep", given, stage)

    alice: Inputs = {"subject": f"alice@{REALM}"}
    without = good.tgs_inputs(wants=[want])
    keyed = OPERATIONS["tgs-rep"](good.TGS_REPLY | {"request": without, "kdc": held.ACTING_KDC, "results": [
        {"target": f"payroll@{REALM}", "code": "not-granted", "retry_s": 0, "ref": span(1, 8)}]})["reply"]  # fmt: skip
    return [
        reply("another's name for an own call", None, "answer", subject=named["alice"]),
        reply("the own name for evidence", held.BEHALF, "answer"),
        reply("the own name for a subject", alice, "answer"),
        reply("another subject", alice, "answer", subject=named["bob"]),
        reply("a proven subject for an asserted one", alice, "answer", subject=named["proven"]),
        reply("five demands", None, "body", ext=[[1, encode(*[b"x"] * 5)]]),
        refused("TGS-REP: key without the evidence", "open-tgs-rep", {
            "request": good.tgs_inputs(wants=[want], behalf=held.BEHALF), "reply": keyed}, "box"),
    ]  # fmt: skip


def _paths() -> list[Vector]:
    rules: dict[str, tuple[list[str], Inputs]] = {
        "denied": (["web", "gateway", "billing"], {"deny_via": ["gateway"]}),
        "caller denied": (["web", "billing"], {"deny_via": ["billing"]}),
        "required and missing": (["web", "billing"], {"require_via": ["web", "gateway"]}),
        "own call where a path is required": ([], {"require_via": ["web"]}),
        "too deep": (["web", "gateway", "billing"], {"max_depth": 1}),
        "nine hops": ([*"abcdefghi", "billing"], {}), "target on its path": (["payroll", "billing"], {}),
        "somebody twice": (["billing", "web", "billing"], {}),
    }  # fmt: skip
    return [
        refused(f"path: {name}", "path", {"path": path, "target": "payroll", "rule": rule}, "chain")
        for name, (path, rule) in rules.items()
    ]
