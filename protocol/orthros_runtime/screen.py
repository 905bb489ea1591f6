"""What a person or a script sees of any program: errors, tables, facts, JSON, durations, questions.

Knows no command and no realm. What passes through here shows no key, because key texts are cut out, and moves no
cursor. People read text, on a terminal with the table of `rich` where that is installed; scripts read `--output json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, TextIO

from attrs import frozen

from orthros_protocol.errors import OrthrosError
from orthros_protocol.primitives.redaction import redact_text

__all__ = ["Row", "Screen", "instant", "life", "wants_json"]

Row = Mapping[str, object]

_INSTANTS: Final = frozenset({"created", "retired"})


def instant(second: int | None) -> str:
    """A Unix second for people, in UTC."""
    return "-" if second is None else f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%SZ}"


def life(seconds: float) -> str:
    """A duration for people: `3599` as `59 min 59 s`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def wants_json(words: Sequence[str]) -> bool:
    """Whether errors go out as JSON. Asked of the bare words, because they may not be a valid command line."""
    return "--output=json" in words or ("--output", "json") in pairwise(words)


@frozen(kw_only=True)
class Screen:
    """Where a program's answers and errors go, and in which form. `quiet`: no confirmations and no next steps.

    `flat_errors`: the JSON of an error is one object with the code as `error`, as scripts of `orthros` read it; else
    an object below `error`, as those of `orthros-admin` do.
    """

    program: str
    json: bool = False
    quiet: bool = False
    flat_errors: bool = False

    def complain(self, error: OrthrosError, remedy: str = "", more: Row | None = None) -> None:
        """Cause, remedy and code, on standard error, and `more` that is known. `remedy` replaces that of the code."""
        facts = {"cause": error.cause, "detail": error.detail, "remedy": remedy or error.remedy}
        if self.json and self.flat_errors:
            told = {name: value for name, value in facts.items() if value}
            print(redact_text(json.dumps({"error": error.code, **told, **(more or {})})), file=sys.stderr)
        elif self.json:
            self.write_json({"error": {"code": error.code, **facts, **(more or {})}}, sys.stderr)
        else:
            seen = f" ({error.detail})" if error.detail else ""
            rest = {"remedy": facts["remedy"], "code": error.code, **(more or {})}
            said = [f"{self.program}: {error.cause}{seen}", *(f"{name}: {value}" for name, value in rest.items())]
            self.write_lines(said, sys.stderr)

    def announce(self, lines: Iterable[str]) -> None:
        """What is about to be done, on standard error."""
        self.write_lines(lines, sys.stderr)
        sys.stderr.flush()

    def prompt(self, question: str) -> None:
        """A question, on standard error and without an end of line."""
        sys.stderr.write(_harmless(question))
        sys.stderr.flush()

    def show_rows(self, rows: Sequence[Row], columns: Sequence[str] = (), to: TextIO | None = None) -> None:
        """Rows as a JSON array, or as a table of `columns` (none: those of the first row)."""
        if self.json:
            self.write_json([dict(row) for row in rows], to)
        elif rows:
            self._write_table(columns or [*rows[0]], rows, to or sys.stdout)

    def show_facts(self, facts: Row) -> None:
        """One JSON object, or a line for each name and value; a list has a line for each item."""
        if self.json:
            self.write_json(facts)
            return
        width = max(map(len, facts)) + 2
        for name, value in facts.items():
            items = value if isinstance(value, list) else [value]
            self.write_lines(f"{name if at == 0 else '':{width}}{item}" for at, item in enumerate(items or ["-"]))

    def show_next(self, row: Row, line: str) -> None:
        """One row of an answer without an end: a line, or one JSON object per line."""
        if self.json:
            print(redact_text(json.dumps(dict(row))), flush=True)
        else:
            self.write_lines([line])
            sys.stdout.flush()

    def write_json(self, value: object, to: TextIO | None = None) -> None:
        """A value as indented JSON."""
        print(redact_text(json.dumps(value, indent=2)), file=to or sys.stdout)

    def write_lines(self, lines: Iterable[str], to: TextIO | None = None) -> None:
        """Lines of text."""
        for line in lines:
            print(_harmless(line), file=to or sys.stdout)

    def _write_table(self, columns: Sequence[str], rows: Sequence[Row], to: TextIO) -> None:
        cells = [[_cell(name, row.get(name)) for name in columns] for row in rows]
        if not (to.isatty() and _rich_table(columns, cells)):
            widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
            for line in ([name.upper() for name in columns], *cells):
                padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
                print("  ".join(padded).rstrip(), file=to)


def _rich_table(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> bool:
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:  # an extra; plain columns do as well
        return False
    table = Table(*[name.replace("_", " ") for name in columns], box=box.SIMPLE_HEAD)
    for line in cells:
        table.add_row(*map(Text, line))  # Text: no cell can carry markup
    Console().print(table)
    return True


def _cell(name: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _INSTANTS and isinstance(value, int):
        return instant(value)
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return _harmless(text) or "-"


def _harmless(text: str) -> str:
    """Without key texts, and without characters that would move a terminal's cursor."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in redact_text(text))
