"""`orthros inspect`: says what a file or a text is, what it shows in clear, what is unverified and what is sealed.

Reads, prints and asks nobody. Takes texts from files and standard input alone: other users see command lines.
"""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from attrs import evolve

from orthros_client.cli.output import OK, screen_of
from orthros_client.cli.schema import show_schema
from orthros_client.errors import LocalMisuse, Misconfigured
from orthros_client.inspection import Eye, Finding, Moment, inspect
from orthros_client.inspection.words import date_words
from orthros_client.reasons import NOT_RECOGNISED
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.redaction import redact_text
from orthros_runtime.command_line import Parser
from orthros_runtime.screen import life

__all__ = ["lines_of", "read_input", "register"]

_MOST_BYTES: Final = 1 << 20
_EXIT_WRONG: Final = 2
_COLUMNS: Final = 110
_TIMES: Final = frozenset({"exp", "iat", "nbf", "auth_time", "not_before"})
_SECTIONS: Final = (
    ("WRONG", "wrong"),
    ("verified", "verified"),
    ("UNVERIFIED", "unverified"),
    ("sealed", "sealed"),
    ("note", "notes"),
)


def register(add: Callable[..., Parser]) -> None:
    """`orthros inspect`."""
    parser = add(
        notes="It recognises tickets, requests (AP-REQ) and answers, the headers Authorization, Orthros-Reply and\n"
        "WWW-Authenticate, hand-overs, demands, JWTs (nested ones with the extra `matryoshka`), credential files,\n"
        "key files, login files and JWKs; bytes also in hex or base64. No key, tail or signature is ever shown.",
        examples=(
            "orthros inspect job.credentials",
            "orthros token orders | orthros inspect",
            "orthros inspect captured.header --key-file /etc/orthros/orders.verify.key",
            "orthros inspect --output json /etc/orthros/host.keytab",
            "orthros inspect --schema AP-REQ",
        ),
        exit_codes={
            0: "it was recognised",
            1: "it was not, or a file cannot be read",
            2: "something in it is wrong: with --key-file, it does not open or its MAC does not match",
        },
    )
    parser.set_defaults(run=_inspect)
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="what to look at (default: -, stdin)")
    parser.add_argument("--key-file", metavar="FILE", help="open it with this key file of its service or receiver")
    parser.add_argument(
        "--schema",
        nargs="?",
        const="",
        metavar="NAME",
        help="instead of a file: the fields of the message that errors call NAME and the source that judges them; "
        "without NAME, the names",
    )


def _inspect(arguments: argparse.Namespace) -> int:
    """`orthros inspect [FILE]`. Raises LocalMisuse `not-recognised`, Misconfigured for files that cannot be read."""
    if arguments.schema is not None:
        return show_schema(arguments.schema, screen_of(arguments))
    keytab = None if arguments.key_file is None else Keytab.load(arguments.key_file)
    data, mode = read_input(arguments.file, most_bytes=_MOST_BYTES)
    eye = Eye(keytab=keytab, now_s=int(time.time()))
    found = inspect(data, eye)
    if not found.is_recognised:
        raise LocalMisuse(NOT_RECOGNISED, "; ".join((f"{len(data)} bytes" if data else "it is empty", *found.notes)))
    notes = list(found.notes)
    is_exposed = found.has_secret and bool(mode & 0o077)
    if is_exposed:
        notes.append(f"its mode is {mode:04o}: other users may read it; make it 0600")
    if keytab is not None and not found.uses_keys:
        notes.append("--key-file opens nothing here")
    found = evolve(found, notes=tuple(notes))
    if arguments.output == "json":
        sys.stdout.write(json.dumps(found.to_json() | {"exposed": is_exposed}, indent=2) + "\n")
    else:
        sys.stdout.write("".join(line + "\n" for line in lines_of(found, eye.now_s)))
    return _EXIT_WRONG if found.has_wrong else OK


def read_input(path: str, *, most_bytes: int) -> tuple[bytes, int]:
    """What is in a file, or on standard input for `-`, and the file's permission bits (0 for what is no plain file).

    Raises Misconfigured `file-unreadable`, LocalMisuse `value-invalid` for a text in the place of a path.
    """
    shown = redact_text(path)
    if shown != path or len(path) > 1024 or path.startswith(("Orthros ", "Bearer ", "Authorization:")):
        raise LocalMisuse("value-invalid", "a text goes through a file or standard input: others see command lines")
    mode = 0
    try:
        if path == "-":
            data = sys.stdin.buffer.read(most_bytes + 1)
        else:
            with Path(path).open("rb") as file:
                facts = os.fstat(file.fileno())
                mode = stat.S_IMODE(facts.st_mode) if stat.S_ISREG(facts.st_mode) else 0
                data = file.read(most_bytes + 1)
    except OSError as error:
        raise Misconfigured("file-unreadable", f"{shown}: {error.strerror}") from None
    except ValueError:
        raise Misconfigured("file-unreadable", "a path cannot contain a null byte") from None
    if len(data) > most_bytes:
        raise Misconfigured("file-unreadable", f"{shown}: more than {most_bytes} bytes")
    return data, mode


def lines_of(found: Finding, now_s: int, depth: int = 0) -> Iterator[str]:
    """What was found, for people, as seen at the Unix second `now_s`."""
    indent = "  " * depth
    size = f", {found.size} bytes" if found.size else ""
    yield f"{indent}{found.title}{size}"
    rows: list[tuple[str, str]] = []
    for name, value in found.facts.items():
        rows += [(name.replace("_", " ") if at == 0 else "", text) for at, text in enumerate(_texts(value, now_s))]
    rows += [("caveats" if at == 0 else "", words) for at, words in enumerate(found.allows)]
    for name, section in _SECTIONS:
        rows += [(name if at == 0 else "", words) for at, words in enumerate(getattr(found, section))]
    width = max([14, *(len(name) + 2 for name, _text in rows)])
    room = max(40, _COLUMNS - len(indent) - width)
    for name, text in rows:
        for at, line in enumerate(wrap(text, room, break_long_words=False, break_on_hyphens=False)):
            yield f"{indent}  {name if at == 0 else '':{width}}{line}"
    for one in found.inside:
        yield from lines_of(one, now_s, depth + 1)


def _texts(value: Any, now_s: int) -> list[str]:
    if value is None:
        return []
    if isinstance(value, Moment):
        return [_moment_words(value.second, now_s)]
    if isinstance(value, Mapping):
        return [f"{name}: {_claim_words(name, one, now_s)}" for name, one in value.items()]
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return [", ".join(f"{name} {_claim_words(name, one, now_s)}" for name, one in row.items()) for row in value]
    if isinstance(value, list):
        return value if any(" " in one for one in value) else [" ".join(value) or "none"]
    return [str(value)]


def _claim_words(name: str, value: Any, now_s: int) -> str:
    if name in _TIMES and type(value) is int:
        return _moment_words(value, now_s)
    return value if isinstance(value, str) else json.dumps(value)


def _moment_words(second: int, now_s: int) -> str:
    apart = second - now_s
    if abs(apart) > 10 * 365 * 86_400:
        return date_words(second)
    return f"{date_words(second)}, {f'in {life(apart)}' if apart >= 0 else f'{life(-apart)} ago'}"
