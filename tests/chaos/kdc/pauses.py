"""Programs that stand still for a while (SIGSTOP), as on a machine that swaps or is being moved."""

from __future__ import annotations

import os
import signal
import threading
import time
from functools import partial
from typing import Final

from tests.chaos.at_work import AtWork, Ground
from tests.chaos.faults import Fault, Outage

__all__ = ["FAULTS"]

_PAUSE_S: Final = 3.0


def _paused(ground: Ground, outage: Outage, quick: bool, *, who: str) -> None:
    with ground.at_work(outage) as at_work:
        for _ in range(1 if quick else 3):
            at_work.logins.until(100)
            pids = _pids(at_work, who)
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            threading.Event().wait(_PAUSE_S)
            since = time.monotonic()
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            at_work.recovers(since, at_work.logins, at_work.calls)


def _pids(at_work: AtWork, who: str) -> list[int]:
    if who == "target":
        assert at_work.service.process is not None
        return [at_work.service.process.popen.pid, *at_work.service.worker_pids()]
    process = at_work.kdc if who == "kdc" else at_work.estate.daemons["shop"]
    return [process.popen.pid]


FAULTS: Final = tuple(
    Fault(
        words=f"SIGSTOP of {words} for {_PAUSE_S:g} s",
        play=partial(_paused, who=who),
        within_s=5,
        quick=who != "target",
    )
    for who, words in (("kdc", "the KDC"), ("daemon", "the daemon"), ("target", "the service"))
)
