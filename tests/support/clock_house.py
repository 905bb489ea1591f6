"""A realm whose KDC, client host and target each have a clock that is turned while real programs run."""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from tests.chaos.hosts import Executions, Host, Service
from tests.support.processes import Dialogue, Estate, Founded, open_estate
from tests.support.turned_clocks import TurnedClock

__all__ = ["WELL_WITHIN_S", "ClockHouse", "Outcome", "open_clock_house"]

WELL_WITHIN_S: Final = 10.0
_CALLER: Final = Path(__file__).parents[1] / "chaos" / "programs" / "caller.py"
_NUMBERS: Final = itertools.count(1)
_IN_A_ROW: Final = 3


@frozen
class Outcome:
    """What became of one call, in the words of the library."""

    failure: str
    words: str


@define(eq=False)
class ClockHouse:
    """KDC, daemon with a caller beside it, and a service. `clocks` are theirs: `kdc`, `host` and `target`.

    `seen` counts what became of calls, and `words` is what the newest failure of each kind said.
    """

    estate: Estate
    executions: Executions
    clocks: dict[str, TurnedClock]
    service: Service
    caller: Dialogue
    seen: Counter[str] = field(factory=Counter)
    words: dict[str, str] = field(factory=dict)

    def turn(self, *sides: str, seconds: float) -> None:
        """The clocks of these sides are so far ahead from now on."""
        for side in sides:
            self.clocks[side].turn(seconds)

    def call(self, method: str = "GET", *, new: bool = False) -> Outcome:
        """One call; `new`: of a process that knows nothing yet."""
        found = self.caller.ask({"method": method, "name": f"n{next(_NUMBERS)}", "new": new})
        outcome = Outcome(**found)
        self.seen[outcome.failure or "done"] += 1
        if outcome.failure:
            self.words[outcome.failure] = outcome.words
        return outcome

    def forget(self) -> None:
        """What was seen until now does not count."""
        self.seen.clear()
        self.words.clear()

    def daemon(self, line: str) -> Any:
        """A command of `orthros` on the client's host."""
        socket = f"unix://{self.estate.folder}/shop.sock"
        return self.estate.run(f"orthros {line}", ORTHROS_SOCKET=socket, **self.clocks["host"].environ)

    def kdc(self, line: str) -> Any:
        """A command of `orthros-admin` on the KDC's host."""
        return self.estate.run(f"orthros-admin --config {self.estate.config} {line}", **self.clocks["kdc"].environ)

    def restart(self, side: str) -> None:
        """The program of this side is killed and started anew, by the clock that its host has now."""
        environ = self.clocks[side].environ
        if side == "target":
            self.service.restart()
            self.service.await_ready()
        elif side == "kdc":
            assert self.estate.kdc is not None
            self.estate.kdc.kill()
            self.estate.start_kdc(**environ)
        else:
            self.estate.daemons["shop"].kill()
            self.estate.start_daemon(environ=environ)

    def is_well(self) -> bool:
        """Whether reads and orders run, of a process that has called before and of a new one."""
        return not any(self.call(method, new=new).failure for new in (False, True) for method in ("GET", "POST"))

    def seconds_until(self, holds: Callable[[], bool], most_s: float = 60.0) -> float:
        """How long it took until this held, three times in a row."""
        began, since, row = time.monotonic(), None, 0
        while time.monotonic() - began < most_s:
            moment = time.monotonic()
            row = row + 1 if holds() else 0
            since = moment if row == 1 else since
            if row == _IN_A_ROW and since is not None:
                return since - began
        return most_s


@contextmanager
def open_clock_house(founded: Founded, *, boot: frozenset[str] = frozenset()) -> Iterator[ClockHouse]:
    """Everything runs; the boot clocks of the sides in `boot` are turned with their wall clocks."""
    with open_estate(founded) as estate:
        sides = ("kdc", "host", "target")
        clocks = {side: TurnedClock(estate.folder / f"{side}.clock", side in boot) for side in sides}
        estate.start_kdc(**clocks["kdc"].environ)
        estate.start_daemon(environ=clocks["host"].environ)
        executions = Executions(estate.folder / "executed")
        with Host.opened(estate.stage, "h1") as host:
            service = Service(
                host=host,
                key=estate.key_file("orders.verify.key"),
                executions=executions,
                server="uvicorn",
                environ=clocks["target"].environ,
            )
            socket = str(estate.folder / "shop.sock")
            try:
                service.start()
                service.await_ready()
                words = (sys.executable, "-P", _CALLER, socket, str(service.port))
                with Dialogue(*words, environ=clocks["host"].environ) as caller:
                    yield ClockHouse(estate, executions, clocks, service, caller)
            finally:
                service.close()
