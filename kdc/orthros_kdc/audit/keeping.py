"""What an administrator does to the files of a log: archives old segments, begins a new chain behind a damaged one.

Each has two halves, so that no file is touched inside a transaction: what is written first, and what follows when the
database has recorded it. A process that is killed between the halves leaves files that do not count; the same command
run again does all of it. Knows no database.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkstemp
from typing import Any, Final

from attrs import asdict, frozen

from orthros_kdc.audit.chain import RESTARTED, Head, Walk, append, genesis
from orthros_kdc.audit.chain_file import ChainFile, first_line, sync_folder, walk_segment
from orthros_kdc.audit.going_back import latest_segment
from orthros_kdc.audit.segments import Segment, file_of, opened, segments_in, stub_of
from orthros_kdc.audit.verifying import Stub, file_digest, read_stub
from orthros_kdc.reasons import AUDIT_BROKEN
from orthros_kdc.store.base import AuditAnchor
from orthros_protocol.errors import Misconfigured
from orthros_protocol.keys.full_disk import unwritable

__all__ = ["Archived", "Restarted", "copy_away", "find_archivable", "leave_stub", "restart_chain"]

_MODE: Final = 0o600
_ROOT: Final = 0


@frozen(kw_only=True)
class Archived:
    """A segment that stands in another folder as well, and what its stub says."""

    segment: Segment
    copy: Path
    stub: Stub


@frozen(kw_only=True)
class Restarted:
    """The file with the first line of a new chain, and that line's number and hash."""

    path: Path
    head: Head


def find_archivable(directory: Path, anchors: dict[str, AuditAnchor]) -> Iterator[Segment]:
    """The segments that no writer writes to any more and whose last line the database has seen."""
    writers: dict[str, list[Segment]] = {}
    for segment in segments_in(directory):
        if not segment.is_stub and segment.writer in anchors:
            writers.setdefault(segment.writer, []).append(segment)
    for writer, segments in writers.items():
        begins = [first_line(segment.path) for segment in segments]
        # A damaged chain, behind which a new one was begun, stays: it is evidence. So does the segment that says so.
        new = [at for at, seen in enumerate(begins) if seen is not None and seen[1].get("event") == RESTARTED]
        said = latest_segment(segments)
        for at in range(new[-1] + 1 if new else 0, len(segments) - 1):
            after = begins[at + 1]
            # What the writer decides by stays in sight: else a backup of the database could not be told to be behind.
            if segments[at] != said and after is not None and after[0].seq - 1 <= anchors[writer].seq:
                yield segments[at]


def copy_away(segment: Segment, to: Path) -> Archived:
    """Copies a segment, and makes sure of the copy. Raises Misconfigured `audit-broken`, `file-exists` or
    `file-unreadable`, Unavailable `disk-full`."""
    stub = _stub_for(segment)
    target = to / segment.path.name
    if target.exists():
        if file_digest(target) != stub.sha256:
            raise Misconfigured("file-exists", f"{target} is another file")
        return Archived(segment=segment, copy=target, stub=stub)
    part = None
    try:
        for left in to.glob(f"{target.name}.*.part"):  # by a process that was killed; one that still copies fails
            left.unlink(missing_ok=True)
        # A copy that was cut short never has the name of a whole one, and a new file is no link to another.
        descriptor, name = mkstemp(dir=to, prefix=f"{target.name}.", suffix=".part")
        part = Path(name)
        with open(segment.path, "rb") as source, open(descriptor, "wb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
        if file_digest(part) != stub.sha256:
            raise Misconfigured(AUDIT_BROKEN, f"{part} does not hold what {segment.path} holds")
        os.rename(part, target)
        sync_folder(to)
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        raise unwritable(target, error) from None
    return Archived(segment=segment, copy=target, stub=stub)


def leave_stub(archived: Archived) -> None:
    """Puts the stub in the place of the segment. Raises as `copy_away`."""
    path = stub_of(archived.segment)
    try:
        with open(path, "wb", opener=_private) as file:
            file.write(json.dumps({**asdict(archived.stub), "moved_to": str(archived.copy)}).encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.unlink(archived.segment.path)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from None


def _private(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
    if os.geteuid() == _ROOT:  # else the KDC, which is another user, could not open what root has written for it
        folder = os.stat(os.path.dirname(path) or os.curdir)
        os.fchown(descriptor, folder.st_uid, folder.st_gid)
    return descriptor


def _stub_for(segment: Segment) -> Stub:
    """What the segment holds, walked line by line up to where the next one goes on: a changed segment would be good for
    ever by the hash of the file that an administrator has recorded."""
    after = next((one for one in segments_in(segment.path.parent, segment.writer) if one.number > segment.number), None)
    begins, ends = first_line(segment.path), None if after is None else _goes_on_from(after)
    if begins is None or ends is None:
        raise Misconfigured(AUDIT_BROKEN, f"{segment.path}: its first line or the segment behind it is not whole")
    prev = begins[1]["prev"]
    walk = Walk(segment.writer, None, Head(begins[0].seq - 1, prev))
    with opened(segment.path) as descriptor:
        for _ in walk_segment(walk, segment, descriptor, 0, after):
            pass
    if walk.found is not None:
        problem, line, detail = walk.found
        raise Misconfigured(AUDIT_BROKEN, f"{segment.path}: line {line}: {problem}: {detail}")
    if walk.head != ends:
        detail = f"it ends with line {walk.head.seq}, and the next segment does not go on from that line"
        raise Misconfigured(AUDIT_BROKEN, f"{segment.path}: {detail}")
    return Stub(
        first=begins[0].seq,
        prev=prev,
        last=walk.head.seq,
        hash=walk.head.hash,
        at=walk.at,
        sha256=file_digest(segment.path),
    )


def _goes_on_from(segment: Segment) -> Head | None:
    """The end of the chain that the segment continues."""
    if segment.is_stub:
        stub = read_stub(segment.path)
        return None if stub is None else Head(stub.first - 1, stub.prev)
    begins = first_line(segment.path)
    return None if begins is None else Head(begins[0].seq - 1, begins[1]["prev"])


def restart_chain(
    directory: Path, writer: str, anchor: AuditAnchor | None, *, at: int, reason: str, actor: str
) -> Restarted:
    """Writes the first line of a new chain into a new segment. The line counts when it is anchored and on record.

    Raises Misconfigured `wrong-state` for a log that is undamaged, or that a running KDC writes; Unavailable
    `disk-full`.
    """
    problem = _problem_of(directory, writer, anchor)
    before = genesis(writer) if anchor is None else Head(anchor.seq, anchor.head)
    segments = segments_in(directory, writer)
    number = max((segment.number for segment in segments), default=0) + 1
    evidence = {one.path.name: file_digest(one.path) for one in segments if not one.is_stub}
    fields: dict[str, Any] = {
        "event": RESTARTED,
        "at": at,
        "kdc_id": writer,
        "segment": number,
        "actor": actor,
        "reason": reason,
        "anchor_seq": before.seq,
        "problem": problem,
        "evidence": evidence,
    }
    line, head = append(before, fields)
    path = file_of(directory, writer, number)
    try:
        with open(path, "xb", opener=_private) as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(directory)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise unwritable(path, error) from None
    return Restarted(path=path, head=head)


def _problem_of(directory: Path, writer: str, anchor: AuditAnchor | None) -> str:
    try:
        ChainFile.open(directory, writer, anchor).close()
    except Misconfigured as error:
        if error.code == "wrong-state":
            detail = f"a KDC writes the log of {writer} now: stop that KDC, then run this command again"
            raise Misconfigured("wrong-state", detail) from None
        if error.code != "audit-broken":
            raise
        return error.detail
    raise Misconfigured("wrong-state", f"the log of {writer} is undamaged: no new chain is needed")
