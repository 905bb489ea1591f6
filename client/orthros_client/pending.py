"""One request on its way to a target, and what the target's answers teach.

Nothing that a target says counts before its MAC has been verified against the request that it answers. Knows neither
tickets nor how requests travel.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Final, TypeVar

from attrs import field, frozen

from orthros_client.clocks import Clock
from orthros_client.errors import MaybeExecuted, TargetRefusal
from orthros_protocol import PendingAp, Principal, Timestamp, measure_offset, open_ap_reply, open_discharge
from orthros_protocol.discharges import Discharge
from orthros_protocol.http_profile import HttpReply, HttpResponse, open_http_reply
from orthros_protocol.limits import MAX_TARGET_OFFSET_MS

__all__ = ["REPEATABLE", "Confirmed", "PeerState", "PendingCall", "adrive", "drive"]

_Q = TypeVar("_Q")
_A = TypeVar("_A")
_T = TypeVar("_T")

# After these the target knows no more about the request than before: a fresh one may succeed.
REPEATABLE: Final = frozenset({"epoch-required", "clock-skew", "busy"})
_EPOCHS_KEPT: Final = 16
# A restart leaves two epochs behind as well: after this time without the old one, the target counts as single again.
_PLURAL_FOR_S: Final = 3600.0


class PeerState:
    """What one target taught us under its MAC: its epoch, and how far its clock is from the realm's."""

    def __init__(self) -> None:
        # One tuple, exchanged whole: no lock that a fork could leave held for ever.
        self._known: tuple[bytes | None, int] = (None, 0)
        self._seen: tuple[tuple[bytes, float], ...] = ()

    def read(self) -> tuple[bytes | None, int]:
        """Epoch (None before first contact) and offset in milliseconds, both of the same moment."""
        return self._known

    def learn(self, epoch: bytes, offset_ms: int | None, now_s: float = 0.0) -> None:
        """Takes over what a verified answer said at `now_s` (monotonic); an offset of None teaches nothing."""
        self._known = (epoch, self._known[1] if offset_ms is None else offset_ms)
        others = [one for one in self._seen if one[0] != epoch]
        self._seen = (*others[1 - _EPOCHS_KEPT :], (epoch, now_s))

    def is_plural(self, now_s: float) -> bool:
        """Whether more than one process answered lately: the next request may meet another one than the last."""
        return sum(now_s - seen_s < _PLURAL_FOR_S for _epoch, seen_s in self._seen) > 1


@frozen(kw_only=True)
class Confirmed:
    """The target proved itself: it opened the ticket and saw this very request."""

    target: Principal
    target_time: Timestamp
    round_trip_ms: int


@frozen(eq=False, kw_only=True)
class PendingCall:
    """One request on its way. Send `request`, then hand the answer to `finish` (over HTTP to `finish_http`)."""

    target: Principal
    safe: bool
    idempotent: bool = False
    on_behalf: bool = False
    _pending: PendingAp = field(repr=False)
    _peer: PeerState = field(repr=False)
    _clock: Clock = field(repr=False)
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

    def finish(self, reply: bytes) -> Confirmed:
        """Checks the target's answer, and learns its epoch and time from it.

        Raises TargetRefusal when the target refused under MAC; MaybeExecuted instead, when the call is not
        safe and a copy of the request may have been executed (it named an epoch, or came second);
        PeerMisbehaved or Malformed for anything that is not this target's answer to this request.
        """
        try:
            confirmed = open_ap_reply(self._pending, reply)
        except TargetRefusal as refusal:
            refusal.on_behalf = self.on_behalf
            self._learn(refusal.target_time, refusal.epoch)
            if not self.safe and self._may_have_run(refusal):
                raise MaybeExecuted(refusal) from None
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

    def _may_have_run(self, refusal: TargetRefusal) -> bool:
        # A copy delivered first is what makes an original "replayed"; with an epoch in it, a copy may also
        # have run before the target's clock or epoch changed. What a full replay set refused was not burnt: where
        # epochs are not demanded, a copy may still run later. An idempotency key makes a second run harmless.
        if refusal.code in REPEATABLE:
            return (self._pending.epoch is not None or refusal.code == "busy") and not self.idempotent
        return refusal.code == "replayed"

    def _learn(self, target_time: Timestamp, epoch: bytes) -> int:
        now_s = self._clock.elapsed_s()
        round_trip_ms = round((now_s - self._started_s) * 1000)
        offset = measure_offset(target_time, sent=self._sent, round_trip_ms=round_trip_ms, most_ms=MAX_TARGET_OFFSET_MS)
        self._peer.learn(epoch, offset, now_s)
        return round_trip_ms


def drive(flow: Generator[_Q, _A, _T], send: Callable[[_Q], _A]) -> _T:
    """The result of a sans-IO `flow` whose questions `send` answers; what `send` raises is thrown into the flow."""
    try:
        question = next(flow)
        while True:
            try:
                answer = send(question)
            except Exception as error:  # noqa: BLE001  # it is thrown on, into the flow
                question = flow.throw(error)
            else:
                question = flow.send(answer)
    except StopIteration as done:
        result: _T = done.value
        return result


async def adrive(flow: Generator[_Q, _A, _T], send: Callable[[_Q], Awaitable[_A]]) -> _T:
    """`drive` for an async `send`, under any event loop."""
    step: Callable[[], _Q] = partial(next, flow)
    while True:
        try:
            question = step()
        except StopIteration as done:
            result: _T = done.value
            return result
        try:
            answer = await send(question)
        except Exception as error:  # noqa: BLE001  # it is thrown on, into the flow
            step = partial(flow.throw, error)
        else:
            step = partial(flow.send, answer)
