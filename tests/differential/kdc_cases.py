"""Cases for a whole KDC: logins and requests for tickets, in order or with faults, by the keys that its realm has.

Written with the second implementation; of the KDC it knows the keys, and no more.
"""

from __future__ import annotations

import random
from typing import Any, Final

from tests.differential.forging import FORGES, SHAPED, UNOPENED, Faults
from tests.differential.inputs import Inputs, caveats
from tests.support.naive import enc, kd
from tests.support.second_exchanges import as_req, tgs_req
from tests.support.second_keys import role
from tests.support.second_tickets import ticket

_NAMES: Final = ("orders", "ledger", "vault", "approvals", "stopped", "nobody", "kdc/tgt", "web")
# Who may ask for what, as the realm has it; other pairs come by chance.
_RULES: Final = (
    ("web", "orders"), ("web", "orders"), ("web", "approvals"), ("web", "stopped"), ("orders", "ledger"),
    ("orders", "orders"), ("ledger", "vault"), ("ledger", "vault"), ("vault", "ledger"), ("stopped", "orders"),
    ("web", "vault"), ("vault", "orders"), ("web", "ledger"),
)  # fmt: skip
_LONG_PATHS: Final = tuple(
    [[f"{'h' * long}{at}@corp.test", 1] for at in range(hops)] for hops, long in ((7, 1), (8, 120))
)
_SKEWS: Final = (0,) * 8 + (300_000, 300_001, -300_000, -300_001)
_SCOPES: Final[tuple[list[str] | None, ...]] = (
    None,
    None,
    [],
    ["read"],
    ["read", "write"],
    ["erase"],
    ["pay"],
    ["ask"],
)


def kdc_inputs(rng: random.Random, facts: Inputs) -> tuple[Inputs, str]:
    """Messages to a KDC that has just started, and whether one of them has a fault that is sealed."""
    now = facts["now"] + 1000 * rng.choice((10, 10, 10, 3600, 40_000, 2_600_000))
    message, way = _message(rng, facts, now)
    messages = [message]
    if rng.random() < 0.2:
        messages.append(message if rng.random() < 0.5 else _message(rng, facts, now)[0])
    address = rng.choice(("192.0.2.1", "192.0.2.1", "198.51.100.9", "2001:db8::1", ""))
    return {"now": now, "address": address, "messages": messages}, way


def _message(rng: random.Random, facts: Inputs, now: int) -> tuple[str, str]:
    if rng.random() < 0.2:
        client = rng.choice(facts["parties"])
        op, given = "verify-as-req", {"client": client, "message": as_req(_login(rng, client, now)).hex()}
    else:
        op, given = "verify-tgs-req", _request(rng, facts, now)
    if rng.random() < 0.5:
        return given["message"], "vector"
    forge = FORGES[op]
    layers = (
        (SHAPED,) * rng.choice((1, 2)) if rng.random() < 0.6 else tuple(rng.choices(forge.layers, k=rng.choice((1, 2))))
    )
    try:
        return forge.work(Faults(rng, layers), given)["message"], "sealed"
    except UNOPENED:  # the evidence is that of somebody else
        return given["message"], "vector"


def _login(rng: random.Random, client: Inputs, now: int) -> Inputs:
    return {
        "client": client, "service": rng.choice(("kdc/tgt", "kdc/tgt", "kdc/keys", "kdc/admin", "orders")),
        "ttl_s": rng.choice((0, 60, 3600, 2**32 - 1)), "instance": rng.randbytes(16).hex(),
        "ts": now + rng.choice(_SKEWS), "nonce": rng.randbytes(16).hex(),
    }  # fmt: skip


def _request(rng: random.Random, facts: Inputs, now: int) -> Inputs:
    """A TGS-REQ of somebody who is logged in, at times on behalf of somebody else."""
    name, target = rng.choice(_RULES)
    client = _party(rng, facts, name)
    session = rng.randbytes(32).hex()
    tgt = _ticket(rng, facts, client, key=facts["tgt_key"], session=session, now=now)
    shown = _caveats(rng, now) if rng.random() < 0.2 else []
    wants = [_want(rng, target, now)] + [
        _want(rng, rng.choice(_NAMES), now) for _ in range(rng.choice((0, 0, 0, 0, 1, 2)))
    ]
    asked = {
        "tgt": tgt, "session_key": session, "caveats": shown, "wants": wants,
        "ts": now + rng.choice(_SKEWS), "nonce": rng.randbytes(16).hex(),
        "behalf": _behalf(rng, facts, client, now),
    }  # fmt: skip
    kdc = {
        "tgt_key": facts["tgt_key"], "mac_keys": {str(facts["mac_no"]): facts["mac_key"]},
        "evidence_key": _ticket_key(client),
    }  # fmt: skip
    return {"kdc": kdc, "message": tgs_req(asked).hex()}


def _party(rng: random.Random, facts: Inputs, name: str) -> Inputs:
    """Somebody with a key, mostly the newest."""
    versions: list[Inputs] = [one for one in facts["parties"] if one["name"] == name]
    return max(versions, key=lambda one: int(one["kvno"])) if rng.random() < 0.8 else rng.choice(versions)


def _caveats(rng: random.Random, now: int) -> list[str]:
    """One or two: mostly such as the KDC carries over, at times any that a field can hold."""
    if rng.random() < 0.3:
        return [
            one.hex() for one in rng.choices([one for one in caveats() if 1 <= len(one) <= 512], k=rng.choice((1, 2)))
        ]
    ends = (enc(1, now // 1000 + left) for left in (-1, 0, 1, 100, 10**6))
    targets = (enc(5, [["corp.test", one]]) for one in ("ledger", "orders"))
    carried = (*ends, *targets, enc(2, ["read"]), enc(2, ["read", "write"]))
    return [one.hex() for one in rng.choices(carried, k=rng.choice((1, 1, 1, 2, 2, 16)))]


def _ticket_key(party: Inputs) -> Inputs:
    return {
        **{one: party[one] for one in ("realm", "name", "uid", "kvno")},
        "type": 2,
        "key": role(party, "ticket").hex(),
    }


def _ticket(
    rng: random.Random, facts: Inputs, client: Inputs, *, key: Inputs, session: str, now: int, **more: Any
) -> str:
    """A ticket of `client`, most of them in force."""
    began = now // 1000 - rng.choice((5,) * 8 + (300, 0, -300, -301))
    ends = began + rng.choices((3600, 86_400, 86_401, 5, 6, 301), (20, 4, 1, 1, 1, 1))[0]
    named = kd(role(client, "as"), "kid", size=8) if rng.random() < 0.95 else bytes(8)
    fields = {
        "tid": rng.randbytes(16).hex(), "client": f"{client['name']}@{client['realm']}", "client_uid": client["uid"],
        "session_key": session, "iat": began, "exp": ends, "auth_time": began - rng.choice((0, 0, 60)),
        "ckid": named.hex(), "flags": rng.choice((1,) * 9 + (0,)), "scopes": [], "txn": rng.randbytes(16).hex(), **more,
    }  # fmt: skip
    sealed = {"sealed_with": key, "mac_no": facts["mac_no"], "mac_key": facts["mac_key"], "fields": fields}
    return str(ticket(sealed | {"entropy": rng.randbytes(24).hex()})["ticket"])


def _want(rng: random.Random, target: str, now: int) -> Inputs:
    want = {
        "target": f"{target}@{rng.choice(('corp.test',) * 9 + ('other.test',))}", "kind": rng.choice((0, 0, 0, 1)),
        "scopes": rng.choice(_SCOPES), "ttl_s": rng.choice((0, 60, 600, 9999)), "flags": rng.choice((0, 0, 1, 2, 3)),
    }  # fmt: skip
    if rng.random() < 0.15:
        want["limits"] = _caveats(rng, now)
    return want


def _behalf(rng: random.Random, facts: Inputs, client: Inputs, now: int) -> Inputs | None:
    """Nobody, an asserted subject, or the ticket of a call that `client` has received."""
    kind = rng.randrange(10)
    if kind < 5:
        return None
    if kind < 7:
        return {"subject": rng.choice(("user/ann@corp.test", "user/ann@other.test", "web@corp.test"))}
    caller = _party(rng, facts, rng.choice(("web", "web", "orders", "vault", "stopped")))
    receiver = client if rng.random() < 0.95 else _party(rng, facts, "vault")
    session = rng.randbytes(32).hex()
    hop = [[f"{rng.choice(('web', 'vault', 'stopped', 'user/x'))}@corp.test", now // 1000 - rng.choice((5, 5, 10**9))]]
    path: Inputs = {
        "chain": rng.choice(([], [], *_LONG_PATHS, hop, hop, hop, hop)),
        "subject": rng.choice((None, None, ["user/ann@corp.test", 0, 2], ["web@corp.test", 16, 1],
                               ["stopped@corp.test", 21, 1], ["nobody@corp.test", 9, 1])),
        "flags": rng.choice((2, 2, 2, 0)), "scopes": rng.choice(([], ["read"], ["read", "write"])),
    }  # fmt: skip
    evidence = _ticket(rng, facts, caller, key=_ticket_key(receiver), session=session, now=now, **path)
    ends = rng.choice((-1, 0, 1, 60))
    shown = [enc(1, now // 1000 + ends).hex()] if rng.random() < 0.2 else []
    return {"evidence": evidence, "session_key": session, "caveats": shown}
