"""Where the targets note what they execute: one line per execution, from any process, in one file.

A line is written by one call in append mode, so lines of different processes do not mix.
"""

import os
import signal
import sys
from types import FrameType
from typing import Any

ORIGIN = "http://orders.example"


def note(method: str, name: str) -> dict[str, str]:
    """Notes an execution, and is the answer."""
    executed = os.open(os.environ["CHAOS_EXECUTED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(executed, f"{method} {name} {os.environ['CHAOS_REPLICA']} {os.getpid()}\n".encode())
    finally:
        os.close(executed)
    return {"order": name, "replica": os.environ["CHAOS_REPLICA"]}


def ready() -> None:
    """Says that the service of this process is whole, and arms it: see `_arm`."""
    _arm()
    print(f"target ready: {os.getpid()}", flush=True)


def _arm() -> None:
    """Has this process send itself the signal that `CHAOS_ARMED` names, in the middle of the first admission after the
    file in `CHAOS_TRIGGER` is there; it takes the file away, so that one process does it."""
    wanted, trigger = os.environ.get("CHAOS_ARMED"), os.environ.get("CHAOS_TRIGGER", "")
    if not wanted:
        return

    def look(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code.co_name == "_burn" and frame.f_code.co_filename.endswith("stores/host.py"):
            try:
                os.unlink(trigger)
            except FileNotFoundError:
                return
            os.kill(os.getpid(), signal.Signals[wanted])

    sys.setprofile(look)
    # Threads of a server look as well.
    import threading

    threading.setprofile(look)
