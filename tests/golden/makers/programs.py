"""The programs by the names under which they are installed, run in this process; and how a run looks in a file.

Knows no command: where a program's code lies is read from the installed package.
"""

from __future__ import annotations

import io
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from importlib.metadata import distribution
from tempfile import TemporaryFile
from typing import Final

from attrs import frozen

__all__ = ["PROGRAMS", "Run", "run", "run_apart"]

PROGRAMS: Final = ("orthros", "orthros-admin", "orthros-daemon", "orthros-kdc")


@frozen
class Run:
    """How a command ended and what it said."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str

    def shown(self) -> str:
        """As it stands in a golden file: the line, `|` output, `!` errors, `=` the exit code."""
        lines = [f"$ {shlex.join(self.words)}"]
        lines += [f"| {line}".rstrip() for line in self.out.splitlines()]
        lines += [f"! {line}".rstrip() for line in self.err.splitlines()]
        return "\n".join([*lines, f"= {self.code}", ""])


class _Stream(io.TextIOWrapper):
    """A stream with a `buffer`, as standard output is one."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self) -> str:
        self.seek(0)
        return self.read()


@cache
def _main(program: str) -> Callable[[Sequence[str]], int]:
    (found,) = (one for one in distribution("orthros").entry_points if one.name == program)
    main: Callable[[Sequence[str]], int] = found.load()
    return main


def run(*words: str) -> Run:
    """One command line, in this process."""
    with redirect_stdout(_Stream()) as out, redirect_stderr(_Stream()) as err:
        try:
            code = _main(words[0])(words[1:])
        except SystemExit as done:
            code = int(str(done.code or 0))
        sys.stdout.flush()
    return Run(words, code, out.text(), err.text())


def run_apart(*words: str) -> Run:
    """One command line, in a process that ends with it: what a program learns of its peers is gone as well."""
    main = _main(words[0])
    sys.stdout.flush()
    with TemporaryFile() as out, TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            code = 70  # as if it were killed: the program did not get as far as an exit code
            try:
                code = main(words[1:])
            except SystemExit as done:
                code = int(str(done.code or 0))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        return Run(words, os.waitstatus_to_exitcode(status), out.read().decode(), err.read().decode())
