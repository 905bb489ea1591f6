"""What becomes of answers and of the log when disk, file or clock go wrong: by real means, in one process."""

import json
import os
import resource
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager

import pytest
import structlog
import trio
import trio.testing

from orthros_kdc.audit import AuditLog, Sync, verify_all
from orthros_kdc.audit.chain import append, peek
from orthros_kdc.audit.events import AsIssued, AsRefused, ClientFacts, Facts, KdcStopped
from orthros_kdc.audit.segments import segments_in
from orthros_kdc.clock_guard import ClockGuard
from orthros_kdc.store.base import AuditAnchor
from orthros_protocol.errors import Misconfigured, OrthrosError, Unavailable
from orthros_protocol.primitives.instants import Timestamp
from tests.kdc.audit.chains import WRITER
from tests.support.stores import scratch_store

DAY_MS = 24 * 3600 * 1000


def issued(number=0, at=0):
    return AsIssued(
        about=ClientFacts(at=Timestamp(at), kdc_id=WRITER, client=f"client-{number}"), service="kdc/tgt", ttl_s=60
    )


def refused(number=0):
    return AsRefused(
        about=ClientFacts(at=Timestamp(0), kdc_id=WRITER, client=f"client-{number}"), service="kdc/tgt", code="busy"
    )


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "audit"


@pytest.fixture
def store():
    return scratch_store()


@pytest.fixture
def log(directory, store):
    return AuditLog(directory, WRITER, store, now_ms=lambda: Timestamp(0))


@asynccontextmanager
async def serving(log):
    async with trio.open_nursery() as nursery:
        await nursery.start(log.serve)
        yield
        log.close()


def files(directory):
    return [segment.path for segment in segments_in(directory, WRITER)]


def entries(directory):
    return [json.loads(line) for file in files(directory) for line in file.read_bytes().splitlines()]


def clients(directory):
    return [one["client"] for one in entries(directory) if "client" in one]


async def verdict(directory, store):
    anchors = await store.read(lambda tx: tx.anchors())
    return [(report.writer, report.problem) for report in verify_all(directory, anchors)]


@contextmanager
def no_room_behind(file, more=10):
    """A real short write, and then none at all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def until_it_is_written_again(log, clock):
    while True:
        try:
            log.check()
            return
        except OrthrosError:
            clock.jump(1)
            await trio.testing.wait_all_tasks_blocked()


@pytest.mark.parity("O5")
async def test_a_receipt_comes_when_the_line_is_in_the_file_and_one_sync_serves_many(directory, store, log) -> None:
    """Group commit without a delay."""
    async with serving(log):
        receipts = [log.record(issued(number)) for number in range(100)]
        assert not receipts[-1].is_settled
        await receipts[0].wait()
        assert clients(directory) == [f"client-{number}" for number in range(100)]
        assert receipts[-1].is_settled
    assert await verdict(directory, store) == [(WRITER, None)]


@pytest.mark.parity("O5")
async def test_a_credential_whose_line_was_late_is_not_sent(log, mock_clock) -> None:
    """Its clock and its policy are old, although the line is there."""
    async with serving(log):
        receipt = log.record(issued())
        mock_clock.jump(2.1)
        with pytest.raises(Unavailable, match=r"kdc-fault.*longer than 2 s"):
            await receipt.wait()


@pytest.mark.parity("O5")
async def test_a_full_disk_refuses_credentials_and_keeps_refusals(directory, store, log, mock_clock) -> None:
    """Nothing that was acknowledged is lost, nothing is half written, and the KDC goes on by itself."""
    async with serving(log):
        await log.record(issued(1)).wait()
        (file,) = files(directory)
        with no_room_behind(file):
            size = file.stat().st_size
            waiting = [log.record(issued(2)), log.record(refused(3))]
            for receipt in waiting:
                with pytest.raises(Unavailable, match=r"kdc-fault.*cannot be written: File too large"):
                    await receipt.wait()
            assert file.stat().st_size == size, "what was half written is cut off"
            with pytest.raises(Unavailable, match=r"kdc-fault.*cannot be written"):
                log.record(issued(4))
            log.record(refused(5))
            with pytest.raises(Unavailable, match=r"disk-full.*kdc-1\.000001\.jsonl.*bytes are free there"):
                log.check()
        await until_it_is_written_again(log, mock_clock)
        await log.record(issued(6)).wait()
    assert clients(directory) == ["client-1", "client-3", "client-5", "client-6"]
    (resumed,) = [one for one in entries(directory) if one["event"] == "audit-resumed"]
    assert (resumed["refused"], "File too large" in resumed["why"]) == (2, True)
    assert await verdict(directory, store) == [(WRITER, None)]


@pytest.mark.parity("O5")
@pytest.mark.parametrize("waiting", ["credential", "nothing"])
async def test_a_log_that_closes_on_a_full_disk_ends_and_says_what_it_did_not_write(directory, store, log, waiting):
    """SIGTERM ends a KDC whose disk is full, after one more try; `kdc-stopped` always waits then."""
    ended = trio.Event()

    async def serve(*, task_status):
        await log.serve(task_status=task_status)
        ended.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        await log.record(issued(1)).wait()
        (file,) = files(directory)
        with no_room_behind(file), structlog.testing.capture_logs() as told:
            if waiting == "credential":
                with pytest.raises(Unavailable):
                    await log.record(issued(2)).wait()
                log.record(refused(3))
            log.record(KdcStopped(about=Facts(at=Timestamp(0), kdc_id=WRITER)))
            log.close()
            with trio.fail_after(30):
                await ended.wait()
    (lost,) = [one for one in told if "without its last lines" in one["event"]]
    assert lost["lines"] == ({"as-refused": 1} if waiting == "credential" else {}) | {"kdc-stopped": 1}
    assert "File too large" in lost["detail"]
    assert clients(directory) == ["client-1"]
    assert await verdict(directory, store) == [(WRITER, None)]


@pytest.mark.parity("O5")
@pytest.mark.parametrize("fate", ["moved", "removed", "replaced"])
async def test_no_credential_leaves_with_a_line_in_a_file_that_is_gone(directory, store, log, fate, tmp_path) -> None:
    """Noticed before the next answer leaves, and not at the next start."""
    async with serving(log):
        await log.record(issued(1)).wait()
        (file,) = files(directory)
        if fate == "removed":
            file.unlink()
        else:
            file.rename(tmp_path / file.name)
        if fate == "replaced":
            file.write_bytes((tmp_path / file.name).read_bytes())
        await log.record(issued(2)).wait()
        assert clients(directory)[-1] == "client-2"
        second = files(directory)[-1]
        assert json.loads(second.read_bytes().splitlines()[0])["why"] == "moved"
    if fate != "removed":
        os.replace(tmp_path / file.name, file)
        assert await verdict(directory, store) == [(WRITER, None)]
    else:
        assert await verdict(directory, store) == [(WRITER, "removed")]
    again = AuditLog(directory, WRITER, store)
    async with serving(again):
        await again.record(issued(3)).wait()


async def test_a_file_that_goes_while_nothing_happens_is_noticed_within_a_second(directory, log, mock_clock) -> None:
    async with serving(log):
        await log.record(issued(1)).wait()
        files(directory)[0].unlink()
        while not files(directory):
            mock_clock.jump(1)
            await trio.testing.wait_all_tasks_blocked()


async def test_a_whole_folder_that_is_gone_is_made_again(directory, tmp_path, log) -> None:
    async with serving(log):
        await log.record(issued(1)).wait()
        directory.rename(tmp_path / "gone")
        await log.record(issued(2)).wait()
        assert clients(directory) == ["client-2"]


@pytest.mark.parity("O5")
async def test_a_file_that_somebody_else_writes_to_is_left(directory, store, log) -> None:
    """What was added is found, and no line of ours stands behind it."""
    async with serving(log):
        await log.record(issued(1)).wait()
        (file,) = files(directory)
        seen = peek(file.read_bytes().splitlines(keepends=True)[-1])
        assert seen is not None
        with file.open("ab") as other:
            other.write(append(seen[0], {"event": "as-issued", "at": 0, "client": "forged"})[0])
        await log.record(issued(2)).wait()
        assert clients(directory) == ["client-1", "forged", "client-2"]
        assert json.loads(files(directory)[-1].read_bytes().splitlines()[0])["why"] == "altered"
    assert (await verdict(directory, store))[0][1] in ("edited", "reordered", "remade")


@pytest.mark.parity("O5")
async def test_a_failed_sync_ends_the_file_for_good(directory, store, log, monkeypatch, mock_clock) -> None:
    """The only fault that no test can bring about on a real disk."""
    real = os.fsync
    failing: list[int] = []

    def fsync(descriptor):
        if failing:
            failing.pop()
            raise OSError(5, os.strerror(5))
        real(descriptor)

    async with serving(log):
        await log.record(issued(1)).wait()
        monkeypatch.setattr(os, "fsync", fsync)
        failing.append(1)
        with pytest.raises(Unavailable, match="kdc-fault"):
            await log.record(issued(2)).wait()
        await until_it_is_written_again(log, mock_clock)
        await log.record(issued(3)).wait()
    first, second = files(directory)
    assert b"client-2" in first.read_bytes()
    assert json.loads(second.read_bytes().splitlines()[0])["why"] == "failed-sync"
    assert await verdict(directory, store) == [(WRITER, None)]
    async with serving(AuditLog(directory, WRITER, store)):
        pass


async def test_written_lines_are_synced_soon_and_only_synced_ones_are_anchored(directory, store, mock_clock) -> None:
    log = AuditLog(directory, WRITER, store, sync=Sync.WRITTEN, now_ms=lambda: Timestamp(0))
    async with serving(log):
        await log.record(issued(1)).wait()
        assert clients(directory) == ["client-1"]
        (anchor,) = await store.read(lambda tx: tx.anchors())
        assert anchor.seq == 1
        while anchor.seq == 1:
            mock_clock.jump(0.5)
            await trio.testing.wait_all_tasks_blocked()
            (anchor,) = await store.read(lambda tx: tx.anchors())
    assert await verdict(directory, store) == [(WRITER, None)]


async def test_segments_end_by_size_and_by_day_and_are_one_chain(directory, store) -> None:
    now = [0]
    log = AuditLog(directory, WRITER, store, segment_bytes=2000, now_ms=lambda: Timestamp(now[0]))
    async with serving(log):
        for number in range(20):
            await log.record(issued(number)).wait()
        by_size = len(files(directory))
        now[0] = DAY_MS
        await log.record(issued(20, at=DAY_MS)).wait()
        assert len(files(directory)) == by_size + 1
        log.record(KdcStopped(about=Facts(at=Timestamp(DAY_MS), kdc_id=WRITER)))
    assert by_size > 2
    assert max(file.stat().st_size for file in files(directory)) < 3000
    assert clients(directory) == [f"client-{number}" for number in range(21)]
    ends = [json.loads(file.read_bytes().splitlines()[-1])["event"] for file in files(directory)]
    assert ends == ["segment-closed"] * by_size + ["kdc-stopped"]
    assert await verdict(directory, store) == [(WRITER, None)]


async def test_a_clock_that_steps_back_is_told_and_times_do_not(directory, log) -> None:
    async with serving(log):
        for at in (50, 40, 60):
            await log.record(issued(at=at)).wait()
    assert [(one["at"], one.get("clock")) for one in entries(directory)[1:]] == [(50, None), (50, 40), (60, None)]


@pytest.mark.parity("O5")
@pytest.mark.parametrize(
    "forged",
    [("same", "as-issued", "appended"), ("next", "segment-opened", None), ("next", "as-issued", "appended")],
)
async def test_what_is_forged_behind_the_end_is_found(directory, store, log, forged) -> None:
    """A writer that has stopped had nothing more to say."""
    where, event, problem = forged
    async with serving(log):
        log.record(issued(at=9))
        log.record(KdcStopped(about=Facts(at=Timestamp(9), kdc_id=WRITER)))
    (file,) = files(directory)
    seen = peek(file.read_bytes().splitlines(keepends=True)[-1])
    assert seen is not None
    line = append(seen[0], {"event": event, "at": 10})[0]
    target = file if where == "same" else directory / f"{WRITER}.000002.jsonl"
    with target.open("ab") as out:
        out.write(line)
    assert await verdict(directory, store) == [(WRITER, problem)]
    again = AuditLog(directory, WRITER, store)
    if problem is None:
        async with serving(again):
            pass
    else:
        with pytest.raises(Misconfigured, match=rf"audit-broken.*{problem}"):
            await again.serve()


async def test_backdated_lines_are_found(directory, store, log) -> None:
    async with serving(log):
        await log.record(issued(at=9)).wait()
    (file,) = files(directory)
    seen = peek(file.read_bytes().splitlines(keepends=True)[-1])
    assert seen is not None
    with file.open("ab") as out:
        out.write(append(seen[0], {"event": "as-issued", "at": 8})[0])
    assert await verdict(directory, store) == [(WRITER, "backdated")]


KILLED = """
import os, sys, trio
from pathlib import Path
from orthros_kdc.audit import AuditLog, Sync
from orthros_kdc.audit.events import AsIssued, ClientFacts
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol import Timestamp

async def main():
    store = SqliteStore.create(Path(sys.argv[1]).parent / "kdc.db", durable=False)
    log = AuditLog(sys.argv[1], "kdc-1", store, sync=Sync(sys.argv[2]))
    async with trio.open_nursery() as nursery:
        await nursery.start(log.serve)
        for number in range(200):
            nursery.start_soon(issue, log, number)

async def issue(log, number):
    about = ClientFacts(at=Timestamp(0), kdc_id="kdc-1", client=f"c{number}")
    receipt = log.record(AsIssued(about=about, service="kdc/tgt", ttl_s=1))
    await receipt.wait()
    os.write(1, b"%d\\n" % number)
    if number == 150:
        os.kill(os.getpid(), 9)

trio.run(main)
"""


@pytest.mark.parity("O5")
@pytest.mark.parametrize("sync", list(Sync))
def test_what_left_before_a_kill_is_in_the_log(directory, sync) -> None:
    """Counted from what was received."""
    told = subprocess.run([sys.executable, "-c", KILLED, directory, sync], capture_output=True, check=False)
    assert told.returncode == -9
    received = {f"c{number}" for number in told.stdout.decode().split()}
    assert "c150" in received
    assert received <= set(clients(directory))


async def test_an_anchor_that_is_a_lost_segment_away_stops_the_start(directory, store, log) -> None:
    async with serving(log):
        await log.record(issued(1)).wait()
    await store.change(lambda tx: tx.set_anchor(AuditAnchor(writer=WRITER, seq=9, head="00")))
    with pytest.raises(Misconfigured, match=r"audit-broken.*truncated"):
        await AuditLog(directory, WRITER, store).serve()


@pytest.mark.parity("O6")
async def test_a_clock_that_jumped_leaves_no_wrong_time_in_the_log(directory, store, mock_clock) -> None:
    """The lines of the log's own have the time of the guard, and not that of the wall clock, which may be back
    in a moment; the guard may record its jump while the log writes."""
    wall, boot = [1_700_000_000_000], [10_000]
    guard = ClockGuard(lambda: Timestamp(wall[0]), lambda: boot[0])
    log = AuditLog(directory, WRITER, store, now_ms=guard.now, segment_bytes=400)
    jumps = []

    def jumped(jump):
        jumps.append(jump)
        log.record(refused(99))

    guard.jumped = jumped
    async with serving(log):
        await log.record(issued(1, at=guard.now())).wait()
        wall[0] += 400 * DAY_MS
        for number in range(2, 5):
            await log.record(issued(number, at=1_700_000_000_000)).wait()
    assert len(jumps) == 1
    assert len(files(directory)) > 2
    assert {one["at"] for one in entries(directory)} <= {0, 1_700_000_000_000}
    assert not any("clock" in one for one in entries(directory) if one.get("client") != "client-99")


async def test_trouble_with_the_anchor_is_told_once_and_so_is_its_end(log, store, mock_clock):
    """It was a line a second, and none when there was room again."""
    failed, again = "audit log not anchored", "audit log anchored again"

    async def rename(one, other):
        await store.change(lambda tx: tx._connection.execute(f"ALTER TABLE {one} RENAME TO {other}"))

    async def look():
        mock_clock.jump(1)
        await trio.testing.wait_all_tasks_blocked()

    with structlog.testing.capture_logs() as lines:
        async with serving(log):
            await rename("anchors", "gone")
            log.record(issued())
            while failed not in [line["event"] for line in lines]:
                await look()
            for _ in range(5):
                await look()
            await rename("gone", "anchors")
            while again not in [line["event"] for line in lines]:
                await look()
    assert [line["event"] for line in lines if "anchored" in line["event"]] == [failed, again]
