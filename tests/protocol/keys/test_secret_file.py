"""Secret files: protected or refused, whole or absent."""

import os
import threading
from pathlib import Path

import pytest

from orthros_protocol.errors import Misconfigured
from orthros_protocol.keys.secret_file import read_secret_file, write_secret_file


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    write_secret_file(path, b"content")
    return path


def test_what_is_written_is_read_and_private(secret: Path) -> None:
    assert read_secret_file(secret) == b"content"
    assert secret.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("bit", [0o001, 0o002, 0o004, 0o010, 0o020, 0o040])
def test_any_permission_for_group_or_others_is_refused(secret: Path, bit: int) -> None:
    """Section 17: key file group-readable."""
    secret.chmod(0o600 | bit)
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        read_secret_file(secret)


def test_a_symlink_is_refused(secret: Path) -> None:
    """Section 17: key file symlinked."""
    (secret.parent / "link").symlink_to(secret)
    with pytest.raises(Misconfigured, match="symbolic link"):
        read_secret_file(secret.parent / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_foreign_owner_is_refused(secret: Path) -> None:
    os.chown(secret, 65534, -1)
    with pytest.raises(Misconfigured, match="belongs to uid 65534"):
        read_secret_file(secret)


def test_what_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(Misconfigured, match="not a plain file"):
            read_secret_file(path)


@pytest.mark.parametrize("path", ["missing", "missing/deeper", "nul\0byte"])
def test_a_path_that_leads_nowhere_is_unreadable(tmp_path: Path, path: str) -> None:
    with pytest.raises(Misconfigured, match="file-unreadable"):
        read_secret_file(f"{tmp_path}/{path}")


def test_a_file_too_large_to_be_one_is_refused(secret: Path) -> None:
    assert read_secret_file(secret, most_bytes=7) == b"content"
    with pytest.raises(Misconfigured, match="larger than 6 bytes"):
        read_secret_file(secret, most_bytes=6)


def test_refusals_leave_no_descriptor_open(secret: Path) -> None:
    secret.chmod(0o644)
    before = len(os.listdir("/proc/self/fd"))
    for path in (secret, secret.parent, secret.parent / "missing"):
        with pytest.raises(Misconfigured):
            read_secret_file(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_existing_file_is_replaced_only_on_purpose(secret: Path) -> None:
    with pytest.raises(Misconfigured, match="file-exists"):
        write_secret_file(secret, b"other")
    assert read_secret_file(secret) == b"content"
    write_secret_file(secret, b"other", replace=True)
    assert read_secret_file(secret) == b"other"
    assert os.listdir(secret.parent) == ["secret"]


@pytest.mark.parametrize("path", ["missing/file", "nul\0byte"])
def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path, path: str) -> None:
    with pytest.raises(Misconfigured, match="file-unreadable"):
        write_secret_file(f"{tmp_path}/{path}", b"content")
    assert os.listdir(tmp_path) == []


def test_a_directory_in_the_way_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    for replace in (False, True):
        with pytest.raises(Misconfigured, match="file-"):
            write_secret_file(tmp_path / "taken", b"content", replace=replace)
    assert os.listdir(tmp_path) == ["taken"]


def test_a_symlink_is_replaced_and_not_followed(secret: Path) -> None:
    link = secret.parent / "link"
    link.symlink_to(secret)
    write_secret_file(link, b"new", replace=True)
    assert (read_secret_file(secret), read_secret_file(link)) == (b"content", b"new")


def test_a_draft_left_by_a_crash_does_not_block_the_next_writer(tmp_path: Path) -> None:
    """In a container every process has the same pid, so a draft's name must not come from it alone."""
    (tmp_path / f".secret.{os.getpid()}.new").write_bytes(b"half")
    write_secret_file(tmp_path / "secret", b"whole")
    assert read_secret_file(tmp_path / "secret") == b"whole"


def test_a_reader_sees_the_old_file_or_the_new_one(secret: Path) -> None:
    contents = [bytes([digit]) * 5000 for digit in range(40)]
    seen: list[bytes] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(read_secret_file(secret))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for content in contents:
        write_secret_file(secret, content, replace=True)
    done.set()
    watcher.join()
    assert set(seen) <= {b"content", *contents}


def test_two_writers_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    outcomes: list[str] = []

    def write(content: bytes) -> None:
        try:
            write_secret_file(tmp_path / "secret", content)
            outcomes.append("written")
        except Misconfigured as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=write, args=(bytes([digit]) * 100,)) for digit in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["file-exists"] * 7 + ["written"]
    assert len(set(read_secret_file(tmp_path / "secret"))) == 1
    assert os.listdir(tmp_path) == ["secret"]


def test_a_key_in_the_place_of_its_path_is_not_repeated() -> None:
    pasted = "ort1k_" + "a2" * 80
    with pytest.raises(Misconfigured) as caught:
        read_secret_file(pasted)
    assert caught.value.code == "file-unreadable"
    assert pasted not in str(caught.value)
    assert "<key redacted>" in caught.value.detail
