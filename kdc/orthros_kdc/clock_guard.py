"""The KDC's clock, and what happens when it jumps.

A KDC writes its time into everything that it issues, and its clock is the realm's. So its wall clock is compared with
its boot clock at each turn. A jump of more than 5 s means that one of them is wrong, and this process cannot know
which: a time service has set the wall clock right, or wrong, or the machine was paused while the boot clock stood.

Until that is settled, nothing is issued, and the time that was before goes on, so that no client learns a wrong one.
Four things settle it: the clock is back where it was; it is where it was before an earlier jump; the operator says that
it is right (`orthros-admin kdc accept-clock`); or a minute has passed. A database on this machine has no clock of its
own, so it settles nothing.

What is remembered until it ends, used assertions and revoked tokens, is kept on both clocks, and the later end counts:
`for_forgetting` is the earlier of all times that were in force while something can be remembered.

Reads clocks that it is given. Knows no store and no requests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from typing import Final

import structlog
from attrs import define, field, frozen

from orthros_protocol.errors import Refused
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_TICKET_LIFE_S
from orthros_runtime.clocks import boot_clock, wall_clock

__all__ = ["ClockGuard", "Jump", "Settled"]

_log = structlog.get_logger(__name__)

_JUMP_MS: Final = 5_000
_SETTLED_AFTER_MS: Final = 60_000
_RETRY_S: Final = 5
_MOST_APART_MS: Final = 50
_REMEMBERED_MS: Final = MAX_TICKET_LIFE_S * 1000
_MOST_EARLIER: Final = 64


class Settled(Enum):
    """Why a clock that had jumped counts again."""

    RETURNED = "it is back where it was"
    ACCEPTED = "the operator said that it is right"
    WAITED = "it went on for a minute"


@frozen(kw_only=True)
class Jump:
    """A jump of the wall clock against the boot clock, or its end. `count` is how many there were since the start."""

    at: Timestamp
    moved_ms: int
    count: int
    settled: Settled | None = None


@frozen
class _Stop:
    lead_ms: int  # where the wall clock went
    since_ms: int  # on the boot clock


@frozen
class _Earlier:
    lead_ms: int
    until_ms: int  # on the boot clock


def _ignore(_jump: Jump) -> None:
    pass


class RefusedByClock(Refused):
    """Nothing is issued now. `retry_s` is when to ask again."""

    retry_s = _RETRY_S

    def __init__(self, moved_ms: int) -> None:
        super().__init__(
            "kdc-fault",
            f"the KDC's clock jumped by {moved_ms / 1000:+.0f} s, so it issues nothing for a minute; if its clock is "
            "right, run `orthros-admin kdc accept-clock` there",
        )


@define(eq=False)
class ClockGuard:
    """One per KDC. `jumped` is told of each jump and of its end, and raises nothing. Thread-safe."""

    wall: Callable[[], Timestamp] = wall_clock
    boot_ms: Callable[[], int] = boot_clock
    jumped: Callable[[Jump], None] = _ignore
    count: int = field(default=0, init=False)
    _lead_ms: int = field(init=False)  # of the wall clock before the boot clock, as it counts
    _stop: _Stop | None = field(default=None, init=False)
    _earlier: list[_Earlier] = field(factory=list, init=False)
    _lock: threading.RLock = field(factory=threading.RLock, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        wall, boot_ms = self._read()
        self._lead_ms = wall - boot_ms

    def now(self) -> Timestamp:
        """The KDC's time in milliseconds: the wall clock, or while a jump is not settled what it would be without."""
        with self._lock:
            wall, boot_ms = self._read()
            self._compare(wall - boot_ms, boot_ms)
            return wall if self._stop is None else Timestamp(boot_ms + self._lead_ms)

    @property
    def stopped_at(self) -> Timestamp | None:
        """What the wall clock showed right after the jump that is not settled; None without one."""
        stop = self._stop
        return None if stop is None else Timestamp(stop.since_ms + stop.lead_ms)

    def require_issuing(self) -> None:
        """Raises Refused `kdc-fault` with the remedy while a jump is not settled."""
        self.now()
        stop = self._stop
        if stop is not None:
            raise RefusedByClock(stop.lead_ms - self._lead_ms)

    def for_forgetting(self) -> Timestamp:
        """The time by which what is remembered has ended on both clocks."""
        with self._lock:
            now, boot_ms = self.now(), self.boot_ms()
            leads = [one.lead_ms for one in self._earlier if boot_ms - one.until_ms <= _REMEMBERED_MS]
            return Timestamp(min([now, *(boot_ms + lead_ms for lead_ms in leads)]))

    def accept(self) -> None:
        """The operator says that the wall clock is right. Without a jump this does nothing."""
        with self._lock:
            self.now()
            if self._stop is not None:
                self._settle(self._stop.lead_ms, self.boot_ms(), Settled.ACCEPTED)

    def _read(self) -> tuple[Timestamp, int]:
        """Both clocks at one moment: a process that was stopped between the readings would see a jump."""
        while True:
            before, wall, after = self.boot_ms(), self.wall(), self.boot_ms()
            if after - before <= _MOST_APART_MS:
                return wall, after

    def _compare(self, lead_ms: int, boot_ms: int) -> None:
        stop = self._stop
        if stop is None:
            if not _is_jump(lead_ms, self._lead_ms):
                self._lead_ms = lead_ms  # a time service slews
                return
            self._jump(lead_ms, boot_ms)
        elif not _is_jump(lead_ms, self._lead_ms):
            self._settle(lead_ms, boot_ms, Settled.RETURNED)
            return
        elif _is_jump(lead_ms, stop.lead_ms):
            self._jump(lead_ms, boot_ms)
        elif boot_ms - stop.since_ms >= _SETTLED_AFTER_MS:
            self._settle(lead_ms, boot_ms, Settled.WAITED)
            return
        if any(not _is_jump(lead_ms, one.lead_ms) for one in self._earlier):
            self._settle(lead_ms, boot_ms, Settled.RETURNED)

    def _jump(self, lead_ms: int, boot_ms: int) -> None:
        self._stop = _Stop(lead_ms, boot_ms)
        self.count += 1
        self._tell(lead_ms - self._lead_ms, boot_ms, None)

    def _settle(self, lead_ms: int, boot_ms: int, why: Settled) -> None:
        moved_ms = lead_ms - self._lead_ms
        if _is_jump(lead_ms, self._lead_ms):
            kept = [one for one in self._earlier if boot_ms - one.until_ms <= _REMEMBERED_MS]
            self._earlier = [*kept[1 - _MOST_EARLIER :], _Earlier(self._lead_ms, boot_ms)]
        self._lead_ms, self._stop = lead_ms, None
        self._tell(moved_ms, boot_ms, why)

    def _tell(self, moved_ms: int, boot_ms: int, settled: Settled | None) -> None:
        jump = Jump(at=Timestamp(boot_ms + self._lead_ms), moved_ms=moved_ms, count=self.count, settled=settled)
        if settled is None:
            _log.error("the clock jumped: nothing is issued", seconds=moved_ms / 1000, jumps=self.count)
        else:
            _log.warning("issuing again after the clock jumped", seconds=moved_ms / 1000, because=settled.value)
        self.jumped(jump)


def _is_jump(lead_ms: int, from_ms: int) -> bool:
    return abs(lead_ms - from_ms) > _JUMP_MS
