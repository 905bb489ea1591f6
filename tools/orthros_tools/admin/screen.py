"""What a person or a script sees: tables, lines, JSON, errors.

Knows no command and no realm. Whatever passes through here cannot show a key: key texts are cut out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TextIO

from attrs import frozen

from orthros_protocol import OrthrosError
from orthros_protocol.primitives.redaction import redact_text

__all__ = ["Answer", "Row", "Screen", "instant"]

Row = Mapping[str, object]

_INSTANTS: Final = frozenset({"created", "retired"})


@frozen(kw_only=True)
class Answer:
    """What a command has to say.

    `rows` are the JSON form, always an array of objects, and with `columns` also the table. `lines` take the
    table's place; `remarks` are confirmations and next steps. `problem` is told after all that and decides the
    exit code. `handed_over` says that a secret went to standard output, which is then no place for anything else;
    `streamed` that everything was shown already.
    """

    rows: Sequence[Row] = ()
    columns: Sequence[str] = ()
    lines: Sequence[str] = ()
    remarks: Sequence[str] = ()
    problem: OrthrosError | None = None
    handed_over: bool = False
    streamed: bool = False


def instant(second: int | None) -> str:
    """A Unix second for people, in UTC."""
    return "-" if second is None else f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d %H:%M:%SZ}"


@frozen(kw_only=True)
class Screen:
    """Where answers and errors go, and in which form."""

    json: bool = False
    quiet: bool = False

    def show(self, answer: Answer) -> None:
        """The whole answer."""
        if answer.streamed:
            return
        to = sys.stderr if answer.handed_over else sys.stdout
        if self.json:
            self._write_json([dict(row) for row in answer.rows], to)
        else:
            if answer.columns and answer.rows:
                self._table(answer.columns, answer.rows, to)
            self._lines([*answer.lines, *(() if self.quiet else answer.remarks)], to)
        to.flush()  # here, where main still hears that the reader has gone

    def show_row(self, row: Row, line: str) -> None:
        """One row of an answer without an end: a line, or one JSON object per line."""
        if self.json:
            print(redact_text(json.dumps(dict(row), sort_keys=False)), flush=True)
        else:
            self._lines([line], sys.stdout)
            sys.stdout.flush()

    def announce(self, lines: Iterable[str]) -> None:
        """What is about to be done, on standard error."""
        self._lines(lines, sys.stderr)
        sys.stderr.flush()

    def prompt(self, question: str) -> None:
        """A question, on standard error and without an end of line."""
        sys.stderr.write(_harmless(question))
        sys.stderr.flush()

    def complain(self, program: str, error: OrthrosError) -> None:
        """Cause, remedy and code, on standard error."""
        if self.json:
            facts = {"code": error.code, "cause": error.cause, "detail": error.detail, "remedy": error.remedy}
            self._write_json({"error": facts}, sys.stderr)
            return
        seen = f" ({error.detail})" if error.detail else ""
        said = [f"{program}: {error.cause}{seen}", f"remedy: {error.remedy}", f"code: {error.code}"]
        self._lines(said, sys.stderr)

    def _write_json(self, value: object, to: TextIO) -> None:
        print(redact_text(json.dumps(value, indent=2)), file=to)

    def _lines(self, lines: Iterable[str], to: TextIO) -> None:
        for line in lines:
            print(_harmless(line), file=to)

    def _table(self, columns: Sequence[str], rows: Sequence[Row], to: TextIO) -> None:
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
    if isinstance(value, (list, tuple)):
        return _harmless(" ".join(map(str, value))) or "-"
    return _harmless(str(value))


def _harmless(text: str) -> str:
    """Without key texts, and without characters that would move a terminal's cursor."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in redact_text(text))
