"""A change that holds the database's write lock for too long is undone: on a clock that the test moves."""

import sqlite3
from contextlib import closing

import pytest

from orthros_kdc.store.lock_limit import LockLimit
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import Unavailable

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


class Watch:
    """A monotonic clock; `step` is how far each look at it moves it, in seconds."""

    def __init__(self):
        self.seconds, self.step = 100.0, 0.0

    def __call__(self):
        self.seconds += self.step
        return self.seconds


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
async def store(tmp_path, watch):
    SqliteStore.create(tmp_path / "kdc.db").close()
    opened = SqliteStore.open(tmp_path / "kdc.db", durable=False, lock_limit=LockLimit(4.0, watch))
    yield opened
    await opened.aclose()


def in_time(tx, watch):
    tx.add_group("in-time")
    watch.seconds += 4
    tx.add_group("at-the-limit")


def late_at_a_statement(tx, watch):
    tx.add_group("a")
    watch.seconds += 4.1
    tx.add_group("b")


def late_at_a_look(tx, watch):
    tx.add_group("a")
    watch.seconds += 4.1
    tx.principals()


def late_at_the_commit(tx, watch):
    tx.add_group("a")
    watch.seconds += 4.1


def late_within_a_statement(tx, watch):
    tx.add_group("a")
    watch.step = 1
    tx._rows(ENDLESS)


@pytest.mark.parametrize(
    "work",
    [late_at_a_statement, late_at_a_look, late_at_the_commit, late_within_a_statement],
    ids=lambda one: one.__name__,
)
async def test_a_change_that_takes_too_long_is_undone_and_the_next_one_is_not(store, watch, work, tmp_path):
    with pytest.raises(Unavailable, match="change-too-large") as told:
        await store.change(lambda tx: work(tx, watch))
    assert told.value.detail == "it was undone after 4 s"
    assert "in parts" in told.value.remedy
    watch.step = 0
    assert await store.read(lambda tx: tx.policy().groups) == {}
    with closing(sqlite3.connect(tmp_path / "kdc.db", timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")  # the lock is free
    await store.change(lambda tx: in_time(tx, watch))
    assert sorted(await store.read(lambda tx: tx.policy().groups)) == ["at-the-limit", "in-time"]


async def test_who_only_reads_holds_no_lock_and_has_no_limit(store, watch):
    def slow(tx):
        watch.seconds += 60
        return tx.principals()

    assert await store.read(slow) == ()
