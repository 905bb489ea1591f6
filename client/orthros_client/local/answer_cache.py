"""The answers of the daemon that a process keeps for a short while, so that a loop does not ask it each time.

Keeps and compares. Knows no question's words and no socket.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import evolve, field, frozen

from orthros_client.credentials.credentials import Credentials
from orthros_client.local.api.values import WantRequest
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.credential import Life
from orthros_protocol.tickets.ticket import Subject
from orthros_runtime.bounded import BoundedMap
from orthros_runtime.clocks import Clock
from orthros_runtime.process_lock import ProcessLock

__all__ = ["MOST_KEPT", "AnswerCache", "Question", "Token", "is_own", "question_of"]

# Those on behalf of others have a place of their own: callers come and go, what the program needs itself stays.
MOST_KEPT: Final = 1024
_STEP_S: Final = 1.0


@frozen(kw_only=True)
class Token:
    """A JWT for targets that want one. It is bearer: whoever sees `value` can use it.

    `subject` is in whose name it is, if not the client's own.
    """

    value: str = field(repr=False)
    target: Principal
    scopes: tuple[str, ...]
    subject: Subject | None = None
    life: Life = field(repr=False)
    _clock: Clock = field(repr=False)

    @property
    def expires_in_s(self) -> float:
        """Seconds of life left, never negative."""
        return self.life.left_s(self._clock.elapsed_s())


@frozen
class _Kept:
    """`lead_s` is how far the wall clock was ahead of the monotonic one when the answer was kept: after a step, or a
    pause that the monotonic clock did not count, the daemon knows more."""

    answer: Credentials | Token
    fresh_until: float
    lead_s: float


Question = tuple[WantRequest, bytes]
"""What was asked, without the behalf, whose proof is not kept; and its lineage, which nobody can form without that
proof. Empty in the own name, and for a subject of the daemon's own realm, which is part of the request."""


def question_of(want: WantRequest) -> Question:
    """The question that a request asks."""
    if want.behalf is None:
        return want, b""
    one: Any = want  # for mypy, a message is no attrs class
    return evolve(one, behalf=None), want.behalf.lineage


def is_own(question: Question) -> bool:
    """Whether it is asked in the own name."""
    return not question[1] and question[0].subject is None


class AnswerCache:
    """At most 1,024 answers in the own name and as many on behalf of others; the least used go first. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lock = ProcessLock()
        """What guards the answers, and whatever else changes with them."""
        self._own = BoundedMap[Question, _Kept](MOST_KEPT)
        self._on_behalf = BoundedMap[Question, _Kept](MOST_KEPT)

    def look_up(self, question: Question, rest_s: float) -> tuple[Credentials | Token | None, bool]:
        """The answer in hand and whether it is fresh. If it is not, it is for others in the next `rest_s` seconds."""
        now = self._clock.elapsed_s()
        with self.lock():
            shelf = self._shelf(question)
            kept = shelf.get(question)
            if kept is None:
                return None, False
            shelf.move_to_end(question)
            if now < kept.fresh_until and abs(self._lead_s(now) - kept.lead_s) <= _STEP_S:
                return kept.answer, True
            # One caller asks; the others go on with what is in hand.
            self._rest(question, kept.answer, rest_s)
            return kept.answer, False

    def rest(self, question: Question, answer: Credentials | Token, seconds: float) -> None:
        """Leaves the daemon alone for a while, or not at all: unless somebody had more luck meanwhile."""
        with self.lock():
            self._rest(question, answer, seconds)

    def keep(self, question: Question, answer: Credentials | Token, fresh_s: float) -> None:
        """A new answer, which is fresh for so many seconds."""
        shelf = self._shelf(question)
        with self.lock():
            shelf[question] = self._kept(answer, fresh_s)
            shelf.move_to_end(question)

    def doubt(self, target: Principal) -> None:
        """Makes the next question for `target` go to the daemon. What is in hand serves where the daemon is away."""
        with self.lock():
            for shelf in (self._own, self._on_behalf):
                for question, kept in shelf.items():
                    if kept.answer.target == target:
                        shelf[question] = self._kept(kept.answer, 0.0)

    def forget(self, name: str | None) -> None:
        """Drops what is in hand for targets of this name, or for all."""
        with self.lock():
            for shelf in (self._own, self._on_behalf):
                for question in [one for one in shelf if name in (None, one[0].target)]:
                    del shelf[question]

    def _kept(self, answer: Credentials | Token, fresh_s: float) -> _Kept:
        now = self._clock.elapsed_s()
        return _Kept(answer, now + fresh_s, self._lead_s(now))

    def _lead_s(self, now: float) -> float:
        return self._clock.wall_ms() / 1000 - now

    def _shelf(self, question: Question) -> BoundedMap[Question, _Kept]:
        return self._own if is_own(question) else self._on_behalf

    def _rest(self, question: Question, answer: Credentials | Token, seconds: float) -> None:
        seconds = min(seconds, answer.expires_in_s / 2)
        shelf = self._shelf(question)
        current = shelf.get(question)
        if current is not None and current.answer is answer:
            shelf[question] = self._kept(answer, seconds)
