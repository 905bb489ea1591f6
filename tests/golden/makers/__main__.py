"""`python -m tests.golden.makers PART FOLDER`: writes the golden files of one part below FOLDER. `files.py` calls it.

Clock and chance are exchanged first: the product takes `os.urandom` as a default when its modules are loaded.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from tests.golden.files import STILL
from tests.golden.makers import still


def main(part: str, where: str) -> None:
    folder = Path(where) / part
    folder.mkdir()
    if part in STILL:
        still.stand()
    import_module(f"tests.golden.makers.{part}_part").make(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
