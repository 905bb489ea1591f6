"""Runs a command of orthros-admin again and again, each time killed (SIGKILL) one step later.

usage: killed.py REALM COPIES WORD...

Before each run REALM is as it was at first. What a killed run has left is kept as COPIES/1, COPIES/2 and so on; the
last run is not killed. Each run is a process of its own, forked from this one, which runs nothing itself.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from orthros_tools.admin.__main__ import main

# What changes files and the database, from the first call of the use case on. A call is counted wherever it is made.
_BEGIN = "orthros_kdc.admin.audit_logs"
_CALLS = frozenset({"execute", "flush", "fsync", "ftruncate", "link", "mkdir", "rename", "unlink", "write"})


def _killed_before(number: int, words: list[str]) -> int:
    """The exit code, or less than zero if the process was killed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    calls = itertools.count(1)
    begun = threading.Event()

    def look(frame: FrameType, event: str, what: Any) -> None:
        if event == "call" and frame.f_globals.get("__name__") == _BEGIN:
            begun.set()
        if event == "c_call" and what.__name__ in _CALLS and begun.is_set() and next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    threading.setprofile(look)
    sys.setprofile(look)
    os._exit(main(words))


def run() -> int:
    """The exit code of the run that was not killed."""
    realm, copies, words = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    shutil.copytree(realm, copies / "0")
    for number in itertools.count(1):
        code = _killed_before(number, words)
        if code >= 0:
            return code
        shutil.move(realm, copies / str(number))
        shutil.copytree(copies / "0", realm)
    raise AssertionError


if __name__ == "__main__":
    sys.exit(run())
