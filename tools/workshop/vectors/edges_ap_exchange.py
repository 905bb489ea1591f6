"""The AP exchange at each of its limits, accepted, and one past it, refused; so are its optional rules.

Every message carries a right MAC. Beside each vector that passes stands the one that fails by one.
"""

from __future__ import annotations

from typing import Any

from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import mac
from workshop.vectors import positive as good
from workshop.vectors import positive_authority as held
from workshop.vectors import positive_http as web
from workshop.vectors.edges import (
    HIGH_FLAGS,
    MOST_INT,
    MOST_U32,
    bad_extensions,
    both,
    extensions_of,
    filler,
    good_extensions,
    ticket_of,
)
from workshop.vectors.negative import edited, refused
from workshop.vectors.negative_exchanges import ap_body
from workshop.vectors.operations import OPERATIONS
from workshop.vectors.parties import Inputs, Vector, unhex
from workshop.vectors.positive import NOW, SECOND, vector

_READ = unhex(good.READ)


def request(**changes: object) -> str:
    """An AP-REQ with these inputs of `ap-req`."""
    message: str = OPERATIONS["ap-req"](good.ap_inputs(**changes))["message"]
    return message


def dated(**fields: Any) -> str:
    """An AP-REQ under a ticket with these fields."""
    ticket: str = OPERATIONS["ticket"](good.ticket_inputs(good.TICKET_KEY, **fields))["ticket"]
    return ap_body(ticket)


def ap_exchange() -> list[Vector]:
    """Requests, in the order of the checks."""
    return [*_sizes(), *_fields(), *_caveats(), *_discharges(), *_clocks(), *_epochs(), *_bindings(), *_users()]


def _sizes() -> list[Vector]:
    return both(
        "AP-REQ", "accept", good.accept_inputs, "size", {"of 24 KiB": _largest()}, {"of 24 KiB and a byte": _largest(1)}
    )


def _largest(more: int = 0) -> str:
    """An AP-REQ of 24 KiB, and so many bytes more."""
    demands = [OPERATIONS["demand-of-kdc"](held.WRITTEN | {"root": good.span(one, 32)}) for one in range(4)]
    sealed = [unhex(one["caveat"]) for one in demands]
    ticket = edited(good.TICKET_KEY, good.TICKET, caveats=encode(*sealed))
    shown = [filler(512)] * 12
    fill = [filler(512).hex()] * 8 + [filler(80).hex()]
    discharges = [held.discharge_of(one["cid"], *fill) for one in demands]
    rest = 24 * 1024 + more - len(_presenting(ticket, shown, discharges)) // 2 + 1
    return _presenting(ticket, shown, discharges, opt=extensions_of(rest))


def _presenting(ticket: str, shown: list[bytes], discharges: list[Inputs], **changes: Any) -> str:
    """An AP-REQ with these discharges and items, under the key that they are mixed into."""
    chain = {"session_key": good.SESSION_KEY, "ticket": ticket, "caveats": [one.hex() for one in shown]}
    pop_key = OPERATIONS["chain"](chain)["pop_key"]
    key = OPERATIONS["mix"]({"pop_key": pop_key, "tails": [one["tail"] for one in discharges]})["key"]
    items: dict[str, Any] = {
        "version": 1, "kind": 3, "use": 0, "ticket": unhex(ticket), "caveats": encode(*shown) if shown else b"",
        "dis": [unhex(one["caveats"]) for one in discharges], "ts": NOW, "nonce": unhex(good.NONCE),
        "epoch": unhex(good.EPOCH), "flags": 0, "bind": unhex(good.BIND), "user": None, "crit": [], "opt": [],
    } | changes  # fmt: skip
    body = encode(*items.values())
    return encode(body, mac(unhex(key), "ap-req.0", body)).hex()


def _fields() -> list[Vector]:
    def given(changes: Inputs) -> Inputs:
        return good.accept_inputs(ap_body(**changes))

    passing: dict[str, Inputs] = {
        "flag safe": {"flags": 1}, "every high flag": {"flags": HIGH_FLAGS},
        "ticket of 8192 bytes": {"ticket": ticket_of(8192)},
    }  # fmt: skip
    failing: dict[str, Inputs] = {
        "flags of 33 bits": {"flags": MOST_U32 + 1}, "nonce of 17 bytes": {"nonce": bytes(17)},
        "epoch of 7 bytes": {"epoch": bytes(7)}, "epoch of 9 bytes": {"epoch": bytes(9)},
        "bind of 31 bytes": {"bind": bytes(31)}, "bind of 33 bytes": {"bind": bytes(33)},
        "version 0": {"version": 0}, "kind 4": {"kind": 4},
        "timestamp as nil": {"ts": None}, "nonce as nil": {"nonce": None},
        "user of 129 characters": {"user": ["n" * 129, 1]}, "user with how 0": {"user": ["alice", 0]},
        "user with how 3": {"user": ["alice", 3]}, "user of one item": {"user": ["alice"]},
        "user of three items": {"user": ["alice", 1, 1]}, "user as str": {"user": "alice"},
        "discharges as nil": {"dis": None},
        "a discharge as str": {"dis": ["a"]},
    }  # fmt: skip
    made = both("AP-REQ", "accept", given, "encoding", passing, failing)
    made.append(refused("AP-REQ: a TGT", "accept", good.accept_inputs(_presenting(good.TGT, [], [])), "header"))
    large = good.accept_inputs(_presenting(ticket_of(8193), [], []))
    made.append(refused("AP-REQ: ticket of 8193 bytes", "accept", large, "encoding"))
    for name, kvno in {"a later": 4, "an earlier": 2}.items():
        other = good.ticket_inputs(good.TICKET_KEY | {"key": good.span(kvno, 32), "kvno": kvno})
        message = _presenting(OPERATIONS["ticket"](other)["ticket"], [], [])
        made.append(refused(f"AP-REQ: ticket under {name} key", "accept", good.accept_inputs(message), "kid"))
    for low in (2, 0x8000):
        made.append(refused(f"AP-REQ: flag {low:#x}", "accept", given({"flags": low}), "critical"))
    made += both(
        "AP-REQ: opt", "accept", lambda opt: given({"opt": opt}), "encoding", good_extensions(), bad_extensions()
    )
    for name, crit in good_extensions().items():
        made.append(refused(f"AP-REQ: crit: {name}", "accept", given({"crit": crit}), "critical"))
    made += both("AP-REQ: crit", "accept", lambda crit: given({"crit": crit}), "encoding", {}, bad_extensions())
    for size in (31, 33):
        body = unhex(good.AP_REQ)
        envelope = encode(body[4:-34], bytes(size)).hex()
        made.append(refused(f"AP-REQ: MAC of {size} bytes", "accept", good.accept_inputs(envelope), "encoding"))
    return made


def _caveats() -> list[Vector]:
    def given(case: tuple[int, int]) -> Inputs:
        inside, beside = case
        ticket = edited(good.TICKET_KEY, good.TICKET, caveats=encode(*[_READ] * inside) if inside else b"")
        return good.accept_inputs(ap_body(ticket, (_READ,) * beside))

    passing = {f"{inside} inside, {beside} beside": (inside, beside) for inside, beside in ((16, 0), (8, 8), (0, 16))}
    failing = {f"{inside} inside, {beside} beside": (inside, beside) for inside, beside in ((16, 1), (8, 9), (1, 16))}
    made = both("caveats", "accept", given, "caveats", passing, failing)
    full = tuple([filler(512)] * 16)
    made.append(vector("caveats: 16 of 512 bytes", "accept", good.accept_inputs(ap_body(caveats=full))))
    one_more = encode(2, ["read", "z" * 41, *(chr(97 + at).ljust(64, "x") for at in range(7))])
    made += both(
        "caveats", "accept", lambda one: good.accept_inputs(_presenting(good.TICKET, [one], [])), "caveats", {},
        {"one of 513 bytes": one_more, "one of no bytes": b""},
    )  # fmt: skip
    narrow = {"read alone": ["read"], "no scope": [], "another scope": ["admin"], "both": ["read", "write"]}
    for name, scopes in narrow.items():
        message = ap_body(caveats=(encode(2, scopes),))
        made.append(vector(f"scopes caveat leaves {name}", "accept", good.accept_inputs(message)))
    twice = ap_body(caveats=(encode(2, ["read"]), encode(2, ["write"])))
    made.append(vector("two scopes caveats leave what both name", "accept", good.accept_inputs(twice)))
    made.append(vector("expires caveat ends in a second", "accept", good.accept_inputs(
        ap_body(caveats=(encode(1, SECOND + 1),)))))  # fmt: skip
    made.append(refused("expires caveat inside ends now", "accept", good.accept_inputs(
        ap_body(edited(good.TICKET_KEY, good.TICKET, caveats=encode(encode(1, SECOND))))), "caveat"))  # fmt: skip
    made.append(refused("unknown type inside", "accept", good.accept_inputs(
        ap_body(edited(good.TICKET_KEY, good.TICKET, caveats=encode(encode(10, 1))))), "caveat"))  # fmt: skip
    made += both("AP-REQ of caveats", "ap-req", lambda caveats: good.ap_inputs(caveats=caveats), "build", {
        "one of one byte": ["00"], "one of 512 bytes": ["00" * 512], "16": ["00"] * 16}, {
        "one of no bytes": [""], "one of 513 bytes": ["00" * 513], "17": ["00"] * 17})  # fmt: skip
    own = good.accept_inputs(good.AP_REQ, chain={"deny_via": ["billing"], "max_depth": 0})
    made.append(vector("own call of a client that is denied on paths", "accept", own))
    return made + _where()


def _where() -> list[Vector]:
    """Caveats on the request in uses other than HTTP, though the target knows method, path and channel."""
    caveats = {"methods": web.METHODS, "path": web.PATH, "peer": web.PEER, "channel": web.CHANNEL}
    made = []
    for use in range(4):
        for name, caveat in caveats.items():
            message = request(use=use, caveats=[caveat])
            given = good.accept_inputs(message, use=use) | {"access": web.KNOWN}
            holds = name == "peer" or (name == "channel" and use != 2) or (use == 1 and name != "channel")
            title = f"{name} caveat in use {use}"
            made.append(vector(title, "accept", given) if holds else refused(title, "accept", given, "caveat"))
    for name, caveat in caveats.items():
        given = good.accept_inputs(request(use=1, caveats=[caveat]), use=1)
        made.append(refused(f"{name} caveat where nothing is known", "accept", given, "caveat"))
    return made


def _discharges() -> list[Vector]:
    demands = [OPERATIONS["demand-of-kdc"](held.WRITTEN | {"root": good.span(one, 32)}) for one in range(5)]

    def given(case: tuple[int, int]) -> Inputs:
        demanded, shown = case
        sealed = encode(*(unhex(one["caveat"]) for one in demands[:demanded]))
        ticket = edited(good.TICKET_KEY, good.TICKET, caveats=sealed)
        discharges = [held.discharge_of(one["cid"]) for one in demands[:shown]]
        return good.accept_inputs(_presenting(ticket, [], discharges))

    made = both("discharges", "accept", given, "discharges", {"4 of 4": (4, 4)}, {"3 of 4": (4, 3), "4 of 5": (5, 4)})
    asked = _presenting(held.DEMANDING, [], [held.discharge_of(held.OF_KDC["cid"])], dis=[bytes(8244)])
    return [*made, refused("discharge of 8244 bytes", "accept", good.accept_inputs(asked), "encoding")]


def _clocks() -> list[Vector]:
    def given(case: tuple[str, Inputs]) -> Inputs:
        message, situation = case
        return good.accept_inputs(message, **situation)

    end = (SECOND + 3600) * 1000
    made = both(
        "ticket", "accept", given, "ticket-times",
        {
            "ends in a second": (dated(exp=SECOND + 1), {}), "ends in a millisecond": (
                ap_body(ts=end - 1), {"now": end - 1}),
            "authenticator dated at its end": (ap_body(ts=end), {"now": end - 1}),
            "life of 86400 s": (dated(exp=SECOND + 86_400), {}), "life of the target's maximum": (
                dated(exp=SECOND + 600), {"max_life_s": 600}),
            "issued 300 s from now": (dated(iat=SECOND + 300, exp=SECOND + 400), {}),
            "issued and ended in the same second": (dated(iat=SECOND + 1, exp=SECOND + 1), {}),
        },
        {
            "ends at this millisecond": (ap_body(ts=end), {"now": end}),
            "life above the target's maximum": (dated(exp=SECOND + 601), {"max_life_s": 600}),
            "issued a second after its end": (dated(iat=SECOND + 2, exp=SECOND + 1), {}),
        },
    )  # fmt: skip
    far = dated(iat=SECOND - 100, exp=SECOND + 3600)
    ahead = {"now": NOW - 365_000}
    made += [
        refused("365 s ahead", "accept", given((far, ahead)), "window"),
        refused("365.001 s ahead", "accept", given((far, {"now": NOW - 365_001})), "replay"),
        refused("365.001 s ahead, a second time", "accept",
                given((far, {"now": NOW - 365_001, "earlier": [far]})), "replay"),
        refused("61 s old", "accept", given((good.AP_REQ, {"now": NOW + 61_000})), "replay"),
        refused("60.999 s old", "accept", given((good.AP_REQ, {"now": NOW + 60_999})), "window"),
        refused("5.001 s ahead, a second time", "accept", given((far, {"now": NOW - 5_001, "earlier": [far]})),
                "replay"),
        refused("timestamp of 2^63-1", "accept", given((ap_body(ts=MOST_INT), {})), "ticket-times"),
    ]  # fmt: skip
    return made


def _epochs() -> list[Vector]:
    """Which requests an instance of this epoch and birth judges further."""
    other = bytes(8).hex()
    young: Inputs = {"born": NOW}
    ready: Inputs = {"born": NOW - 5_001}
    early: Inputs = {"born": NOW - 5_000}
    passing: dict[str, tuple[Inputs, Inputs]] = {
        "names it, just born": ({}, young),
        "names it, and declines to repeat": ({}, {"repetition": "declined"}),
        "no epoch, may be repeated, made 5.001 s after the birth": ({"epoch": None}, ready | {"repetition": "allowed"}),
        "another epoch, may be repeated, made 5.001 s after the birth": (
            {"epoch": other}, ready | {"repetition": "allowed"}),
        "no epoch in HTTP, may be repeated, made 5.001 s after the birth": (
            {"epoch": None, "use": 1}, ready | {"repetition": "allowed", "use": 1}),
        "no epoch in a channel": ({"epoch": None, "use": 2}, young | {"use": 2}),
        "another epoch in a channel": ({"epoch": other, "use": 2}, young | {"use": 2}),
        "names it in use 3": ({"use": 3}, {"use": 3}),
    }  # fmt: skip
    failing: dict[str, tuple[Inputs, Inputs]] = {
        "no epoch, may be repeated, made 5 s after the birth": ({"epoch": None}, early | {"repetition": "allowed"}),
        "another epoch, may be repeated, made 5 s after the birth": (
            {"epoch": other}, early | {"repetition": "allowed"}),
        "no epoch in HTTP, may be repeated, made 5 s after the birth": (
            {"epoch": None, "use": 1}, early | {"repetition": "allowed", "use": 1}),
        "no epoch, must not be repeated": ({"epoch": None}, ready | {"repetition": "unsafe"}),
        "another epoch, declines to repeat": ({"epoch": other}, ready | {"repetition": "declined"}),
        "no epoch, declines to repeat": ({"epoch": None}, ready | {"repetition": "declined"}),
        "no epoch in use 3, may be repeated": ({"epoch": None, "use": 3}, ready | {"repetition": "allowed", "use": 3}),
    }  # fmt: skip

    def given(case: tuple[Inputs, Inputs]) -> Inputs:
        asked, situation = case
        return good.accept_inputs(request(**asked), **situation)

    made = both("epoch", "accept", given, "epoch", passing, failing)
    told = {
        "5 s": (young, {}),
        "one millisecond": (ready | {"born": NOW - 4_999}, {}),
        "none": (early, {}),
        "none, and not below": (early | {"born": NOW - 5_001}, {}),
        "none where the target declines": (ready | {"repetition": "declined"}, {}),
        "5 s where another epoch is named": (young, {"epoch": other}),
    }
    for name, (situation, asked) in told.items():
        made.append(vector(f"time to wait: {name}", "refusal", given(({"epoch": None} | asked, situation))))
    return made


def _bindings() -> list[Vector]:
    def given(case: tuple[int, str | None, str | None]) -> Inputs:
        use, stated, computed = case
        message = ap_body(use=use, label=f"ap-req.{use}", bind=None if stated is None else unhex(stated))
        return good.accept_inputs(message, use=use, bind=computed)

    bind, other = good.BIND, bytes(32).hex()
    passing = {
        "none on either side of a channel": (2, None, None), "on both sides of a channel": (2, bind, bind),
        "in use 3": (3, bind, bind),
    }  # fmt: skip
    failing = {
        "stated by the client of a channel alone": (2, bind, None), "computed in a channel alone": (2, None, bind),
        "another one in a channel": (2, other, bind), "none on either side": (0, None, None),
        "none on either side in HTTP": (1, None, None), "none on either side in use 3": (3, None, None),
        "stated alone": (0, bind, None), "another one in use 3": (3, other, bind),
    }  # fmt: skip
    return both("bind", "accept", given, "bind", passing, failing)


def _users() -> list[Vector]:
    scoped = OPERATIONS["ticket"](good.ticket_inputs(good.TICKET_KEY, scopes=["read", "assert-user"]))["ticket"]
    without = encode(2, ["read"])

    def given(case: tuple[Inputs, bool]) -> Inputs:
        changes, accepts = case
        return good.accept_inputs(ap_body(scoped, **changes), accept_user=accepts)

    alice = {"user": ["alice", 1]}
    passing = {
        "accepted": (alice, True), "asserted": ({"user": ["alice", 2]}, True), "nobody": ({}, True),
        "of 128 characters": ({"user": ["n" * 128, 1]}, True),
    }  # fmt: skip
    failing = {
        "not opted in": (alice, False), "scope taken away by a caveat": (alice | {"caveats": (without,)}, True),
    }  # fmt: skip
    made = both("user", "accept", given, "user", passing, failing)
    subject = OPERATIONS["ticket"](good.ticket_inputs(good.TICKET_KEY, subject=[f"alice@{good.REALM}", 0, 2]))["ticket"]
    for accepts in (True, False):
        message = good.accept_inputs(ap_body(subject), accept_user=accepts)
        name = f"subject without a chain, {'opted in' if accepts else 'not opted in'}"
        made.append(vector(name, "accept", message) if accepts else refused(name, "accept", message, "user"))
    return made
