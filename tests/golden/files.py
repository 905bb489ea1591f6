"""The golden files: making them in a clean interpreter, and comparing them with those of this folder.

Knows parts and files; what is in them comes from `makers/`.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["FAST", "GOLDEN", "MOST_S", "PARTS", "PYTHON", "STILL", "differences", "make", "replace"]

GOLDEN: Final = Path(__file__).parent
FAST: Final = ("help", "config", "admin", "tables", "messages")
STILL: Final = (*FAST, "servers")
PARTS: Final = (*STILL, "orthros", "http", "log")
"""Each has a folder of its name, and in `makers/` a module. Where they are STILL, so are clock and chance; the others
start real programs."""
PYTHON: Final = (3, 11)
"""argparse, tomllib and the operating system's errors read differently in each version of Python: the files are of the
oldest one that we support."""
_ROOT: Final = GOLDEN.parents[1]
_ENVIRONMENT: Final = {
    "COLUMNS": "100", "LC_ALL": "C.UTF-8", "TZ": "UTC", "ORTHROS_REPLAY_STORE": "memory",
}  # fmt: skip
_MEMORY: Final = "/dev/shm"
"""Realms that live for a second are kept in memory where that is possible: a disk would make each command ten times as
slow."""
MOST_S: Final = 300
"""How long one part may take. Real programs take half a minute where nothing else runs."""


def make(part: str, folder: Path) -> None:
    """Writes the files of `part` below `folder`, by a fresh interpreter: a clock and a source of chance that stand
    still must be there before anything is imported. Raises AssertionError with what the interpreter said."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ORTHROS_", "CREDENTIALS_", "SUDO_")) and name not in ("FORCE_COLOR", "NO_COLOR")
    }
    if os.access(_MEMORY, os.W_OK):
        kept["TMPDIR"] = _MEMORY
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden.makers", part, os.fspath(folder)], cwd=_ROOT, env=kept | _ENVIRONMENT,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=MOST_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{part}: {done.stdout}{done.stderr}"


def differences(part: str, folder: Path) -> str:
    """How the files of `part` below `folder` differ from the golden ones, as a unified diff; "" when they do not."""
    golden, made = (_texts(where / part) for where in (GOLDEN, folder))
    found: list[str] = []
    for name in sorted({*golden, *made}):
        before, after = (texts.get(name, "").splitlines(keepends=True) for texts in (golden, made))
        found += difflib.unified_diff(before, after, f"tests/golden/{part}/{name}", f"now/{part}/{name}", n=3)
    return "".join(found)


def replace(part: str, folder: Path) -> Sequence[str]:
    """Puts the files of `part` below `folder` in the place of the golden ones; returns the names of those that are new
    or were changed or removed."""
    golden, made = (_texts(where / part) for where in (GOLDEN, folder))
    (GOLDEN / part).mkdir(exist_ok=True)
    for name in golden.keys() - made.keys():
        (GOLDEN / part / name).unlink()
    for name, text in made.items():
        (GOLDEN / part / name).write_text(text, encoding="utf-8")
    return sorted(name for name in {*golden, *made} if golden.get(name) != made.get(name))


def _texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in folder.glob("*.txt")}
