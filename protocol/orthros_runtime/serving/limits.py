"""How many connections each group of peers may have open, and which of them closes when there is no room.

The problem: with a cap alone, the first program to connect keeps all others out. 300 connections that say nothing cost
their owner nothing, and hold every place until the idle deadline.

The mechanism: connections are counted in groups, such as the connections of one user, and a group can be a part of a
larger one. Each group has a most. A new connection needs room in its group and in all groups around it. In the first
group that is full, the largest part gives way, and in that part the connection that has been idle longest: first among
those that have not shown that they are of use, then among the others. A connection whose request is being worked on is
never closed. If none is idle, the new connection is refused.

Rejected: to close the newest connection (then silent connections hold their places for ever), to pick one at random
(then an active user pays for an idle one), and a deadline for the first request alone (a loop that connects again pays
nothing for it). A group that can be had for nothing, such as a user id inside a user namespace, must not count for
itself: its members have to share one group, or they would fill all that is around them.

Counts; knows neither streams nor clocks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Final, Generic, TypeVar

from attrs import define, field, frozen

__all__ = ["ConnectionLimits", "Group"]

T = TypeVar("T", bound=Hashable)


@frozen
class Group:
    """Peers whose connections are counted together.

    `key` tells groups apart, `most` is how many connections the group may have open, `name` is for people, and `within`
    is the group that this one is a part of. A group may come back with another `most`; the newest one counts.
    """

    key: Hashable
    most: int
    name: str
    within: Group | None = None


@define(eq=False)
class _Count(Generic[T]):
    """What is open of one group."""

    group: Group
    around: _Count[T] | None
    open: int = 0
    parts: dict[Hashable, _Count[T]] = field(factory=dict)
    # In the order of the moments since when it is the peer's turn, oldest first.
    newcomers: dict[T, None] = field(factory=dict)
    known: dict[T, None] = field(factory=dict)


class ConnectionLimits(Generic[T]):
    """The connections of one listener. Each is in one group at a time."""

    def __init__(self) -> None:
        self._tops: Final[dict[Hashable, _Count[T]]] = {}
        self._counts: Final[dict[T, _Count[T]]] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def __contains__(self, member: T) -> bool:
        return member in self._counts

    def full(self, group: Group) -> Group | None:
        """The first group, from `group` outwards, that has no room for one more; None when there is room."""
        within: Group | None = group
        while within is not None:
            count = self._find(within)
            if count is not None and count.open >= within.most:
                return within
            within = within.within
        return None

    def group_of(self, member: T) -> Group:
        """Where a connection counts."""
        return self._counts[member].group

    def open_in(self, group: Group) -> int:
        """How many connections the group has open."""
        count = self._find(group)
        return 0 if count is None else count.open

    def enter(self, member: T, group: Group) -> None:
        """Counts a new connection in `group`, whether or not there is room. It is the peer's turn from now on."""
        self._add(member, group).newcomers[member] = None

    def leave(self, member: T) -> None:
        """Counts the connection no more. Nothing happens if it is not counted."""
        count = self._counts.pop(member, None)
        if count is None:
            return
        count.newcomers.pop(member, None)
        count.known.pop(member, None)
        while count is not None:
            count.open -= 1
            if not count.open:
                del (self._tops if count.around is None else count.around.parts)[count.group.key]
            count = count.around

    def prove(self, member: T, group: Group) -> None:
        """The connection has shown that it is of use, and counts in `group`, whether or not there is room."""
        if member in self._counts:
            self.leave(member)
            self._add(member, group).known[member] = None

    def answered(self, member: T) -> None:
        """It is the peer's turn again, from now on."""
        count = self._counts.get(member)
        if count is not None:
            members = count.known if member in count.known else count.newcomers
            del members[member]
            members[member] = None

    def to_close(self, full: Group, newcomer: Group, is_idle: Callable[[T], bool]) -> T | None:
        """The connection of the group `full` that makes room for one of `newcomer`; None when none is idle."""
        count = self._find(full)
        if count is None:
            return None
        return next((member for member in _in_order(count, _keys_of(newcomer)) if is_idle(member)), None)

    def to_close_anywhere(self, is_idle: Callable[[T], bool]) -> T | None:
        """The connection that is closed when the process can open no more files, whichever peer connects next."""
        counts = sorted(self._tops.values(), key=lambda count: -count.open)
        return next((member for count in counts for member in _in_order(count, frozenset()) if is_idle(member)), None)

    def _add(self, member: T, group: Group) -> _Count[T]:
        own = self._counts[member] = self._make(group)
        count: _Count[T] | None = own
        while count is not None:
            count.open += 1
            count = count.around
        return own

    def _find(self, group: Group) -> _Count[T] | None:
        if group.within is None:
            return self._tops.get(group.key)
        around = self._find(group.within)
        return None if around is None else around.parts.get(group.key)

    def _make(self, group: Group) -> _Count[T]:
        around = None if group.within is None else self._make(group.within)
        siblings = self._tops if around is None else around.parts
        count = siblings.get(group.key)
        if count is None:
            count = siblings[group.key] = _Count(group, around)
        count.group = group
        return count


def _keys_of(group: Group) -> frozenset[Hashable]:
    keys, within = [group.key], group.within
    while within is not None:
        keys.append(within.key)
        within = within.within
    return frozenset(keys)


def _in_order(count: _Count[T], newcomer: frozenset[Hashable]) -> Iterator[T]:
    yield from count.newcomers
    yield from count.known
    # The new connection counts: a user who would have the most with it gives way before those who have less.
    for part in sorted(count.parts.values(), key=lambda part: -part.open - (part.group.key in newcomer)):
        yield from _in_order(part, newcomer)
