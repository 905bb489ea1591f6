"""How the command speaks: aligned tables or JSON on stdout, explained errors on stderr, exit codes.

Knows no daemon; gets values and shows them. Never given a key.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from orthros_client.errors import (
    MaybeExecuted,
    OrthrosError,
    PeerMisbehaved,
    Refused,
    TicketRefused,
    TicketUnavailable,
    Unavailable,
    fill_remedy,
)

__all__ = ["OK", "USAGE", "exit_code_of", "life", "remedy_for", "report", "show"]

OK: Final = 0
USAGE: Final = 1
_REMOTE: Final = 2
_REFUSED: Final = 3
_UNAVAILABLE: Final = 4
_NOT_FOUND: Final = 5

_REFERENCE: Final = re.compile(r"\breference ([0-9a-f]{16})\b")
_BY_CODE: Final = {
    "not-found": _NOT_FOUND,
    "kdc-fault": _REMOTE,
    "target-unavailable": _UNAVAILABLE,
    "rate-limited": _UNAVAILABLE,
    "not-attempted": _UNAVAILABLE,
}


def exit_code_of(error: OrthrosError) -> int:
    """1 usage or local, 2 remote, 3 refused by policy, 4 unavailable, 5 not found."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    if isinstance(error, Unavailable) and not isinstance(error, MaybeExecuted):
        return _UNAVAILABLE
    if isinstance(error, Refused):
        return _REFUSED
    return _REMOTE if isinstance(error, PeerMisbehaved | Unavailable) else USAGE


def remedy_for(error: OrthrosError, names: Mapping[str, str]) -> str:
    """The remedy with `names` in the place of its placeholders, so that it can be pasted."""
    found = _REFERENCE.search(error.detail)
    return fill_remedy(error.remedy, names if found is None else {**names, "REF": found[1]})


def report(error: OrthrosError, form: str, names: Mapping[str, str] | None = None) -> int:
    """Explains the error on stderr; returns the exit code.

    `names` replace the placeholders in a remedy (CLIENT, TARGET, PRINCIPAL), so that it can be pasted.
    """
    facts: dict[str, Any] = {"error": error.code, "cause": error.cause}
    if error.detail:
        facts["detail"] = error.detail
    facts["remedy"] = remedy_for(error, names or {})
    if isinstance(error, TicketRefused | TicketUnavailable):
        if error.ref:
            facts["reference"] = error.ref
        if error.retry_s:
            facts["retry"] = f"in {error.retry_s} s" if form == "table" else error.retry_s
        if error.remaining_s:
            facts["held"] = f"another ticket for this target, for {life(error.remaining_s)}"
    if form == "json":
        sys.stderr.write(json.dumps(facts) + "\n")
    else:
        sys.stderr.write("".join(f"{name + ':':11}{value}\n" for name, value in facts.items()))
    return exit_code_of(error)


def show(rows: Sequence[Mapping[str, Any]], form: str, *, one: bool = False) -> None:
    """Rows as JSON (a list, or `one` object), or as an aligned table; `one` row as name and value lines."""
    if form == "json":
        sys.stdout.write(json.dumps(rows[0] if one else list(rows), indent=2) + "\n")
    elif one:
        width = max(map(len, rows[0])) + 2
        for name, value in rows[0].items():
            lines = value if isinstance(value, list) else [value]
            for at, line in enumerate(lines or ["-"]):
                sys.stdout.write(f"{name if at == 0 else '':{width}}{line}\n")
    elif rows:
        names = list(rows[0])
        cells = [[_cell(row[name]) for name in names] for row in rows]
        widths = [max(len(name), *(len(line[at]) for line in cells)) for at, name in enumerate(names)]
        for line in [[name.upper() for name in names], *cells]:
            sys.stdout.write(
                "  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() + "\n"
            )


def life(seconds: float) -> str:
    """`3599` as `59 min 59 s`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return "-" if value is None or value == "" else str(value)
