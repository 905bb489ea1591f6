"""The database as files: whom they let in, and that a KDC notices when others are put in their place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orthros_kdc.store.base import Transaction
from orthros_kdc.store.database_file import DatabaseFiles
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import Misconfigured


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database that no process has open; its folder is 0700."""
    folder = tmp_path / "realm"
    folder.mkdir(mode=0o700)
    await SqliteStore.create(folder / "kdc.db").aclose()
    return folder / "kdc.db"


def refusal(path: Path) -> Misconfigured:
    with pytest.raises(Misconfigured) as caught:
        SqliteStore.open(path)
    assert caught.value.code == "database-unsafe"
    return caught.value


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
async def test_files_that_others_may_touch_are_refused(path: Path, mode: int, suffix: str) -> None:
    """As key files are: sealed keys, rules and the audit's anchors stand in them."""
    file = path.with_name(f"kdc.db{suffix}")
    file.touch()
    file.chmod(mode)
    error = refusal(path)
    assert error.detail == f"{file} has mode {mode:04o}"
    assert error.remedy == f"Run `chmod 600 {file}`."
    file.chmod(0o600)
    if not suffix:
        await SqliteStore.open(path).aclose()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777, 0o720])
async def test_a_folder_that_others_may_write_to_is_refused(path: Path, mode: int) -> None:
    """Whoever can write there can put another database in the place of this one."""
    path.parent.chmod(mode)
    assert refusal(path).remedy == f"Run `chmod 700 {path.parent}`."
    path.parent.chmod(0o755)
    await SqliteStore.open(path).aclose()


async def test_a_link_to_a_database_is_refused(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    assert "is a symbolic link" in refusal(link).detail


async def test_files_of_another_owner_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(path, 4711, -1) if os.geteuid() == 0 else None
    monkeypatch.setattr(os, "geteuid", lambda: 4712)
    owner = path.stat().st_uid
    if owner == 0:
        pytest.skip("this file system gives every file to root")
    assert refusal(path).detail == f"{path} belongs to uid {owner}, not 4712"


async def test_root_may_open_what_belongs_to_the_kdcs_user(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`orthros-admin` runs as root where systemd hands the master key to the KDC alone."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    await SqliteStore.open(path).aclose()


def replaced(path: Path) -> None:
    copy = path.with_name("copy.db")
    shutil.copyfile(path, copy)
    os.replace(copy, path)


@pytest.mark.parametrize(
    ("act", "seen"),
    [
        (lambda path: path.unlink(), "kdc.db is gone"),
        (lambda path: path.rename(path.with_name("moved.db")), "kdc.db is gone"),
        (replaced, "kdc.db is another file than the one in use"),
        (lambda path: path.with_name("kdc.db-wal").unlink(), "kdc.db-wal is gone"),
        (lambda path: path.with_name("kdc.db-shm").unlink(), "kdc.db-shm is gone"),
        (lambda path: path.parent.rename(path.parent.with_name("elsewhere")), "kdc.db is gone"),
    ],
)
async def test_files_that_are_put_in_place_of_the_open_ones_are_noticed(
    path: Path, act: Callable[[Path], object], seen: str
) -> None:
    store = SqliteStore.open(path)
    try:
        await store.read(lambda tx: tx.policy())
        files = DatabaseFiles.of(path)
        await store.change(lambda tx: tx.add_group("edge"))
        files.look()
        act(path)
        with pytest.raises(Misconfigured, match=f"database-replaced.*{seen}"):
            files.look()
    finally:
        await store.aclose()


async def test_a_database_that_is_gone_already_is_not_watched(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="database-replaced"):
        DatabaseFiles.of(tmp_path / "kdc.db")


async def test_a_page_that_belongs_nowhere_is_found_at_the_start(path: Path) -> None:
    """Before the first request, and not when a request happens to read it."""
    store = SqliteStore.open(path)
    await store.check()

    def fill(tx: Transaction) -> None:
        for number in range(2000):
            tx.add_group(f"group-{number}")

    await store.change(fill)
    await store.aclose()
    content = bytearray(path.read_bytes())
    page = int.from_bytes(content[16:18], "big")
    content[-page:] = bytes(page)
    path.write_bytes(content)
    store = SqliteStore.open(path)
    try:
        with pytest.raises(Misconfigured, match="database-invalid"):
            await store.check()
    finally:
        await store.aclose()


@pytest.mark.parametrize("module", ["orthros_kdc.__main__", "orthros_tools.admin.__main__"])
def test_programs_that_hold_the_master_key_leave_no_core_file(module: str) -> None:
    """Section 18: `orthros-admin` opens every key of the realm, and `orthros-kdc init` makes the first."""
    program = (
        f"import ctypes, resource, sys\nfrom {module} import main\nsys.argv[1:] = ['--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert told.stdout.splitlines()[-1] == "(0, 0) 0"
