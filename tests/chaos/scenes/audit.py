"""What befalls the audit log: a kill, a full disk, a foreign lock, files that are moved, removed or altered.

Losses are counted from what clients received: a ticket whose id stands in no line is lost. Nothing else counts.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import define, field

from orthros_protocol import KDC_TGT, OrthrosError, PendingAs, Timestamp, build_as_request
from tests.chaos.figures import Line, Report
from tests.chaos.hosts import may_unshare
from tests.chaos.street import Street
from tests.e2e.test_kdc_process import Caller
from tests.support.processes import Estate, eventually, found_realm, open_estate

__all__ = ["altered", "full", "killed", "locked", "moved"]

_ROOM: Final = "3m"
_LIFE = re.compile(rb'"ttl_s":([0-9]+)')


class _Client(Caller):
    """Wants another life for each ticket, so that the log's lines can be told apart."""

    _lives: Final = itertools.cycle(range(60, 3500))

    def ask(self) -> PendingAs:
        now = Timestamp(time.time_ns() // 1_000_000)
        return build_as_request(
            self.key, service=KDC_TGT, ttl_s=next(self._lives), instance=bytes(16), now=now, nonce=os.urandom(16)
        )


@define(eq=False)
class _Load:
    """Clients that log in as fast as they can, and keep the life of every ticket that they were given."""

    estate: Estate
    received: list[int] = field(factory=list)
    refused: list[str] = field(factory=list)
    _ends: threading.Event = field(factory=threading.Event)
    _threads: list[threading.Thread] = field(factory=list)

    def start(self, clients: int = 4) -> None:
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def until(self, more: int) -> None:
        wanted = len(self.received) + more
        eventually(lambda: len(self.received) >= wanted, f"{more} more tickets")

    def stop(self) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self) -> None:
        while not self._ends.is_set():
            try:
                with _Client(self.estate) as caller:
                    while not self._ends.is_set():
                        self.received.append(caller.log_in().ttl_s)
            except OrthrosError as error:
                self.refused.append(error.code)
                self._ends.wait(0.05)
            except OSError:  # the KDC is gone; maybe it comes back
                self._ends.wait(0.05)


@contextmanager
def _realm() -> Iterator[Estate]:
    """A realm of its own: what befalls this log concerns no other scene."""
    with (
        tempfile.TemporaryDirectory(prefix="orthros-chaos-") as folder,
        open_estate(found_realm(Path(folder))) as estate,
    ):
        yield estate


def _audit(estate: Estate) -> Path:
    return estate.folder / "kdc" / "audit"


def _count(line: Line, load: _Load, *folders: Path) -> None:
    """Each ticket that a client was given needs a line of its own, with its life."""
    lines = [one for folder in folders for path in folder.glob("kdc-1.*jsonl*") for one in path.open("rb")]
    issued = Counter(int(found[1]) for one in lines if b'"as-issued"' in one for found in [_LIFE.search(one)] if found)
    lost = (Counter(load.received) - issued).total()
    line.calls += len(load.received)
    line.failed += len(load.refused)
    line.check(lost == 0, f"{lost} of {len(load.received)} tickets that clients hold stand in no line")
    line.notes.append(f"{len(load.received)} tickets received, {lost} without a line")


def _verifies(estate: Estate, *also: Path) -> str:
    """The problem that `audit verify` names, if any."""
    words = " ".join(f"--also {folder}" for folder in also)
    rows = json.loads(estate.admin(f"--output json audit verify {words}").out)
    return ", ".join(str(row["problem"]) for row in rows if row["problem"])


def killed(_: Street, report: Report, *, quick: bool) -> None:
    """kill -9 from outside, at a random moment, again and again."""
    for sync in ("always", "written"):
        with _realm() as estate, report.line("audit", f"kill -9 under load, sync = {sync}") as line:
            load = _Load(estate)
            for number in range(2 if quick else 10):
                kdc = estate.start_kdc(ORTHROS_AUDIT_SYNC=sync)
                if not number:
                    load.start()
                load.until(random.randint(100, 600))
                kdc.kill()
            load.stop()
            _count(line, load, _audit(estate))
            line.check(_verifies(estate) in ("", "half-written"), "the chain is broken")


def full(_: Street, report: Report, *, quick: bool) -> None:
    """A file system that fills up, and gets room again."""
    if not may_unshare():
        return
    del quick
    with _realm() as estate, report.line("audit", "the disk of the log is full, then has room again") as line:
        folder = _audit(estate)
        folder.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ROOM},mode=700", "tmpfs", folder], check=True)
        try:
            estate.start_kdc()
            load = _Load(estate)
            load.start()
            load.until(50)
            _fill(folder)
            eventually(lambda: load.refused, "refusals")
            line.check(set(load.refused) <= {"kdc-fault"}, f"refusals {set(load.refused)}")
            line.check(estate.admin("audit tail -n 1").code == 0, "a command that reads fails on a full disk")
            line.check(estate.admin("principal disable spy").code == 0, "a change fails although its disk has room")
            (folder / "ballast").unlink()
            load.until(50)
            load.stop()
            _count(line, load, folder)
            assert estate.kdc is not None
            line.check("disk-full" in estate.kdc.errors(), "the KDC's log does not name the disk")
            line.check(estate.kdc.stop(60) == 0, "the KDC does not stop in good order")
            line.check(_verifies(estate) == "", "the chain is broken")
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def _fill(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as ballast:
        for size in (65536, 4096, 1):
            try:
                while True:
                    ballast.write(bytes(size))
            except OSError:
                continue


def locked(_: Street, report: Report, *, quick: bool) -> None:
    """Somebody holds the database, and the KDC is killed meanwhile."""
    del quick
    with (
        _realm() as estate,
        report.line("audit", "the database is held by another process, then kill -9") as line,
    ):
        kdc = estate.start_kdc()
        load = _Load(estate)
        load.start()
        load.until(50)
        holder = sqlite3.connect(estate.folder / "kdc" / "kdc.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        load.until(300)
        told = estate.admin("principal disable spy")
        line.check(told.code == 4 and f"process {os.getpid()}" in told.err, f"who waits is told: {told.err[:200]}")
        kdc.kill()
        load.stop()
        holder.execute("ROLLBACK")
        holder.close()
        _count(line, load, _audit(estate))
        line.check(_verifies(estate) in ("", "half-written"), "the chain is broken")


def _fate(report: Report, words: str, fate: Callable[[Path, Path], None], problem: str) -> None:
    with _realm() as estate, report.line("audit", words) as line:
        away = estate.folder / "away"
        away.mkdir()
        estate.start_kdc()
        load = _Load(estate)
        load.start()
        load.until(100)
        (file,) = _audit(estate).glob("kdc-1.*.jsonl")
        fate(file, away)
        load.until(100)
        load.stop()
        _count(line, load, _audit(estate), away)
        assert estate.kdc is not None
        line.check("audit log goes on in a new file" in estate.kdc.errors(),
                   "the KDC did not notice")  # fmt: skip
        line.check(estate.kdc.stop(60) == 0, "the KDC does not stop in good order")
        found = _verifies(estate, away)
        line.check(found.startswith(problem) if problem else found == "", f"verify says {found or 'nothing'}")
        estate.start_kdc()
        assert estate.kdc.stop(60) == 0


def moved(_: Street, report: Report, *, quick: bool) -> None:
    """mv and rm of the open segment; what is moved is still proven, what is removed is missed by name."""
    del quick
    _fate(report, "mv of the open segment", lambda file, away: os.rename(file, away / file.name), "")

    with _realm() as estate, report.line("audit", "rm of the open segment") as line:
        estate.start_kdc()
        load = _Load(estate)
        load.start()
        load.until(100)
        (file,) = _audit(estate).glob("kdc-1.*.jsonl")
        away = estate.folder / "away"
        away.mkdir()
        os.link(file, away / "kdc-1.jsonl.kept")  # so that its lines can be counted; verify does not see it
        file.unlink()
        load.until(100)
        load.stop()
        _count(line, load, _audit(estate), away)
        assert estate.kdc is not None
        line.check(estate.kdc.stop(60) == 0, "the KDC does not stop in good order")
        line.check(_verifies(estate) == "removed", "verify does not miss the lines of the removed file")


def altered(_: Street, report: Report, *, quick: bool) -> None:
    """Flipped bytes in a log of a KDC that is stopped: found, located, and no end of administration."""
    with _realm() as estate, report.line("audit", "flipped bytes: verify, administration, restart") as line:
        estate.start_kdc()
        load = _Load(estate)
        load.start()
        load.until(100)
        load.stop()
        assert estate.kdc is not None
        estate.kdc.stop()
        (file,) = _audit(estate).glob("kdc-1.*.jsonl")
        whole = file.read_bytes()
        for _flip in range(2 if quick else 20):
            at = random.randrange(len(whole))
            file.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << random.randrange(7))]) + whole[at + 1 :])
            line.check(_verifies(estate) != "", f"a flipped bit at byte {at} is not found")
            line.calls += 1
        file.write_bytes(whole.replace(b'"kdc-stopped"', b'"kdc-stopped "'))
        line.check(estate.admin("principal disable spy").code == 0, "administration has ended")
        line.check(estate.admin("audit restart kdc-1 --reason chaos").code == 0, "there is no way back")
        estate.start_kdc()
        load = _Load(estate)
        load.start()
        load.until(10)
        load.stop()
        estate.kdc.stop()
        line.check(estate.admin("audit verify").code == 0, "the new chain does not verify")
