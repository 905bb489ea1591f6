"""What a decision takes and what it gives.

Values only; `decide.py` leads from the ones to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from attrs import field, frozen

from orthros_kdc.policy.model import RealmLimits
from orthros_kdc.policy.rule_caveats import RuleCaveat
from orthros_protocol.errors import LocalMisuse
from orthros_protocol.primitives.names import Principal, check_name
from orthros_protocol.reasons.table import Code
from orthros_protocol.tickets.notes import Note, NoteCause

__all__ = [
    "Ask",
    "Cap",
    "Circumstances",
    "Denial",
    "Grant",
    "Kind",
    "Objection",
    "PrincipalCaps",
    "TargetFacts",
    "acting_for",
]


class Kind(IntEnum):
    """What is asked for, by its number on the wire."""

    TICKET = 0
    JWT = 1


def _not_negative(_instance: object, _attribute: object, value: int) -> None:
    if value < 0:
        raise LocalMisuse("value-invalid", f"a lifetime of {value} s")


@frozen(kw_only=True)
class Ask:
    """One want. `scopes` None means all that the rules allow without a caveat, or else with one.

    Empty `scopes` mean authentication only, `ttl_s` 0 as long as allowed; `exact` means refuse rather than clamp.
    `delegable` asks that the target may act further for whom it is issued. `subject` is the name in which the client
    asks, None for its own; with `proven` it is the KDC's word, by evidence, and else only the client's. `path` is whom
    the call came through and then the client (`call_chain.path_of`), empty for a call of its own and for a subject
    that it merely asserts.
    """

    target: str
    kind: Kind = Kind.TICKET
    scopes: tuple[str, ...] | None = None
    ttl_s: int = field(default=0, validator=_not_negative)
    exact: bool = False
    delegable: bool = False
    subject: str | None = None
    proven: bool = False
    path: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.proven and self.subject is None:
            raise LocalMisuse("value-invalid", "nobody is proven: the ask names no subject")


def acting_for(client: str, *, behalf: str | None, via: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    """Subject and path of an ask of `client` with evidence, as the KDC would find them: for `Ask`.

    `via` are those before the client, the first caller first. Who is not named is the first caller, and nobody else
    called when none are named. Raises Misconfigured `name-invalid`.
    """
    for name in via:
        Principal.parse(name) if "@" in name else check_name(name)
    callers = tuple(via) or (() if behalf is None else (check_name(behalf),))
    return behalf or next(iter(callers), None), (*callers, client) if callers else ()


@frozen(kw_only=True)
class PrincipalCaps:
    """The limits of one principal in seconds; None sets none."""

    max_ticket_s: int | None = None
    max_jwt_s: int | None = None


@frozen(kw_only=True)
class TargetFacts(PrincipalCaps):
    """What the decision needs to know about a target: `has_key` tells whether a ticket can be sealed for
    it, `jwt_alg` is set when a JWT can be signed for it. `sources` are the networks that it may ask from itself, which
    `obstacles.py` judges; none: from anywhere."""

    disabled: bool = False
    has_key: bool = True
    jwt_alg: str | None = None
    sources: tuple[str, ...] = ()


@frozen(kw_only=True)
class Circumstances:
    """What a decision rests on besides the ask and the rules of its pair.

    `address` is the IP address of the asker as text, empty on a local socket, which lies outside every network; None
    is for those who only wonder what would be answered: then nothing is held against it. `groups_of` gives the groups
    of a name, as `group:x` (`PolicySnapshot.groups_of`); without it no rule that names groups of a path holds along
    one. `scopes_of` gives the scopes of a name's own rules at a target (`PolicySnapshot.own_scopes`); without it no
    rule that is bounded by them holds for a subject.

    `now` is the Unix second; without it no rule that ends holds.

    `target` is None when it does not exist, and must not even be looked up when there are no rules: policy comes
    before existence. `remaining_tgt_s` is what is left of the TGT, or of the evidence if that is less; `caveat_*` are
    the limits that caveats on either set, None without such a caveat.
    """

    address: str | None
    now: int | None = None
    groups_of: Callable[[str], Iterable[str]] | None = None
    scopes_of: Callable[[str, str, int | None], frozenset[str] | None] | None = None
    client_caps: PrincipalCaps = field(factory=PrincipalCaps)
    target: TargetFacts | None = None
    limits: RealmLimits = field(factory=RealmLimits)
    remaining_tgt_s: int = 0
    caveat_remaining_s: int | None = None
    caveat_scopes: Collection[str] | None = None


class Cap(NamedTuple):
    """One limit of the lifetime. `whose` names its owner; `rule_id` is set for a rule's."""

    seconds: int
    cause: NoteCause
    whose: str
    rule_id: int | None = None


@frozen
class Objection:
    """Why one rule does not hold for an ask, or holds for less than it says: then it `bounds`. `condition` names the
    judge. For admins, not for callers."""

    rule_id: int
    condition: str
    detail: str
    bounds: bool = False

    def __str__(self) -> str:
        return f"rule {self.rule_id}: {self.condition}: {self.detail}"


@frozen(kw_only=True)
class Grant:
    """What may be issued. `rule_ids` are the rules that it rests on, `notes` what was cut, `subject` in whose name
    it was asked for: nothing may be issued in another. All of `caveats` hold together, and must be written into the
    ticket. `objections` tell of the rules that did not hold, and `caps` are all limits of the lifetime."""

    scopes: tuple[str, ...]
    ttl_s: int
    delegable: bool
    rule_ids: tuple[int, ...]
    notes: tuple[Note, ...] = ()
    subject: str | None = None
    caveats: tuple[RuleCaveat, ...] = ()
    objections: tuple[Objection, ...] = ()
    caps: tuple[Cap, ...] = ()


@frozen(kw_only=True)
class Denial:
    """Why nothing is issued: the name of a reason. `notes` say what an exact ask would have lost, `objections`
    which rules did not hold."""

    code: Code
    notes: tuple[Note, ...] = ()
    objections: tuple[Objection, ...] = ()
