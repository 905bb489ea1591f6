"""The table of faults in docs/operations.md: every fault that `make chaos` plays, and every promise kept.

Before it is written for the first time, the page says so.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.chaos.faults import ALL, HEAD, UNPROMISED, Fault, Outage, rows_of, written
from tests.chaos.kdc import FAULTS
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "operations.md"
ANEW = 'write it anew: make chaos CHAOS="--only kdc --write docs/operations.md"'


def test_the_table_has_one_row_for_each_fault() -> None:
    assert list(rows_of(PAGE.read_text("utf-8"))) == [fault.words for fault in FAULTS], ANEW


def test_the_figures_keep_what_is_promised() -> None:
    rows = rows_of(PAGE.read_text("utf-8"))
    for fault in FAULTS:
        assert_kept(fault, rows[fault.words])


def assert_kept(fault: Fault, row: tuple[str, ...]) -> None:
    cells = dict(zip(HEAD[1:], row, strict=True))
    assert int(cells["runs"]) >= (100 if "`audit.sync` always" in fault.words else 1)
    for name, cell in zip(ALL, row[1:4], strict=True):
        assert (cell == "**0**") is (name in fault.zero), (fault.words, name, cell)
    took = [float(number) for number in re.findall(r"[0-9.]+", cells["recovery: median, worst"])]
    assert fault.within_s is not None
    assert len(took) == 2
    assert max(took) <= fault.within_s, fault.words
    assert cells["at most"] == f"{fault.within_s:g} s"


def _fault(**promises: object) -> Fault:
    return Fault(words="a fault", play=lambda *_: None, **promises)  # type: ignore[arg-type]


def _outage(fault: Fault, **figures: object) -> Outage:
    outage = Outage(fault, **figures)  # type: ignore[arg-type]
    outage.end()
    return outage


@pytest.mark.parametrize(
    ("promises", "figures", "broken"),
    [
        ({"within_s": 5}, {"runs": 1, "failed": 0, "unrecorded": 0, "lost": 0, "recoveries": [4.9]}, None),
        ({}, {"runs": 1, "failed": 0, "unrecorded": 1, "lost": 0}, "unrecorded is 1"),
        ({}, {"runs": 1, "failed": 0, "unrecorded": 0}, "lost is None"),
        ({"zero": ()}, {"runs": 1, "failed": 7}, None),
        ({"zero": ()}, {}, "nothing was done"),
        ({"zero": (), "within_s": 5}, {"runs": 1, "recoveries": [1.0, 5.1]}, "took 5.1 s"),
        ({"zero": (), "within_s": 5}, {"runs": 1}, "no recovery"),
    ],
)
def test_a_figure_that_breaks_a_promise_is_named(
    promises: dict[str, object], figures: dict[str, object], broken: str | None
) -> None:
    found = _outage(_fault(**promises), **figures).broken
    assert (not found) if broken is None else (broken in found[0])


def test_the_table_is_written_between_its_marks_and_read_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- chaos:begin -->\nold\n<!-- chaos:end -->\nafter\n")
    fault = _fault(zero=("failed",), within_s=5)
    written(page, "make chaos", [_outage(fault, runs=3, failed=0, recoveries=[0.5, 2.0, 1.0])])
    text = page.read_text()
    assert text.startswith("before\n<!-- chaos:begin -->\n`make chaos`, ")
    assert text.endswith("<!-- chaos:end -->\nafter\n")
    assert rows_of(text) == {"a fault": ("3", "**0**", UNPROMISED, UNPROMISED, "1.0 s, 2.0 s", "5 s")}
