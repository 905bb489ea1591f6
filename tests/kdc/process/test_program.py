"""The command orthros-kdc, run in this process: founding, refusing to start, what it prints."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
import trio

from orthros_kdc.__main__ import main
from orthros_kdc.realm.master_key import create_master_key_file
from orthros_kdc.store.base import AuditAnchor
from orthros_kdc.store.migrations import APPLICATION_ID
from orthros_kdc.store.sqlite import SqliteStore


def founded(folder: Path) -> Path:
    assert main(["init", "--realm", "corp.test", "--data", str(folder), "--listen", "127.0.0.1:0"]) == 0
    return folder / "kdc.toml"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ORTHROS_"):
            monkeypatch.delenv(name)


def test_init_founds_a_realm_that_only_its_owner_can_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "realm"
    founded(folder)
    shown = capsys.readouterr().out
    assert "Realm corp.test founded" in shown
    assert "principal add NAME" in shown
    assert sorted(path.name for path in folder.iterdir()) == ["audit", "kdc.db", "kdc.toml", "master.key"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for secret in ("master.key", "kdc.db"):
        assert stat.S_IMODE((folder / secret).stat().st_mode) == 0o600


def test_init_says_what_the_issuer_is_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A realm whose issuer was never thought of is found out when it is founded, not by an OAuth client."""
    founded(tmp_path / "realm")
    shown = capsys.readouterr().out
    assert "  issuer       https://corp.test   by default: OAuth clients reach the HTTP port at this URL\n" in shown
    assert f"orthros-admin --config {tmp_path}/realm/kdc.toml realm issuer URL" in shown
    chosen = ["--issuer", "https://kdc.corp.test"]
    assert main(["init", "--realm", "corp.test", "--data", str(tmp_path / "other"), *chosen]) == 0
    shown = capsys.readouterr().out
    assert "  issuer       https://kdc.corp.test   OAuth clients reach the HTTP port at this URL\n" in shown
    assert "realm issuer URL" not in shown


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lesson 12: founding is a separate, explicit act."""
    folder = tmp_path / "realm"
    founded(folder)
    before = contents(folder)
    assert main(["init", "--realm", "corp.test", "--data", str(folder)]) == 1
    assert contents(folder) == before
    error = capsys.readouterr().err
    assert "is not an empty folder" in error
    assert "code: file-exists" in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["--realm", "Corp.Test"],
        ["--realm", "corp.test", "--issuer", "not a url"],
        ["--realm", "corp.test", "--listen", "nowhere"],
    ],
)
def test_a_failed_init_leaves_nothing_behind(tmp_path: Path, arguments: list[str]) -> None:
    assert main(["init", "--data", str(tmp_path / "realm"), *arguments]) == 1
    assert list(tmp_path.iterdir()) == []


def test_init_fills_an_empty_folder_and_leaves_it_empty_on_failure(tmp_path: Path) -> None:
    folder = tmp_path / "realm"
    folder.mkdir()
    assert main(["init", "--realm", "corp.test", "--issuer", "x", "--data", str(folder)]) == 1
    assert list(folder.iterdir()) == []
    founded(folder)


def test_init_reports_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    assert main(["init", "--realm", "corp.test", "--data", str(tmp_path / "file" / "realm")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def _without_master_key(folder: Path) -> None:
    (folder / "master.key").unlink()


def _with_another_master_key(folder: Path) -> None:
    (folder / "master.key").unlink()
    create_master_key_file(folder / "master.key", entropy=os.urandom)


def _with_a_readable_master_key(folder: Path) -> None:
    (folder / "master.key").chmod(0o640)


def _with_a_newer_database(folder: Path) -> None:
    database = bytearray((folder / "kdc.db").read_bytes())
    database[60:64] = (999).to_bytes(4, "big")  # user_version in the file's header
    (folder / "kdc.db").write_bytes(database)


def _with_a_foreign_database(folder: Path) -> None:
    database = bytearray((folder / "kdc.db").read_bytes())
    database[68:72] = (APPLICATION_ID ^ 1).to_bytes(4, "big")
    (folder / "kdc.db").write_bytes(database)


def _with_a_damaged_page(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "kdc.db")) as connection:
        ((size,),) = connection.execute("PRAGMA page_size").fetchall()
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'rules_pair'").fetchall()
    database = bytearray((folder / "kdc.db").read_bytes())
    # One byte more that is free within the page than there is: all rows can be read, only the check sees it.
    database[(page - 1) * size + 7] ^= 1
    (folder / "kdc.db").write_bytes(database)


def _without_database(folder: Path) -> None:
    (folder / "kdc.db").unlink()


def _with_a_lost_next_master_key(folder: Path) -> None:
    _name_a_next_master_key(folder)


def _with_a_next_master_key_of_a_wrong_number(folder: Path) -> None:
    create_master_key_file(folder / "next.key", entropy=os.urandom, number=3)
    _name_a_next_master_key(folder)


def _name_a_next_master_key(folder: Path) -> None:
    config = folder / "kdc.toml"
    config.write_text(config.read_text().replace("[listen]", f'next_master_key_file = "{folder}/next.key"\n[listen]'))


def _with_a_bad_setting(folder: Path) -> None:
    (folder / "kdc.toml").write_text("version = 1\n[listen]\ntpc = 'x'\n")


@pytest.mark.parity("K13")
@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (_without_master_key, "master-key-missing"),
        (_with_another_master_key, "master-key-wrong"),
        (_with_a_readable_master_key, "key-file-unsafe"),
        (_with_a_lost_next_master_key, "master-key-missing"),
        (_with_a_next_master_key_of_a_wrong_number, "master-key-wrong"),
        (_with_a_newer_database, "database-newer"),
        (_with_a_foreign_database, "database-invalid"),
        (_with_a_damaged_page, "database-invalid"),
        (_without_database, "database-invalid"),
        (_with_a_bad_setting, "config-invalid"),
    ],
)
def test_serve_refuses_to_start_and_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: object, code: str
) -> None:
    """Wrong or missing master key, newer or foreign database: refuse, change nothing."""
    folder = tmp_path / "realm"
    config = founded(folder)
    damage(folder)  # type: ignore[operator]
    before = contents(folder)
    assert main(["serve", "--config", str(config)]) == 1
    error = capsys.readouterr().err
    assert f"code: {code}" in error
    assert "remedy: " in error
    assert {
        name: content for name, content in contents(folder).items() if not name.endswith(("-shm", "-wal"))
    } == before


def test_serve_refuses_a_broken_audit_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "realm"
    config = founded(folder)

    async def anchor_a_lost_log() -> None:
        store = SqliteStore.open(folder / "kdc.db")
        await store.change(lambda tx: tx.set_anchor(AuditAnchor(writer="kdc-1", seq=7, head="0" * 64)))
        await store.aclose()

    trio.run(anchor_a_lost_log)
    assert main(["serve", "--config", str(config)]) == 1
    assert "code: audit-broken" in capsys.readouterr().err


@pytest.mark.parity("P16")
def test_config_is_shown_with_its_sources_and_validated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags over environment over file over defaults."""
    config = str(founded(tmp_path / "realm"))
    monkeypatch.setenv("ORTHROS_LISTEN_UNIX_MODE", "0600")
    assert main(["config", "validate", "--config", config]) == 0
    capsys.readouterr()
    flags = ["--tcp", "127.0.0.1:99", "--http", "[::1]:98", "--http-unix", "/run/h.sock"]
    flags += ["--http-tls-cert", "/tls.pem", "--http-tls-key", "/tls.key"]
    assert main(["config", "show", "--effective", "--config", config, *flags]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["listen.tcp"][1:] == ["127.0.0.1:99", "--tcp"]
    assert rows["http.tcp"][1:] == ["[::1]:98", "--http"]
    assert rows["http.unix"][1:] == ["/run/h.sock", "--http-unix"]
    assert rows["http.tls_cert"][1:] == ["/tls.pem", "--http-tls-cert"]
    assert rows["http.tls_key"][1:] == ["/tls.key", "--http-tls-key"]
    assert rows["http.max_body"][1:] == ["32768", "default"]
    assert rows["listen.unix_mode"][1:] == ["0600", "ORTHROS_LISTEN_UNIX_MODE"]
    assert rows["audit.directory"][-3:] == [f"{config}:", "[audit]", "directory"]
    assert rows["limits.idle_deadline_s"][-1] == "default"
    monkeypatch.setenv("ORTHROS_LISTEN_TPC", "x")
    assert main(["config", "validate", "--config", config]) == 1
    assert "ORTHROS_LISTEN_TPC" in capsys.readouterr().err


def test_the_config_path_may_come_from_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORTHROS_CONFIG", str(founded(tmp_path / "realm")))
    assert main(["config", "show"]) == 0
    assert "realm/kdc.db" in capsys.readouterr().out


def test_version_names_both_openssls(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    shown = capsys.readouterr().out
    assert "openssl of hashlib" in shown
    assert "openssl of cryptography" in shown


def test_wrong_usage_exits_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ([], ["frobnicate"], ["init", "--realm", "x"]):
        assert main(wrong) == 1
        assert "code: usage" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "EXIT CODES" in capsys.readouterr().out
