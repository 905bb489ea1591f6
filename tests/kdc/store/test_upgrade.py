"""A database of an earlier version: left alone under a wrong master key, brought up to date under its own."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from orthros_kdc.__main__ import main
from orthros_kdc.policy.rule import Rule
from orthros_kdc.realm.master_key import MasterKey, load_master_key
from orthros_kdc.realm.vault import open_vault
from orthros_kdc.store.migrations import newest
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import LocalMisuse, Misconfigured
from orthros_tools.admin.__main__ import main as admin_main
from tests.support.old_database import make_earlier_version, version_of

FIRST_CHANGE_LOG = 6
UPGRADE = """
import sys
import trio
from orthros_kdc.store.sqlite import SqliteStore

async def main(path):
    store = SqliteStore.open(path)
    print("opened", flush=True)
    sys.stdin.readline()
    await store.upgrade()
    await store.change(lambda tx: tx.add_group(sys.argv[2]))
    await store.aclose()

trio.run(main, sys.argv[1])
"""


@pytest.fixture(params=range(1, newest()))
def version(request):
    return request.param


@pytest.fixture
def realm(tmp_path, monkeypatch, version):
    """A realm with a principal, a rule and a JWT key, whose database an earlier version wrote."""
    for name in [name for name in os.environ if name.startswith(("ORTHROS_", "CREDENTIALS_"))]:
        monkeypatch.delenv(name)
    folder = tmp_path / "realm"
    assert main(["init", "--realm", "corp.test", "--data", str(folder), "--listen", "127.0.0.1:0"]) == 0
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORTHROS_CONFIG", str(folder / "kdc.toml"))
    for line in ("principal add billing", "principal add orders", "jwt enable orders",
                 "policy allow billing orders --scope read --jwt", "group add callers",
                 "group add-member callers billing"):  # fmt: skip
        assert admin_main(line.split()) == 0
    make_earlier_version(folder / "kdc.db", version)
    assert version_of(folder / "kdc.db") == version
    return folder


def everything_in(folder):
    return {
        path.relative_to(folder): (path.stat().st_mode, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def put_another_master_key(realm):
    key = load_master_key(realm / "master.key", environ={})
    (realm / "master.key").write_text(MasterKey(os.urandom(32), number=key.number).to_text() + "\n")


def upgrading(path, group):
    """A process that has opened the database and upgrades it when it is told to."""
    words = [sys.executable, "-c", UPGRADE, str(path), group]
    return subprocess.Popen(words, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


@pytest.mark.parity("K13")
@pytest.mark.parametrize(
    "program",
    [
        lambda realm: main(["serve", "--config", str(realm / "kdc.toml")]),
        lambda _: admin_main(["principal", "list"]),
        lambda _: admin_main(["oauth", "enable", "billing", "--out", "-"]),
        lambda _: admin_main(["realm", "rewrap"]),
    ],
    ids=["serve", "list", "change", "rewrap"],
)
def test_a_wrong_master_key_leaves_every_byte_as_it_is(realm, version, program, capsys):
    """Wrong or missing master key: refuses, nothing changed, the version of the database included."""
    put_another_master_key(realm)
    before = everything_in(realm)
    assert program(realm) == 1
    assert "code: master-key-wrong" in capsys.readouterr().err
    assert everything_in(realm) == before
    assert version_of(realm / "kdc.db") == version


async def test_opening_alone_touches_nothing(realm):
    before = everything_in(realm)
    store = SqliteStore.open(realm / "kdc.db")
    assert (await store.read(lambda tx: tx.realm())).realm == "corp.test"
    assert len(await store.read(lambda tx: tx.realm_keys())) == 4
    with pytest.raises(LocalMisuse, match="wrong-state"):
        await store.change(lambda tx: tx.add_group("a"))
    await store.aclose()
    assert everything_in(realm) == before


async def test_its_own_master_key_brings_it_up_to_date_with_all_that_it_holds(realm, version):
    master = load_master_key(realm / "master.key", environ={})
    store = SqliteStore.open(realm / "kdc.db")
    vault = await open_vault(store, master)
    assert version_of(realm / "kdc.db") == newest()

    def look(tx):
        billing, orders = tx.principals()
        (rule,) = tx.policy().rules
        (key,) = tx.keys_of(billing.uid)
        (jwt_key,) = tx.jwt_keys_of(orders.uid)
        assert tx.policy().groups == {"callers": frozenset({"billing"})}
        return billing, rule, vault.root_key(billing, key), vault.jwt_key(jwt_key)

    billing, rule, root, _ = await store.read(look)
    assert (billing.sources, billing.oauth, billing.token_claims, rule.subjects) == ((), False, (), ())
    assert billing.default_audience is None
    assert (str(root.principal), rule.scopes, rule.jwt) == ("billing@corp.test", ("read",), True)
    plain = Rule(rule_id=rule.rule_id, client=rule.client, target=rule.target, scopes=("read",), jwt=True)
    assert rule == plain  # whatever came later demands nothing
    before = await store.read(lambda tx: tx.head())
    assert before.feed_seq > 1_700_000_000_000  # what clients were told goes on
    assert await store.change(lambda tx: tx.add_principal(name="new", created=1).uid) == 18
    assert (before.seq == 0) == (version < FIRST_CHANGE_LOG)
    assert store.peek_head() == before.seq + 1
    assert [entry.key for entry in await store.read(lambda tx: tx.changes(after=before.seq))] == ["18 new"]
    assert await store.read(lambda tx: tx.not_before()) == 0
    await store.aclose()


def test_oauth_clients_of_an_earlier_version_have_no_default_target_and_can_get_one(realm, version, capsys):
    assert admin_main(["oauth", "enable", "billing"]) == 0  # brings it up to date
    make_earlier_version(realm / "kdc.db", max(version, 2))  # the first that knows OAuth
    assert admin_main(["oauth", "audience", "billing", "orders"]) == 0
    capsys.readouterr()
    assert admin_main(["oauth", "list", "billing"]) == 0
    assert "billing: default target orders" in capsys.readouterr().out
    assert version_of(realm / "kdc.db") == newest()


def test_the_first_command_after_an_upgrade_of_the_program_just_works(realm, capsys):
    assert admin_main(["oauth", "enable", "billing"]) == 0
    assert admin_main(["principal", "show", "billing"]) == 0
    assert "oauth: client" in capsys.readouterr().out
    assert admin_main(["audit", "verify"]) == 0


async def test_an_upgraded_schema_is_the_one_of_a_new_database(realm, tmp_path):
    store = SqliteStore.open(realm / "kdc.db")
    await store.upgrade()
    await store.aclose()
    await SqliteStore.create(tmp_path / "new.db").aclose()

    def schema(path):
        with closing(sqlite3.connect(path)) as connection:
            return set(connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall())

    assert schema(realm / "kdc.db") == schema(tmp_path / "new.db")


@pytest.mark.parity("K12")
def test_several_processes_upgrade_at_once(realm):
    """Replicas over one file start at the same time after an upgrade of the program."""
    groups = ["a", "b", "c"]
    started = [upgrading(realm / "kdc.db", group) for group in groups]
    for process in started:
        assert process.stdout.readline() == "opened\n"
    for process in started:
        process.stdin.write("now\n")
        process.stdin.flush()
    for process in started:
        process.communicate()
        assert process.returncode == 0
    with closing(sqlite3.connect(realm / "kdc.db")) as connection:
        found = connection.execute("SELECT name FROM groups ORDER BY name").fetchall()
    assert found == [("a",), ("b",), ("c",), ("callers",)]


async def test_a_lost_realm_is_not_upgraded_either(realm):
    """Without a realm there is no check of the master key, hence no proof of it."""
    with closing(sqlite3.connect(realm / "kdc.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM realm")
    before = everything_in(realm)
    store = SqliteStore.open(realm / "kdc.db")
    with pytest.raises(Misconfigured, match="database-invalid"):
        await open_vault(store, load_master_key(realm / "master.key", environ={}))
    await store.aclose()
    assert everything_in(realm) == before
