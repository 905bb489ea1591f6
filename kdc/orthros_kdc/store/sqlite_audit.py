"""The rows of the audit logs inside one open SQLite transaction: anchors, and administration's record.

Knows no chain; `orthros_kdc.audit` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from attrs import define

from orthros_kdc.store.base import AdminLine, AuditAnchor
from orthros_kdc.store.sqlite_tokens import TokenRows

__all__ = ["AuditRows"]

_LINES: Final = "SELECT seq, hash, at, line FROM admin_log"


def _line(row: tuple[Any, ...]) -> AdminLine:
    seq, line_hash, at, line = row
    return AdminLine(seq=seq, hash=line_hash, at=at, line=line)


@define
class AuditRows(TokenRows):
    """Rows that are no part of the realm: none of them takes a number of the change log."""

    def anchor(self, writer: str) -> AuditAnchor | None:
        row = self._row("SELECT writer, seq, head FROM anchors WHERE writer = ?", writer)
        return None if row is None else AuditAnchor(writer=row[0], seq=row[1], head=row[2])

    def anchors(self) -> tuple[AuditAnchor, ...]:
        rows = self._rows("SELECT writer, seq, head FROM anchors ORDER BY writer")
        return tuple(AuditAnchor(writer=writer, seq=seq, head=head) for writer, seq, head in rows)

    def set_anchor(self, anchor: AuditAnchor) -> None:
        self._run(
            "INSERT INTO anchors (writer, seq, head) VALUES (?, ?, ?)"
            " ON CONFLICT (writer) DO UPDATE SET seq = excluded.seq, head = excluded.head",
            anchor.writer,
            anchor.seq,
            anchor.head,
        )

    def admin_head(self) -> AdminLine | None:
        row = self._row(f"{_LINES} ORDER BY seq DESC LIMIT 1")
        return None if row is None else _line(row)

    def admin_lines(self, *, after: int = 0, most: int = 1000) -> tuple[AdminLine, ...]:
        return tuple(map(_line, self._rows(f"{_LINES} WHERE seq > ? ORDER BY seq LIMIT ?", after, most)))

    def add_admin_lines(self, lines: Sequence[AdminLine]) -> None:
        self._run_many(
            "INSERT INTO admin_log (seq, hash, at, line) VALUES (?, ?, ?, ?)",
            [(line.seq, line.hash, line.at, line.line) for line in lines],
        )
