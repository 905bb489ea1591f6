"""The tables of fields in docs/protocol as the classes know them. `python -m tests.docs.fields` writes them.

A page marks the place with `<!-- fields: CLASS -->`, the class below `orthros_protocol`, and `<!-- end -->`. Number,
name, order, type and range come from the class; what a field means stands in the last column of the page and stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from orthros_protocol.primitives.shape_words import words_of_fields

__all__ = ["PAGES", "page"]

PAGES: Final = sorted((Path(__file__).parents[2] / "docs" / "protocol").glob("*.md"))
_BLOCK: Final = re.compile(r"<!-- fields: ([\w.]+) -->\n(.*?)<!-- end -->", re.DOTALL)
_CELL: Final = re.compile(r"(?<!\\)\|")
_HEAD: Final = "| # | field | type | meaning |\n|---|---|---|---|\n"


def page(text: str) -> str:
    """The page with each table as its class says. A field that the class no longer has goes, with its meaning."""
    return _BLOCK.sub(lambda found: f"<!-- fields: {found[1]} -->\n{_table(found[1], found[2])}<!-- end -->", text)


def _table(place: str, before: str) -> str:
    meanings = _meanings(before)
    module, _, name = place.rpartition(".")
    rows = []
    for field in words_of_fields(getattr(import_module(f"orthros_protocol.{module}"), name)):
        cells = (str(field.at), f"`{field.name}`", field.type.replace("|", "\\|"), meanings.get(field.name, ""))
        rows.append("|" + "".join(f" {cell} |" if cell else " |" for cell in cells) + "\n")
    return _HEAD + "".join(rows)


def _meanings(table: str) -> Mapping[str, str]:
    lines: list[list[Any]] = [[cell.strip() for cell in _CELL.split(line)] for line in table.splitlines()]
    return {cells[2].strip("`"): cells[4] for cells in lines if len(cells) == 6}


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path.read_text("utf-8")), "utf-8")
