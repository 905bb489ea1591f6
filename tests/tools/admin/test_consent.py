"""What destroys says what it will do and asks; where no person can be asked it takes `--yes`, or does nothing."""

from __future__ import annotations

import os
import pty
import shlex
import sys

import pytest

from tests.tools.admin.bench import AdminBench

DESTRUCTIVE = {
    "group delete edge": (
        "edge", ["would delete group edge; members: web", "would remove rule 3: group:edge -> orders"],
    ),
    "policy deny web orders": (
        "web", ["would remove rule 1: web -> orders [read]", "would remove rule 2: web -> orders [write]"],
    ),
    "jwt disable orders": ("orders", ["would issue no more tokens for orders", "would erase JWT key "]),
    "oauth disable web": ("web", ["would erase client secret ", "would forget the default target orders"]),
    "key retire web 1 --force": ("web", ["would erase key version 1 of web", "could still log in with: none"]),
    "realm limit --max-ticket-s 60": (
        "corp.example", ["would shorten the limit of service tickets: 3600 s to 60 s", "these rules allow: 1"],
    ),
    "principal delete orders": (
        "orders", ["would delete principal orders with its keys", "would remove rule 1: ",
                   "would remove orders from group back", "would remove the default target of web"],
    ),
    "realm apply few.toml --max-removals 9": ("corp.example", ["- rule 1: web -> orders [read]"]),
}  # fmt: skip
"""Each command with the word that confirms it, and what it foretells."""


@pytest.fixture
def full(bench: AdminBench) -> AdminBench:
    bench.add("web", "orders")
    (bench.folder / "few.toml").write_text('version = 1\n[realm]\nname = "corp.example"\n')
    for line in (
        "group add edge", "group add back", "group add-member edge web", "group add-member back orders",
        "policy allow web orders --scope read --max-ttl 10m", "policy allow web orders --scope write",
        "policy allow group:edge orders", "jwt enable orders", "oauth enable web --default-audience orders",
    ):  # fmt: skip
        bench.ok(line)
    return bench


@pytest.mark.parametrize("line", DESTRUCTIVE)
def test_without_a_terminal_nothing_happens_and_the_command_is_named(
    full: AdminBench, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = full.snapshot()
    with open(os.devnull, encoding="ascii") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        told = full.run(line)
    assert (told.code, told.out) == (1, "")
    assert [words for words in DESTRUCTIVE[line][1] if words not in told.err] == []
    assert f"remedy: If this is meant: `orthros-admin {line} --yes`.\ncode: usage\n" in told.err
    assert full.snapshot() == before
    again = full.ok(f"{line} --yes")
    assert [words for words in DESTRUCTIVE[line][1] if words not in again.err + again.out] == []
    assert full.snapshot() != before


@pytest.mark.parametrize("line", DESTRUCTIVE)
def test_a_person_confirms_by_typing_the_name(full: AdminBench, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = full.snapshot()
    for typed, code in (("yes", 1), ("", 1), (DESTRUCTIVE[line][0], 0)):
        person, terminal = pty.openpty()
        with open(terminal, encoding="ascii") as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            os.write(person, f"{typed}\n".encode("ascii"))
            told = full.run(line)
        os.close(person)
        assert told.code == code
        assert f"Type {DESTRUCTIVE[line][0]} to confirm: " in told.err
        assert (full.snapshot() == before) == bool(code)


def test_what_destroys_nothing_asks_nothing(full: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, encoding="ascii") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        for line in ("policy deny group:edge orders", "policy deny --rule 1", "realm limit --max-ticket-s 2h"):
            full.ok(line)


def test_the_command_to_type_is_quoted_for_a_shell(full: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, encoding="ascii") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        told = full.run("--actor 'ada; true' jwt disable orders")
    (advice,) = [line for line in told.err.splitlines() if line.startswith("remedy: ")]
    command = advice.removeprefix("remedy: If this is meant: `orthros-admin ").removesuffix("`.")
    assert shlex.split(command) == ["--actor", "ada; true", "jwt", "disable", "orders", "--yes"]
    full.ok(command)


@pytest.mark.parametrize("line", ["group delete edge --yes --quiet", "jwt disable orders --yes --quiet"])
def test_quiet_commands_foretell_nothing(full: AdminBench, line: str) -> None:
    told = full.ok(line)
    assert (told.out, told.err) == ("", "")
