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
from orthros_protocol.errors import OrthrosError, Unavailable
from orthros_protocol.keys.hardening import harden_process
from orthros_runtime.command_line import SERVER_CODES, Parser, add_command
from orthros_runtime.program import answer
from orthros_runtime.screen import Screen
from orthros_runtime.settings import add_actions

__all__ = ["parser", "run"]

PROGRAM: Final = "orthros-kdc"


def parser() -> Parser:
    """The grammar of the whole program."""
    whole = Parser(
        prog=PROGRAM,
        description="The key distribution centre: authenticates principals and issues tickets.",
        examples=(
            "orthros-kdc init --realm corp.example --data /var/lib/orthros",
            "orthros-kdc serve --config /var/lib/orthros/kdc.toml",
            "orthros-kdc dev",
        ),
        exit_codes=SERVER_CODES,
    )
    whole.add_version()
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    init = add_command(
        commands,
        "init",
        "found a realm: folder, master key, database, configuration",
        examples=(
            "orthros-kdc init --realm corp.example --data /var/lib/orthros",
            "orthros-kdc init --realm corp.example --data realm --issuer https://kdc.corp.example",
        ),
    )
    init.add_argument("--realm", required=True, help="the realm's name, lower case, such as corp.example")
    init.add_argument("--data", required=True, metavar="DIR", help="the folder to create everything in")
    init.add_argument(
        "--issuer", help="the URL at which OAuth clients reach the HTTP port, the `iss` of JWTs (default https://REALM)"
    )
    init.add_argument("--listen", default="127.0.0.1:7788", metavar="HOST:PORT", help="for the configuration file")

    serve = add_command(
        commands,
        "serve",
        "answer requests until SIGTERM",
        examples=("orthros-kdc serve --config /var/lib/orthros/kdc.toml",),
    )
    KDC_SETTINGS.add_flags(serve)
    restored = add_command(
        commands,
        "restored",
        "declare that a backup of the database is the realm from now on; the KDCs are stopped",
        examples=("orthros-kdc restored --config /var/lib/orthros/kdc.toml",),
    )
    KDC_SETTINGS.add_flags(restored, "store.")
    config = add_command(
        commands,
        "config",
        "show or check the configuration",
        examples=(
            "orthros-kdc config validate --config /var/lib/orthros/kdc.toml",
            "orthros-kdc config show --effective --config /var/lib/orthros/kdc.toml",
        ),
    )
    add_actions(config)
    KDC_SETTINGS.add_flags(config)

    dev = add_command(
        commands,
        "dev",
        "a throw-away realm with two demo principals",
        examples=("orthros-kdc dev", "orthros-kdc dev --tcp 127.0.0.1:7788 --http 127.0.0.1:7789"),
    )
    dev.add_argument("--tcp", default="127.0.0.1:0", metavar="HOST:PORT", help="where to listen (default: a free port)")
    dev.add_argument("--http", default="127.0.0.1:0", metavar="HOST:PORT", help="the HTTP port (default: a free port)")
    add_command(commands, "version", "print versions, both OpenSSLs included", examples=("orthros-kdc version",))
    return whole


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
        from orthros_kdc.process.restored import declare_restored  # each command loads what it needs

        return trio.run(declare_restored, KDC_SETTINGS.load_flags(arguments, os.environ))
    if arguments.command == "config":
        return KDC_SETTINGS.answer(arguments, os.environ)
    if arguments.command == "dev":
        from orthros_kdc.process.dev import serve_dev

        trio.run(serve_dev, arguments.tcp, arguments.http)
    else:
        from orthros_kdc.process.kdc import serve

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
            told = _run(parser().parsed(argv))
        except BaseExceptionGroup as group:
            raise _first_cause(group) from group
    except OrthrosError as error:
        Screen(program=PROGRAM).complain(error)
        return 4 if isinstance(error, Unavailable) else 1
    except OSError as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if told is None else answer(PROGRAM, told)
