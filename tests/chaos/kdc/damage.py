"""Flipped bits in the files of a realm: what is found, in which words, and how the realm works again."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path
from typing import Final

from tests.chaos.at_work import AtWork, Ground
from tests.chaos.faults import Fault, Outage
from tests.support.processes import eventually
from workshop.stage import Process

__all__ = ["FAULTS"]

_STRUCTURE: Final = (*range(16), 100)
"""Bytes of the first page that no database of ours has otherwise: SQLite's mark, and the kind of the page."""


def _flip(file: Path, at: int) -> bytes:
    """One bit is wrong at this place, by chance which; returns the file as it was."""
    whole = file.read_bytes()
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << random.randrange(8)]) + whole[at + 1 :])
    return whole


def _closed(ground: Ground, outage: Outage, quick: bool) -> None:
    """Nothing stops: the anchor vouches for what stands above it. `audit verify` finds each flip."""
    with ground.at_work(outage) as at_work:
        at_work.logins.until(300)
        outage.check(at_work.kdc.stop(60) == 0, "the KDC does not stop in good order")
        at_work.start_kdc()
        closed = min(at_work.log.glob("kdc-1.*.jsonl"))
        for _ in range(2 if quick else 10):
            since, at = time.monotonic(), random.randrange(closed.stat().st_size)
            whole = _flip(closed, at)
            at_work.recovers(since)
            outage.check(at_work.problems() != set(), f"a flipped bit at byte {at} is not found")
            closed.write_bytes(whole)


def _open(ground: Ground, outage: Outage, quick: bool) -> None:
    """The last lines are checked at each start. The way back is a new chain, and administration does not end."""
    with ground.at_work(outage) as at_work:
        for number in range(1 if quick else 5):
            at_work.logins.until(300)
            at_work.kdc.kill()
            newest, kept = max(at_work.log.glob("kdc-1.*.jsonl")), at_work.estate.folder / f"kept-{number}"
            kept.mkdir()
            shutil.copy(newest, kept / f"kdc-1.{number}.jsonl.kept")  # for the count; `audit verify` does not see it
            at_work.away.append(kept)
            lines = newest.read_bytes().rpartition(b"\n")[0]
            _flip(newest, random.randrange(lines.rindex(b"\n") + 1, len(lines)))
            at_work.refuses_to_start("audit-broken")
            at_work.estate.admin("audit restart kdc-1 --reason chaos").require()
            since = time.monotonic()
            at_work.start_kdc()
            at_work.recovers(since, at_work.logins, at_work.changes)
        told = [one.err[-200:] for one in at_work.changes.refused]
        outage.check(not told, f"changes are refused: {told[:2]}")


def _database(ground: Ground, outage: Outage, quick: bool) -> None:
    """A start is refused in the right words, or goes well where nothing reads the bit: never a traceback."""
    with ground.at_work(outage) as at_work:
        at_work.logins.until(100)
        outage.check(at_work.kdc.stop(60) == 0, "the KDC does not stop in good order")
        at_work.changes.stop()
        started, flips = 0, 4 if quick else 30
        for number in range(flips):
            copy = at_work.estate.folder / f"flipped-{number}"
            shutil.copytree(at_work.database.parent, copy)
            config = copy / "kdc.toml"
            config.write_text(config.read_text("utf-8").replace(str(at_work.database.parent), str(copy)), "utf-8")
            anywhere = number % 2
            at = random.randrange((copy / "kdc.db").stat().st_size) if anywhere else random.choice(_STRUCTURE)
            _flip(copy / "kdc.db", at)
            is_started = _is_started(at_work, config)
            started += is_started
            outage.check(bool(anywhere) or not is_started, f"a KDC starts although byte {at} is damaged")
        outage.notes.append(f"{started} of {flips} starts went well")
        since = time.monotonic()
        at_work.start_kdc()
        at_work.recovers(since)
        outage.runs = flips


def _is_started(at_work: AtWork, config: Path) -> bool:
    """Whether a KDC starts; else it says why."""
    process = at_work.estate.stage.start("flipped", "orthros-kdc", "serve", "--config", str(config))
    eventually(lambda: "ready" in process.text() or not process.is_running, "a KDC starts, or does not")
    is_started = process.is_running
    process.stop(60)
    _has_no_fault(at_work.outage, process, is_started)
    return is_started


def _has_no_fault(outage: Outage, process: Process, is_started: bool) -> None:
    said = process.errors()
    outage.check("Traceback" not in said and "internal-fault" not in said, f"a KDC ends badly: {said[-300:]}")
    outage.check(is_started or "\ncode: " in said, f"a start is refused without a code: {said[-300:]}")


FAULTS: Final = (
    Fault(words="a flipped bit in a closed segment of the log", play=_closed, within_s=5),
    Fault(words="a flipped bit at the end of the open segment, then `audit restart`", play=_open, within_s=5),
    Fault(words="a flipped bit in the database of a stopped KDC, then its backup", play=_database, within_s=5),
)
