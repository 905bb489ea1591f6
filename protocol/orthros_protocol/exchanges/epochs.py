"""The epoch of a replay instance: eight bytes that live exactly as long as its store's memory is unbroken.

It is derived from a random value in the store and from everything that the memory hangs on, so that any doubt about
the memory is another epoch. What was captured for the old one is dead, except what may be repeated by its date.
Reads no clock and no store.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from attrs import field, frozen

from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.ap_exchange import USE_CHANNEL, USE_HTTP, USE_RAW, ApRequest
from orthros_protocol.exchanges.replay import Standing
from orthros_protocol.primitives.derivation import digest, mac_matches
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import CLOCK_STEP_MS, WINDOW_FUTURE_MS
from orthros_protocol.reasons.table import Code

__all__ = ["EPOCH_BYTES", "Memory", "Repetition", "check_birth", "check_epoch", "derive_epoch"]

EPOCH_BYTES: Final = 8
RANDOM_BYTES: Final = 16


class Repetition(Enum):
    """Whether a target may execute a request that another of its instances may have executed already."""

    ALLOWED = "allowed"
    UNSAFE = "unsafe"
    DECLINED = "declined"  # harmless by its method, but the target says that it is not


_TAKE_TURNS: Final = (
    "Let all processes share a replay store (ORTHROS_REPLAY_STORE), say `repeatable` on the route where a second "
    "execution does no harm, or let the balancer keep each caller at one instance."
)


def derive_epoch(random: bytes, *hangs_on: bytes) -> bytes:
    """The epoch of a memory that began with `random` (16 bytes) and is unbroken as long as `hangs_on` stay the same."""
    return digest(b"".join([len(part).to_bytes(2, "big") + part for part in (random, *hangs_on)]))[:EPOCH_BYTES]


@frozen
class Memory:
    """One unbroken memory on this host: born at `born`, when the wall clock was `lead_ms` ahead of the boot clock."""

    random: bytes = field(repr=False)
    born: Timestamp
    lead_ms: int

    @classmethod
    def begun(cls, random: bytes, *, now: Timestamp, boot_ms: int, reached: Timestamp) -> Memory:
        """One that begins at `now`. `reached` is the highest time that an earlier one had seen: a clock that was set
        back has accepted requests that are dated up to there."""
        return cls(random, max(now, reached), now - boot_ms)

    def has_stepped(self, *, now: Timestamp, boot_ms: int) -> bool:
        """Whether the wall clock was moved against the boot clock, by more than a second in all."""
        return abs(now - boot_ms - self.lead_ms) > CLOCK_STEP_MS


def check_epoch(request: ApRequest, standing: Standing, repetition: Repetition) -> None:
    """Raises Refused unless the request can have been executed by no instance but this one, or may be repeated.

    It names this instance's epoch; or it may be repeated, and was made when this instance existed: had it been accepted
    here before, it would be burnt. A channel is fresh by its own keys (use 2).
    """
    if request.use == USE_CHANNEL:
        return
    if request.epoch is not None and mac_matches(request.epoch, standing.epoch):
        return
    may_repeat = repetition is Repetition.ALLOWED and request.use in (USE_RAW, USE_HTTP)
    code: Code = "not-repeatable" if repetition is Repetition.DECLINED else "epoch-required"
    named = "names no epoch" if request.epoch is None else "names another instance's epoch"
    try:
        check_birth(request.ts, standing, repeatable=may_repeat, code=code, detail=f"the request {named}")
    except Refused as refusal:
        if request.epoch is not None and not may_repeat:
            # Every caller begins without an epoch; with another one, and for a call that must not run twice, it cannot
            # go on by itself.
            refusal.log_detail = (
                "likelier instances without a shared replay store take turns; else this one was restarted"
            )
            refusal.log_remedy = _TAKE_TURNS
        raise


def check_birth(
    ts: Timestamp, standing: Standing, *, repeatable: bool, code: Code = "epoch-required", detail: str = ""
) -> None:
    """Raises Refused `code` unless a request that names no epoch may be repeated, and was made after the birth."""
    ready = standing.born + WINDOW_FUTURE_MS
    if repeatable and ts > ready:
        return
    refusal = Refused(code, detail)
    refusal.ready_in_ms = max(0, ready - standing.now)
    raise refusal
