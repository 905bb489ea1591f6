"""The grammar of the command line: nouns, verbs, the options of every command, help that shows examples.

Knows no command; each noun's module registers its own verbs here.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from attrs import frozen

from orthros_runtime.command_line import Parser, add_command, duration
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession

__all__ = [
    "PROGRAM",
    "Nouns",
    "Verbs",
    "duration_or_none",
    "from_one",
    "from_zero",
]

PROGRAM: Final = "orthros-admin"
EXIT_CODES: Final = {
    0: "done",
    1: "the command line, a file or the store is not as it should be",
    2: "the other side failed",
    3: "refused by policy, or policy is not as expected",
    4: "unavailable: another process holds the store for too long, or a disk is full",
    5: "not found: no such principal, group, rule, key or reference",
}
_WHOLE = re.compile(r"[0-9]{1,9}", re.ASCII)

Run = Callable[[AdminSession, argparse.Namespace], Awaitable[Shown]]


def duration_or_none(text: str) -> int | None:
    """Seconds, or None for the word none."""
    return None if text == "none" else duration(text)


def from_one(text: str) -> int:
    """A whole number, 1 or more."""
    if _WHOLE.fullmatch(text) is None or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def from_zero(text: str) -> int:
    """A whole number, 0 or more."""
    if _WHOLE.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


@frozen
class Verbs:
    """The verbs of one noun."""

    actions: Any
    prog: str

    def add(
        self, verb: str, run: Run, summary: str, *, examples: Sequence[str], codes: Sequence[int] = (), notes: str = ""
    ) -> Parser:
        """One command. `codes` are those it can end with besides 0, 1, 4 and 5; `examples` lack the program's name."""
        return _command(self.actions, verb, run, summary, examples=examples, codes=codes, notes=notes)


class Nouns:
    """The whole command line; its `parser` parses it."""

    def __init__(self) -> None:
        self.parser = Parser(
            prog=PROGRAM,
            description="Manages an Orthros realm on the machine that holds its store.",
            examples=_lines(
                (
                    "principal add billing --out billing.key",
                    "policy allow billing orders --scope read --max-ttl 15m",
                    "policy explain billing orders --scope read",
                    "explain 0f3a5c7e9b1d2f40",
                )
            ),
            exit_codes=EXIT_CODES,
        )
        self.parser.add_version()
        self.parser.set_defaults(
            config=None,
            store=None,
            master_key_file=None,
            next_master_key_file=None,
            output="table",
            quiet=False,
            actor=None,
        )
        _add_global_options(self.parser)
        self._actions = self.parser.add_subparsers(title="nouns", metavar="NOUN", required=True)

    def noun(self, noun: str, summary: str) -> Verbs:
        """A noun; its verbs are added to what this returns."""
        parser = self._actions.add_parser(noun, help=summary, description=summary)
        _add_global_options(parser)
        return Verbs(parser.add_subparsers(title="verbs", metavar="VERB", required=True), parser.prog)

    def command(self, word: str, run: Run, summary: str, *, examples: Sequence[str], notes: str = "") -> Parser:
        """A command of one word."""
        return _command(self._actions, word, run, summary, examples=examples, codes=(), notes=notes)


def _command(
    actions: Any, word: str, run: Run, summary: str, *, examples: Sequence[str], codes: Sequence[int], notes: str
) -> Parser:
    parser = add_command(
        actions, word, summary, notes=notes, examples=_lines(examples), exit_codes=_codes(0, 1, 4, 5, *codes)
    )
    _add_global_options(parser)
    parser.set_defaults(run=run)
    return parser


def _lines(examples: Sequence[str]) -> list[str]:
    return [f"{PROGRAM} {example}" for example in examples]


def _codes(*codes: int) -> dict[int, str]:
    return {code: EXIT_CODES[code] for code in codes}


def _add_global_options(parser: argparse.ArgumentParser) -> None:
    """Understood before and after the noun: what is not given must not overwrite what was, hence SUPPRESS."""
    options = parser.add_argument_group("options of every command")
    rows: tuple[tuple[str, dict[str, Any]], ...] = (
        ("--config", {"metavar": "FILE", "help": "the KDC's configuration (default: ORTHROS_CONFIG)"}),
        ("--store", {"metavar": "PATH", "help": "the realm's database"}),
        ("--master-key-file", {"metavar": "FILE", "help": "the file of the master key"}),
        ("--next-master-key-file", {"metavar": "FILE", "help": "the file of the new one, while it is being changed"}),
        ("--output", {"choices": ("table", "json"), "help": "how answers and errors look (default: table)"}),
        ("--quiet", {"action": "store_true", "help": "no confirmations and no next steps"}),
        ("--actor", {"metavar": "NAME", "help": "who the audit log will name (default: the login name)"}),
    )
    for flag, settings in rows:
        options.add_argument(flag, default=argparse.SUPPRESS, **settings)
