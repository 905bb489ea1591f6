"""`orthros renew` and `orthros forget`: what the daemon holds is asked for again, or dropped.

Shows what became of each ticket. Knows no key.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from orthros_client.cli.commands import client_of
from orthros_client.cli.output import OK, exit_code_of, remedy_for, screen_of
from orthros_client.errors import OrthrosError, TicketRefused
from orthros_client.local.api.values import Renewal, Renewed
from orthros_client.local.client import Client
from orthros_protocol.exchanges.wants import WANT_JWT
from orthros_protocol.primitives.names import Principal
from orthros_runtime.command_line import Parser
from orthros_runtime.screen import life

__all__ = ["register_forget", "register_renew"]


def register_renew(add: Callable[..., Parser]) -> None:
    """`orthros renew`."""
    parser = add(
        notes="The daemon asks the KDC again, for one target or for all that you may use. A ticket without a\n"
        "successor stays, and the exit code is that of the first failure. Programs that run ask the daemon again\n"
        "within a minute, or with the next call after a refused one. `orthros forget` drops tickets and asks nobody.",
        examples=("orthros renew", "orthros renew orders"),
    )
    _add_target(parser)
    parser.set_defaults(run=_renew)


def register_forget(add: Callable[..., Parser]) -> None:
    """`orthros forget`."""
    parser = add(
        notes="The daemon drops what it holds, for one target or for all that you may use, from memory and from its\n"
        "cache file. Tickets that other users of this host were given stay, unless root or the daemon's own user\n"
        "asks. Programs that run may hold a ticket for a minute more; it is good until its end wherever it is.",
        examples=("orthros forget", "orthros forget orders"),
    )
    _add_target(parser)
    parser.set_defaults(run=_forget)


def _add_target(parser: Parser) -> None:
    parser.add_argument("target", metavar="TARGET", nargs="?", help="name, or name@realm (default: all)")


def _renew(arguments: argparse.Namespace) -> int:
    """`orthros renew [TARGET]`. The exit code is that of the first failure."""
    rows: list[dict[str, Any]] = []
    code = OK
    with client_of(arguments) as client:
        names = _targets(client, arguments.target)
        for name in names:
            try:
                renewed = client.renew(name)
            except TicketRefused as refusal:
                if refusal.code == "not-found" and arguments.target is None:
                    continue  # it has ended since it was listed
                if refusal.code == "not-found":
                    refusal.advice = f"`orthros ticket {name}` obtains one; `orthros list` shows what is held."
                raise
            rows += _rows_of(renewed, arguments.output)
            code = code or next((exit_code_of(error) for error in _errors_in(renewed)), OK)
            if arguments.output == "table":
                for error in _errors_in(renewed):
                    _explain(client, name, error)
    if not rows and arguments.output == "table":
        sys.stdout.write("The daemon holds no ticket for you yet.\n")
        return OK
    screen_of(arguments).show_rows(rows)
    return code


def _forget(arguments: argparse.Namespace) -> int:
    """`orthros forget [TARGET]`."""
    rows: list[dict[str, Any]] = []
    with client_of(arguments) as client:
        for name in _targets(client, arguments.target):
            found = client.forget(name)
            rows.append({"target": name, "forgotten": found.dropped, "kept_for_others": found.kept})
        if arguments.target is None:
            found = client.forget(None)  # what is on behalf of callers is on no list
            if found.dropped:
                rows.append({"target": "on behalf of callers", "forgotten": found.dropped, "kept_for_others": 0})
    if not rows and arguments.output == "table":
        sys.stdout.write("The daemon holds no ticket for you.\n")
        return OK
    screen_of(arguments).show_rows(rows)
    return OK


def _targets(client: Client, named: str | None) -> list[str]:
    """The names to ask for: the one that was typed, else all on the list."""
    if named is not None:
        return [named]
    found: set[Principal] = {entry.target for entry in client.list()}
    return [str(target) for target in sorted(found)]


def _errors_in(renewed: Renewed) -> list[OrthrosError]:
    return [one.failure.to_error() for one in renewed.renewals if one.failure is not None]


def _rows_of(renewed: Renewed, form: str) -> list[dict[str, Any]]:
    rows = [_row_of(one, form) for one in renewed.renewals]
    if renewed.others and rows:
        rows.append(dict.fromkeys(rows[0]) | {"target": rows[0]["target"], "result": f"and {renewed.others} others"})
    return rows


def _row_of(one: Renewal, form: str) -> dict[str, Any]:
    entry = one.entry
    row: dict[str, Any] = {
        "target": str(entry.target),
        "kind": "token" if entry.kind == WANT_JWT else "ticket",
        "asked": ["(all)"] if entry.asked is None else list(entry.asked),
        "scopes": list(entry.scopes),
    }
    left_s = entry.remaining_ms / 1000
    if form == "json":
        row["asked"] = None if entry.asked is None else list(entry.asked)
        row["expires_in_s"] = int(left_s)
        row["result"] = "renewed" if one.failure is None else one.failure.reason.name
        return row
    row["expires"] = life(left_s)
    row["result"] = "renewed" if one.failure is None else f"the old one stays: {one.failure.reason.name}"
    return row


def _explain(client: Client, name: str, error: OrthrosError) -> None:
    """Why there is no other ticket, in one line, with the remedy."""
    names = {"TARGET": name.partition("@")[0]}
    if isinstance(error, TicketRefused):
        names["CLIENT"] = names["PRINCIPAL"] = client.status().client.name
    seen = f" ({error.detail})" if error.detail else ""
    sys.stderr.write(f"orthros: {name}: {error.cause}{seen} Remedy: {remedy_for(error, names)}\n")
