"""Who takes part in the vectors: keys, and the client's half of each request, from the inputs of a vector.

Knows the shapes of inputs; what an operation does with them is not known here.
"""

from __future__ import annotations

from typing import Any

from orthros_protocol.exchanges.ap_exchange import ApRequest, AssertedUser, PendingAp, sign_ap_request
from orthros_protocol.exchanges.as_exchange import PendingAs, build_as_request
from orthros_protocol.exchanges.tgs_exchange import PendingTgs, build_tgs_request
from orthros_protocol.exchanges.wants import Want
from orthros_protocol.keys.role_keys import AsKey, KdcMacKey, RootKey, TgtKey, TicketKey, TicketSealingKey
from orthros_protocol.primitives import canonical, limits
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.attenuation import join_caveats, mix_discharges, pop_key_of, tail_after, tail_of
from orthros_protocol.tickets.evidence import Behalf, evidence_proof

Vector = dict[str, Any]
Inputs = dict[str, Any]
unhex = bytes.fromhex


def _named(given: Inputs) -> dict[str, Any]:
    return {
        "principal": Principal(given["realm"], given["name"]),
        "uid": given["uid"],
        "kvno": given["kvno"],
    }


def root_of(given: Inputs) -> RootKey:
    """{root, realm, name, uid, kvno}."""
    return RootKey(unhex(given["root"]), **_named(given))


def sealing_key_of(given: Inputs) -> TicketSealingKey:
    """{key, type, realm, name, uid, kvno}."""
    kind = {1: TgtKey, 2: TicketKey}[given["type"]]
    return kind(unhex(given["key"]), **_named(given))


def mac_keys_of(given: Inputs) -> dict[int, KdcMacKey]:
    """{number: key}."""
    return {int(number): KdcMacKey(unhex(key), number=int(number)) for number, key in given.items()}


def optional(value: str | None) -> bytes | None:
    """Bytes, or None for null."""
    return None if value is None else unhex(value)


def as_pending(given: Inputs) -> tuple[AsKey, PendingAs]:
    """The client's half of an AS-REQ."""
    key = root_of(given["client"]).as_key()
    return key, build_as_request(
        key, service=given["service"], ttl_s=given["ttl_s"], instance=unhex(given["instance"]),
        now=Timestamp(given["ts"]), nonce=unhex(given["nonce"]),
    )  # fmt: skip


def _want(given: Inputs) -> Want:
    scopes = None if given["scopes"] is None else tuple(given["scopes"])
    return Want(
        target=Principal.parse(given["target"]), kind=given["kind"], scopes=scopes, ttl_s=given["ttl_s"],
        flags=given["flags"], limits=caveats_of(given.get("limits", [])),
    )  # fmt: skip


def caveats_of(given: list[str]) -> bytes:
    """The caveats field of these caveats."""
    return join_caveats(map(unhex, given))


def items_of(field: bytes) -> list[str]:
    """What a caveats field holds. Whether it may hold that is not judged here, but where it was read."""
    return [one.hex() for one in canonical.decode(field, limits.MAX_FRAME_BYTES)] if field else []


def behalf_of(given: Inputs | None) -> Behalf | None:
    """{evidence, session_key, caveats} or {subject}; null for the client's own name."""
    if given is None:
        return None
    if "subject" in given:
        return Behalf(subject=Principal.parse(given["subject"]))
    evidence = unhex(given["evidence"])
    proof = evidence_proof(unhex(given["session_key"]), evidence)
    return Behalf(evidence=evidence, caveats=caveats_of(given["caveats"]), proof=proof)


def tgs_pending(given: Inputs) -> PendingTgs:
    """The client's half of a TGS-REQ."""
    caveats = [unhex(caveat) for caveat in given["caveats"]]
    tail = tail_after(tail_of(unhex(given["session_key"]), unhex(given["tgt"])), caveats)
    return build_tgs_request(
        unhex(given["tgt"]), pop_key_of(tail), [_want(want) for want in given["wants"]],
        now=Timestamp(given["ts"]), nonce=unhex(given["nonce"]), caveats=join_caveats(caveats),
        behalf=behalf_of(given.get("behalf")),
    )  # fmt: skip


def ap_pending(given: Inputs) -> PendingAp:
    """The client's half of an AP-REQ."""
    caveats = [unhex(caveat) for caveat in given["caveats"]]
    tail = tail_after(tail_of(unhex(given["session_key"]), unhex(given["ticket"])), caveats)
    discharges = given.get("discharges", [])
    key = mix_discharges(pop_key_of(tail), [unhex(one["tail"]) for one in discharges])
    request = ApRequest(
        use=given["use"], ticket=unhex(given["ticket"]), caveats=join_caveats(caveats),
        discharges=tuple(unhex(one["caveats"]) for one in discharges), ts=Timestamp(given["ts"]),
        nonce=unhex(given["nonce"]), epoch=optional(given["epoch"]), flags=given["flags"],
        bind=optional(given["bind"]),
        user=None if given["user"] is None else AssertedUser(*given["user"]),
    )  # fmt: skip
    return sign_ap_request(request, key)
