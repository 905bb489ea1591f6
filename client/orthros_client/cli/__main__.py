"""The program `orthros` with its commands, from `ticket` to `version`.

Parses arguments and calls one function per command; errors become exit codes here and nowhere else.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from orthros_client.cli import call_options, commands, doctor, held, inspect, narrow, replay, worker_login
from orthros_client.cli.output import PROGRAM, report
from orthros_client.errors import OrthrosError, TicketRefused
from orthros_client.local.conversation import parse_target
from orthros_runtime.screen import Parser, Screen, wants_json

__all__ = ["main"]

_DEFAULT_TIMEOUT_S: Final = 10.0
_EPILOG: Final = """\
EXAMPLES
  orthros ticket orders --scope read
  orthros call https://orders.example/v1/orders --target orders --json '{"item": 7}'
  curl -H "Authorization: Bearer $(orthros token orders)" https://orders.example/
  orthros narrow orders --scope read --path /v1/orders --lifetime 10m --out job.credentials
  orthros inspect job.credentials
  orthros --output json list
  orthros renew orders
  orthros worker-login --target orders --scope read --lifetime 10m --out /run/worker/login
  orthros doctor --keytab /etc/orthros/web.keytab --target orders

EXIT CODES
  0  ok
  1  wrong usage, or something on this machine cannot be used as it is
  2  the other side misbehaved or failed
  3  refused by policy
  4  unavailable: no daemon, no KDC, no answer in time, a full disk
  5  not found

ENVIRONMENT
  ORTHROS_SOCKET   the daemon's socket, as a path or unix:///path
  ORTHROS_TARGETS  a TOML file that says which target answers at which origin (`orthros call`)"""


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise argparse.ArgumentTypeError("expected seconds, more than 0 and at most 3600")
    return seconds


def _parser() -> argparse.ArgumentParser:
    shared = Parser(add_help=False)
    # The defaults stand on the top parser only: a subcommand must not undo what came before it.
    _add_globals(shared, argparse.SUPPRESS, argparse.SUPPRESS, argparse.SUPPRESS)
    parser = Parser(
        prog=PROGRAM,
        description="Tickets and tokens from the local orthros-daemon.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_globals(parser, "table", None, _DEFAULT_TIMEOUT_S)
    names = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_run, text, add_options, epilog) in _COMMANDS.items():
        # A command says in its own help what it does, as in the list of all.
        more: dict[str, Any] = {"help": text, "description": f"{text[0].upper()}{text[1:]}."}
        if epilog is not None:
            more |= {"epilog": epilog, "formatter_class": argparse.RawDescriptionHelpFormatter}
        if name == "replay":  # it has commands of its own
            replay.add_options(names.add_parser(name, **more), shared)
            continue
        command = names.add_parser(name, parents=[shared], **more)
        if add_options is not None:
            add_options(command)
    return parser


def _add_globals(parser: argparse.ArgumentParser, output: str, socket: str | None, timeout_s: float | str) -> None:
    """The options of every command, with their defaults."""
    parser.add_argument("--output", choices=("table", "json"), default=output, help="how to print")
    parser.add_argument("--socket", metavar="PATH", default=socket, help="the daemon's socket")
    parser.add_argument("--timeout", type=_timeout, metavar="SECONDS", default=timeout_s, help="default 10")


def _call(arguments: argparse.Namespace) -> int:
    """`orthros call`, which alone needs httpx. Raises Misconfigured `extra-missing` without it."""
    from orthros_client.cli.call import call

    return call(arguments)


_Run = Callable[[argparse.Namespace], int]
_AddOptions = Callable[[argparse.ArgumentParser], None]
# What runs it, what it does, its options, and what its help ends with; in the order of the list.
_COMMANDS: Final[dict[str, tuple[_Run, str, _AddOptions | None, str | None]]] = {
    "ticket": (
        commands.ticket,
        "obtain a ticket and show what it is; never its keys",
        commands.add_ticket_options,
        None,
    ),
    "token": (commands.token, "print a JWT for a target", commands.add_target_options, None),
    "call": (_call, "send an HTTP request with a ticket, curl's way", call_options.add_options, None),
    "narrow": (
        narrow.narrow,
        "write less authority than you have into a file, or hand it over",
        narrow.add_narrow_options,
        narrow.NARROW_EPILOG,
    ),
    "receive": (
        narrow.receive,
        "open what somebody handed over to this host",
        narrow.add_receive_options,
        narrow.RECEIVE_EPILOG,
    ),
    "inspect": (
        inspect.inspect,
        "say what a file or text is, and what in it is unverified",
        inspect.add_options,
        inspect.EPILOG,
    ),
    "renew": (held.renew, "ask the KDC again for what the daemon holds", held.add_options, held.RENEW_EPILOG),
    "forget": (held.forget, "drop what the daemon holds", held.add_options, held.FORGET_EPILOG),
    "list": (commands.list_entries, "list what the daemon holds for you", None, None),
    "status": (commands.status, "show how the daemon does", None, None),
    "worker-login": (
        worker_login.worker_login,
        "write a narrowed login for a worker's daemon",
        worker_login.add_options,
        None,
    ),
    "replay": (replay.replay, "the replay stores of services on this host", None, None),
    "doctor": (doctor.doctor, "check each link of the chain, with remedies", doctor.add_options, None),
    "version": (commands.version, "print the version", None, None),
}


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
        _parser().parse_args(words, arguments)
        code = _COMMANDS[arguments.command][0](arguments)
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
