"""The caveats that the KDC writes into a ticket: those of the rules that it rests on, and the limits of the request.

They stand in the sealed body, so they bind every presenter. Decides nothing and knows no store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from attrs import field, frozen

from orthros_kdc.policy.ask_and_grant import Grant
from orthros_kdc.policy.rule_caveats import RequiredDischarge, discharges_of
from orthros_kdc.realm.principals import TargetView
from orthros_protocol.errors import Refused
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.limits import MAX_CAVEATS, MAX_DISCHARGES, MAX_RESULT_EXTENSION_BYTES
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.sealing import ENTROPY_BYTES
from orthros_protocol.tickets.attenuation import split_caveats
from orthros_protocol.tickets.caveats import (
    Caveat,
    ScopesCaveat,
    TargetsCaveat,
    ThirdPartyCaveat,
    parse_caveat,
)
from orthros_protocol.tickets.discharges import NewDemand, demand_of_kdc

__all__ = ["DEMANDS_ENTROPY", "Written", "require_shapes", "write_caveats"]

_ROOT_BYTES: Final = 32
_ENTROPY_PER_DEMAND: Final = _ROOT_BYTES + ENTROPY_BYTES
DEMANDS_ENTROPY: Final = MAX_DISCHARGES * _ENTROPY_PER_DEMAND
"""Bytes: a root and a box for each demand that one ticket can make."""
# The entry that carries the demands in a result, around them.
_ENTRY_BYTES: Final = 8


@frozen(eq=False, kw_only=True)
class Written:
    """The caveats of one ticket in their canonical form, and the demands of those that third parties discharge, in
    the same order."""

    caveats: tuple[bytes, ...] = field(default=(), repr=False)
    demands: tuple[bytes, ...] = field(default=(), repr=False)


_NOTHING: Final = Written()


def require_shapes(caveats: Iterable[bytes]) -> None:
    """Raises Malformed for a caveat of a wrong shape. Types that are unknown or not carried are judged later, so that
    the refusal can be sealed."""
    for caveat in caveats:
        _known(caveat)


def write_caveats(
    grant: Grant,
    limits: bytes,
    dischargers: Mapping[str, TargetView | None],
    *,
    about: Principal,
    expires: int,
    entropy: bytes,
    carried: frozenset[str] | None = None,
) -> Written:
    """What goes into a ticket for `grant` and the `limits` of its want, a `caveats` field that is well formed.

    `carried` are the scopes that caveats left to the caller: they stay a caveat, so that they bind at the next hop of
    the chain as well. `dischargers` are those whom the rules name; their demands concern `about`, the client that
    asks, and end at the Unix second `expires`. `entropy` is `DEMANDS_ENTROPY` fresh random bytes.
    Raises Refused `discharger-unavailable`, or `caveat-not-carried` for limits that the KDC does not write, and for
    more than fits.
    """
    if not grant.caveats and not limits and carried is None:
        return _NOTHING
    asked = split_caveats(limits)
    for caveat in asked:
        _require_writable(caveat)
    own = dict.fromkeys(() if carried is None else (ScopesCaveat(tuple(carried)).to_bytes(),))
    own |= dict.fromkeys(
        one.written.to_bytes() for one in grant.caveats if not isinstance(one.written, RequiredDischarge)
    )
    wanted = discharges_of(grant.caveats)
    if len(own) + len(wanted) + len(asked) > MAX_CAVEATS:
        raise Refused("caveat-not-carried", f"more than {MAX_CAVEATS} caveats in one ticket")
    demands: list[NewDemand] = []
    for number, demand in enumerate(wanted):
        fresh = entropy[number * _ENTROPY_PER_DEMAND :][:_ENTROPY_PER_DEMAND]
        discharger = dischargers.get(demand.discharger)
        if discharger is None or discharger.principal.disabled or discharger.ticket_key is None:
            raise Refused("discharger-unavailable", demand.discharger)
        demands.append(
            demand_of_kdc(
                discharger.ticket_key,
                root=fresh[:_ROOT_BYTES],
                about=about,
                predicate=demand.predicate,
                expires=expires,
                entropy=fresh[_ROOT_BYTES:],
            )
        )
    cids = tuple(one.cid for one in demands)
    if len(encode(*cids)) + _ENTRY_BYTES > MAX_RESULT_EXTENSION_BYTES:
        raise Refused("caveat-not-carried", "its demands are too long for one result")
    return Written(caveats=(*own, *(one.caveat for one in demands), *asked), demands=cids)


def _require_writable(encoded: bytes) -> None:
    caveat = _known(encoded)
    if caveat is None or isinstance(caveat, (TargetsCaveat, ThirdPartyCaveat)):
        raise Refused("caveat-not-carried", "a limit of a type that the KDC does not write into tickets")


def _known(encoded: bytes) -> Caveat | None:
    try:
        return parse_caveat(encoded)
    except Refused:
        return None
