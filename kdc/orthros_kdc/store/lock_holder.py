"""Which process holds a SQLite database for writing: so that who waits in vain can be told whom to look at.

Reads `/proc/locks`. To ask the lock itself would take a descriptor of the file, and closing any descriptor of a file
drops all POSIX locks that this process has on it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

__all__ = ["holder_of"]

_WRITE_BYTE: Final = 120
"""The byte of the `-shm` file that a writer in WAL mode has locked: sqlite.org/walformat.html, section 2.3.1."""
_PROGRAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}", re.ASCII)
_OURS = re.compile(r"orthros[a-z-]*", re.ASCII)
_VERB = re.compile(r"[a-z][a-z-]{0,19}", re.ASCII)
_INTERPRETER = re.compile(r"python[0-9.]*", re.ASCII)
_MOST_VERBS: Final = 2
_LOOKS: Final = 5


def holder_of(path: Path, locks: Path = Path("/proc/locks")) -> str:
    """`process 4711 (orthros-admin realm apply)`; `another process` where that cannot be found out."""
    try:
        inode = os.stat(f"{path}-shm").st_ino
        # The kernel hands out the list page by page, and a lock that is dropped meanwhile hides the next page's first.
        looks = (_holder_in(locks.read_text("ascii"), inode) for _ in range(_LOOKS))
        pid = next(filter(None, looks), "")
    except OSError:
        pid = ""
    return f"process {pid}{_command_of(pid)}" if pid else "another process"


def _holder_in(listed: str, inode: int) -> str:
    """The process id of the holder; empty for none."""
    for line in listed.splitlines():
        # 1: POSIX  ADVISORY  WRITE 4711 fe:01:1234 120 120
        words = line.split()
        if len(words) < 8 or words[1] == "->" or words[3] != "WRITE" or words[5].rpartition(":")[2] != str(inode):
            continue
        first, last = words[6], words[7]
        if int(first) <= _WRITE_BYTE and (last == "EOF" or int(last) >= _WRITE_BYTE) and int(words[4]) > 0:
            return words[4]
    return ""


def _command_of(pid: str) -> str:
    try:
        words = Path("/proc", pid, "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    shown = _shown([word.decode("utf-8", "replace") for word in words])
    return f" ({shown})" if shown else ""


def _shown(words: list[str]) -> str:
    """The program's name, and of our own programs the verb. What else stands in the words of another process may be
    secret, and may hold what a terminal or a log takes for its own."""
    names = [word.rpartition("/")[2] for word in words]
    if len(names) > 1 and _INTERPRETER.fullmatch(names[0]) and _PROGRAM.fullmatch(names[1]):
        names = names[1:]
    program, verbs = names[0], names[1 : 1 + _MOST_VERBS]
    if _PROGRAM.fullmatch(program) is None:
        return ""
    if _OURS.fullmatch(program) is None or not all(_VERB.fullmatch(verb) for verb in verbs):
        return program
    return " ".join([program, *verbs])
