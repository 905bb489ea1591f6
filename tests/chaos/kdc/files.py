"""Files of a running KDC that another program holds, moves, removes or replaces: database and open segment."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from tests.chaos.at_work import AtWork, Ground
from tests.chaos.faults import Fault, Outage
from tests.support.processes import eventually

__all__ = ["FAULTS"]


def _locked(ground: Ground, outage: Outage, quick: bool) -> None:
    """Who waits in vain is told which process it is. The KDC is killed meanwhile, and cannot start before the end."""
    with ground.at_work(outage) as at_work:
        for _ in range(1 if quick else 3):
            with closing(sqlite3.connect(at_work.database, isolation_level=None)) as holder:
                holder.execute("BEGIN IMMEDIATE")
                at_work.changes.until_refused()
                at_work.logins.until(50)
                at_work.kdc.kill()
                at_work.refuses_to_start("timeout")
                holder.execute("ROLLBACK")
            since = time.monotonic()
            at_work.start_kdc()
            at_work.recovers(since, at_work.logins, at_work.changes)
        named = f"process {os.getpid()}"
        told = [one.err[-300:] for one in at_work.changes.refused if one.code != 4 or named not in one.err]
        outage.check(not told, f"a change is refused otherwise: {told[:2]}")
        outage.check(not at_work.logins.refused, f"logins are refused: {at_work.logins.refused}")


def _log(ground: Ground, outage: Outage, quick: bool, *, fate: Callable[[Path, Path], None], missing: str) -> None:
    """The KDC goes on in a new segment, before the next credential leaves."""
    with ground.at_work(outage) as at_work:
        away = at_work.estate.folder / "away"
        away.mkdir()
        at_work.away.append(away)
        at_work.missing |= {missing} if missing else set()
        for _ in range(2 if quick else 10):
            at_work.logins.until(100)
            newest = max(at_work.log.glob("kdc-1.*.jsonl"))
            since = time.monotonic()
            fate(newest, away)
            at_work.recovers(since)
            eventually(partial(_is_named, at_work, newest), "the KDC says so")
        outage.check(not at_work.logins.refused, f"logins are refused: {at_work.logins.refused}")


def _is_named(at_work: AtWork, segment: Path) -> bool:
    return str(segment) in at_work.kdc.errors()


def _move(segment: Path, away: Path) -> None:
    segment.rename(away / segment.name)


def _remove(segment: Path, away: Path) -> None:
    """Its lines are kept for the count, where `audit verify` does not see them."""
    os.link(segment, away / f"kdc-1.{segment.name}.jsonl.kept")
    segment.unlink()


def _database(ground: Ground, outage: Outage, quick: bool, *, take: Callable[[AtWork, Path], None], code: str) -> None:
    """The KDC ends; once the operator has put the file back, it starts and knows everything."""
    with ground.at_work(outage) as at_work:
        away = at_work.estate.folder / "taken"
        away.mkdir()
        for _ in range(1 if quick else 3):
            at_work.logins.until(100)
            take(at_work, away)
            at_work.end_of_kdc("database-replaced")
            if code:
                at_work.refuses_to_start(code)
            since = time.monotonic()
            for file in away.iterdir():
                file.rename(at_work.database.with_name(file.name))
            at_work.start_kdc()
            at_work.recovers(since, at_work.logins, at_work.changes)


def _mv(at_work: AtWork, away: Path) -> None:
    at_work.database.rename(away / at_work.database.name)


def _rm(at_work: AtWork, away: Path) -> None:
    """Another name keeps the file, as a backup would."""
    os.link(at_work.database, away / at_work.database.name)
    at_work.database.unlink()


def _rm_wal(at_work: AtWork, _away: Path) -> None:
    """The newest commits are in this file, and nowhere else."""
    at_work.database.with_name("kdc.db-wal").unlink()


def _replace(at_work: AtWork, _away: Path) -> None:
    """A copy of now, so that what has been acknowledged is in it."""
    copy = at_work.database.with_name("copy.db")
    with at_work.changes.held:
        with closing(sqlite3.connect(at_work.database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        copy.chmod(0o600)
        for suffix in ("-wal", "-shm"):
            at_work.database.with_name(f"kdc.db{suffix}").unlink()
        copy.replace(at_work.database)


FAULTS: Final = (
    Fault(words="another program locks the database; kill -9 of the KDC meanwhile", play=_locked, within_s=5),
    Fault(words="mv of the log's open segment", play=partial(_log, fate=_move, missing=""), within_s=5),
    Fault(words="rm of the log's open segment", play=partial(_log, fate=_remove, missing="removed"), within_s=5),
    Fault(words="mv of the database, and back", play=partial(_database, take=_mv, code="database-invalid"), within_s=5),
    Fault(
        words="rm of the database, which is then put back",
        play=partial(_database, take=_rm, code="database-invalid"),
        within_s=5,
    ),
    Fault(words="rm of the database's `-wal` file", play=partial(_database, take=_rm_wal, code=""), within_s=5),
    Fault(words="another database put in the place", play=partial(_database, take=_replace, code=""), within_s=5),
)
