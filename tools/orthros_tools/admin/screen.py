"""What a command of `orthros-admin` has to say, and in which order it is shown.

Knows no command and no realm.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from attrs import frozen

from orthros_protocol.errors import OrthrosError
from orthros_runtime.screen import Row, Screen

__all__ = ["Shown"]


@frozen(kw_only=True)
class Shown:
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

    def show(self, screen: Screen) -> None:
        """The whole answer."""
        if self.streamed:
            return
        to = sys.stderr if self.handed_over else sys.stdout
        if screen.json or self.columns:
            screen.show_rows(self.rows, self.columns, to)
        if not screen.json:
            screen.write_lines([*self.lines, *(() if screen.quiet else self.remarks)], to)
        to.flush()  # here, where main still hears that the reader has gone
