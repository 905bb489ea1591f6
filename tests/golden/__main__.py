"""`python -m tests.golden`: compares the golden files with what the programs say now; `--write` makes them anew."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.golden.files import PARTS, PYTHON, differences, make, replace


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"only these: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--write", action="store_true", help="make them anew")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}")
    if sys.version_info[:2] != PYTHON:
        parser.error(f"the golden files are of Python {'.'.join(map(str, PYTHON))}")
    differ = False
    with tempfile.TemporaryDirectory(prefix="orthros-golden-") as folder:
        for part in chosen.parts or PARTS:
            make(part, Path(folder))
            if not chosen.write:
                found = differences(part, Path(folder))
                sys.stdout.write(found)
                differ = differ or bool(found)
                continue
            for name in replace(part, Path(folder)):
                print(f"tests/golden/{part}/{name}")
    return int(differ)


if __name__ == "__main__":
    sys.exit(main())
