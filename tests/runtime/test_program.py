"""What programs print: an answer that nobody takes is an exit code, and no traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = {
    "orthros-kdc": "orthros_kdc",
    "orthros-daemon": "orthros_client.daemon",
    "orthros": "orthros_client.cli",
}


def ended(program: str, *words: str) -> list[str]:
    return [sys.executable, "-m", PROGRAMS[program], *words]


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_a_full_disk_is_named(program: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(ended(program, "version"), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"{program}: the answer could not be written: No space left on device\n"


@pytest.mark.parametrize("program", sorted(PROGRAMS))
def test_a_reader_that_has_gone_is_told_nothing(program: str) -> None:
    with subprocess.Popen(
        ended(program, "version"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == 1
