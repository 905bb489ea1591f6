"""The command `orthros-kdc`: init, serve, dev, config, version.

Parses arguments and prints; `founding.py`, `serving.py` and `dev.py` do the work.
"""

from __future__ import annotations

import argparse
import os
import ssl
import sys
from collections.abc import Sequence
from importlib.metadata import version as distribution_version
from typing import Final

import trio

from orthros_kdc.config import KDC_SETTINGS, Config
from orthros_protocol import OrthrosError, Unavailable
from orthros_protocol.keys.hardening import harden_process
from orthros_runtime.program import answer
from orthros_runtime.screen import Parser, Screen
from orthros_runtime.settings import add_actions

__all__ = ["run"]

_EXIT_CODES: Final = """\
exit codes:
  0  ok
  1  wrong usage, or something on this machine cannot be used as it is
  4  something needed is unavailable"""


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="orthros-kdc",
        description="The key distribution centre: authenticates principals and issues tickets.",
        epilog=f"examples:\n  orthros-kdc init --realm corp.example --data /var/lib/orthros\n"
        f"  orthros-kdc serve --config /var/lib/orthros/kdc.toml\n  orthros-kdc dev\n\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")

    init = add("init", "found a realm: folder, master key, database, configuration")
    init.add_argument("--realm", required=True, help="the realm's name, lower case, such as corp.example")
    init.add_argument("--data", required=True, metavar="DIR", help="the folder to create everything in")
    init.add_argument(
        "--issuer", help="the URL at which OAuth clients reach the HTTP port, the `iss` of JWTs (default https://REALM)"
    )
    init.add_argument("--listen", default="127.0.0.1:7788", metavar="HOST:PORT", help="for the configuration file")

    for name, text in (
        ("serve", "answer requests until SIGTERM"),
        ("restored", "declare that a backup of the database is the realm from now on; the KDCs are stopped"),
        ("config", "show or check the configuration"),
    ):
        command = add(name, text)
        if name == "config":
            add_actions(command)
        KDC_SETTINGS.add_flags(command, "store." if name == "restored" else "")

    dev = add("dev", "a throw-away realm with two demo principals")
    dev.add_argument("--tcp", default="127.0.0.1:0", metavar="HOST:PORT", help="where to listen (default: a free port)")
    dev.add_argument("--http", default="127.0.0.1:0", metavar="HOST:PORT", help="the HTTP port (default: a free port)")
    add("version", "print versions, both OpenSSLs included")
    return parser


def _version() -> str:
    from cryptography.hazmat.backends.openssl import backend  # only this command pays for it

    rows = [
        ("orthros", distribution_version("orthros")),
        ("python", sys.version.split()[0]),
        ("openssl of hashlib", ssl.OPENSSL_VERSION),
        ("openssl of cryptography", backend.openssl_version_text()),
    ]
    return "\n".join(f"{name:24} {value}" for name, value in rows)


def _run(arguments: argparse.Namespace) -> str | None:
    """Returns what is to be printed at the end."""
    if arguments.command == "version":
        return _version()
    if arguments.command == "init":
        from orthros_kdc.process.founding import found_realm  # each command loads what it needs

        return trio.run(found_realm, arguments.realm, arguments.data, arguments.issuer, arguments.listen)
    if arguments.command == "restored":
        from orthros_kdc.process.declaring import declare_restored  # each command loads what it needs

        return trio.run(declare_restored, KDC_SETTINGS.load_flags(arguments, os.environ))
    if arguments.command == "config":
        return KDC_SETTINGS.answer(arguments, os.environ)
    if arguments.command == "dev":
        from orthros_kdc.process.dev import serve_dev

        trio.run(serve_dev, arguments.tcp, arguments.http)
    else:
        from orthros_kdc.process.running import serve

        def load() -> Config:
            return KDC_SETTINGS.load_flags(arguments, os.environ)

        trio.run(serve, load(), load)
    return None


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What ended the KDC: nurseries wrap the error of any task of theirs in groups."""
    first = group.exceptions[0]
    return _first_cause(first) if isinstance(first, BaseExceptionGroup) else first


def run(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code. Without `argv`, this process is the program: no core dumps."""
    if argv is None:
        harden_process()
    try:
        try:
            told = _run(_parser().parse_args(argv))
        except BaseExceptionGroup as group:
            raise _first_cause(group) from group
    except OrthrosError as error:
        Screen(program="orthros-kdc").complain(error)
        return 4 if isinstance(error, Unavailable) else 1
    except OSError as error:
        print(f"orthros-kdc: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if told is None else answer("orthros-kdc", told)
