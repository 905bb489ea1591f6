"""An admin's script: runs lines of `orthros-admin` from a file, one after the other, and stops at the first failure.

Knows no command. One process for all lines, because starting Python takes longer than any of them.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final

from orthros_tools.admin.__main__ import main as orthros_admin

__all__ = ["main"]

PROGRAM: Final = "orthros-admin"


def main() -> int:
    """`script.py FILE OPTION...`: the options go before the words of every line."""
    file, *options = sys.argv[1:]
    for line in Path(file).read_text("utf-8").splitlines():
        program, *words = shlex.split(line, comments=True) or [PROGRAM]
        if program != PROGRAM:
            sys.stderr.write(f"{file}: a line that is not {PROGRAM}: {line}\n")
            return 1
        if words and (code := orthros_admin([*options, *words])):
            sys.stderr.write(f"{file}: ended with {code}: {line}\n")
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
