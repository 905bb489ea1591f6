"""What is particular to the SQLite store: its file, other processes, crashes, and what it refuses to open."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
import trio

from orthros_kdc.store import migrations
from orthros_kdc.store.base import REMEMBER_MARGIN_S
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import Misconfigured, Unavailable

CHILD = """
import sys
import trio
from orthros_kdc.store.sqlite import SqliteStore

async def main(path, verb, *arguments):
    store = SqliteStore.open(path)
    if verb == "add":
        for name in arguments:
            await store.change(lambda tx: tx.add_principal(name=name, created=1))
    elif verb == "remember":
        news = 0
        for number in range(int(arguments[0])):
            digest = number.to_bytes(4, "big")
            news += await store.change(lambda tx: tx.remember("assertion", 16, digest, until=9, now=1))
        print(news, flush=True)
    elif verb == "hang":
        def work(tx):
            for number in range(2000):  # enough pages to spill out of SQLite's cache into the WAL
                tx.add_principal(name=f"lost-{number}-" + "x" * 100, created=1)
            tx.delete_principal(tx.principal_by_name("billing").uid)
            print("in the middle", flush=True)
            sys.stdin.read()
        await store.change(work)
    await store.aclose()

trio.run(main, *sys.argv[1:])
"""

# What a process holds that rebuilds the WAL index: every lock byte (sqlite.org/walformat.html section 2.3.1),
# after having spoilt the two copies of the index header.
LOCK_THE_INDEX = """
import fcntl, sys

with open(sys.argv[1], "r+b") as index:
    fcntl.lockf(index, fcntl.LOCK_EX, 3, 120)
    header = index.read(96)
    index.seek(0)
    index.write(bytes(96))
    index.flush()
    print("locked", flush=True)
    sys.stdin.read()
    index.seek(0)
    index.write(header)
    index.flush()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "realm.sqlite3"


@pytest.fixture
async def store(path):
    opened = SqliteStore.create(path)
    yield opened
    await opened.aclose()


def names(tx):
    return [principal.name for principal in tx.principals()]


def child(path, *arguments, script=CHILD, **options):
    return subprocess.Popen([sys.executable, "-c", script, str(path), *arguments], text=True, **options)


def everything_in(folder):
    """Every file's name, mode, times of writing and bytes: what a refusal must leave alone."""
    return {
        entry.name: (entry.stat().st_mode, entry.stat().st_mtime_ns, entry.read_bytes())
        for entry in sorted(Path(folder).iterdir())
    }


def edit(path, *statements):
    """Changes a closed database behind the store's back."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement).fetchall()
    connection.close()


def asked(path, query):
    """What the file itself answers."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


async def test_what_was_stored_is_there_after_closing_and_opening(path, store):
    await store.change(lambda tx: tx.add_principal(name="billing", created=1))
    generation = store.peek_head()
    await store.aclose()
    again = SqliteStore.open(path)
    assert await again.read(names) == ["billing"]
    assert again.peek_head() == generation
    await again.aclose()


async def test_the_file_and_its_companions_are_for_the_owner_alone(path, store):
    await store.change(lambda tx: tx.add_group("a"))
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    assert set(modes) >= {"realm.sqlite3", "realm.sqlite3-wal"}
    assert set(modes.values()) == {0o600}


async def test_creating_leaves_nothing_but_the_database(path, store):
    await store.aclose()
    assert [entry.name for entry in path.parent.iterdir()] == ["realm.sqlite3"]


@pytest.mark.parametrize("content", [b"", b"something of somebody's"])
def test_creating_never_overwrites(path, content):
    path.write_bytes(content)
    before = everything_in(path.parent)
    with pytest.raises(Misconfigured, match="file-exists"):
        SqliteStore.create(path)
    assert everything_in(path.parent) == before


def test_creating_in_a_folder_that_is_not_there_says_so(tmp_path):
    with pytest.raises(Misconfigured, match="file-unreadable"):
        SqliteStore.create(tmp_path / "nowhere" / "realm.sqlite3")


def _foreign(path):
    edit(path, "CREATE TABLE bookmarks (url TEXT)")


def _foreign_with_its_own_mark(path):
    edit(path, "CREATE TABLE bookmarks (url TEXT)", "PRAGMA application_id = 7", "PRAGMA user_version = 1")


def _text(path):
    path.write_text("dear diary, " * 100)


def _cut_short(path):
    _foreign(path)
    path.write_bytes(path.read_bytes()[:50])


@pytest.mark.parametrize("make", [_foreign, _foreign_with_its_own_mark, _text, _cut_short, Path.touch])
def test_what_is_not_ours_is_refused_and_not_touched(path, make):
    make(path)
    before = everything_in(path.parent)
    with pytest.raises(Misconfigured, match="database-invalid"):
        SqliteStore.open(path)
    assert everything_in(path.parent) == before


def test_a_database_that_this_user_may_not_read_is_not_called_damaged(path):
    """A backup that root has put in place without its owner."""
    path.touch(0o000)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(Misconfigured, match="file-unreadable") as caught:
            SqliteStore.open(path)
    finally:
        os.seteuid(me)
    assert caught.value.remedy == "Check its path, owner and mode."


def test_a_folder_is_not_a_database(path):
    path.mkdir()
    with pytest.raises(Misconfigured, match="database-invalid"):
        SqliteStore.open(path)


def test_a_missing_database_is_refused_and_not_made(path):
    """Lesson 12: start-up fails closed; `init` is a separate act."""
    with pytest.raises(Misconfigured, match="database-invalid"):
        SqliteStore.open(path)
    assert list(path.parent.iterdir()) == []


async def test_a_newer_database_is_refused_and_not_touched(path, store):
    await store.aclose()
    edit(path, f"PRAGMA user_version = {migrations.newest() + 1}", "PRAGMA wal_checkpoint(TRUNCATE)")
    before = everything_in(path.parent)
    with pytest.raises(Misconfigured, match="database-newer"):
        SqliteStore.open(path)
    assert everything_in(path.parent) == before


async def test_a_newer_version_that_only_the_wal_knows_is_refused_too(path, store):
    newer = sqlite3.connect(path, isolation_level=None)
    newer.execute(f"PRAGMA user_version = {migrations.newest() + 1}")
    with pytest.raises(Misconfigured, match="database-newer"):
        SqliteStore.open(path)
    newer.close()


async def test_a_damaged_database_is_refused(path, store):
    await store.aclose()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with pytest.raises(Misconfigured, match="database-invalid"):
        SqliteStore.open(path)


def test_a_failing_migration_changes_nothing_and_the_next_one_runs_whole(path, monkeypatch):
    broken = (*migrations.MIGRATIONS[0], "INSERT INTO nowhere VALUES (1)")
    connection = sqlite3.connect(path, isolation_level=None)
    monkeypatch.setattr(migrations, "MIGRATIONS", (broken,))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrations.migrate(connection)
    assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchall() == [(0,)]
    assert connection.execute("PRAGMA user_version").fetchall() == [(0,)]
    monkeypatch.undo()
    migrations.migrate(connection)
    assert connection.execute("PRAGMA user_version").fetchall() == [(migrations.newest(),)]
    connection.close()


async def test_an_older_database_is_brought_up_to_date_with_its_content(path, store, monkeypatch):
    await store.change(lambda tx: tx.add_principal(name="billing", created=1))
    await store.aclose()
    added = (*migrations.MIGRATIONS, ("ALTER TABLE groups ADD COLUMN note TEXT",))
    monkeypatch.setattr(migrations, "MIGRATIONS", added)
    newer = SqliteStore.open(path)
    await newer.upgrade()
    assert await newer.read(names) == ["billing"]
    await newer.aclose()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT note FROM groups").fetchall() == []
    assert connection.execute("PRAGMA user_version").fetchall() == [(len(added),)]
    connection.close()


async def test_a_backup_that_lost_its_journal_mode_is_served_in_wal_mode_again(path, store, tmp_path):
    await store.change(lambda tx: tx.add_principal(name="billing", created=1))
    copy = tmp_path / "copy.sqlite3"
    edit(path, f"VACUUM INTO '{copy}'")
    copy.chmod(0o600)
    restored = SqliteStore.open(copy)
    await restored.upgrade()
    assert await restored.read(names) == ["billing"]
    await restored.change(lambda tx: tx.add_group("a"))
    assert copy.with_name("copy.sqlite3-wal").exists()
    await restored.aclose()


async def test_a_change_by_another_process_is_noticed(path, store):
    """orthros-admin works on the file while the KDC runs."""
    before = store.peek_head()
    with child(path, "add", "billing") as admin:
        assert await trio.to_thread.run_sync(admin.wait) == 0
    assert store.peek_head() != before
    assert await store.read(names) == ["billing"]


async def test_an_anchor_set_by_another_connection_is_not_a_change(path, store):
    other = SqliteStore.open(path)
    await other.change(lambda tx: tx.add_group("a"))
    before = store.peek_head()
    edit(path, "INSERT INTO anchors VALUES ('admin', 1, 'aa')")
    assert store.peek_head() == before
    assert [anchor.writer for anchor in await store.read(lambda tx: tx.anchors())] == ["admin"]
    await other.aclose()


async def test_peeking_does_not_wait_for_a_change_that_is_under_way(path, store):
    """The KDC peeks on its event loop while orthros-admin holds the write lock."""
    before = store.peek_head()
    with child(path, "hang", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as admin:
        await store.change(lambda tx: tx.add_principal(name="billing", created=1))
        assert await trio.to_thread.run_sync(admin.stdout.readline) == "in the middle\n"
        between = store.peek_head()
        assert await store.read(names) == ["billing"]
        assert store.peek_head() == between != before
        admin.kill()


async def test_a_reader_keeps_its_view_while_a_change_commits(store):
    def work(tx):
        first = names(tx)
        trio.from_thread.run(store.change, lambda tx: tx.add_principal(name="billing", created=1))
        return first, names(tx)

    assert await store.read(work) == ([], [])
    assert await store.read(names) == ["billing"]


async def test_work_runs_beside_the_event_loop(store):
    assert await store.read(lambda tx: threading.get_ident()) != threading.get_ident()


async def test_kill_9_in_the_middle_of_a_change_leaves_the_state_before(path, store):
    await store.change(lambda tx: tx.add_principal(name="billing", created=1))
    await store.aclose()
    with child(path, "hang", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as victim:
        assert await trio.to_thread.run_sync(victim.stdout.readline) == "in the middle\n"
        os.kill(victim.pid, signal.SIGKILL)
    again = SqliteStore.open(path)
    assert await again.read(names) == ["billing"]
    await again.change(lambda tx: tx.add_principal(name="payroll", created=1))
    await again.aclose()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


@pytest.mark.parity("K12")
async def test_two_processes_write_at_the_same_time(path, store):
    """Several KDC processes over one file."""
    theirs = [f"theirs-{number}" for number in range(50)]
    mine = [f"mine-{number}" for number in range(50)]
    with child(path, "add", *theirs) as other:
        for name in mine:
            await store.change(lambda tx, name=name: tx.add_principal(name=name, created=1))
        assert await trio.to_thread.run_sync(other.wait) == 0
    everyone = await store.read(lambda tx: tx.principals())
    assert sorted(principal.name for principal in everyone) == sorted(theirs + mine)
    assert len({principal.uid for principal in everyone}) == 100


@pytest.mark.parity("K12")
async def test_two_connections_that_remember_the_same_agree_on_who_was_first(path, store):
    """One assertion shown to two KDCs at once is used once."""
    other = SqliteStore.open(path)
    digests = [number.to_bytes(4, "big") for number in range(50)]
    firsts = []

    async def present(to, digest):
        if await to.change(lambda tx: tx.remember("assertion", 16, digest, until=9, now=1)):
            firsts.append(digest)

    async with trio.open_nursery() as nursery:
        for digest in digests:
            for to in (store, other):
                nursery.start_soon(present, to, digest)
    assert sorted(firsts) == digests
    for one in (store, other):
        assert await one.read(lambda tx: all(tx.recalls("assertion", digest, now=8) for digest in digests))
    await other.aclose()


async def test_two_processes_that_remember_the_same_agree_on_who_was_first(path, store):
    with child(path, "remember", "100", stdout=subprocess.PIPE) as elsewhere:
        mine = 0
        for number in range(100):
            digest = number.to_bytes(4, "big")
            mine += await store.change(
                lambda tx, digest=digest: tx.remember("assertion", 16, digest, until=9, now=1)
            )  # fmt: skip
        theirs = int(await trio.to_thread.run_sync(elsewhere.stdout.readline))
        assert await trio.to_thread.run_sync(elsewhere.wait) == 0
    assert mine + theirs == 100


async def test_what_was_remembered_is_there_after_closing_and_opening(path, store):
    await store.change(lambda tx: tx.remember("revoked", 16, b"a", until=9, now=1))
    await store.aclose()
    again = SqliteStore.open(path)
    assert await again.read(lambda tx: tx.recalls("revoked", b"a", now=8))
    assert not await again.change(lambda tx: tx.remember("revoked", 16, b"a", until=9, now=8))
    await again.aclose()


async def test_what_has_ended_leaves_the_file(path, store):
    for until in range(2, 12):
        await store.change(lambda tx, until=until: tx.remember("revoked", 16, bytes([until]), until=until, now=1))
    now = 10 + REMEMBER_MARGIN_S
    await store.change(lambda tx: tx.remember("revoked", 16, b"new", until=now + 89, now=now))
    assert asked(path, "SELECT until FROM remembered ORDER BY until") == [(11,), (now + 89,)]


async def test_remembering_by_another_connection_is_not_a_change(path, store):
    other = SqliteStore.open(path)
    before = store.peek_head()
    await other.change(lambda tx: tx.remember("revoked", 16, b"a", until=9, now=1))
    assert store.peek_head() == before
    assert await store.read(lambda tx: tx.recalls("revoked", b"a", now=8))
    await other.aclose()


async def test_a_write_lock_that_is_never_released_is_an_error_that_says_so(path, store, monkeypatch):
    await store.aclose()
    monkeypatch.setattr("orthros_kdc.store.sqlite._FOR_WRITING", ("busy_timeout = 1", "foreign_keys = ON"))
    impatient = SqliteStore.open(path)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="timeout"):
        await impatient.change(lambda tx: tx.add_group("a"))
    blocker.execute("ROLLBACK")
    await impatient.change(lambda tx: tx.add_group("a"))
    blocker.close()
    await impatient.aclose()


async def test_a_database_that_breaks_under_way_is_an_error_of_ours(path, store):
    edit(path, "DROP TABLE anchors")
    with pytest.raises(Unavailable, match="kdc-fault"):
        await store.read(lambda tx: tx.anchors())
    assert await store.read(names) == []


async def test_a_peek_that_cannot_be_answered_is_an_error_and_no_old_answer(path, store):
    edit(path, "DROP TABLE meta")
    with pytest.raises(Unavailable, match="kdc-fault"):
        store.peek_head()


async def test_peeking_does_not_wait_for_an_index_that_is_being_rebuilt(path, store):
    """The last answer stands until it can be asked again."""
    before = store.peek_head()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with child(f"{path}-shm", script=LOCK_THE_INDEX, **pipes) as elsewhere:
        assert await trio.to_thread.run_sync(elsewhere.stdout.readline) == "locked\n"
        assert store.peek_head() == before
        elsewhere.stdin.close()
        await trio.to_thread.run_sync(elsewhere.wait)
    await store.change(lambda tx: tx.add_group("a"))
    assert store.peek_head() != before


@pytest.mark.parity("B12")
async def test_an_erased_secret_is_overwritten_in_the_file(path, store):
    """Erasing a root means that the file no longer holds it."""
    marker = b"this was sealed " * 8
    edit(path, f"INSERT INTO realm_keys VALUES ('tgt', 'kdc/tgt', 1, 1, x'{marker.hex()}')")
    edit(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert marker in path.read_bytes()
    await store.change(lambda tx: tx.delete_realm_key("tgt", "kdc/tgt", 1))
    await store.aclose()
    assert marker not in path.read_bytes()


async def test_a_million_principals_are_looked_up_by_index(path, store):
    await store.aclose()
    connection = sqlite3.connect(path)
    plans = [
        connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()[0][3]
        for query in (
            "SELECT * FROM principals WHERE name = 'a'",
            "SELECT * FROM principals WHERE name > 'a' ORDER BY name LIMIT 10",
            "SELECT * FROM keys WHERE kid_as = x'00'",
            "SELECT * FROM keys WHERE kid_ticket = x'00'",
            "SELECT * FROM keys WHERE uid = 16 ORDER BY kvno",
            "SELECT * FROM rules WHERE client_uid IS 1 AND client_group IS NULL AND target_uid IS 2"
            " AND target_group IS NULL",
            "SELECT * FROM keys WHERE retired < 1 AND state = 'retired'",
            "SELECT * FROM oauth_secrets WHERE uid = 16 ORDER BY id DESC",
            "SELECT 1 FROM remembered WHERE kind = 'revoked' AND digest = x'00' AND until > 1",
            "SELECT count(*) FROM remembered WHERE kind = 'revoked' AND uid = 16",
            "DELETE FROM remembered WHERE until <= 1",
        )
    ]
    connection.close()
    assert [plan for plan in plans if not plan.startswith("SEARCH")] == []


@pytest.mark.parametrize("kind", ["assertion", "revoked"])
async def test_what_was_used_or_revoked_stays_so_after_a_restart(path, store, kind):
    """A client assertion counts once, and a revoked token stays revoked, whoever asks the database next."""
    assert await store.change(lambda tx: tx.remember(kind, 16, b"digest", until=100, now=1))
    await store.aclose()
    again = SqliteStore.open(path)
    assert await again.read(lambda tx: tx.recalls(kind, b"digest", now=99))
    assert not await again.change(lambda tx: tx.remember(kind, 16, b"digest", until=100, now=99))
    await again.aclose()
