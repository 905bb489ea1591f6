"""The demo and the tour as tests: each ends well, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import README, blocks, transcript
from tests.support.processes import eventually

pytestmark = pytest.mark.stories

DEMO = [sys.executable, "-m", "workshop.demo"]
TOUR = [sys.executable, "-m", "workshop.tour"]
CAMPAIGN = pytest.mark.campaign


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder for the demo's temporary files; its path is short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="e2e-") as folder:
        yield Path(folder)


def processes_below(folder: Path) -> list[str]:
    """The processes whose environment says that their temporary files belong here."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and f"TMPDIR={folder}\0".encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has ended meanwhile
            continue
    return found


def without_times(text: str) -> str:
    """What was told, without what differs between two runs."""
    return re.sub(r"\d+\.\d+ ms|127\.0\.0\.1:\d+", "", text)


@pytest.mark.timeout(300)
def test_the_demo_ends_well_and_leaves_nothing_behind(scratch: Path) -> None:
    ended = told(DEMO, scratch)
    assert len(ended.stdout.splitlines()) <= 60
    for code in ("credentials-missing", "replayed", "insufficient-scope", "wrong-binding", "response-unproven",
                 "not-granted"):  # fmt: skip
        assert code in ended.stdout
    assert '{"order":7,"for":"shop"}' in ended.stdout.partition("Kill the KDC")[2]
    (_make, shown), *_ = transcript(blocks(README, "console")[0])
    for piece in shown.split("...\n"):
        assert without_times(piece) in without_times(ended.stdout)


@pytest.mark.timeout(300)
def test_the_tour_ends_well_and_leaves_nothing_behind(scratch: Path) -> None:
    ended = told(TOUR, scratch)
    assert "\033" not in ended.stdout, "colours where nobody looks"
    for code in ("wrong-binding", "body-mismatch", "credentials-missing", "unknown-key", "insufficient-scope",
                 "response-unproven", "origin-unknown", "not-granted", "unauthenticated-refusal",
                 "principal-disabled", "ticket-expired", "kdc-unreachable", "subject-refused", "user-not-accepted",
                 "chain-refused", "discharge-mismatch", "discharge-refused"):  # fmt: skip
        assert re.search(rf"code +{code}\n", ended.stdout), code
    assert "would allow it: orthros-admin policy allow reports ledger --scope post" in ended.stdout
    assert "would allow it: orthros-admin policy allow orders ledger --behalf user/alice" in ended.stdout
    hops = re.findall(r"for +(\S+), through (\S+ -> \S+), with (.+)\n +txn +([0-9a-f]{32})\n", ended.stdout)
    assert [hop[:3] for hop in hops] == [
        ("user/alice", "gateway -> orders", "read write"), ("user/alice", "gateway -> orders", "read")
    ]  # fmt: skip
    assert len({hop[3] for hop in hops}) == 1, "one transaction, which the narrowed call carries on"
    _, _, table = ended.stdout.partition("\nSummary\n")
    rows = [line.split("  ") for line in table.splitlines()[2:]]
    assert len(rows) > 58


def told(command: list[str], scratch: Path) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"TMPDIR": str(scratch)}
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=250, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert list(scratch.iterdir()) == []
    assert processes_below(scratch) == []
    return ended


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("command", "chapter", "number", "words"),
    [
        (DEMO, "3. ", signal.SIGINT, ""),
        pytest.param(DEMO, "1. ", signal.SIGTERM, "", marks=CAMPAIGN),
        (TOUR, "2. ", signal.SIGINT, "demo: interrupted by SIGINT; nothing was left behind\n"),
        pytest.param(
            TOUR, "1. ", signal.SIGTERM, "demo: interrupted by SIGTERM; nothing was left behind\n", marks=CAMPAIGN
        ),
        pytest.param(
            TOUR, "4. ", signal.SIGINT, "demo: interrupted by SIGINT; nothing was left behind\n", marks=CAMPAIGN
        ),
    ],
)
def test_interrupted_it_leaves_nothing_behind(
    scratch: Path, command: list[str], chapter: str, number: signal.Signals, words: str
) -> None:
    environ = os.environ | {"TMPDIR": str(scratch)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        for line in demo.stdout:
            if line.startswith(chapter):
                break
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=30)
    assert demo.returncode == 128 + number
    assert errors == words
    assert list(scratch.iterdir()) == []
    assert processes_below(scratch) == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("command", "chapter"),
    [(DEMO, "4. "), (TOUR, "2. "), pytest.param(TOUR, "4. ", marks=CAMPAIGN)],
)
def test_killed_it_takes_its_processes_along(scratch: Path, command: list[str], chapter: str) -> None:
    """Nobody can remove files after SIGKILL, but no process may live on."""
    environ = os.environ | {"TMPDIR": str(scratch)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith(chapter):
                break
        assert len(processes_below(scratch)) > 1, "at least the KDC and the demo itself"
        demo.kill()
    eventually(lambda: not processes_below(scratch), "all processes ended")
