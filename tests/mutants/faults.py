"""All faults that are tried, each with the vectors that could see it, and the trying."""

from __future__ import annotations

import ast
import gc
import os
from collections.abc import Callable
from functools import partial

from attrs import frozen

from tests.mutants import vectors as runner
from tests.mutants.mutators import Site
from tests.mutants.sources import MODULES, Source, read

AT_A_TIME = 2


@frozen
class Mutant:
    """One fault of one text, and the vectors that run through it.

    `function` is what gets other code, as `runner.functions` has it; None for what takes a new import.
    """

    source: Source
    number: int
    site: Site
    vectors: list[int]
    function: tuple[str, str] | None

    @property
    def label(self) -> str:
        return self.source.label(self.site)

    @property
    def place(self) -> str:
        """File and line, for people."""
        file = self.source.file if self.source.is_written else MODULES[self.source.module]
        return f"{file}:{self.site.line}"


def mutants(everything: list[runner.Vector]) -> list[Mutant]:
    """Every fault of the protocol, module by module."""
    survey = runner.told_by_child(partial(runner.survey, everything))
    made = []
    for source in [*map(read, MODULES), *survey.sources]:
        files = {source.file, *(one.file for one in survey.sources if one.module == source.module)}
        near = {at for (file, _), calling in survey.calling.items() if file in files for at in calling}
        nearest_first = sorted(range(len(everything)), key=lambda at: at not in near)
        for number, site in enumerate(source.faults(ast.parse(source.text))):
            name = (source.file, site.function)
            always = not site.function or name in survey.at_import
            chosen = nearest_first if always else survey.calling.get(name, [])
            function = None if always or name not in survey.replaceable else name
            if source.is_written and function is None:
                raise RuntimeError(f"{source.label(site)}: what is written for a message must not run at import")
            made.append(Mutant(source, number, site, chosen, function))
    return sorted(made, key=lambda one: one.source.module)


def survivors(chosen: list[Mutant], everything: list[runner.Vector], tell: Callable[[Mutant], None]) -> list[Mutant]:
    """Those that no vector sees, in order. Each is told as soon as it is known.

    What takes no new import comes first, in a process that has imported the protocol.
    """
    unreached = [at for at, one in enumerate(chosen) if not one.vectors]
    for at in unreached:
        tell(chosen[at])
    anew = [at for at, one in enumerate(chosen) if one.vectors and one.function is None]
    by_code = [at for at, one in enumerate(chosen) if one.vectors and one.function is not None]

    def imported() -> list[int]:
        runner.disagreeing([])
        functions = runner.functions()
        gc.freeze()
        return _alive(by_code, partial(_judged, chosen, everything, functions), lambda at: tell(chosen[at]))

    alive = runner.told_by_child(imported)
    alive += _alive(anew, partial(_judged, chosen, everything, {}), lambda at: tell(chosen[at]))
    return [chosen[at] for at in sorted([*unreached, *alive])]


def _judged(chosen: list[Mutant], everything: list[runner.Vector], functions: runner.Functions, at: int) -> int:
    one = chosen[at]
    vectors = [everything[vector] for vector in one.vectors]
    if one.function is None:
        return runner.judged_anew(one.source, one.number, vectors)
    return runner.judged_by_code(one.source, one.number, functions[one.function], vectors)


def _alive(tried: list[int], judge: Callable[[int], int], tell: Callable[[int], None]) -> list[int]:
    """Those that survive. Two processes at a time; the first vector that sees a fault ends its run."""
    running: dict[int, int] = {}
    alive: list[int] = []

    def finish() -> None:
        process, status = os.wait()
        at = running.pop(process)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == runner.FAILED:
            raise RuntimeError("a fault could not be tried: its process says above why")
        if status == runner.SURVIVED:
            alive.append(at)
            tell(at)

    for at in tried:
        if len(running) == AT_A_TIME:
            finish()
        running[runner.in_child(partial(judge, at))] = at
    while running:
        finish()
    return alive
