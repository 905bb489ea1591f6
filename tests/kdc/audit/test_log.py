import json
from contextlib import asynccontextmanager

import pytest
import trio

from orthros_kdc.audit import AuditLog, verify_all
from orthros_kdc.audit.events import AsRefused, ClientFacts, Facts, KdcStopped
from orthros_kdc.store.base import AuditAnchor
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import Misconfigured, Unavailable
from orthros_protocol.primitives.instants import Timestamp
from tests.kdc.audit.chains import WRITER
from tests.support.stores import scratch_store, scratch_store_of


def event(number: int = 0) -> AsRefused:
    return AsRefused(
        about=ClientFacts(at=Timestamp(number), kdc_id=WRITER, client="billing"), service="kdc/tgt", code="clock-skew"
    )


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "audit"


@pytest.fixture
def store():
    return scratch_store()


@asynccontextmanager
async def serving(log: AuditLog):
    async with trio.open_nursery() as nursery:
        yield await nursery.start(log.serve)
        log.close()


def entries(directory):
    """What was recorded, without the lines of the chain's own."""
    found = [json.loads(line) for file in files(directory) for line in file.read_text().splitlines()]
    return [one for one in found if one["event"] not in ("segment-opened", "segment-closed")]


def files(directory):
    return sorted(directory.glob(f"{WRITER}.*.jsonl"))


async def anchors(store):
    return await store.read(lambda tx: tx.anchors())


@pytest.mark.parity("K16", "H6")
async def test_every_event_is_written_in_order_and_anchored(directory, store) -> None:
    """One line for each decision, none lost, none twice."""
    log = AuditLog(directory, WRITER, store, now_ms=lambda: Timestamp(0))
    async with serving(log):
        for number in range(3000):
            log.record(event(number))
            if number % 500 == 0:
                await trio.lowlevel.checkpoint()
    assert [entry["at"] for entry in entries(directory)] == list(range(3000))
    last = entries(directory)[-1]
    assert await anchors(store) == (AuditAnchor(writer=WRITER, seq=3001, head=last["hash"]),)
    assert [str(report) for report in verify_all(directory, await anchors(store))] == ["kdc-1: intact, 3001 entries"]


@pytest.mark.parity("K16")
async def test_cancelling_the_writer_loses_nothing(directory, store) -> None:
    """What was taken is written, also at shutdown."""
    log = AuditLog(directory, WRITER, store, now_ms=lambda: Timestamp(0))
    async with trio.open_nursery() as nursery:
        await nursery.start(log.serve)
        for number in range(2000):
            log.record(event(number))
        log.record(KdcStopped(about=Facts(at=Timestamp(1), kdc_id=WRITER)))
        nursery.cancel_scope.cancel()
    assert len(entries(directory)) == 2001
    assert entries(directory)[-1]["event"] == "kdc-stopped"
    assert (await anchors(store))[0].seq == 2002


@pytest.mark.parity("K16")
async def test_what_cannot_be_kept_is_refused(directory, store) -> None:
    """No decision without its record: a full queue and a closed one raise."""
    log = AuditLog(directory, WRITER, store, now_ms=lambda: Timestamp(0), capacity=2)
    log.record(event(1))
    log.record(event(2))
    with pytest.raises(Unavailable, match=r"kdc-fault.*queue is full"):
        log.record(event(3))
    async with serving(log):
        pass
    with pytest.raises(Unavailable, match=r"kdc-fault.*closed"):
        log.record(event(4))
    assert [entry["at"] for entry in entries(directory)] == [1, 2]


@pytest.mark.parity("K16")
async def test_a_second_run_continues_the_chain(directory, store) -> None:
    """Across restarts it is one chain."""
    for run in range(3):
        log = AuditLog(directory, WRITER, store, now_ms=lambda: Timestamp(0))
        async with serving(log) as chain:
            assert (chain.unanchored, chain.torn) == (0, 0)
            log.record(event(run))
    assert [entry["seq"] for entry in entries(directory)] == [2, 3, 4]
    (report,) = verify_all(directory, await anchors(store))
    assert not report.broken


@pytest.mark.parity("K16")
async def test_a_crash_leaves_a_tail_that_is_counted_and_anchored(directory, store) -> None:
    """The next start says what it found and takes it over."""
    log = AuditLog(directory, WRITER, store, now_ms=lambda: Timestamp(0))
    async with serving(log):
        log.record(event())
    first = await anchors(store)
    log = AuditLog(directory, WRITER, store, now_ms=lambda: Timestamp(0))
    async with serving(log):
        log.record(event())
        log.record(event())
    await store.change(lambda tx: tx.set_anchor(first[0]))  # as if the power had gone before the anchor
    with files(directory)[-1].open("ab") as file:
        file.write(b'{"at":3,"cli')
    log = AuditLog(directory, WRITER, store, now_ms=lambda: Timestamp(0))
    async with serving(log) as chain:
        assert (chain.unanchored, chain.torn) == (2, 12)
    assert (await anchors(store))[0].seq == 4


class AnchoredStore(SqliteStore):
    """Tells when an anchor has moved; is busy as often as it is told to be."""

    def __init__(self, *place) -> None:
        super().__init__(*place)
        self.busy = 0
        self.seqs: list[int] = []
        self.moved = trio.Event()

    async def change(self, work):
        if self.busy:
            self.busy -= 1
            self.moved.set()
            raise Unavailable("timeout")
        result = await super().change(work)
        self.seqs.append((await anchors(self))[0].seq)
        self.moved.set()
        return result


@pytest.mark.parity("K16")
async def test_anchors_follow_once_a_second_and_not_every_line(directory, mock_clock) -> None:
    """The database is not written for every ticket, nor is the tail left open for long."""
    store = scratch_store_of(AnchoredStore)
    log = AuditLog(directory, WRITER, store, now_ms=lambda: Timestamp(0))
    async with serving(log):
        for second in range(3):
            for number in range(5):
                await log.record(event(number)).wait()
            assert store.seqs == [1, 6, 11, 16][: second + 1]
            store.moved = trio.Event()
            mock_clock.jump(1)
            await store.moved.wait()
        assert store.seqs == [1, 6, 11, 16]
        mock_clock.jump(100)
    assert store.seqs == [1, 6, 11, 16]
    await store.aclose()


@pytest.mark.parity("K16")
async def test_a_busy_database_gets_its_anchor_later(directory, mock_clock) -> None:
    """A backup that holds the database does not stop the KDC."""
    store = scratch_store_of(AnchoredStore)
    log = AuditLog(directory, WRITER, store, now_ms=lambda: Timestamp(0))
    async with serving(log):
        store.busy, store.moved = 1, trio.Event()
        await log.record(event()).wait()
        mock_clock.jump(1)
        await store.moved.wait()
        assert store.seqs == [1]
        store.moved = trio.Event()
        mock_clock.jump(1)
        await store.moved.wait()
        assert store.seqs == [1, 2]
    await store.aclose()


@pytest.mark.parity("K16")
@pytest.mark.parametrize("damage", ["missing", "edited"])
async def test_a_kdc_does_not_start_on_a_broken_log(directory, store, damage) -> None:
    """Fail closed, and take no events."""
    log = AuditLog(directory, WRITER, store, now_ms=lambda: Timestamp(0))
    async with serving(log):
        log.record(event())
    (file,) = files(directory)
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes().replace(b"billing", b"balling"))
    log = AuditLog(directory, WRITER, store, now_ms=lambda: Timestamp(0))
    with pytest.raises(Misconfigured, match="audit-broken"):
        await log.serve()
    with pytest.raises(Unavailable):
        log.record(event())
