"""The grammar of the command line: nouns, verbs, the options of every command, help that shows examples.

Knows no command; each noun's module registers its own verbs here.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from attrs import frozen

from orthros_runtime.screen import Parser
from orthros_tools.admin.screen import Shown
from orthros_tools.admin.session import AdminSession

__all__ = [
    "PROGRAM",
    "AdminParser",
    "Nouns",
    "Verbs",
    "duration",
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
_DURATION = re.compile(r"([0-9]{1,8})([smh]?)", re.ASCII)
_DAYS = re.compile(r"([0-9]{1,6})d", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,9}", re.ASCII)
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600}

Run = Callable[[AdminSession, argparse.Namespace], Awaitable[Shown]]


def duration(text: str) -> int:
    """Seconds, from 90, 90s, 15m or 1h."""
    found = _DURATION.fullmatch(text)
    seconds = 0 if found is None else int(found[1]) * _SECONDS[found[2]]
    if seconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: write 90, 90s, 15m or 1h")
    return seconds


def days(text: str) -> int:
    """Seconds, from 30d or a duration."""
    found = _DAYS.fullmatch(text)
    return duration(text) if found is None else int(found[1]) * 86_400


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


class AdminParser(Parser):
    """argparse with this project's errors and exit codes, and without abbreviations of options."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, add_help=False, **settings
        )
        self.add_argument("-h", "--help", action="help", help="show this help and exit")


@frozen
class Verbs:
    """The verbs of one noun."""

    actions: Any
    prog: str

    def add(
        self, verb: str, run: Run, summary: str, *, examples: Sequence[str], codes: Sequence[int] = (), notes: str = ""
    ) -> AdminParser:
        """One command. `codes` are those it can end with besides 0, 1, 4 and 5; `examples` lack the program's name."""
        return _command(self.actions, verb, run, summary, examples=examples, codes=codes, notes=notes)


class Nouns:
    """The whole command line; its `parser` parses it."""

    def __init__(self) -> None:
        self.parser = AdminParser(
            prog=PROGRAM,
            description="Manages an Orthros realm on the machine that holds its store.",
            epilog=_epilog(
                (
                    "principal add billing --out billing.key",
                    "policy allow billing orders --scope read --max-ttl 15m",
                    "policy explain billing orders --scope read",
                    "explain 0f3a5c7e9b1d2f40",
                ),
                sorted(EXIT_CODES),
            ),
        )
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

    def command(self, word: str, run: Run, summary: str, *, examples: Sequence[str], notes: str = "") -> AdminParser:
        """A command of one word."""
        return _command(self._actions, word, run, summary, examples=examples, codes=(), notes=notes)


def _command(
    actions: Any, word: str, run: Run, summary: str, *, examples: Sequence[str], codes: Sequence[int], notes: str
) -> AdminParser:
    sentence = f"{summary[0].upper()}{summary[1:]}."
    description = f"{sentence}\n\n{notes}" if notes else sentence
    parser: AdminParser = actions.add_parser(
        word, help=summary, description=description, epilog=_epilog(examples, sorted({0, 1, 4, 5, *codes}))
    )
    _add_global_options(parser)
    parser.set_defaults(run=run)
    return parser


def _epilog(examples: Sequence[str], codes: Sequence[int]) -> str:
    shown = "\n".join(f"  {PROGRAM} {example}" for example in examples)
    meanings = "\n".join(f"  {code}  {EXIT_CODES[code]}" for code in codes)
    return f"EXAMPLES\n{shown}\n\nEXIT CODES\n{meanings}"


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
