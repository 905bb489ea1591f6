"""Faults behind the cryptography: a message is opened with the right keys, changed, and sealed again with them.

Works from the pages of the protocol through `tests.support` alone and never imports the library.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen
from cryptography.exceptions import InvalidTag

from tests.differential.inputs import Inputs, caveats
from tests.differential.items import changed_bytes, read, written
from tests.differential.shapes import reshaped
from tests.support import naive
from tests.support.naive import Sealer, dec, enc, kd, mac, sha256
from tests.support.oracle import Oracle, Verdict, caveat_list
from tests.support.second_authority import sealer_for
from tests.support.second_exchanges import as_req, tgs_req
from tests.support.second_implementation import ap_req
from tests.support.second_keys import role, sealer_of
from tests.support.second_tickets import tail_key

unhex = bytes.fromhex
# What the naive readers raise for a message that they cannot open: then nothing can be sealed again.
UNOPENED: Final = (ValueError, LookupError, TypeError, AttributeError, OverflowError, Verdict, InvalidTag)
SHAPED: Final = "shaped"
"""As a layer: faults that leave the arrays of a message well formed."""


@frozen
class Faults:
    """Where in a message faults are to be; a layer that stands here twice gets two."""

    rng: random.Random
    layers: tuple[str, ...]

    def at(self, layer: str, data: bytes) -> bytes:
        """What a layer holds, with its faults."""
        for _ in range(self.layers.count(layer)):
            data = changed_bytes(self.rng, data)
        return data

    def shaped(self, kind: str, data: bytes) -> bytes:
        """An array of this kind; at every second chance with a fault that leaves it well formed."""
        for _ in range(self.layers.count(SHAPED)):
            items = read(data) if self.rng.random() < 0.5 else None
            data = data if items is None else enc(*reshaped(self.rng, kind, items))
        return data

    def caveats(self, layer: str, field: bytes) -> bytes:
        """A caveats field with faults; or other caveats, each of which may be a right one."""
        if layer in self.layers and self.rng.random() < 0.5:
            return enc(*self.rng.choices(caveats(), k=self.rng.choice((1, 1, 2, 3, 16, 17))))
        return self.at(layer, field)


@frozen
class Forge:
    """The layers of a message, inner ones first, one as often as it is worth, and how they are opened and sealed.

    SHAPED is among them where the message has arrays that `shapes` knows.
    """

    layers: tuple[str, ...]
    work: Callable[[Faults, Inputs], Inputs]


def opened_box(key: bytes, label: str, context: bytes, box: bytes) -> bytes:
    """The plaintext of a box; ValueError or InvalidTag when it does not open."""
    return naive.unseal(key, label, context, box)


def sealed_box(key: bytes, label: str, context: bytes, plain: bytes) -> bytes:
    """The same plaintext in a box with entropy that is always the same."""
    return naive.seal(key, label, context, plain, bytes(24))


def session_key(items: list[Any] | None, otherwise: bytes) -> bytes:
    """The key in the items of a ticket's body, if one can be there."""
    found = items[5] if items is not None and len(items) > 5 else None
    return found if isinstance(found, bytes) and len(found) == 32 else otherwise


def reticketed(
    faults: Faults, layer: str, sealer: Sealer, ticket: bytes, mac_keys: Mapping[str, str] | None = None
) -> tuple[bytes, bytes, bytes]:
    """The ticket with faults in its body, its session key, and the caveats inside it. With `mac_keys`, the KDC's mark
    is made anew as well, but now and then."""
    plain = sealer.open_bytes(ticket)
    body = dec(plain)
    made = faults.at(layer, faults.shaped("ticket", plain))
    items = read(made)
    if layer in faults.layers and items is not None and len(items) == len(body) and faults.rng.random() < 0.2:
        items[12] = faults.caveats(layer, body[12])
        made = enc(*items)
    key = session_key(items, body[5])
    inside = items[12] if items is not None and len(items) > 12 and isinstance(items[12], bytes) else body[12]
    if made == plain:
        return ticket, key, inside
    if mac_keys and items is not None and len(items) == 20 and faults.rng.random() < 0.9:
        mark = mac_keys.get(str(items[18]))
        items[19] = items[19] if mark is None else sealer.mark(unhex(mark), items[:19])
        made = enc(*items)
    return sealer.seal_bytes(made), key, inside


def _accept(faults: Faults, given: Inputs) -> Inputs:
    sealer, body = sealer_for(given["target"]), dec(dec(unhex(given["message"]))[0])
    body[3], key, inside = reticketed(faults, "ticket", sealer, body[3])
    body[4] = faults.caveats("caveats", body[4])
    body[5] = [faults.caveats("discharge", one) for one in body[5]]
    plain = faults.at("body", faults.shaped("ap-req", enc(*body)))
    items = read(plain)
    use = items[2] if items is not None and len(items) > 2 and isinstance(items[2], int) else body[2]
    proof = mac(
        _presented_key(items if items is not None and len(items) == 14 else body, key, inside), f"ap-req.{use}", plain
    )
    return given | {"message": faults.at("message", enc(plain, proof)).hex()}


def _presented_key(body: list[Any], key: bytes, inside: bytes) -> bytes:
    """K_pop behind all caveats, mixed with all discharges; as far as they can be read."""
    try:
        return Oracle._walked({"key": key, "caveats": inside}, body[3], caveat_list(body[4]), body[5])[1]
    except (Verdict, TypeError):
        return naive.pop_key(key, body[3] if isinstance(body[3], bytes) else b"")


def _open_ticket(faults: Faults, given: Inputs) -> Inputs:
    made, _key, _inside = reticketed(
        faults, "ticket", sealer_of(given["key"]), unhex(given["ticket"]), given.get("mac_keys")
    )
    return given | {"ticket": faults.at("message", made).hex()}


def _verify_as(faults: Faults, given: Inputs) -> Inputs:
    plain = faults.at("body", faults.shaped("as-req", dec(unhex(given["message"]))[0]))
    proof = mac(role(given["client"], "as"), "as-req", plain)
    return given | {"message": faults.at("message", enc(plain, proof)).hex()}


def _verify_tgs(faults: Faults, given: Inputs) -> Inputs:
    kdc, body = given["kdc"], dec(dec(unhex(given["message"]))[0])
    body[2], session, _inside = reticketed(faults, "tgt", sealer_of(kdc["tgt_key"]), body[2], kdc["mac_keys"])
    body[3] = faults.caveats("caveats", body[3])
    wants = [
        read(faults.shaped("want", enc(*want))) if isinstance(want, list) else want for want in read(body[7]) or ()
    ]
    body[7] = faults.at("wants", enc(*wants) if wants else body[7])
    proof = None
    if body[8] is not None and body[8][0] is not None:
        sealer = sealer_of(kdc["evidence_key"])
        body[8][0], held, _inside = reticketed(faults, "evidence", sealer, body[8][0], kdc["mac_keys"])
        proof = kd(held, "evid", sha256(body[8][0]))
    plain = faults.at("body", faults.shaped("tgs-req", enc(*body)))
    try:
        walked = tuple(caveat_list(body[3]))
    except Verdict:
        walked = ()
    key = naive.pop_key(session, body[2], walked)
    key = key if proof is None else kd(key, "evmix", proof)
    return given | {"message": faults.at("message", enc(plain, mac(key, "tgs-req", plain))).hex()}


def _reply(faults: Faults, reply: bytes, key: bytes, family: str, context: bytes) -> bytes:
    """An answer of the KDC: version, kind, box."""
    version, kind, box = dec(reply)
    label = f"{family}-{'err' if kind == 1 else 'rep'}"
    plain = faults.shaped(label if kind != 1 else "error", opened_box(kd(key, label), label, context, box))
    items = read(plain)
    if label == "tgs-rep" and items is not None and len(items) > 4 and isinstance(items[4], list):
        rows = (read(faults.shaped("granted", enc(*row))) if isinstance(row, list) else row for row in items[4])
        plain = enc(*items[:4], list(rows), *items[5:])
    made = faults.at("content", plain)
    return faults.at("message", enc(version, kind, sealed_box(kd(key, label), label, context, made)))


def _open_as_rep(faults: Faults, given: Inputs) -> Inputs:
    asked = given["request"]
    made = _reply(faults, unhex(given["reply"]), role(asked["client"], "as"), "as", sha256(as_req(asked)))
    return given | {"reply": made.hex()}


def _open_tgs_rep(faults: Faults, given: Inputs) -> Inputs:
    asked = given["request"]
    made = _reply(faults, unhex(given["reply"]), tail_key(asked, "tgt"), "tgs", sha256(tgs_req(asked)))
    return given | {"reply": made.hex()}


def _open_ap_rep(faults: Faults, given: Inputs) -> Inputs:
    asked = given["request"]
    key, context = tail_key(asked, "ticket"), sha256(ap_req(asked))
    body, received = dec(unhex(given["reply"]))
    labels = [f"ap-{one}.{asked['use']}" for one in ("err", "rep")]
    label = next((one for one in labels if mac(key, one, context + body) == received), labels[1])
    body = faults.at("body", faults.shaped(label.partition(".")[0], body))
    return given | {"reply": faults.at("message", enc(body, mac(key, label, context + body))).hex()}


def _demand(faults: Faults, given: Inputs) -> Inputs:
    sealer, cid = sealer_for(given["discharger"]), dec(unhex(given["cid"]))
    if len(cid) == 2:
        body = sealer.open(cid[0])
        sent = kd(naive.pop_key(body[5], cid[0]), "3p")
        plain = opened_box(sent, "3p", enc("3p", body[2], body[3], sealer.name), cid[1])
        cid[0], held, _inside = reticketed(faults, "ticket", sealer, cid[0])
        items = read(sealer.open_bytes(cid[0])) or body
        adder = items[2:4] if len(items) > 3 else body[2:4]
        key, context = kd(naive.pop_key(held, cid[0]), "3p"), enc("3p", *adder, sealer.name)
    else:
        key, context = kd(sealer.material, "3p"), enc("3p", cid[0], "kdc", cid[1], cid[2])
        plain = opened_box(key, "3p", context, cid[4])
    cid[-1] = sealed_box(key, "3p", context, faults.at("content", faults.shaped("demand", plain)))
    return given | {"cid": faults.at("message", enc(*cid)).hex()}


def _hand_over(faults: Faults, given: Inputs) -> Inputs:
    sealer = sealer_for(given["receiver"])
    version, around, named, box = dec(unhex(given["message"]))
    body = sealer.open(around)
    opened = kd(naive.pop_key(body[5], around), "deleg")
    plain = opened_box(opened, "deleg", enc("deleg", body[2], body[3], sealer.name, named), box)
    around, held, _inside = reticketed(faults, "ticket", sealer, around)
    content = faults.at("content", faults.shaped("hand-over", plain))
    inner = read(content)
    if inner and isinstance(inner[0], bytes) and faults.rng.random() < 0.9:
        named = sha256(inner[0])
    items = read(sealer.open_bytes(around)) or body
    sender = items[2:4] if len(items) > 3 else body[2:4]
    made = sealed_box(
        kd(naive.pop_key(held, around), "deleg"), "deleg", enc("deleg", *sender, sealer.name, named), content
    )
    return given | {"message": faults.at("message", enc(version, around, named, made)).hex()}


def _open_discharge(faults: Faults, given: Inputs) -> Inputs:
    key, context = kd(unhex(given["pop_key"]), "dis-rep"), unhex(given["request_digest"])
    content = dec(opened_box(key, "dis-rep", context, unhex(given["box"])))
    content[0] = faults.caveats("caveats", content[0])
    made = sealed_box(key, "dis-rep", context, faults.at("content", enc(*content)))
    return given | {"box": faults.at("message", made).hex()}


def _key_file(faults: Faults, given: Inputs) -> Inputs:
    content, at = unhex(given["file"])[:-32], 9
    made = content[:9]
    while size := int.from_bytes(content[at : at + 2], "big"):
        record = faults.at("record", content[at + 2 : at + 2 + size])
        items = read(record)
        if items is not None and len(items) == 10 and isinstance(items[7], bytes) and faults.rng.random() < 0.9:
            items[6] = kd(items[7], "kid", size=8)
            record = written(items)
        made += len(record).to_bytes(2, "big") + record
        at += 2 + size
    made = faults.at("file", made + b"\0\0")
    return given | {"file": (made + sha256(made)).hex()}


_AP: Final = (SHAPED, "ticket", "ticket", "ticket", "caveats", "discharge", "body", "body", "body", "message")
_TGS: Final = (SHAPED, "tgt", "tgt", "evidence", "caveats", "wants", "wants", "body", "body", "message")
_DEMAND: Final = (SHAPED, "ticket", "content", "content", "message")
FORGES: Final[dict[str, Forge]] = {
    "accept": Forge(_AP, _accept),
    "refusal": Forge(_AP, _accept),
    "open-ticket": Forge((SHAPED, "ticket", "ticket", "message"), _open_ticket),
    "kdc-mark": Forge((SHAPED, "ticket", "ticket", "message"), _open_ticket),
    "verify-as-req": Forge((SHAPED, "body", "body", "message"), _verify_as),
    "verify-tgs-req": Forge(_TGS, _verify_tgs),
    "open-as-rep": Forge((SHAPED, "content", "content", "message"), _open_as_rep),
    "open-as-err": Forge((SHAPED, "content", "content", "message"), _open_as_rep),
    "open-tgs-rep": Forge((SHAPED, "content", "content", "content", "message"), _open_tgs_rep),
    "open-ap-rep": Forge((SHAPED, "body", "body", "message"), _open_ap_rep),
    "open-ap-err": Forge((SHAPED, "body", "body", "message"), _open_ap_rep),
    "open-demand": Forge(_DEMAND, _demand),
    "discharge": Forge(_DEMAND, _demand),
    "open-hand-over": Forge((SHAPED, "ticket", "content", "content", "message"), _hand_over),
    "open-discharge": Forge(("caveats", "content", "message"), _open_discharge),
    "key-file": Forge(("record", "record", "file"), _key_file),
}  # fmt: skip
