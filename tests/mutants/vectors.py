"""The vectors against one version of the protocol, in a process of its own that never returns.

The parent must not have imported the protocol. A fault in what runs at import takes a child that imports the protocol
anew with one module changed. Every other fault is one function with other code, in a child of a process that has
imported the protocol already: that takes a tenth of the time.
"""

from __future__ import annotations

import ast
import gc
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
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, TypeVar

from attrs import frozen

from tests.mutants.sources import PACKAGE, ROOT, Source, is_ours, written

MOST_SECONDS = 60  # of the processor: a busy machine does not make a fault
MOST_SECONDS_OF_ALL = 3600
MOST_MEMORY = 4 * 1024**3
SURVIVED, CAUGHT, FAILED = 0, 1, 2

Vector = dict[str, Any]
_T = TypeVar("_T")


def load() -> list[Vector]:
    """Every vector of the files."""
    files = sorted((ROOT / "tests" / "vectors").glob("*.json"))
    return [vector for path in files for vector in json.loads(path.read_text(encoding="utf-8"))["vectors"]]


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
    status = FAILED
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (most_seconds, most_seconds))
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
        status = work()
    except BaseException:  # noqa: BLE001  # told, and the parent gives up
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def told_by_child(work: Callable[[], _T]) -> _T:
    """What `work` gives in a process of its own. Raises RuntimeError where it gives nothing."""
    reading, writing = os.pipe()

    def tell() -> int:
        with open(writing, "wb") as pipe:
            pickle.dump(work(), pipe)
        return SURVIVED

    process = in_child(tell, MOST_SECONDS_OF_ALL)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(process, 0)
    if status:
        raise RuntimeError("a process that all others depend on has failed")
    found: _T = pickle.loads(told)  # our own child wrote it
    return found


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed tree."""

    def __init__(self, name: str, source: Source, tree: ast.Module) -> None:
        self.name, self.source, self.tree = name, source, tree

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=self.source.file)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.tree, self.source.file, "exec"), module.__dict__)  # the very point


def judged_anew(source: Source, number: int, vectors: list[Vector]) -> int:
    """Whether any of these vectors sees the fault, where the protocol is not imported yet."""
    parts = os.path.relpath(source.file, PACKAGE.parent).removesuffix(".py").split(os.sep)
    sys.meta_path.insert(0, _Changed(".".join(parts), source, source.broken(number)))
    try:
        return SURVIVED if disagreeing(vectors) is None else CAUGHT
    except BaseException:  # noqa: BLE001  # a protocol that cannot even be imported is a fault that was seen
        return CAUGHT


Functions = dict[tuple[str, str], FunctionType]


def functions() -> Functions:
    """The functions and methods of the imported protocol, by the file and the name that their code has."""
    found: dict[tuple[str, str], list[FunctionType]] = {}
    for one in gc.get_objects():
        # Code for a closure must name the same variables, which a fault may leave out.
        if type(one) is FunctionType and one.__closure__ is None and is_ours(one.__code__.co_filename):
            found.setdefault((one.__code__.co_filename, one.__code__.co_qualname), []).append(one)
    # Two functions of one name, as of a property, or made again and again: a changed code is not for all of them.
    return {name: same[0] for name, same in found.items() if len(same) == 1}


def judged_by_code(source: Source, number: int, function: FunctionType, vectors: list[Vector]) -> int:
    """Whether any of these vectors sees the fault, where the protocol is imported and the fault is in `function`."""
    [code] = _codes(compile(source.broken(number), source.file, "exec"), function.__code__.co_qualname)
    function.__code__ = code
    try:
        return SURVIVED if disagreeing(vectors) is None else CAUGHT
    except BaseException:  # noqa: BLE001  # no vector ends a process
        return CAUGHT


def _codes(code: CodeType, name: str) -> list[CodeType]:
    inner = [one for one in code.co_consts if isinstance(one, CodeType)]
    return [one for one in inner if one.co_qualname == name] + [found for one in inner for found in _codes(one, name)]


@frozen
class Survey:
    """The imported protocol: what it wrote, what ran meanwhile, and which vectors enter each function.

    Functions are called by their file, and their name without `<locals>`.
    """

    sources: list[Source]
    at_import: set[tuple[str, str]]
    calling: dict[tuple[str, str], list[int]]
    replaceable: set[tuple[str, str]]


def survey(vectors: list[Vector]) -> Survey:
    """Made in a child, for the parent must not import the protocol."""
    at_import = _entered(lambda: disagreeing([]))
    caches = [
        one.cache_clear
        for name, module in list(sys.modules.items())
        if name.startswith("orthros_")
        for one in vars(module).values()
        if hasattr(one, "cache_clear")
    ]
    calling: dict[tuple[str, str], list[int]] = {}
    for at, vector in enumerate(vectors):
        for clear in caches:
            clear()
        for name in _entered(partial(disagreeing, [vector])):
            calling.setdefault(name, []).append(at)
    return Survey(written(), at_import, calling, set(functions()))


def _entered(work: Callable[[], object]) -> set[tuple[str, str]]:
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
    return {(code.co_filename, _named(code)) for code in entered if is_ours(code.co_filename)}


def _named(code: CodeType) -> str:
    name = code.co_qualname.replace(".<locals>", "")
    # A lambda or a comprehension is part of the function around it.
    while name.rpartition(".")[2].startswith("<"):
        name = name.rpartition(".")[0]
    return name
