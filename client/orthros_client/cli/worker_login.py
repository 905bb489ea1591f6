"""`orthros worker-login`: asks the daemon for a narrowed login and writes it where a worker's daemon reads it.

Shows what was granted, never the login itself. Replaces a login file and nothing else.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from orthros_client.cli.commands import client_of, lifetime
from orthros_client.cli.output import OK, screen_of
from orthros_client.credentials.worker_login import WorkerLogin
from orthros_protocol.errors import Misconfigured
from orthros_protocol.keys.secret_file import write_secret_file
from orthros_runtime.command_line import Parser
from orthros_runtime.screen import life

__all__ = ["register"]


def register(add: Callable[..., Parser]) -> None:
    """`orthros worker-login`."""
    parser = add(
        examples=(
            "orthros worker-login --target orders --scope read --lifetime 10m --out /run/worker/login",
            "orthros worker-login --target orders --target stock --out login",
        ),
    )
    parser.set_defaults(run=_worker_login)
    parser.add_argument(
        "--target", action="append", required=True, metavar="TARGET", help="what the worker may call (repeatable)"
    )
    parser.add_argument("--scope", action="append", metavar="S", help="with this scope at most (repeatable)")
    parser.add_argument(
        "--lifetime", type=lifetime, default=0, metavar="TIME", help="such as 10m (default: the longest allowed)"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="the login file, mode 0600, replaced as a whole")


def _worker_login(arguments: argparse.Namespace) -> int:
    """Raises Misconfigured `file-exists` for an `--out` that is something else, before anything is asked."""
    _require_replaceable(Path(arguments.out))
    with client_of(arguments) as client:
        content = client.login(arguments.target, arguments.scope, arguments.lifetime)
    login = WorkerLogin.from_bytes(content)
    write_secret_file(arguments.out, content, replace=True)
    left = max(0, int(login.credential.life.second - login.offset_ms / 1000 - time.time()))
    facts = {
        "file": str(arguments.out),
        "client": str(login.credential.client),
        "targets": [str(target) for target in sorted(login.targets)],
        "expires_in_s" if arguments.output == "json" else "expires": left,
    }
    if arguments.output == "table":
        facts["expires"] = f"in {life(left)}"
    screen_of(arguments).show_facts(facts)
    return OK


def _require_replaceable(path: Path) -> None:
    try:
        if path.is_symlink() or (path.exists() and not WorkerLogin.is_login(_beginning_of(path))):
            raise Misconfigured("file-exists", f"{path} is not a login file, and stays")
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{path}: {error.strerror}") from None


def _beginning_of(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(16)
