"""Disks that fill up and get room again: that of the log, that of the database, and one that both share."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from tests.chaos.at_work import AtWork, Ground
from tests.chaos.faults import Fault, Outage
from tests.chaos.hosts import may_unshare
from tests.support.processes import Estate, eventually

__all__ = ["FAULTS"]

_ROOM: Final = "24m"


@contextmanager
def _on_a_small_disk(estate: Estate, *, full: str) -> Iterator[None]:
    """`full` lies on a file system of its own: `log`, `database` or `both`."""
    realm, log = estate.folder / "kdc", estate.folder / "log"
    if full != "both":
        config = estate.config.read_text("utf-8")
        estate.config.write_text(config.replace(str(realm / "audit"), str(log)), "utf-8")
        (realm / "audit").rename(log)
    folder = log if full == "log" else realm
    aside = folder.rename(f"{folder}.aside")
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_ROOM},mode=700", "tmpfs", folder], check=True)
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def _full(ground: Ground, outage: Outage, quick: bool, *, full: str) -> None:
    if not may_unshare():
        outage.unplayed = "this user may not mount a tmpfs"
        return
    with ground.at_work(outage, prepare=partial(_on_a_small_disk, full=full)) as at_work:
        ballast = at_work.database.with_name("ballast") if full != "log" else at_work.log / "ballast"
        for _ in range(1 if quick else 5):
            _fill(ballast)
            if full != "database":
                at_work.logins.until_refused()
            if full != "log":
                at_work.changes.until_refused()
            # The KDC meets the database's disk once in a second, when it anchors its log.
            eventually(lambda: "disk-full" in at_work.kdc.errors(), "the KDC's log names the disk")
            outage.check(at_work.estate.admin("policy list").code == 0, "a command that reads fails on a full disk")
            since = time.monotonic()
            ballast.unlink()
            at_work.recovers(since, at_work.logins, at_work.changes)
        _is_told(at_work, full)


def _is_told(at_work: AtWork, full: str) -> None:
    """Each refusal has the right code."""
    logins = set(at_work.logins.refused)
    at_work.outage.check(logins == (set() if full == "database" else {"kdc-fault"}), f"logins are refused: {logins}")
    changes = [one.err[-200:] for one in at_work.changes.refused if full == "log" or "code: disk-full" not in one.err]
    at_work.outage.check(not changes, f"changes are refused: {changes[:2]}")


FAULTS: Final = (
    Fault(words="the disk of the log is full, then has room", play=partial(_full, full="log"), within_s=5),
    Fault(words="the disk of the database is full, then has room", play=partial(_full, full="database"), within_s=5),
    Fault(words="one disk of both is full, then has room", play=partial(_full, full="both"), within_s=5, quick=False),
)
