"""Where a secret leaves the realm: a new file of mode 0600, or standard output when asked for by name.

Knows no key format and no realm; a destination is examined before the realm is changed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Final, Self

from attrs import evolve, frozen

from orthros_protocol.errors import Misconfigured, OrthrosError
from orthros_protocol.keys.full_disk import unwritable
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.secret_file import write_secret_file
from orthros_runtime.command_line import usage
from orthros_tools.reasons import KEY_NOT_WRITTEN

__all__ = ["STANDARD_OUTPUT", "Destination", "require_apart"]

STANDARD_OUTPUT: Final = "-"


@frozen(kw_only=True)
class Destination:
    """A place for one secret. `path` None is standard output."""

    path: Path | None

    @classmethod
    def examined(cls, text: str, *, json: bool = False) -> Self:
        """The destination that `text` names, after a look at whether it can be written.

        Raises Misconfigured `file-exists` or `file-unreadable`, and `usage` for standard output that is
        promised to JSON.
        """
        if text == STANDARD_OUTPUT:
            if json:
                raise usage("standard output cannot hold both the key and JSON", "Name a file, or drop --output json.")
            return cls(path=None)
        path = Path(text)
        if os.path.lexists(path):
            raise Misconfigured("file-exists", str(path))
        try:
            # Only a real attempt tells: modes say nothing to root, nor of full or read-only file systems.
            descriptor, draft = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
            os.close(descriptor)
            os.unlink(draft)
        except OSError as error:
            raise unwritable(path, error) from None
        return cls(path=path)

    def hand_over_keytab(self, keytab: Keytab, *, recover: str) -> None:
        """The binary form into a file, the text form to standard output."""
        self.hand_over(f"{keytab.to_text()}\n".encode() if self.path is None else keytab.to_bytes(), recover=recover)

    def hand_over(self, secret: bytes, *, recover: str) -> None:
        """Writes `secret`. When that fails, the change that made it stays: `recover` is the command that
        hands it out again, and the remedy of the Misconfigured `key-not-written` that is raised.
        """
        try:
            if self.path is None:
                sys.stdout.write(secret.decode("ascii"))
                sys.stdout.flush()
            else:
                write_secret_file(self.path, secret)
        except (OrthrosError, OSError) as error:
            detail = error.detail if isinstance(error, OrthrosError) else f"standard output: {error.strerror}"
            told = evolve(KEY_NOT_WRITTEN, remedy=f"Nothing is lost: run `{recover}`.")
            raise Misconfigured(told, detail) from None

    def __str__(self) -> str:
        return "standard output" if self.path is None else str(self.path)


def require_apart(*destinations: Destination) -> None:
    """Raises Misconfigured `usage` when two of them are the same place."""
    places = [place.path and place.path.resolve() for place in destinations]
    if len(set(places)) < len(places):
        raise usage("two key files would go to the same place", "Give each key file a place of its own.")
