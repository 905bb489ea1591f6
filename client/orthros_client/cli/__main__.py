"""The program `orthros` with its commands, from `ticket` to `version`.

Parses arguments and calls one function per command; errors become exit codes here and nowhere else.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from orthros_client.cli import call_options, commands, completion, doctor, held, inspect, narrow, replay, worker_login
from orthros_client.cli.output import EXIT_CODES, PROGRAM, add_global_options, global_options, report
from orthros_client.errors import OrthrosError, TicketRefused
from orthros_client.local.conversation import parse_target
from orthros_runtime.command_line import Parser, add_command
from orthros_runtime.screen import Screen, wants_json

__all__ = ["main", "parser"]

_DEFAULT_TIMEOUT_S: Final = 10.0
_EXAMPLES: Final = (
    "orthros ticket orders --scope read",
    """orthros call https://orders.example/v1/orders --target orders --json '{"item": 7}'""",
    'curl -H "Authorization: Bearer $(orthros token orders)" https://orders.example/',
    "orthros narrow orders --scope read --path /v1/orders --lifetime 10m --out job.credentials",
    "orthros inspect job.credentials",
    "orthros --output json list",
    "orthros renew orders",
    "orthros worker-login --target orders --scope read --lifetime 10m --out /run/worker/login",
    "orthros doctor --keytab /etc/orthros/web.keytab --target orders",
)
_ENVIRONMENT: Final = """\
  ORTHROS_SOCKET   the daemon's socket, as a path or unix:///path
  ORTHROS_TARGETS  a TOML file that says which target answers at which origin (`orthros call`)"""


def parser(named: Collection[str] = ()) -> Parser:
    """The grammar of the whole program, or of the commands that are `named` alone."""
    shared = global_options()
    whole = Parser(
        prog=PROGRAM,
        description="Tickets and tokens from the local orthros-daemon.",
        examples=_EXAMPLES,
        sections={"ENVIRONMENT": _ENVIRONMENT},
        exit_codes=EXIT_CODES,
    )
    whole.add_version()
    add_global_options(whole, timeout=_DEFAULT_TIMEOUT_S, output="table", socket=None)
    subparsers = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (register, summary) in _COMMANDS.items():
        if not named or name in named:
            register(partial(add_command, subparsers, name, summary, parents=[shared]))
    return whole


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """Only the commands that the words name are set up; where that does not do, all are, for the error's sake."""
    named = _COMMANDS.keys() & set(words)
    with suppress(OrthrosError):
        if named:
            return parser(named).parsed(words)
    return parser().parsed(words)


def _call(arguments: argparse.Namespace) -> int:
    """`orthros call`, which alone needs httpx. Raises Misconfigured `extra-missing` without it."""
    from orthros_client.cli.call import call

    return call(arguments)


_COMMANDS: Final[Mapping[str, tuple[Callable[[Callable[..., Parser]], None], str]]] = {
    "ticket": (commands.register_ticket, "obtain a ticket and show what it is; never its keys"),
    "token": (commands.register_token, "print a JWT for a target"),
    "call": (partial(call_options.register, run=_call), "send an HTTP request with a ticket, curl's way"),
    "narrow": (narrow.register_narrow, "write less authority than you have into a file, or hand it over"),
    "receive": (narrow.register_receive, "open what somebody handed over to this host"),
    "inspect": (inspect.register, "say what a file or text is, and what in it is unverified"),
    "renew": (held.register_renew, "ask the KDC again for what the daemon holds"),
    "forget": (held.register_forget, "drop what the daemon holds"),
    "list": (commands.register_list, "list what the daemon holds for you"),
    "status": (commands.register_status, "show how the daemon does"),
    "worker-login": (worker_login.register, "write a narrowed login for a worker's daemon"),
    "replay": (replay.register, "the replay stores of services on this host"),
    "doctor": (doctor.register, "check each link of the chain, with remedies"),
    "completion": (completion.register, "print what a shell needs to complete command lines"),
    "version": (commands.register_version, "print the version"),
}
"""Who registers each command, in the order of the help, and the summary that it shows."""


def _names_in(error: OrthrosError, arguments: argparse.Namespace) -> dict[str, str]:
    """What the placeholders of a refused ticket's remedy stand for, as far as the daemon says."""
    if not isinstance(error, TicketRefused):
        return {}
    names: dict[str, str] = {}
    target = getattr(arguments, "target", None)
    if isinstance(target, str):  # several have no single remedy
        names["TARGET"] = parse_target(target)[1]
    with suppress(OrthrosError), commands.client_of(arguments) as client:
        names["CLIENT"] = names["PRINCIPAL"] = client.status().client.name
    return names


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    arguments = argparse.Namespace()
    try:
        arguments = _parse(words)
        code: int = arguments.run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except OrthrosError as error:
        screen = Screen(program=PROGRAM, json=wants_json(words), flat_errors=True)
        return report(error, screen, _names_in(error, arguments))
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        # Nobody takes the answer (`| head`, a full disk); Python would try once more when it exits.
        if sys.stdout is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        with suppress(OSError):
            if isinstance(error, BrokenPipeError):
                return 1
            sys.stderr.write(f"orthros: the answer could not be written: {error.strerror}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
