"""What the pages promise, and the tests that fail when a promise is broken: one file of `promises/` for each page.

A file has two parts. `[promises]` has words of the page and the tests behind them. `explanation` lists how the other
units of the page begin: those that explain, limit or point elsewhere, and promise nothing. A unit is a paragraph, a
bullet or a row of a table. Knows no test, and runs none.
"""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.docs.pages import ROOT

__all__ = ["PROMISED", "Promises", "is_a_test", "units_of"]

_FOLDER: Final = Path(__file__).parent / "promises"
_FENCED = re.compile(r"^ *```.*?^ *```$|^<!-- table: .*?^<!-- end -->$", re.DOTALL | re.MULTILINE)
_HEAD_OF_TABLE = re.compile(r"^\|.*\n\|(?:\s*:?-+:?\s*\|)+$", re.MULTILINE)
_BEGINS = re.compile(r"[*-] |\d+\. |\|")


@frozen
class Promises:
    """Of one page."""

    page: Path
    tests: dict[str, list[str]]
    explanation: list[str]

    @classmethod
    def of(cls, file: Path) -> Promises:
        """Reads a file of the folder; its name is that of the page."""
        stated = tomllib.loads(file.read_text("utf-8"))
        name = f"{file.stem}.md"
        page = ROOT / name if (ROOT / name).exists() else ROOT / "docs" / name
        return cls(page=page, tests=stated["promises"], explanation=stated.get("explanation", []))


PROMISED: Final = tuple(Promises.of(file) for file in sorted(_FOLDER.glob("*.toml")))


def units_of(page: Path) -> list[str]:
    """Paragraphs, bullets and rows of tables, each on one line. Without headings, fenced blocks, generated tables."""
    text = _HEAD_OF_TABLE.sub("", _FENCED.sub("", page.read_text("utf-8")))
    units: list[list[str]] = []
    begun = False
    for line in text.splitlines():
        plain = line.strip()
        if not plain or plain.startswith("#"):
            begun = False
        elif begun and not _BEGINS.match(plain):
            units[-1].append(plain)
        else:
            units.append([plain])
            begun = True
    return [" ".join(" ".join(unit).split()) for unit in units]


def is_a_test(name: str) -> bool:
    """Whether `PATH::NAME`, or `PATH::CLASS::NAME`, is a test that pytest would collect."""
    path, _, test = name.partition("::")
    return path.rpartition("/")[2].startswith("test_") and test in _tests_of(ROOT / path)


@cache
def _tests_of(path: Path) -> frozenset[str]:
    if not path.exists():
        return frozenset()
    module = ast.parse(path.read_text("utf-8"))
    inside = [(one.name, one) for one in module.body if isinstance(one, ast.ClassDef) and one.name.startswith("Test")]
    return frozenset(
        {*_names_in(module), *(f"{name}::{test}" for name, body in inside for test in _names_in(body))}
    )  # fmt: skip


def _names_in(place: ast.Module | ast.ClassDef) -> set[str]:
    functions = (one for one in place.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
    return {one.name for one in functions if one.name.startswith("test_")}
