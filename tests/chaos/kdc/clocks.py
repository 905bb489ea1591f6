"""Clocks that jump at the KDC, on the client's host and at the target: how long until all is well again.

Well: reads and orders run, of a process that has called before and of a new one. What counts is the time from the
moment that the clock is right, without a restart. Nothing runs twice. Tickets live an hour, as by default.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from attrs import frozen

from tests.chaos.at_work import Ground
from tests.chaos.faults import Fault, Outage
from tests.support.clock_house import WELL_WITHIN_S, ClockHouse, open_clock_house

__all__ = ["FAULTS"]

_STEPS: Final = (600, -600, 3600, -3600, 70, -70)
_SIDES: Final = {"kdc": "the KDC", "host": "the client's host", "target": "the service"}
# How long a clock is wrong: a moment, and longer than a KDC waits for a word about its own clock.
_MOMENT_S: Final = 1.5
_WHILE_S: Final = 70.0
_PAUSES_S: Final = (3660, 600, 86_400)
_EACH_S: Final = 0.05
_CLOCK: Final = "the target's clock is"
T = TypeVar("T")


@frozen
class _Step:
    """The clock of one side is so many seconds ahead for a while; with `anew`, its program is started meanwhile."""

    side: str
    seconds: int
    wrong_s: float = _MOMENT_S
    anew: bool = False

    def befall(self, house: ClockHouse, outage: Outage) -> None:
        house.forget()
        house.turn(self.side, seconds=self.seconds)
        if self.anew:
            house.restart(self.side)
        _meanwhile(house, self.wrong_s)
        house.daemon("renew orders")  # what is issued by a wrong clock must do no harm either
        house.turn(self.side, seconds=0)
        _until_well(house, outage, f"{self.side} {self.seconds:+d} s")


def _steps(ground: Ground, outage: Outage, quick: bool, *, side: str) -> None:
    """One after the other, in one realm."""
    with open_clock_house(ground.founded) as house:
        house.seconds_until(house.is_well)
        for seconds in _STEPS[:1] if quick else _STEPS:
            _Step(side, seconds).befall(house, outage)


def _for_long(ground: Ground, outage: Outage, quick: bool, *, sides: Sequence[str]) -> None:
    """Each in a realm of its own, at the same time."""
    del quick
    steps = [_Step(side, seconds, _WHILE_S) for side in sides for seconds in _STEPS[:4]]
    _side_by_side(partial(_alone, ground, outage), steps)


def _anew(ground: Ground, outage: Outage, quick: bool, *, sides: Sequence[str]) -> None:
    """The program is started anew while its clock is wrong: it does not know that there was a step."""
    del quick
    steps = [_Step(side, seconds, anew=True) for side in sides for seconds in _STEPS[:4]]
    _side_by_side(partial(_alone, ground, outage), steps)


def _alone(ground: Ground, outage: Outage, step: _Step) -> None:
    """A step in a realm of its own."""
    with open_clock_house(ground.founded) as house:
        house.seconds_until(house.is_well)
        step.befall(house, outage)


def _side_by_side(play: Callable[[T], None], variants: Sequence[T]) -> None:
    with ThreadPoolExecutor(len(variants)) as pool:
        list(pool.map(play, variants))


def _meanwhile(house: ClockHouse, wrong_s: float) -> None:
    until, paced = time.monotonic() + wrong_s, threading.Event()
    while time.monotonic() < until:
        house.call("POST")
        paced.wait(_EACH_S)


def _until_well(house: ClockHouse, outage: Outage, words: str) -> None:
    meanwhile = dict(house.seen)
    took_s = house.seconds_until(house.is_well)
    outage.runs += 1
    outage.recoveries.append(took_s)
    outage.failed = (outage.failed or 0) + house.seen.total() - house.seen["done"]
    outage.notes.append(f"{words}: meanwhile {meanwhile}, well after {took_s:.1f} s")
    sides = [said for code, said in house.words.items() if _CLOCK not in said and code != "maybe-executed"]
    outage.check(not sides, f"{words}: the message does not say whose clock is wrong: {sides[:2]}")
    # One instance that was known before the jump may be named, once for each of its two epochs.
    outage.check(house.seen["maybe-executed"] <= 2, f"{words}: {house.seen['maybe-executed']} calls were left open")
    outage.check(house.executions.doubled() == [], f"{words}: ran twice: {house.executions.doubled()[:3]}")


def _stands(ground: Ground, outage: Outage, quick: bool, *, side: str, is_set: bool) -> None:
    """The world goes on while a machine stands: both clocks of the others move. Then a time service sets its clock."""
    others = frozenset(_SIDES) - {side}

    def play(pause_s: int) -> None:
        with open_clock_house(ground.founded, boot=others) as house:
            house.seconds_until(house.is_well)
            house.forget()
            house.turn(*others, *([side] if is_set else []), seconds=pause_s)
            _until_well(house, outage, f"{pause_s} s")

    _side_by_side(play, _PAUSES_S[: 1 if quick else 3])


_HERE: Final = ("kdc", "host")
FAULTS: Final = (
    *(
        Fault(
            words=f"the clock of {words} is 70 s, 10 min or 1 h ahead or behind, for a moment",
            play=partial(_steps, side=side),
            zero=("failed",) if side in _HERE else (),
            within_s=WELL_WITHIN_S,
        )
        for side, words in _SIDES.items()
    ),
    *(
        Fault(
            words=f"the clock of {words} is 10 min or 1 h ahead or behind, {how}",
            play=partial(play, sides=sides),
            zero=("failed",) if sides is _HERE and play is _for_long else (),
            within_s=WELL_WITHIN_S,
            quick=False,
        )
        for play, how in ((_for_long, "for 70 s"), (_anew, "and its program is started anew meanwhile"))
        for sides, words in ((_HERE, "the KDC or of the client's host"), (("target",), "the service"))
    ),
    *(
        Fault(
            words=f"{_SIDES[side]} stands for 10 min to a day, {words}",
            play=partial(_stands, side=side, is_set=is_set),
            zero=("failed",) if is_set else (),
            within_s=WELL_WITHIN_S,
            quick=is_set and side == "host",
        )
        for side, is_set, words in (
            ("host", True, "its wall clock is set"),
            ("host", False, "no clock is set"),
            ("target", True, "its wall clock is set"),
        )
    ),
)
