"""`orthros completion SHELL`: what a shell sources to complete the commands and options of all four programs.

The package `argcomplete` writes the script and answers it; `Parser.parse_args` lets it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Final

from orthros_client.cli.output import OK
from orthros_runtime.command_line import Parser
from orthros_runtime.extras import extra

__all__ = ["register"]

_PROGRAMS: Final = ("orthros", "orthros-admin", "orthros-daemon", "orthros-kdc")


def register(add: Callable[..., Parser]) -> None:
    """`orthros completion`."""
    parser = add(
        notes="For all four programs. It takes the extra `completion`.",
        examples=(
            'eval "$(orthros completion bash)"',
            "orthros completion zsh > ~/.zfunc/_orthros",
            "orthros completion fish > ~/.config/fish/completions/orthros.fish",
        ),
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(run=_completion)


def _completion(arguments: argparse.Namespace) -> int:
    with extra("completion"):
        from argcomplete.shell_integration import shellcode
    sys.stdout.write(shellcode(list(_PROGRAMS), shell=arguments.shell))
    return OK
