"""`orthros-admin explain REF`: from the reference in a refusal to what the KDC knows about it.

Knows no decision; the audit log holds the reason that the caller was not told.
"""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve

from orthros_kdc.audit import AuditEntry, find_ref
from orthros_protocol.errors import Misconfigured
from orthros_protocol.reasons.table import reason_for
from orthros_runtime.screen import instant
from orthros_tools.admin.audit import entry_row
from orthros_tools.admin.command_line import PROGRAM, Nouns
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession
from orthros_tools.reasons import CATALOGUE

__all__ = ["register"]

_REF = re.compile(r"[0-9a-f]{16}", re.ASCII)
_UNKNOWN: Final = evolve(
    reason_for("not-found"),
    cause="No audit log here has this reference.",
    remedy="Compare it with the refusal. Each KDC keeps its own log, so ask where the refusal came from. "
    "If there are many refusals, the entry is written up to ten seconds later.",
)
# Label -> field of the entry; what an entry lacks is not shown.
_TOLD: Final = {
    "client": "client",
    "target": "target",
    "service": "service",
    "kind": "kind",
    "grant": "grant",
    "subject": "subject",
    "came through": "chain",
    "evidence": "evidence",
    "scopes": "scopes",
    "claimed, unproven": "claimed",
    "key id": "kid",
    "from": "source",
    "transaction": "txn",
    "detail": "detail",
    "refusals under this reference": "count",
    "reasons": "codes",
}


def register(nouns: Nouns) -> None:
    """Adds the command."""
    parser = nouns.command(
        "explain",
        _explain,
        "why a request was refused, by the reference in the refusal",
        examples=("explain 0f3a5c7e9b1d2f40",),
        notes="An unproven caller is told a reference only; this tells the rest.",
    )
    parser.add_argument("ref", metavar="REF", type=_reference, help="16 hexadecimal digits")


def _reference(text: str) -> str:
    if _REF.fullmatch(text.lower()) is None:
        raise ArgumentTypeError(f"{text!r} is not a reference of 16 hexadecimal digits")
    return text.lower()


async def _explain(desk: AdminSession, options: Namespace) -> Shown:
    entry = find_ref(desk.config.audit.directory, options.ref)
    if entry is None:
        raise Misconfigured(_UNKNOWN, options.ref)
    fields = entry.fields
    code = _code_of(fields)
    reason = CATALOGUE.get(code)
    row = {
        "ref": options.ref,
        "code": code or None,
        "cause": reason and reason.cause,
        "remedy": reason and reason.remedy,
        "entry": entry_row(entry),
    }
    lines = [f"{entry.event}, by {entry.writer}, {instant(entry.at // 1000)}"]
    lines += [f"{label}: {_word(fields[name])}" for label, name in _TOLD.items() if fields.get(name)]
    lines += [f"code: {code}"]
    lines += [f"cause: {reason.cause}", f"remedy: {reason.remedy}"] if reason is not None else []
    return Shown(rows=[row], lines=lines, remarks=_next_step(entry))


def _code_of(fields: Mapping[str, Any]) -> str:
    """The reason; of refusals that were summed up, the most frequent one."""
    codes = fields.get("codes")
    summed = str(codes[0]).rpartition(":")[0] if isinstance(codes, list) and codes else ""
    return str(fields.get("code", summed))


def _word(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _next_step(entry: AuditEntry) -> list[str]:
    client, target = (str(entry.fields.get(one, "")).partition("@")[0] for one in ("client", "target"))
    if not (client and target):
        return []
    scopes = entry.fields.get("scopes")
    asked = [f"--scope={scope}" for scope in scopes] if isinstance(scopes, list) else []
    asked += ["--jwt"] if entry.fields.get("kind") == "jwt" else []
    asked += _in_whose_name(entry)
    return [f"next: {shlex.join([PROGRAM, 'policy', 'explain', client, target, *asked])}"]


def _in_whose_name(entry: AuditEntry) -> list[str]:
    subject, chain = entry.fields.get("subject"), entry.fields.get("chain")
    if not subject:
        return []
    if isinstance(chain, list):
        return [f"--behalf={subject}", *(f"--via={name}" for name in chain)]
    return [f"--{'behalf' if entry.fields.get('grant') == 'token-exchange' else 'subject'}={subject}"]
