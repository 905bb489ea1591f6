"""Who waits for the database in vain is told which process to look at."""

import os
import subprocess
import sys

import pytest

from orthros_kdc.store import sqlite
from orthros_kdc.store.lock_holder import _shown, holder_of
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import Unavailable

HOLD = (
    "import sqlite3, sys\n"
    "held = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    "held.execute('BEGIN IMMEDIATE')\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()"
)


CHURN = (
    "import fcntl, sys\n"
    "held = open(sys.argv[1], 'w')\n"
    "for at in range(200):\n"
    "    fcntl.lockf(held, fcntl.LOCK_EX, 1, 2 * at)\n"
    "print('churning', flush=True)\n"
    "while True:\n"
    "    for at in range(100):\n"
    "        fcntl.lockf(held, fcntl.LOCK_UN, 1, 2 * at)\n"
    "    for at in range(100):\n"
    "        fcntl.lockf(held, fcntl.LOCK_EX, 1, 2 * at)\n"
)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the database, from the moment it says so."""
    SqliteStore.create(tmp_path / "kdc.db").close()
    words = [sys.executable, "-c", HOLD, os.fspath(tmp_path / "kdc.db")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        yield other
        other.communicate()


@pytest.mark.parity("O5")
async def test_a_waiter_names_the_process_that_holds_the_database(tmp_path, monkeypatch, holder):
    """And the wait has an end."""
    monkeypatch.setattr(sqlite, "_FOR_WRITING", ("busy_timeout = 0", *sqlite._FOR_WRITING[1:]))
    store = SqliteStore.open(tmp_path / "kdc.db")
    with pytest.raises(Unavailable) as told:
        await store.change(lambda tx: tx.add_group("front"))
    assert told.value.code == "timeout"
    assert told.value.detail.startswith(f"process {holder.pid} (")
    assert told.value.detail.endswith(f" holds {tmp_path}/kdc.db for writing")
    await store.aclose()


def test_the_holder_is_named_while_many_other_locks_come_and_go(tmp_path, holder):
    """The list of the kernel is read in pieces, and between two of them a line can slip away."""
    words = [sys.executable, "-c", CHURN, os.fspath(tmp_path / "many")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"churning\n"
        named = {holder_of(tmp_path / "kdc.db") for _ in range(2000)}
        other.kill()
    assert len(named) == 1
    assert named.pop().startswith(f"process {holder.pid} (")


def test_nobody_is_named_who_cannot_be_found(tmp_path):
    (tmp_path / "kdc.db-shm").write_bytes(b"")
    inode = (tmp_path / "kdc.db-shm").stat().st_ino
    locks = tmp_path / "locks"
    for line in (
        "",
        f"1: POSIX  ADVISORY  READ 7 fe:01:{inode} 120 120",
        "1: POSIX  ADVISORY  WRITE 7 fe:01:1 120 120",
        f"1: POSIX  ADVISORY  WRITE 0 fe:01:{inode} 120 120",
        f"1: FLOCK  ADVISORY  WRITE 7 fe:01:{inode} 0 9",
    ):
        locks.write_text(f"{line}\n")
        assert holder_of(tmp_path / "kdc.db", locks) == "another process"
    locks.write_text(f"1: POSIX  ADVISORY  WRITE {2**30} fe:01:{inode} 120 EOF\n")
    assert holder_of(tmp_path / "kdc.db", locks) == f"process {2**30}"
    assert holder_of(tmp_path / "none.db", locks) == "another process"


@pytest.mark.parity("O5")
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (
            ["/usr/bin/python3.11", "/opt/bin/orthros-admin", "realm", "apply", "secret.toml"],
            "orthros-admin realm apply",
        ),
        (["orthros-kdc", "serve", "--config", "/etc/kdc.toml"], "orthros-kdc"),
        (["/usr/bin/sqlite3", "/srv/kdc.db", "password=tiger"], "sqlite3"),
        (["python3", "-c", "print('tiger')"], "python3"),
        (["\x1b[31mred", "a"], ""),
        ([""], ""),
    ],
)
def test_no_words_of_another_process_are_told_but_its_name_and_verb(words, shown):
    """They may be secret, and may hold what a terminal takes for its own."""
    assert _shown(words) == shown
