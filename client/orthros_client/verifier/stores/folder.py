"""Where processes of one host can share memory: a folder of this user on tmpfs, or none.

Only tmpfs: a disk rolls back, loses what was not written, and outlives a reboot; network file systems lock badly.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from orthros_protocol.errors import Misconfigured

__all__ = ["STATE_VARIABLE", "find_folder", "folders", "is_tmpfs"]

STATE_VARIABLE: Final = "ORTHROS_STATE_DIR"
_TMPFS_MAGIC: Final = 0x01021994  # statfs(2)
_STATFS_BYTES: Final = 256  # more than struct statfs has anywhere


def find_folder(environ: Mapping[str, str] = os.environ) -> str | None:
    """The first that can be used, made if need be: `ORTHROS_STATE_DIR`, systemd's `RUNTIME_DIRECTORY`,
    `XDG_RUNTIME_DIR/orthros`, `/dev/shm/orthros-UID`; None without any.

    Raises Misconfigured when the one that `ORTHROS_STATE_DIR` names cannot be used: it was chosen on purpose.
    """
    chosen = environ.get(STATE_VARIABLE)
    if chosen:
        objection = _objection(chosen)
        if objection is not None:
            raise Misconfigured("config-invalid", f"{STATE_VARIABLE}={chosen}: {objection}")
        return os.path.abspath(chosen)
    return next((path for path in _candidates(environ) if _objection(path) is None), None)


def folders(environ: Mapping[str, str] = os.environ) -> list[str]:
    """All that a service of this user may use, in this environment or in another: for looking, nothing is made."""
    found = {
        environ.get(STATE_VARIABLE, ""),
        *environ.get("RUNTIME_DIRECTORY", "").split(":"),
        *_candidates(environ),
        f"/run/user/{os.geteuid()}/orthros",
    }
    return sorted(os.path.abspath(path) for path in found if path.startswith("/"))


def _candidates(environ: Mapping[str, str]) -> Iterator[str]:
    runtime = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    if runtime.startswith("/"):
        yield runtime
    session = environ.get("XDG_RUNTIME_DIR", "")
    if session.startswith("/"):
        yield os.path.join(session, "orthros")
    yield f"/dev/shm/orthros-{os.geteuid()}"  # noqa: S108  # made and checked below


def _objection(path: str) -> str | None:
    """Why this folder cannot hold a store, or None. Makes the folder where its parent exists."""
    try:
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        return error.strerror or "cannot be opened"
    try:
        facts = os.fstat(descriptor)
        if facts.st_uid != os.geteuid():
            return "it belongs to another user"
        if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return "others may write to it"
        return None if is_tmpfs(descriptor) else "it is not on tmpfs, which alone forgets at a reboot and never before"
    finally:
        os.close(descriptor)


def is_tmpfs(descriptor: int) -> bool:
    """Whether an open file or folder is on tmpfs, as far as the system says so."""
    kind = _kind_by_call(descriptor)
    return kind == _TMPFS_MAGIC if kind is not None else _kind_by_mounts(os.fstat(descriptor).st_dev) == "tmpfs"


def _kind_by_call(descriptor: int) -> int | None:
    try:
        fstatfs = ctypes.CDLL(None, use_errno=True).fstatfs
    except (AttributeError, OSError):
        return None
    facts = ctypes.create_string_buffer(_STATFS_BYTES)
    if fstatfs(descriptor, facts) != 0:
        return None
    # f_type is the first field, a machine word on all but a few platforms, whose upper half is then zero.
    return ctypes.c_ulong.from_buffer(facts).value & 0xFFFFFFFF


def _kind_by_mounts(device: int) -> str | None:
    """The kind of file system that has this device number (proc(5), mountinfo)."""
    number = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                before, _, after = line.partition(" - ")
                if before.split()[2:3] == [number]:
                    return after.split()[0]
    except OSError:
        pass
    return None
