"""What `audit restart` and `audit archive` leave when they are killed between any two steps: the same command run again
does all of it, and the proof holds then."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orthros_protocol.errors import Misconfigured
from tests.tools.admin.bench import AdminBench

PROGRAM = Path(__file__).parent / "programs" / "killed.py"


def killed(bench: AdminBench, line: str) -> list[Path]:
    """What the command left when it was killed, by the number of the system call that it had come to."""
    copies = bench.folder / "copies"
    copies.mkdir()
    realm = bench.folder / "realm"
    done = subprocess.run(
        [sys.executable, PROGRAM, realm, copies, *shlex.split(line)],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stderr) == (0, "")
    shutil.rmtree(realm)
    return sorted((path for path in copies.iterdir() if path.name != "0"), key=lambda path: int(path.name))


def each_put_back(bench: AdminBench, left: list[Path]) -> Iterator[None]:
    for copy in left:
        shutil.copytree(copy, bench.folder / "realm")
        yield
        shutil.rmtree(bench.folder / "realm")
    shutil.copytree(left[0], bench.folder / "realm")


def kdc_is_refused(bench: AdminBench) -> bool:
    try:
        bench.kdc_rejects_bytes()
    except BaseExceptionGroup as group:
        refused = group.subgroup(lambda one: isinstance(one, Misconfigured) and one.code == "audit-broken")
        assert refused is not None
        return True
    return False


@pytest.fixture
def damaged(bench: AdminBench, request: pytest.FixtureRequest) -> AdminBench:
    """A log that is lost, or one in which a byte of the last line has changed."""
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders", stop=True)
    bench.kdc_refuses("billing", "orders")
    if request.param == "lost":
        shutil.rmtree(bench.audit)
    else:
        content = bench.kdc_file.read_bytes()
        bench.kdc_file.write_bytes(content[:-30] + bytes([content[-30] ^ 1]) + content[-29:])
    return bench


@pytest.mark.parity("O5")
@pytest.mark.parametrize("damaged", ["lost", "changed"], indirect=True)
def test_a_restart_that_was_killed_is_done_by_the_next_one(damaged: AdminBench) -> None:
    """Before its last step nothing has happened that counts, and no step is in the way of the next call."""
    bench, done = damaged, 0
    left = killed(bench, "audit restart kdc-1 --reason killed")
    for _ in each_put_back(bench, left):
        was_done = bench.run("audit verify").code == 0
        done += was_done
        if not was_done:
            assert kdc_is_refused(bench)
            assert bench.run("audit verify").code == 1
        again = bench.run("audit restart kdc-1 --reason again --output json")
        assert again.code == was_done, again.err
        if was_done:
            assert "undamaged" in again.error["detail"]
        assert bench.rows("audit verify")
        assert not kdc_is_refused(bench)
        assert {row["problem"] for row in bench.rows("audit verify") if " to " not in row["writer"]} == {None}
    assert 0 < done < len(left), "both before and behind the last step"


@pytest.mark.parity("O5")
def test_a_log_that_is_whole_again_needs_no_more_than_the_next_restart(bench: AdminBench) -> None:
    """The copy of the log is put back while an unrecorded beginning of a new chain is beside it."""
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders", stop=True)
    whole = bench.kdc_file.read_bytes()
    bench.kdc_file.write_bytes(whole[:-30] + bytes([whole[-30] ^ 1]) + whole[-29:])
    for _ in each_put_back(bench, killed(bench, "audit restart kdc-1 --reason killed")):
        if bench.run("audit verify").code == 0:
            continue  # the damaged file is evidence now
        (bench.audit / "kdc-1.000001.jsonl").write_bytes(whole)
        if kdc_is_refused(bench):
            bench.ok("audit restart kdc-1 --reason again")
        assert not kdc_is_refused(bench)
        bench.ok("audit verify")
        bench.kdc_refuses("billing", "orders")
        bench.ok("audit verify")


@pytest.mark.parity("O5")
def test_an_archive_that_was_killed_is_made_by_the_next_one(bench: AdminBench) -> None:
    """Half a copy has not the name of a whole one, and a segment goes when its stub is there."""
    bench.add("billing", "orders")
    for _ in range(3):
        bench.kdc_refuses("billing", "orders", stop=True)
    archive = bench.folder / "realm" / "archive"
    archive.mkdir()
    for _ in each_put_back(bench, killed(bench, f"audit archive --to {archive}")):
        bench.ok("audit verify")
        bench.ok(f"audit archive --to {archive}")
        bench.ok("audit verify")
        bench.ok(f"audit verify --also {archive}")
