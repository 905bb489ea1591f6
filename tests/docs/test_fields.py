"""The tables of fields in docs/protocol say what the classes say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.fields import PAGES, page


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_tables_of_fields_are_those_of_the_classes(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text == page(text), "write them anew: python -m tests.docs.fields"


def test_a_meaning_stays_with_its_field_and_the_rest_comes_from_the_class() -> None:
    marked = "<!-- fields: tickets.notes.Note -->\n{}<!-- end -->"
    table = "| 7 | `index` | any | its *place*, 0 \\| 1 |\n| 0 | `gone` | 1 | what was |\n"
    assert page(marked.format(table)) == marked.format(
        "| # | field | type | meaning |\n|---|---|---|---|\n"
        "| 0 | `field` | 1..255 | |\n"
        "| 1 | `cause` | 1..255 | |\n"
        "| 2 | `index` | 0..31 or nil | its *place*, 0 \\| 1 |\n"
    )
