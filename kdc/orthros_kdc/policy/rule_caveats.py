"""The caveats that a rule has the KDC write into tickets, so that they bind every holder.

Values and their text forms; seals nothing and judges no request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Self

from attrs import field, frozen

from orthros_kdc.policy.sources import check_sources
from orthros_protocol import LocalMisuse, Misconfigured
from orthros_protocol.primitives.limits import MAX_DISCHARGES
from orthros_protocol.primitives.names import is_name, is_scope
from orthros_protocol.tickets.caveats import MethodsCaveat, PathCaveat, PeerCaveat

__all__ = ["MOST_RULE_CAVEATS", "Demand", "RuleCaveats", "caveat_count", "caveat_texts", "demands_of", "fits_ticket"]

MOST_RULE_CAVEATS: Final = 12
"""What rules may write into one ticket; the rest of the 16 is for the limits of the request."""


@frozen(order=True)
class Demand:
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


def _methods(values: object) -> tuple[str, ...]:
    methods = tuple(sorted(_words("methods", values)))
    _written("methods", MethodsCaveat(methods).to_bytes)
    return methods


def _path(value: object) -> str | None:
    if value is None:
        return None
    if type(value) is not str:
        raise Misconfigured("value-invalid", f"path: {value!r} is no text")
    _written("path", lambda: PathCaveat(value).to_bytes())
    return value


def _peers(values: object) -> tuple[str, ...]:
    peers = check_sources(tuple(_words("networks", values)))
    _written("peers", lambda: PeerCaveat(peers).to_bytes())
    return peers


def _discharges(values: object) -> tuple[Demand, ...]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise Misconfigured("value-invalid", "expected a list of discharges")
    unique = {value if isinstance(value, Demand) else Demand.parse(str(value)) for value in values}
    if len(unique) > MAX_DISCHARGES:
        raise Misconfigured("value-invalid", f"{len(unique)} discharges, at most {MAX_DISCHARGES}")
    return tuple(sorted(unique))


@frozen(kw_only=True)
class RuleCaveats:
    """What the KDC writes into the tickets of a rule; nothing by default, and falsy then.

    `methods` of HTTP, `path` a prefix by segments, `peers` the networks (CIDR) of those who may present the ticket,
    `discharges` what third parties must attest. Raises Misconfigured `name-invalid` or `value-invalid`.
    """

    methods: tuple[str, ...] = field(default=(), converter=_methods)
    path: str | None = field(default=None, converter=_path)
    peers: tuple[str, ...] = field(default=(), converter=_peers)
    discharges: tuple[Demand, ...] = field(default=(), converter=_discharges)

    def __bool__(self) -> bool:
        return bool(self.methods or self.path is not None or self.peers or self.discharges)

    def texts(self) -> tuple[str, ...]:
        """One text for each caveat, as admins write them in expectations."""
        said = [f"methods {' '.join(self.methods)}"] if self.methods else []
        said += [f"path {self.path}"] if self.path is not None else []
        said += [f"peers {' '.join(self.peers)}"] if self.peers else []
        return (*said, *(f"discharge {demand}" for demand in self.discharges))


def caveat_texts(together: Iterable[RuleCaveats]) -> tuple[str, ...]:
    """The texts of all of them, which hold together: each once, in their order."""
    return tuple(dict.fromkeys(text for each in together for text in each.texts()))


def caveat_count(together: Iterable[RuleCaveats]) -> int:
    """How many caveats a ticket holds that all of them are written into."""
    return len(caveat_texts(together))


def demands_of(together: Iterable[RuleCaveats]) -> tuple[Demand, ...]:
    """The discharges that all of them demand together: each once, in their order."""
    return tuple(dict.fromkeys(demand for each in together for demand in each.discharges))


def fits_ticket(together: Iterable[RuleCaveats]) -> bool:
    """Whether all of them can be written into one ticket."""
    all_of_them = tuple(together)
    return caveat_count(all_of_them) <= MOST_RULE_CAVEATS and len(demands_of(all_of_them)) <= MAX_DISCHARGES
