import os
import resource
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.audit.chain import genesis
from orthros_kdc.audit.chain_file import ChainFile, start_for
from orthros_kdc.audit.verifying import verify_all
from orthros_protocol.errors import Misconfigured
from orthros_runtime.clocks import wall_clock
from tests.kdc.audit.chains import WRITER, anchor_at, chain_of, head_at


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "audit"


def written(directory, lines):
    directory.mkdir(exist_ok=True)
    file = directory / f"{WRITER}.jsonl"
    file.write_bytes(b"".join(lines))
    return file


def reopened(directory, anchor=None):
    with ChainFile.open(directory, WRITER, anchor) as chain:
        return chain


def entry(event):
    return {"event": event, "at": wall_clock()}


def chain_tail(chain):
    return chain.path.read_bytes().splitlines(keepends=True)[-1]


@pytest.mark.parity("K16")
def test_entries_survive_and_are_private(directory) -> None:
    """0600 in 0700."""
    with ChainFile.open(directory, WRITER, None) as chain:
        chain.append([entry("a"), entry("b")])
        chain.append([entry("c")])
        assert chain.head.seq == 4  # the first line opens the segment
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(chain.path.stat().st_mode) == 0o600
    opening = anchor_at(chain.path.read_bytes().splitlines(keepends=True)[0])
    again = reopened(directory, opening)
    assert (again.head, again.unanchored, again.torn) == (chain.head, 3, 0)
    with ChainFile.open(directory, WRITER, anchor_at(chain_tail(chain))) as more:
        assert more.unanchored == 0
        more.append([entry("d")])
    assert reopened(directory, opening).head.seq == 5


@pytest.mark.parity("K16")
@pytest.mark.parametrize("left", [b"", b'{"at":1,"event":"segm'], ids=["nothing", "half a line"])
def test_a_segment_that_a_crash_left_without_its_first_line_is_not_gone_on_with(directory, left) -> None:
    """Behind an anchored end only a first line may stand, so the writer would be refused at its next start."""
    with ChainFile.open(directory, WRITER, None) as chain:
        chain.append([entry("a"), entry("kdc-stopped")])
    stopped = anchor_at(chain_tail(chain))
    (directory / f"{WRITER}.000002.jsonl").write_bytes(left)
    with ChainFile.open(directory, WRITER, stopped) as more:
        more.begin()
        begun = anchor_at(chain_tail(more))  # as the KDC does before it serves
        more.append([entry("b")])
    assert more.path.name == f"{WRITER}.000003.jsonl"
    assert reopened(directory, begun).head.seq == 5
    assert [(report.problem, report.head.seq) for report in verify_all(directory, [begun])] == [(None, 5)]


@pytest.mark.parity("K16")
def test_a_missing_file_that_the_database_remembers_is_refused(directory) -> None:
    """A removed log is not a new log."""
    directory.mkdir()
    with pytest.raises(Misconfigured, match=r"audit-broken.*there is no .*; the database has seen 5 lines"):
        reopened(directory, anchor_at(chain_of(5)[-1]))
    assert list(directory.iterdir()) == []


@pytest.mark.parity("K16")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [*lines[:3], lines[3].replace(b"test", b"tost"), *lines[4:]], "line 4: edited"),
        (lambda lines: lines[:3], "line 4: truncated"),
        (lambda lines: [*lines[:4], lines[4][:-1]], "line 5: truncated"),
        (lambda lines: chain_of(9, forged=1), "line 5: remade"),
        (lambda _lines: [], "line 1: truncated"),
    ],
)
def test_a_broken_chain_is_refused_and_left_as_it_is(directory, change, words) -> None:
    """The KDC does not start, and the evidence stays."""
    lines = chain_of(5)
    file = written(directory, change(lines))
    before = file.read_bytes()
    with pytest.raises(Misconfigured, match=rf"audit-broken.*{words}"):
        reopened(directory, anchor_at(lines[-1]))
    assert file.read_bytes() == before


@pytest.mark.parity("K16")
def test_a_half_written_line_is_moved_aside_and_kept(directory) -> None:
    """What a crash left is repaired, nothing is dropped silently."""
    lines = chain_of(4)
    for attempt in range(2):
        file = written(directory, [*lines[:3], lines[3][:30]])
        chain = reopened(directory, anchor_at(lines[1]))
        assert (chain.head.seq, chain.unanchored, chain.torn) == (3, 1, 30)
        assert file.read_bytes() == b"".join(lines[:3])
        aside = directory / f"{WRITER}.4.{attempt}.torn"
        assert aside.read_bytes() == lines[3][:30]
        assert stat.S_IMODE(aside.stat().st_mode) == 0o600


def test_a_log_that_begins_with_a_torn_line(directory) -> None:
    file = written(directory, [chain_of(1)[0][:100]])
    chain = reopened(directory)
    assert (chain.head, chain.torn) == (genesis(WRITER), 100)
    assert file.read_bytes() == b""


@pytest.mark.parity("K16")
def test_a_disk_that_fills_up_in_the_middle_of_a_line(directory) -> None:
    """A real short write, cut off again at once: the next batch follows the last that was kept."""
    with ChainFile.open(directory, WRITER, None) as chain:
        chain.append([entry("a")])
        head = chain.head
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (chain.path.stat().st_size + 100, hard))
        try:
            with pytest.raises(OSError, match="File too large"):
                chain.append([entry("b")])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert chain.head == head
        chain.append([entry("c")])
    again = reopened(directory, anchor_at(chain_tail(chain)))
    assert (again.head, again.torn) == (chain.head, 0)


def test_one_writer_at_a_time(directory) -> None:
    """Two KDCs of one name would fork the chain."""
    with ChainFile.open(directory, WRITER, None) as chain:
        chain.begin()
        with pytest.raises(Misconfigured, match=r"wrong-state.*another process writes"):
            reopened(directory)
    reopened(directory)


def test_the_lock_ends_with_its_process(directory) -> None:
    """A crash leaves no lock behind."""
    script = (
        "import os, sys; from pathlib import Path; from orthros_kdc.audit.chain_file import ChainFile\n"
        f"chain = ChainFile.open(Path(sys.argv[1]), {WRITER!r}, None)\n"
        "chain.append([{'event': 'last words', 'at': 2**50}]); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(directory)], check=False).returncode == 9
    file = next(directory.glob("*.jsonl"))
    assert reopened(directory, anchor_at(file.read_bytes().splitlines(keepends=True)[0])).head.seq == 2


def test_links_and_other_things_are_not_logs(directory, tmp_path) -> None:
    directory.mkdir()
    (tmp_path / "elsewhere").touch()
    (directory / f"{WRITER}.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Misconfigured, match="file-unreadable"):
        reopened(directory)
    (directory / f"{WRITER}.jsonl").unlink()
    os.mkfifo(directory / f"{WRITER}.jsonl")
    with pytest.raises(Misconfigured, match="not a plain file"):
        reopened(directory)


@pytest.mark.parity("K17")
def test_a_directory_that_cannot_be_made_is_named(tmp_path) -> None:
    for anchor in (None, anchor_at(chain_of(1)[0])):
        with pytest.raises(Misconfigured, match=r"file-unreadable.*none/audit does not exist"):
            ChainFile.open(tmp_path / "none" / "audit", WRITER, anchor)


@pytest.mark.parity("K16")
@given(st.integers(1, 60), st.data())
def test_reading_from_the_anchor_on_finds_the_same_head(tmp_path_factory, count, data) -> None:
    """A long log starts as fast as a short one."""
    directory = tmp_path_factory.mktemp("audit")
    lines = chain_of(count, padding="x" * data.draw(st.sampled_from([0, 3000, 60_000])))
    file = written(directory, lines)
    anchor = anchor_at(lines[data.draw(st.integers(0, count - 1))])
    descriptor = os.open(file, os.O_RDONLY)
    try:
        offset, start = start_for(descriptor, WRITER, anchor)
    finally:
        os.close(descriptor)
    assert start.seq < anchor.seq
    assert offset == sum(map(len, lines[: start.seq]))
    chain = reopened(directory, anchor)
    assert chain.head == head_at(lines[-1])
    assert chain.unanchored == count - anchor.seq


@pytest.mark.parity("K16")
def test_a_long_log_is_not_read_from_its_beginning(directory) -> None:
    """Only `verify` walks all of it."""
    lines = chain_of(3000)
    file = written(directory, lines)
    descriptor = os.open(file, os.O_RDONLY)
    offset, _ = start_for(descriptor, WRITER, anchor_at(lines[-1]))
    os.close(descriptor)
    assert file.stat().st_size - offset <= 64 * 1024


@pytest.mark.parity("O5")
def test_what_was_written_is_synced_before_the_next_segment_goes_on_behind_it(directory, monkeypatch) -> None:
    """With `sync = "written"`; else the anchor would name lines that the disk may not have."""
    synced, real = [], os.fsync

    def fsync(descriptor):
        synced.append(os.fstat(descriptor).st_ino)
        real(descriptor)

    with ChainFile.open(directory, WRITER, None) as chain:
        chain.append([entry("a")], sync=False)
        first = chain.path.stat().st_ino
        chain.path.rename(directory / "moved")
        monkeypatch.setattr(os, "fsync", fsync)
        chain.append([entry("b")], sync=False)
        assert synced[0] == first
        assert chain.synced.seq == chain.head.seq - 1


@pytest.mark.parity("O5")
def test_a_segment_that_cannot_be_begun_loses_no_descriptor(directory, monkeypatch) -> None:
    """It is tried again each second, for as long as the disk is full."""

    def refuse(*_arguments, **_options):
        raise OSError(5, os.strerror(5))

    with ChainFile.open(directory, WRITER, None) as chain:
        directory.mkdir(exist_ok=True)
        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(os, "fsync", refuse)
        monkeypatch.setattr(os, "unlink", refuse)
        for _ in range(3):
            with pytest.raises(OSError, match="Input/output"):
                chain.begin()
        monkeypatch.undo()
        assert len(os.listdir("/proc/self/fd")) == before
