"""Negative vectors of the exchanges: requests and replies with exactly one thing wrong, made from primitives.

Every one carries a right MAC or opens with the right key unless that is the point.
"""

from __future__ import annotations

from typing import Any

from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import derive, mac
from orthros_protocol.primitives.sealing import seal
from orthros_protocol.testing import CountingEntropy
from workshop.vectors import positive as good
from workshop.vectors.negative import edited, flip, plain_body, refused, sealed
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, ap_pending, as_pending, root_of, tgs_pending, unhex


def as_body(**changes: Any) -> str:
    """An AS-REQ of billing with these items changed, and a right MAC."""
    key = root_of(good.BILLING).as_key()
    body: dict[str, Any] = {
        "version": 1, "kind": 1, "realm": good.REALM, "kid": key.kid, "nonce": unhex(good.NONCE), "ts": good.NOW,
        "service": "kdc/tgt", "ttl_s": 0, "flags": 0, "instance": bytes(16), "crit": [], "opt": [],
    } | changes  # fmt: skip
    encoded = encode(*body.values())
    return encode(encoded, mac(key.material, "as-req", encoded)).hex()


def as_answer(**changes: Any) -> str:
    """An AS-REP to the good AS-REQ with these items changed, in a right box."""
    key, pending = as_pending(good.as_inputs())
    body: dict[str, Any] = {
        "nonce": unhex(good.NONCE), "time": good.NOW, "kdc_id": "kdc-a", "for": [1, good.REALM, "kdc/tgt"],
        "cname": "billing", "cuid": 16, "ticket": unhex(good.TGT), "key": bytes(32), "ttl_s": 1, "flags": 1, "kvno": 1,
        "opt": [],
    } | changes  # fmt: skip
    box = seal(key.reply_key, "as-rep", pending.context, encode(*body.values()), entropy=unhex(good.ENTROPY))
    return encode(1, 0, box).hex()


def as_exchange() -> list[Vector]:
    """The initial exchange."""
    request = {"client": good.BILLING, "message": good.AS_REQ}
    made = [refused("AS-REQ: MAC", "verify-as-req", request | {"message": flip(good.AS_REQ, -1)}, "mac")]
    made.append(refused("AS-REQ: nonce", "verify-as-req", request | {"message": flip(good.AS_REQ, 40)}, "mac"))
    made.append(refused("AS-REQ: cut short", "verify-as-req", request | {"message": good.AS_REQ[:-2]}, "encoding"))
    made.append(refused("AS-REQ: kid", "verify-as-req", request | {"message": as_body(kid=bytes(8))}, "kid"))
    made.append(refused("AS-REQ: realm", "verify-as-req", request | {"message": as_body(realm="a.b")}, "kid"))
    for field, value in {"version": 2, "kind": 2, "service": "KDC", "instance": b"", "crit": None}.items():
        made.append(
            refused(f"AS-REQ: {field}", "verify-as-req", request | {"message": as_body(**{field: value})}, "encoding")
        )
    for field, extra in {"flags": 1, "crit": [[1, b""]]}.items():
        made.append(
            refused(
                f"AS-REQ: {field} critical",
                "verify-as-req",
                request | {"message": as_body(**{field: extra})},
                "critical",
            )
        )
    reply = {"request": good.as_inputs(), "reply": good.AS_REP}
    other = good.as_inputs(nonce=good.span(1, 16))
    made.append(refused("AS-REP: another AS-REQ", "open-as-rep", reply | {"request": other}, "box"))
    made.append(refused("AS-REP: bit of the box", "open-as-rep", reply | {"reply": flip(good.AS_REP, -1)}, "box"))
    made.append(
        refused("AS-REP: reply dressed as error", "open-as-rep", reply | {"reply": flip(good.AS_REP, 2)}, "box")
    )
    made.append(refused("AS-REP: version", "open-as-rep", reply | {"reply": flip(good.AS_REP, 1)}, "encoding"))
    nak = encode(1, 2, bytes(8)).hex()
    made.append(refused("AS-REP: NAK", "open-as-rep", reply | {"reply": nak}, "nak"))
    answers: dict[str, Any] = {
        "nonce": bytes(16), "for": [1, good.REALM, "kdc/keys"], "cname": "orders", "cuid": 17
    }  # fmt: skip
    for field, value in answers.items():
        answer = as_answer(**{field: value})
        made.append(refused(f"AS-REP: {field}", "open-as-rep", reply | {"reply": answer}, "answer"))
    for field, value in {"ticket": unhex(good.TICKET), "kvno": 0, "opt": None}.items():
        answer = as_answer(**{field: value})
        made.append(refused(f"AS-REP: {field}", "open-as-rep", reply | {"reply": answer}, "body"))
    error = OPERATIONS["as-rep"](good.AS_ERROR)["reply"]
    made.append(refused("AS-ERR", "open-as-rep", reply | {"reply": error}, "refused-by-peer"))
    return made


def tgs_body(tgt: str = good.TGT, **changes: Any) -> str:
    """A TGS-REQ with these items changed, and a right MAC. Wants in a list are what the bin holds."""
    want = [0, good.REALM, "payroll", None, 0, 0, []]
    body: dict[str, Any] = {
        "version": 1, "kind": 2, "tgt": unhex(tgt), "caveats": b"", "dis": [], "ts": good.NOW,
        "nonce": unhex(good.NONCE), "wants": [want], "behalf": None, "crit": [], "opt": [],
    } | changes  # fmt: skip
    if isinstance(body["wants"], list):
        body["wants"] = encode(*body["wants"])
    encoded = encode(*body.values())
    key = tgs_pending(good.tgs_inputs(tgt=tgt)).key
    return encode(encoded, mac(key, "tgs-req", encoded)).hex()


def tgs_answer(results: list[Any], **changes: Any) -> str:
    """A TGS-REP to the good TGS-REQ with these results and items, in a right box."""
    pending = tgs_pending(good.tgs_inputs())
    body: dict[str, Any] = {
        "nonce": unhex(good.NONCE), "time": good.NOW, "kdc_id": "kdc-a", "seq": 1, "results": results, "opt": []
    } | changes  # fmt: skip
    key = derive(pending.key, "tgs-rep")
    return encode(
        1, 0, seal(key, "tgs-rep", pending.context, encode(*body.values()), entropy=unhex(good.ENTROPY))
    ).hex()


def tgs_exchange() -> list[Vector]:
    """The ticket-granting exchange."""
    request = {"kdc": good.KDC, "message": good.TGS_REQ}

    def message(name: str, data: str, stage: str) -> Vector:
        return refused(f"TGS-REQ: {name}", "verify-tgs-req", request | {"message": data}, stage)

    minted = sealed(good.TGT_KEY | {"key": good.TICKET_KEY["key"]}, b"")
    made = [
        message("MAC", flip(good.TGS_REQ, -1), "mac"),
        message("cut short", good.TGS_REQ[:-2], "encoding"),
        message("service ticket as TGT", tgs_body(good.TICKET), "kid"),
        message("TGT minted with a service key", tgs_body(minted), "kid"),
        message("bit of the TGT", flip(good.TGS_REQ, 80), "box"),
        message("edited TGT", tgs_body(edited(good.TGT_KEY, good.TGT, cname="root")), "kdc-mark"),
        message("no wants", tgs_body(wants=[]), "wants"),
        message("33 wants", tgs_body(wants=[[0, good.REALM, "a", None, 0, 0, []]] * 33), "wants"),
        message("scopes not in order", tgs_body(wants=[[0, good.REALM, "a", ["b", "a"], 0, 0, []]]), "wants"),
        message("unknown kind of want", tgs_body(wants=[[2, good.REALM, "a", None, 0, 0, []]]), "wants"),
        message("critical extension", tgs_body(crit=[[1, b""]]), "critical"),
        message("discharges", tgs_body(dis=[b""]), "discharges"),
    ]
    reply = {"request": good.tgs_inputs(), "reply": good.TGS_REP}

    def answer(name: str, change: Inputs, stage: str) -> Vector:
        return refused(f"TGS-REP: {name}", "open-tgs-rep", reply | change, stage)

    no = [1, good.REALM, "payroll", 15, 0, bytes(8), []]
    orders = [1, good.REALM, "orders", 15, 0, bytes(8), []]
    ticket = [0, good.REALM, "payroll", 17, bytes(16), bytes(32), 1, 0, 1, [], None, [], []]
    bare = [0, good.REALM, "payroll", 17, bytes(16), None, 1, 0, 1, [], None, [], []]
    return [
        *made,
        answer("another TGS-REQ", {"request": good.tgs_inputs(nonce=good.span(1, 16))}, "box"),
        answer("bit of the box", {"reply": flip(good.TGS_REP, -1)}, "box"),
        answer("NAK", {"reply": encode(1, 2, bytes(8)).hex()}, "nak"),
        answer("nonce", {"reply": tgs_answer([no, orders, no], nonce=bytes(16))}, "answer"),
        answer("one result missing", {"reply": tgs_answer([no, orders])}, "answer"),
        answer("results in another order", {"reply": tgs_answer([orders, no, no])}, "answer"),
        answer("ticket without a key", {"reply": tgs_answer([bare, orders, no])}, "answer"),
        answer(
            "scopes not in order", {"reply": tgs_answer([[*ticket[:9], ["b", "a"], *ticket[10:]], orders, no])}, "body"
        ),
        answer("no results", {"reply": tgs_answer([])}, "body"),
        answer("TGS-ERR", {"reply": OPERATIONS["tgs-rep"](good.TGS_ERROR)["reply"]}, "refused-by-peer"),
    ]


def ap_body(ticket: str = good.TICKET, caveats: tuple[bytes, ...] = (), label: str = "ap-req.0", **changes: Any) -> str:
    """An AP-REQ with these items changed, and a right MAC under the tail behind these caveats."""
    inputs = good.ap_inputs(ticket=ticket, caveats=[caveat.hex() for caveat in caveats])
    body: dict[str, Any] = {
        "version": 1, "kind": 3, "use": 0, "ticket": unhex(ticket), "caveats": encode(*caveats) if caveats else b"",
        "dis": [], "ts": good.NOW, "nonce": unhex(good.NONCE), "epoch": unhex(good.EPOCH), "flags": 0,
        "bind": unhex(good.BIND), "user": None, "crit": [], "opt": [],
    } | changes  # fmt: skip
    encoded = encode(*body.values())
    return encode(encoded, mac(ap_pending(inputs).pop_key, label, encoded)).hex()


def ap_exchange() -> list[Vector]:
    """The AP exchange, in the order of its checks."""

    def message(name: str, data: str, stage: str, **situation: Any) -> Vector:
        return refused(f"AP-REQ: {name}", "accept", good.accept_inputs(data, **situation), stage)

    def dated(**fields: Any) -> str:
        ticket: str = OPERATIONS["ticket"](good.ticket_inputs(good.TICKET_KEY, **fields))["ticket"]
        return ap_body(ticket)

    ap, key, second = good.AP_REQ, good.TICKET_KEY, good.SECOND
    tgt = good.TGT_KEY | {"name": "payroll", "key": key["key"], "uid": 17, "kvno": 3}
    entropy = CountingEntropy()
    read = unhex(good.READ)
    later = ap_pending(good.ap_inputs(caveats=[good.READ, good.UNTIL])).pop_key
    body = encode(
        1, 3, 0, unhex(good.TICKET), encode(unhex(good.UNTIL)), [], good.NOW, unhex(good.NONCE), unhex(good.EPOCH), 0,
        unhex(good.BIND), None, [], [],
    )  # fmt: skip
    made = [
        message("over 24 KiB", (b"\x92\xc5\x61\x00" + entropy(24_832)).hex(), "size"),
        message("trailing byte", ap + "00", "encoding"),
        message("cut short", ap[:-2], "encoding"),
        message("MAC of 31 bytes", encode(unhex(ap)[4:50], bytes(31)).hex(), "encoding"),
        message("empty MAC", encode(unhex(ap)[4:50], b"").hex(), "encoding"),
        message("MAC as str", encode(unhex(ap)[4:50], "m" * 32).hex(), "encoding"),
        message("version", ap_body(version=2), "encoding"),
        message("kind", ap_body(kind=2), "encoding"),
        message("use 4", ap_body(use=4), "encoding"),
        message("nonce of 15 bytes", ap_body(nonce=bytes(15)), "encoding"),
        message("user not canonical", ap_body(user=["Alice", 1]), "encoding"),
        message("five discharges", ap_body(dis=[b""] * 5), "encoding"),
        message("another use than served", ap_body(use=1, label="ap-req.1"), "mac"),
        message("ticket version", ap_body(flip(good.TICKET, 0)), "header"),
        message("ticket suite", ap_body(flip(good.TICKET, 1)), "header"),
        message("ticket type 3", ap_body(flip(good.TICKET, 2)), "header"),
        message("TGT under the service's key", ap_body(edited(tgt, sealed(tgt, plain_body()))), "header"),
        message("ticket kvno", ap_body(flip(good.TICKET, 6)), "kid"),
        message("ticket kid", ap_body(flip(good.TICKET, 7)), "kid"),
        message("ticket for another realm", ap_body(sealed(key | {"realm": "example.com"}, plain_body())), "box"),
        message("ticket for another uid", ap_body(sealed(key | {"uid": 18}, plain_body())), "box"),
        message("bit of the ticket", ap_body(flip(good.TICKET, 100)), "box"),
        message("ticket body cut short", ap_body(sealed(key, plain_body()[:-1])), "body"),
        message("ticket with a critical extension", ap_body(edited(key, good.TICKET, crit=[[1, b""]])), "body"),
        message("empty array of caveats", _with_caveats(encode()), "caveats"),
        message("17 caveats", _with_caveats(encode(*[read] * 17)), "caveats"),
        message("caveat of wrong arity", ap_body(caveats=(encode(1),)), "caveats"),
        message("caveat with bool for int", ap_body(caveats=(b"\x92\x01\xc3",)), "caveats"),
        message("MAC", flip(ap, -1), "mac"),
        message("timestamp changed", ap.replace(f"{good.NOW:016x}", f"{good.NOW + 1:016x}"), "mac"),
        message("label of another use", ap_body(label="ap-req.1"), "mac"),
        message("AP-REP as AP-REQ", ap_body(label="ap-rep.0"), "mac"),
        message("first caveat dropped", encode(body, mac(later, "ap-req.0", body)).hex(), "mac"),
        message("caveat added without the tail", _with_caveats(encode(read)), "mac"),
        message("replayed", ap, "replay", earlier=[ap]),
        message("replayed after a refusal for its epoch", ap_body(epoch=None), "replay",
                earlier=[ap_body(epoch=None)]),
        message("dated after the ticket's end", ap_body(ts=(second + 3600) * 1000 + 1), "ticket-times"),
        message("expired", dated(iat=second - 3600, exp=second - 1), "ticket-times"),
        message("expires now", dated(exp=second), "ticket-times"),
        message("exp before iat", dated(iat=second + 100, exp=second + 50), "ticket-times"),
        message("life over the maximum", dated(exp=second + 86_401), "ticket-times"),
        message("issued 301 s from now", dated(iat=second + 301, exp=second + 400), "ticket-times"),
        message("60.001 s old", ap, "window", now=good.NOW + 60_001),
        message("5.001 s ahead", ap, "window", now=good.NOW - 5_001),
        message("unknown low flag", ap_body(flags=2), "critical"),
        message("critical extension", ap_body(crit=[[1, b""]]), "critical"),
        message("no epoch", ap_body(epoch=None), "epoch"),
        message("another epoch", ap_body(epoch=bytes(8)), "epoch"),
        message("another bind", ap_body(bind=bytes(32)), "bind"),
        message("no bind", ap_body(bind=None), "bind"),
        message("discharge without a third-party caveat", ap_body(dis=[b""]), "discharges"),
        message("caveat of unknown type", ap_body(caveats=(encode(10, "x"),)), "caveat"),
        message("expires caveat has passed", ap_body(caveats=(encode(1, second),)), "caveat"),
        message("user where nobody else is served", ap_body(user=["alice", 1]), "user"),
        message("user without the scope", ap_body(user=["alice", 1]), "user", accept_user=True),
    ]  # fmt: skip
    return made + _ap_replies()


def _with_caveats(blob: bytes) -> str:
    """An AP-REQ that shows a caveats field, under the key of the ticket without caveats."""
    body = encode(
        1, 3, 0, unhex(good.TICKET), blob, [], good.NOW, unhex(good.NONCE), unhex(good.EPOCH), 0, unhex(good.BIND),
        None, [], [],
    )  # fmt: skip
    return encode(body, mac(ap_pending(good.ap_inputs()).pop_key, "ap-req.0", body)).hex()


def _ap_replies() -> list[Vector]:
    pending = ap_pending(good.ap_inputs())
    reply = {"request": good.ap_inputs(), "reply": good.AP_REP}

    def answer(name: str, change: Inputs, stage: str) -> Vector:
        return refused(f"AP-REP: {name}", "open-ap-rep", reply | change, stage)

    def made(kind: str, *items: Any) -> Inputs:
        body = encode(*items)
        return {"reply": encode(body, mac(pending.pop_key, kind, pending.context + body)).hex()}

    epoch, nonce = unhex(good.EPOCH), unhex(good.NONCE)
    return [
        answer("another AP-REQ", {"request": good.ap_inputs(nonce=good.span(1, 16))}, "mac"),
        answer("another use", made("ap-rep.1", 1, nonce, good.NOW, epoch, 0, []), "mac"),
        answer("bit", {"reply": flip(good.AP_REP, 10)}, "mac"),
        answer("AP-REQ as AP-REP", {"reply": good.AP_REQ}, "mac"),
        answer("nonce", made("ap-rep.0", 1, bytes(16), good.NOW, epoch, 0, []), "answer"),
        answer("version", made("ap-rep.0", 2, nonce, good.NOW, epoch, 0, []), "encoding"),
        answer("unknown low flag", made("ap-rep.0", 1, nonce, good.NOW, epoch, 1, []), "critical"),
        answer("AP-ERR", made("ap-err.0", 1, 40, good.NOW, epoch, None, []), "refused-by-peer"),
    ]
