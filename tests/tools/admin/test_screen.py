"""Tables for people at a terminal, plain columns for everybody else, and nothing that could harm either."""

import os
import pty
import sys

import pytest

from orthros_runtime.screen import Screen
from orthros_tools.admin.screen import Shown
from tests.tools.admin.bench import AdminBench

ROWS: list[dict[str, object]] = [
    {"name": "a", "scopes": ["x", "y"], "created": 0, "jwt": True},
    {"name": "long-name", "jwt": None},
]
COLUMNS = ("name", "scopes", "created", "jwt")


def test_columns_are_aligned_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Shown(rows=ROWS, columns=COLUMNS, lines=["line"], remarks=["remark"]).show(Screen(program="p"))
    assert capsys.readouterr().out == (
        "NAME       SCOPES  CREATED               JWT\n"
        "a          x y     1970-01-01 00:00:00Z  yes\n"
        "long-name  -       -                     -\n"
        "line\n"
        "remark\n"
    )


def shown_on_a_terminal(bench: AdminBench, monkeypatch: pytest.MonkeyPatch, line: str) -> str:
    reader, terminal = pty.openpty()
    with monkeypatch.context() as person, open(terminal, "w", encoding="utf-8") as stdout:
        person.setattr(sys, "stdout", stdout)
        assert bench.run(line).code == 0
        shown = os.read(reader, 65536).decode()
    os.close(reader)
    bench.printed.append(shown)
    return shown


def test_person_sees_a_table_with_rules(bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.add("billing")
    monkeypatch.setenv("TERM", "xterm")
    shown = shown_on_a_terminal(bench, monkeypatch, "principal list")
    assert "─" in shown
    assert "billing" in shown


def test_person_without_rich_sees_plain_columns(bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.add("billing")
    monkeypatch.setitem(sys.modules, "rich", None)
    shown = shown_on_a_terminal(bench, monkeypatch, "principal list")
    assert shown.startswith("NAME     UID  STATE")


def test_cell_carries_no_markup_no_escape_and_no_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"name": "[red]x\x1b[2J\r\n", "scopes": ["ort1k_abcdef"]}]
    Shown(rows=rows, columns=("name", "scopes"), lines=["ort1m_abcdef\x07"]).show(Screen(program="p"))
    shown = capsys.readouterr().out
    assert "[red]x\\x1b[2J\\r\\n  <key redacted>" in shown
    assert "<key redacted>\\x07" in shown
    Shown(rows=rows).show(Screen(program="p", json=True))
    assert "abcdef" not in capsys.readouterr().out


def test_json_of_nothing_is_an_empty_array(capsys: pytest.CaptureFixture[str]) -> None:
    Shown().show(Screen(program="p", json=True))
    assert capsys.readouterr().out == "[]\n"
