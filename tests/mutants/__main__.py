"""`make mutants`: each single fault in the protocol against all vectors; ends with 1 for a fault that none sees.

Faults that no vector could see are in `survivors.py`, each with its reason. `python -m tests.mutants MODULE ...` does
only these modules, and `--list` prints every fault instead.
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
import time
from functools import partial

from attrs import frozen

from tests.mutants import vectors as runner
from tests.mutants.mutators import Site, sites
from tests.mutants.survivors import KNOWN, reason_of

AT_A_TIME = 2
# What the protocol and the runner import besides themselves: once, in the parent, instead of in every child.
_SHARED = (
    "attrs", "cryptography.hazmat.primitives.ciphers.aead", "ctypes", "ipaddress", "jwt", "msgpack", "resource",
    "tempfile", "threading",
)  # fmt: skip


@frozen
class Mutant:
    """One fault of one module, and the vectors that run through it."""

    module: str
    source: str
    number: int
    site: Site
    vectors: list[runner.Vector]

    @property
    def label(self) -> str:
        return f"{self.module}.{self.site.label}"


def mutants(modules: list[str]) -> list[Mutant]:
    """Every fault of these modules."""
    everything = runner.load()
    at_import, calling = runner.callers(everything)
    made = []
    for module in modules:
        source = (runner.ROOT / runner.MODULES[module]).read_text(encoding="utf-8")
        for number, site in enumerate(sites(ast.parse(source))):
            name = f"{module}:{site.function}"
            always = not site.function or name in at_import
            chosen = everything if always else [everything[at] for at in calling.get(name, [])]
            made.append(Mutant(module, source, number, site, chosen))
    return made


def survivors(chosen: list[Mutant]) -> list[Mutant]:
    """Those that no vector sees, in order. Two processes at a time; the first vector that sees a fault ends its run."""
    running: dict[int, Mutant] = {}
    alive: list[Mutant] = []

    def finish() -> None:
        process, status = os.wait()
        mutant = running.pop(process)
        if status == runner.SURVIVED:
            alive.append(mutant)
            _tell(mutant)

    for mutant in chosen:
        if not mutant.vectors:
            alive.append(mutant)
            _tell(mutant)
            continue
        if len(running) == AT_A_TIME:
            finish()
        process = runner.in_child(partial(runner.judged, mutant.module, mutant.source, mutant.number, mutant.vectors))
        running[process] = mutant
    while running:
        finish()
    return sorted(alive, key=lambda one: (one.module, one.number))


def _tell(mutant: Mutant) -> None:
    """Names a survivor without a reason as soon as it is known."""
    if reason_of(mutant.label) is None:
        print(f"no vector sees {mutant.label}  ({runner.MODULES[mutant.module]}:{mutant.site.line}, "
              f"{len(mutant.vectors)} vectors run through it)", flush=True)  # fmt: skip


def main(arguments: list[str]) -> int:
    everywhere = sorted(runner.MODULES)
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="modules of orthros_protocol; all by default")
    parser.add_argument("--list", action="store_true", help="print the faults, and try none")
    options = parser.parse_args(arguments)
    if unknown := set(options.modules) - set(everywhere):
        parser.error(f"no module is called {', '.join(sorted(unknown))}")
    for name in _SHARED:
        __import__(name)
    if any(name.startswith("orthros_") for name in sys.modules):
        raise RuntimeError("the protocol is imported already, so no child could import a changed one")
    began = time.monotonic()
    chosen = mutants(options.modules or everywhere)
    if options.list:
        print(*(one.label for one in chosen), sep="\n")
        return 0
    alive = survivors(chosen)
    seen = [one for one in alive if reason_of(one.label) is None]
    stale = _stale(chosen, alive, everything=not options.modules)
    for entry in stale:
        print(f"survivors.py lists what does not survive, or does not exist: {entry}")
    print(f"{len(chosen)} faults in {time.monotonic() - began:.0f} s: {len(chosen) - len(alive)} seen by a vector, "
          f"{len(alive) - len(seen)} that none could see, {len(seen)} that none sees")  # fmt: skip
    return 1 if seen or stale else 0


def _stale(chosen: list[Mutant], alive: list[Mutant], *, everything: bool) -> list[str]:
    """Entries of the table that a vector sees by now, or that name no fault."""
    living = {one.label for one in alive}
    stale = []
    for entry in KNOWN:
        named = [one.label for one in chosen if entry.names(one.label)]
        if (everything and not named) or any(label not in living for label in named):
            stale.append(entry.pattern)
    return stale


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
