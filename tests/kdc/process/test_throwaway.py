"""Folders that go away with their process, however it ends."""

import signal
import subprocess
import sys
import tempfile

import pytest

from orthros_kdc.process.throwaway import throwaway_folder

PREFIX = "orthros-throwaway-"
HOLD = f"""
import sys
from orthros_kdc.process.throwaway import throwaway_folder
with throwaway_folder({PREFIX!r}) as folder:
    (folder / "master.key").write_text("secret")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def held(process):
    return process.stdout.readline().strip()


def holder():
    return subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_folder_is_private_and_goes_away(place):
    with throwaway_folder(PREFIX) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "kdc.db").write_text("x")
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_goes_with_the_next_and_the_living_keep_theirs(place):
    killed, living = holder(), holder()
    with killed, living:
        left, kept = held(killed), held(living)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        with throwaway_folder(PREFIX) as folder:
            assert sorted(map(str, place.iterdir())) == sorted([kept, str(folder)])
        assert left not in map(str, place.iterdir())
        living.stdin.close()
        living.wait()
    assert list(place.iterdir()) == []


def test_what_is_no_such_folder_stays(place):
    (place / f"{PREFIX}file").write_text("x")
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "kept").write_text("x")
    (place / f"{PREFIX}link").symlink_to(place / "elsewhere")
    with throwaway_folder(PREFIX):
        pass
    assert sorted(one.name for one in place.iterdir()) == ["elsewhere", f"{PREFIX}file", f"{PREFIX}link"]
    assert (place / "elsewhere" / "kept").exists()
