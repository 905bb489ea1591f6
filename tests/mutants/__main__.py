"""`make mutants`: each single fault in the protocol against all vectors; ends with 1 for a fault that none sees.

Faults are made in the modules, in the fields that messages declare, and in the source that is written for each message.
Those that no vector could see are in `survivors.py`, each with its reason. `python -m tests.mutants MODULE ...` tries
only these modules, and `--list` prints every fault instead.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.mutants import vectors as runner
from tests.mutants.faults import Mutant, mutants, survivors
from tests.mutants.sources import MODULES
from tests.mutants.survivors import KNOWN, reason_of

# What the protocol and the runner import besides themselves: once, in the parent, instead of in every child.
_SHARED = (
    "attrs", "cryptography.hazmat.primitives.ciphers.aead", "ctypes", "ipaddress", "jwt", "msgpack", "resource",
    "tempfile", "threading",
)  # fmt: skip


def _tell(mutant: Mutant) -> None:
    """Names a survivor without a reason as soon as it is known."""
    if reason_of(mutant.label) is None:
        print(f"no vector sees {mutant.label}  ({mutant.place}, {len(mutant.vectors)} vectors run through it)",
              flush=True)  # fmt: skip


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="modules of orthros_protocol; all by default")
    parser.add_argument("--list", action="store_true", help="print the faults, and try none")
    options = parser.parse_args(arguments)
    if unknown := set(options.modules) - set(MODULES):
        parser.error(f"no module is called {', '.join(sorted(unknown))}")
    for name in _SHARED:
        __import__(name)
    if any(name.startswith("orthros_") for name in sys.modules):
        raise RuntimeError("the protocol is imported already, so no child could import a changed one")
    began = time.monotonic()
    vectors = runner.load()
    everything = mutants(vectors)
    chosen = [one for one in everything if one.source.module in (options.modules or MODULES)]
    if options.list:
        print(*(one.label for one in chosen), sep="\n")
        return 0
    alive = survivors(chosen, vectors, _tell)
    unseen = [one for one in alive if reason_of(one.label) is None]
    stale = _stale(everything, chosen, alive)
    print(*stale, sep="\n", end="\n" if stale else "")
    print(f"{len(chosen)} faults in {time.monotonic() - began:.0f} s: {len(chosen) - len(alive)} seen by a vector, "
          f"{len(alive) - len(unseen)} that none could see, {len(unseen)} that none sees")  # fmt: skip
    return 1 if unseen or stale else 0


def _stale(everything: list[Mutant], chosen: list[Mutant], alive: list[Mutant]) -> list[str]:
    """What is wrong with an entry of the table: it names no fault, or one that a vector sees."""
    labels, living = [one.label for one in everything], {one.label for one in alive}
    seen = [one.label for one in chosen if one.label not in living]
    found = []
    for entry in KNOWN:
        if not any(map(entry.names, labels)):
            found.append(f"survivors.py: there is no fault {entry.pattern}")
        found += [f"survivors.py: {entry.pattern} is seen: {label}" for label in seen if entry.names(label)]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
