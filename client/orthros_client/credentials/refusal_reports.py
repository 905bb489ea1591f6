"""Proven refusals that another ticket may mend: what the daemon is to be told, and what the caller reads meanwhile.

A target's refusal counts only under its MAC, so `PendingCall` notes it here, whatever carried the call. The daemon is
told as soon as the call has ended, by the front that owns the sockets, and else before the next question for the same
target. While the daemon has said that it will ask the KDC, it is not told again.

Sans-IO. Knows no socket, and nothing of rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from typing import Final, Protocol

from attrs import define, field, frozen

from orthros_client.flows import Pause, Rest
from orthros_client.local.api.values import REPORTED, Reported, ReportOutcome, ReportRequest
from orthros_client.remedies import Asked, name_within, scope_remedy
from orthros_protocol.exchanges.ap_exchange import TargetRefusal
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.names import Principal, is_scope
from orthros_protocol.tickets.ticket import BY_ASSERTION, Subject
from orthros_runtime.bounded import BoundedMap
from orthros_runtime.clocks import Clock, HostClock
from orthros_runtime.process_lock import ProcessLock

__all__ = ["NO_DAEMON", "Reportable", "Reports"]

_LACKS: Final = "insufficient-scope"
# A loop of refused calls asks the daemon once in a second.
_QUIET_S: Final = 1.0
_MOST: Final = 64

_BY_ITSELF: Final = (
    "If a rule was changed a moment ago, {when} by itself: the daemon asks the KDC for another ticket. Else"
)
_SOON: Final = "the next call or the one after it works"
_AFTER: Final = {
    ReportOutcome.RENEWED: "If a rule was changed a moment ago, the next call works: the daemon has obtained another "
    "ticket. Else",
    ReportOutcome.UNCHANGED: "The daemon has just asked the KDC again, and the rules grant no more than this ticket.",
    ReportOutcome.FAILED: "If a rule was changed a moment ago, call again later: the daemon has just asked the KDC and "
    "got no other ticket. Else",
}
_WITHOUT_DAEMON: Final = (
    "This ticket was not obtained from a daemon, and a ticket says what the rules were when it was issued. If a rule "
    "was changed since, obtain another ticket. Else"
)


class Reportable(Protocol):
    """What is known of a ticket: `Credentials`."""

    @property
    def ticket(self) -> bytes:
        """As the KDC issued it."""
        ...

    @property
    def target(self) -> Principal:
        """Whom it is for."""
        ...

    @property
    def client(self) -> Principal:
        """Who presents it."""
        ...

    @property
    def subject(self) -> Subject | None:
        """In whose name it is, if not the client's."""
        ...


@frozen
class _Noted:
    ticket: Reportable
    refusal: TargetRefusal


@define(eq=False)
class Reports:
    """The reports of one client, at most 64 targets. Thread-safe.

    `front` tells the daemon, as the waiting of a Pause; None: there is no daemon. `doubt` makes the next question for a
    target go to the daemon.
    """

    clock: Clock = field(factory=HostClock)
    front: Rest | None = None
    doubt: Callable[[Principal], None] = field(default=lambda _target: None, repr=False)
    _noted: dict[Principal, _Noted] = field(factory=dict, init=False, repr=False)
    _quiet: BoundedMap[Principal, float] = field(factory=lambda: BoundedMap(_MOST), init=False, repr=False)
    _lock: ProcessLock = field(factory=ProcessLock, init=False, repr=False)

    def note(self, ticket: Reportable, refusal: TargetRefusal) -> None:
        """A target refused `ticket` under MAC: completes the remedy, and keeps what the daemon is to be told."""
        if _code_of(refusal) not in REPORTED:
            return
        if self.front is None:
            _advise(ticket, refusal, _WITHOUT_DAEMON)
            return
        left_s = self._quiet.get(ticket.target, 0.0) - self.clock.elapsed_s()
        _advise(ticket, refusal, _in_seconds(left_s))
        self.doubt(ticket.target)
        if left_s > 0:
            return
        if ticket.target in self._noted or len(self._noted) < _MOST:
            self._noted[ticket.target] = _Noted(ticket, refusal)

    def telling(self) -> Iterator[Pause]:
        """A Pause in which the daemon is told, if there is anything to tell."""
        if self._noted and self.front is not None:
            yield Pause(0.0, self.front)

    def is_noted(self, realm: str | None, name: str) -> bool:
        """Whether the daemon is to be told of this target. `realm` None: of any realm."""
        return bool(self._noted) and any(one.name == name and realm in (None, one.realm) for one in tuple(self._noted))

    def take(self) -> tuple[ReportRequest, Callable[[Reported | None], None]] | None:
        """One report and what to call with the answer to it, None for no answer."""
        try:
            target, noted = self._noted.popitem()
        except KeyError:
            return None
        refusal = noted.refusal
        request = ReportRequest(
            target=target, ticket=digest(noted.ticket.ticket), code=_code_of(refusal), time=max(0, refusal.target_time)
        )
        return request, lambda answer: self._answered(noted, answer)

    def _answered(self, noted: _Noted, answer: Reported | None) -> None:
        now = self.clock.elapsed_s()
        with self._lock():
            self._quiet[noted.ticket.target] = now + max(_QUIET_S, 0 if answer is None else answer.retry_s)
        if answer is not None:
            beginning = _AFTER.get(answer.outcome) or _in_seconds(answer.retry_s)
            _advise(noted.ticket, noted.refusal, beginning)
        self.doubt(noted.ticket.target)


NO_DAEMON: Final = Reports()
"""Of credentials that no daemon gave: a file, a hand-over, or keys of this process."""


def _code_of(refusal: TargetRefusal) -> str:
    """What the daemon is told: a date that is far from the target's is one matter, whatever the target calls it."""
    is_of_clocks = refusal.code in ("too-far-ahead", "replayed") and refusal.clocks
    return "clock-skew" if is_of_clocks else refusal.code


def _in_seconds(left_s: float) -> str:
    when = _SOON if left_s <= _QUIET_S else f"a call in {ceil(left_s)} s works"
    return _BY_ITSELF.format(when=when)


def _advise(ticket: Reportable, refusal: TargetRefusal, beginning: str) -> None:
    """Puts the likelier cause first, then the commands of an admin with the names of this call."""
    if refusal.code != _LACKS:
        return
    realm, subject = ticket.target.realm, ticket.subject
    asked = Asked(
        target=name_within(ticket.target, realm),
        client=name_within(ticket.client, realm),
        subject=None if subject is None else name_within(subject.principal, realm),
        asserted=subject is not None and subject.how == BY_ASSERTION,
    )
    refusal.advice = scope_remedy(refusal.reason, asked, _lacking(refusal.detail), beginning)


def _lacking(detail: str) -> tuple[str, ...]:
    """The scopes that the refusal names, in the words of this library's verifier; empty for other words."""
    words = detail.partition(" lacks ")[2].split()
    return tuple(words) if words and all(map(is_scope, words)) else ()
