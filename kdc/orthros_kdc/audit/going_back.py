"""Whether a database is behind the logs of its KDCs: a backup that was put in its place, or a copy that lags.

A KDC writes into its own log which entry of administration's record it decides by, with the hash of that entry. When
the record does not hold that entry, what the KDC had in force is undone: retired keys are live again, principals that
were deleted are back, and a new principal would be given the uid of one that was added since. So a KDC does not serve
such a database before an operator has said so (`orthros-kdc restored`). That is an entry of the record as well, which
names what is undone, and with it every KDC serves again.

Not detected: a database that is restored together with its logs, or a log in which no KDC has said what it decides by.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from orthros_kdc.audit.admin_lines import base_of, head_of, lines_backwards
from orthros_kdc.audit.chain import peek
from orthros_kdc.audit.events import RealmApplied
from orthros_kdc.audit.segments import Segment, opened, segments_in
from orthros_kdc.reasons import DATABASE_BEHIND
from orthros_kdc.store.base import Transaction
from orthros_protocol.errors import Misconfigured

__all__ = ["RESTORED_CHANGE", "Applied", "latest_applied", "latest_segment", "require_not_behind", "undone_of"]

RESTORED_CHANGE: Final = "realm.restored"
_NEEDLE: Final = f'"event":"{RealmApplied.name}"'.encode("ascii")


@frozen(kw_only=True)
class Applied:
    """What a KDC said it decided by: the entry of administration's record, and since when, in milliseconds."""

    writer: str
    seq: int
    hash: str
    at: int


def latest_applied(directory: str | os.PathLike[str]) -> tuple[Applied, ...]:
    """The last such word of each writer, by name. Raises Misconfigured `file-unreadable`."""
    if not Path(directory).is_dir():
        return ()
    writers: dict[str, list[Segment]] = {}
    for segment in segments_in(directory):
        if not segment.is_stub:
            writers.setdefault(segment.writer, []).append(segment)
    return tuple(found[1] for name in sorted(writers) if (found := _latest(writers[name])) is not None)


def latest_segment(segments: Sequence[Segment]) -> Segment | None:
    """Which of a writer's segments, oldest first, holds its last such word. Raises as `latest_applied`."""
    found = _latest(segments)
    return None if found is None else found[0]


def undone_of(tx: Transaction, said: Sequence[Applied]) -> tuple[Applied, ...]:
    """Those of `said` that the database does not hold, and whose loss no operator has declared."""
    missing = [one for one in said if not _holds(tx, one)]
    if not missing:
        return ()
    declared = {name for facts in _restorations(tx) for name in str(facts.get("heads", "")).split()}
    return tuple(one for one in missing if one.hash not in declared)


def require_not_behind(tx: Transaction, said: Sequence[Applied]) -> None:
    """Raises Misconfigured `database-behind` for a database that lacks what one of its KDCs has had in force.

    `said` is what `latest_applied` has found: files are read before a transaction, never within one.
    """
    undone = undone_of(tx, said)
    if undone:
        last, newest = head_of(tx).seq, max(undone, key=lambda one: one.seq)
        detail = f"{newest.writer} has decided by change {newest.seq}, and the database ends with change {last}"
        if newest.seq <= last:
            detail = f"{newest.writer} has decided by another change {newest.seq} than the database holds"
        raise Misconfigured(DATABASE_BEHIND, detail)


def _holds(tx: Transaction, one: Applied) -> bool:
    base = base_of(tx)
    if one.seq <= base.seq:
        return one.seq < base.seq or one.hash == base.hash
    found = tx.admin_lines(after=one.seq - 1, most=1)
    return bool(found) and (found[0].seq, found[0].hash) == (one.seq, one.hash)


def _restorations(tx: Transaction) -> Iterator[dict[str, Any]]:
    for line in lines_backwards(tx):
        seen = peek(line.line)
        if seen is not None and seen[1].get("change") == RESTORED_CHANGE:
            yield seen[1].get("facts", {})


def _latest(segments: Sequence[Segment]) -> tuple[Segment, Applied] | None:
    """From the end, without reading what lies before: a log can be of gigabytes."""
    for segment in reversed(segments):
        with opened(segment.path) as descriptor:
            if os.fstat(descriptor).st_size == 0:
                continue
            with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as content:
                at = content.rfind(_NEEDLE)
                while at >= 0:
                    begin, end = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", at) + 1
                    found = _applied(segment.writer, content[begin:end]) if end else None
                    if found is not None:
                        return segment, found
                    at = content.rfind(_NEEDLE, 0, begin)
    return None


def _applied(writer: str, line: bytes) -> Applied | None:
    seen = peek(line)
    if seen is None or seen[1].get("event") != RealmApplied.name:
        return None
    seq, said, at = (seen[1].get(name) for name in ("admin_seq", "admin_hash", "at"))
    if type(seq) is not int or type(said) is not str or type(at) is not int:
        return None
    return Applied(writer=writer, seq=seq, hash=said, at=at)
