"""`orthros-admin audit`: tail, verify.

Knows how entries look to people; `orthros_kdc.audit` reads them and proves them.
"""

from __future__ import annotations

from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping
from typing import Any, Final

import trio

from orthros_kdc.admin import EVENTS as CHANGES
from orthros_kdc.admin import audit_logs
from orthros_kdc.audit import Entry, Follower, tail
from orthros_kdc.audit.chain import VerifyReport
from orthros_kdc.audit.events import EVENTS
from orthros_protocol import Misconfigured
from orthros_tools.admin.command_line import Nouns, from_one
from orthros_tools.admin.desk import Desk
from orthros_tools.admin.screen import Answer, Row, instant

__all__ = ["entry_row", "register"]

_FOLLOW_S: Final = 0.5
_COLUMNS: Final = ("writer", "entries", "unanchored", "problem", "line", "detail")
_CHAIN_FIELDS: Final = frozenset({"at", "event", "seq", "prev", "hash", "kdc_id", "facts"})


def register(nouns: Nouns) -> None:
    """Adds the noun."""
    verbs = nouns.noun("audit", "what was decided and changed, and by whom")
    tailing = verbs.add(
        "tail", _tail, "the newest entries of all logs",
        examples=("audit tail", "audit tail -n 100 --event tgs-refused", "audit tail --follow --event principal.added"),
        notes="With --follow and --output json, each entry is one JSON object on a line of its own.\n"
              f"Events: {' '.join(EVENTS)}.\nChanges by admins, which --event knows as well: {' '.join(CHANGES)}.",
    )  # fmt: skip
    tailing.add_argument("-n", metavar="N", dest="most", type=from_one, default=20, help="how many (default: 20)")
    tailing.add_argument("--follow", action="store_true", help="go on with new entries, until interrupted")
    tailing.add_argument("--event", metavar="E", type=_event, help="only entries of this event or change")
    verbs.add("verify", _verify, "proves that no entry was changed, cut or lost", examples=("audit verify",),
              notes="Every log against its hash chain, and its end against the anchor in the store.")  # fmt: skip


def entry_row(entry: Entry) -> dict[str, object]:
    """One entry as JSON shows it: all its fields, and whose log it stands in."""
    return {"writer": entry.writer, **entry.fields}


def _event(text: str) -> str:
    if text not in EVENTS and text not in CHANGES:
        raise ArgumentTypeError(f"{text!r} is no event; `orthros-admin audit tail --help` lists them")
    return text


async def _tail(desk: Desk, options: Namespace) -> Answer:
    directory = desk.config.audit.directory
    follower = Follower(directory)  # before the first look, so that nothing falls between the two
    entries = _newest(directory, options.most, options.event)
    if not options.follow:
        return Answer(rows=[entry_row(entry) for entry in entries], lines=[_line(entry) for entry in entries],
                      remarks=() if entries else ("no such entry",))  # fmt: skip
    shown = {(entry.writer, entry.seq) for entry in entries}
    try:
        while True:
            for entry in entries:
                desk.screen.show_row(entry_row(entry), _line(entry))
            await trio.sleep(_FOLLOW_S)
            entries = [entry for entry in follower.poll() if _matches(entry, options.event)]
            entries = [entry for entry in entries if (entry.writer, entry.seq) not in shown]
    except KeyboardInterrupt:  # how one stops following
        return Answer(streamed=True)


def _newest(directory: str, most: int, event: str | None) -> list[Entry]:
    """The newest `most` that match. Reads from the end, further back for as long as too few match."""
    depth = most
    while True:
        seen = tail(directory, depth)
        found = [entry for entry in seen if _matches(entry, event)]
        if len(found) >= most or len(seen) < depth:
            return found[-most:]
        depth *= 8


def _matches(entry: Entry, event: str | None) -> bool:
    return event is None or event in (entry.event, entry.fields.get("change"))


def _line(entry: Entry) -> str:
    facts = entry.fields.get("facts")
    told: dict[str, Any] = {key: value for key, value in entry.fields.items() if key not in _CHAIN_FIELDS}
    told |= facts if isinstance(facts, Mapping) else {}
    words = [f"{key}={_word(value)}" for key, value in told.items() if value not in (None, "")]
    return f"{instant(entry.at // 1000)}  {entry.writer}  {entry.event}  {' '.join(words)}"


def _word(value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return repr(text) if " " in text else text


async def _verify(desk: Desk, options: Namespace) -> Answer:
    async with desk.open_admin() as admin:
        reports = await audit_logs.verify(admin, desk.config.audit.directory)
    broken = [report for report in reports if report.broken]
    return Answer(
        rows=[_report_row(report) for report in reports],
        columns=_COLUMNS,
        problem=Misconfigured("audit-broken", str(broken[0])) if broken else None,
    )


def _report_row(report: VerifyReport) -> Row:
    return {
        "writer": report.writer,
        "entries": report.head.seq,
        "head": report.head.hash,
        "unanchored": report.unanchored,
        "problem": None if report.problem is None else str(report.problem),
        "line": report.line,
        "detail": report.detail or None,
    }
