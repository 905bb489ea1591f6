"""How the command `orthros` explains errors and with which code it ends.

Knows no daemon. Never given a key.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from orthros_client.errors import (
    MaybeExecuted,
    OrthrosError,
    PeerMisbehaved,
    Refused,
    TicketRefused,
    TicketUnavailable,
    Unavailable,
)
from orthros_protocol.reasons.reason import fill_remedy
from orthros_runtime.command_line import Parser, duration
from orthros_runtime.screen import Screen, life

__all__ = [
    "EXIT_CODES",
    "OK",
    "PROGRAM",
    "USAGE",
    "add_global_options",
    "exit_code_of",
    "global_options",
    "remedy_for",
    "report",
    "screen_of",
]

PROGRAM: Final = "orthros"

OK: Final = 0
USAGE: Final = 1
_REMOTE: Final = 2
_REFUSED: Final = 3
_UNAVAILABLE: Final = 4
_NOT_FOUND: Final = 5

EXIT_CODES: Final = {
    OK: "ok",
    USAGE: "wrong usage, or something on this machine cannot be used as it is",
    _REMOTE: "the other side misbehaved or failed",
    _REFUSED: "refused by policy",
    _UNAVAILABLE: "unavailable: no daemon, no KDC, no answer in time, a full disk",
    _NOT_FOUND: "not found",
}
_BY_CODE: Final = {
    "not-found": _NOT_FOUND,
    "kdc-fault": _REMOTE,
    "target-unavailable": _UNAVAILABLE,
    "rate-limited": _UNAVAILABLE,
    "not-attempted": _UNAVAILABLE,
}


def add_global_options(parser: Parser, *, output: object, socket: object, timeout: object) -> None:
    """The options of every command, with these defaults."""
    parser.add_argument("--output", choices=("table", "json"), default=output, help="how to print")
    parser.add_argument("--socket", metavar="PATH", default=socket, help="the daemon's socket")
    parser.add_argument(
        "--timeout", type=_timeout, metavar="TIME", default=timeout, help="0.5, 90s or 2m (default: 10 s)"
    )


def global_options() -> Parser:
    """The same for the parsers of commands: what is not given there must not undo what came before."""
    parser = Parser(add_help=False)
    add_global_options(parser, output=argparse.SUPPRESS, socket=argparse.SUPPRESS, timeout=argparse.SUPPRESS)
    return parser


def _timeout(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) <= 3600:  # a fraction of a second makes sense here, unlike in a life
            return float(text)
    seconds = duration(text)
    if seconds > 3600:
        raise argparse.ArgumentTypeError("an hour at most")
    return seconds


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
    return fill_remedy(error.remedy, names)


def screen_of(arguments: argparse.Namespace) -> Screen:
    """The screen that the global options describe."""
    return Screen(program=PROGRAM, json=arguments.output == "json", flat_errors=True)


def report(error: OrthrosError, screen: Screen, names: Mapping[str, str] | None = None) -> int:
    """Explains the error on stderr; returns the exit code.

    `names` replace the placeholders in a remedy (CLIENT, TARGET, PRINCIPAL), so that it can be pasted.
    """
    more: dict[str, Any] = {}
    if isinstance(error, TicketRefused | TicketUnavailable):
        if error.ref:
            more["reference"] = error.ref
        if error.retry_s:
            more["retry"] = error.retry_s if screen.json else f"in {error.retry_s} s"
        if error.remaining_s:
            more["held"] = f"another ticket for this target, for {life(error.remaining_s)}"
    screen.complain(error, remedy_for(error, names or {}), more)
    return exit_code_of(error)
