"""Which requests of one call may follow a refused one, and which replay instance each of them names.

The question is always the same: may a copy of an earlier request, which anybody on the way can hold, still be
executed besides a new one? Where a second execution does no harm, the call is repeated. Elsewhere the rule is that at
most one request of the call can be executed anywhere: one that names no epoch never is, and one that names an epoch
is dead when that instance has refused it after the burn. The table is in docs/protocol/ap_exchange.md; it was checked
by the models in tests/models. Rejected: to repeat what covers an Idempotency-Key. That is the caller's promise to
make, since a target that ignores the header runs both.

Knows codes and epochs, not how requests travel.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from orthros_client.credentials.known_targets import NO_EPOCH, PeerState
from orthros_client.credentials.pending_call import PendingCall
from orthros_client.errors import TargetRefusal
from orthros_client.flows import Pause, Rest
from orthros_protocol.primitives.limits import WINDOW_FUTURE_MS
from orthros_runtime.clocks import Clock

__all__ = ["Course"]

# A new signature, or another epoch, can mend these. `quota` it cannot: another request fills the share further.
_OF_DATES: Final = frozenset({"clock-skew", "too-far-ahead", "replayed"})
_MENDABLE: Final = frozenset({"epoch-required", "not-repeatable", "clock-skew", "too-far-ahead", "replayed"})
# Another instance may have room, or the same in a moment. Where a second refusal would leave open whether the call
# ran, the first one is the better answer: it says that nothing did.
_WORTH_A_TRY: Final = _MENDABLE | {"busy"}
# A rolling deploy has many instances that are too young for a repeatable request which does not name them. After the
# second refusal, the client waits until those that it met are old enough. If it then meets a younger one, it waits
# until all are that were there at its first request.
_REPEATS: Final = {"epoch-required": 4, "busy": 2}
_MOST_WAIT_S: Final = 6.0
# A store that did not answer makes its process busy for a second. Another process may answer at once.
_BUSY_S: Final = 1.0
_YOUTH_S: Final = WINDOW_FUTURE_MS / 1000
# An instance dates requests by its own clock, and the birth was told a moment ago.
_MARGIN_S: Final = 0.25


class Course:
    """The requests of one call to `peer`. Each names `epoch`; `after` says what follows a refused one.

    call: the method and the path that a target may say must not run twice; for raw calls "" and the endpoint.
    repeatable: executing the call twice does no harm, as far as the caller knows.
    once: the first request cannot be sent again.
    """

    def __init__(
        self,
        peer: PeerState,
        clock: Clock,
        rest: Rest,
        call: tuple[str, str],
        *,
        repeatable: bool,
        once: bool = False,
    ) -> None:
        self._peer = peer
        self._clock = clock
        self._rest = rest
        self._call = call
        self._once = once
        self._counts: dict[str, int] = {}
        self._waited_s = 0.0
        self._began_s = clock.elapsed_s()
        self._has_named = False
        self.repeatable = repeatable and not peer.is_unsafe(*call)
        self.epoch = self._choose()

    @property
    def is_blind(self) -> bool:
        """Whether a request may meet an instance whose epoch is not known: none is, or several take turns."""
        return self._peer.epoch_to_name(self._clock.elapsed_s(), repeatable=False) is None

    def after(self, request: PendingCall, refusal: TargetRefusal) -> Generator[Pause, None, None]:
        """Returns when the next request may leave; `refusal` is what `request.finish` raised.

        Raises `refusal` when no other request may follow, MaybeExecuted when that leaves open whether the call ran.
        """
        code = refusal.code
        count = self._counts[code] = self._counts.get(code, 0) + 1
        self._has_named = self._has_named or request.epoch is not None
        if code == "not-repeatable":
            self._peer.count_as_unsafe(*self._call)
            self.repeatable = False
            if self._has_named:
                raise request.maybe_executed(refusal) from None
        if self._is_hopeless(refusal):
            raise refusal
        most = _REPEATS.get(code, 1) if self.repeatable else 1
        if code == "ticket-expired" and refusal.epoch == NO_EPOCH and refusal.clocks and not self._once and count == 1:
            return  # dated after the ticket's end by a clock that was ahead: it never runs, and the new date is earlier
        if code not in (_WORTH_A_TRY if self.repeatable else _MENDABLE) or count > most or self._once:
            raise refusal
        self.epoch = self._choose() if refusal.epoch == NO_EPOCH else refusal.epoch
        if self.repeatable and code != "epoch-required" and request.epoch is not None and request.may_run(refusal):
            # The target may know better than a method does: a request without epoch makes it say so, and runs only
            # where the call may be repeated.
            self.epoch = None
        if self.repeatable:
            seconds = self._wait_after(code, count)
            self._waited_s += seconds
            if seconds:
                yield Pause(seconds, self._rest)

    def _is_hopeless(self, refusal: TargetRefusal) -> bool:
        """Whether another date cannot mend it: the target's clock is further off than a client follows.

        Of a call that must not run twice, a second request would only leave open whether it runs later.
        """
        return self._peer.is_beyond and refusal.code in _OF_DATES and not self.repeatable

    def _wait_after(self, code: str, count: int) -> float:
        """Seconds to wait after so many refusals for this reason; 6 in all at most."""
        if code == "busy" and count > 1:
            return min(_BUSY_S + _MARGIN_S, _MOST_WAIT_S - self._waited_s)
        if code != "epoch-required":
            return 0.0
        now_s = self._clock.elapsed_s()
        left_s = self._peer.ready_in_s(now_s)
        if count not in (2, 3) or not left_s:
            return 0.0
        if count == 3:
            left_s = max(left_s, self._began_s + _YOUTH_S - now_s)
        return round(max(0.0, min(left_s + _MARGIN_S, _MOST_WAIT_S - self._waited_s)), 3)

    def _choose(self) -> bytes | None:
        return self._peer.epoch_to_name(self._clock.elapsed_s(), repeatable=self.repeatable)
