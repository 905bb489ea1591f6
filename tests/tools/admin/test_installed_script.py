"""The program as it is installed: one process from the command line to the exit code."""

import subprocess
import sys
from pathlib import Path

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
