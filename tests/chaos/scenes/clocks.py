"""Clocks that jump at the KDC, on the client's host and at the target: how long until all is well again.

Well: reads and orders run, of a process that has called before and of a new one. The promise is 10 s from the moment
the clock is right, without a restart; nothing runs twice. Tickets live an hour, as by default.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from tests.chaos.figures import Line, Report
from tests.chaos.street import Street
from tests.support.clock_house import WELL_WITHIN_S, ClockHouse, open_clock_house
from tests.support.peers import locate
from tests.support.processes import Founded, found_realm
from tests.support.turned_clocks import PROGRAM

__all__ = ["clocks"]

_STEPS: Final = (600, -600, 3600, -3600)
_QUICK: Final = (600,)
_SIDES: Final = {"kdc": "the KDC", "host": "the client's host", "target": "the target"}
# How long a clock is wrong: a moment, and longer than a KDC waits for a word about its own clock.
_MOMENT_S: Final = 1.5
_WHILE_S: Final = 70.0
_PAUSE_S: Final = 3660


def clocks(_street: Street, report: Report, *, quick: bool) -> None:
    """Steps of each clock, and pauses that a boot clock did not count."""
    assert locate(PROGRAM) is not None, f"{PROGRAM} is not installed; tools/peers.sh installs it"
    with tempfile.TemporaryDirectory(prefix="orthros-chaos-") as folder:
        founded = found_realm(Path(folder))
        _steps(founded, report, quick=quick)
        _pauses(founded, report, quick=quick)


def _steps(founded: Founded, report: Report, *, quick: bool) -> None:
    with open_clock_house(founded) as house:
        house.seconds_until(house.is_well)
        for side, words in _SIDES.items():
            for seconds in _QUICK if quick else _STEPS:
                for wrong_s in (_MOMENT_S,) if quick else (_MOMENT_S, _WHILE_S):
                    did = f"{words} {seconds:+d} s for {wrong_s:g} s, and back"
                    with report.line("clocks", did, house.executions) as line:
                        house.seen.clear()
                        house.turn(side, seconds=seconds)
                        _meanwhile(house, wrong_s)
                        line.notes.append(f"meanwhile: {dict(house.seen)}")
                        house.turn(side, seconds=0)
                        _until_well(house, line)


def _pauses(founded: Founded, report: Report, *, quick: bool) -> None:
    """The world goes on while a machine stands: both clocks of the others move. Then a time service sets its clock."""
    for side, words in list(_SIDES.items())[1 : 2 if quick else 3]:
        others = frozenset(_SIDES) - {side}
        with open_clock_house(founded, boot=others) as house:
            house.seconds_until(house.is_well)
            for is_set in (True, False):
                set_or_not = "its wall clock is set" if is_set else "no clock is set"
                if side == "target" and not is_set:
                    continue  # a target whose clock is an hour behind is the step above
                with report.line("clocks", f"{words} paused for an hour, {set_or_not}", house.executions) as line:
                    house.seen.clear()
                    ahead = _PAUSE_S * (1 if is_set else 2)
                    house.turn(*others, *([side] if is_set else []), seconds=ahead)
                    _until_well(house, line)
                    line.notes.append(f"meanwhile: {dict(house.seen)}")


def _meanwhile(house: ClockHouse, wrong_s: float) -> None:
    house.seconds_until(lambda: bool(house.call("POST").words) and False, wrong_s)


def _until_well(house: ClockHouse, line: Line) -> None:
    took_s = house.seconds_until(house.is_well)
    line.calls, line.maybe = house.seen.total(), house.seen["maybe-executed"]
    line.failed = line.calls - house.seen["done"]
    line.notes.append(f"well after {took_s:.1f} s")
    line.check(took_s <= WELL_WITHIN_S, f"not well within {WELL_WITHIN_S:g} s")
    # One instance that was known before the jump may be named, once for each of its two epochs.
    line.check(line.maybe <= 2, f"{line.maybe} calls were left open")
