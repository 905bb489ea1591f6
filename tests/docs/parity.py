"""docs/parity.md: what users of other systems get here, and the tests that show it.

The rows stand in `parity.toml`; a test names those that it shows: `@pytest.mark.parity("L29")`, or `pytestmark` for a
whole file. `python -m tests.docs.parity` writes the page. Reads the tests without running them.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["PAGE", "page", "rows", "shown"]

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "parity.md"
_TABLE: Final = Path(__file__).with_name("parity.toml")
_MOST_FILES: Final = 3
_COLUMNS: Final = "| row | what they have | what they get here | shown by |\n|---|---|---|---|\n"
_HEAD: Final = """\
# What users of other systems get here

Each row is something that users of another system have, and what they get here instead. The last column is where it is
shown: the files of the tests that carry the row's name as a marker, `@pytest.mark.parity("L29")`, those with the most
such tests first. **Not built** is what no test shows, except figures, which no test asserts: see `make bench`. Written
by `python -m tests.docs.parity`.
"""


def sections() -> Sequence[Mapping[str, Any]]:
    """The sections of the table: a title, and rows by name."""
    found: Sequence[Mapping[str, Any]] = tomllib.loads(_TABLE.read_text("utf-8"))["section"]
    return found


def rows() -> set[str]:
    """The names of all rows."""
    return {name for section in sections() for name in section["rows"]}


def shown() -> dict[str, dict[str, int]]:
    """How many tests of which files name each row."""
    found: dict[str, dict[str, int]] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        source = path.read_text("utf-8")
        if "mark.parity(" not in source or path.parent == Path(__file__).parent:
            continue
        place = path.relative_to(ROOT).as_posix()
        for name in _named(ast.parse(source)):
            files = found.setdefault(name, {})
            files[place] = files.get(place, 0) + 1
    return found


def _named(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="parity"), args=names):
                yield from (str(name.value) for name in names if isinstance(name, ast.Constant))


def page() -> str:
    """The whole page."""
    tests = shown()
    parts = [_HEAD]
    for section in sections():
        parts.append(
            f"\n## {section['title']}\n\n| row | what they have | what they get here | shown by |\n|---|---|---|---|\n"
        )
        for name, (has, gets) in section["rows"].items():
            parts.append(f"| {name} | {has} | {gets} | {_places(tests.get(name, {}))} |\n")
    return "".join(parts)


def _places(files: Mapping[str, int]) -> str:
    if not files:
        return "**not built**"
    most = sorted(files, key=lambda place: (-files[place], place))
    told = [f"[{place.removeprefix('tests/')}](../{place})" for place in most[:_MOST_FILES]]
    return ", ".join(told) + (", and others" if len(most) > _MOST_FILES else "")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
