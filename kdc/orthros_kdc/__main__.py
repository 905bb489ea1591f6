"""The program `orthros-kdc`: holds signals back, and then loads what the command needs.

Small on purpose. What comes before the first line of `main` is time in which SIGHUP ends the program.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from orthros_runtime.program import hold_signals, keep_standard_streams

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code. Without `argv`, this process is the program."""
    if argv is None:
        keep_standard_streams()
        if sys.argv[1:2] == ["serve"]:
            hold_signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    from orthros_kdc.process.command import run  # signals are held before anything large is loaded

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
