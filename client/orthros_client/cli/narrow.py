"""`orthros narrow` and `orthros receive`: less authority than one has, in a file for a program or in a box for another.

Asks the daemon for tickets alone: narrowing needs nobody. Shows what was left, never a key; overwrites nothing.
"""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from orthros_client.cli.commands import client_of, lifetime
from orthros_client.cli.inspect import read_input
from orthros_client.cli.output import OK, screen_of
from orthros_client.credentials.credential_file import load_credentials, save_credentials
from orthros_client.credentials.credentials import Credentials
from orthros_client.errors import LocalMisuse, Misconfigured, Refused
from orthros_client.inspection import Eye
from orthros_client.inspection import inspect as look
from orthros_client.inspection.words import caveat_words, date_words, subject_words
from orthros_client.local.client import Client
from orthros_client.local.conversation import parse_target
from orthros_client.reasons import PLACE_UNSAFE
from orthros_protocol.keys.secret_file import write_secret_file
from orthros_protocol.primitives.limits import MAX_FRAME_BYTES
from orthros_protocol.primitives.names import Principal, check_scopes
from orthros_runtime.command_line import Parser
from orthros_runtime.screen import life

__all__ = ["register_narrow", "register_receive"]

_ROUNDING_S: Final = 2
_SECRET: Final = "whoever reads the file can use it until then"
_READABLE: Final = "you, and whoever held it before you, can read what is done with it"
_HANDED: Final = "whoever handed it over can read what is done with it"


def register_narrow(add: Callable[..., Parser]) -> None:
    """`orthros narrow`."""
    parser = add(
        notes="Each option takes something away, for good; what is not named stays. --method and --path make it good\n"
        "for HTTP only. The file is a secret: `orthros call --credentials FILE` uses it. With --to, it is a box that\n"
        "only PRINCIPAL can open, with `orthros receive`. Whoever narrows can read what is done with the result.",
        examples=(
            "orthros narrow orders --scope read --method GET --path /v1/orders --lifetime 10m --out job.credentials",
            "orthros narrow --from job.credentials --path /v1/orders/7 --out step.credentials",
            "orthros narrow orders --scope read --to reports --out for-reports.handed",
            "orthros narrow orders --demand 'approvals=release 7' --about deployer --out release.credentials",
        ),
        exit_codes={
            0: "the file was written",
            1: "wrong usage: nothing is taken away, the file exists or lies in an unsafe place, a value that is none",
            3: "refused by policy; or it would be wider than the ticket or the file it comes from",
            4: "unavailable: no daemon, no KDC, no answer in time, a full disk",
        },
    )
    parser.set_defaults(run=_narrow)
    parser.add_argument("target", nargs="?", metavar="TARGET", help="name, or name@realm; not needed with --from")
    parser.add_argument("--out", required=True, metavar="FILE", help="what is written, mode 0600; must not exist")
    parser.add_argument("--from", dest="source", metavar="FILE", help="narrow this credential file further")
    parser.add_argument("--to", metavar="PRINCIPAL", help="hand over: write a box that only PRINCIPAL can open")
    less = parser.add_argument_group("what is left")
    less.add_argument("--scope", action="append", metavar="S", help="these scopes (repeatable); '' for none at all")
    less.add_argument("--method", action="append", metavar="M", help="these HTTP methods (repeatable)")
    less.add_argument("--path", metavar="P", help="this HTTP path and what lies below it")
    less.add_argument("--lifetime", type=lifetime, metavar="TIME", help="such as 90s, 10m or 1h")
    less.add_argument("--peer", action="append", metavar="CIDR", help="from these networks (repeatable)")
    less.add_argument(
        "--app", action="append", metavar="NS/NAME=VALUE", help="a restriction of the service's own (repeatable)"
    )
    less.add_argument(
        "--demand",
        action="append",
        metavar="DISCHARGER=PREDICATE",
        help="only with the word of DISCHARGER that PREDICATE holds (repeatable)",
    )
    less.add_argument("--about", metavar="NAME", help="of whom the predicate of --demand holds (default: yourself)")


def register_receive(add: Callable[..., Parser]) -> None:
    """`orthros receive`."""
    parser = add(
        notes="The daemon opens it with this host's key, if you may use the target. The service will see the name of\n"
        "whoever narrowed it, who can read what you do with it.",
        examples=(
            "orthros receive for-reports.handed --out orders.credentials",
            "orthros call --credentials orders.credentials --target orders https://orders.example/v1/orders",
        ),
        exit_codes={
            0: "the file was written",
            1: "wrong usage: the file exists, lies in an unsafe place or is no hand-over",
            2: "it does not open: for another principal, or altered",
            3: "refused by policy, or it has ended",
            4: "unavailable: no daemon",
        },
    )
    parser.set_defaults(run=_receive)
    parser.add_argument("file", metavar="FILE", help="the hand-over; - is standard input")
    parser.add_argument("--out", required=True, metavar="FILE", help="the credential file, mode 0600; must not exist")


def _narrow(arguments: argparse.Namespace) -> int:
    """`orthros narrow`. Raises OrthrosError before anything is written."""
    _require_less(arguments)
    _require_place(arguments.out)
    limits = _limits_in(arguments)
    with client_of(arguments) as client:
        credentials = _start(arguments, client)
        credentials, notes = _narrowed(credentials, arguments, limits)
        for discharger, predicate in _demands_in(arguments):
            about = None if arguments.about is None else _principal(arguments.about, credentials.client.realm)
            arguments.target = discharger  # for the remedies
            credentials = credentials.demand(client.credentials(discharger), predicate, about=about)
        if arguments.to is None:
            save_credentials(credentials, arguments.out)
            return _report(arguments, credentials, [*notes, _SECRET], None)
        arguments.target = arguments.to
        receiver = client.credentials(arguments.to)
        write_secret_file(arguments.out, credentials.hand_over(receiver))
    return _report(arguments, credentials, [*notes, _READABLE], receiver.target)


def _receive(arguments: argparse.Namespace) -> int:
    """`orthros receive`. Raises OrthrosError before anything is written."""
    _require_place(arguments.out)
    data, _mode = read_input(arguments.file, most_bytes=MAX_FRAME_BYTES)
    found = look(data, Eye(now_s=0))
    if found.kind != "hand-over" or "came_as" in found.facts:
        raise LocalMisuse("value-invalid", f"{arguments.file} is no hand-over ({found.title})")
    with client_of(arguments) as client:
        credentials = client.receive(data)
    save_credentials(credentials, arguments.out)
    return _report(arguments, credentials, [_SECRET, _HANDED], None)


def _require_less(arguments: argparse.Namespace) -> None:
    names = ("scope", "method", "path", "lifetime", "peer", "app", "demand")
    if arguments.target is None and arguments.source is None:
        raise LocalMisuse("value-invalid", "name the TARGET, or a credential file with --from")
    if arguments.about is not None and not arguments.demand:
        raise LocalMisuse("value-invalid", "--about says whom a --demand concerns, and there is none")
    passes_on = arguments.source is not None and arguments.to is not None
    if not passes_on and all(getattr(arguments, name) is None for name in names):
        wanted = ", ".join(f"--{name}" for name in names)
        raise LocalMisuse(
            "value-invalid", f"nothing would be taken away: name one of {wanted}; for the whole ticket say --lifetime"
        )


def _require_place(path: str) -> None:
    """Refuses a place that is taken or unsafe, before anybody is asked for anything."""
    place = Path(path)
    if path in ("", "-") or place.name in ("", ".."):
        raise LocalMisuse("value-invalid", "--out names a file: keys go to no terminal and no pipe")
    if os.path.lexists(place):
        raise Misconfigured("file-exists", path)
    try:
        facts = place.parent.stat()
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{place.parent}: {error.strerror}") from None
    if not stat.S_ISDIR(facts.st_mode):
        raise Misconfigured("file-unreadable", f"{place.parent} is no folder")
    if facts.st_uid not in (os.geteuid(), 0):
        raise Misconfigured(PLACE_UNSAFE, f"{place.parent} belongs to uid {facts.st_uid}")
    others = facts.st_mode & 0o002 or (facts.st_mode & 0o020 and facts.st_gid != os.getegid())
    if others and not facts.st_mode & stat.S_ISVTX:
        raise Misconfigured(PLACE_UNSAFE, f"{place.parent} has mode {stat.S_IMODE(facts.st_mode):04o}")


def _limits_in(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the command line takes away, for `Credentials.narrow`; the lifetime is judged with the ticket in hand."""
    app: dict[str, bytes] = {}
    for text in arguments.app or ():
        name, equals, value = text.partition("=")
        if not (name and equals) or name in app:
            raise LocalMisuse("value-invalid", f"--app {text[:80]!a}: write NAMESPACE/NAME=VALUE, once for each name")
        app[name] = os.fsencode(value)
    methods = None if arguments.method is None else [method.upper() for method in arguments.method]
    return {
        "scopes": None if arguments.scope is None else check_scopes([scope for scope in arguments.scope if scope]),
        "methods": methods,
        "path": arguments.path,
        "peer": arguments.peer,
        "app": app or None,
    }


def _demands_in(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for text in arguments.demand or ():
        name, equals, predicate = text.partition("=")
        if not (name and equals and predicate):
            raise LocalMisuse("value-invalid", f"--demand {text[:80]!a}: write DISCHARGER=PREDICATE")
        found.append((name, predicate))
    return found


def _start(arguments: argparse.Namespace, client: Client) -> Credentials:
    """What is narrowed: the file's credentials, else the daemon's ticket."""
    if arguments.source is None:
        held = client.credentials(arguments.target)
        if arguments.lifetime is not None and held.expires_in_s < arguments.lifetime:
            held = client.credentials(arguments.target, ttl_s=arguments.lifetime)
        return held
    held = load_credentials(arguments.source)
    if arguments.target is not None and _principal(arguments.target, held.target.realm) != held.target:
        raise Misconfigured("config-invalid", f"{arguments.source} is for {held.target}, not for {arguments.target}")
    return held


def _narrowed(
    held: Credentials, arguments: argparse.Namespace, limits: dict[str, Any]
) -> tuple[Credentials, list[str]]:
    """The credentials with less, and what a person should know. Raises Refused for what would be more."""
    lacking = [scope for scope in limits["scopes"] or () if scope not in held.scopes]
    if lacking:
        has = " ".join(held.scopes) or "none"
        raise Refused(
            "insufficient-scope", f"narrowing adds nothing: {' '.join(lacking)} is not among its scopes: {has}"
        )
    left, notes = held.expires_in_s, list[str]()
    if arguments.lifetime is not None and arguments.lifetime > left + _ROUNDING_S:
        if arguments.source is not None:
            raise Refused("exact-not-possible", f"{arguments.source} ends in {life(left)}, and narrowing adds nothing")
        notes.append(f"it ends before --lifetime is over: the ticket lives no longer than {life(left)}")
    return held.narrow(**limits, lifetime=arguments.lifetime), notes


def _principal(text: str, realm: str) -> Principal:
    named, name = parse_target(text)
    return Principal(named or realm, name)


def _report(
    arguments: argparse.Namespace, credentials: Credentials, notes: Sequence[str], receiver: Principal | None
) -> int:
    left = credentials.expires_in_s
    allows = [caveat_words(one) for one in credentials.caveats]
    facts: dict[str, Any] = {
        "file": arguments.out,
        "target": str(credentials.target),
        "client": str(credentials.client),
        "scopes": list(credentials.scopes),
        "caveats": allows,
    }
    if arguments.output == "json":
        facts |= {
            "subject": None if credentials.subject is None else str(credentials.subject.principal),
            "receiver": None if receiver is None else str(receiver),
            "expires_in_s": int(left),
            "notes": list(notes),
        }
    else:
        if receiver is not None:
            facts = {"file": arguments.out, "for": f"{receiver}, which opens it with `orthros receive`"} | facts
        if credentials.subject is not None:
            facts["subject"] = subject_words(credentials.subject)
        facts["scopes"] = " ".join(credentials.scopes) or "none: it authenticates, and grants nothing"
        facts["caveats"] = allows or "none"
        facts["until"] = f"{date_words(credentials.life.second)}, in {life(left)}"
        facts["note"] = list(notes)
    screen_of(arguments).show_facts(facts)
    return OK
