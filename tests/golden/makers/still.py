"""Clocks that move only when they are told, chance that is the same in each run, and one user.

Knows nothing of the product. To be called before anything of it is imported.
"""

from __future__ import annotations

import os
import pwd
import random
import time
from typing import Final

__all__ = ["begin", "pass_time", "stand", "use_chance"]

_START_S: Final = 1_800_000_000  # 2027-01-15 08:00:00Z
_NS: Final = 1_000_000_000
_chance = random.Random("")


class _Clock:
    def __init__(self) -> None:
        self.now_ns = _START_S * _NS

    def time_ns(self) -> int:
        return self.now_ns

    def time(self) -> float:
        return self.now_ns / _NS


_clock = _Clock()


def _draw(size: int) -> bytes:
    return _chance.randbytes(size)


def _user_of(uid: int) -> pwd.struct_passwd:
    return pwd.struct_passwd(("operator", "x", uid, uid, "", "/", "/bin/sh"))


def stand() -> None:
    """From now on, for this process."""
    time.time_ns = _clock.time_ns
    time.time = time.monotonic = _clock.time
    os.urandom = _draw
    pwd.getpwuid = _user_of


def begin() -> None:
    """Sets the clocks back to where every story begins: a line that is added to one changes no other."""
    _clock.now_ns = _START_S * _NS


def pass_time(seconds: int) -> None:
    """Moves the clocks on."""
    _clock.now_ns += seconds * _NS


def use_chance(seed: str) -> None:
    """What is drawn next follows from `seed` alone: a line that is added to a story changes no other line."""
    _chance.seed(seed)
