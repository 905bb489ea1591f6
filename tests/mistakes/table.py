"""The table: one row a mistake, which is made on a running house, and the words that must be read.

Knows no program and no message.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from tests.mistakes.house import House

__all__ = ["MISTAKES", "Mistake", "Seen", "mistake"]


@frozen
class Seen:
    """What came of one mistake: what the terminal of the caller shows, and what the service has logged of it."""

    caller: str
    service: str


@frozen
class Mistake:
    """One row: whose side is at fault, what mends it, and the words that the caller and the service's log must have."""

    name: str
    at: str
    mend: str
    caller: tuple[str, ...]
    service: tuple[str, ...]
    make: Callable[[House], Seen]
    needs: tuple[str, ...]

    @property
    def is_of_a_proxy(self) -> bool:
        """Whether something between caller and service makes it."""
        return self.make.__module__.endswith(".proxies")

    def lacking(self, seen: Seen) -> list[str]:
        """The words that did not occur, with the side that should have said them."""
        read = [f"caller: {word}" for word in self.caller if word not in " ".join(seen.caller.split())]
        logged = [f"service: {word}" for word in self.service if word not in " ".join(seen.service.split())]
        return read + logged


MISTAKES: Final[list[Mistake]] = []


def mistake(
    name: str,
    *,
    at: str,
    mend: str,
    caller: tuple[str, ...],
    service: tuple[str, ...] = (),
    needs: tuple[str, ...] = (),
) -> Callable[[Callable[[House], Seen]], Callable[[House], Seen]]:
    """The decorated function makes this mistake. `needs`: foreign programs, as `tests.support.peers` knows them.

    No words for `service`: no service is asked, so that none can say anything.
    """

    def add(make: Callable[[House], Seen]) -> Callable[[House], Seen]:
        MISTAKES.append(Mistake(name, at, mend, caller, service, make, needs))
        return make

    return add
