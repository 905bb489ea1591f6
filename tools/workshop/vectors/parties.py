"""Who takes part in the vectors: keys, and the client's half of each request, from the inputs of a vector.

Knows the shapes of inputs; what an operation does with them is not known here.
"""

from __future__ import annotations

from typing import Any

import orthros_protocol as orthros
from orthros_protocol.primitives import canonical, limits

Vector = dict[str, Any]
Inputs = dict[str, Any]
unhex = bytes.fromhex


def _named(given: Inputs) -> dict[str, Any]:
    return {
        "principal": orthros.Principal(given["realm"], given["name"]),
        "uid": given["uid"],
        "kvno": given["kvno"],
    }


def root_of(given: Inputs) -> orthros.RootKey:
    """{root, realm, name, uid, kvno}."""
    return orthros.RootKey(unhex(given["root"]), **_named(given))


def sealing_key_of(given: Inputs) -> orthros.TicketSealingKey:
    """{key, type, realm, name, uid, kvno}."""
    kind = {1: orthros.TgtKey, 2: orthros.TicketKey}[given["type"]]
    return kind(unhex(given["key"]), **_named(given))


def mac_keys_of(given: Inputs) -> dict[int, orthros.KdcMacKey]:
    """{number: key}."""
    return {int(number): orthros.KdcMacKey(unhex(key), number=int(number)) for number, key in given.items()}


def optional(value: str | None) -> bytes | None:
    """Bytes, or None for null."""
    return None if value is None else unhex(value)


def as_pending(given: Inputs) -> tuple[orthros.AsKey, orthros.PendingAs]:
    """The client's half of an AS-REQ."""
    key = root_of(given["client"]).as_key()
    return key, orthros.build_as_request(
        key, service=given["service"], ttl_s=given["ttl_s"], instance=unhex(given["instance"]),
        now=orthros.Timestamp(given["ts"]), nonce=unhex(given["nonce"]),
    )  # fmt: skip


def _want(given: Inputs) -> orthros.Want:
    scopes = None if given["scopes"] is None else tuple(given["scopes"])
    return orthros.Want(
        target=orthros.Principal.parse(given["target"]), kind=given["kind"], scopes=scopes, ttl_s=given["ttl_s"],
        flags=given["flags"], limits=caveats_of(given.get("limits", [])),
    )  # fmt: skip


def caveats_of(given: list[str]) -> bytes:
    """The caveats field of these caveats."""
    return orthros.join_caveats(map(unhex, given))


def items_of(field: bytes) -> list[str]:
    """What a caveats field holds. Whether it may hold that is not judged here, but where it was read."""
    return [one.hex() for one in canonical.decode(field, limits.MAX_FRAME_BYTES)] if field else []


def behalf_of(given: Inputs | None) -> orthros.Behalf | None:
    """{evidence, session_key, caveats} or {subject}; null for the client's own name."""
    if given is None:
        return None
    if "subject" in given:
        return orthros.Behalf(subject=orthros.Principal.parse(given["subject"]))
    evidence = unhex(given["evidence"])
    proof = orthros.evidence_proof(unhex(given["session_key"]), evidence)
    return orthros.Behalf(evidence=evidence, caveats=caveats_of(given["caveats"]), proof=proof)


def tgs_pending(given: Inputs) -> orthros.PendingTgs:
    """The client's half of a TGS-REQ."""
    caveats = [unhex(caveat) for caveat in given["caveats"]]
    tail = orthros.tail_after(orthros.tail_of(unhex(given["session_key"]), unhex(given["tgt"])), caveats)
    return orthros.build_tgs_request(
        unhex(given["tgt"]), orthros.pop_key_of(tail), [_want(want) for want in given["wants"]],
        now=orthros.Timestamp(given["ts"]), nonce=unhex(given["nonce"]), caveats=orthros.join_caveats(caveats),
        behalf=behalf_of(given.get("behalf")),
    )  # fmt: skip


def ap_pending(given: Inputs) -> orthros.PendingAp:
    """The client's half of an AP-REQ."""
    caveats = [unhex(caveat) for caveat in given["caveats"]]
    tail = orthros.tail_after(orthros.tail_of(unhex(given["session_key"]), unhex(given["ticket"])), caveats)
    discharges = given.get("discharges", [])
    key = orthros.mix_discharges(orthros.pop_key_of(tail), [unhex(one["tail"]) for one in discharges])
    request = orthros.ApRequest(
        use=given["use"], ticket=unhex(given["ticket"]), caveats=orthros.join_caveats(caveats),
        discharges=tuple(unhex(one["caveats"]) for one in discharges), ts=orthros.Timestamp(given["ts"]),
        nonce=unhex(given["nonce"]), epoch=optional(given["epoch"]), flags=given["flags"],
        bind=optional(given["bind"]),
        user=None if given["user"] is None else orthros.AssertedUser(*given["user"]),
    )  # fmt: skip
    return orthros.sign_ap_request(request, key)
