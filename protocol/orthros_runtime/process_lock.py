"""A lock that a forked child finds open: another thread of the parent may have held it at the fork."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet

__all__ = ["ProcessLock"]


class ProcessLock:
    """`with lock():` around what the threads of this process do one after the other; each process has its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _known.add(self)

    def __call__(self) -> threading.Lock:
        return self._lock


_known: WeakSet[ProcessLock] = WeakSet()


def _begin_anew() -> None:
    for lock in list(_known):
        lock._lock = threading.Lock()


os.register_at_fork(after_in_child=_begin_anew)
