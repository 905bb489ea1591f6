"""One request on its way to a target, and what the target's answer means for it.

Nothing that a target says counts before its MAC has been verified against the request that it answers. Knows neither
tickets nor how requests travel, and repeats nothing: that is `repetition.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import field, frozen

from orthros_client.credentials.known_targets import PeerState
from orthros_client.errors import MaybeExecuted, TargetRefusal
from orthros_protocol.exchanges.ap_exchange import PendingAp, open_ap_reply
from orthros_protocol.exchanges.authenticators import measure_offset
from orthros_protocol.exchanges.http_profile import HttpReply, HttpResponse, open_http_reply
from orthros_protocol.exchanges.replay import NO_EPOCH
from orthros_protocol.exchanges.whose_clock import OF_CLOCKS, words_for_caller
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_SYNC_ROUND_TRIP_MS, MAX_TARGET_OFFSET_MS, WINDOW_PAST_MS
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.discharges import Discharge, open_discharge
from orthros_runtime.clocks import Clock

__all__ = ["Confirmed", "PendingCall"]

# Decided before the request is burnt: a copy of it is as good as before. An unknown code may be one of these.
_UNBURNT: Final = frozenset({"busy", "quota", "too-far-ahead", "clock-unsafe"})
# A copy was executed elsewhere or before, or may be.
_ELSEWHERE: Final = frozenset({"epoch-required", "not-repeatable", "replayed"})
_UNKNOWN: Final = "code-"
_DATED_BEYOND: Final = "ticket-expired"
_COPIED: Final = "replayed"
# Refused because of the body, which can be after the handler has begun.
_OF_THE_BODY: Final = "body-mismatch"


@frozen(kw_only=True)
class Confirmed:
    """The target proved itself: it opened the ticket and saw this very request."""

    target: Principal
    target_time: Timestamp
    round_trip_ms: int


@frozen(eq=False, kw_only=True)
class PendingCall:
    """One request on its way. Send `request`, then hand the answer to `finish` (over HTTP to `finish_http`).

    `safe`: executing it twice does no harm.
    """

    target: Principal
    safe: bool
    on_behalf: bool = False
    _pending: PendingAp = field(repr=False)
    _peer: PeerState = field(repr=False)
    _clock: Clock = field(repr=False)
    _refused: Callable[[TargetRefusal], None] | None = field(default=None, repr=False)
    _sent: Timestamp
    _started_s: float

    @property
    def request(self) -> bytes:
        """The AP-REQ: 16 KiB at most, usually about 300 bytes."""
        return self._pending.message

    @property
    def context(self) -> bytes:
        """SHA-256 of the request: what later keys of the same conversation are bound to."""
        return self._pending.context

    @property
    def epoch(self) -> bytes | None:
        """The epoch that the request names: at most this replay instance executes it, if it is not `safe`."""
        return self._pending.request.epoch

    def finish(self, reply: bytes) -> Confirmed:
        """Checks the target's answer, and learns its epoch and time from it.

        Raises TargetRefusal when the target refused under MAC; MaybeExecuted instead, when the call is not
        safe and a copy of the request may have been executed, or may still be;
        PeerMisbehaved or Malformed for anything that is not this target's answer to this request.
        """
        try:
            confirmed = open_ap_reply(self._pending, reply)
        except TargetRefusal as refusal:
            refusal.on_behalf = self.on_behalf
            self._say_whose_clock(refusal)
            if self._refused is not None:
                self._refused(refusal)
            self._learn(refusal.target_time, refusal.epoch)
            if refusal.ready_in_ms is not None:
                self._peer.expect_ready(self._clock.elapsed_s() + refusal.ready_in_ms / 1000)
            if not self.safe and self.may_run(refusal):
                raise self.maybe_executed(refusal) from None
            raise
        round_trip_ms = self._learn(confirmed.target_time, confirmed.epoch)
        return Confirmed(target=self.target, target_time=confirmed.target_time, round_trip_ms=round_trip_ms)

    def finish_http(self, reply: str, response: HttpResponse) -> HttpReply:
        """Checks the value of an `Orthros-Reply` header against the response that it came with, and learns from it.

        Raises PeerMisbehaved or Malformed when it does not prove this response to this request.
        """
        proven = open_http_reply(self._pending, reply, response)
        self._learn(proven.target_time, proven.epoch)
        return proven

    def finish_discharge(self, cid: bytes, box: bytes) -> Discharge:
        """Opens what a discharger answered to this request, which named the demand `cid`.

        It proves the discharger as an AP-REP does. Raises PeerMisbehaved `box-unopened`, Malformed, or Refused
        `discharge-mismatch` for a discharge that nobody can use.
        """
        return open_discharge(self._pending.pop_key, self._pending.context, cid, box)

    def maybe_executed(self, refusal: TargetRefusal) -> MaybeExecuted:
        """The error for a refusal that does not say that nothing ran."""
        return MaybeExecuted(refusal, until=Timestamp(self._pending.request.ts + WINDOW_PAST_MS))

    def may_run(self, refusal: TargetRefusal) -> bool:
        """Whether a copy of the refused request, on its way to an instance, may have run or may run yet.

        One that named an epoch runs at that instance alone. If this very instance refused it after the burn, it never
        will; any other answer leaves that open. One that named none is executed nowhere.
        """
        if refusal.code == _OF_THE_BODY and not refusal.before_handler:
            return True
        if self.epoch is None:
            return False
        if refusal.code == _DATED_BEYOND and refusal.epoch == NO_EPOCH:
            return False  # it is dated after its ticket's end, which no clock makes acceptable
        if refusal.code == _COPIED and refusal.epoch == self.epoch and self._was_never_in_time(refusal):
            return False
        if refusal.epoch != self.epoch or refusal.code in _UNBURNT or refusal.code in _ELSEWHERE:
            return True
        return refusal.code.startswith(_UNKNOWN)

    def _say_whose_clock(self, refusal: TargetRefusal) -> None:
        if refusal.code in OF_CLOCKS:
            refusal.clocks, remedy = words_for_caller(
                refusal.target_time, self._sent, self._clock.wall_ms(), target=str(self.target)
            )
            if refusal.clocks:
                refusal.detail = "; ".join(filter(None, (refusal.clocks, refusal.detail)))
                refusal.advice = remedy

    def _was_never_in_time(self, refusal: TargetRefusal) -> bool:
        """Whether every copy of the request reached this instance when it was too old for it.

        The clock of an instance does not go back by more than a second while its epoch stays, and the first copy left
        less than 5 s ago: so its clock was past the window already when the first one came.
        """
        in_time_ms = (self._clock.elapsed_s() - self._started_s) * 1000
        return (
            in_time_ms < MAX_SYNC_ROUND_TRIP_MS
            and refusal.target_time - self._pending.request.ts > MAX_TARGET_OFFSET_MS
        )

    def _learn(self, target_time: Timestamp, epoch: bytes) -> int:
        now_s = self._clock.elapsed_s()
        round_trip_ms = round((now_s - self._started_s) * 1000)
        offset = measure_offset(target_time, sent=self._sent, round_trip_ms=round_trip_ms)
        self._peer.learn(epoch, offset, sent_s=self._started_s, now_s=now_s)
        return round_trip_ms
