"""A folder that goes away with its process; if that was killed, with the next process that makes one.

Whoever lives holds a lock on its folder, which the kernel takes back however the process ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["throwaway_folder"]


@contextmanager
def throwaway_folder(prefix: str) -> Iterator[Path]:
    """A new folder of mode 0700 among the temporary ones; those of dead processes with this prefix are removed first.

    Only folders of this user are looked at. Raises OSError where no folder can be made.
    """
    _remove_orphans(prefix)
    path, held = _locked(prefix)
    try:
        yield path
    finally:
        shutil.rmtree(path)
        os.close(held)


def _locked(prefix: str) -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix))
        try:
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(held, fcntl.LOCK_EX)
        # Before the lock was held, another process could take the folder for an orphan.
        if path.is_dir() and os.path.samestat(os.fstat(held), os.lstat(path)):
            return path, held
        os.close(held)


def _remove_orphans(prefix: str) -> None:
    for found in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        try:
            held = os.open(found, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # a file, a link, another user's, or gone already
        try:
            if os.fstat(held).st_uid != os.geteuid():
                continue
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(found, ignore_errors=True)
        except BlockingIOError:
            continue  # its process lives
        finally:
            os.close(held)
