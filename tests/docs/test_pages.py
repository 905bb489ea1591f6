"""Pages against the code: links, commands and their options, tables, numbers in the running text."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import pytest

from orthros_client.cli.__main__ import main as orthros
from orthros_client.daemon.__main__ import main as orthros_daemon
from orthros_client.daemon.tickets.cache import RENEW_TO
from orthros_kdc.__main__ import main as orthros_kdc
from orthros_kdc.audit.chain import append, genesis
from orthros_kdc.audit.events import EVENTS
from orthros_kdc.policy.model import RealmLimits
from orthros_protocol.primitives import limits
from orthros_tools.admin.__main__ import main as orthros_admin
from tests.docs.man import GRAMMARS, commands_below
from tests.docs.pages import PAGES, README, ROOT, anchors_of, blocks, commands_of, links_of
from tests.docs.tables import PAGE, PLACES, SERVICE_MODULES, TABLES, TESTING_MODULES, blocks_of

MAINS: dict[str, Callable[[Sequence[str]], int]] = {
    "orthros": orthros, "orthros-kdc": orthros_kdc, "orthros-daemon": orthros_daemon, "orthros-admin": orthros_admin,
}  # fmt: skip
OPERATIONS = " ".join(PAGE.read_text("utf-8").split())


def help_of(program: str, words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> str | None:
    """What `--help` prints for these words; None when there is no such command."""
    try:
        code = MAINS[program]([*words, "--help"])
    except SystemExit as done:
        code = int(done.code or 0)
    shown = capsys.readouterr()
    return shown.out if code == 0 else None


def path_of(program: str, words: Sequence[str]) -> list[str]:
    """The leading words that name a command: noun and verb, or one word."""
    plain = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]
    if program == "orthros-admin":
        return plain[:1] if plain[:1] == ["explain"] else plain[:2]
    return plain[:1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link).resolve() for link in links_of(index)}
    assert {page.resolve() for page in PAGES} - linked == {index.resolve()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_their_options_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in sorted(set(commands_of(page))):
        program, *words = shlex.split(command, comments=True)
        # What stands before the command word are options with values; the command is what --help knows.
        words = [word for at, word in enumerate(words) if at == 0 or words[at - 1] != "--config"]
        path = path_of(program, words)
        told = help_of(program, path, capsys)
        assert told is not None, command
        assert path or program in ("orthros", "orthros-daemon"), command
        if program == "orthros-daemon" and not path:
            told = help_of(program, ["serve"], capsys) or ""
        for option in (word.partition("=")[0] for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", told), f"{command}: {option}"


def test_every_command_is_named_on_a_page() -> None:
    """The public names of operators: docs/man has all of them by itself, the pages say what they are for."""
    text = " ".join(" ".join(page.read_text("utf-8").split()) for page in PAGES)
    names = [command.prog for make in GRAMMARS for command in commands_below(make())]
    missing = [name for name in names if name not in text and f"`{name.partition(' ')[2]}" not in text]
    assert len(names) > 50
    assert not missing


def test_readme_is_short() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("name", sorted(TABLES))
def test_tables_are_those_of_the_code(name: str) -> None:
    shown = blocks_of(PLACES[name].read_text("utf-8"))
    assert shown[name] == TABLES[name](), "write them anew: python -m tests.docs.tables"


def test_services_need_fewer_than_thirty_names_and_the_pages_use_no_other() -> None:
    """What docs/library.md and docs/testing.md do not list is private, so no sample may import it."""
    packages = ("orthros_client", "orthros_protocol", "orthros_protocol.testing", *SERVICE_MODULES, *TESTING_MODULES)
    public = {name: set(import_module(name).__all__) for name in packages}
    assert len(public["orthros_client"]) < 30
    for page in PAGES:
        for block in blocks(page, "python"):
            for module, names in re.findall(
                r"^ *from (orthros_(?:client|protocol)[\w.]*) import (.*)$", block, re.MULTILINE
            ):
                assert {name.strip() for name in names.split(",")} <= public.get(module, set()), f"{page}: {module}"


def test_audit_events_and_hash_are_as_described() -> None:
    assert f"| `event` | {' '.join(f'`{name}`' for name in EVENTS)} |" in PAGE.read_text("utf-8")
    line, head = append(genesis("kdc-1"), {"event": "kdc-started", "at": 1})
    before = line.rpartition(b',"hash":"')[0] + b"}"
    assert hashlib.sha256(before).hexdigest() == json.loads(line)["hash"] == head.hash


def test_outage_numbers_follow_from_renewal_and_limits() -> None:
    """How long tickets last without a KDC: what is left of them just before they would be renewed."""
    left, realm = 1 - RENEW_TO, RealmLimits()
    assert round(36_000 * left) > realm.max_ticket_s  # a login of ten hours never shortens an hour
    assert f"at least {round(realm.max_ticket_s * left / 60)} min, at most {realm.max_ticket_s // 60} min" in OPERATIONS
    assert f"{round(realm.max_jwt_s * left)} s to {realm.max_jwt_s // 60} min" in OPERATIONS
    # A login is replaced when half of it is spent, so a ticket gets at least the other half.
    assert f"the minimum is {int(realm.max_tgt_s / 2 * left / 60)} min" in OPERATIONS
    assert 30 <= min(4 * 3600, limits.MAX_TICKET_LIFE_S / 2) * left / 60 < 40  # "half an hour at least"
    assert limits.MAX_TICKET_LIFE_S == 24 * 3600
