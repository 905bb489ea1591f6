"""Keeps a process's memory to itself, for every program that holds long-lived keys: no core dumps, no attaching.

Best effort: a system without these calls goes on without them.
"""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress
from typing import Final

__all__ = ["harden_process"]

_PR_SET_DUMPABLE: Final = 4


def harden_process() -> bool:
    """Whether the kernel accepted that the process is not dumpable."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        outcome: int = ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return outcome == 0
