"""The command `orthros-admin`: parses, opens, runs one command, shows what came of it.

Knows no noun beyond its name; whatever goes wrong leaves as cause, remedy and code, never as a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import Final

import trio

from orthros_protocol.errors import LocalMisuse, OrthrosError, PeerMisbehaved, Refused, Unavailable
from orthros_protocol.keys.hardening import harden_process
from orthros_protocol.primitives.redaction import redact_text
from orthros_runtime.command_line import Parser
from orthros_runtime.screen import Screen, wants_json
from orthros_tools.admin import audit, explain, group, jwt, kdc, key, oauth, policy, principal, realm
from orthros_tools.admin.command_line import PROGRAM, Nouns
from orthros_tools.admin.session import AdminSession
from orthros_tools.reasons import ANSWER_NOT_WRITTEN, INTERNAL_FAULT, INTERRUPTED

__all__ = ["main", "parser"]

_NOUNS: Final = (principal, key, group, policy, jwt, oauth, audit, realm, kdc, explain)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code. Without `argv`, this process is the program: no core dumps."""
    if argv is None:
        harden_process()
    code = _guarded(sys.argv[1:] if argv is None else list(argv))
    try:
        sys.stdout.flush()
    except OSError:
        # Nobody takes what is left to print (`| head`, a full disk): Python would try again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or 1
    return code


def _guarded(words: list[str]) -> int:
    screen = Screen(program=PROGRAM, json=wants_json(words))
    try:
        return _run(words)
    except OrthrosError as error:
        screen.complain(error)
        return _exit_code(error)
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    except KeyboardInterrupt:
        screen.complain(LocalMisuse(INTERRUPTED))
        return 1
    except BrokenPipeError:
        return 1
    except Exception as error:  # noqa: BLE001  # the last line of defence against tracebacks that show values
        screen.complain(LocalMisuse(INTERNAL_FAULT, redact_text(f"{type(error).__name__}: {error}")))
        return 1


def _run(words: Sequence[str]) -> int:
    options = parser().parsed(words)
    screen = Screen(program=PROGRAM, json=options.output == "json", quiet=options.quiet)
    desk = AdminSession.of(options, os.environ, screen, words)
    answer = trio.run(options.run, desk, options)
    try:
        answer.show(desk.screen)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LocalMisuse(ANSWER_NOT_WRITTEN, f"standard output: {error.strerror}") from None
    if answer.problem is None:
        return 0
    desk.screen.complain(answer.problem)
    return _exit_code(answer.problem)


@cache
def parser() -> Parser:
    """The grammar of the whole program."""
    nouns = Nouns()
    for noun in _NOUNS:
        noun.register(nouns)
    return nouns.parser


def _exit_code(error: OrthrosError) -> int:
    if error.code == "not-found":
        return 5
    if isinstance(error, Unavailable):
        return 4
    if isinstance(error, Refused):
        return 3
    return 2 if isinstance(error, PeerMisbehaved) else 1


if __name__ == "__main__":
    sys.exit(main())
