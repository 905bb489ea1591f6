"""A database that is behind what its KDC has had in force: a restored backup does not serve before it was declared."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from orthros_kdc.__main__ import main
from orthros_kdc.admin import Admin, audit_logs, principals
from orthros_kdc.audit import AdminAuditLog, AuditLog
from orthros_kdc.audit.admin_lines import head_of
from orthros_kdc.audit.events import Facts, RealmApplied, RequestRejected, SenderFacts
from orthros_kdc.audit.going_back import latest_applied, require_not_behind
from orthros_kdc.process.founding import found_realm
from orthros_kdc.realm.master_key import load_master_key
from orthros_kdc.realm.vault import open_vault
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import Misconfigured
from orthros_runtime.clocks import wall_clock

T = TypeVar("T")


class Realm:
    """A realm on disk, and a KDC that says what it has in force."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        trio.run(found_realm, "corp.example", str(folder), None, "127.0.0.1:0")

    def administer(self, work: Callable[[Admin], Awaitable[T]]) -> T:
        async def run() -> T:
            store = SqliteStore.open(self.folder / "kdc.db")
            try:
                vault = await open_vault(store, load_master_key(self.folder / "master.key", environ={}))
                return await work(
                    Admin(store=store, vault=vault, audit=AdminAuditLog(), now_ms=wall_clock, actor="test")
                )
            finally:
                await store.aclose()

        return trio.run(run)

    def add(self, name: str) -> int:
        return self.administer(lambda admin: principals.add(admin, name)).uid

    def take_into_force(self, writer: str = "kdc-1") -> None:
        """As a KDC does at its start, and after each change."""

        async def work(admin: Admin) -> None:
            log = AuditLog(self.folder / "audit", writer, admin.store)
            newest = await admin.store.read(head_of)
            async with trio.open_nursery() as nursery:
                await nursery.start(log.serve)
                applied = RealmApplied(
                    about=Facts(at=wall_clock(), kdc_id=writer), admin_seq=newest.seq, admin_hash=newest.hash
                )
                await log.record(applied).wait()
                log.close()

        self.administer(work)

    def fill_segments(self, writer: str = "kdc-1") -> None:
        """As a KDC does that runs for days in which nothing is changed."""

        async def work(admin: Admin) -> None:
            log = AuditLog(self.folder / "audit", writer, admin.store, segment_bytes=1)
            async with trio.open_nursery() as nursery:
                await nursery.start(log.serve)
                for _ in range(3):
                    await log.record(
                        RequestRejected(about=SenderFacts(at=wall_clock(), kdc_id=writer), code="malformed")
                    ).wait()
                log.close()

        self.administer(work)

    def may_serve(self) -> bool:
        async def work(admin: Admin) -> bool:
            try:
                said = latest_applied(self.folder / "audit")
                await admin.store.read(lambda tx: require_not_behind(tx, said))
            except Misconfigured as error:
                return error.code != "database-behind"
            return True

        return self.administer(work)

    def back_up(self) -> Path:
        copy = self.folder.with_name("backup.db")
        with closing(sqlite3.connect(self.folder / "kdc.db")) as source:
            source.execute(f"VACUUM INTO '{copy}'")
        copy.chmod(0o600)
        return copy

    def restore(self, copy: Path) -> None:
        for suffix in ("-wal", "-shm"):
            (self.folder / f"kdc.db{suffix}").unlink(missing_ok=True)
        copy.replace(self.folder / "kdc.db")

    def run(self, *words: str) -> int:
        return main([*words, "--config", str(self.folder / "kdc.toml")])


@pytest.fixture
def realm(tmp_path: Path) -> Realm:
    return Realm(tmp_path / "realm")


@pytest.fixture
def behind(realm: Realm) -> tuple[Realm, int]:
    """A restored backup, and the uid of a principal that was added after it was made."""
    realm.add("billing")
    realm.take_into_force()
    copy = realm.back_up()
    lost = realm.add("mallory")
    realm.take_into_force()
    realm.restore(copy)
    return realm, lost


def test_a_database_that_its_log_knows_may_serve(realm: Realm) -> None:
    assert realm.may_serve()  # before any KDC has said anything
    for name in ("billing", "orders"):
        realm.take_into_force()
        realm.add(name)
        assert realm.may_serve()


@pytest.mark.parity("O5")
def test_what_a_kdc_said_last_is_not_archived(realm: Realm, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else no folder of the KDC would say that a backup is behind, and uids would be given twice."""
    realm.add("billing")
    realm.take_into_force()
    copy = realm.back_up()
    realm.add("mallory")
    realm.fill_segments()
    realm.take_into_force()
    realm.fill_segments()
    (tmp_path / "archive").mkdir()
    moved = realm.administer(lambda admin: audit_logs.archive(admin, realm.folder / "audit", tmp_path / "archive"))
    assert moved
    assert realm.may_serve()
    realm.restore(copy)
    assert not realm.may_serve()
    assert realm.run("serve") == 1
    assert "code: database-behind" in capsys.readouterr().err
    assert realm.run("restored") == 0


def test_a_restored_backup_does_not_serve(behind: tuple[Realm, int], capsys: pytest.CaptureFixture[str]) -> None:
    """What its KDC had in force is undone: a disabled principal could go on, and nobody would know."""
    realm, _ = behind
    assert not realm.may_serve()
    assert realm.run("serve") == 1
    told = capsys.readouterr().err
    assert "kdc-1 has decided by change 3, and the database ends with change 2" in told
    assert "`orthros-kdc restored --config FILE`" in told


def test_changes_after_the_restore_do_not_hide_it(behind: tuple[Realm, int]) -> None:
    """Then the numbers agree again, and the hashes do not."""
    realm, _ = behind
    for name in ("one", "two", "three"):
        realm.add(name)
    assert not realm.may_serve()


def test_a_declaration_ends_the_refusal_and_no_uid_is_given_twice(
    behind: tuple[Realm, int], capsys: pytest.CaptureFixture[str]
) -> None:
    realm, lost = behind
    before = int(time.time())
    assert realm.run("restored") == 0
    told = capsys.readouterr().out
    assert "realm corp.example is the restored database from now on; it ends with change 2\n" in told
    assert "undone: kdc-1 had change 3 in force since " in told
    assert realm.administer(lambda admin: admin.store.read(lambda tx: tx.not_before())) >= before + 1
    assert realm.may_serve()
    assert realm.add("carol") > lost
    assert realm.add("dave") > lost
    realm.take_into_force()
    assert realm.may_serve()
    assert [one.writer for one in latest_applied(realm.folder / "audit")] == ["kdc-1"]


def test_each_writers_word_is_held_against_the_database(behind: tuple[Realm, int]) -> None:
    """Another KDC, which has started on the backup, does not speak for the one that had more in force."""
    realm, _ = behind
    realm.take_into_force("kdc-2")
    assert not realm.may_serve()
    assert realm.run("restored") == 0
    assert realm.may_serve()


def test_a_second_restore_is_found_again(behind: tuple[Realm, int]) -> None:
    realm, _ = behind
    assert realm.run("restored") == 0
    realm.take_into_force()
    copy = realm.back_up()
    lost = realm.add("erin")
    realm.take_into_force()
    realm.restore(copy)
    assert not realm.may_serve()
    assert realm.run("restored") == 0
    assert realm.add("frank") > lost
    assert realm.may_serve()


def test_there_is_nothing_to_declare_without_a_restore(realm: Realm, capsys: pytest.CaptureFixture[str]) -> None:
    realm.take_into_force()
    assert realm.run("restored") == 1
    assert "code: conflict" in capsys.readouterr().err


def test_the_proof_of_the_logs_knows_what_was_declared(behind: tuple[Realm, int]) -> None:
    """`audit verify` names the undone change until an operator has declared it."""
    from orthros_kdc.admin import audit_logs

    realm, _ = behind

    def problems() -> list[object]:
        reports = realm.administer(lambda admin: audit_logs.verify(admin, realm.folder / "audit"))
        return [report.problem for report in reports]

    assert any(problems())
    assert realm.run("restored") == 0
    realm.take_into_force()
    assert not any(problems())
