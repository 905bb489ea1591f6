"""The grammar: help that can be trusted, options before and after the noun, exit codes, errors without traces."""

import argparse
import json
import os
import pwd
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from orthros_protocol.errors import Misconfigured, PeerMisbehaved, Refused, Unavailable
from orthros_runtime.command_line import Parser
from orthros_tools.admin import __main__ as program
from tests.tools.admin.bench import AdminBench


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command of one or two words."""
    below = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield parser
    for choices in below:
        for one in choices.values():
            yield from commands(one)


EVERY_COMMAND = {parser.prog.removeprefix("orthros-admin "): parser for parser in commands(program.parser())}


def test_every_verb_that_is_promised_is_there() -> None:
    assert set(EVERY_COMMAND) == {
        *(f"principal {verb}" for verb in ("add", "list", "show", "limit", "disable", "enable", "delete")),
        *(f"key {verb}" for verb in ("list", "rotate", "activate", "retire", "export", "erase-tombstones")),
        *(f"group {verb}" for verb in ("list", "show", "add", "delete", "add-member", "remove-member")),
        *(f"policy {verb}" for verb in ("allow", "deny", "list", "explain", "test")),
        *(f"jwt {verb}" for verb in ("enable", "claims", "disable", "rotate", "export")),
        *(f"oauth {verb}" for verb in ("enable", "audience", "disable", "secret", "retire", "list")),
        *(f"audit {verb}" for verb in ("tail", "verify", "archive", "restart", "export")),
        *(
            f"realm {verb}"
            for verb in ("show", "limit", "issuer", "rotate-keys", "erase-old-keys", "new-master-key", "rewrap")
        ),
        *(f"realm {verb}" for verb in ("validate", "diff", "apply", "export")),
        "kdc accept-clock",
        "explain",
    }


@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_help_has_examples_that_can_be_typed_and_exit_codes(bench: AdminBench, command: str) -> None:
    told = bench.ok(f"{command} --help").out
    _, after = told.split("EXAMPLES\n")
    examples, codes = after.split("\nEXIT CODES\n")
    for example in examples.splitlines():
        words = shlex.split(example.partition(" | ")[0].partition(" < ")[0])
        assert words[0] == "orthros-admin"
        assert " ".join(words[1:]).startswith(command)
        program.parser().parse_args(words[1:])
    assert [line.split()[0] for line in codes.splitlines()] in (list("0145"), list("01345"))


@pytest.mark.parametrize("noun", ["principal", "key", "group", "policy", "jwt", "oauth", "audit", "realm", "kdc"])
def test_help_of_a_noun_lists_its_verbs(bench: AdminBench, noun: str) -> None:
    told = bench.ok(f"{noun} --help").out
    assert [
        verb for verb in EVERY_COMMAND if verb.startswith(f"{noun} ") and f"    {verb.split()[1]} " not in told
    ] == []


@pytest.mark.parametrize(
    "line",
    [
        "",
        "principal",
        "frobnicate",
        "principal frobnicate",
        "principal add",
        "principal add a b",
        "principal list --outputt json",
        "principal list --out json",
        "principal list --output yaml",
        "principal add a --max-ticket-s soon",
        "key retire a -1",
    ],
)
def test_line_that_cannot_be_followed_ends_with_1_and_names_the_help(bench: AdminBench, line: str) -> None:
    told = bench.run(line)
    assert (told.code, told.out) == (1, "")
    first, remedy, code = told.err.splitlines()
    assert first.startswith("orthros-admin: The command line cannot be followed. (")
    assert remedy.startswith("remedy: Read `orthros-admin")
    assert remedy.endswith(" --help`.")
    assert code == "code: usage"


@pytest.mark.parametrize("line", ["--output json principal", "principal frobnicate --output=json", "--output json"])
def test_usage_errors_are_json_for_those_who_asked(bench: AdminBench, line: str) -> None:
    assert bench.run(line).error.keys() == {"code", "cause", "detail", "remedy"}


@pytest.mark.parametrize(
    "line",
    [
        "--output json --actor ada principal add billing",
        "principal --output json add billing --actor ada",
        "principal add billing --output json --actor ada",
        "--actor eve --output table principal add --output json --actor ada billing",
    ],
)
def test_options_of_every_command_stand_before_and_after_the_noun(bench: AdminBench, line: str) -> None:
    assert bench.ok(line).rows[0]["name"] == "billing"
    assert bench.rows("audit tail -n 1")[0]["facts"]["actor"] == "ada"


def test_quiet_leaves_what_was_asked_for(bench: AdminBench) -> None:
    assert bench.ok("--quiet principal add billing").out == ""
    assert bench.ok("principal list --quiet").out.startswith("NAME ")
    assert bench.ok("group list --quiet").out == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Misconfigured("value-invalid"), 1),
        (PeerMisbehaved("reply-mismatch"), 2),
        (Refused("not-granted"), 3),
        (Unavailable("timeout"), 4),
        (Misconfigured("not-found"), 5),
    ],
)
def test_exit_code_follows_from_the_family_of_the_error(error: Misconfigured, code: int) -> None:
    assert program._exit_code(error) == code


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ("--config missing.toml", "file-unreadable"),
        ("--config realm", "file-unreadable"),
        ("--config realm/kdc.db", "config-invalid"),
        ("--store missing.db", "database-invalid"),
        ("--store realm/kdc.toml", "database-invalid"),
        ("--master-key-file missing.key", "master-key-missing"),
        ("--master-key-file realm/kdc.toml", "key-file-unsafe"),
        ("--master-key-file other.key", "master-key-invalid"),
        ("--actor ''", "value-invalid"),
        ("--actor 'a\nb'", "value-invalid"),
    ],
)
def test_realm_that_cannot_be_opened_is_left_alone(bench: AdminBench, options: str, code: str) -> None:
    (bench.folder / "other.key").touch(mode=0o600)
    (bench.folder / "realm" / "kdc.toml").chmod(0o644)
    before = bench.snapshot()
    told = bench.run(f"principal add billing {options} --output json")
    assert (told.code, told.error["code"]) == (1, code)
    assert bench.snapshot() == before
    assert bench.files() == {"other.key"}


def test_another_realms_master_key_is_refused(bench: AdminBench) -> None:
    from orthros_kdc.realm.master_key import create_master_key_file

    create_master_key_file(bench.folder / "other.key", entropy=os.urandom)
    told = bench.run("principal list --master-key-file other.key --output json")
    assert (told.code, told.error["code"]) == (1, "master-key-wrong")


def test_flags_are_enough_without_a_configuration(bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORTHROS_CONFIG")
    monkeypatch.setenv("ORTHROS_AUDIT_DIRECTORY", os.fspath(bench.folder / "realm" / "audit"))
    bench.ok("--store realm/kdc.db --master-key-file realm/master.key principal add billing")
    assert bench.run("principal list --store realm/kdc.db --output json").error["code"] == "master-key-missing"


def test_configuration_is_found_where_init_leaves_it(bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORTHROS_CONFIG")
    monkeypatch.setattr("orthros_tools.admin.session._USUAL_CONFIG", bench.config)
    bench.ok("principal list")


def test_database_without_its_tables_is_unavailable(bench: AdminBench) -> None:
    with closing(sqlite3.connect(bench.folder / "realm" / "kdc.db")) as connection:
        connection.execute("ALTER TABLE groups RENAME TO lost")
    told = bench.run("group list --output json")
    with closing(sqlite3.connect(bench.folder / "realm" / "kdc.db")) as connection:
        connection.execute("ALTER TABLE lost RENAME TO groups")
    assert told.code == 4


def test_actor_is_the_person_behind_sudo(bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "ada")
    bench.add("billing")
    assert bench.rows("audit tail -n 1")[0]["facts"]["actor"] == "ada"


def test_container_user_without_a_name_is_named_by_number(bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 987_654)
    monkeypatch.setenv("SUDO_USER", "mallory")
    bench.add("billing")
    assert bench.rows("audit tail -n 1")[0]["facts"]["actor"] == "uid-987654"


def test_key_in_the_arguments_is_not_repeated(bench: AdminBench) -> None:
    key = "ort1k_" + "abcdef234567" * 20
    for line in (
        "principal add",
        "principal show",
        "frobnicate",
        "explain",
        "policy allow a b",
        "principal list --store",
    ):
        for form in ("", " --output json"):
            told = bench.run(f"{line} {key}{form}")
            assert told.code == (5 if "show" in line else 1)
            assert "abcdef234567" not in told.out + told.err


def test_fault_of_the_program_shows_no_traceback(bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_uid: int) -> None:
        raise RuntimeError("ort1k_abcdef234567")

    monkeypatch.setattr(pwd, "getpwuid", broken)
    told = bench.run("principal list")
    assert told.code == 1
    assert told.err == (
        "orthros-admin: This program has a fault. (RuntimeError: <key redacted>)\n"
        "remedy: Report it; no change is ever half made.\n"
        "code: internal-fault\n"
    )


def test_parser_raises_instead_of_exiting_with_2() -> None:
    with pytest.raises(Misconfigured) as refused:
        Parser(prog="p").parse_args(["extra"])
    assert json.dumps(refused.value.detail) == '"unrecognized arguments: extra"'
