"""Time as a value: milliseconds for authenticators, whole seconds inside tickets.

Never reads a clock; callers hand `now` in.
"""

from __future__ import annotations

from typing import NewType

__all__ = ["Timestamp", "UnixSeconds", "seconds_of", "timestamp_of"]

Timestamp = NewType("Timestamp", int)
"""Milliseconds since the Unix epoch."""

UnixSeconds = NewType("UnixSeconds", int)
"""Whole seconds since the Unix epoch, as tickets carry them."""


def seconds_of(now: Timestamp) -> UnixSeconds:
    """The whole second in which `now` lies."""
    return UnixSeconds(now // 1000)


def timestamp_of(instant: UnixSeconds) -> Timestamp:
    """The first millisecond of `instant`."""
    return Timestamp(instant * 1000)
