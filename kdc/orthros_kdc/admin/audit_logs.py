"""Use cases on audit logs: prove, archive old segments, begin a new chain behind a damaged one, hand out the record.

Knows no form of a line; `orthros_kdc.audit` does. No file is touched inside a transaction.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import trio

from orthros_kdc.admin.context import Admin, change_as_planned
from orthros_kdc.audit.admin_lines import (
    ADMIN_WRITER,
    ARCHIVED_CHANGE,
    RESTARTED_CHANGE,
    all_unnamed,
    base_of,
    head_of,
    lines_backwards,
    lines_of,
)
from orthros_kdc.audit.chain import VerifyReport
from orthros_kdc.audit.keeping import Archived, Restarted, copy_away, find_archivable, leave_stub, restart_chain
from orthros_kdc.audit.segments import segments_in
from orthros_kdc.audit.verifying import Changes, verify_all
from orthros_kdc.reasons import NO_AUDIT_LOG
from orthros_kdc.store.base import AuditAnchor, Transaction
from orthros_protocol.errors import Misconfigured, OrthrosError

__all__ = ["accept_unrecorded", "archive", "record", "restart", "verify"]

_WRITER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_MOST_REASON_CHARS: Final = 400


async def verify(admin: Admin, *directories: str | os.PathLike[str]) -> list[VerifyReport]:
    """Every chain in the folders against its anchor in the store, and administration's record against what the KDCs
    took into force. Raises Misconfigured `file-unreadable`."""

    def look(tx: Transaction) -> tuple[tuple[AuditAnchor, ...], Changes]:
        lines = tuple(row.line for row in lines_of(tx))
        return tx.anchors(), Changes(base=base_of(tx), lines=lines, newest=tx.head().seq)

    # The anchors first: what is written from here on merely lies behind them. The record is read before the logs, so
    # a change that a KDC took into force meanwhile looks like one that the database has lost, and a chain that was
    # begun meanwhile like one that no admin has begun: then look once more.
    anchors, changes = await admin.store.read(look)
    reports = await trio.to_thread.run_sync(verify_all, list(directories), anchors, changes)
    if any(report.broken for report in reports):
        anchors, changes = await admin.store.read(look)
        reports = await trio.to_thread.run_sync(verify_all, list(directories), anchors, changes)
    return reports


async def record(admin: Admin, *, after: int = 0) -> tuple[bytes, ...]:
    """The lines of administration's record behind number `after`."""
    return await admin.store.read(lambda tx: tuple(row.line for row in lines_of(tx, after)))


async def archive(admin: Admin, directory: str | os.PathLike[str], to: str | os.PathLike[str]) -> list[Archived]:
    """Moves every closed and anchored segment to another folder and leaves a stub with its hashes.

    Raises Misconfigured `file-unreadable`, `file-exists` or `audit-broken`, Unavailable `disk-full`; what was moved
    before stays moved.
    """
    source, target = Path(directory), Path(to)
    if not target.is_dir() or target.resolve() == source.resolve():
        raise Misconfigured("value-invalid", f"{target} is not an existing folder apart from that of the audit log")
    anchors = {anchor.writer: anchor for anchor in await admin.store.read(lambda tx: tx.anchors())}
    moved = []
    for segment in await trio.to_thread.run_sync(lambda: list(find_archivable(source, anchors))):
        archived = await trio.to_thread.run_sync(copy_away, segment, target)
        await admin.store.change(lambda tx, archived=archived: _record_archived(tx, admin, archived))  # type: ignore[misc]
        await trio.to_thread.run_sync(leave_stub, archived)
        moved.append(archived)
    return moved


def _record_archived(tx: Transaction, admin: Admin, archived: Archived) -> None:
    segment, stub = archived.segment, archived.stub
    admin.record(
        tx,
        ARCHIVED_CHANGE,
        writer=segment.writer,
        segment=segment.number,
        line=stub.last,
        hash=stub.hash,
        sha256=stub.sha256,
        to=str(archived.copy.parent),
    )


async def restart(admin: Admin, directory: str | os.PathLike[str], writer: str, reason: str) -> Restarted:
    """Begins a new chain for a writer whose log is damaged or lost; its KDC can start again.

    The segment with the first line is on the disk before the database records that line. Whatever ends the process in
    between leaves a line that no KDC and no proof accepts: the log counts as damaged as before, and another call begins
    the chain behind all of it. Raises Misconfigured `value-invalid`, `not-found`, `wrong-state` for a log that is
    undamaged or that a KDC writes now, or `conflict`; Unavailable `disk-full` or `timeout`.
    """
    if writer == ADMIN_WRITER or _WRITER.fullmatch(writer) is None:
        raise Misconfigured("value-invalid", f"{writer!r} is not the name of a KDC's log")
    _check_reason(reason)
    anchors = {anchor.writer: anchor for anchor in await admin.store.read(lambda tx: tx.anchors())}
    anchor = anchors.get(writer)
    if anchor is None and not await trio.to_thread.run_sync(segments_in, Path(directory), writer):
        known = ", ".join(sorted({*anchors} - {ADMIN_WRITER})) or "none"
        raise Misconfigured(NO_AUDIT_LOG, f"a log of {writer}; the logs on record: {known}")
    made = await trio.to_thread.run_sync(
        lambda: restart_chain(Path(directory), writer, anchor, at=admin.now_ms(), reason=reason, actor=admin.actor)
    )

    def anchored(tx: Transaction) -> None:
        if tx.anchor(writer) != anchor:
            detail = f"the log of {writer} has just gone on, by its KDC or another `audit restart`; nothing is changed"
            raise Misconfigured("conflict", detail)
        tx.set_anchor(AuditAnchor(writer=writer, seq=made.head.seq, head=made.head.hash))
        admin.record(tx, RESTARTED_CHANGE, writer=writer, line=made.head.seq, hash=made.head.hash, reason=reason)

    try:
        await admin.store.change(anchored)
    except OrthrosError:  # so the database has recorded nothing
        await trio.to_thread.run_sync(lambda: made.path.unlink(missing_ok=True))
        raise
    return made


async def accept_unrecorded(admin: Admin, reason: str) -> int:
    """An operator answers for the changes that no entry of administration's record names: this entry does from now on.
    Returns its number.

    Raises Misconfigured `value-invalid`, or `wrong-state` when every change is named.
    """
    _check_reason(reason)

    def plan(tx: Transaction) -> tuple[range, ...]:
        return all_unnamed(tx.head().seq, [row.line for row in lines_backwards(tx)])

    def make(tx: Transaction, gaps: tuple[range, ...]) -> int:
        if not gaps:
            raise Misconfigured("wrong-state", "the record names every change: there is nothing to accept")
        accepts = f"{gaps[0].start}-{tx.head().seq}"  # up to the newest one: ranges of later entries never end earlier
        admin.record(tx, RESTARTED_CHANGE, writer=ADMIN_WRITER, accepts=accepts, reason=reason)
        return head_of(tx).seq

    return await change_as_planned(admin.store, plan, make)


def _check_reason(reason: str) -> None:
    if not (reason.isprintable() and reason.isascii() and 0 < len(reason) <= _MOST_REASON_CHARS):
        raise Misconfigured("value-invalid", f"a reason is 1 to {_MOST_REASON_CHARS} printable ASCII characters")
