"""The database as files: whether only its owner can reach them, and whether they are still the ones that were opened.

SQLite keeps two files beside a database in WAL mode: `-wal` holds the newest commits, `-shm` an index of it. A process
goes on reading and writing the files that it has open, also when others were put in their place; what another
process then commits is in the new files, and this one never sees it: a principal that was disabled could go on. So the
device and the inode of each name are compared with those at the start, once a second.

Knows no SQL.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final, Self

import trio
from attrs import frozen

from orthros_kdc.reasons import DATABASE_REPLACED, DATABASE_UNSAFE
from orthros_protocol.errors import Misconfigured

__all__ = ["DatabaseFiles", "require_private"]

_BESIDE: Final = ("", "-wal", "-shm")
_EVERY_S: Final = 1.0
_ROOT: Final = 0


def require_private(path: Path) -> None:
    """Refuses a database that other users can read or replace, as key files are refused.

    Raises Misconfigured `database-unsafe` for a file that is a symbolic link, no plain file, of another owner, or has
    any permission for group or others, and for a folder that belongs to neither this user nor root, or that others can
    write to. Root may open what belongs to another user: SQLite gives new files beside the database its owner. What is
    not there is left to the one who opens it.
    """
    for file in (path.with_name(f"{path.name}{suffix}") for suffix in _BESIDE):
        try:
            facts = os.lstat(file)
        except OSError:
            continue
        if stat.S_ISLNK(facts.st_mode):
            raise _unsafe(file, "is a symbolic link", "Name the file that it leads to.")
        if not stat.S_ISREG(facts.st_mode):
            raise _unsafe(file, "is not a plain file", "Name the database itself.")
        _require_owner(file, facts)
        if facts.st_mode & 0o077:
            raise _unsafe(file, f"has mode {stat.S_IMODE(facts.st_mode):04o}", f"Run `chmod 600 {file}`.")
    folder = path.absolute().parent
    try:
        facts = os.stat(folder)
    except OSError:
        return
    _require_owner(folder, facts)
    if facts.st_mode & 0o022:
        seen = f"has mode {stat.S_IMODE(facts.st_mode):04o}, so that others can put another database in its place"
        raise _unsafe(folder, seen, f"Run `chmod 700 {folder}`.")


def _require_owner(path: Path, facts: os.stat_result) -> None:
    me = os.geteuid()
    if me not in (facts.st_uid, _ROOT) and facts.st_uid != _ROOT:
        seen = f"belongs to uid {facts.st_uid}, not {me}"
        raise _unsafe(path, seen, f"Run `chown {me} {path}`, or run the command as its owner.")


def _unsafe(path: Path, seen: str, remedy: str) -> Misconfigured:
    error = Misconfigured(DATABASE_UNSAFE, f"{path} {seen}")
    error.advice = remedy
    return error


@frozen
class DatabaseFiles:
    """The files of an open database, as they were at `of`: device and inode of each."""

    path: Path
    seen: dict[Path, tuple[int, int]]

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Self:
        """The files as they are now. Call it after a first read, when all of them are there.

        Raises Misconfigured `database-replaced` when the database is gone.
        """
        target = Path(path)
        files = (target.with_name(f"{target.name}{suffix}") for suffix in _BESIDE)
        seen = {file: identity for file in files if (identity := _identity(file)) is not None}
        if target not in seen:
            raise _replaced(target, "is gone")
        return cls(target, seen)

    def look(self) -> None:
        """Raises Misconfigured `database-replaced` when one of the files is gone or another one."""
        for file, before in self.seen.items():
            now = _identity(file)
            if now != before:
                raise _replaced(file, "is gone" if now is None else "is another file than the one in use")

    async def watch(self) -> None:
        """Looks once a second, until cancelled. Raises as `look`."""
        while True:
            self.look()
            await trio.sleep(_EVERY_S)


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        facts = os.stat(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _replaced(file, f"cannot be looked at: {error.strerror}") from None
    return facts.st_dev, facts.st_ino


def _replaced(file: Path, seen: str) -> Misconfigured:
    return Misconfigured(DATABASE_REPLACED, f"{file} {seen}")
