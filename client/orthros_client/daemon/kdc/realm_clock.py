"""The realm's time on this host: what sealed replies have told, carried on by the clock that counts from boot.

A host has two clocks, and each can be wrong in its own way. The wall clock is set: by a time service, by a person, by a
hypervisor. The boot clock is never set, but stands still while a virtual machine is paused or restored. So the realm's
time is kept by the boot clock, and both are compared: when their difference changes, one of them is wrong, and only the
realm can say which. A reply that agrees with either clock is believed at once.

A KDC can be wrong as well, for a second or for good. A reply that agrees with neither clock is a claim. The claim is
believed when a second exchange says the same: with another KDC, or at least 5 s later. Which KDC it was is told under
seal; sealed refusals do not tell it, so those confirm after 5 s only. Rejected: to believe every sealed reply (one
second of a wrong clock at the KDC then dates every request of this host wrongly until the next renewal), and to tell
KDCs apart by their addresses (one KDC that is reached by two confirms itself).

Pure but for the two clocks, which are an argument. Knows neither messages nor tickets.
"""

from __future__ import annotations

from typing import Final

from attrs import define, evolve, field, frozen

from orthros_protocol.exchanges.authenticators import measure_offset
from orthros_protocol.primitives.instants import Timestamp
from orthros_runtime.clocks import Clock

__all__ = ["CONFIRM_AFTER_S", "RealmClock"]

CONFIRM_AFTER_S: Final = 5.0
"""How long after a claim the same KDC confirms it."""
_AGREES_MS: Final = 5_000
_STEP_MS: Final = 1_000
_MOST_APART_MS: Final = 50


@frozen
class _Claim:
    ahead_ms: int
    at_s: float
    address: str
    kdc_id: str


@define(eq=False)
class RealmClock:
    """What this host believes of the realm's time. `hint_ms` is how far the realm's clock was ahead of the wall clock
    when somebody else measured; it serves until the first sealed reply."""

    clock: Clock
    hint_ms: int = 0
    is_measured: bool = field(default=False, init=False)
    _measured_ms: int = field(default=0, init=False)  # by how much the realm's clock is ahead of the boot clock
    _lead_ms: int = field(default=0, init=False)  # by how much the wall clock was, when that was measured
    _claim: _Claim | None = field(default=None, init=False)
    _version: int = field(default=0, init=False)

    @property
    def offset_ms(self) -> int:
        """How far the realm's clock is ahead of this host's wall clock, as far as known."""
        return self._ahead_ms() - self._lead_now()

    @property
    def ahead_s(self) -> float:
        """How far the realm's Unix time is ahead of the boot clock, in seconds, as far as known."""
        return self._ahead_ms() / 1000

    @property
    def latest_ahead_s(self) -> float:
        """The same by the later of both clocks, where they contradict each other."""
        return (self._ahead_ms() + max(0, self._stepped_ms())) / 1000

    def now(self) -> Timestamp:
        """The realm's time as far as known, in milliseconds."""
        return Timestamp(max(0, self._boot_ms() + self._ahead_ms()))

    @property
    def has_stepped(self) -> bool:
        """Whether the wall clock moved against the boot clock since the realm was asked."""
        return abs(self._stepped_ms()) > _STEP_MS

    @property
    def state(self) -> tuple[int, int]:
        """Changes whenever what is known of ends changes: a belief, or a step in whole seconds."""
        return self._version, round(self._stepped_ms() / _STEP_MS) if self.has_stepped else 0

    @property
    def confirms_at(self) -> float | None:
        """When, on the boot clock, the KDC that made a claim can confirm it; None without a claim."""
        return None if self._claim is None else self._claim.at_s + CONFIRM_AFTER_S

    @property
    def doubt(self) -> str:
        """What is not known of the time, for people; empty when nothing is in doubt."""
        if self._claim is not None:
            apart_s = (self._claim.ahead_ms - self._measured_ms) / 1000
            way = "ahead of" if apart_s > 0 else "behind"
            return (
                f"the clock of the KDC {self._claim.address} is {abs(apart_s):.0f} s {way} the time that it told before"
                f"; another exchange within {CONFIRM_AFTER_S:.0f} s tells which one is wrong"
            )
        if self.has_stepped:
            return (
                f"this host's wall clock moved by {self._stepped_ms() / 1000:+.0f} s against its boot clock, and no "
                "KDC has told the time since"
            )
        return ""

    def learn(self, kdc_time: Timestamp, *, sent_s: float, round_trip_ms: int, address: str, kdc_id: str = "") -> bool:
        """What a sealed reply says of the time: whether it is believed. `sent_s` is the boot clock at sending.

        `address` is for people; `kdc_id` is what the reply says of its maker, empty where it says nothing.
        A round trip of 5 s or more teaches nothing.
        """
        sent = Timestamp(round(sent_s * 1000))
        ahead_ms = measure_offset(kdc_time, sent=sent, round_trip_ms=round_trip_ms)
        if ahead_ms is None:
            if self._claim is not None:
                self._claim = evolve(self._claim, at_s=self.clock.elapsed_s())  # ask again, but not at once
            return False
        if not (self._agrees(ahead_ms) or self._is_confirmed(ahead_ms, kdc_id)):
            if self._claim is None or abs(ahead_ms - self._claim.ahead_ms) > _AGREES_MS:
                self._claim = _Claim(ahead_ms, self.clock.elapsed_s(), address, kdc_id)
            return False
        if abs(ahead_ms - self._measured_ms) > _STEP_MS or self.has_stepped or not self.is_measured:
            self._version += 1
        self._measured_ms, self._lead_ms = ahead_ms, self._lead_now()
        self.is_measured, self._claim = True, None
        return True

    def _agrees(self, ahead_ms: int) -> bool:
        by_boot, by_wall = self._measured_ms, self._measured_ms + self._stepped_ms()
        return not self.is_measured or min(abs(ahead_ms - by_boot), abs(ahead_ms - by_wall)) <= _AGREES_MS

    def _is_confirmed(self, ahead_ms: int, kdc_id: str) -> bool:
        claim = self._claim
        if claim is None or abs(ahead_ms - claim.ahead_ms) > _AGREES_MS:
            return False
        is_another = bool(claim.kdc_id and kdc_id) and claim.kdc_id != kdc_id
        return is_another or self.clock.elapsed_s() - claim.at_s >= CONFIRM_AFTER_S

    def _ahead_ms(self) -> int:
        # What was measured by others is about the wall clock: their boot clock may have been another one.
        return self._measured_ms if self.is_measured else self._lead_now() + self.hint_ms

    def _boot_ms(self) -> int:
        return round(self.clock.elapsed_s() * 1000)

    def _lead_now(self) -> int:
        while True:
            before_ms, wall_ms, after_ms = self._boot_ms(), self.clock.wall_ms(), self._boot_ms()
            if after_ms - before_ms <= _MOST_APART_MS:  # else the process was stopped in between, which is no step
                return wall_ms - after_ms

    def _stepped_ms(self) -> int:
        return self._lead_now() - self._lead_ms if self.is_measured else 0
