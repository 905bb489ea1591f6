"""`orthros-admin audit`: tail, verify, archive, restart, export.

Knows how entries look to people; `orthros_kdc.audit` reads them and proves them.
"""

from __future__ import annotations

import json
import os
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import trio

from orthros_kdc.admin import EVENTS as CHANGES
from orthros_kdc.admin import audit_logs
from orthros_kdc.audit import ADMIN_WRITER, AuditEntry, Follower, tail
from orthros_kdc.audit.admin_lines import lines_backwards, lines_of
from orthros_kdc.audit.chain import CLOSED, OPENED, RESTARTED, VerifyReport, peek
from orthros_kdc.audit.events import EVENTS
from orthros_kdc.audit.reader import entry_of
from orthros_kdc.reasons import AUDIT_BROKEN
from orthros_kdc.store.base import Transaction
from orthros_protocol.errors import Misconfigured
from orthros_protocol.keys.full_disk import unwritable
from orthros_runtime.clocks import wall_clock
from orthros_runtime.command_line import duration
from orthros_runtime.screen import Row, instant
from orthros_tools.admin.command_line import Nouns, Verbs, from_one
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession
from orthros_tools.reasons import CATALOGUE

__all__ = ["entry_row", "register"]

_FOLLOW_S: Final = 0.5
_COLUMNS: Final = ("writer", "entries", "unanchored", "problem", "line", "detail")
# What a line of the screen has elsewhere, or what only `audit verify` needs.
_CHAIN_FIELDS: Final = frozenset({"at", "event", "seq", "prev", "hash", "kdc_id", "facts", "changes"})
_KNOWN: Final = (*EVENTS, OPENED, CLOSED, RESTARTED)

Matching = Callable[[AuditEntry], bool]


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("audit", "what was decided and changed, and by whom")
    tailing = verbs.add(
        "tail",
        _tail,
        "the newest entries of all logs",
        examples=(
            "audit tail",
            "audit tail -n 100 --event tgs-refused",
            "audit tail --client shop --since 15m",
            "audit tail --follow --event principal.added",
        ),
        notes="With --follow and --output json, each entry is one JSON object on a line of its own.\n"
        f"Events: {' '.join(_KNOWN)}.\nChanges by admins, which --event knows as well: {' '.join(CHANGES)}.",
    )
    tailing.add_argument("-n", metavar="N", dest="most", type=from_one, default=20, help="how many (default: 20)")
    tailing.add_argument("--follow", action="store_true", help="go on with new entries, until interrupted")
    tailing.add_argument("--event", metavar="E", type=_event, help="only entries of this event or change")
    tailing.add_argument("--client", metavar="NAME", type=_name, help="only entries about this client")
    tailing.add_argument("--target", metavar="NAME", type=_name, help="only entries about this target")
    tailing.add_argument("--code", metavar="CODE", type=_code, help="only refusals with this code")
    tailing.add_argument(
        "--since",
        metavar="WHEN",
        type=_since,
        default=0,
        help="only entries since 90s, 15m or 1h ago, or since 2027-01-31T10:00:00Z",
    )
    verifying = verbs.add(
        "verify",
        _verify,
        "proves that no entry was changed, cut, forged or lost",
        examples=("audit verify", "audit verify --also /archive/orthros"),
        notes="Every log against its hash chain, and its end against the anchor in the store;\n"
        "the record of changes by admins against what each KDC took into force.",
    )
    verifying.add_argument("--also", metavar="DIR", action="append", default=[], help="where archived segments are")
    _register_keeping(verbs)


def _register_keeping(verbs: Verbs) -> None:
    archiving = verbs.add(
        "archive",
        _archive,
        "moves closed segments to another folder",
        examples=("audit archive --to /archive/orthros",),
        notes="A stub with the hashes stays, so that `audit verify` still proves the whole chain.",
    )
    archiving.add_argument("--to", metavar="DIR", required=True, help="an existing folder for the archive")
    restarting = verbs.add(
        "restart",
        _restart,
        "begins a new chain for a KDC whose log is damaged or lost",
        examples=("audit restart kdc-1 --reason 'disk replaced, log lost'",),
        notes="The first line says where the old chain stood, why there is a new one, and who began it.\n"
        "Stop the KDC first. With `admin` as WRITER it accepts the changes that no line of the record\n"
        "of changes names; no KDC has to stop for that.",
    )
    restarting.add_argument("writer", metavar="WRITER", help="the KDC's name in its log, `audit.writer`; or admin")
    restarting.add_argument("--reason", metavar="TEXT", required=True, help="the cause, for later readers of the log")
    exporting = verbs.add(
        "export",
        _export,
        "the record of changes by admins, as lines of a chained log",
        examples=("audit export", "audit export --to /archive/orthros/admin-record.jsonl"),
        notes="A file that has the beginning already gets what is missing, if the record goes on from it.",
    )
    exporting.add_argument("--to", metavar="FILE", help="append to this file instead of standard output")


def entry_row(entry: AuditEntry) -> dict[str, object]:
    """One entry as JSON shows it: all its fields, and whose log it stands in."""
    return {"writer": entry.writer, **entry.fields}


def _event(text: str) -> str:
    if text not in _KNOWN and text not in CHANGES:
        raise ArgumentTypeError(f"{text!r} is no event; `orthros-admin audit tail --help` lists them")
    return text


def _code(text: str) -> str:
    if text not in CATALOGUE:
        raise ArgumentTypeError(f"{text!r} is no code of a refusal; docs/operations.md lists them")
    return text


def _name(text: str) -> str:
    return text.partition("@")[0]


def _since(text: str) -> int:
    """Milliseconds since 1970."""
    try:
        return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)
    except ValueError:
        pass
    try:
        return wall_clock() - duration(text) * 1000
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{error}, or a time such as 2027-01-31T10:00:00Z") from None


def _matching(options: Namespace) -> Matching:
    def matches(entry: AuditEntry) -> bool:
        fields = entry.fields
        named = all(
            wanted is None or _name(str(fields.get(field, ""))) == wanted
            for field, wanted in (("client", options.client), ("target", options.target))
        )
        told = (fields.get("code"), *(str(one).partition(":")[0] for one in fields.get("codes", ())))
        return (
            named
            and entry.at >= options.since
            and (options.event is None or options.event in (entry.event, fields.get("change")))
            and (options.code is None or options.code in told)
        )

    return matches


async def _tail(desk: AdminSession, options: Namespace) -> Shown:
    directory, matches = desk.config.audit.directory, _matching(options)
    follower = Follower(directory)  # before the first look, so that nothing falls between the two
    async with desk.open_store() as store:

        def look(tx: Transaction) -> tuple[list[AuditEntry], int]:
            newest = tx.admin_head()
            return tail(directory, options.most, matching=matches, changes=_changes(tx, options.since)), (
                0 if newest is None else newest.seq
            )

        entries, seen = await store.read(look)
        if not options.follow:
            return Shown(
                rows=[entry_row(entry) for entry in entries],
                lines=[_line(entry) for entry in entries],
                remarks=() if entries else ("no such entry",),
            )
        shown = {(entry.writer, entry.seq) for entry in entries}
        try:
            while True:
                for entry in entries:
                    desk.screen.show_next(entry_row(entry), _line(entry))
                await trio.sleep(_FOLLOW_S)
                rows = await store.read(lambda tx: tuple(lines_of(tx, seen)))  # noqa: B023  # awaited at once
                seen = rows[-1].seq if rows else seen
                found = sorted([*follower.poll(), *(entry_of(ADMIN_WRITER, row.line) for row in rows)])
                entries = [one for one in found if matches(one) and (one.writer, one.seq) not in shown]
        except KeyboardInterrupt:  # how one stops following
            return Shown(streamed=True)


def _changes(tx: Transaction, since: int) -> Iterator[AuditEntry]:
    """Administration's entries, newest first."""
    for row in lines_backwards(tx):
        if row.at < since:
            return
        yield entry_of(ADMIN_WRITER, row.line)


def _line(entry: AuditEntry) -> str:
    facts = entry.fields.get("facts")
    told: dict[str, Any] = {key: value for key, value in entry.fields.items() if key not in _CHAIN_FIELDS}
    told |= facts if isinstance(facts, Mapping) else {}
    words = [f"{key}={_word(value)}" for key, value in told.items() if value not in (None, "")]
    return f"{instant(entry.at // 1000)}  {entry.writer}  {entry.event}  {' '.join(words)}"


def _word(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return repr(text) if " " in text else text


async def _verify(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        reports = await audit_logs.verify(admin, desk.config.audit.directory, *options.also)
    broken = [report for report in reports if report.broken]
    return Shown(
        rows=[_report_row(report) for report in reports],
        columns=_COLUMNS,
        problem=Misconfigured(AUDIT_BROKEN, str(broken[0])) if broken else None,
    )


def _report_row(report: VerifyReport) -> Row:
    restarted = f"restarted by {report.restarted}" if report.restarted else ""
    return {
        "writer": report.writer,
        "entries": report.head.seq,
        "head": report.head.hash,
        "unanchored": report.unanchored,
        "problem": None if report.problem is None else str(report.problem),
        "line": report.line,
        "detail": "; ".join(filter(None, (report.detail, restarted))) or None,
    }


async def _archive(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        moved = await audit_logs.archive(admin, desk.config.audit.directory, options.to)
    return Shown(
        rows=[
            {
                "writer": one.segment.writer,
                "segment": one.segment.number,
                "entries": one.stub.last - one.stub.first + 1,
                "file": str(one.copy),
                "sha256": one.stub.sha256,
            }
            for one in moved
        ],
        columns=("writer", "segment", "entries", "file"),
        remarks=() if moved else ("nothing to move: the newest segment of each log stays",),
    )


async def _restart(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        if options.writer == ADMIN_WRITER:
            line = await audit_logs.accept_unrecorded(admin, options.reason)
            return Shown(rows=[{"writer": ADMIN_WRITER, "line": line, "file": None}])
        made = await audit_logs.restart(admin, desk.config.audit.directory, options.writer, options.reason)
    return Shown(
        rows=[{"writer": options.writer, "line": made.head.seq, "file": str(made.path)}],
        remarks=("start the KDC again; keep the old files as evidence",),
    )


async def _export(desk: AdminSession, options: Namespace) -> Shown:
    async with desk.open_admin() as admin:
        lines = await audit_logs.record(admin)
    if options.to is None:
        return Shown(rows=[json.loads(line) for line in lines], lines=[line.decode("ascii")[:-1] for line in lines])
    added = await trio.to_thread.run_sync(_extend, Path(options.to), lines)
    said = f"{added} of {len(lines)} changes appended to {options.to}"
    return Shown(rows=[{"file": options.to, "added": added}], remarks=[said])


def _extend(path: Path, lines: tuple[bytes, ...]) -> int:
    """Appends what the file lacks. Raises Misconfigured `audit-broken` when the record does not go on from it."""
    try:
        with open(path, "a+b", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.seek(0)
            known = file.read().splitlines(keepends=True)
            wanted = [line for line in lines if not known or _seq(line) > _seq(known[-1])]
            if known and known[-1] not in lines:
                raise Misconfigured(AUDIT_BROKEN, f"the record in the database does not go on from {path}")
            file.write(b"".join(wanted))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from None
    return len(wanted)


def _seq(line: bytes) -> int:
    seen = peek(line)
    return 0 if seen is None else seen[0].seq
