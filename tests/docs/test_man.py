"""docs/man says what the programs' own help says, and can be shown."""

from __future__ import annotations

import sys

import pytest

from tests.docs.man import FOLDER, pages
from tests.golden.files import PYTHON


@pytest.mark.skipif(sys.version_info[:2] != PYTHON, reason="argparse lays help out in another way in other versions")
def test_the_pages_are_what_the_grammars_make_of_them() -> None:
    assert {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()} == pages(), (
        "write them anew: python -m tests.docs.man"
    )


@pytest.mark.parametrize("name", [path.name for path in sorted(FOLDER.iterdir())])
def test_a_page_has_the_parts_that_readers_look_for(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8")
    for part in (".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", "EXAMPLES", "EXIT CODES"):
        assert part in text
