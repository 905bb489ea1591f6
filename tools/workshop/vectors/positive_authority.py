"""Positive vectors of narrowed and handed-on authority; the story goes on.

approvals discharges what is demanded, orders receives what billing hands over, gateway calls billing before billing
calls payroll.
"""

from __future__ import annotations

from typing import Any, Final

from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.attenuation import add_caveat, tail_after, tail_of
from orthros_protocol.tickets.caveats import AppCaveat, TargetsCaveat
from workshop.vectors import positive as good
from workshop.vectors import positive_http as web
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, root_of, unhex
from workshop.vectors.positive import ENTROPY, NOW, REALM, SECOND, SESSION_KEY, span, vector

APPROVALS: Final[Inputs] = {"root": span(0x70, 32), "realm": REALM, "name": "approvals", "uid": 18, "kvno": 2}
ORDERS: Final[Inputs] = {"root": span(0x90, 32), "realm": REALM, "name": "orders", "uid": 20, "kvno": 1}


def ticket_key_of(party: Inputs) -> Inputs:
    """The ticket key of {root, realm, name, uid, kvno} as {key, type, realm, name, uid, kvno}."""
    named = {name: party[name] for name in ("realm", "name", "uid", "kvno")}
    return {"key": root_of(party).ticket_key().material.hex(), "type": 2, **named}


def ticket_for(party: Inputs, **changes: Any) -> str:
    """A ticket for this party, billing's unless `changes` say otherwise."""
    ticket: str = OPERATIONS["ticket"](good.ticket_inputs(ticket_key_of(party), **changes))["ticket"]
    return ticket


TO_APPROVALS: Final = ticket_for(APPROVALS, scopes=[])
TO_ORDERS: Final = ticket_for(ORDERS, scopes=[])
TARGETS: Final = TargetsCaveat((Principal(REALM, "payroll"), Principal("a.example", "b"))).to_bytes().hex()
APP: Final = AppCaveat("payroll/run", b"7").to_bytes().hex()
T0: Final = tail_of(unhex(SESSION_KEY), unhex(good.TICKET)).hex()
HELD: Final[Inputs] = {
    "tail": T0, "ticket": TO_APPROVALS, "session_key": SESSION_KEY, "adder": f"billing@{REALM}",
    "discharger": f"approvals@{REALM}", "about": f"billing@{REALM}", "predicate": "release 7 approved",
    "expires": SECOND + 300, "salt": span(0x21, 16), "entropy": ENTROPY,
}  # fmt: skip
WRITTEN: Final[Inputs] = {
    "discharger": APPROVALS, "root": span(0x11, 32), "about": f"billing@{REALM}", "predicate": "four eyes",
    "expires": SECOND + 200, "entropy": ENTROPY,
}  # fmt: skip
OF_HOLDER: Final = OPERATIONS["demand-of-holder"](HELD)
OF_KDC: Final = OPERATIONS["demand-of-kdc"](WRITTEN)


def discharge_inputs(cid: str, *caveats: str) -> Inputs:
    """Inputs of `discharge`: approvals gives it for two minutes."""
    return {"cid": cid, "discharger": APPROVALS, "now": NOW, "caveats": list(caveats), "expires": SECOND + 120}


def discharge_of(cid: str, *caveats: str) -> Inputs:
    """A discharge by approvals, as an input of `ap-req`."""
    return OPERATIONS["discharge"](discharge_inputs(cid, *caveats))


DEMANDING: Final = OPERATIONS["ticket"](good.ticket_inputs(good.TICKET_KEY, caveats=[OF_KDC["caveat"]]))["ticket"]
SECOND_OF_HOLDER: Final = OPERATIONS["demand-of-holder"](
    HELD | {"tail": tail_of(unhex(SESSION_KEY), unhex(DEMANDING)).hex(), "salt": span(0x31, 16)}
)
EVERY_TYPE: Final = [
    good.UNTIL, good.READ, web.METHODS, web.PATH, TARGETS, web.PEER, web.CHANNEL, OF_HOLDER["caveat"], APP
]  # fmt: skip
HANDED_TAIL: Final = add_caveat(unhex(T0), unhex(good.READ)).hex()
HANDED: Final[Inputs] = {
    "handed": {
        "ticket": good.TICKET, "caveats": [good.READ], "tail": HANDED_TAIL, "target": f"payroll@{REALM}",
        "target_uid": 17, "client": f"billing@{REALM}", "scopes": ["read"], "expires": SECOND + 3600, "ttl_s": 3600,
        "subject": None, "demands": [],
    },
    "ticket": TO_ORDERS, "session_key": SESSION_KEY, "sender": f"billing@{REALM}", "receiver": f"orders@{REALM}",
    "entropy": ENTROPY,
}  # fmt: skip
HAND_OVER: Final[str] = OPERATIONS["hand-over"](HANDED)["message"]
EVIDENCE_KEY: Final = span(0x51, 32)
BY_GATEWAY: Final[Inputs] = {
    "client": f"gateway@{REALM}", "client_uid": 19, "session_key": EVIDENCE_KEY, "flags": 2, "caveats": [good.UNTIL],
    "chain": [[f"web@{REALM}", SECOND - 90]], "subject": [f"alice@{REALM}", 0, 2],
}  # fmt: skip
EVIDENCE: Final = ticket_for(good.BILLING, **BY_GATEWAY)
BEHALF: Final[Inputs] = {"evidence": EVIDENCE, "session_key": EVIDENCE_KEY, "caveats": [good.READ]}
ACTING_KDC: Final[Inputs] = good.KDC | {"evidence_key": ticket_key_of(good.BILLING)}
ON_BEHALF: Final[Inputs] = {
    "chain": [[f"web@{REALM}", SECOND - 90], [f"gateway@{REALM}", SECOND - 60]], "subject": [f"alice@{REALM}", 0, 2]
}  # fmt: skip
CALLED: Final = OPERATIONS["ticket"](good.ticket_inputs(good.TICKET_KEY, **ON_BEHALF))["ticket"]


def _message(op: str, given: Inputs) -> str:
    message: str = OPERATIONS[op](given)["message"]
    return message


def authority() -> list[Vector]:
    """Attenuation, discharges, hand-over, evidence and paths."""
    return [*_caveats(), *_demands(), *_calls(), *_hand_overs(), *_behalves(), *_paths()]


def _caveats() -> list[Vector]:
    chain = {"session_key": SESSION_KEY, "ticket": good.TICKET, "caveats": EVERY_TYPE}
    made = [
        vector("tails behind one caveat of each type", "chain", chain),
        vector("targets", "caveat", {"caveat": TARGETS}),
        vector("third-party, added by a holder", "caveat", {"caveat": OF_HOLDER["caveat"]}),
        vector("third-party, written by the KDC", "caveat", {"caveat": OF_KDC["caveat"]}),
        vector("app", "caveat", {"caveat": APP}),
        vector("app without payload", "caveat", {"caveat": AppCaveat("a/b", b"").to_bytes().hex()}),
        vector("app caveat that holds", "judge-caveat",
               {"caveat": APP, "access": web.KNOWN | {"app": {"payroll/run": b"7".hex()}}}),
    ]  # fmt: skip
    for of_tgt, caveats in (
        (1, []), (0, []), (1, [good.UNTIL, good.READ, TARGETS]), (1, [good.READ, good.READ, good.UNTIL]),
        (0, [good.UNTIL, good.READ]), (1, [TARGETS, TargetsCaveat((Principal(REALM, "orders"),)).to_bytes().hex()]),
    ):  # fmt: skip
        what = "TGT" if of_tgt else "evidence"
        made.append(
            vector(f"{len(caveats)} caveats of a {what} pass on", "carry", {"caveats": caveats, "of_tgt": of_tgt})
        )
    made.append(vector("limits of every type that may be", "limits", {"caveats": [
        good.UNTIL, good.READ, web.METHODS, web.PATH, web.PEER, web.CHANNEL, APP]}))  # fmt: skip
    for tails in ([], [span(1, 32)], [span(1, 32), span(2, 32)], [span(2, 32), span(1, 32)]):
        given = {"pop_key": span(0, 32), "tails": tails}
        made.append(vector(f"{len(tails)} discharges mixed in", "mix", given))
    return made


def _demands() -> list[Vector]:
    made = [
        vector("demand of a holder", "demand-of-holder", HELD),
        vector("demand of the KDC", "demand-of-kdc", WRITTEN),
    ]
    box = {"pop_key": span(5, 32), "request_digest": span(6, 32), "entropy": ENTROPY}
    for name, demand in (("holder", OF_HOLDER), ("KDC", OF_KDC)):
        cid = demand["cid"]
        opened = {"cid": cid, "discharger": APPROVALS, "now": NOW}
        made.append(vector(f"demand of the {name} is opened", "open-demand", opened))
        made.append(vector(f"discharge for the {name}", "discharge", discharge_inputs(cid)))
        made.append(vector(f"narrow discharge for the {name}", "discharge", discharge_inputs(cid, good.READ)))
        given = discharge_of(cid, good.READ)
        sealed = box | {"caveats": given["caveats"], "tail": given["tail"]}
        made.append(vector(f"discharge for the {name} in its box", "seal-discharge", sealed))
        shut = {name: box[name] for name in ("pop_key", "request_digest")} | {"cid": cid} | made[-1]["out"]
        made.append(vector(f"discharge for the {name} is opened", "open-discharge", shut))
        made.append(vector(f"discharge for the {name} is judged", "judge-discharge", {"caveats": given["caveats"]}))
    ending = discharge_inputs(OF_KDC["cid"]) | {"expires": SECOND + 9999}
    return [*made, vector("discharge as long as its demand", "discharge", ending)]


def _calls() -> list[Vector]:
    cases: dict[str, tuple[str, list[str], list[Inputs]]] = {
        "a holder": (good.TICKET, [OF_HOLDER["caveat"]], [discharge_of(OF_HOLDER["cid"])]),
        "a holder, then narrowed": (good.TICKET, [OF_HOLDER["caveat"], good.READ], [discharge_of(OF_HOLDER["cid"])]),
        "the KDC": (DEMANDING, [], [discharge_of(OF_KDC["cid"], good.READ)]),
        "the KDC and a holder": (
            DEMANDING, [SECOND_OF_HOLDER["caveat"]],
            [discharge_of(OF_KDC["cid"]), discharge_of(SECOND_OF_HOLDER["cid"])],
        ),
    }  # fmt: skip
    made = []
    for name, (ticket, caveats, discharges) in cases.items():
        asked = good.ap_inputs(ticket=ticket, caveats=caveats, discharges=discharges)
        made.append(vector(f"AP-REQ with what {name} demanded", "ap-req", asked))
        accepted = good.accept_inputs(made[-1]["out"]["message"])
        made.append(vector(f"AP-REQ with what {name} demanded is accepted", "accept", accepted))
        rep = {"request": asked, "reply": made[-1]["out"]["reply"]}
        made.append(vector(f"AP-REP to what {name} demanded is believed", "open-ap-rep", rep))
    app = _message("ap-req", good.ap_inputs(caveats=[APP]))
    known = good.accept_inputs(app) | {"access": web.KNOWN | {"app": {"payroll/run": b"7".hex()}}}
    made.append(vector("AP-REQ with a registered app caveat", "accept", known))
    limited = OPERATIONS["ticket"](good.ticket_inputs(good.TICKET_KEY, caveats=[good.READ, good.UNTIL]))["ticket"]
    asked = good.ap_inputs(ticket=limited, caveats=[good.READ])
    made.append(vector("caveats of the KDC are no part of the tail", "accept",
                       good.accept_inputs(_message("ap-req", asked))))  # fmt: skip
    return made


def _hand_overs() -> list[Vector]:
    full = HANDED | {"handed": HANDED["handed"] | {
        "subject": [f"alice@{REALM}", 0, 1], "demands": [OF_KDC["cid"], OF_HOLDER["cid"]], "caveats": EVERY_TYPE,
        "tail": tail_after(unhex(T0), map(unhex, EVERY_TYPE)).hex(),
    }}  # fmt: skip
    made = []
    for name, given in (("hand-over", HANDED), ("hand-over with demands and a subject", full)):
        made.append(vector(name, "hand-over", given))
        opened = {"message": made[-1]["out"]["message"], "receiver": ORDERS, "now": NOW}
        made.append(vector(f"{name} is opened", "open-hand-over", opened))
    return made


def _behalves() -> list[Vector]:
    made = [vector("proof and key", "evidence", {"session_key": EVIDENCE_KEY, "evidence": EVIDENCE,
                                                 "pop_key": span(0, 32)})]  # fmt: skip
    sealed = good.ticket_inputs(ticket_key_of(good.BILLING), **BY_GATEWAY)
    made.append(vector("ticket that may be evidence", "ticket", sealed))
    for name, fields in (("on behalf", ON_BEHALF), ("demanding", {"caveats": [OF_KDC["caveat"]]})):
        made.append(vector(f"ticket {name}", "ticket", good.ticket_inputs(good.TICKET_KEY, **fields)))
        opened = {"ticket": made[-1]["out"]["ticket"], "key": good.TICKET_KEY}
        made.append(vector(f"ticket {name} is opened", "open-ticket", opened))
        made.append(vector(f"ticket {name} is the KDC's", "kdc-mark", opened | {"mac_keys": good.MAC_KEYS}))
    want = {"target": f"payroll@{REALM}", "kind": 0, "scopes": ["read"], "ttl_s": 600, "flags": 2,
            "limits": [web.METHODS, good.UNTIL]}  # fmt: skip
    for name, behalf in (("evidence", BEHALF), ("evidence without caveats", BEHALF | {"caveats": []}),
                         ("a subject", {"subject": f"alice@{REALM}"}), ("nobody, with limits", None)):  # fmt: skip
        asked = good.tgs_inputs(wants=[want], behalf=behalf)
        made.append(vector(f"TGS-REQ with {name}", "tgs-req", asked))
        verified = {"kdc": ACTING_KDC, "message": made[-1]["out"]["message"]}
        made.append(vector(f"TGS-REQ with {name} is verified", "verify-tgs-req", verified))
        subject = None if behalf is None else [f"alice@{REALM}", 0, 2]
        result = {"target": f"payroll@{REALM}", "uid": 17, "credential": CALLED, "session_key": SESSION_KEY,
                  "ttl_s": 300, "flags": 2, "kvno": 3, "scopes": ["read"], "notes": [], "subject": subject,
                  "demands": [OF_KDC["cid"]]}  # fmt: skip
        reply = good.TGS_REPLY | {"request": asked, "kdc": ACTING_KDC, "results": [result]}
        made.append(vector(f"TGS-REP to {name}", "tgs-rep", reply))
        opened = {"request": asked, "reply": made[-1]["out"]["reply"]}
        made.append(vector(f"TGS-REP to {name} is opened", "open-tgs-rep", opened))
    made.append(vector("AP-REQ on behalf of somebody", "accept", good.accept_inputs(
        _message("ap-req", good.ap_inputs(ticket=CALLED)), accept_user=True)))  # fmt: skip
    return made


def _paths() -> list[Vector]:
    rules: dict[str, tuple[list[str], Inputs]] = {
        "no rule": (["web", "gateway", "billing"], {}), "an own call": ([], {"deny_via": ["billing"], "max_depth": 0}),
        "required": (["web", "gateway", "billing"], {"require_via": ["web", "billing"]}),
        "deep enough": (["web", "gateway", "billing"], {"max_depth": 2}),
        "another realm": (["web@a.example", "billing"], {"deny_via": ["web"]}),
        "a callback": (["payroll", "billing"], {"callbacks": 1}),
    }  # fmt: skip
    made = [
        vector(f"path: {name}", "path", {"path": path, "target": "payroll", "rule": rule})
        for name, (path, rule) in rules.items()
    ]
    called = good.accept_inputs(_message("ap-req", good.ap_inputs(ticket=CALLED)), accept_user=True)
    rule = {"require_via": ["gateway"], "max_depth": 2}
    return [*made, vector("a target that wants this path", "accept", called | {"chain": rule})]
