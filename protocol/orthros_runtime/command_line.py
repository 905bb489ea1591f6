"""The grammar that the command lines of all programs share: help, examples, versions, durations, completion.

Knows no command. A program makes one `Parser`, whose subcommands are parsers of the same kind.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from attrs import evolve

from orthros_protocol.errors import Misconfigured
from orthros_protocol.reasons.reason import Reason

__all__ = ["SERVER_CODES", "USAGE", "Parser", "add_command", "duration", "usage"]

USAGE: Final = Reason(0, "usage", "The command line cannot be followed.", "See the `--help` of the command.")
SERVER_CODES: Final = {
    0: "ok",
    1: "wrong usage, or something on this machine cannot be used as it is",
    4: "something needed is unavailable",
}
"""The exit codes of the programs that serve."""
_DURATION: Final = re.compile(r"([0-9]{1,8})([smhd]?)", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def usage(detail: str, remedy: str) -> Misconfigured:
    """The error of a command line that cannot be followed."""
    return Misconfigured(evolve(USAGE, remedy=remedy), detail)


def duration(text: str) -> int:
    """Seconds, from 90, 90s, 15m, 1h or 30d, as the type of an argument: the one way to write a duration."""
    found = _DURATION.fullmatch(text)
    seconds = 0 if found is None else int(found[1]) * _SECONDS[found[2]]
    if seconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: write 90, 90s, 15m, 1h or 30d")
    return seconds


class _Version(argparse.Action):
    """`--version`. The number is looked up when it is asked for: that takes longer than most commands."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version

        sys.stdout.write(f"{parser.prog} {version('orthros')}\n")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """argparse with the errors of this project, help that ends in examples and exit codes, and no abbreviations.

    `examples` are whole command lines; `sections` are what stands between them and the `exit_codes`, by title.
    """

    def __init__(
        self,
        *,
        examples: Sequence[str] = (),
        sections: Mapping[str, str] | None = None,
        exit_codes: Mapping[int, str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)
        self.examples = tuple(examples)
        self._sections = sections or {}
        self._exit_codes = exit_codes or {}

    def format_help(self) -> str:
        """The help; what follows the options is put together when it is asked for."""
        codes = sorted(self._exit_codes.items())
        parts = {
            "EXAMPLES": "\n".join(f"  {line}" for line in self.examples),
            **self._sections,
            "EXIT CODES": "\n".join(f"  {code}  {meaning}" for code, meaning in codes),
        }
        self.epilog = "\n\n".join(f"{title}\n{text}" for title, text in parts.items() if text)
        return super().format_help()

    def add_version(self) -> None:
        """Adds `--version`, to the parser of a whole program."""
        self.add_argument(
            "--version", action=_Version, nargs=0, dest=argparse.SUPPRESS, help="print the version and exit"
        )

    def parsed(self, words: Sequence[str] | None) -> argparse.Namespace:
        """What the words say (None: those of the process). Raises Misconfigured `usage`.

        A shell that completes a command line is answered instead, and the process ends.
        """
        if {"_ARGCOMPLETE", "COMP_LINE"} <= os.environ.keys():
            from argcomplete import autocomplete  # its script set the variable: the package is there

            autocomplete(self)
        return self.parse_args(words)

    def error(self, message: str) -> NoReturn:
        """Raises Misconfigured `usage`; main turns it into exit code 1, where argparse would say 2."""
        raise usage(message, f"Read `{self.prog} --help`.")


def add_command(
    commands: Any,
    name: str,
    summary: str,
    *,
    notes: str = "",
    examples: Sequence[str],
    exit_codes: Mapping[int, str] | None = None,
    parents: Sequence[argparse.ArgumentParser] = (),
) -> Parser:
    """One of the `commands` of a program. Its own help says in a sentence what the list of all says as `summary`."""
    sentence = f"{summary[0].upper()}{summary[1:]}."
    parser: Parser = commands.add_parser(
        name,
        help=summary,
        description=f"{sentence}\n\n{notes}" if notes else sentence,
        examples=examples,
        exit_codes=exit_codes,
        parents=parents,
    )
    return parser
