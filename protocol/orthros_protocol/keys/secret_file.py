"""Reads and writes files that hold secrets: plain, owned, mode 0600, replaced atomically.

The only module of this package that reads and writes files, because every program needs the same
rules; knows nothing about what the files hold.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from orthros_protocol.errors import Misconfigured
from orthros_protocol.keys.full_disk import unwritable
from orthros_protocol.primitives.redaction import redact_text

__all__ = ["read_secret_file", "write_secret_file"]

_MOST_BYTES = 4 * 1024 * 1024


def read_secret_file(path: str | os.PathLike[str], *, most_bytes: int = _MOST_BYTES) -> bytes:
    """The content of a secret file.

    Raises Misconfigured `file-unreadable`, or `key-file-unsafe` for a symlink, anything but a plain
    file, a foreign owner, or any permission bit for group or others.
    """
    try:
        # The checks run on the opened file, so nobody can swap it in between.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if Path(path).is_symlink():
            raise Misconfigured("key-file-unsafe", f"{path} is a symbolic link") from None
        # Nobody finds a key under this name, but somebody may have put one in the place of its path.
        raise Misconfigured("file-unreadable", f"{redact_text(str(path))}: {error.strerror}") from None
    except ValueError:
        raise Misconfigured("file-unreadable", "a path cannot contain a null byte") from None
    # A raw file: opening a directory for buffered reading would fail before it could be judged.
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise Misconfigured("key-file-unsafe", f"{path} is not a plain file")
        if facts.st_uid != os.geteuid():
            raise Misconfigured("key-file-unsafe", f"{path} belongs to uid {facts.st_uid}, not {os.geteuid()}")
        if facts.st_mode & 0o077:
            raise Misconfigured("key-file-unsafe", f"{path} has mode {stat.S_IMODE(facts.st_mode):04o}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(most_bytes + 1)
    finally:
        os.close(descriptor)
    if len(content) > most_bytes:
        raise Misconfigured("key-file-invalid", f"{path} is larger than {most_bytes} bytes")
    return content


def write_secret_file(path: str | os.PathLike[str], content: bytes, *, replace: bool = False) -> None:
    """Writes `content` with mode 0600 so that a reader sees the old file or the whole new one.

    Raises Misconfigured `file-exists` unless `replace`, or `file-unreadable` when it cannot be written;
    Unavailable `disk-full`.
    """
    target = Path(path)
    try:
        # A fresh name each time: a draft that a crash left behind must not block the next writer.
        descriptor, draft = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".new", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            if replace:
                os.replace(draft, target)
            else:
                os.link(draft, target)  # fails when the target exists, unlike rename
        finally:
            with suppress(FileNotFoundError):
                os.unlink(draft)
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except FileExistsError:
        raise Misconfigured("file-exists", str(target)) from None
    except OSError as error:
        raise unwritable(target, error) from None
    except ValueError:
        raise Misconfigured("file-unreadable", "a path cannot contain a null byte") from None
