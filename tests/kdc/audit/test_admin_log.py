import json
import resource
from functools import partial

import pytest

from orthros_kdc.audit import AdminAuditLog, verify_all
from orthros_kdc.store.memory import MemoryStore
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol import Misconfigured, Timestamp


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path):
    store = MemoryStore() if request.param == "memory" else SqliteStore.create(tmp_path / "kdc.db")
    yield store
    await store.aclose()


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "audit"


@pytest.fixture
def trail(directory):
    return AdminAuditLog(directory, now_ms=lambda: Timestamp(5))


def lines(directory):
    return [json.loads(line) for line in (directory / "admin.jsonl").read_text().splitlines()]


async def reports(directory, store):
    return [str(one) for one in verify_all(directory, await store.read(lambda tx: tx.anchors()))]


async def test_a_change_and_its_line_go_together(trail, directory, store) -> None:
    """K16: who changed what, with the anchor in the same transaction."""

    def work(tx):
        tx.add_group("front")
        trail.record(tx, "group.added", actor="ada", group="front")
        trail.record(tx, "group.noted", actor="ada", count=2, old=None)

    await store.change(work)
    first, second = lines(directory)
    assert (first["event"], first["change"], first["at"], first["kdc_id"]) == (
        "admin-changed",
        "group.added",
        5,
        "admin",
    )
    assert first["facts"] == {"actor": "ada", "group": "front"}
    assert second["facts"] == {"actor": "ada", "count": 2, "old": None}
    assert await reports(directory, store) == ["admin: intact, 2 entries"]


async def test_a_change_that_was_undone_is_said_to_be(trail, directory, store) -> None:
    """K16: a line without a change is named by the next one; a change without a line cannot be."""

    def fails(tx):
        trail.record(tx, "group.added", actor="ada", group="front")
        raise RuntimeError

    for _ in range(2):
        with pytest.raises(RuntimeError):
            await store.change(fails)
    assert await reports(directory, store) == ["admin: intact, 3 entries, 3 behind the anchor"]
    await store.change(lambda tx: trail.record(tx, "realm.changed", actor="ada"))
    assert [(one["event"], one.get("first"), one.get("last")) for one in lines(directory)] == [
        ("admin-changed", None, None),
        ("admin-undone", 1, 1),
        ("admin-changed", None, None),
        ("admin-undone", 1, 3),
        ("admin-changed", None, None),
    ]
    assert await reports(directory, store) == ["admin: intact, 5 entries"]


async def test_no_change_without_its_line(trail, directory, store) -> None:
    """K16: a log that is broken or cannot be written stops the change."""
    await store.change(lambda tx: trail.record(tx, "realm.changed", actor="ada"))
    (directory / "admin.jsonl").unlink()

    def work(tx):
        tx.add_group("front")
        trail.record(tx, "group.added", actor="ada", group="front")

    with pytest.raises(Misconfigured, match=r"audit-broken.*admin.jsonl is missing"):
        await store.change(work)
    assert (await store.read(lambda tx: tx.policy())).groups == {}


async def test_two_admins_share_one_chain(directory, store) -> None:
    """K16: every process appends to the same log."""
    for actor in ("ada", "bob", "ada"):
        trail = AdminAuditLog(directory)
        await store.change(lambda tx, actor=actor, trail=trail: trail.record(tx, "realm.changed", actor=actor))
    assert [one["facts"]["actor"] for one in lines(directory)] == ["ada", "bob", "ada"]
    assert await reports(directory, store) == ["admin: intact, 3 entries"]


async def test_a_full_disk_stops_the_change(trail, directory, store) -> None:
    """K16: a real short write; the next change repairs the log and goes through."""

    def work(tx):
        tx.add_group("front")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
        try:
            trail.record(tx, "group.added", actor="ada", group="front")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with pytest.raises(Misconfigured, match=r"file-unreadable.*admin.jsonl cannot be written: File too large"):
        await store.change(work)
    assert (await store.read(lambda tx: tx.policy())).groups == {}
    await store.change(lambda tx: trail.record(tx, "realm.changed", actor="ada"))
    assert await reports(directory, store) == ["admin: intact, 1 entries"]
    assert [path.name for path in directory.glob("*.torn")] == ["admin.1.0.torn"]


async def test_many_changes_at_once_leave_the_lines_of_each(directory, store, tmp_path) -> None:
    """K16."""
    changes = [("group.added", {"actor": "ada", "group": f"g{number}"}) for number in range(3)]
    at_once, singly = (AdminAuditLog(place, now_ms=lambda: Timestamp(5)) for place in (directory, tmp_path / "singly"))

    def fails(tx):
        at_once.record_all(tx, changes)
        raise RuntimeError

    other = MemoryStore()
    for number in range(3):
        await other.change(partial(singly.record, event="group.added", actor="ada", group=f"g{number}"))
    await store.change(lambda tx: at_once.record_all(tx, changes))
    assert (directory / "admin.jsonl").read_bytes() == (tmp_path / "singly" / "admin.jsonl").read_bytes()
    with pytest.raises(RuntimeError):
        await store.change(fails)
    await store.change(lambda tx: at_once.record_all(tx, changes[:1]))
    assert [(one["seq"], one["first"], one["last"]) for one in lines(directory) if "first" in one] == [(7, 4, 6)]
    assert await reports(directory, store) == ["admin: intact, 8 entries"]
    await other.aclose()
