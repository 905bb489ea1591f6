"""What a forked child must make anew: locks that another thread may have held, memories that now belong to two.

One registration for all objects of this process; they are forgotten with their last reference.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["Forked", "renew_after_fork"]


class Forked(Protocol):
    """Anything that has to know when its process became another one."""

    def after_fork(self) -> None:
        """Called in the child, before any code of its own runs. Touches no lock of the parent."""
        ...


_OBJECTS: WeakSet[Forked] = WeakSet()


def renew_after_fork(one: Forked) -> None:
    """`one.after_fork()` is called in each child that is forked from now on."""
    _OBJECTS.add(one)


def _renew() -> None:
    for one in list(_OBJECTS):
        one.after_fork()


os.register_at_fork(after_in_child=_renew)
