"""docs/man: a manual page for each program, made of the grammar that also makes its `--help`.

`python -m tests.docs.man` writes the pages, which the wheel installs below share/man.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Final

from argparse_manpage.manpage import Manpage  # type: ignore[import-untyped]

from orthros_client.cli import __main__ as orthros
from orthros_client.daemon import __main__ as orthros_daemon
from orthros_kdc.process import command as orthros_kdc
from orthros_runtime.command_line import Parser
from orthros_tools.admin import __main__ as orthros_admin

__all__ = ["FOLDER", "GRAMMARS", "commands_below", "pages"]

FOLDER: Final = Path(__file__).parents[2] / "docs" / "man"
GRAMMARS: Final[tuple[Callable[[], Parser], ...]] = (
    orthros.parser,
    orthros_daemon.parser,
    orthros_kdc.parser,
    orthros_admin.parser,
)
# A page says which version it is of; a date would change it without a change.
_HEAD: Final = {"project_name": "orthros", "manual_title": "Orthros", "date": "-"}


def pages() -> dict[str, str]:
    """The text of each page, by its file name."""
    os.environ["COLUMNS"] = "100"  # where argparse wraps; otherwise it asks the terminal
    grammars = [_told_once(make()) for make in GRAMMARS]
    return {f"{one.prog}.1": f"{Manpage(one, {**_HEAD, 'version': version('orthros')})}\n" for one in grammars}


def _told_once(grammar: Parser) -> Parser:
    """The same, but options of the whole program are not listed again with each of its commands."""
    copy = deepcopy(grammar)
    copy.format_help()  # which puts the end of the help together
    whole = {option for action in copy._actions for option in action.option_strings}
    for command in commands_below(copy):
        for action in command._actions:
            if whole.intersection(action.option_strings):
                action.help = argparse.SUPPRESS
    return copy


def commands_below(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command of a program, nouns and verbs alike."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from commands_below(command)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
