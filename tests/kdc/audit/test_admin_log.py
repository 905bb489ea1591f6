from functools import partial

import pytest

from orthros_kdc.audit import AdminAuditLog, Changes, verify_all
from orthros_kdc.audit.admin_lines import base_of, lines_backwards, lines_of
from orthros_kdc.audit.chain import peek
from orthros_kdc.store.base import AdminLine
from orthros_protocol.errors import Misconfigured
from orthros_protocol.primitives.instants import Timestamp
from tests.kdc.audit.chains import anchor_at, chain_of
from tests.support.stores import scratch_store


@pytest.fixture
def store():
    return scratch_store()


@pytest.fixture
def trail():
    return AdminAuditLog(now_ms=lambda: Timestamp(5))


async def lines(store):
    rows = await store.read(lambda tx: tuple(lines_of(tx)))
    return [seen[1] for seen in (peek(row.line) for row in rows) if seen is not None]


async def report(store, tmp_path):
    changes = await store.read(lambda tx: Changes(base=base_of(tx), lines=tuple(row.line for row in lines_of(tx))))
    anchors = await store.read(lambda tx: tx.anchors())
    return [str(one) for one in verify_all(tmp_path, anchors, changes)]


@pytest.mark.parity("K16", "O5")
async def test_a_change_and_its_entry_go_together(trail, store, tmp_path) -> None:
    """Who changed what, in the transaction of the change."""

    def work(tx):
        tx.add_group("front")
        trail.record_all(tx, [("group.added", {"actor": "ada", "group": "front"})])
        trail.record_all(tx, [("group.noted", {"actor": "ada", "count": 2, "old": None})])

    await store.change(work)
    first, second = await lines(store)
    assert (first["event"], first["change"], first["at"], first["kdc_id"], first["seq"]) == (
        "admin-changed",
        "group.added",
        5,
        "admin",
        1,
    )
    assert first["facts"] == {"actor": "ada", "group": "front"}
    assert second["facts"] == {"actor": "ada", "count": 2, "old": None}
    assert await report(store, tmp_path) == ["admin: intact, 2 entries"]


@pytest.mark.parity("K16")
async def test_a_change_that_was_undone_leaves_no_entry(trail, store) -> None:
    """Nothing is announced that did not happen."""

    def fails(tx):
        trail.record_all(tx, [("group.added", {"actor": "ada", "group": "front"})])
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await store.change(fails)
    await store.change(lambda tx: trail.record_all(tx, [("realm.changed", {"actor": "ada"})]))
    assert [(one["seq"], one["change"]) for one in await lines(store)] == [(1, "realm.changed")]


@pytest.mark.parity("O5")
async def test_no_file_can_stop_a_change(trail, store, tmp_path) -> None:
    """Administration, `principal disable` included, goes on whatever became of the folder of the logs."""
    (tmp_path / "audit").write_text("no folder at all")
    await store.change(lambda tx: trail.record_all(tx, [("principal.disabled", {"actor": "ada", "principal": "shop"})]))
    assert [one["change"] for one in await lines(store)] == ["principal.disabled"]


@pytest.mark.parity("O5")
async def test_a_clock_that_steps_back_is_told_and_times_do_not(store) -> None:
    for at in (50, 40):
        trail = AdminAuditLog(now_ms=lambda at=at: Timestamp(at))  # type: ignore[misc]
        await store.change(partial(trail.record_all, changes=[("realm.changed", {"actor": "ada"})]))
    assert [(one["at"], one.get("clock")) for one in await lines(store)] == [(50, None), (50, 40)]


@pytest.mark.parity("K16")
async def test_the_chain_goes_on_behind_the_file_that_the_record_was_before(trail, store, tmp_path) -> None:
    """An older realm keeps its proof; what the file had only announced never counts."""
    old = chain_of(3, "admin")
    (tmp_path / "admin.jsonl").write_bytes(b"".join(old))
    await store.change(lambda tx: tx.set_anchor(anchor_at(old[1], "admin")))
    await store.change(lambda tx: trail.record_all(tx, [("realm.changed", {"actor": "ada"})]))
    (entry,) = await lines(store)
    assert (entry["seq"], entry["prev"]) == (3, anchor_at(old[1], "admin").head)
    assert await report(store, tmp_path) == [
        "admin: intact, 3 entries",
        "admin.jsonl: intact, 3 entries, 1 behind the anchor",
    ]
    (tmp_path / "admin.jsonl").unlink()
    assert (await report(store, tmp_path))[1].startswith("admin.jsonl: line 1: missing")


@pytest.mark.parity("K16")
async def test_many_changes_at_once_leave_the_entries_of_each(trail, store) -> None:
    changes = [("group.added", {"actor": "ada", "group": f"g{number}"}) for number in range(3)]
    other = scratch_store()
    for change in changes:
        await other.change(partial(trail.record_all, changes=[change]))
    await store.change(lambda tx: trail.record_all(tx, changes))
    assert await lines(store) == await lines(other)


async def test_entries_are_read_in_pages_and_backwards(trail, store) -> None:
    changes = [("realm.changed", {"actor": "ada"})] * 2500
    await store.change(lambda tx: trail.record_all(tx, changes))
    assert [row.seq for row in await store.read(lambda tx: tuple(lines_of(tx, 10)))] == list(range(11, 2501))
    assert [row.seq for row in await store.read(lambda tx: tuple(lines_backwards(tx)))] == list(range(2500, 0, -1))


@pytest.mark.parity("K16")
async def test_an_entry_is_never_written_over(trail, store) -> None:
    """Two entries of one number cannot be."""
    await store.change(lambda tx: trail.record_all(tx, [("realm.changed", {"actor": "ada"})]))
    with pytest.raises(Misconfigured, match="conflict"):
        await store.change(lambda tx: tx.add_admin_lines([AdminLine(seq=1, hash="00", at=1, line=b"")]))
