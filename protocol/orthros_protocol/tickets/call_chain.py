"""Call chains: whom a call came through, and what such a path may look like.

Only the KDC's word makes an element of a chain. Knows no policy of a realm and no request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse
from orthros_protocol.primitives.limits import MAX_CHAIN_HOPS
from orthros_protocol.primitives.names import Principal, check_texts
from orthros_protocol.tickets.ticket import Ticket

__all__ = ["ChainRule", "path_of"]

ANY_DEPTH: Final = MAX_CHAIN_HOPS


def _names(values: Iterable[str], what: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(check_texts(values, what)))
    if not all(names):  # an empty one would match nobody, and so forbid nothing
        raise LocalMisuse("value-invalid", f"{what} holds an empty name")
    return names


def _denied(values: Iterable[str]) -> tuple[str, ...]:
    return _names(values, "deny_via")


def _required(values: Iterable[str]) -> tuple[str, ...]:
    return _names(values, "require_via")


def _depth(_rule: ChainRule, _attribute: object, value: int) -> None:
    if type(value) is not int or not 0 <= value <= MAX_CHAIN_HOPS:
        raise LocalMisuse("value-invalid", f"max_depth is 0 to {MAX_CHAIN_HOPS}")


@frozen(kw_only=True)
class ChainRule:
    """What the path of a call may look like. Raises LocalMisuse for a depth outside 0 to 8.

    The path of a call on behalf of others is its chain and then the client; a client's own call has none.
    deny_via: none of these is on the path. require_via: all of these are, so own calls are refused.
    max_depth: how many hops lie before the client; 0 refuses all but calls of the client's own (and of subjects that
    it asserted).
    callbacks: whether somebody may be called again by those that it called, or call twice on one path.
    Names are `name` for the own realm, else `name@realm`.
    """

    deny_via: tuple[str, ...] = field(default=(), converter=_denied)
    require_via: tuple[str, ...] = field(default=(), converter=_required)
    max_depth: int = field(default=ANY_DEPTH, validator=_depth)
    callbacks: bool = False

    def objection(
        self, path: Sequence[str], target: str, *, also: Callable[[str], Iterable[str]] = lambda _name: ()
    ) -> str | None:
        """Why a call of `target` along `path` is refused, or None. `also` gives further names, such as groups, under
        which `deny_via` and `require_via` may know somebody."""
        known = {name: {name, *also(name)} for name in path}
        for name, names in known.items():
            if not names.isdisjoint(self.deny_via):
                return f"it came through {name}"
        for wanted in self.require_via:
            if not any(wanted in names for names in known.values()):
                return f"it did not come through {wanted}"
        if len(path) - 1 > self.max_depth:
            return f"{len(path) - 1} hops before the caller, at most {self.max_depth}"
        if not self.callbacks and len({*path, target}) <= len(path):
            return "somebody is called again by those that it called"
        return None


def path_of(ticket: Ticket) -> tuple[str, ...]:
    """Chain and client of a service ticket as `ChainRule` names them; empty for the client's own call."""
    if not ticket.chain:
        return ()
    home = ticket.server.realm
    return tuple(_named(principal, home) for principal in (*(hop.principal for hop in ticket.chain), ticket.client))


def _named(principal: Principal, home: str) -> str:
    return principal.name if principal.realm == home else str(principal)
