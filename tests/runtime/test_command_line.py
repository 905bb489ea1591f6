"""The command lines of all four programs: examples that can be typed, versions, completion, durations."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from orthros_client.cli import __main__ as orthros
from orthros_client.daemon import __main__ as orthros_daemon
from orthros_kdc.process import command as orthros_kdc
from orthros_protocol.errors import Misconfigured
from orthros_runtime.command_line import Parser, duration
from orthros_tools.admin import __main__ as orthros_admin

GRAMMARS = {
    "orthros": orthros.parser(),
    "orthros-daemon": orthros_daemon.parser(),
    "orthros-kdc": orthros_kdc.parser(),
    "orthros-admin": orthros_admin.parser(),
}
# A program at the beginning of a line, of a part of a pipe, or of a substitution, with its words.
CALLED = re.compile(rf"(?:^|\$\(|\| |^[A-Z_]+=\S+ )(({'|'.join(sorted(GRAMMARS, reverse=True))}) [^|<>$)]*)")
BIN = Path(sys.executable).parent


def below(parser: argparse.ArgumentParser) -> Iterator[Parser]:
    """The parser and the parsers of all its commands."""
    assert isinstance(parser, Parser)
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from below(command)


def is_command(parser: argparse.ArgumentParser) -> bool:
    return not any(isinstance(action, argparse._SubParsersAction) for action in parser._actions)


EVERY = {parser.prog: parser for grammar in GRAMMARS.values() for parser in below(grammar)}


@pytest.mark.parametrize("command", [prog for prog, parser in EVERY.items() if is_command(parser) or prog in GRAMMARS])
def test_help_ends_in_examples_that_can_be_typed(command: str) -> None:
    parser = EVERY[command]
    told = parser.format_help()
    assert parser.examples
    for example in parser.examples:
        assert f"\n  {example}\n" in f"{told}\n"
        calls = CALLED.findall(example)
        assert calls, f"calls no program of ours: {example}"
        for line, program in calls:
            words = shlex.split(line)[1:]
            if program == "orthros-daemon" and words[0].startswith("--"):
                words.insert(0, "serve")  # what it does without a command
            GRAMMARS[program].parse_args(words)
    assert any(line.startswith(command) for example in parser.examples for line, _ in CALLED.findall(example))


@pytest.mark.parametrize("program", GRAMMARS)
def test_every_program_tells_its_version(program: str) -> None:
    told = subprocess.run([BIN / program, "--version"], capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (0, f"{program} {version('orthros')}\n", "")


def completed(line: str) -> list[str]:
    """What bash offers for the last word of the line, by the script that `orthros completion bash` prints."""
    words = line.split(" ")
    script = (
        'eval "$(orthros completion bash)"\n'
        f"COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)} COMP_TYPE=9\n"
        f"COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}\n"
        f"$(complete -p {words[0]} | sed -n 's/.*-F \\([^ ]*\\).*/\\1/p') {words[0]}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    told = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert told.returncode == 0, told.stderr
    return [word.strip() for word in told.stdout.splitlines() if word.strip()]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("orthros tic", ["ticket"]),
        ("orthros re", ["receive", "renew", "replay"]),
        ("orthros ticket --sco", ["--scope"]),
        ("orthros-kdc ser", ["serve"]),
        ("orthros-daemon con", ["config"]),
        ("orthros-admin principal dis", ["disable"]),
    ],
)
def test_bash_completes_commands_and_options(line: str, words: list[str]) -> None:
    assert sorted(completed(line)) == words


@pytest.mark.parametrize(("shell", "mark"), [("zsh", "#compdef"), ("fish", "complete --command orthros-admin")])
def test_other_shells_get_a_script_of_their_own(shell: str, mark: str) -> None:
    told = subprocess.run(
        [BIN / "orthros", "completion", shell], capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 0
    assert mark in told.stdout


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("30d", 2_592_000), ("007", 7)]
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: int) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "1.5h", "1 h", "h", "1w", "1H", "1h30m", "٣s", "999999999"])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a duration"):
        duration(text)


@pytest.mark.parametrize("line", ["ticket orders --ttl 25h", "ticket orders --ttl 2d", "--timeout 2h list"])
def test_a_duration_beyond_its_bound_is_refused_before_anything_is_asked(line: str) -> None:
    with pytest.raises(Misconfigured) as refused:
        GRAMMARS["orthros"].parse_args(line.split())
    assert refused.value.code == "usage"


@pytest.mark.parametrize(("text", "seconds"), [("0.5", 0.5), ("10", 10.0), ("90s", 90), ("2m", 120), ("3600", 3600.0)])
def test_a_wait_may_be_a_fraction_of_a_second(text: str, seconds: float) -> None:
    assert GRAMMARS["orthros"].parse_args(["--timeout", text, "list"]).timeout == seconds


def test_an_option_is_written_out() -> None:
    """An abbreviation would change its meaning with the next option that begins like it."""
    with pytest.raises(Misconfigured):
        GRAMMARS["orthros"].parse_args(["ticket", "orders", "--sco", "read"])
