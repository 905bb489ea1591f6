"""Explores every state that a model can reach, and tells the shortest way to one that is wrong.

Knows nothing of what it explores. States are equal when nothing tells them apart, so they hold no history but what the
property speaks of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Final, TypeVar

from attrs import frozen

__all__ = ["Found", "Holds", "explore"]

State = TypeVar("State", bound=Hashable)
Moves = Callable[[State], Iterable[tuple[str, State]]]
_MOST: Final = 20_000_000


@frozen
class Holds:
    """No state is wrong. `states` says how many there are."""

    states: int


@frozen
class Found:
    """A wrong state: what is wrong with it, and the moves that lead there, none of which can be left out."""

    objection: str
    moves: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join((self.objection, *(f"  {number}. {move}" for number, move in enumerate(self.moves, 1))))


def explore(
    starts: Iterable[State], moves: Moves[State], objection: Callable[[State], str | None], *, most: int = _MOST
) -> Holds | Found:
    """Looks at all states breadth first, until `objection` says what is wrong with one.

    Raises MemoryError beyond `most` states: nothing is known then.
    """
    came_from: dict[State, tuple[State, str] | None] = {}
    waiting: deque[State] = deque()
    for start in starts:
        if start not in came_from:
            came_from[start] = None
            waiting.append(start)
    while waiting:
        state = waiting.popleft()
        for move, successor in moves(state):
            if successor in came_from:
                continue
            came_from[successor] = (state, move)
            wrong = objection(successor)
            if wrong is not None:
                return Found(wrong, _way_to(successor, came_from))
            if len(came_from) > most:
                raise MemoryError(f"more than {most} states")
            waiting.append(successor)
    return Holds(len(came_from))


def _way_to(state: State, came_from: dict[State, tuple[State, str] | None]) -> tuple[str, ...]:
    way = []
    while (step := came_from[state]) is not None:
        state, move = step
        way.append(move)
    return tuple(reversed(way))
