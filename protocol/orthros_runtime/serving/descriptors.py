"""How many files and sockets this process may have open, and how many connections that leaves for each listener.

Asks and sets the limit of the operating system; counts nothing.
"""

from __future__ import annotations

import resource

from attrs import frozen

from orthros_runtime.serving.listeners import MOST_LINGERING

__all__ = ["Room", "room_for"]


@frozen(kw_only=True)
class Room:
    """What a process may open: `most` connections for each of its listeners, of `open_files` descriptors."""

    most: int
    open_files: int


def room_for(wanted: int, listeners: int, *, reserved: int) -> Room:
    """Raises the soft limit of open files so that each listener can have `wanted` connections, or as many as may be.

    `reserved` descriptors stay free for everything else, and some for each listener to refuse connections with.
    """
    kept = reserved + listeners * MOST_LINGERING
    allowed = _descriptors_for(wanted * listeners + kept)
    return Room(most=max(1, min(wanted, (allowed - kept) // listeners)), open_files=allowed)


def _descriptors_for(wanted: int) -> int:
    """Raises the soft limit towards `wanted`, as far as the hard limit allows, and returns what may be open now.

    A limit that is higher already stays.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if raised > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    return max(raised, soft)
