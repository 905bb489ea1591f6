"""The realm as a file: its page typed in, the four commands, and files that come back as they went."""

import io
import os
import re
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orthros_kdc.admin import Admin, Fact, groups, jwt_keys, oauth_secrets, principals, realm, realm_file, rules
from orthros_kdc.policy.realm_document import RealmState
from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.realm.vault import Vault
from orthros_kdc.store.base import Transaction
from orthros_kdc.store.lock_limit import LockLimit
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.instants import Timestamp
from orthros_tools.admin.realm_toml import realm_toml
from tests.docs.pages import ROOT, blocks, matches, transcript
from tests.support.stores import close_scratch_stores, scratch_store
from tests.tools.admin.bench import AdminBench

PAGE = ROOT / "docs" / "realm-file.md"
SMALL = """\
version = 1
[principals.a]
[principals.b]
[[rules]]
client = "a"
target = "b"
scopes = ["read"]
[realm]
name = "corp.example"
"""


class AtTerminal(io.StringIO):
    """A person who types one line."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def file(bench: AdminBench) -> Path:
    path = bench.folder / "realm.toml"
    path.write_text(SMALL)
    return path


@pytest.mark.parity("P6")
def test_page_can_be_typed_from_top_to_bottom(bench: AdminBench) -> None:
    small, whole = blocks(PAGE, "toml")
    (bench.folder / "realm.toml").write_text(small)
    (bench.folder / "slip.toml").write_text(SMALL.replace("scopes", "max_ttl = 9 #"))
    first, slip = blocks(PAGE, "console")
    code = 0
    for command, shown in transcript(first):
        program, _, line = command.partition(" ")
        if program == "echo":
            assert shown == f"{code}\n"
            continue
        told = bench.run(line)
        code = told.code
        assert matches(shown, told.out), told.out + told.err
    ((command, shown),) = transcript(slip)
    told = bench.run(command.partition(" ")[2])
    assert (told.code, told.out) == (1, "")
    assert matches(shown, told.err), told.err
    (bench.folder / "realm.toml").write_text(whole)
    bench.ok("realm apply realm.toml --yes --prune-principals --max-removals 9")
    assert bench.ok("realm diff realm.toml --prune-principals").out == "the realm is as the file says\n"


def test_fields_of_the_table_are_those_of_the_program(file: Path, bench: AdminBench) -> None:
    table = dict(re.findall(r"^\| (.*?) \| (.*?) \|$", (ROOT / "docs" / "admin.md").read_text("utf-8"), re.MULTILINE))
    for row, line in (
        ("`realm validate`", "realm validate realm.toml"),
        ("`realm diff`, `apply`", "realm apply realm.toml --yes"),
        ("`realm export`", "realm export"),
    ):
        assert list(bench.rows(line)[0]) == table[row].split(", ")


def test_validate_needs_no_realm(file: Path, bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTHROS_STORE_PATH", "/nowhere/kdc.db")
    monkeypatch.setenv("ORTHROS_STORE_MASTER_KEY_FILE", "/nowhere/master.key")
    assert bench.ok("realm validate realm.toml").out == "realm.toml is in order: 2 principals, 0 groups, 1 rule\n"
    file.write_text(SMALL.replace("[principals.b]\n", ""))
    told = bench.ok("realm validate realm.toml --quiet")
    assert told.out == (
        "warning: realm.toml, line 5: principal b is not defined here, so the realm must have it already\n"
    )
    (row,) = bench.rows("realm validate realm.toml")
    assert (row["principals"], len(row["warnings"])) == (1, 1)
    assert bench.run("realm diff realm.toml").code == 1


def test_file_comes_from_standard_input_too(bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, code, line in ((SMALL, 0, ""), (SMALL + "x", 1, "standard input, line 10: ")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.replace("\n", "\r\n").encode())))
        told = bench.run("realm validate -")
        assert (told.code, line in told.err) == (code, True)


@pytest.mark.parametrize("verb", ["validate", "diff", "apply --yes"])
def test_file_that_cannot_be_read_is_no_traceback(bench: AdminBench, verb: str) -> None:
    (bench.folder / "latin").write_bytes(b"version = 1 # \xe9")
    for name in ("nothing", "latin", "realm"):
        told = bench.run(f"realm {verb} {name} --output json")
        assert (told.code, told.error["code"]) == (1, "file-unreadable")


def test_diff_changes_nothing_and_ends_with_3(file: Path, bench: AdminBench) -> None:
    before = bench.snapshot()
    told = bench.run("realm diff realm.toml")
    assert (told.code, told.out) == (3, "+ principal a\n+ principal b\n+ rule a -> b [read]\n")
    assert told.err.splitlines()[0] == "orthros-admin: The realm is not as the file says. (3 to add)"
    assert told.err.splitlines()[2] == "code: realm-differs"
    told = bench.run("realm diff realm.toml --output json")
    assert (told.code, told.error["code"], len(told.rows)) == (3, "realm-differs", 3)
    assert told.rows[2] == {"change": "add", "event": "rule.added", "name": "a -> b", "words": "rule a -> b [read]"}
    assert bench.snapshot() == before


def test_apply_asks_where_somebody_can_be_asked(file: Path, bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    before = bench.snapshot()
    told = bench.run("realm apply realm.toml")
    assert (told.code, told.out) == (1, "")
    assert told.err.startswith("+ principal a\n+ principal b\n+ rule a -> b [read]\n")
    assert "remedy: If this is meant: `orthros-admin realm apply realm.toml --yes`." in told.err
    monkeypatch.setattr(sys, "stdin", AtTerminal("yes\n"))
    told = bench.run("realm apply realm.toml")
    assert (told.code, "not confirmed, nothing was changed" in told.err) == (1, True)
    assert bench.snapshot() == before
    monkeypatch.setattr(sys, "stdin", AtTerminal("corp.example\n"))
    told = bench.run("realm apply realm.toml")
    assert told.code == 0
    assert "Make these changes, 3 to add? Type corp.example to confirm: " in told.err
    assert told.out.splitlines()[0] == "applied: 3 to add"
    assert bench.ok("realm apply realm.toml").out == "the realm is as the file says\n"  # nothing to ask about


def test_what_was_confirmed_is_what_happens(file: Path, bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else is quicker than the answer at the terminal."""

    class Slow(AtTerminal):
        def readline(self, *_size: Any) -> str:  # type: ignore[override]
            path = bench.folder / "realm" / "kdc.toml"
            assert os.spawnl(
                os.P_WAIT, sys.executable, sys.executable, "-m", "orthros_tools.admin", "--config", str(path),
                "principal", "add", "a", "--quiet", "--out", str(bench.folder / "quick.key"),
            ) == 0  # fmt: skip
            return "corp.example\n"

    monkeypatch.setattr(sys, "stdin", Slow())
    told = bench.run("realm apply realm.toml")
    assert (told.code, "code: conflict" in told.err) == (1, True)
    assert [row["name"] for row in bench.rows("principal list")] == ["a"]


def test_deletion_is_shown_loudly_and_only_on_demand(file: Path, bench: AdminBench) -> None:
    bench.ok("realm apply realm.toml --yes")
    bench.add("visitor")
    told = bench.ok("realm apply realm.toml --yes")
    assert told.out == "  left alone: principal visitor: not in the file\nthe realm is as the file says\n"
    told = bench.ok("realm apply realm.toml --yes --prune-principals")
    assert told.out.startswith("- principal visitor: DELETED with its keys; ")
    assert [row["name"] for row in bench.rows("principal list")] == ["a", "b"]
    assert bench.ok("audit tail -n 1 --event principal.deleted").out.count("visitor") == 1


def test_next_steps_hand_over_what_was_made(file: Path, bench: AdminBench) -> None:
    file.write_text(
        'version = 1\nrealm = { name = "corp.example" }\n[principals.a]\njwt = {}\noauth = true\n'
        '[principals.b]\njwt = { alg = "opaque" }\n'
    )
    told = bench.ok("realm apply realm.toml --yes")
    steps = [line.removeprefix("next: orthros-admin ") for line in told.out.splitlines() if line.startswith("next")]
    assert len(steps) == 4
    for number, step in enumerate(steps):
        bench.ok(step.replace("FILE", f"made-{number}"))


@pytest.mark.parametrize("name", ["a/b", "x.y"])
def test_refusal_of_apply_is_that_of_its_line(file: Path, bench: AdminBench, name: str) -> None:
    file.write_text(SMALL.replace('"b"', f'"{name}"'))
    before = bench.snapshot()
    told = bench.run("realm apply realm.toml --yes --output json")
    assert (told.code, told.error["code"]) == (5, "not-found")
    assert told.error["detail"] == f"realm.toml, line 6: no principal is called {name}"
    assert f'`[principals."{name}"]`' in told.error["remedy"]
    assert bench.snapshot() == before


def test_export_writes_a_new_file_that_applies(file: Path, bench: AdminBench) -> None:
    bench.ok("realm apply realm.toml --yes")
    assert bench.ok("realm export out.toml").out == "realm corp.example written to out.toml: 1 rule\n"
    exported = (bench.folder / "out.toml").read_text()
    assert exported == bench.ok("realm export").out == bench.rows("realm export")[0]["text"]
    assert bench.ok("realm diff out.toml --prune-principals").out == "the realm is as the file says\n"
    before = bench.snapshot()
    assert bench.run("realm export out.toml --output json").error["code"] == "file-exists"
    assert bench.run("realm export nowhere/out.toml --output json").error["code"] == "file-unreadable"
    assert bench.snapshot() == before


def test_default_target_that_is_gone_is_not_exported(bench: AdminBench) -> None:
    """An older program left the name in place; a file with it would be refused, although nothing has changed."""
    bench.add("billing", "orders")
    bench.ok("oauth enable billing --default-audience orders")
    assert 'default_audience = "orders"\n' in bench.ok("realm export").out
    bench.ok("principal delete orders --yes")
    with closing(sqlite3.connect(bench.folder / "realm" / "kdc.db")) as connection, connection:
        connection.execute("UPDATE principals SET default_audience = 'orders' WHERE name = 'billing'")
    bench.ok("realm export realm.toml")
    assert "default_audience" not in (bench.folder / "realm.toml").read_text("utf-8")
    assert bench.ok("realm diff realm.toml").out == (
        "  left alone: principal billing: default_audience orders\nthe realm is as the file says\n"
    )


# Whatever commands make of a realm comes back from its file.

NAMES = ("a", "b.c", "d/e-f", "g")
GROUPS = ("g", "h.i")
PRINCIPALS = st.sampled_from(NAMES)
ENDS = st.sampled_from([*NAMES, *(f"group:{group}" for group in GROUPS)])
SECONDS = st.none() | st.integers(1, 2**40)
NETWORKS = st.lists(st.sampled_from(["10.0.0.0/8", "2001:db8::/32", "192.0.2.7", "::ffff:1.2.3.0/120"]), max_size=3)
PATTERNS = st.lists(st.sampled_from(["*", "users/*", "a", "x.y"]), max_size=2).map(tuple)


def few(values: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(values, max_size=2).map(tuple)


CHAINS = st.fixed_dictionaries({
    "deny_via": few(ENDS | st.just("a@other.example")), "require_via": few(ENDS),
    "max_depth": st.integers(0, 8), "callbacks": st.booleans(),
})  # fmt: skip
CAVEATS = st.none() | st.fixed_dictionaries({
    "methods": few(st.sampled_from(["GET", "PUT"])), "path": st.sampled_from([None, "/", "/a/b", "/caf%C3%A9"]),
    "peers": NETWORKS.map(tuple), "discharges": few(st.sampled_from(["a=four-eyes", "d/e-f=x"])),
})  # fmt: skip
STEPS = st.one_of(
    st.tuples(st.just("rule"), ENDS, ENDS, few(st.sampled_from(["read", "a:b/c"])), SECONDS, st.booleans(),
              st.booleans(), PATTERNS, PATTERNS, NETWORKS.map(tuple), CHAINS, CAVEATS),
    st.tuples(st.just("member"), st.sampled_from(GROUPS), PRINCIPALS),
    st.tuples(st.just("caps"), PRINCIPALS, SECONDS, SECONDS, NETWORKS),
    st.tuples(st.just("disable"), PRINCIPALS),
    st.tuples(st.just("jwt"), PRINCIPALS, st.sampled_from(["HS256", "HS512", "opaque"]),
              st.sampled_from([None, "https://x", '"\\#[]']), few(st.sampled_from(["tenant", "region"]))),
    st.tuples(st.just("oauth"), PRINCIPALS, st.none() | PRINCIPALS),
    st.tuples(st.just("audience"), PRINCIPALS, st.none() | PRINCIPALS),
    st.tuples(st.just("unrule"), ENDS, ENDS),
    st.tuples(st.just("limits"), st.integers(1, 86400), st.sampled_from(["http://a", "https://b?c=\"'\\"])),
)  # fmt: skip


class Silent:
    """An audit trail that nobody reads."""

    def record_all(self, tx: Transaction, changes: Sequence[tuple[str, Mapping[str, Fact]]]) -> None: ...


async def empty_realm() -> Admin:
    vault = Vault(realm="corp.example", master=MasterKey(bytes(32), number=1))
    admin = Admin(store=scratch_store(), vault=vault, audit=Silent(), now_ms=lambda: Timestamp(10**12), actor="ops")
    await realm.init(admin)
    return admin


async def take(admin: Admin, step: tuple[Any, ...]) -> None:
    match step:
        case ("rule", client, target, scopes, ttl, jwt, delegable, subjects, behalf, sources, chain, caveats):
            await rules.allow(
                admin, client, target, scopes=scopes, max_ttl_s=ttl, jwt=jwt, delegable=delegable, subjects=subjects,
                behalf=behalf, sources=sources, **chain, **(caveats or {}),
            )  # fmt: skip
        case ("member", group, name):
            await groups.add_member(admin, group, name)
        case ("caps", name, ticket_s, jwt_s, networks):
            await principals.set_caps(admin, name, max_ticket_s=ticket_s, max_jwt_s=jwt_s, sources=networks)
        case ("disable", name):
            await principals.disable(admin, name)
        case ("jwt", name, alg, audience, claims):
            await jwt_keys.enable(admin, name, alg=alg, audience=audience, claims=claims)
        case ("oauth", name, default):
            await oauth_secrets.enable(admin, name, default_audience=default)
        case ("audience", name, target):
            await oauth_secrets.set_default_audience(admin, name, target)
        case ("unrule", client, target):
            await rules.deny(admin, client, target)
        case ("limits", seconds, issuer):
            await realm.change(admin, issuer=issuer, limits={"max_tgt_s": seconds, "max_jwt_s": seconds})


def without_numbers(state: RealmState) -> RealmState:
    return evolve(state, rules=tuple(evolve(rule, rule_id=0) for rule in state.rules))


@pytest.mark.parity("P6")
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=12))
def test_what_commands_made_comes_back_from_its_file(steps: list[tuple[Any, ...]]) -> None:
    """The file and the single commands say the same, whatever it is."""

    async def story() -> None:
        made, again = await empty_realm(), await empty_realm()
        for name in NAMES:
            await principals.add(made, name)
        for group in GROUPS:
            await groups.add(made, group)
        for step in steps:
            try:
                await take(made, step)
            except Misconfigured:
                continue  # a command that is refused makes nothing
        state = await realm_file.state(made)
        text = realm_toml(state)
        document = realm_file.read(text)
        assert await realm_file.diff(made, document, prune=True) == await realm_file.diff(made, document)
        assert (await realm_file.diff(made, document)).changes == ()
        assert (await realm_file.diff(made, document)).left == ()

        await realm_file.apply(again, document)
        found = await realm_file.state(again)
        assert without_numbers(found) == without_numbers(state)
        assert realm_toml(found) == text
        assert (await realm_file.apply(again, document)).changes == ()
        # And back from there to a realm without anything but its own limits.
        empty = realm_file.read(f"version = 1\nrealm = {{ name = '{again.vault.realm}' }}")
        await realm_file.apply(again, empty, prune=True, most_removals=999)
        assert (await realm_file.state(again)).principals == {}
        await realm_file.apply(again, document)
        assert realm_toml(await realm_file.state(again)) == text

    trio.run(story)
    close_scratch_stores()


def test_a_file_that_would_hold_the_lock_for_too_long_changes_nothing(
    file: Path, bench: AdminBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bench.snapshot()
    monkeypatch.setattr("orthros_tools.admin.session._LOCK_LIMIT", LockLimit(most_s=-1))
    told = bench.run("realm apply realm.toml --yes --output json")
    assert (told.code, told.error["code"]) == (4, "change-too-large")
    assert "differs less" in told.error["remedy"]
    assert bench.snapshot() == before
    assert bench.run("realm diff realm.toml").code == 3  # who only looks holds no lock
