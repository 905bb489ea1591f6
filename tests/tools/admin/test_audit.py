"""The audit log from the command line: what stands in it, what follows, and what happens when a byte is changed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from orthros_kdc.audit.chain import Head, append, genesis
from orthros_kdc.audit.chain_file import ChainFile
from orthros_kdc.store.base import AuditAnchor
from orthros_protocol.errors import Misconfigured
from tests.tools.admin.bench import AdminBench, now_ms

SCRIPT = os.fspath(Path(sys.executable).with_name("orthros-admin"))


def test_each_change_is_one_entry_in_the_name_of_its_actor(bench: AdminBench) -> None:
    bench.ok("--actor ada principal add billing")
    bench.ok("principal disable billing --actor grace")
    rows = bench.rows("audit tail")
    assert [(row["change"], row["facts"].get("actor")) for row in rows[-2:]] == [
        ("principal.added", "ada"),
        ("principal.disabled", "grace"),
    ]
    assert {"writer", "event", "at", "seq", "hash"} <= rows[-1].keys()
    assert bench.ok("audit tail -n 1").out.endswith(
        "  admin  admin-changed  change=principal.disabled actor=grace principal=billing uid=16\n"
    )


def test_looking_leaves_no_entry(bench: AdminBench) -> None:
    bench.add("billing")
    before = bench.snapshot()
    for line in ("principal list", "principal show billing", "key list billing", "group list", "policy list",
                 "policy explain billing billing", "realm show", "audit tail", "audit verify"):  # fmt: skip
        bench.run(line)
    assert bench.snapshot() == before


def test_only_entries_of_one_event(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders")
    assert [row["target"] for row in bench.rows("audit tail --event tgs-refused")] == ["orders@corp.example"]
    assert [row["facts"]["principal"] for row in bench.rows("audit tail --event principal.added -n 1")] == ["orders"]
    assert [row["facts"]["principal"] for row in bench.rows("audit tail --event principal.added")] == [
        "billing",
        "orders",
    ]
    assert bench.ok("audit tail --event jwt.rotated").out == "no such entry\n"
    assert bench.run("audit tail --event nonsense").code == 1
    assert "no code of a refusal" in bench.run("audit tail --code nonsense").err


def test_rare_event_is_found_far_back(bench: AdminBench) -> None:
    bench.add("billing")
    for number in range(9):
        bench.ok(f"principal limit billing --max-ticket-s {number + 1} --quiet")
    assert len(bench.rows("audit tail -n 1 --event realm.initialised")) == 1
    assert len(bench.rows("audit tail -n 3 --event principal.capped")) == 3


def test_following_hands_out_each_new_entry_once(bench: AdminBench) -> None:
    bench.add("billing")
    command = [SCRIPT, "audit", "tail", "--follow", "-n", "1", "--output", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["change"] == "principal.added"
        bench.ok("principal disable billing")
        bench.ok("principal enable billing")
        assert json.loads(following.stdout.readline())["change"] == "principal.disabled"
        assert json.loads(following.stdout.readline())["change"] == "principal.enabled"
        following.send_signal(signal.SIGINT)
        rest, complaints = following.communicate(timeout=30)
    assert (rest, complaints, following.returncode) == ("", "", 0)


def test_untouched_log_is_proven(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders")
    rows = bench.rows("audit verify")
    assert [(row["writer"], row["entries"], row["problem"]) for row in rows] == [("admin", 3, None), ("kdc-1", 4, None)]
    assert bench.ok("audit verify").out.splitlines()[0].split() == [
        "WRITER", "ENTRIES", "UNANCHORED", "PROBLEM", "LINE", "DETAIL",
    ]  # fmt: skip


@pytest.mark.parametrize("line", [1, 2, 3])
def test_one_changed_byte_is_found_and_located(bench: AdminBench, line: int) -> None:
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders")
    file = bench.kdc_file
    lines = file.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b"kdc-1", b"kdc-i")
    file.write_bytes(b"".join(lines))
    told = bench.run("audit verify --output json")
    assert (told.code, told.error["code"]) == (1, "audit-broken")
    assert [(row["problem"], row["line"]) for row in told.rows] == [(None, None), ("edited", line)]
    assert bench.run("audit verify").err.startswith("orthros-admin: The audit log does not match its hash chain")
    assert "unreadable" in bench.ok("audit tail").out


def test_cut_end_and_lost_file_are_found(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders")
    file = bench.kdc_file
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:-1]))
    assert bench.run("audit verify --output json").rows[1]["problem"] == "truncated"
    file.rename(bench.folder / "moved")
    assert bench.run("audit verify --output json").rows[1]["problem"] == "missing"
    (bench.folder / "moved").rename(file)


@pytest.mark.parity("O5")
def test_a_damaged_log_ends_nothing_but_its_own_kdc(bench: AdminBench) -> None:
    """Administration goes on, `principal disable` above all; the KDC needs a person, whose name is on record."""
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders")
    file = bench.kdc_file
    content = file.read_bytes()
    other = b"1" if content[-30:-29] == b"0" else b"0"
    file.write_bytes(content[:-30] + other + content[-29:])
    bench.ok("principal disable billing")
    with pytest.RaisesGroup(pytest.RaisesExc(Misconfigured, match="audit-broken"), flatten_subgroups=True):
        bench.kdc_rejects_bytes()
    assert bench.run("audit restart kdc-1 --reason", secret=False).code == 1
    bench.ok("--actor ada audit restart kdc-1 --reason 'a byte of the disk has flipped'")
    assert bench.kdc_rejects_bytes()
    rows = {row["writer"]: row for row in bench.rows("audit verify")}
    assert {name: row["problem"] for name, row in rows.items()} == {
        "admin": None, "kdc-1 to 4": "edited", "kdc-1": None,
    }  # fmt: skip
    assert "restarted by ada: a byte of the disk has flipped" in rows["kdc-1 to 4"]["detail"]
    # What is damaged after that is news.
    file.write_bytes(file.read_bytes().replace(b"tgs-refused", b"tgs-refusal"))
    assert bench.run("audit verify").code == 1
    assert bench.run("audit restart kdc-1 --reason again").code == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_into_the_audit_folder_belongs_to_the_kdcs_user(bench: AdminBench) -> None:
    """Else the KDC, which is another user, cannot open the segment with which it is to go on."""
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders")
    folder = bench.kdc_file.parent
    bench.kdc_file.unlink()
    os.chown(folder, 65534, 65533)
    bench.ok("audit restart kdc-1 --reason 'the folder was deleted'")
    assert {(file.stat().st_uid, file.stat().st_gid) for file in folder.glob("kdc-1.*")} == {(65534, 65533)}


def test_a_lost_log_can_be_begun_anew(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders")
    bench.kdc_file.unlink()
    with pytest.RaisesGroup(pytest.RaisesExc(Misconfigured, match="audit-broken"), flatten_subgroups=True):
        bench.kdc_rejects_bytes()
    bench.ok("audit restart kdc-1 --reason 'the folder was deleted'")
    assert bench.kdc_rejects_bytes()
    bench.ok("audit verify")


def test_a_chain_is_not_begun_anew_under_a_running_kdc(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders")
    (end,) = (row for row in bench.rows("audit verify") if row["writer"] == "kdc-1")
    before = bench.snapshot()
    with ChainFile.open(bench.audit, "kdc-1", AuditAnchor(writer="kdc-1", seq=end["entries"], head=end["head"])):
        told = bench.run("audit restart kdc-1 --reason impatience --output json")
    assert (told.code, told.error["code"]) == (1, "wrong-state")
    assert "stop that KDC, then run this command again" in told.error["detail"]
    assert bench.snapshot() == before


@pytest.mark.parity("O5")
def test_a_beginning_that_no_administrator_recorded_is_found(bench: AdminBench) -> None:
    """Whether the line is forged or its writer was killed, the KDC does not go on from it."""
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders", stop=True)
    (end,) = (row for row in bench.rows("audit verify") if row["writer"] == "kdc-1")
    line, _ = append(Head(end["entries"], end["head"]), {"event": "chain-restarted", "at": now_ms(), "evidence": {}})
    (bench.audit / "kdc-1.000002.jsonl").write_bytes(line)
    told = bench.run("audit verify --output json")
    assert (told.code, told.rows[1]["problem"], told.rows[1]["line"]) == (1, "remade", end["entries"] + 1)
    with pytest.RaisesGroup(pytest.RaisesExc(Misconfigured, match=r"audit-broken.*on record"), flatten_subgroups=True):
        bench.kdc_rejects_bytes()
    bench.ok("audit restart kdc-1 --reason 'the line was forged'")
    assert bench.kdc_rejects_bytes()
    bench.ok("audit verify")


@pytest.mark.parity("O5")
def test_the_segment_that_begins_a_new_chain_is_not_archived(bench: AdminBench) -> None:
    """Without its first line the damaged chain before it would be news again."""
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders", stop=True)
    bench.kdc_file.write_bytes(bench.kdc_file.read_bytes().replace(b"tgs-refused", b"tgs-refusal"))
    bench.ok("audit restart kdc-1 --reason damaged")
    for _ in range(3):
        bench.kdc_refuses("billing", "orders", stop=True)
    (bench.folder / "archive").mkdir()
    assert [row["segment"] for row in bench.rows("audit archive --to archive")] == [3]
    bench.ok("audit verify")
    bench.ok("audit verify --also archive")


@pytest.mark.parity("O5")
def test_the_two_records_check_each_other(bench: AdminBench) -> None:
    """Who writes to the database can make its record anew, but not what the KDCs wrote down of it."""
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders")
    bench.ok("audit verify")
    with closing(sqlite3.connect(bench.folder / "realm" / "kdc.db")) as connection:
        connection.execute("DROP TRIGGER admin_log_kept")
        connection.execute("DELETE FROM admin_log WHERE seq = 3")
        connection.commit()
    told = bench.run("audit verify --output json")
    assert (told.code, told.rows[0]["problem"], told.rows[0]["line"]) == (1, "truncated", 3)
    bench.ok("group add front")
    told = bench.run("audit verify --output json")
    assert (told.code, told.rows[0]["problem"], told.rows[0]["line"]) == (1, "remade", 3)


@pytest.mark.parity("O5")
def test_an_invented_writer_and_forged_lines_are_found(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders")
    forged, _ = append(genesis("kdc-7"), {"event": "as-issued", "at": 1, "client": "billing"})
    (bench.audit / "kdc-7.000001.jsonl").write_bytes(forged)
    told = bench.run("audit verify --output json")
    assert (told.code, told.rows[2]["writer"], told.rows[2]["problem"]) == (1, "kdc-7", "unknown-writer")


@pytest.mark.parity("O5")
def test_old_segments_are_archived_and_still_proven(bench: AdminBench) -> None:
    """Whole with the archive, and by the stubs without it; a stub that nobody recorded is worth nothing."""
    bench.add("billing", "orders")
    for _ in range(3):
        bench.kdc_refuses("billing", "orders", stop=True)
    (bench.folder / "archive").mkdir()
    moved = bench.rows("audit archive --to archive")
    assert [(row["writer"], row["segment"]) for row in moved] == [("kdc-1", 1), ("kdc-1", 2)]
    assert sorted(path.name for path in bench.audit.iterdir()) == [
        "kdc-1.000001.archived", "kdc-1.000002.archived", "kdc-1.000003.jsonl",
    ]  # fmt: skip
    assert bench.rows("audit archive --to archive") == []
    bench.ok("audit verify")
    bench.ok("audit verify --also archive")
    assert bench.rows("audit tail --event audit.archived -n 1")[0]["facts"]["segment"] == 2
    archived = bench.folder / "archive" / "kdc-1.000002.jsonl"
    archived.write_bytes(archived.read_bytes().replace(b"billing", b"balling"))
    assert bench.run("audit verify --also archive").code == 1
    stub = bench.audit / "kdc-1.000002.archived"
    stub.write_text(stub.read_text().replace('"sha256": "', '"sha256": "0'))
    assert bench.run("audit verify --output json").rows[1]["problem"] == "missing"


@pytest.mark.parity("O5")
def test_a_link_in_the_archive_leads_to_no_other_file(bench: AdminBench) -> None:
    """Who may write to the archive's folder may not say which file of an administrator is overwritten."""
    bench.add("billing", "orders")
    for _ in range(2):
        bench.kdc_refuses("billing", "orders", stop=True)
    archive, other = bench.folder / "archive", bench.folder / "other"
    archive.mkdir()
    other.write_text("kept")
    for name in ("kdc-1.000001.jsonl.part", "kdc-1.000001.jsonl.1.part"):
        (archive / name).symlink_to(other)
    assert len(bench.rows("audit archive --to archive")) == 1
    assert other.read_text() == "kept"
    copy = archive / "kdc-1.000001.jsonl"
    assert (copy.is_symlink(), copy.stat().st_mode & 0o777) == (False, 0o600)
    assert not list(archive.glob("*.1.part"))
    bench.ok("audit verify --also archive")


@pytest.mark.parity("O5")
def test_a_link_that_stands_for_the_copy_is_none(bench: AdminBench) -> None:
    """It may lead to the segment itself, which goes when its copy is there."""
    bench.add("billing", "orders")
    for _ in range(2):
        bench.kdc_refuses("billing", "orders", stop=True)
    segment = bench.audit / "kdc-1.000001.jsonl"
    (bench.folder / "archive").mkdir()
    (bench.folder / "archive" / segment.name).symlink_to(segment)
    assert bench.run("audit archive --to archive --output json").error["code"] == "file-unreadable"
    assert segment.exists()
    bench.ok("audit verify")


@pytest.mark.parity("O5")
@pytest.mark.parametrize("change", ["edited", "cut", "remade"])
def test_a_changed_segment_is_not_archived(bench: AdminBench, change: str) -> None:
    """Administration would put the hash of the changed file on record, and what was changed would be proven."""
    bench.add("billing", "orders")
    for _ in range(2):
        bench.kdc_refuses("billing", "orders", stop=True)
    (bench.folder / "archive").mkdir()
    segment = bench.audit / "kdc-1.000001.jsonl"
    lines = segment.read_bytes().splitlines(keepends=True)
    if change == "edited":
        lines[1] = lines[1].replace(b"kdc-1", b"kdc-2")
    elif change == "cut":
        lines = [lines[0], *lines[2:]]
    else:  # a chain that agrees with itself, of as many lines
        head, made = genesis("kdc-1"), []
        for line in lines:
            fields = {name: value for name, value in json.loads(line).items() if name not in ("seq", "prev", "hash")}
            again, head = append(head, fields | {"kdc_id": "kdc-2"})
            made.append(again)
        lines = made
    segment.write_bytes(b"".join(lines))
    assert bench.run("audit archive --to archive --output json").error["code"] == "audit-broken"
    assert segment.exists()
    assert list((bench.folder / "archive").iterdir()) == []
    assert bench.run("audit verify").code == 1


def test_the_record_is_exported_and_followed(bench: AdminBench) -> None:
    bench.add("billing")
    assert [json.loads(line)["seq"] for line in bench.ok("audit export").out.splitlines()] == [1, 2]
    assert bench.rows("audit export --to record.jsonl")[0]["added"] == 2
    bench.add("orders")
    assert bench.rows("audit export --to record.jsonl")[0]["added"] == 1
    assert len((bench.folder / "record.jsonl").read_bytes().splitlines()) == 3
    (bench.folder / "other.jsonl").write_bytes(append(genesis("admin"), {"event": "a"})[0])
    assert bench.run("audit export --to other.jsonl --output json").error["code"] == "audit-broken"


@pytest.mark.parity("K17", "B2")
def test_only_entries_about_somebody_and_since(bench: AdminBench) -> None:
    bench.add("billing", "orders", "ledger")
    bench.kdc_refuses("billing", "orders")
    bench.kdc_refuses("orders", "ledger")
    assert [row["client"] for row in bench.rows("audit tail --client billing")] == ["billing", "billing"]
    assert [row["client"] for row in bench.rows("audit tail --target ledger@corp.example")] == ["orders"]
    assert [row["target"] for row in bench.rows("audit tail --code not-granted --client billing")] == [
        "orders@corp.example"
    ]
    assert bench.rows("audit tail --since 2999-01-01T00:00:00Z") == []
    assert len(bench.rows("audit tail --since 1h --client orders")) == 2
    told = bench.run("audit tail --since yesterday --output json")
    assert told.code == 1
    assert "write 90, 90s, 15m, 1h or 30d, or a time such as 2027-01-31T10:00:00Z" in told.error["detail"]


def test_entry_cannot_steer_the_terminal(bench: AdminBench) -> None:
    bench.kdc_rejects_bytes()
    bench.kdc_file.write_bytes(bench.kdc_file.read_bytes().replace(b"request-rejected", b"\x1b[2J\x07rewritten"))
    assert "\x1b" not in bench.ok("audit tail").out


@pytest.mark.parametrize("line", ["audit tail", "audit verify", f"explain {'0' * 16}"])
def test_missing_folder_is_said(bench: AdminBench, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("ORTHROS_AUDIT_DIRECTORY", os.fspath(bench.folder / "nowhere"))
    told = bench.run(f"{line} --output json")
    assert (told.code, told.error["code"]) == (1, "file-unreadable")


def test_a_change_past_this_program_is_reported_and_can_be_accepted(bench: AdminBench) -> None:
    bench.add("billing")
    refused = bench.run("audit restart admin --reason nothing --output json")
    assert (refused.code, refused.error["code"]) == (1, "wrong-state")
    with closing(sqlite3.connect(bench.folder / "realm" / "kdc.db")) as connection, connection:
        connection.execute("UPDATE principals SET disabled = 1")
        connection.execute("UPDATE meta SET change_seq = change_seq + 1, seq = seq + 1")
        connection.execute("INSERT INTO changes SELECT change_seq, 'principal', '16 billing' FROM meta")
    told = bench.run("audit verify")
    assert (told.code, "unrecorded" in told.out, "code: audit-broken" in told.err) == (1, True, True)
    bench.ok("principal enable billing")
    assert bench.run("audit verify").code == 1
    (row,) = bench.rows("audit restart admin --reason 'by hand, ticket 7'")
    assert (row["writer"], row["file"]) == ("admin", None)
    assert bench.ok("audit verify").out.count("unrecorded") == 0
    assert "reason='by hand, ticket 7'" in bench.ok("audit tail -n 1").out


def test_a_restart_of_a_log_that_never_was_names_those_that_are(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    bench.kdc_refuses("billing", "orders")
    refused = bench.run("audit restart kdc-2 --reason typo --output json")
    assert (refused.code, json.loads(refused.err)["error"]["code"]) == (5, "not-found")
    assert "the logs on record: kdc-1" in refused.err
