"""The texts in which a fault can be: the modules of the protocol, and what `schema.py` writes for each message."""

from __future__ import annotations

import ast
import linecache
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.mutants.declarations import declared
from tests.mutants.mutators import Site, numbered, positions, sites

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "protocol" / "orthros_protocol"
_WRITTEN: Final = f"<message {PACKAGE.name}."
# Modules by the last part of their names, which no two share.
MODULES: Final = {
    path.stem: str(path.relative_to(ROOT))
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.parent == PACKAGE or path.stem != "__init__"
}


@frozen
class Source:
    """A text of the module `module`. `owner` is the class that it was written for, empty for the module itself.

    `file` is what code objects of it have as their file.
    """

    module: str
    owner: str
    file: str
    text: str

    @property
    def is_written(self) -> bool:
        """Whether the protocol writes this text itself."""
        return bool(self.owner)

    def label(self, site: Site) -> str:
        """The name of a fault, as `survivors.py` has it."""
        return ".".join(part for part in (self.module, self.owner, site.label) if part)

    def faults(self, tree: ast.Module) -> list[Site]:
        """All of them, in a tree of this text."""
        return numbered([*sites(tree), *(positions(tree) if self.is_written else declared(tree))])

    def broken(self, number: int) -> ast.Module:
        """The tree with the fault of this number."""
        tree = ast.parse(self.text)
        self.faults(tree)[number].apply()
        return tree


def read(module: str) -> Source:
    """A module as it lies there."""
    path = ROOT / MODULES[module]
    return Source(module, "", str(path), path.read_text(encoding="utf-8"))


def written() -> list[Source]:
    """What was written for the messages. The protocol must have been imported."""
    found = []
    for file in sorted(linecache.cache):
        if file.startswith(_WRITTEN):
            module, owner = file.removesuffix(", items>").rstrip(">").rsplit(".", 2)[-2:]
            found.append(Source(module, owner, file, "".join(linecache.getlines(file))))
    return found


def is_ours(file: str) -> bool:
    """Whether a code object of this file is the protocol's."""
    return file.startswith(_WRITTEN) or PACKAGE in Path(file).parents
