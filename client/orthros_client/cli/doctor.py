"""`orthros doctor`: checks each link from the key file to a ticket, and says what to do about the first that fails.

Each check is a row: what it looks at, and a function that returns what it saw or raises the reason.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from orthros_client.cli.commands import client_of
from orthros_client.cli.likely import likely
from orthros_client.cli.output import OK, exit_code_of, remedy_for, screen_of
from orthros_client.errors import Failure, OrthrosError, Refused, Unavailable
from orthros_client.local.api.values import Status
from orthros_client.local.client import Client
from orthros_client.local.conversation import socket_path
from orthros_client.reasons import reason_named
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.reasons.reason import Reason
from orthros_runtime.command_line import Parser, usage
from orthros_runtime.screen import life

__all__ = ["register"]

_WARN_OFFSET_MS: Final = 5_000
_CALL: Final = "call"
_MIXED: Final = Reason(
    0,
    "conflict",
    "The key file is of another principal than the daemon's.",
    "Name the daemon's own key file (its setting `keytab`), or give the daemon this one and restart it.",
)


def register(add: Callable[..., Parser]) -> None:
    """`orthros doctor`."""
    parser = add(
        notes="With --url it also makes one GET there, which must do no harm, and says which of the usual mistakes a\n"
        "failure looks like.",
        examples=(
            "orthros doctor --target orders",
            "orthros doctor --keytab /etc/orthros/web.keytab --target orders",
            "orthros doctor --url https://orders.example/v1/orders --target orders",
        ),
    )
    parser.add_argument("--keytab", metavar="FILE", help="check this key file as well")
    parser.add_argument("--target", metavar="TARGET", help="check that a ticket for this target can be had")
    parser.add_argument("--url", metavar="URL", help="check that TARGET answers there, by one GET")
    parser.add_argument("--cacert", metavar="FILE", help="trust these certification authorities")
    parser.set_defaults(run=_doctor, unix_socket=None)


def _doctor(arguments: argparse.Namespace) -> int:
    """`orthros doctor`: the exit code is that of the first failing check."""
    if arguments.url and not arguments.target:
        raise usage("--url needs --target, the service that should answer there", "Name it: `--target NAME`.")
    outcome = OK
    rows: list[dict[str, Any]] = []
    seen: list[Status] = []
    with client_of(arguments) as client:
        for name, check in _checks(arguments, client, seen):
            try:
                rows.append({"check": name, "state": "ok", "seen": check(), "code": "", "remedy": ""})
            except OrthrosError as error:
                words = error.detail or error.cause
                remedy = remedy_for(error, _names(arguments, seen))
                row: dict[str, Any] = {
                    "check": name,
                    "state": "failed",
                    "seen": words,
                    "code": error.code,
                    "remedy": remedy,
                }
                if name == _CALL:
                    row["looks_like"] = [f"{one.name} (at fault: {one.at})" for one in likely(error)]
                rows.append(row)
                outcome = outcome or exit_code_of(error)
    if arguments.output == "json":
        screen_of(arguments).show_rows(rows)
        return outcome
    width = max(len(row["check"]) for row in rows) + 2
    for row in rows:
        code = f"{row['code']}: " if row["code"] else ""
        sys.stdout.write(f"{row['check']:{width}}{row['state']:8}{code}{row['seen']}\n")
        if row["remedy"]:
            sys.stdout.write(f"{'':{width}}        remedy: {row['remedy']}\n")
        for words in row.get("looks_like", ()):
            sys.stdout.write(f"{'':{width}}        looks like: {words}\n")
    return outcome


def _names(arguments: argparse.Namespace, seen: Sequence[Status]) -> dict[str, str]:
    names = {"TARGET": arguments.target} if arguments.target else {}
    return names | {word: now.client.name for now in seen for word in ("CLIENT", "PRINCIPAL")}


def _checks(
    arguments: argparse.Namespace, client: Client, seen: list[Status]
) -> Iterator[tuple[str, Callable[[], str]]]:
    if arguments.keytab:
        yield "key file", lambda: _key_file(arguments.keytab)
    yield "socket", lambda: _socket(arguments.socket, client)
    yield "daemon", lambda: _daemon(client, seen, arguments.keytab)
    if seen:
        yield "kdc", lambda: _kdc(seen[0])
        yield "clock", lambda: _clock(seen[0])
        if arguments.target:
            yield f"policy {arguments.target}", lambda: _policy(client, arguments.target)
        if arguments.url:
            yield _CALL, lambda: _call(arguments, client)


def _key_file(path: str) -> str:
    keytab = Keytab.load(path)
    kind = "verify-only: it can check callers, not log in" if keytab.is_verify_only else "full"
    versions = ", ".join(map(str, keytab.kvnos))
    return f"{keytab.principal}, kvno {versions}, {kind}"


def _socket(argument: str | None, client: Client) -> str:
    client.ping()
    return os.fspath(socket_path(argument))


def _daemon(client: Client, seen: list[Status], keytab: str | None) -> str:
    now = client.status(probe=True)
    seen.append(now)
    if keytab:
        named = Keytab.load(keytab).principal
        if named != now.client:
            raise Failure(
                family=Refused.family,
                reason=_MIXED,
                detail=f"the daemon runs as {now.client}, the key file is of {named}",
            ).to_error()
    return f"version {now.version}, runs as {now.client}, up {life(now.uptime_s)}, {now.cached} held"


def _kdc(now: Status) -> str:
    if now.code is not None:
        reason = _reason_named(now.code)
        family = Unavailable.family if reason.number == 0 else Refused.family
        raise Failure(family=family, reason=reason, detail=now.detail or "").to_error()
    if now.newest_kvno > now.kvno:
        raise Failure.refused("key-retired", f"the key file has kvno {now.kvno}, the KDC {now.newest_kvno}").to_error()
    answering = [line.address for line in now.kdcs if line.good_age_s is not None and not line.failure]
    return f"{len(answering)} of {len(now.kdcs)} answered: {', '.join(answering) or 'none asked yet'}"


def _reason_named(code: str) -> Reason:
    unknown = Reason(0, code, "The daemon named a reason that this version does not know.", "Upgrade this side.")
    return reason_named(code) or unknown


def _clock(now: Status) -> str:
    seen = f"{now.offset_ms / 1000:+.3f} s to the realm"
    if abs(now.offset_ms) > _WARN_OFFSET_MS:
        raise Failure.refused("clock-skew", f"{seen}; corrected for, yet other programs suffer").to_error()
    return seen


def _call(arguments: argparse.Namespace, client: Client) -> str:
    from orthros_client.cli.call import probe  # which alone needs httpx

    return probe(arguments, client)


def _policy(client: Client, target: str) -> str:
    credentials = client.credentials(target)
    return f"granted {' '.join(credentials.scopes) or 'no scope'} for {life(credentials.life.whole_s)}"
