"""docs/matrix.md says what the lock file and the tests say."""

from __future__ import annotations

from tests.docs.matrix import PAGE, ROOT, SECTIONS, names_of_tests, page, versions
from tests.e2e.test_every_server import SERVERS

ROWS = [row for rows in SECTIONS.values() for row in rows]


def test_the_page_is_what_the_lock_file_makes_of_it() -> None:
    assert PAGE.read_text("utf-8") == page(), "write it anew: python -m tests.docs.matrix"


def test_each_row_has_its_test_and_its_version() -> None:
    for row in ROWS:
        path, _, test = row.test.partition("::")
        assert test in names_of_tests(ROOT / path), row
        assert row.distribution in versions(), row


def test_each_server_that_is_tested_has_a_row() -> None:
    """By the beginning of its name; wsgiref comes with Python."""
    named = " ".join(f"{row.name} {row.distribution}" for row in SECTIONS["Servers"]).lower()
    missing = {name for name in SERVERS if name.split("-")[0] not in named}
    assert missing == {"wsgiref"}
