"""The caveats that a rule has the KDC write into tickets, so that they bind every holder.

Values and their text forms; seals nothing and judges no request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Self

from attrs import frozen

from orthros_kdc.policy.sources import check_sources
from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_protocol.primitives.limits import MAX_DISCHARGES
from orthros_protocol.primitives.names import is_name, is_scope
from orthros_protocol.tickets.caveats import MethodsCaveat, PathCaveat, PeerCaveat

__all__ = [
    "MOST_RULE_CAVEATS",
    "RequiredDischarge",
    "RuleCaveat",
    "check_discharges",
    "check_methods",
    "check_path",
    "check_peers",
    "discharges_of",
    "fit_ticket",
]

MOST_RULE_CAVEATS: Final = 12
"""What rules may write into one ticket; the rest of the 16 is for the limits of the request."""


@frozen(order=True)
class RequiredDischarge:
    """A discharge that must be shown: `discharger`, a principal of the realm, attests `predicate`, written as a scope.

    Text form: `approvals=four-eyes`. Raises Misconfigured `name-invalid` or `value-invalid`.
    """

    discharger: str
    predicate: str

    def __attrs_post_init__(self) -> None:
        if type(self.discharger) is not str or not is_name(self.discharger):
            raise Misconfigured("name-invalid", f"discharger {self.discharger!r}")
        if type(self.predicate) is not str or not is_scope(self.predicate):
            raise Misconfigured("value-invalid", f"predicate {self.predicate!r}: it is spelt like a scope")

    def __str__(self) -> str:
        return f"{self.discharger}={self.predicate}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the text form."""
        discharger, equals, predicate = text.partition("=")
        if not equals:
            raise Misconfigured("value-invalid", f"discharge {text!r}: write DISCHARGER=PREDICATE")
        return cls(discharger, predicate)


@frozen
class RuleCaveat:
    """One caveat of a rule. `text` is how admins write it in expectations."""

    text: str
    written: MethodsCaveat | PathCaveat | PeerCaveat | RequiredDischarge


def _words(what: str, values: object) -> frozenset[str]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise Misconfigured("value-invalid", f"expected a list of {what}")
    unique = frozenset(values)
    for value in unique:
        if type(value) is not str:
            raise Misconfigured("value-invalid", f"{what}: {value!r} is no text")
    return unique


def _written(what: str, write: Callable[[], bytes]) -> None:
    # The caveat itself is the judge of what it can hold.
    try:
        write()
    except LocalMisuse as error:
        raise Misconfigured("value-invalid", f"{what}: {error.detail}") from None


def check_methods(values: object) -> tuple[str, ...]:
    """Methods of HTTP, sorted. This and the next raise Misconfigured `name-invalid` or `value-invalid`."""
    methods = tuple(sorted(_words("methods", values)))
    _written("methods", MethodsCaveat(methods).to_bytes)
    return methods


def check_path(value: object) -> str | None:
    """A prefix of paths, by whole segments."""
    if value is None:
        return None
    if type(value) is not str:
        raise Misconfigured("value-invalid", f"path: {value!r} is no text")
    _written("path", lambda: PathCaveat(value).to_bytes())
    return value


def check_peers(values: object) -> tuple[str, ...]:
    """The networks (CIDR) of those who may present a ticket."""
    peers = check_sources(tuple(_words("networks", values)))
    _written("peers", lambda: PeerCaveat(peers).to_bytes())
    return peers


def check_discharges(values: object) -> tuple[RequiredDischarge, ...]:
    """What third parties must attest, from objects or their text forms."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise Misconfigured("value-invalid", "expected a list of discharges")
    unique = {
        value if isinstance(value, RequiredDischarge) else RequiredDischarge.parse(str(value)) for value in values
    }
    if len(unique) > MAX_DISCHARGES:
        raise Misconfigured("value-invalid", f"{len(unique)} discharges, at most {MAX_DISCHARGES}")
    return tuple(sorted(unique))


def discharges_of(caveats: Iterable[RuleCaveat]) -> tuple[RequiredDischarge, ...]:
    """The discharges among `caveats`, each once, in their order."""
    return tuple(dict.fromkeys(one.written for one in caveats if isinstance(one.written, RequiredDischarge)))


def fit_ticket(caveats: Iterable[RuleCaveat]) -> bool:
    """Whether all of them can be written into one ticket."""
    unique = set(caveats)
    return len(unique) <= MOST_RULE_CAVEATS and len(discharges_of(unique)) <= MAX_DISCHARGES
