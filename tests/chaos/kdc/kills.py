"""kill -9 from outside, at moments of chance: of the KDC, of the daemon, and of `orthros-admin` in its work."""

from __future__ import annotations

import random
import re
import time
from functools import partial
from typing import Final

from orthros_client import Client, OrthrosError
from tests.chaos.at_work import AtWork, Ground
from tests.chaos.faults import Fault, Outage
from tests.support.processes import eventually

__all__ = ["FAULTS"]

_STARTED: Final = 0.5
"""The part of a command's time in which Python itself starts, and nothing is changed."""
_CHANGED: Final = re.compile(r'"scopes":"(c[0-9]+)"')


def _kdc(ground: Ground, outage: Outage, quick: bool, *, sync: str, runs: int) -> None:
    with ground.at_work(outage, ORTHROS_AUDIT_SYNC=sync) as at_work:
        for _ in range(2 if quick else runs):
            at_work.logins.until(random.randint(1, 200))
            at_work.kdc.kill()
            since = time.monotonic()
            at_work.start_kdc()
            at_work.recovers(since)


def _daemon(ground: Ground, outage: Outage, quick: bool) -> None:
    """The process that calls has a ticket in hand, and does without the daemon; recovered is a client that has none."""
    with ground.at_work(outage, fresh=False) as at_work:
        for _ in range(2 if quick else 20):
            at_work.logins.until(random.randint(1, 200))
            at_work.estate.daemons["shop"].kill()
            since = time.monotonic()
            at_work.estate.start_daemon()
            eventually(partial(_has_credentials, at_work), "the daemon serves again")
            outage.recoveries.append(time.monotonic() - since)
            outage.runs += 1


def _has_credentials(at_work: AtWork) -> bool:
    try:
        with Client(at_work.estate.folder / "shop.sock", 10.0) as client:
            return bool(client.credentials("orders"))
    except OrthrosError:
        return False


def _admin(ground: Ground, outage: Outage, quick: bool) -> None:
    """Each change is whole or not there, and its entry in the record of changes goes with it."""
    with ground.at_work(outage) as at_work:
        eventually(lambda: at_work.changes.took_s, "a first change")
        whole = 0
        for _ in range(2 if quick else 40):
            scope, words = at_work.changes.words()
            process = at_work.estate.stage.start("killed", *words)
            process.ends(random.uniform(_STARTED, 1) * at_work.changes.took_s)
            since = time.monotonic()
            process.kill()
            at_work.recovers(since, at_work.changes)
            if process.popen.returncode == 0:
                at_work.changes.acknowledged.append(scope)
            whole += scope in at_work.changes.there()
        outage.notes.append(f"{whole} of {outage.runs} changes were made before the kill")
        at_work.changes.stop()
        there, told = at_work.changes.there(), _recorded(at_work)
        outage.check(there == told, f"without an entry, or an entry without a change: {sorted(there ^ told)}")


def _recorded(at_work: AtWork) -> set[str]:
    """The scopes of all rules that the record of changes names."""
    lines = at_work.estate.admin("audit export").require().out.splitlines()
    return {scope for line in lines if '"rule.added"' in line for scope in _CHANGED.findall(line)}


FAULTS: Final = (
    Fault(
        words="kill -9 of the KDC under load, `audit.sync` always",
        play=partial(_kdc, sync="always", runs=100),
        within_s=5,
    ),
    Fault(
        words="kill -9 of the KDC under load, `audit.sync` written",
        play=partial(_kdc, sync="written", runs=20),
        within_s=5,
        quick=False,
    ),
    Fault(words="kill -9 of the daemon", play=_daemon, within_s=5),
    Fault(words="kill -9 of `orthros-admin` while it makes a change", play=_admin, within_s=5),
)
