"""What to say when a file cannot be written: a full disk is named with path, size and remedy by every program."""

from __future__ import annotations

import errno
import os
from typing import Final

from orthros_protocol.errors import Misconfigured, OrthrosError, Unavailable

__all__ = ["is_full", "is_on_full_disk", "unwritable"]

_LITTLE_BYTES: Final = 64 * 1024
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: OSError) -> bool:
    """Whether the file system, a quota or a limit of the process left no room."""
    return error.errno in _FULL


def is_on_full_disk(path: str | os.PathLike[str]) -> bool:
    """Whether the file system of `path` has no room left."""
    try:
        found = os.statvfs(_existing(path))
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _LITTLE_BYTES


def unwritable(path: str | os.PathLike[str], error: Exception) -> OrthrosError:
    """The typed error for a failed write to `path`: Unavailable `disk-full` with the room that there is, or
    Misconfigured `file-unreadable`; what is typed already stays as it is."""
    if isinstance(error, OrthrosError):
        return error
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if not (isinstance(error, OSError) and is_full(error)):
        return Misconfigured("file-unreadable", f"{os.fspath(path)} cannot be written: {said}")
    return Unavailable("disk-full", f"{os.fspath(path)} cannot be written: {said}{_room(path)}")


def _room(path: str | os.PathLike[str]) -> str:
    """How much is free where `path` would stand, if that can be found out."""
    try:
        found = os.statvfs(_existing(path))
    except OSError:
        return ""
    return f"; {found.f_bavail * found.f_frsize} of {found.f_blocks * found.f_frsize} bytes are free there"


def _existing(path: str | os.PathLike[str]) -> str:
    """`path`, or what exists above it."""
    place = os.path.abspath(path)
    while not os.path.exists(place) and os.path.dirname(place) != place:
        place = os.path.dirname(place)
    return place
