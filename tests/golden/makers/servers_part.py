"""The stories of `../stories/servers`: commands of `orthros-kdc` and `orthros-daemon` that end by themselves.

A line is a whole command; FOLDER is where it runs. Each runs in a process of its own, as a server that starts does.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Final

from tests.golden.makers import still
from tests.golden.makers.programs import run_apart
from tests.golden.makers.steady import Steady

_STORIES: Final = Path(__file__).parents[1] / "stories"


def make(folder: Path) -> None:
    os.environ["ORTHROS_LOG_LEVEL"] = "error"  # the log tells how many files this machine lets a program open
    for story in sorted((_STORIES / "servers").glob("*.story")):
        still.begin()
        with tempfile.TemporaryDirectory(prefix="orthros-golden-") as own, chdir(own):
            shutil.copytree(_STORIES / "files", own, dirs_exist_ok=True)
            for file in Path(own).iterdir():
                file.chmod(0o644)
            told = [_told(line, own) for line in story.read_text("utf-8").splitlines()]
            steady = Steady(exact=((own, "FOLDER"),))
        (folder / f"{story.stem}.txt").write_text(steady.of("\n".join(told)), encoding="utf-8")


def _told(line: str, folder: str) -> str:
    if line.startswith("#"):
        return f"{line}\n"
    still.pass_time(1)
    still.use_chance(line)
    return run_apart(*shlex.split(line.replace("FOLDER", folder))).shown()
