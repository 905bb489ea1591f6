"""The audit log of admin changes: one line, written and synced inside the transaction of the change.

Called synchronously, from any process that may change the store. Knows no use case.

The line comes first and the commit after it, so a change without a line cannot happen; a line without a change
can, when the transaction fails afterwards. Line and anchor agree exactly for what was committed, hence the next
writer finds such lines behind the anchor and says, in an entry of its own, that they came to nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Protocol

from orthros_kdc.audit.chain_file import ChainFile
from orthros_kdc.audit.events import AdminChanged, AdminUndone, Event
from orthros_kdc.store.base import AuditAnchor, Transaction
from orthros_protocol import Misconfigured, Timestamp

__all__ = ["ADMIN_WRITER", "AdminAudit", "AdminAuditLog"]

ADMIN_WRITER: Final = "admin"


class AdminAudit(Protocol):
    """Where admin use cases record what they change."""

    def record(self, tx: Transaction, event: str, **facts: str | int | None) -> None:
        """Called in the transaction of the change, as its last step; when it raises, nothing is changed."""
        ...


def _wall_clock() -> Timestamp:
    return Timestamp(time.time_ns() // 1_000_000)


class AdminAuditLog:
    """`<directory>/admin.jsonl`, shared by every admin process; a file lock orders them."""

    def __init__(self, directory: str | os.PathLike[str], *, now_ms: Callable[[], Timestamp] = _wall_clock) -> None:
        self._directory = Path(directory)
        self._now_ms = now_ms

    def record(self, tx: Transaction, event: str, **facts: str | int | None) -> None:
        """Writes one line and moves the anchor in `tx`. Raises Misconfigured (`audit-broken`, `file-unreadable`)."""
        self.record_all(tx, [(event, facts)])

    def record_all(self, tx: Transaction, changes: Iterable[tuple[str, Mapping[str, str | int | None]]]) -> None:
        """As `record` for each change in turn, but with one look at the file and one sync for all of them."""
        at = self._now_ms()
        anchor = tx.anchor(ADMIN_WRITER)
        with ChainFile.open(self._directory, ADMIN_WRITER, anchor, wait=True) as chain:
            events: list[Event] = []
            if chain.unanchored:
                first = chain.head.seq - chain.unanchored + 1
                events.append(AdminUndone(at=at, kdc_id=ADMIN_WRITER, first=first, last=chain.head.seq))
            events += [AdminChanged(at=at, kdc_id=ADMIN_WRITER, change=event, facts=facts) for event, facts in changes]
            try:
                chain.append(one.to_dict() for one in events)
            except OSError as error:
                raise Misconfigured("file-unreadable", f"{chain.path} cannot be written: {error.strerror}") from None
            tx.set_anchor(AuditAnchor(writer=ADMIN_WRITER, seq=chain.head.seq, head=chain.head.hash))
