"""The comparison of two versions: its cases are always the same, two equal versions agree, and a fault is found."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from tests.differential import begin
from tests.differential.__main__ import main
from tests.differential.corpus import EVERY_FORGE, Case, case, cases
from tests.differential.decided import DECIDED, Decided
from tests.differential.forging import Faults
from tests.differential.inputs import README, vectors
from tests.differential.items import FORBIDDEN, longer, read, written
from tests.differential.report import Report
from tests.support import naive, second_implementation

FEW = 2_000
ROOT = Path(__file__).parents[2]


def test_the_cases_are_the_same_every_time() -> None:
    once, again, others = ([json.dumps(one.as_json()) for one in cases(300, seed)] for seed in (1, 1, 2))
    assert once == again
    assert once != others
    assert len(set(once)) > 250


def test_a_case_can_be_made_alone_by_its_number() -> None:
    assert list(cases(FEW, 1))[-1] == case(FEW - 1, 1, FEW)


def test_few_cases_hold_every_operation_and_many_that_are_sealed_again() -> None:
    few = list(cases(FEW, 1))
    assert {one.op for one in few} == set(README.operations)
    assert {one.op for one in few if one.way == "sealed"} == set(EVERY_FORGE)
    assert sum(one.way == "sealed" for one in few) > FEW / 4


@pytest.mark.parametrize("op", sorted(EVERY_FORGE))
def test_what_is_opened_and_sealed_again_without_a_fault_is_accepted_as_before(op: str) -> None:
    granted = [one["in"] for one in vectors() if one["op"] == op and "out" in one]
    assert granted
    for given in granted:
        again = EVERY_FORGE[op].work(Faults(random.Random(1), ()), given)
        assert "out" in second_implementation.outcome(op, again)


@pytest.mark.parametrize("item", [0, 1, 200, 2**40, -1, "a", "é" * 40, b"", bytes(40), [], [1, "a", b"b", [None]]])
def test_an_item_is_written_as_msgpack_writes_it_and_a_longer_form_is_read_by_nobody(item: object) -> None:
    assert written([item]) == naive.enc(item)
    assert read(naive.enc(item)) == [item]
    with pytest.raises(ValueError, match=r"."):
        naive.strict(written([longer(item)]))


@pytest.mark.parametrize("item", FORBIDDEN)
def test_forbidden_items_are_read_by_nobody(item: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        naive.strict(written([item]))


def test_two_equal_versions_agree_on_all_that_the_page_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--same", "--cases", str(FEW)]) == 0
    said = capsys.readouterr().out
    assert "0 differences of 0 kinds that nobody has decided" in said
    row = re.search(r"\nkdc +(\d+) +\1 +0 +0 +(\d+) +(\d+)\n", said)
    assert row, said
    asked, sealed, words = map(int, row.groups())
    assert asked > sealed > FEW / 100
    assert words > 15


def test_a_fault_is_found_and_printed_with_its_case(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--same", "--cases", str(FEW), "--accept", "clock-skew"]) == 1
    said = capsys.readouterr().out
    assert "accept: " in said
    assert "  old: clock-skew: ... s ahead, at most ... s\n  new: accepted\n" in said
    number = said.partition("  case ")[2].partition(" ")[0]
    assert main(["--same", "--cases", str(FEW), "--only", number, "--accept", "clock-skew"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["old"]["refused"]["code"] == "clock-skew"
    assert alone["new"] == {"out": {}}


def _report(*decided: Decided) -> Report:
    report = Report(decided)
    one = Case(7, "name", {"text": "A"}, "changed", "name: capital")
    refused = {"refused": {"code": "name-invalid", "detail": "'A' at 0"}}
    report.note(one, refused, {"out": {"name": "A"}})
    report.note(one, refused, {"refused": {"code": "name-invalid", "detail": "'A' at 1"}})
    report.note(one, {"raised": "KeyError"}, {"raised": "TypeError"})
    report.note(one, {"unknown": "name"}, refused)
    return report


def test_what_a_whole_kdc_does_otherwise_is_told_by_its_events() -> None:
    report = Report()
    granted, refused = ({"out": {"answers": [one], "said": [one]}} for one in ("tgs-issued", "tgs-refused/not-granted"))
    report.note(Case(7, "kdc", {}, "sealed", "a realm"), refused, granted)
    assert [(one.old, one.new) for one in report.undecided] == [("tgs-refused/not-granted", "tgs-issued")]


@pytest.mark.parametrize(("field", "is_decided"), [("detail", True), ("source", False), ("ref", False)])
def test_of_events_of_malformed_requests_only_the_detail_may_differ(field: str, is_decided: bool) -> None:
    report = Report(DECIDED)
    event = {"event": "request-rejected", "code": "malformed", "source": "192.0.2.1", "detail": "a", "ref": "0"}
    old, new = (
        {"out": {"answers": ["nak"], "said": ["request-rejected/malformed"], "events": [event | {field: value}]}}
        for value in ("one", "two")
    )
    report.note(Case(7, "kdc", {}, "changed", "a realm"), old, new)
    assert (report.undecided == []) is is_decided
    report.note(Case(8, "kdc", {}, "changed", "a realm"), old, {"out": new["out"] | {"answers": ["other"]}})
    assert report.undecided


def test_a_difference_that_a_page_decides_is_told_as_such() -> None:
    page = "docs/protocol/names.md"
    report = _report(Decided("name", "name-invalid: *", "accepted", page), Decided("scope", "*", "*", page))
    assert [one.new for one in report.undecided] == ["name-invalid: ... at ... [differs in detail]"]
    assert [one.op for one in report.stale] == ["scope"]
    said = "\n".join(report.lines())
    assert f"name: 1 cases, decided by {page}" in said
    assert "not compared, since one version does not know them: name" in said


def test_every_decision_names_a_page_that_exists() -> None:
    assert [one for one in DECIDED if not (ROOT / one.page.partition("#")[0]).is_file()] == []


def test_a_clone_without_the_commit_says_what_to_do() -> None:
    with pytest.raises(begin.NotBuilt, match=r"does not hold commit 0{40}.* `git fetch --unshallow`"):
        begin.built("0" * 40)
