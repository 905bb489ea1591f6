"""The story: what a step says, when it is a surprise, and how it looks in a log."""

from __future__ import annotations

import io

import pytest

from orthros_protocol.errors import Refused
from workshop.tour.story import Story, Surprise, readable


def told(width: int = 80, *, coloured: bool = False) -> tuple[Story, io.StringIO]:
    out = io.StringIO()
    return Story(out, coloured=coloured, width=width), out


def test_step_that_ends_as_expected_is_one_line() -> None:
    story, out = told()
    with story.step("a call", "accepted", "shop -> orders") as step:
        step.saw("accepted", "accepted as shop@corp.example", took_ms=0.94)
    line = out.getvalue()
    assert line.endswith("shop -> orders: accepted as shop@corp.example (0.9 ms)\n")
    assert line.startswith("  0.0")
    (row,) = story.rows
    assert (row.name, row.expected, row.seen, row.took_ms) == ("a call", "accepted", "accepted", 0.94)


def test_refusal_is_explained_with_cause_and_remedy() -> None:
    story, out = told(60)
    with story.step("a replay", "replayed") as step:
        step.saw("replayed")
        step.explain(Refused("replayed", "seen 3 s ago"))
    lines = out.getvalue().splitlines()[1:]
    assert lines[0].split() == ["code", "replayed"]
    cause = "cause This exact request was presented before, or it is too old to tell. (seen 3 s ago)"
    assert " ".join(" ".join(lines[1:4]).split()) == cause
    assert any(line.split()[:1] == ["remedy"] for line in lines)
    assert max(map(len, lines)) <= 60


def test_step_that_ends_otherwise_is_a_surprise() -> None:
    story, _ = told()
    expected = "step 'a replay': expected 'replayed', saw 'accepted'"
    with pytest.raises(Surprise, match=expected), story.step("a replay", "replayed") as step:
        step.saw("accepted")
    assert story.rows[-1].seen == "accepted"


def test_step_that_says_nothing_is_a_surprise() -> None:
    story, _ = told()
    with pytest.raises(Surprise), story.step("a replay", "replayed"):
        pass


def test_step_that_breaks_is_a_surprise_that_names_it() -> None:
    story, _ = told()
    expected = "step 'a replay': expected 'replayed', but: nobody is there"
    with pytest.raises(Surprise, match=expected) as caught, story.step("a replay", "replayed"):
        raise ConnectionError("nobody is there")
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert story.rows[-1].seen == "ConnectionError"


def test_summary_is_an_aligned_table() -> None:
    story, out = told()
    for name, took_ms in (("short", 1.0), ("a longer name", 1234.5)):
        with story.step(name, "done") as step:
            step.saw("done", took_ms=took_ms)
    with story.step("untimed", "done") as step:
        step.saw("done", timed=False)
    before = len(out.getvalue())
    story.summary()
    head, rule, *rows = out.getvalue()[before:].splitlines()
    assert head.split() == ["step", "expected", "seen", "ms"]
    assert set(rule) == {"-", " "}
    assert {len(line) for line in (head, rule, *rows)} == {len(head)}
    assert [row.split()[-1] for row in rows] == ["1.0", "1234.5", "-"]


def test_colours_only_where_a_person_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def written(out: io.StringIO) -> str:
        Story(out).chapter("1. A chapter")
        return out.getvalue()

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert written(Terminal()) == "\n\033[1m1. A chapter\033[0m\n"
    assert written(io.StringIO()) == "\n1. A chapter\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert written(Terminal()) == "\n1. A chapter\n"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert written(Terminal()) == "\n1. A chapter\n"


def test_durations_are_never_torn_from_their_unit() -> None:
    assert [readable(value).replace("\u00a0", " ") for value in (0.94, 42.4, 1304)] == ["0.9 ms", "42 ms", "1.30 s"]
    story, out = told(60)
    with story.step("a call", "done") as step:
        step.saw("done", "x" * 37, took_ms=673)
    assert "(673 ms)" in out.getvalue()
    assert "\u00a0" not in out.getvalue()
