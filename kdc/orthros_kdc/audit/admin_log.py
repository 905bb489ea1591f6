"""The record of administration: rows of the database, chained like every audit log, each in its change's transaction.

So a change and its entry happen together or not at all, no file can stop a change, and no lock but the database's is
ever held. Who writes to the database could make the whole chain anew; therefore each KDC writes number and hash of the
newest entry into its own log whenever it takes a change into force, and `audit verify` compares.

Before, the record was a file, `admin.jsonl`, with its anchor in the database. The chain goes on behind that anchor.
Knows no use case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from orthros_kdc.audit.admin_lines import ADMIN_WRITER, head_of
from orthros_kdc.audit.chain import append
from orthros_kdc.audit.events import AdminChanged, Facts
from orthros_kdc.store.base import AdminLine, Transaction
from orthros_protocol.primitives.instants import Timestamp
from orthros_runtime.clocks import wall_clock

__all__ = ["AdminAuditLog"]


class AdminAuditLog:
    """The record in the database that a transaction belongs to."""

    def __init__(self, *, now_ms: Callable[[], Timestamp] = wall_clock) -> None:
        self._now_ms = now_ms

    def record_all(self, tx: Transaction, changes: Iterable[tuple[str, Mapping[str, str | int | None]]]) -> None:
        """Adds an entry for each change, an event and its facts, in the transaction of the changes and as its last
        step: when this raises, nothing changes."""
        newest = tx.admin_head()
        head, at = head_of(tx), 0 if newest is None else newest.at
        clock, numbers = self._now_ms(), _changes_of(tx)
        about, lines = Facts(at=clock, kdc_id=ADMIN_WRITER), []
        for event, facts in changes:
            told = AdminChanged(about=about, change=event, facts=facts, changes=numbers).to_dict()
            if clock < at:
                told |= {"at": at, "clock": clock}
            at = max(at, clock)
            line, head = append(head, told)
            lines.append(AdminLine(seq=head.seq, hash=head.hash, at=at, line=line))
        tx.add_admin_lines(lines)


def _changes_of(tx: Transaction) -> tuple[int, ...]:
    """The first and the last number that the transaction has taken so far, if any."""
    first, last = tx.first_change(), tx.head().seq
    return (first, last) if first <= last else ()
