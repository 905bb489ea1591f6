"""Which caveats may pass on into another ticket, and which a client may have the KDC write into its own.

Knows what caveats say and no rule of any realm.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from orthros_protocol.errors import Refused
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.caveats import ExpiresCaveat, ScopesCaveat, TargetsCaveat, ThirdPartyCaveat, parse_caveat

__all__ = ["Carried", "carry", "check_limits"]


@frozen(kw_only=True)
class Carried:
    """What caveats leave to whatever is obtained with their ticket.

    `expires` is the earliest Unix second, `scopes` the intersection, `targets` what may be asked for; None: no limit.
    """

    expires: int | None = None
    scopes: frozenset[str] | None = None
    targets: frozenset[Principal] | None = None


def carry(caveats: Iterable[bytes], *, of_tgt: bool) -> Carried:
    """The KDC's rules for the caveats of a ticket that something is obtained with: a TGT, or else evidence.

    Expires and scopes pass on into what is issued; targets are checked, on a TGT alone; every other type would be
    lost on the way. Raises Refused `caveat-not-carried` for those, `caveat-unsupported`, or Malformed.
    """
    expires: int | None = None
    scopes: frozenset[str] | None = None
    targets: frozenset[Principal] | None = None
    for caveat in map(parse_caveat, caveats):
        if isinstance(caveat, ExpiresCaveat):
            expires = caveat.at if expires is None else min(expires, caveat.at)
        elif isinstance(caveat, ScopesCaveat):
            scopes = frozenset(caveat.scopes) if scopes is None else scopes & frozenset(caveat.scopes)
        elif isinstance(caveat, TargetsCaveat) and of_tgt:
            named = frozenset(caveat.targets)
            targets = named if targets is None else targets & named
        else:
            kind = type(caveat).__name__.removesuffix("Caveat").lower()
            raise Refused("caveat-not-carried", f"the {kind} caveat")
    return Carried(expires=expires, scopes=scopes, targets=targets)


def check_limits(limits: Iterable[bytes]) -> None:
    """What a client may have the KDC write into its ticket: what a target judges, and demands no discharge.

    Raises Refused `caveat-not-carried` for targets and third-party caveats, `caveat-unsupported`, or Malformed.
    """
    for caveat in map(parse_caveat, limits):
        if isinstance(caveat, TargetsCaveat | ThirdPartyCaveat):
            raise Refused("caveat-not-carried", "targets and third-party caveats are no limits of a ticket")
