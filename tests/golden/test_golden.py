"""What the programs say and write down is what the golden files hold, line for line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.golden.files import FAST, GOLDEN, MOST_S, PARTS, PYTHON, differences, make

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != PYTHON,
    reason="argparse, tomllib and errors of the system read differently in each Python: the files are of the oldest",
)
MOST_LINES = 2000
# Real programs by real clocks, now and then in another order: what has changed differs each time.
TRIES = 3


SLOW = (pytest.mark.stories, pytest.mark.timeout(MOST_S))


@pytest.mark.parametrize("part", [pytest.param(part, marks=() if part in FAST else SLOW) for part in PARTS])
def test_nothing_reads_differently(part: str, tmp_path: Path) -> None:
    found = ""
    for number in range(1 if part in FAST else TRIES):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        make(part, folder)
        found = differences(part, folder)
        if not found:
            break
    assert not found, f"if each line is meant to change: `python -m tests.golden --write {part}`, and commit\n{found}"


def test_a_reviewer_can_read_every_file() -> None:
    files = [path for part in PARTS for path in (GOLDEN / part).glob("*")]
    assert {path.suffix for path in files} == {".txt"}
    assert [path.name for path in files if len(path.read_text("utf-8").splitlines()) >= MOST_LINES] == []
