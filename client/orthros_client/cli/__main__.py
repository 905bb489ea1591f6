"""The program `orthros` with its commands, from `ticket` to `version`.

Parses arguments and calls one function per command; errors become exit codes here and nowhere else.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from orthros_client.cli import call_options, commands, held, inspect, narrow, replay, worker_login
from orthros_client.cli.doctor import doctor
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


def _add_command(names: Any, name: str, *, text: str, **more: Any) -> Any:
    """A command that says in its own help what it does, as in the list of all."""
    return names.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", **more)


def _parser() -> argparse.ArgumentParser:
    shared = Parser(add_help=False)
    # The defaults stand on the top parser only: a subcommand must not undo what came before it.
    _add_globals(shared, absent=True)
    parser = Parser(
        prog=PROGRAM,
        description="Tickets and tokens from the local orthros-daemon.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_globals(parser, absent=False)
    names = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    ticket = _add_command(names, "ticket", parents=[shared], text="obtain a ticket and show what it is; never its keys")
    token = _add_command(names, "token", parents=[shared], text="print a JWT for a target")
    for command in (ticket, token):
        command.add_argument("target", metavar="TARGET", help="name, or name@realm")
        command.add_argument("--scope", action="append", metavar="S", help="ask for this scope (repeatable)")
    ticket.add_argument(
        "--ttl", type=int, default=0, metavar="SECONDS", help="ask for this life (default: the longest)"
    )
    request = _add_command(names, "call", parents=[shared], text="send an HTTP request with a ticket, curl's way")
    call_options.add_options(request)
    for name, help_text, epilog, add_options in (
        (
            "narrow",
            "write less authority than you have into a file, or hand it over",
            narrow.NARROW_EPILOG,
            narrow.add_narrow_options,
        ),
        ("receive", "open what somebody handed over to this host", narrow.RECEIVE_EPILOG, narrow.add_receive_options),
        ("inspect", "say what a file or text is, and what in it is unverified", inspect.EPILOG, inspect.add_options),
        ("renew", "ask the KDC again for what the daemon holds", held.RENEW_EPILOG, held.add_options),
        ("forget", "drop what the daemon holds", held.FORGET_EPILOG, held.add_options),
    ):
        add_options(
            _add_command(
                names,
                name,
                parents=[shared],
                text=help_text,
                epilog=epilog,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    _add_command(names, "list", parents=[shared], text="list what the daemon holds for you")
    _add_command(names, "status", parents=[shared], text="show how the daemon does")
    login = _add_command(names, "worker-login", parents=[shared], text="write a narrowed login for a worker's daemon")
    worker_login.add_options(login)
    replay.add_options(_add_command(names, "replay", text="the replay stores of services on this host"), shared)
    check = _add_command(names, "doctor", parents=[shared], text="check each link of the chain, with remedies")
    check.add_argument("--keytab", metavar="FILE", help="check this key file as well")
    check.add_argument("--target", metavar="TARGET", help="check that a ticket for this target can be had")
    _add_command(names, "version", parents=[shared], text="print the version")
    return parser


def _add_globals(parser: argparse.ArgumentParser, *, absent: bool) -> None:
    def default(value: object) -> object:
        return argparse.SUPPRESS if absent else value

    parser.add_argument("--output", choices=("table", "json"), default=default("table"), help="how to print")
    parser.add_argument("--socket", metavar="PATH", default=default(None), help="the daemon's socket")
    parser.add_argument(
        "--timeout", type=_timeout, metavar="SECONDS", default=default(_DEFAULT_TIMEOUT_S), help="default 10"
    )


def _call(arguments: argparse.Namespace) -> int:
    """`orthros call`, which alone needs httpx. Raises Misconfigured `extra-missing` without it."""
    from orthros_client.cli.call import call

    return call(arguments)


_COMMANDS: Final = {
    "call": _call,
    "ticket": commands.ticket,
    "token": commands.token,
    "narrow": narrow.narrow,
    "receive": narrow.receive,
    "inspect": inspect.inspect,
    "renew": held.renew,
    "forget": held.forget,
    "list": commands.list_entries,
    "status": commands.status,
    "worker-login": worker_login.worker_login,
    "replay": replay.replay,
    "doctor": doctor,
    "version": commands.version,
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
        code = _COMMANDS[arguments.command](arguments)
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
