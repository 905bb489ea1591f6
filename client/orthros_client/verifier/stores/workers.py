"""Whether this process is visibly one of several that serve the same: for a warning, never for a decision (proc(5))."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

__all__ = ["has_fellow_workers"]

_TRACKER = b"multiprocessing.resource_tracker"


def has_fellow_workers() -> bool:
    """Its parent has other children that were started with the same command, as servers start their workers.

    A parent that merely runs several programs (a shell, a supervisor) started them with other commands than its own.
    """
    parent, own = os.getppid(), _command(os.getpid())
    spawned = multiprocessing.parent_process() is not None
    if not spawned and _command(parent) != own:
        return False
    fellows = [one for one in _children(parent) if one != os.getpid()]
    return any(_is_fellow(_command(one), own, spawned=spawned) for one in fellows)


def _is_fellow(command: bytes, own: bytes, *, spawned: bool) -> bool:
    if spawned:  # each spawned process is told another pipe
        return b"multiprocessing" in command and _TRACKER not in command
    return command == own


def _children(parent: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{parent}/task/{parent}/children").read_text("ascii").split()]
    except OSError:
        return []


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
