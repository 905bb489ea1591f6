"""What a scene found: lines with figures, and the bounds that were broken."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from attrs import define, field

from tests.chaos.callers import Tally
from tests.chaos.faults import Fault, Outage, with_notes
from tests.chaos.hosts import Executions, Service

__all__ = ["Line", "Report"]

_HEAD = ("scene", "what was done", "calls", "failed", "maybe", "replays", "s")
_ROW = "{:<26} {:<62} {:>6} {:>6} {:>5} {:>7} {:>6}"


@define
class Line:
    """One thing that was done, and what came of it. `replays` are copies that were executed once more."""

    scene: str
    did: str
    calls: int = 0
    failed: int = 0
    maybe: int = 0
    replays: int = 0
    seconds: float = 0.0
    notes: list[str] = field(factory=list)
    broken: list[str] = field(factory=list)

    def add(self, tally: Tally) -> None:
        """Counts these calls."""
        self.calls += tally.calls
        self.failed += tally.failed
        self.maybe += tally.maybe
        if tally.failures:
            self.notes.append(f"failed: {tally}"[:400])

    def check(self, holds: bool, what: str, services: Iterable[Service] = ()) -> None:
        """Notes the bound `what` as broken unless it holds, and what `services` say of their stores."""
        if not holds:
            self.broken.append(what)
            self.notes += [complaint for service in services for complaint in service.complaints()[-3:]]

    def __str__(self) -> str:
        row = _ROW.format(
            self.scene, self.did, self.calls, self.failed, self.maybe, self.replays, f"{self.seconds:.1f}"
        )
        return with_notes(row, self.notes, self.broken)


@define
class Report:
    """All lines; each is printed as soon as it is there."""

    lines: list[Line | Outage] = field(factory=list)

    @property
    def broken(self) -> int:
        """How many lines broke a bound."""
        return sum(bool(line.broken) for line in self.lines)

    @property
    def outages(self) -> list[Outage]:
        """The lines about a KDC and its daemons."""
        return [line for line in self.lines if isinstance(line, Outage)]

    @contextmanager
    def line(self, scene: str, did: str, executions: Executions | None = None) -> Iterator[Line]:
        """A line for what is done meanwhile. What ran twice is a replay, and breaks every scene."""
        line = Line(scene, did)
        before = set() if executions is None else set(executions.doubled())
        began = time.monotonic()
        try:
            yield line
        except Exception as error:
            line.broken.append(f"{type(error).__name__}: {error}"[:2000])
            raise
        finally:
            line.seconds = time.monotonic() - began
            doubled = [] if executions is None else [one for one in executions.doubled() if one not in before]
            line.replays = len(doubled)
            line.broken += doubled[:3]
            self._show(line, _ROW.format(*_HEAD))

    @contextmanager
    def outage(self, fault: Fault) -> Iterator[Outage]:
        """A line for a fault that befalls a realm meanwhile."""
        outage = Outage(fault)
        try:
            yield outage
        except Exception as error:
            outage.broken.append(f"{type(error).__name__}: {error}"[:2000])
            raise
        finally:
            outage.end()
            self._show(outage, Outage.head())

    def _show(self, line: Line | Outage, head: str) -> None:
        if not self.lines or type(self.lines[-1]) is not type(line):
            print(head)
        self.lines.append(line)
        print(line, flush=True)
