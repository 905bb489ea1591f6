"""The program as it is installed: one process from the command line to the exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.admin.bench import AdminBench

SCRIPT = Path(sys.executable).with_name("orthros-admin")


def test_installed_script_works_and_survives_a_reader_that_leaves(bench: AdminBench) -> None:
    made = subprocess.run([SCRIPT, "principal", "add", "billing"], capture_output=True, text=True, check=True)
    assert "written to billing.key" in made.stdout
    assert bench.files() == {"billing.key"}
    missing = subprocess.run([SCRIPT, "principal", "show", "orders"], capture_output=True, text=True, check=False)
    assert (missing.returncode, missing.stdout) == (5, "")
    bench.printed += [made.stdout, made.stderr, missing.stderr]
    with subprocess.Popen([SCRIPT, "principal", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
        assert listing.stdout is not None
        listing.stdout.close()
        assert listing.stderr is not None
        assert listing.stderr.read() == b""
        assert listing.wait(30) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_answer_that_cannot_be_written_is_no_fault_of_the_program(bench: AdminBench) -> None:
    with Path("/dev/full").open("w") as full:
        made = subprocess.run(
            [SCRIPT, "principal", "add", "billing"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    bench.printed.append(made.stderr)
    assert made.returncode == 1
    assert "was carried out, but its answer could not be written. (standard output: No space left" in made.stderr
    assert bench.files() == {"billing.key"}
