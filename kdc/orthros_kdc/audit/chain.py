"""Hash-chained lines: how one is written, and how a changed, missing or moved one is found.

Pure: bytes in, bytes or a verdict out. Knows no files and no meaning of what the lines say.

A line is compact JSON with sorted keys, among them `seq`, from 1 without gaps, and `prev`, the hash of the line
before; it ends with `,"hash":"..."}`, the SHA-256 over the line as it was before `hash` went in. The first `prev`
names the writer, so that one writer's file cannot stand in for another's. An anchor is the seq and hash of a
line, kept elsewhere: a chain alone shows edits, only an anchor shows that its end was cut or all of it remade.

A chain stands in segments. In a segment, times never go back and nothing follows a closing line. Behind an anchored
`kdc-stopped` nothing was being written, so only the lines that open the next segment may stand there unanchored. A line
that begins a new chain behind a damaged one is never unanchored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from attrs import define, field, frozen

from orthros_kdc.store.base import AuditAnchor
from orthros_protocol.errors import LocalMisuse
from orthros_protocol.primitives.derivation import checksum

__all__ = [
    "CLOSED",
    "OPENED",
    "RESTARTED",
    "STOPPED",
    "UNRECORDED",
    "Head",
    "Problem",
    "VerifyReport",
    "Walk",
    "append",
    "genesis",
    "peek",
    "verify",
]

OPENED: Final = "segment-opened"
CLOSED: Final = "segment-closed"
STOPPED: Final = "kdc-stopped"
RESTARTED: Final = "chain-restarted"
"""Events that the chain itself knows."""

UNRECORDED: Final = "this line begins a new chain, but no `audit restart` that wrote it is on record"
"""Such a line is forged, or the process that wrote it was killed."""

_RESERVED: Final = frozenset({"seq", "prev", "hash"})
_JSON: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_HASH_KEY: Final = b',"hash":"'
_HASH_CHARS: Final = 64
_TAIL_BYTES: Final = len(_HASH_KEY) + _HASH_CHARS + len(b'"}')


@frozen
class Head:
    """The end of a chain so far: the last line's number and hash."""

    seq: int
    hash: str


class Problem(StrEnum):
    """What is wrong with a chain."""

    EDITED = "edited"
    REMOVED = "removed"
    REORDERED = "reordered"
    REMADE = "remade"
    TRUNCATED = "truncated"
    APPENDED = "appended"
    BACKDATED = "backdated"
    UNKNOWN = "unknown-writer"
    MISSING = "missing"
    HALF_WRITTEN = "half-written"
    UNRECORDED = "unrecorded"


@frozen(kw_only=True)
class VerifyReport:
    """What was found. `line` is the first bad line, `head` the last good one; `unanchored` good lines lie behind
    the anchor: a running writer's last second, or what a crash left. `restarted` says who began a new chain behind
    this one and why: what is wrong with it is on record then."""

    writer: str
    head: Head
    unanchored: int
    problem: Problem | None = None
    line: int | None = None
    detail: str = ""
    restarted: str = ""

    @property
    def broken(self) -> bool:
        """Whether this is more than a crash can do, and not on record: a half-written last line loses no entry that
        was complete."""
        return self.problem not in (None, Problem.HALF_WRITTEN) and not self.restarted

    def __str__(self) -> str:
        tail = f", {self.unanchored} behind the anchor" if self.unanchored else ""
        if self.problem is None:
            return f"{self.writer}: intact, {self.head.seq} entries{tail}"
        return f"{self.writer}: line {self.line}: {self.problem}: {self.detail}{tail}"


def genesis(writer: str) -> Head:
    """The head of a chain without lines."""
    return Head(0, checksum(b"orthros audit 1\0" + writer.encode("ascii")))


def append(head: Head, fields: Mapping[str, Any]) -> tuple[bytes, Head]:
    """The next line, with its newline, and the head behind it. Raises LocalMisuse for a field of the chain's own."""
    if not _RESERVED.isdisjoint(fields):
        raise LocalMisuse("value-invalid", f"the fields {sorted(_RESERVED)} belong to the chain")
    seq = head.seq + 1
    body = _JSON.encode({**fields, "seq": seq, "prev": head.hash}).encode("ascii")
    line_hash = checksum(body)
    return body[:-1] + _HASH_KEY + line_hash.encode("ascii") + b'"}\n', Head(seq, line_hash)


def peek(line: bytes) -> tuple[Head, dict[str, Any]] | None:
    """The head that a line leads to and all its fields, if the line is whole and agrees with its own hash.

    Whether it belongs where it stands, only `verify` can tell.
    """
    if len(line) <= _TAIL_BYTES or line[-1:] != b"\n":
        return None
    body, tail = line[: -_TAIL_BYTES - 1], line[-_TAIL_BYTES - 1 : -1]
    line_hash = checksum(body + b"}")
    if tail != _HASH_KEY + line_hash.encode("ascii") + b'"}':
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if type(fields) is not dict or type(fields.get("seq")) is not int or type(fields.get("prev")) is not str:
        return None
    return Head(fields["seq"], line_hash), fields


@define
class Walk:
    """A walk along one writer's chain, segment by segment, until something is wrong."""

    writer: str
    anchor: AuditAnchor | None
    head: Head
    at: int = 0
    found: tuple[Problem, int, str] | None = None
    _closed: str = field(default="", init=False)
    _is_over: bool = field(default=False, init=False)

    @property
    def closed(self) -> str:
        """The closing event that the segment ends with so far, or nothing."""
        return self._closed

    def take(
        self, lines: Iterable[bytes], *, is_segment: bool = True, until: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Walks the lines of one file, each with its newline, and yields the fields of every good one.

        `is_segment` is false for the one file of a log that was written before there were segments: its times may go
        back, and it goes on behind closing lines. `until` is the number of the last line that counts in this file.
        """
        self._closed = ""
        rest = iter(lines)
        for line in rest:
            if until is not None and self.head.seq >= until:
                return
            seen = peek(line)
            found = _judge(line, seen, self.head, rest) or (self._out_of_place(seen) if is_segment else None)
            if found is None and seen is not None:
                found = self._behind_the_end(seen)
            if found is not None or seen is None:
                self.found = found
                return
            self.head, fields = seen
            self.at = max(self.at, _time_of(fields))
            self._closed = fields["event"] if fields.get("event") in (CLOSED, STOPPED) else ""
            if self.anchor is not None and self.head.seq == self.anchor.seq:
                if self.head.hash != self.anchor.head:
                    detail = "the line agrees with itself, but not with the anchor in the database"
                    self.found = (Problem.REMADE, self.head.seq, detail)
                    return
                self._is_over = self._closed == STOPPED
            yield fields

    def _out_of_place(self, seen: tuple[Head, dict[str, Any]] | None) -> tuple[Problem, int, str] | None:
        if seen is None:
            return None
        head, fields = seen
        if self._closed:
            return Problem.APPENDED, head.seq, f"it stands behind the closing line {self.head.seq}"
        if _time_of(fields) < self.at:
            return Problem.BACKDATED, head.seq, f"its time is {self.at - _time_of(fields)} ms before the line above"
        return None

    def _behind_the_end(self, seen: tuple[Head, dict[str, Any]]) -> tuple[Problem, int, str] | None:
        (head, fields), anchored = seen, 0 if self.anchor is None else self.anchor.seq
        if fields.get("event") == RESTARTED and head.seq > anchored:
            return Problem.REMADE, head.seq, UNRECORDED  # such a line is anchored by the transaction that records it
        if not self._is_over or fields.get("event") == OPENED:
            return None
        return Problem.APPENDED, head.seq, f"the writer had stopped with line {anchored}, as the database knows"

    def report(self) -> VerifyReport:
        """What was found so far, the end being here."""
        anchored = 0 if self.anchor is None else self.anchor.seq
        found = self.found
        if self.head.seq < anchored and (found is None or found[0] is Problem.HALF_WRITTEN):
            found = (Problem.TRUNCATED, self.head.seq + 1, f"the database has seen {anchored} lines")
        problem, line, detail = found or (None, None, "")
        return VerifyReport(
            writer=self.writer,
            head=self.head,
            unanchored=max(0, self.head.seq - anchored),
            problem=problem,
            line=line,
            detail=detail,
        )


def verify(
    lines: Iterable[bytes], *, writer: str, anchor: AuditAnchor | None, start: Head | None = None, timed: bool = False
) -> VerifyReport:
    """Walks `lines`, each with its newline, from `start` (the beginning of the chain by default) to their end."""
    walk = Walk(writer, anchor, start or genesis(writer))
    for _ in walk.take(lines, is_segment=timed):
        pass
    return walk.report()


def _time_of(fields: Mapping[str, Any]) -> int:
    at = fields.get("at")
    return at if type(at) is int else 0


def _judge(
    line: bytes, seen: tuple[Head, dict[str, Any]] | None, head: Head, rest: Iterator[bytes]
) -> tuple[Problem, int, str] | None:
    """What is wrong with `line` behind `head`, if anything. Reads `rest` only to tell removed from reordered."""
    due = head.seq + 1
    if not line.endswith(b"\n"):
        return Problem.HALF_WRITTEN, due, f"the last line ends after {len(line)} bytes"
    if seen is None:
        return Problem.EDITED, due, "the line does not agree with its own hash"
    reached, fields = seen
    if reached.seq == due:
        if fields["prev"] == head.hash:
            return None
        bad = max(1, head.seq)
        return Problem.EDITED, bad, f"line {due} does not continue it: one of both was written anew"
    if reached.seq < due:
        return Problem.REORDERED, due, f"entry {reached.seq} stands here"
    later = (peek(other) for other in rest)
    if any(other is not None and other[0].seq == due for other in later):
        return Problem.REORDERED, due, f"entry {reached.seq} stands here, entry {due} further down"
    return Problem.REMOVED, due, f"the entries {due} to {reached.seq - 1} are gone"
