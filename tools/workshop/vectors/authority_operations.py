"""The operations of attenuation, discharges, hand-over and call chains: JSON in, the library called, JSON out.

Principals are `name@realm`; caveats of a list are hexadecimal, one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from orthros_protocol.errors import Refused
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.attenuation import mix_discharges, pop_key_of, split_caveats, tail_of
from orthros_protocol.tickets.call_chain import ChainRule
from orthros_protocol.tickets.carrying import carry, check_limits
from orthros_protocol.tickets.caveats import ThirdPartyCaveat, parse_caveat
from orthros_protocol.tickets.credential import Credential, Life
from orthros_protocol.tickets.discharges import (
    Demand,
    DemandSource,
    Discharge,
    NewDemand,
    demand_of_holder,
    demand_of_kdc,
    discharge_root,
    judge_discharge,
    make_discharge,
    open_demand,
    open_discharge,
    seal_discharge,
)
from orthros_protocol.tickets.evidence import evidence_proof, mixed_with_evidence
from orthros_protocol.tickets.hand_over import open_hand_over, seal_hand_over
from orthros_protocol.tickets.ticket import Subject
from workshop.vectors.parties import Inputs, Vector, caveats_of, root_of, unhex


def subject_of(given: list[Any] | None) -> Subject | None:
    """[name, uid, how], or null."""
    return None if given is None else Subject(Principal.parse(given[0]), given[1], given[2])


def shown_subject(subject: Subject | None) -> list[Any] | None:
    """The same as JSON."""
    return None if subject is None else [str(subject.principal), subject.uid, subject.how]


def chain_rule_of(given: Inputs) -> ChainRule:
    """{deny_via, require_via, max_depth, callbacks}; what is left out is as without a rule."""
    return ChainRule(**({"callbacks": bool(given.get("callbacks", 0))} | {
        name: given[name] for name in ("deny_via", "require_via", "max_depth") if name in given
    }))  # fmt: skip


def _hexed(caveats: tuple[bytes, ...]) -> list[str]:
    return [one.hex() for one in caveats]


def _carry(given: Inputs) -> Vector:
    left = carry(map(unhex, given["caveats"]), of_tgt=bool(given["of_tgt"]))
    return {
        "expires": left.expires, "scopes": None if left.scopes is None else sorted(left.scopes),
        "targets": None if left.targets is None else sorted(map(str, left.targets)),
    }  # fmt: skip


def _limits(given: Inputs) -> Vector:
    check_limits(map(unhex, given["caveats"]))
    return {}


def _about(given: Inputs) -> dict[str, Any]:
    return {
        "about": Principal.parse(given["about"]), "predicate": given["predicate"],
        "expires": given["expires"], "entropy": unhex(given["entropy"]),
    }  # fmt: skip


def _demanded(made: NewDemand, tail: bytes) -> Vector:
    caveat = parse_caveat(made.caveat)
    if not isinstance(caveat, ThirdPartyCaveat):
        raise TypeError("a demand comes with a third-party caveat")
    return {"caveat": made.caveat.hex(), "cid": made.cid.hex(), "d0": discharge_root(caveat, tail).hex()}


def _demand_of_holder(given: Inputs) -> Vector:
    ticket = unhex(given["ticket"])
    source = DemandSource(
        ticket=ticket, pop_key=pop_key_of(tail_of(unhex(given["session_key"]), ticket)),
        adder=Principal.parse(given["adder"]), discharger=Principal.parse(given["discharger"]),
    )  # fmt: skip
    tail = unhex(given["tail"])
    return _demanded(demand_of_holder(tail, source, **_about(given), salt=unhex(given["salt"])), tail)


def _demand_of_kdc(given: Inputs) -> Vector:
    key = root_of(given["discharger"]).ticket_key()
    return _demanded(demand_of_kdc(key, root=unhex(given["root"]), **_about(given)), b"")


def _opened_demand(given: Inputs) -> Demand:
    keytab = Keytab.of(root_of(given["discharger"]))
    return open_demand(unhex(given["cid"]), keytab, now=Timestamp(given["now"]))


def _open_demand(given: Inputs) -> Vector:
    demand = _opened_demand(given)
    return {
        "root": demand.root.hex(), "about": str(demand.about), "predicate": demand.predicate,
        "expires": demand.expires, "adder": None if demand.adder is None else str(demand.adder),
    }  # fmt: skip


def _discharge(given: Inputs) -> Vector:
    added = [parse_caveat(unhex(one)) for one in given["caveats"]]
    made = make_discharge(_opened_demand(given), unhex(given["cid"]), added, expires=given["expires"])
    return _shown(made)


def _shown(made: Discharge) -> Vector:
    return {"cid_digest": made.cid_digest.hex(), "caveats": made.caveats.hex(), "tail": made.tail.hex()}


def _seal_discharge(given: Inputs) -> Vector:
    made = Discharge(
        cid_digest=bytes(32), caveats=unhex(given["caveats"]), tail=unhex(given["tail"])
    )  # fmt: skip
    pop_key, context = unhex(given["pop_key"]), unhex(given["request_digest"])
    return {"box": seal_discharge(pop_key, context, made, entropy=unhex(given["entropy"])).hex()}


def _open_discharge(given: Inputs) -> Vector:
    pop_key, context = unhex(given["pop_key"]), unhex(given["request_digest"])
    return _shown(open_discharge(pop_key, context, unhex(given["cid"]), unhex(given["box"])))


def _hand_over(given: Inputs) -> Vector:
    row, around = given["handed"], unhex(given["ticket"])
    handed = Credential(
        ticket=unhex(row["ticket"]), caveats=split_caveats(caveats_of(row["caveats"])), tail=unhex(row["tail"]),
        target=Principal.parse(row["target"]), target_uid=row["target_uid"],
        client=Principal.parse(row["client"]), scopes=tuple(row["scopes"]),
        life=Life.until(row["expires"], row["ttl_s"]), subject=subject_of(row["subject"]),
        demands=tuple(map(unhex, row["demands"])),
    )  # fmt: skip
    sealed = seal_hand_over(
        handed, ticket=around, pop_key=pop_key_of(tail_of(unhex(given["session_key"]), around)),
        sender=Principal.parse(given["sender"]), receiver=Principal.parse(given["receiver"]),
        entropy=unhex(given["entropy"]),
    )  # fmt: skip
    return {"message": sealed.hex()}


def _open_hand_over(given: Inputs) -> Vector:
    keytab = Keytab.of(root_of(given["receiver"]))
    handed = open_hand_over(unhex(given["message"]), keytab, now=Timestamp(given["now"]))
    got, tail = handed.credential, handed.credential.tail or b""
    return {
        "ticket": got.ticket.hex(), "caveats": _hexed(got.caveats), "tail": tail.hex(),
        "target": str(got.target), "target_uid": got.target_uid, "client": str(got.client), "scopes": list(got.scopes),
        "expires": got.life.second, "ttl_s": got.life.whole_s, "subject": shown_subject(got.subject),
        "demands": _hexed(got.demands), "sender": str(handed.sender),
    }  # fmt: skip


def _evidence(given: Inputs) -> Vector:
    proof = evidence_proof(unhex(given["session_key"]), unhex(given["evidence"]))
    return {"proof": proof.hex(), "key": mixed_with_evidence(unhex(given["pop_key"]), proof).hex()}


def _path(given: Inputs) -> Vector:
    objection = chain_rule_of(given["rule"]).objection(tuple(given["path"]), given["target"])
    if objection is not None:
        raise Refused("chain-refused", objection)
    return {}


AUTHORITY_OPERATIONS: Final[dict[str, Callable[[Inputs], Vector]]] = {
    "mix": lambda i: {"key": mix_discharges(unhex(i["pop_key"]), map(unhex, i["tails"])).hex()},
    "carry": _carry,
    "limits": _limits,
    "demand-of-holder": _demand_of_holder,
    "demand-of-kdc": _demand_of_kdc,
    "open-demand": _open_demand,
    "discharge": _discharge,
    "judge-discharge": lambda i: {"caveats": len(judge_discharge(unhex(i["caveats"])))},
    "seal-discharge": _seal_discharge,
    "open-discharge": _open_discharge,
    "hand-over": _hand_over,
    "open-hand-over": _open_hand_over,
    "evidence": _evidence,
    "path": _path,
}
