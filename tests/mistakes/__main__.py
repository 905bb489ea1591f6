"""`make mistakes`: makes each of the usual mistakes, and prints what its caller reads and what the service logs.

One line a mistake; ends with 1 when a message lacks one of the words that name cause and remedy.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.mistakes.house import House, open_house
from tests.mistakes.rows import ROWS
from tests.mistakes.table import Mistake
from tests.support.peers import locate

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mistakes", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="the functions of these rows alone")
    parser.add_argument("--long", action="store_true", help="what was read and logged on lines of its own, whole")
    chosen = parser.parse_args(arguments)
    known = {mistake.make.__name__ for mistake in ROWS}
    if unknown := set(chosen.names) - known:
        parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    began, silent = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="orthros-mistakes-") as folder, open_house(Path(folder)) as house:
        for number, mistake in enumerate(ROWS, 1):
            if not chosen.names or mistake.make.__name__ in chosen.names:
                silent += not _show(number, mistake, house, whole=chosen.long)
    print(f"{len(ROWS)} mistakes, {time.monotonic() - began:.0f} s: {silent} lack words, or could not be made")
    return 1 if silent else 0


def _show(number: int, mistake: Mistake, house: House, *, whole: bool) -> bool:
    """Makes and prints one; whether every word was there."""
    missing = [program for program in mistake.needs if locate(program) is None]
    if missing:
        print(f"{number}. {mistake.name} | not made: {', '.join(missing)} is not installed")
        return False
    seen = mistake.make(house)
    lacking = mistake.lacking(seen)
    if whole:
        print(f"\n{number}. {mistake.name} (at fault: {mistake.at})")
        print(f"--- caller\n{seen.caller}\n--- service\n{seen.service}")
    else:
        logged = _line(seen.service) or "nothing: no service was asked"
        print(f"{number}. {mistake.name} | at fault: {mistake.at} | caller: {_line(seen.caller)} | service: {logged}")
    for word in lacking:
        print(f"    LACKS: {word}")
    sys.stdout.flush()
    return not lacking


def _line(text: str) -> str:
    return "; ".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
