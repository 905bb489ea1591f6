"""Work in a measure that no busy machine changes: how many functions are entered, those of C included."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["calls_of"]


def calls_of(action: Callable[[], object]) -> int:
    """The functions that the second of two equal runs of `action` enters: the first one fills caches."""
    action()
    count = 0

    def counted(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before, collects = sys.getprofile(), gc.isenabled()
    gc.disable()  # finalizers and gc.callbacks, of which hypothesis has one, are calls as well
    sys.setprofile(counted)
    try:
        action()
    finally:
        sys.setprofile(before)
        if collects:
            gc.enable()
    return count
