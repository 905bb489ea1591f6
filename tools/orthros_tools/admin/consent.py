"""What destroys says what it would do, and then asks, or takes `--yes`.

Knows no command: each one tells what it is about to do. Where no person can be asked, nothing is done, and the error
says which command to type.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable

from orthros_runtime.command_line import Parser, usage
from orthros_tools.admin.command_line import PROGRAM
from orthros_tools.admin.session import AdminSession

__all__ = ["add_yes", "require_consent"]


def add_yes(parser: Parser) -> None:
    """The option of a command that asks."""
    parser.add_argument("--yes", action="store_true", help="do not ask")


def require_consent(desk: AdminSession, foretold: Iterable[str], question: str, *, word: str, yes: bool) -> None:
    """Writes what would be done on standard error, each line in the form "would delete ...".

    Returns when `yes` says so or a person types `word`.

    Raises Misconfigured `usage` when something else is typed, or when standard input is no terminal; then the remedy
    is the same command with `--yes`.
    """
    if not (yes and desk.screen.quiet):
        desk.screen.announce(foretold)
    if yes:
        return
    if not sys.stdin.isatty():
        raise usage("there is no terminal to ask on, nothing was changed", f"If this is meant: `{_with_yes(desk)}`.")
    desk.screen.prompt(f"{question} Type {word} to confirm: ")
    if sys.stdin.readline().strip() != word:
        raise usage("not confirmed, nothing was changed", f"Repeat the command and type {word}.")


def _with_yes(desk: AdminSession) -> str:
    return f"{PROGRAM} {shlex.join(desk.words)} --yes"
