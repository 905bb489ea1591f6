"""A lock that a forked child finds open: another thread of the parent may have held it at the fork."""

from __future__ import annotations

import os
import threading

__all__ = ["ProcessLock"]


class ProcessLock:
    """`with lock():` around what the threads of this process do one after the other; each process has its own."""

    def __init__(self) -> None:
        self._locks = {os.getpid(): threading.Lock()}

    def __call__(self) -> threading.Lock:
        return self._locks.get(os.getpid()) or self._locks.setdefault(os.getpid(), threading.Lock())
