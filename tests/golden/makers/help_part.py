"""The help of every program and of each of its commands. Commands are found in the help itself, as a reader does."""

from __future__ import annotations

import re
from pathlib import Path

from tests.golden.makers.programs import PROGRAMS, run

_LISTED = re.compile(r"\n  (?:COMMAND|NOUN|VERB)\n((?: {4}.*\n)+)")
_NAME = re.compile(r"^ {4}(\S+)", re.MULTILINE)


def make(folder: Path) -> None:
    """One file for each program, and one for each noun that has verbs."""
    for program in PROGRAMS:
        _write(folder, program)


def _write(folder: Path, *words: str) -> None:
    told, names = _help(*words)
    texts = [told]
    for name in names:
        below, verbs = _help(*words, name)
        if verbs:
            _write(folder, *words, name)
        else:
            texts.append(below)
    (folder / f"{' '.join(words).replace(' ', '-')}.txt").write_text("\n".join(texts), encoding="utf-8")


def _help(*words: str) -> tuple[str, list[str]]:
    """What is told, and the commands that it lists."""
    told = run(*words, "-h")
    assert told.code == 0, told
    found = _LISTED.search(told.out)
    return f"$ {' '.join(words)} -h\n{told.out}", _NAME.findall(found[1]) if found else []
