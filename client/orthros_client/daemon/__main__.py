"""The program `orthros-daemon`: serve, config, version.

Parses arguments and prints; `service.py` does the work.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version as distribution_version
from typing import Final

from orthros_client.daemon.config import DAEMON_SETTINGS
from orthros_protocol.errors import OrthrosError, Unavailable
from orthros_runtime.command_line import SERVER_CODES, Parser, add_command
from orthros_runtime.program import announce, answer
from orthros_runtime.screen import Screen
from orthros_runtime.settings import add_actions

__all__ = ["main", "parser"]

PROGRAM: Final = "orthros-daemon"
_SERVE: Final = (
    "orthros-daemon serve --config /etc/orthros/daemon.toml",
    "orthros-daemon --keytab web.keytab --kdcs tcp://127.0.0.1:7788 --socket web.sock",
    "orthros-daemon --login /run/worker/login --kdcs tcp://127.0.0.1:7788 --socket worker.sock",
)
_CONFIG: Final = (
    "orthros-daemon config validate --config /etc/orthros/daemon.toml",
    "orthros-daemon config show --effective --config /etc/orthros/daemon.toml",
)
_SIGNALS: Final = """\
  SIGTERM, SIGINT   finish running requests, save the cache, stop
  SIGHUP            read configuration and key file again"""


def parser() -> Parser:
    """The grammar of the whole program."""
    options = Parser(add_help=False)
    DAEMON_SETTINGS.add_flags(options)
    whole = Parser(
        prog=PROGRAM,
        description="Holds this host's key file, or a worker's login, and obtains, caches and renews tickets for local "
        "processes.",
        examples=(*_SERVE, *_CONFIG),
        sections={"SIGNALS": _SIGNALS},
        exit_codes=SERVER_CODES,
    )
    whole.add_version()
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_command(commands, "serve", "serve until SIGTERM (the default)", examples=_SERVE, parents=[options])
    add_actions(add_command(commands, "config", "show or check the configuration", examples=_CONFIG, parents=[options]))
    add_command(commands, "version", "print the version", examples=("orthros-daemon version",))
    return whole


def _serve(arguments: argparse.Namespace) -> None:
    import trio

    from orthros_client.daemon.service import Service
    from orthros_protocol.keys.hardening import harden_process
    from orthros_protocol.keys.keytab import Keytab
    from orthros_runtime.logs import configure_logs
    from orthros_runtime.supervisor import take_supervisor

    harden_process()
    supervisor = take_supervisor()
    config = DAEMON_SETTINGS.load_flags(arguments, os.environ)
    configure_logs(config.log_format, time_key="time")
    keytab = None if config.login else Keytab.load(config.keytab)
    if keytab is not None:
        keytab.as_key()  # a verify-only file cannot log in: say so now, not at the first ticket
    service = Service(config, keytab, lambda: DAEMON_SETTINGS.load_flags(arguments, os.environ), supervisor=supervisor)
    trio.run(service.run, announce)


def _run(arguments: argparse.Namespace) -> str | None:
    """Returns what is to be printed at the end."""
    if arguments.command == "serve":
        _serve(arguments)
        return None
    if arguments.command == "version":
        return f"orthros {distribution_version('orthros')}"
    return DAEMON_SETTINGS.answer(arguments, os.environ)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0].startswith("--") and words[0] not in ("--help", "--version"):
        words.insert(0, "serve")
    try:
        told = _run(parser().parsed(words))
    except OrthrosError as error:
        Screen(program=PROGRAM).complain(error)
        return 4 if isinstance(error, Unavailable) else 1
    except KeyboardInterrupt:
        return 130
    return 0 if told is None else answer(PROGRAM, told)


if __name__ == "__main__":
    sys.exit(main())
