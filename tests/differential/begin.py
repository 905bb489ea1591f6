"""The version where the rebuild began, as a wheel in an environment of its own; built once."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
COMMIT_FILE: Final = Path(__file__).with_name("begin.txt")
CACHE: Final = ROOT / ".venv" / "differential"
_EXTRAS: Final = "kdc,http"  # all that the operations of the vectors and a KDC in memory import
_PIN: Final = re.compile(r"(?m)^([\w.-]+)(?:\[[^]]*\])?(==\S+)( ;[^\\\n]*)?")


class NotBuilt(Exception):
    """There is no such version to compare with; the text says why, and what to do."""


def commit() -> str:
    """The commit to compare with."""
    return COMMIT_FILE.read_text(encoding="ascii").strip()


def built(name: str) -> tuple[Path, Path]:
    """Python and source tree of a commit. Raises NotBuilt where this clone does not hold the commit, or pip fails."""
    home = CACHE / name
    python, source = home / "env" / "bin" / "python", home / "source"
    if not (home / "ready").exists():
        archive = _archive(name)
        shutil.rmtree(home, ignore_errors=True)
        source.mkdir(parents=True)
        subprocess.run(["tar", "-x", "-C", source], input=archive, check=True)
        print(f"building {name[:12]} into {home.relative_to(ROOT)}, once", flush=True)
        _build(home, python, source)
        (home / "ready").touch()
    return python, source


def _archive(name: str) -> bytes:
    known = subprocess.run(
        ["git", "-C", ROOT, "cat-file", "-e", f"{name}^{{commit}}"], capture_output=True, check=False
    )
    if known.returncode:
        shown = COMMIT_FILE.relative_to(ROOT)
        raise NotBuilt(
            f"this clone does not hold commit {name}, which {shown} names. Of a shallow clone, `git fetch --unshallow` "
            "brings it; an unpacked archive has no history to compare with"
        )
    return subprocess.run(["git", "-C", ROOT, "archive", name], capture_output=True, check=True).stdout


def _build(home: Path, python: Path, source: Path) -> None:
    """Versions are those that the commit pins. Without hashes, which pip does not take for what a wheel asks for."""
    pins = home / "pins.txt"
    locked = (source / "requirements" / "dev.txt").read_text(encoding="utf-8")
    pins.write_text("".join(f"{''.join(filter(None, one))}\n" for one in _PIN.findall(locked)), encoding="utf-8")
    pip = ("-m", "pip", "--quiet", "--quiet", "--no-input", "--disable-pip-version-check")
    wheel = ("wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", home, source)
    _run(sys.executable, *pip, *wheel)
    _run(sys.executable, "-m", "venv", python.parents[1])
    made = next(home.glob("orthros-*.whl"))
    _run(python, *pip, "install", "--constraint", pins, f"orthros[{_EXTRAS}] @ {made.as_uri()}")


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shown = " ".join(map(str, command))
        raise NotBuilt(f"{shown} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
