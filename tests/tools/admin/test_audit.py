"""The audit log from the command line: what stands in it, what follows, and what happens when a byte is changed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.admin.bench import AdminBench

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
    assert [(row["writer"], row["entries"], row["problem"]) for row in rows] == [("admin", 3, None), ("kdc-1", 2, None)]
    assert bench.ok("audit verify").out.splitlines()[0].split() == [
        "WRITER", "ENTRIES", "UNANCHORED", "PROBLEM", "LINE", "DETAIL",
    ]  # fmt: skip


@pytest.mark.parametrize("line", [1, 2, 3])
def test_one_changed_byte_is_found_and_located(bench: AdminBench, line: int) -> None:
    bench.add("billing", "orders")
    lines = bench.audit_file.read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b"admin-changed", b"admin-chanGed")
    bench.audit_file.write_bytes(b"".join(lines))
    told = bench.run("audit verify --output json")
    assert (told.code, told.error["code"]) == (1, "audit-broken")
    assert [(row["problem"], row["line"]) for row in told.rows] == [("edited", line)]
    assert bench.run("audit verify").err.startswith("orthros-admin: The audit log does not match its hash chain")
    assert "unreadable" in bench.ok("audit tail").out


def test_cut_end_and_lost_file_are_found(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    lines = bench.audit_file.read_bytes().splitlines(keepends=True)
    bench.audit_file.write_bytes(b"".join(lines[:-1]))
    assert bench.run("audit verify --output json").rows[0]["problem"] == "truncated"
    bench.audit_file.rename(bench.folder / "moved")
    assert bench.run("audit verify --output json").rows[0]["problem"] == "missing"
    (bench.folder / "moved").rename(bench.audit_file)


def test_nothing_is_changed_behind_a_broken_log(bench: AdminBench) -> None:
    bench.add("billing")
    content = bench.audit_file.read_bytes()
    other = b"1" if content[-30:-29] == b"0" else b"0"
    bench.audit_file.write_bytes(content[:-30] + other + content[-29:])
    before = bench.snapshot()
    told = bench.run("principal add orders --output json")
    assert (told.code, told.error["code"]) == (1, "audit-broken")
    assert bench.files() == {"billing.key"}
    assert bench.snapshot() == before


def test_entry_cannot_steer_the_terminal(bench: AdminBench) -> None:
    line = bench.audit_file.read_bytes().replace(b"realm.initialised", b"\x1b[2J\x07rewritten")
    bench.audit_file.write_bytes(line)
    assert "\x1b" not in bench.ok("audit tail").out


@pytest.mark.parametrize("line", ["audit tail", "audit verify", f"explain {'0' * 16}"])
def test_missing_folder_is_said(bench: AdminBench, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("ORTHROS_AUDIT_DIRECTORY", os.fspath(bench.folder / "nowhere"))
    told = bench.run(f"{line} --output json")
    assert (told.code, told.error["code"]) == (1, "file-unreadable")
