"""The vectors against one version of the protocol, in a process of its own that never returns.

The parent must not have imported the protocol: each child imports it anew, with at most one module changed.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.util
import json
import os
import pickle
import resource
import sys
from collections.abc import Callable, Iterable
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from tests.mutants.mutators import sites

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "protocol" / "orthros_protocol"
# Modules by the last part of their names, which no two share.
MODULES = {
    path.stem: str(path.relative_to(ROOT))
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent == PACKAGE or path.stem != "__init__"
}
MOST_SECONDS = 60  # of the processor: a busy machine does not make a fault
MOST_MEMORY = 4 * 1024**3
SURVIVED, CAUGHT = 0, 1

Vector = dict[str, Any]


def load() -> list[Vector]:
    """Every vector of the files."""
    files = sorted((ROOT / "tests" / "vectors").glob("*.json"))
    return [vector for path in files for vector in json.loads(path.read_text(encoding="utf-8"))["vectors"]]


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed tree."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name, self.path, self.tree = name, path, tree

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=str(self.path))

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.tree, str(self.path), "exec"), module.__dict__)  # the very point


def install(module: str, source: str, number: int) -> None:
    """From now on, this module of the protocol is imported from `source` with its fault of this number."""
    path = ROOT / MODULES[module]
    tree = ast.parse(source)
    sites(tree)[number].apply()
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    sys.meta_path.insert(0, _Changed(name, path, tree))


def disagreeing(vectors: Iterable[Vector]) -> str | None:
    """The name of the first vector that another reader would see broken, or None. Stages are not compared."""
    from orthros_protocol.errors import OrthrosError
    from workshop.vectors import integers
    from workshop.vectors.operations import OPERATIONS

    for vector in vectors:
        try:
            found: Any = {"out": integers.written(OPERATIONS[vector["op"]](integers.read(vector["in"])))}
        except OrthrosError as error:
            found = {"code": error.code}
        except Exception as error:  # noqa: BLE001  # whatever else a broken protocol raises
            return f"{vector['name']}: {type(error).__name__}"
        if found != {key: vector[key] for key in ("out", "code") if key in vector}:
            return str(vector["name"])
    return None


def in_child(work: Callable[[], int], most_seconds: int = MOST_SECONDS) -> int:
    """Starts `work` in a process that ends with its result, or is ended by a signal. Gives the process id."""
    process = os.fork()
    if process:
        return process
    status = CAUGHT
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (most_seconds, most_seconds))
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        status = work()
    except BaseException:  # noqa: BLE001  # a protocol that cannot even be imported is a fault that was seen
        status = CAUGHT
    finally:
        os._exit(status)


def judged(module: str, source: str, number: int, vectors: list[Vector]) -> int:
    """Work for a child: whether any of these vectors sees the fault."""
    install(module, source, number)
    return SURVIVED if disagreeing(vectors) is None else CAUGHT


def callers(vectors: list[Vector]) -> tuple[set[str], dict[str, list[int]]]:
    """Functions of the protocol as `module:qualified.name`: those that run at import, and who calls the others."""
    reading, writing = os.pipe()

    def work() -> int:
        with open(writing, "wb") as pipe:
            pickle.dump(_traced(vectors), pipe)
        return SURVIVED

    process = in_child(work, 10 * MOST_SECONDS)
    os.close(writing)
    with open(reading, "rb") as pipe:
        found: tuple[set[str], dict[str, list[int]]] = pickle.load(pipe)  # our own child wrote it
    os.waitpid(process, 0)
    return found


def _traced(vectors: list[Vector]) -> tuple[set[str], dict[str, list[int]]]:
    at_import = _entered(lambda: disagreeing([]))
    caches = [
        one.cache_clear
        for name, module in list(sys.modules.items())
        if name.startswith("orthros_")
        for one in vars(module).values()
        if hasattr(one, "cache_clear")
    ]
    calling: dict[str, list[int]] = {}
    for at, vector in enumerate(vectors):
        for clear in caches:
            clear()
        for name in _entered(partial(disagreeing, [vector])):
            calling.setdefault(name, []).append(at)
    return at_import, calling


def _entered(work: Callable[[], object]) -> set[str]:
    """The functions of the protocol that run meanwhile."""
    entered: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            entered.add(frame.f_code)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return {name for name in map(_named, entered) if name is not None}


def _named(code: CodeType) -> str | None:
    path = Path(code.co_filename)
    if PACKAGE not in path.parents:
        return None
    name = code.co_qualname.replace(".<locals>", "")
    # A lambda or a comprehension is part of the function around it.
    while name.rpartition(".")[2].startswith("<"):
        name = name.rpartition(".")[0]
    return f"{path.stem}:{name}"
