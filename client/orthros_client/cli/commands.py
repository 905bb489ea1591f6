"""One function per command: ask the daemon, show the answer, return the exit code.

Knows the client library and how to show things; shows no key, and a token only on request.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from importlib.metadata import version as distribution_version
from typing import Any

from orthros_client.cli.output import OK, screen_of
from orthros_client.local.api.values import (
    CacheEntry,
    Status,
)
from orthros_client.local.client import Client
from orthros_protocol.exchanges.wants import WANT_JWT
from orthros_protocol.primitives.limits import MAX_TICKET_LIFE_S
from orthros_protocol.tickets.ticket import DELEGABLE
from orthros_runtime.command_line import Parser, duration
from orthros_runtime.screen import life

__all__ = [
    "client_of",
    "lifetime",
    "register_list",
    "register_status",
    "register_ticket",
    "register_token",
    "register_version",
]


def lifetime(text: str) -> int:
    """Seconds of a ticket's life, at most a day, as the type of an argument."""
    seconds = duration(text)
    if seconds > MAX_TICKET_LIFE_S:
        raise argparse.ArgumentTypeError("a ticket lives a day at most")
    return seconds


def register_ticket(add: Callable[..., Parser]) -> None:
    """`orthros ticket`."""
    parser = add(examples=("orthros ticket orders", "orthros ticket orders --scope read --scope list --ttl 15m"))
    _add_target(parser)
    parser.add_argument(
        "--ttl", type=lifetime, default=0, metavar="TIME", help="ask for this life: 90s, 15m (default: the longest)"
    )
    parser.set_defaults(run=_ticket)


def register_token(add: Callable[..., Parser]) -> None:
    """`orthros token`."""
    parser = add(
        examples=(
            "orthros token orders --scope read",
            'curl -H "Authorization: Bearer $(orthros token orders)" https://orders.example/',
        )
    )
    _add_target(parser)
    parser.set_defaults(run=_token)


def register_list(add: Callable[..., Parser]) -> None:
    """`orthros list`."""
    add(examples=("orthros list", "orthros list --output json")).set_defaults(run=_list)


def register_status(add: Callable[..., Parser]) -> None:
    """`orthros status`."""
    add(examples=("orthros status", "orthros status --output json")).set_defaults(run=_status)


def register_version(add: Callable[..., Parser]) -> None:
    """`orthros version`."""
    add(examples=("orthros version", "orthros version --output json")).set_defaults(run=_version)


def _add_target(parser: Parser) -> None:
    parser.add_argument("target", metavar="TARGET", help="name, or name@realm")
    parser.add_argument("--scope", action="append", metavar="S", help="ask for this scope (repeatable)")


def client_of(arguments: argparse.Namespace) -> Client:
    """The client that the global options describe."""
    return Client(arguments.socket, arguments.timeout)


def _ticket(arguments: argparse.Namespace) -> int:
    """`orthros ticket TARGET`."""
    with client_of(arguments) as client:
        credentials = client.credentials(arguments.target, arguments.scope, arguments.ttl)
    asked = None if arguments.scope is None else tuple(sorted(set(arguments.scope), key=lambda s: (len(s), s)))
    left = credentials.expires_in_s
    facts: dict[str, Any] = {
        "target": str(credentials.target),
        "client": str(credentials.client),
        "scopes": list(credentials.scopes),
        "expires_in_s" if arguments.output == "json" else "expires": int(left),
        "kvno": credentials.kvno,
        "flags": ["delegable"] if credentials.flags & DELEGABLE else [],
        "notes": credentials.describe_notes(asked),
    }
    if arguments.output == "table":
        facts["expires"] = f"in {life(left)}"
        facts["scopes"] = " ".join(credentials.scopes) or "none: it authenticates, and grants nothing"
        facts = {name: value for name, value in facts.items() if value != []}
    screen_of(arguments).show_facts(facts)
    return OK


def _token(arguments: argparse.Namespace) -> int:
    """`orthros token TARGET`: the JWT alone on stdout, so that it can be substituted into a command."""
    with client_of(arguments) as client:
        jwt = client.token(arguments.target, arguments.scope)
    if arguments.output == "json":
        facts = {
            "token": jwt.value,
            "target": str(jwt.target),
            "scopes": list(jwt.scopes),
            "expires_in_s": int(jwt.expires_in_s),
        }
        print(json.dumps(facts, indent=2))  # past the screen, which would cut the token out
    else:
        sys.stdout.write(jwt.value + "\n")
    return OK


def _list(arguments: argparse.Namespace) -> int:
    """`orthros list`."""
    with client_of(arguments) as client:
        entries = client.list()
    rows = [_row_of(entry, arguments.output) for entry in sorted(entries, key=lambda one: (one.target, one.kind))]
    if not rows and arguments.output == "table":
        sys.stdout.write("The daemon holds no ticket for you yet.\n")
        return OK
    screen_of(arguments).show_rows(rows)
    return OK


def _status(arguments: argparse.Namespace) -> int:
    """`orthros status`: exit code 4 when no fresh ticket could be served."""
    with client_of(arguments) as client:
        now = client.status(probe=True)
    screen_of(arguments).show_facts(_facts_of(now, arguments.output))
    return OK if now.ready else 4


def _version(arguments: argparse.Namespace) -> int:
    """`orthros version`."""
    number = distribution_version("orthros")
    if arguments.output == "json":
        screen_of(arguments).show_facts({"version": number})
    else:
        sys.stdout.write(f"orthros {number}\n")
    return OK


def _row_of(entry: CacheEntry, form: str) -> dict[str, Any]:
    asked = ["(all)"] if entry.asked is None else list(entry.asked)
    row: dict[str, Any] = {
        "target": str(entry.target),
        "kind": "token" if entry.kind == WANT_JWT else "ticket",
        "asked": asked,
        "scopes": list(entry.scopes),
    }
    if form == "json":
        row["asked"] = None if entry.asked is None else asked
        return row | {
            "expires_in_s": entry.remaining_ms // 1000,
            "renew_in_s": entry.renew_ms // 1000,
            "ttl_s": entry.ttl_s,
            "kvno": entry.kvno,
        }
    return row | {"expires": life(entry.remaining_ms / 1000), "renewal": life(entry.renew_ms / 1000)}


def _facts_of(now: Status, form: str) -> dict[str, Any]:
    kdcs = [{"address": line.address, "answered_s_ago": line.good_age_s, "failure": line.failure} for line in now.kdcs]
    if form == "json":
        return {
            "ready": now.ready,
            "code": now.code,
            "detail": now.detail,
            "client": str(now.client),
            "kvno": now.kvno,
            "newest_kvno": now.newest_kvno,
            "tgt_remaining_s": now.tgt_remaining_s,
            "cached": now.cached,
            "clock_offset_ms": now.offset_ms,
            "kdcs": kdcs,
            "login_file": now.login_file,
            "uptime_s": now.uptime_s,
            "version": now.version,
        }
    words = "yes" if now.ready else f"no: {now.code}" + (f" ({now.detail})" if now.detail else "")
    return {
        "ready": words,
        "client": str(now.client),
        "key version": _kvno_words(now),
        "login": _login_words(now),
        "cached": f"{now.cached} tickets and tokens",
        "clock": f"{now.offset_ms / 1000:+.3f} s to the realm",
        "kdcs": [_kdc_words(line) for line in kdcs],
        "uptime": life(now.uptime_s),
        "version": now.version,
    }


def _kvno_words(now: Status) -> str:
    if now.login_file is not None:
        return "none: a worker's daemon holds no key"
    return str(now.kvno) if now.kvno >= now.newest_kvno else f"{now.kvno}, outdated: the KDC has {now.newest_kvno}"


def _login_words(now: Status) -> str:
    words = f"valid for {life(now.tgt_remaining_s)}" if now.tgt_remaining_s else "none"
    return words if now.login_file is None else f"{words}; narrowed, from {now.login_file}"


def _kdc_words(line: dict[str, Any]) -> str:
    if line["failure"]:
        return f"{line['address']}  failing: {line['failure']}"
    if line["answered_s_ago"] is None:
        return f"{line['address']}  not asked yet"
    return f"{line['address']}  answered {life(line['answered_s_ago'])} ago"
