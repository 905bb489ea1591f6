"""`python -m orthros_tools.bench`: runs every benchmark and prints one table."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from orthros_tools.bench.daemon_load import measure_daemon
from orthros_tools.bench.figures import render
from orthros_tools.bench.kdc_load import measure_kdc, running_kdc
from orthros_tools.bench.library import measure_library


def main() -> int:
    """Prints the table; figures of one run are comparable with each other only."""
    figures = measure_library()
    with tempfile.TemporaryDirectory(prefix="orthros-bench-") as name, running_kdc(Path(name) / "realm") as kdc:
        figures += measure_kdc(kdc)
        figures += measure_daemon(Path(name), kdc)
    print(render(figures))
    print("\nRatios above belong to one run; krb5kdc was recorded on another day (peers in docs/performance.md).")
    return 0


if __name__ == "__main__":
    sys.exit(main())
