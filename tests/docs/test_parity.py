"""docs/parity.md says what the markers of the tests say."""

from __future__ import annotations

from tests.docs.parity import PAGE, page, rows, shown


def test_the_page_is_what_rows_and_markers_make_of_it() -> None:
    assert PAGE.read_text("utf-8") == page(), "write it anew: python -m tests.docs.parity"


def test_markers_name_rows_of_the_table() -> None:
    assert shown().keys() - rows() == set()
