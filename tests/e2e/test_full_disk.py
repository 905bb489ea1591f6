"""A KDC on a file system without room, a small tmpfs that it alone sees: SIGTERM ends it in time, and it says why."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from orthros_protocol.primitives.messages import KdcRefusal
from tests.e2e.test_kdc_process import DEADLINE_S, Caller
from tests.e2e.test_kdc_start import program
from tests.support.processes import Estate, eventually

# Everything of the realm goes onto the tmpfs; then the shell becomes the KDC.
_ON_A_SMALL_DISK = """\
set -e
cp -a "$1" "$1.away"
mount -t tmpfs -o size=4m,mode=700 tmpfs "$1"
cp -a "$1.away/." "$1"
exec "$2" serve --config "$1/kdc.toml"
"""


def unshared() -> list[str]:
    """The words that give a program mounts of its own. Without them there is no small disk to fill."""
    words = ["unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",))]
    probe = [*words, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no process mount a file system of its own")
    return words


def fill(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as ballast:
        for size in (65536, 4096, 1):
            try:
                while True:
                    ballast.write(bytes(size))
            except OSError:
                continue


def is_refused(caller: Caller) -> bool:
    try:
        caller.log_in()
    except KdcRefusal as refusal:
        return refusal.code == "kdc-fault"
    return False


@pytest.mark.parametrize("full", ["the database", "database and log"])
def test_sigterm_on_a_full_disk_ends_a_kdc_in_time_and_says_why(estate: Estate, full: str) -> None:
    """Clients are served while the log has room; what could not be written is told when the KDC ends."""
    has_room = full == "the database"
    log = estate.folder / "audit" if has_room else estate.folder / "kdc" / "audit"
    words = [*unshared(), "sh", "-c", _ON_A_SMALL_DISK, "sh", str(estate.folder / "kdc"), program()]
    environ = {"ORTHROS_AUDIT_DIRECTORY": str(log)}
    kdc = estate.kdc = estate.stage.start("kdc", *words, environ=environ)
    estate.kdc_addresses = tuple(kdc.await_line(r"^orthros-kdc ready: realm \S+ at (.+)$")[1].split())
    seen = Path(f"/proc/{kdc.popen.pid}/root")
    with ExitStack() as stack:
        caller = stack.enter_context(Caller(estate))
        caller.log_in()
        fill(Path(f"{seen}{estate.folder}/kdc"))
        if has_room:
            eventually(lambda: caller.log_in().ttl_s and "audit log not anchored" in kdc.errors(), "no anchor")
        else:
            eventually(lambda: is_refused(caller), "a refusal")
        content = Path(f"{seen}{log}/kdc-1.000001.jsonl").read_bytes()
        assert content.endswith(b"}\n")
        kdc.send(signal.SIGTERM)
        assert kdc.ends(DEADLINE_S)
    said = kdc.errors()
    assert kdc.popen.returncode == 0, said
    assert "Traceback" not in said
    assert "disk-full" in said
    assert "bytes are free there" in said
    assert ("audit log closed without its last lines" in said) != has_room
    assert "audit log not anchored" in said
    assert "orthros-kdc stopped" in said
