"""The messages whose fields are gone through: what is good of each, and how it is sealed or signed with right keys."""

from __future__ import annotations

from typing import Any, Final

from orthros_protocol.exchanges.ap_exchange import ApError, ApReply, ApRequest, ApSigned
from orthros_protocol.exchanges.as_exchange import AsReply, UnverifiedAsRequest
from orthros_protocol.exchanges.http_profile import HttpReply, encode_base64url
from orthros_protocol.exchanges.tgs_exchange import TgsReply, UnverifiedTgsRequest
from orthros_protocol.exchanges.wants import Want
from orthros_protocol.keys import keytab
from orthros_protocol.primitives import messages
from orthros_protocol.primitives.canonical import encode, unpack
from orthros_protocol.primitives.derivation import derive, digest, mac
from orthros_protocol.primitives.sealing import seal
from orthros_protocol.tickets import caveats, discharges, hand_over
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from orthros_protocol.tickets.ticket import Ticket
from workshop.vectors import positive as good
from workshop.vectors import positive_authority as held
from workshop.vectors import positive_http as web
from workshop.vectors.edges import HIGH_FLAGS, MOST_INT, MOST_U32, scopes_of
from workshop.vectors.fields import fields
from workshop.vectors.negative import refused, sealed
from workshop.vectors.parties import Inputs, Vector, ap_pending, as_pending, root_of, tgs_pending, unhex
from workshop.vectors.positive import ENTROPY, EPOCH, NONCE, NOW, REALM, SECOND, vector

_NONCE: Final = unhex(NONCE)
_SUBJECT: Final = [REALM, "alice", 0, 2]


def requests() -> list[Vector]:
    """AS-REQ, TGS-REQ and its wants, AP-REQ."""
    return [*_as_request(), *_tgs_request(), *_wants(), *_ap_request()]


def _as_request() -> list[Vector]:
    key = root_of(good.BILLING).as_key()
    items = [1, 1, REALM, key.kid, _NONCE, NOW, "kdc/tgt", 3600, 0, bytes(16), [], [[1, b"x"], [2, b""]]]

    def whole(message: bytes) -> Inputs:
        return {"client": good.BILLING, "message": message.hex()}

    def signed(body: bytes) -> Inputs:
        return whole(encode(body, mac(key.material, "as-req", body)))

    made = fields("AS-REQ", "verify-as-req", UnverifiedAsRequest, items, signed)
    return [*made, *fields("signed", "verify-as-req", messages.Signed, unpack(unhex(good.AS_REQ)), whole)]


def _tgs_request() -> list[Vector]:
    key = tgs_pending(good.tgs_inputs()).key
    wants = encode([0, REALM, "payroll", None, 0, 0, []])
    items = [1, 2, unhex(good.TGT), b"", [], NOW, _NONCE, wants, [None, b"", _SUBJECT], [], [[1, b"x"], [2, b""]]]

    def signed(body: bytes) -> Inputs:
        return {"kdc": held.ACTING_KDC, "message": encode(body, mac(key, "tgs-req", body)).hex()}

    made = fields("TGS-REQ", "verify-tgs-req", UnverifiedTgsRequest, items, signed)
    items[4:5], items[8:9] = [[b"", b""]], [[unhex(held.TO_ORDERS), b"", None]]
    return [*made, *fields("TGS-REQ with evidence", "verify-tgs-req", UnverifiedTgsRequest, items, signed)]


def _wants() -> list[Vector]:
    want = [0, REALM, "payroll", ["read", "write"], 600, 1, [[1, b"x"], [2, b""]]]
    without_limits = [*want[:-1], [[2, b"x"], [3, b""]]]
    return [
        made
        for name, items in {"want": want, "want without limits": without_limits}.items()
        for made in fields(name, "read-wants", Want, items, lambda one: {"wants": (b"\x91" + one).hex()})
    ]


def _ap_request() -> list[Vector]:
    key = ap_pending(good.ap_inputs()).pop_key
    items = [
        1, 3, 0, unhex(good.TICKET), b"", [], NOW, _NONCE, unhex(EPOCH), 0, unhex(good.BIND), ["alice", 2], [],
        [[1, b"x"], [2, b""]],
    ]  # fmt: skip

    def signed(body: bytes) -> Inputs:
        message = encode(body, mac(key, "ap-req.0", body)).hex()
        return good.accept_inputs(message, accept_user=True)

    made = fields("AP-REQ", "accept", ApRequest, items, signed)
    items[5:6] = [[b"", b""]]
    made += fields("AP-REQ with discharges", "accept", ApRequest, items, signed)
    return [*made, refused("AP-REQ is not built: its user", "ap-req", good.ap_inputs(user=["A", 2]), "build")]


def answers() -> list[Vector]:
    """AS-REP, TGS-REP, AP-REP, AP-ERR, the KDC's errors, `Orthros-Reply`."""
    return [*_as_reply(), *_tgs_reply(), *_ap_reply(), *_http_reply()]


def _as_reply() -> list[Vector]:
    key, pending = as_pending(good.as_inputs())

    def whole(reply: bytes) -> Inputs:
        return {"request": good.as_inputs(), "reply": reply.hex()}

    def answer(body: bytes) -> Inputs:
        return whole(encode(1, 0, seal(key.reply_key, "as-rep", pending.context, body, entropy=unhex(ENTROPY))))

    def refusal(body: bytes) -> Inputs:
        return whole(encode(1, 1, seal(key.error_key, "as-err", pending.context, body, entropy=unhex(ENTROPY))))

    items = [
        _NONCE, NOW, "kdc-a", [1, REALM, "kdc/tgt"], "billing", 16, unhex(good.TGT), bytes(32), 60, 1, 1,
        [[1, b"x"], [2, b""]],
    ]  # fmt: skip
    made = fields("AS-REP", "open-as-rep", AsReply, items, answer)
    made += fields("reply", "open-as-rep", messages._Outer, unpack(unhex(good.AS_REP)), whole)
    made += fields("NAK", "open-as-rep", messages._Outer, [1, 2, bytes(8)], whole)
    made.append(refused("AS-REP is not built: its KDC", "as-rep", good.AS_REPLY | {"kdc_id": "KDC"}, "build"))
    error = [15, NOW, 60, "later", [[1, b"x"], [2, b""]]]
    return made + fields("AS-ERR", "open-as-rep", messages._SealedError, error, refusal)


def _tgs_reply() -> list[Vector]:
    pending = tgs_pending(good.tgs_inputs())
    key = derive(pending.key, "tgs-rep")

    def answer(body: bytes) -> Inputs:
        box = seal(key, "tgs-rep", pending.context, body, entropy=unhex(ENTROPY))
        return {"request": good.tgs_inputs(), "reply": encode(1, 0, box).hex()}

    granted = [
        0, REALM, "payroll", 17, unhex(good.TICKET), bytes(32), 600, 0, 3, ["read", "write"], _SUBJECT,
        [[2, 1, 0], [2, 1, None]], [],
    ]  # fmt: skip
    no = [1, REALM, "payroll", 15, 0, bytes(8), [[1, b"x"], [2, b""]]]
    orders = [1, REALM, "orders", 15, 0, bytes(8), []]
    made = []
    for name, first in {"TGS-REP": granted, "TGS-REP that refuses": no}.items():
        items = [_NONCE, NOW, "kdc-a", 9, [first, orders, no], [[1, b"x"], [2, b""]]]
        made += fields(name, "open-tgs-rep", TgsReply, items, answer)
    return made


def _ap_reply() -> list[Vector]:
    pending = ap_pending(good.ap_inputs())

    def whole(reply: bytes) -> Inputs:
        return {"request": good.ap_inputs(), "reply": reply.hex()}

    def answer(body: bytes) -> Inputs:
        return whole(encode(body, mac(pending.pop_key, "ap-rep.0", pending.context + body)))

    def refusal(body: bytes) -> Inputs:
        return whole(encode(body, mac(pending.pop_key, "ap-err.0", pending.context + body)))

    reply = [1, _NONCE, NOW, unhex(EPOCH), 0, [[1, b"x"], [2, b""]]]
    error = [1, 40, NOW, unhex(EPOCH), "why", [[1, b"x"], [2, b""]]]
    made = fields("AP-REP", "open-ap-rep", ApReply, reply, answer)
    made += fields("AP-REP", "open-ap-rep", ApSigned, unpack(unhex(good.AP_REP)), whole)
    return made + fields("AP-ERR", "open-ap-rep", ApError, error, refusal)


def _http_reply() -> list[Vector]:
    covered = ["content-type", "empty"]
    values = digest(encode(b"text/plain", b""))
    items = [1, NOW, unhex(EPOCH), 200, covered, values, digest(b"done")]
    key = ap_pending(web.REQUEST).pop_key

    def answer(body: bytes) -> Inputs:
        proof = mac(key, "http-rep", digest(web.AP_REQ) + body)
        value = f"s={encode_base64url(body)}, m={encode_base64url(proof)}"
        return {"request": web.REQUEST, "value": value, **web.RESPONSE}

    return fields("Orthros-Reply", "open-http-reply", HttpReply, items, answer)


def tickets() -> list[Vector]:
    """What is in a ticket, caveats, records of key files."""
    return [*_ticket(), *_sealed_tickets(), *_caveats(), *_key_record()]


def _ticket() -> list[Vector]:
    # The KDC's mark is not asked for, so nothing hides what another field says.
    items = [
        1, bytes(16), REALM, "billing", 16, bytes(32), SECOND, SECOND + 60, SECOND, bytes(8), 0, ["read", "write"], b"",
        [["a.example", "gateway", SECOND], [None, "orders", SECOND]], ["a.example", "alice", 7, 2], bytes(16), [],
        [[1, b"x"], [2, b""]], 1, bytes(16),
    ]  # fmt: skip
    return fields(
        "ticket", "open-ticket", Ticket, items,
        lambda body: {"ticket": sealed(good.TICKET_KEY, body), "key": good.TICKET_KEY},
    )  # fmt: skip


def _sealed_tickets() -> list[Vector]:
    """What the KDC may write into a ticket, and what it refuses to write."""
    name, hop = f"{'n' * 128}@{'m' * 128}", [f"{'h' * 128}@{'i' * 128}", MOST_INT]
    largest = {
        "client": name, "client_uid": MOST_INT, "iat": MOST_INT, "exp": MOST_INT, "auth_time": MOST_INT,
        "flags": HIGH_FLAGS | 3, "scopes": scopes_of(32), "chain": [hop] * 8, "subject": [hop[0], MOST_INT, 2],
    }  # fmt: skip
    smallest = {
        "client": "n@m", "client_uid": 0, "iat": 0, "exp": 0, "auth_time": 0, "flags": 0, "scopes": ["s"],
        "chain": [["h@i", 0]], "subject": ["h@i", 0, 1],
    }  # fmt: skip
    wrong: dict[str, list[Any]] = {
        "scopes": [scopes_of(33), ["A"], ["b", "a"], ["a", "a"], ["s" * 65]], "flags": [-1, MOST_U32 + 1],
        "chain": [[hop] * 9, [[hop[0], -1]], [[hop[0], MOST_INT + 1]]],
        "subject": [[hop[0], -1, 2], [hop[0], MOST_INT + 1, 2], [hop[0], 0, 0], [hop[0], 0, 3]],
    }  # fmt: skip
    wrong |= {field: [-1, MOST_INT + 1] for field in ("client_uid", "iat", "exp", "auth_time")}
    sizes = {"tid": 16, "session_key": 32, "ckid": 8, "txn": 16}
    wrong |= {field: [good.span(0, size - 1), good.span(0, size + 1)] for field, size in sizes.items()}
    made = [
        vector("ticket whose fields are at their largest", "ticket", good.ticket_inputs(good.TICKET_KEY, **largest)),
        vector("ticket whose fields are at their smallest", "ticket", good.ticket_inputs(good.TICKET_KEY, **smallest)),
    ]
    made += [
        refused(f"ticket is not sealed: mark of key {number}", "ticket",
                good.ticket_inputs(good.TICKET_KEY) | {"mac_no": number}, "build")
        for number in (0, MOST_U32 + 1)
    ]  # fmt: skip
    return made + [
        refused(f"ticket is not sealed: {field}, case {number}", "ticket",
                good.ticket_inputs(good.TICKET_KEY, **{field: value}), "build")
        for field, values in wrong.items()
        for number, value in enumerate(values, 1)
    ]  # fmt: skip


def _caveats() -> list[Vector]:
    made = []
    for encoded in held.EVERY_TYPE:
        items: list[Any] = unpack(unhex(encoded))
        cls = caveats._KINDS[items[0]]
        made += fields(f"caveat {items[0]}", "caveat", cls, items, lambda one: {"caveat": one.hex()})
    one_target = [5, [[REALM, "payroll"]]]
    made += fields("caveat 5 of one", "caveat", caveats.TargetsCaveat, one_target, lambda one: {"caveat": one.hex()})
    of_kdc = unpack(unhex(held.OF_KDC["caveat"]))
    return made + fields("caveat of the KDC", "caveat", caveats.ThirdPartyCaveat, of_kdc,
                         lambda one: {"caveat": one.hex()})  # fmt: skip


def _key_record() -> list[Vector]:
    root = root_of(good.PAYROLL)
    as_key = root.as_key()

    def file(record: bytes) -> Inputs:
        body = b"ORTHROSK\x01" + len(record).to_bytes(2, "big") + record + b"\0\0"
        return {"file": (body + digest(body)).hex()}

    made = []
    for role, kind, key in ((None, 0, root), ("as", 1, as_key)):
        items = [REALM, "payroll", 17, 3, kind, role, key.kid, key.material, 7, [[1, b"x"], [2, b""]]]
        made += fields(f"key record {role}", "key-file", keytab._KeyRecord, items, file)
    return made


def authority() -> list[Vector]:
    """Demands, discharges, what is handed over."""
    return [*_demands(), *_hand_over()]


def _hand_over() -> list[Vector]:
    handed = held.HANDED["handed"]
    named = digest(unhex(handed["ticket"]))
    key = derive(pop_key_of(tail_of(unhex(good.SESSION_KEY), unhex(held.TO_ORDERS))), "deleg")
    items = [
        unhex(handed["ticket"]), encode(unhex(good.READ)), unhex(handed["tail"]), REALM, "payroll", 17, REALM,
        "billing", ["read", "write"], SECOND + 3600, 3600, _SUBJECT, [b"x", b"y"],
    ]  # fmt: skip

    def whole(message: bytes) -> Inputs:
        return {"message": message.hex(), "receiver": held.ORDERS, "now": NOW}

    def boxed(content: bytes) -> Inputs:
        context = encode("deleg", REALM, "billing", "orders", named)
        box = seal(key, "deleg", context, content, entropy=unhex(ENTROPY))
        return whole(encode(1, unhex(held.TO_ORDERS), named, box))

    made = fields("hand-over", "open-hand-over", hand_over._Sealed, unpack(unhex(held.HAND_OVER)), whole)
    return made + fields("handed over", "open-hand-over", hand_over.HandedOver, items, boxed)


def _demands() -> list[Vector]:
    key = root_of(held.APPROVALS).ticket_key()

    def whole(cid: bytes) -> Inputs:
        return {"cid": cid.hex(), "discharger": held.APPROVALS, "now": NOW}

    def demand(content: bytes) -> Inputs:
        context = encode("3p", REALM, "kdc", "approvals", 2)
        box = seal(derive(key.material, "3p"), "3p", context, content, entropy=unhex(ENTROPY))
        return whole(encode(REALM, "approvals", 2, key.kid, box))

    content = [bytes(32), [REALM, "billing"], "p", SECOND + 60]
    made = fields("demand", "open-demand", discharges._Content, content, demand)
    made += fields("demand of the KDC", "open-demand", discharges._OfKdc, unpack(unhex(held.OF_KDC["cid"])), whole)
    holder = unpack(unhex(held.OF_HOLDER["cid"]))
    made += fields("demand of a holder", "open-demand", discharges._OfHolder, holder, whole)
    asked = {"pop_key": good.span(5, 32), "request_digest": good.span(6, 32), "cid": held.OF_KDC["cid"]}
    answer_key = derive(unhex(asked["pop_key"]), "dis-rep")

    def answer(content: bytes) -> Inputs:
        box = seal(answer_key, "dis-rep", unhex(asked["request_digest"]), content, entropy=unhex(ENTROPY))
        return asked | {"box": box.hex()}

    discharge = [encode(encode(1, SECOND + 60)), bytes(32)]
    return made + fields("discharge", "open-discharge", discharges.Discharge, discharge, answer)
