"""Proves that no entry was changed, cut, forged or lost: every segment of every writer, and the record of changes.

Never writes. Two records check each other: administration's is in the database and names every segment that was
archived and every chain that was begun anew; each KDC's says which change it took into force, with the hash of the
administration's entry.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import define, evolve, field, frozen

from orthros_kdc.audit.admin_lines import ADMIN_WRITER, ARCHIVED_CHANGE, RESTARTED_CHANGE, all_unnamed, changes_of
from orthros_kdc.audit.chain import OPENED, RESTARTED, UNRECORDED, Head, Problem, VerifyReport, Walk, genesis
from orthros_kdc.audit.chain_file import first_line, walk_segment
from orthros_kdc.audit.events import RealmApplied
from orthros_kdc.audit.going_back import RESTORED_CHANGE
from orthros_kdc.audit.segments import SUFFIX, Segment, opened, segments_in
from orthros_kdc.store.base import AuditAnchor
from orthros_protocol.primitives.derivation import RunningDigest

__all__ = ["Changes", "Stub", "file_digest", "read_stub", "verify_all"]

_BLOCK_BYTES: Final = 1024 * 1024


@frozen(kw_only=True)
class Changes:
    """Administration's record in the database: its lines, and the end of the chain that they go on from. `newest` is
    the number of the newest change of the realm."""

    base: Head = field(factory=lambda: genesis(ADMIN_WRITER))
    lines: tuple[bytes, ...] = ()
    newest: int = 0


@frozen(kw_only=True)
class Stub:
    """What is left where an archived segment stood: what it began with, and what it ended with."""

    first: int
    prev: str
    last: int
    hash: str
    at: int
    sha256: str


def read_stub(path: Path) -> Stub | None:
    """The stub in this file, if it is one."""
    with opened(path) as descriptor:
        content = os.read(descriptor, 4096)
    try:
        fields = json.loads(content)
        return Stub(**{name: fields[name] for name in ("first", "prev", "last", "hash", "at", "sha256")})
    except (ValueError, KeyError, TypeError):
        return None


def file_digest(path: Path) -> str:
    """SHA-256 of a whole file, in hex."""
    found = RunningDigest()
    with opened(path) as descriptor, os.fdopen(os.dup(descriptor), "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            found.update(block)
    return found.digest().hex()


@define
class _Record:
    """What administration's own chain says."""

    report: VerifyReport
    base: Head
    hashes: list[str]
    facts: list[Mapping[str, Any]] = field(factory=list)

    def has(self, change: str, **facts: object) -> bool:
        """Whether a change with these facts is on record."""
        return any(one.get("change") == change and facts.items() <= one["facts"].items() for one in self.facts)

    def _is_undone(self, number: int, at: object) -> bool:
        """Whether an operator has declared since that the changes around `number` are undone: a backup was restored."""
        return type(at) is int and any(
            one["facts"].get("after", 0) < number <= one["facts"].get("until", 0) and at <= one["at"]
            for one in self.facts
            if one.get("change") == RESTORED_CHANGE
        )

    def compare(self, entry: Mapping[str, Any], writer: str, seq: int) -> None:
        """Holds what a KDC took into force against the record."""
        number, said = entry.get("admin_seq"), entry.get("admin_hash")
        if self.report.problem is not None or type(number) is not int or number < self.base.seq:
            return
        if self._is_undone(number, entry.get("at")):
            return
        if number - self.base.seq > len(self.hashes):
            detail = f"{writer} took change {number} into force, as its line {seq} says; the database ends before it"
            self.report = evolve(self.report, problem=Problem.TRUNCATED, line=number, detail=detail)
        elif said != ([self.base.hash, *self.hashes][number - self.base.seq]):
            detail = f"{writer} took another change {number} into force, as its line {seq} says"
            self.report = evolve(self.report, problem=Problem.REMADE, line=number, detail=detail)


def verify_all(
    directories: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    anchors: Iterable[AuditAnchor],
    changes: Changes | None = None,
) -> list[VerifyReport]:
    """Every chain in the folders checked from its first line, and every anchor accounted for, by writer; first
    administration's record, unless there are no `changes`.

    Read the anchors from the store first: entries that come later are merely behind the anchor. Raises Misconfigured
    `file-unreadable`.
    """
    folders = [directories] if isinstance(directories, (str, os.PathLike)) else list(directories)
    expected = {anchor.writer: anchor for anchor in anchors}
    present: dict[str, dict[int, Segment]] = {}
    for segment in sorted((one for folder in folders for one in segments_in(folder)), key=lambda one: one.is_stub):
        present.setdefault(segment.writer, {}).setdefault(segment.number, segment)
    record = _record_of(Changes() if changes is None else changes)
    reports: list[VerifyReport] = []
    for writer in sorted(present.keys() | expected.keys()):
        segments = [segment for _, segment in sorted(present.get(writer, {}).items())]
        reports += _reports_of(writer, segments, expected.get(writer), record)
    return reports if changes is None else [_complete(record.report, changes), *reports]


def _record_of(changes: Changes) -> _Record:
    walk = Walk(ADMIN_WRITER, None, changes.base)
    hashes: list[str] = []
    facts: list[Mapping[str, Any]] = []
    for fields in walk.take(changes.lines):
        hashes.append(walk.head.hash)
        if fields.get("event") == "admin-changed":
            facts.append(fields)
    # Its lines are rows of the database that would hold the anchor: what stands behind them is the KDCs' word.
    return _Record(evolve(walk.report(), unanchored=0), changes.base, hashes, facts)


def _complete(report: VerifyReport, changes: Changes) -> VerifyReport:
    """The report on the record, and whether the record names each change of the realm."""
    gaps = all_unnamed(changes.newest, changes.lines[::-1])
    if report.problem is not None or not gaps:
        return report
    first, last = gaps[0].start, gaps[0].stop - 1
    which = f"change {first}" if first == last else f"changes {first} to {last}"
    numbered = enumerate(changes.lines, changes.base.seq + 1)
    line = next((number for number, one in numbered if changes_of(one) and changes_of(one).start > last), None)
    return evolve(
        report,
        problem=Problem.UNRECORDED,
        line=report.head.seq if line is None else line,
        detail=f"no line names {which} of the realm: written past `orthros-admin`",
    )


def _reports_of(
    writer: str, segments: list[Segment], anchor: AuditAnchor | None, record: _Record
) -> Iterator[VerifyReport]:
    name = f"{ADMIN_WRITER}{SUFFIX}" if writer == ADMIN_WRITER else writer
    if not segments:
        seen = 0 if anchor is None else anchor.seq
        detail = f"there is no {writer}.*{SUFFIX}; the database has seen {seen} lines"
        yield VerifyReport(
            writer=name, head=genesis(writer), unanchored=0, problem=Problem.MISSING, line=1, detail=detail
        )
        return
    eras = list(_eras(segments, record))
    for number, era in enumerate(eras):
        begun = eras[number + 1].begun_by if number + 1 < len(eras) else None
        if begun is None:
            yield evolve(_walked(writer, era, anchor, record), writer=name)
            continue
        # The line that began the next chain says where this one stood for the database.
        until = AuditAnchor(writer=writer, seq=begun["seq"] - 1, head=begun["prev"])
        report = evolve(_walked(writer, era, until if until.seq else None, record), writer=f"{name} to {until.seq}")
        yield _on_record(report, era, begun)


@frozen
class _Era:
    """Segments of one chain. `begun_by` is the line with which an administrator began it, unless it is the writer's
    first."""

    segments: list[Segment]
    begun_by: dict[str, Any] | None = None


def _eras(segments: list[Segment], record: _Record) -> Iterator[_Era]:
    era = _Era([])
    for segment in segments:
        begins = None if segment.is_stub else first_line(segment.path)
        if (
            begins is not None
            and begins[1].get("event") == RESTARTED
            and record.has(RESTARTED_CHANGE, line=begins[0].seq, hash=begins[0].hash)
        ):
            yield era
            era = _Era([], begins[1])
        era.segments.append(segment)
    yield era


def _on_record(report: VerifyReport, era: _Era, begun: Mapping[str, Any]) -> VerifyReport:
    """The report of a chain that an administrator ended: what was wrong with it then is known, nothing else is."""
    evidence = begun.get("evidence")
    for segment in era.segments:
        known = evidence.get(segment.path.name) if isinstance(evidence, Mapping) else None
        if not segment.is_stub and known is not None and file_digest(segment.path) != known:
            detail = f"{segment.path.name} is not as it was when a new chain was begun"
            return evolve(report, problem=Problem.EDITED, line=report.line or 1, detail=detail)
    return evolve(report, restarted=f"{begun.get('actor')}: {begun.get('reason')}")


def _walked(writer: str, era: _Era, anchor: AuditAnchor | None, record: _Record) -> VerifyReport:
    begun = era.begun_by
    start = genesis(writer) if begun is None else Head(begun["seq"] - 1, begun["prev"])
    walk = Walk(writer, anchor, start)
    for segment, after in zip(era.segments, [*era.segments[1:], None], strict=False):
        if segment.is_stub:
            _step_over(walk, segment, record)
        else:
            with opened(segment.path) as descriptor:
                for fields in walk_segment(walk, segment, descriptor, 0, after):
                    if fields.get("event") == RealmApplied.name:
                        record.compare(fields, writer, walk.head.seq)
                    elif fields.get("event") == RESTARTED and (begun is None or walk.head.seq != begun["seq"]):
                        walk.found = (Problem.REMADE, walk.head.seq, UNRECORDED)
                        break
        if walk.found is not None:
            break
    report = walk.report()
    if anchor is None and report.problem is None:
        detail = "the database knows no writer of this name: no KDC of this realm has written this"
        return evolve(report, problem=Problem.UNKNOWN, line=1, detail=detail)
    if report.problem in (Problem.REMOVED, Problem.TRUNCATED):
        return evolve(report, detail=f"{report.detail}{_gap(era.segments, report)}")
    return report


def _gap(segments: list[Segment], report: VerifyReport) -> str:
    """What the writer itself said about a file that it lost."""
    for segment in segments:
        begins = None if segment.is_stub else first_line(segment.path)
        if begins is not None and begins[0].seq > report.head.seq + 1 and begins[1].get("event") == OPENED:
            return f"; {segment.path.name} goes on behind {begins[1].get('before')} ({begins[1].get('why')})"
    return ""


def _step_over(walk: Walk, segment: Segment, record: _Record) -> None:
    """An archived segment that is not among the folders: its stub, if administration has recorded it."""
    due = walk.head.seq + 1
    stub = read_stub(segment.path)
    if (
        stub is None
        or (stub.first, stub.prev) != (due, walk.head.hash)
        or not record.has(
            ARCHIVED_CHANGE,
            writer=walk.writer,
            segment=segment.number,
            line=stub.last,
            hash=stub.hash,
            sha256=stub.sha256,
        )
    ):
        detail = f"{segment.path.name} stands for a segment that no administrator has archived so"
        walk.found = (Problem.MISSING, due, detail)
        return
    walk.head, walk.at = Head(stub.last, stub.hash), max(walk.at, stub.at)
