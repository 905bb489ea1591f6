"""How much of a replay store one ticket, one client and all together may fill. Numbers only."""

from __future__ import annotations

from typing import Final, Self

from attrs import Attribute, Factory, evolve, field, frozen

from orthros_protocol.errors import LocalMisuse

__all__ = ["Shares"]

_CLIENT: Final = 4
_TICKET: Final = 8


def _check(_shares: Shares, attribute: Attribute[int], value: int) -> None:
    if value < 1:
        raise LocalMisuse("value-invalid", f"{attribute.name} is at least 1")


@frozen(kw_only=True)
class Shares:
    """Entries that have not expired: in all, of one client, of one ticket. By default a client may have a quarter of
    them, and a ticket an eighth. Raises LocalMisuse for less than one.
    """

    capacity: int = field(default=1_000_000, validator=_check)
    per_client: int = field(default=Factory(lambda self: max(1, self.capacity // _CLIENT), True), validator=_check)
    per_ticket: int = field(
        default=Factory(lambda self: max(1, min(self.per_client, self.capacity // _TICKET)), True), validator=_check
    )

    def within(self, capacity: int) -> Self:
        """The same parts of a store that has room for `capacity` entries at most."""
        if capacity >= self.capacity:
            return self
        return evolve(
            self,
            capacity=capacity,
            per_client=max(1, self.per_client * capacity // self.capacity),
            per_ticket=max(1, self.per_ticket * capacity // self.capacity),
        )
