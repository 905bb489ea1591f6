"""The KDC as a process: killed in the middle of its work, told to drain, told to reload, started with wrong files."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from orthros_kdc.audit.chain import append, genesis
from orthros_kdc.realm.master_key import MasterKey
from orthros_protocol.exchanges.as_exchange import AsReply, PendingAs, build_as_request, open_as_reply
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.primitives.names import KDC_TGT
from tests.support.processes import Estate, eventually, file_hashes
from workshop.stage import Process

DEADLINE_S = 15.0


class Caller:
    """A principal that talks to the KDC by itself, over one connection, as fast as it likes."""

    def __init__(self, estate: Estate, name: str = "shop") -> None:
        self.key = Keytab.load(estate.key_file(f"{name}.key")).as_key()
        self._socket = socket.create_connection(("127.0.0.1", estate.kdc_port), DEADLINE_S)
        self._reader = FrameReader()

    def ask(self) -> PendingAs:
        now = Timestamp(time.time_ns() // 1_000_000)
        return build_as_request(
            self.key, service=KDC_TGT, ttl_s=0, instance=os.urandom(16), now=now, nonce=os.urandom(16)
        )

    def send(self, *requests: PendingAs) -> None:
        self._socket.sendall(b"".join(frame(request.message) for request in requests))

    def receive(self) -> bytes | None:
        """The next answer, or None at the end of the connection."""
        while True:
            for message in self._reader.messages():
                return message
            data = self._socket.recv(65536)
            if not data:
                return None
            self._reader.feed(data)

    def log_in(self) -> AsReply:
        request = self.ask()
        self.send(request)
        answer = self.receive()
        if answer is None:
            raise ConnectionError("the KDC hung up")
        return open_as_reply(request, self.key, answer)

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def check_store(estate: Estate) -> None:
    """The database is whole, the audit chains hold, and an admin can work."""
    with sqlite3.connect(estate.folder / "kdc" / "kdc.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
    database.close()
    reports = json.loads(estate.admin("--output json audit verify").require().out)
    assert {report["writer"] for report in reports} == {"admin", "kdc-1"}
    assert [report["problem"] for report in reports] == [None, None]
    names = [row["name"] for row in json.loads(estate.admin("--output json principal list").require().out)]
    assert names == ["ledger", "orders", "shop", "spy"]


def test_kdc_killed_in_the_middle_of_traffic_comes_back_whole(estate: Estate) -> None:
    for _ in range(2):
        kdc = estate.start_kdc()
        answered: list[AsReply] = []

        def hammer(answered: list[AsReply] = answered) -> None:
            try:
                with Caller(estate) as caller:
                    while True:
                        answered.append(caller.log_in())
            except OSError:  # the KDC is gone
                return

        callers = [threading.Thread(target=hammer) for _ in range(4)]
        for thread in callers:
            thread.start()
        eventually(partial(answered.__getitem__, slice(200, None)), "traffic")
        kdc.kill()
        for thread in callers:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
    estate.start_kdc()
    check_store(estate)
    with Caller(estate) as caller:
        assert caller.log_in().ticket
    assert estate.kdc is not None
    assert estate.kdc.stop() == 0
    check_store(estate)


def test_a_kdc_whose_database_was_replaced_does_not_go_on(estate: Estate) -> None:
    """What admins change is in the new file: a KDC that went on with the old one would still serve who is disabled."""
    kdc = estate.start_kdc()
    database = estate.folder / "kdc" / "kdc.db"
    copy = database.with_name("copy.db")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.chmod(0o600)
    for suffix in ("-wal", "-shm"):
        database.with_name(f"kdc.db{suffix}").unlink()
    copy.replace(database)
    estate.admin("principal disable shop").require()
    assert kdc.ends(DEADLINE_S)
    assert kdc.popen.returncode == 1
    assert "code: database-replaced" in kdc.errors()
    estate.start_kdc()
    with Caller(estate) as caller, pytest.raises(KdcRefusal, match="principal-disabled"):
        caller.log_in()


def _without_master_key(folder: Path) -> None:
    (folder / "master.key").unlink()


def _with_another_master_key(folder: Path) -> None:
    (folder / "master.key").write_text(MasterKey(bytes(range(32)), number=1).to_text() + "\n")


def _with_a_damaged_master_key(folder: Path) -> None:
    text = (folder / "master.key").read_text()
    (folder / "master.key").write_text(text[:30] + ("a" if text[30] != "a" else "b") + text[31:])


def _with_a_readable_master_key(folder: Path) -> None:
    (folder / "master.key").chmod(0o644)


def _with_a_newer_database(folder: Path) -> None:
    database = sqlite3.connect(folder / "kdc.db")
    database.execute("PRAGMA user_version = 999")
    database.close()


def _with_a_damaged_database(folder: Path) -> None:
    content = bytearray((folder / "kdc.db").read_bytes())
    content[:16] = bytes(16)
    (folder / "kdc.db").write_bytes(content)


def _with_a_shortened_audit_log(folder: Path) -> None:
    head = append(genesis("kdc-1"), {"event": "as-issued", "at": 1})[1]
    (folder / "audit" / "kdc-1.000001.jsonl").write_bytes(append(head, {"event": "as-issued", "at": 2})[0])


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (_without_master_key, "master-key-missing"),
        (_with_another_master_key, "master-key-wrong"),
        (_with_a_damaged_master_key, "master-key-invalid"),
        (_with_a_readable_master_key, "key-file-unsafe"),
        (_with_a_newer_database, "database-newer"),
        (_with_a_damaged_database, "database-invalid"),
        (_with_a_shortened_audit_log, "audit-broken"),
    ],
)
def test_kdc_and_admin_refuse_to_start_and_change_nothing(
    estate: Estate, spoil: Callable[[Path], None], code: str
) -> None:
    folder = estate.folder / "kdc"
    spoil(folder)
    before = file_hashes(folder)
    commands = [f"orthros-kdc serve --config {folder}/kdc.toml"]
    commands += [f"orthros-admin --config {folder}/kdc.toml principal list"] if code != "audit-broken" else []
    for outcome in estate.run_all(commands):
        assert (outcome.code, outcome.out) == (1, ""), outcome
        assert outcome.err.splitlines()[-1] == f"code: {code}"
        assert "\nremedy: " in outcome.err
        assert "Traceback" not in outcome.err
    assert file_hashes(folder) == before


def test_sigterm_drains_what_was_sent_before_it(estate: Estate) -> None:
    kdc = estate.start_kdc()
    with Caller(estate) as caller, Caller(estate) as idle:
        idle.log_in()
        requests = [caller.ask() for _ in range(100)]
        # Stopped, so that requests and signal are there at the same moment when it goes on.
        kdc.send(signal.SIGSTOP)
        caller.send(*requests)
        kdc.send(signal.SIGTERM)
        kdc.send(signal.SIGCONT)
        for request in requests:
            answer = caller.receive()
            assert answer is not None, "a request without an answer"
            assert open_as_reply(request, caller.key, answer).ttl_s
        assert caller.receive() is None
        assert idle.receive() is None
    assert kdc.ends(DEADLINE_S)
    assert kdc.popen.returncode == 0
    assert "orthros-kdc stopped" in kdc.errors()
    assert not (estate.folder / "kdc.sock").exists()
    with pytest.raises(ConnectionRefusedError):
        Caller(estate)
    events = [row["event"] for row in json.loads(estate.admin("--output json audit tail -n 200").require().out)]
    assert events.count("as-issued") == 101
    assert events[-1] == "kdc-stopped"


def be_impatient(process: Process) -> None:
    """SIGTERM, and then every signal again and again, until the process has ended.

    The last of them may meet an interpreter that is already on its way out, so the exit code says nothing.
    """
    numbers = itertools.cycle((signal.SIGHUP, signal.SIGTERM, signal.SIGINT))
    process.send(signal.SIGTERM)
    deadline = time.monotonic() + DEADLINE_S
    while not process.ends(0.002):
        assert time.monotonic() < deadline
        process.send(next(numbers))


def test_more_signals_do_not_cut_the_drain_short(estate: Estate) -> None:
    kdc = estate.start_kdc()
    daemon = estate.start_daemon()
    estate.client().credentials("orders")
    cache = estate.folder / "shop.cache"
    eventually(cache.exists, "the daemon's cache file")
    cache.unlink()
    with Caller(estate) as caller:
        caller.log_in()
        be_impatient(daemon)
        assert cache.exists(), "what the daemon held was saved"
        assert not (estate.folder / "shop.sock").exists()
        be_impatient(kdc)
    # What an interpreter that is interrupted while it exits has to say may follow.
    assert "orthros-kdc stopped" in kdc.errors().splitlines()
    newest = json.loads(estate.admin("--output json audit tail -n 1").require().out)
    assert [row["event"] for row in newest] == ["kdc-stopped"]


def test_sighup_reloads_what_may_change_and_nothing_bad(estate: Estate) -> None:
    kdc = estate.start_kdc()
    good = estate.config.read_text("utf-8")

    def reload(text: str) -> dict[str, object]:
        """Writes the configuration, sends SIGHUP, and returns the line of the log that answers it."""
        known = len(kdc.errors().splitlines())
        estate.config.write_text(text, encoding="utf-8")
        kdc.send(signal.SIGHUP)
        lines = eventually(
            lambda: [line for line in kdc.errors().splitlines()[known:] if "reloaded" in line], "an answer to SIGHUP"
        )
        said: dict[str, object] = json.loads(lines[0])
        return said

    said = reload(good + '\n[log]\nlevel = "debug"\n\n[limits]\nidle_deadline_s = 7\n')
    assert said["event"] == "configuration reloaded"
    assert said["needs_restart"] == []

    said = reload(good.replace("kdc.db", "other.db"))
    assert said["needs_restart"] == ["store.path"]

    said = reload(good + "\n[limits]\nmax_connections = 0\n")
    assert said["event"] == "configuration not reloaded"
    assert said["code"] == "config-invalid"
    assert "max_connections" in str(said["detail"])

    with Caller(estate) as caller:
        assert caller.log_in().ticket
    assert kdc.stop() == 0


def test_daemon_drains_and_reloads(estate: Estate) -> None:
    estate.start_kdc()
    daemon = estate.start_daemon()
    estate.client().credentials("orders")
    config = estate.folder / "shop.toml"
    good = config.read_text("utf-8")

    def reload(text: str) -> str:
        known = len(daemon.errors().splitlines())
        config.write_text(text, encoding="utf-8")
        daemon.send(signal.SIGHUP)
        lines = eventually(
            lambda: [line for line in daemon.errors().splitlines()[known:] if "reload" in line], "an answer to SIGHUP"
        )
        return str(lines[0])

    assert "event=reloaded" in reload(good + "idle_connection_s = 9\n")
    refused = reload(good + "no_such_setting = 9\n")
    assert "reload refused" in refused
    assert "no_such_setting" in refused
    assert estate.client().credentials("orders", ["read"]).scopes == ("read",)

    assert daemon.stop() == 0
    assert not (estate.folder / "shop.sock").exists()
    # What it held comes back with it, although nobody can be asked now.
    assert estate.kdc is not None
    estate.kdc.kill()
    config.write_text(good, encoding="utf-8")
    estate.start_daemon()
    estate.client().close()
    assert estate.orthros("ticket orders --scope read").require().code == 0
