"""Principals: key files that log in, nothing half-written, names that inherit nothing."""

import errno
import os
import re
import stat
import sys
from pathlib import Path

import pytest

from orthros_protocol.keys.keytab import Keytab
from tests.tools.admin.bench import AdminBench


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_added_principal_has_a_key_file_of_its_own_and_a_next_step(bench: AdminBench) -> None:
    told = bench.ok("principal add billing")
    assert told.out == (
        "principal billing@corp.example (uid 16) added, key version 1 written to billing.key\n"
        "next: orthros-admin policy allow billing TARGET --scope SCOPE\n"
    )
    assert mode(bench.folder / "billing.key") == 0o600
    assert str(Keytab.load("billing.key").principal) == "billing@corp.example"
    assert Keytab.load("billing.key").as_key().kvno == 1


def test_slashes_of_a_name_do_not_make_folders(bench: AdminBench) -> None:
    bench.ok("principal add shop/orders")
    assert bench.files() == {"shop-orders.key"}


def test_verify_only_file_cannot_log_in(bench: AdminBench) -> None:
    bench.ok("principal add orders --out full.key --verify-only-out verify.key")
    assert mode(bench.folder / "verify.key") == 0o600
    assert not Keytab.load("full.key").is_verify_only
    assert Keytab.load("verify.key").is_verify_only


def test_a_service_that_only_verifies_leaves_no_other_key_behind(bench: AdminBench) -> None:
    (row,) = bench.rows("principal add orders --verify-only-out verify.key")
    assert (row["key_file"], row["verify_only_file"]) == (None, "verify.key")
    assert bench.files() == {"verify.key"}
    assert Keytab.load("verify.key").is_verify_only
    told = bench.ok("principal add ledger --verify-only-out -", secret=True)
    assert Keytab.from_text(told.out).is_verify_only
    assert "written to standard output" in told.err
    assert bench.files() == {"verify.key"}


def test_limits_are_set_with_the_principal(bench: AdminBench) -> None:
    bench.ok("principal add billing --max-ticket-s 15m --max-jwt-s 90")
    (row,) = bench.rows("principal list")
    assert (row["max_ticket_s"], row["max_jwt_s"]) == (900, 90)


def test_key_goes_to_standard_output_only_when_asked(bench: AdminBench) -> None:
    told = bench.ok("principal add billing --out -", secret=True)
    assert told.out.startswith("ort1k_")
    assert Keytab.from_text(told.out).as_key().kvno == 1
    assert "written to standard output" in told.err
    assert "ort1k_" not in told.err
    assert bench.files() == set()


def test_json_and_a_key_do_not_share_standard_output(bench: AdminBench) -> None:
    before = bench.snapshot()
    told = bench.run("principal add billing --out - --output json")
    assert (told.code, told.out, told.error["code"]) == (1, "", "usage")
    assert bench.snapshot() == before


def test_json_says_what_was_made(bench: AdminBench) -> None:
    (row,) = bench.rows("principal add billing --out b.key --verify-only-out v.key")
    assert row == {"name": "billing", "uid": 16, "kvno": 1, "key_file": "b.key", "verify_only_file": "v.key"}


@pytest.mark.parametrize(
    ("out", "code"),
    [
        ("--out taken.key", "file-exists"),
        ("--out dangling.key", "file-exists"),
        ("--out ''", "file-exists"),
        ("--out realm", "file-exists"),
        ("--out missing/billing.key", "file-unreadable"),
        ("--out taken.key/billing.key", "file-unreadable"),
        ("--out b.key --verify-only-out taken.key", "file-exists"),
        ("--out b.key --verify-only-out missing/v.key", "file-unreadable"),
        ("--out b.key --verify-only-out b.key", "usage"),
        ("--out b.key --verify-only-out realm/../b.key", "usage"),
        ("--out - --verify-only-out -", "usage"),
    ],
)
def test_file_that_cannot_be_written_is_noticed_before_anything_is_made(bench: AdminBench, out: str, code: str) -> None:
    (bench.folder / "taken.key").write_text("precious")
    (bench.folder / "dangling.key").symlink_to("nowhere")
    before, files = bench.snapshot(), bench.files()
    told = bench.run(f"principal add billing {out} --output json".replace("--out - ", "--out - --output table "))
    assert told.code == 1
    assert code in told.err
    assert bench.snapshot() == before
    assert bench.files() == files
    assert (bench.folder / "taken.key").read_text() == "precious"


def test_full_disk_after_the_change_is_answered_with_the_way_out(
    bench: AdminBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "link", no_space)
        told = bench.run("principal add billing")
    assert told.code == 1
    assert re.sub(r"; [0-9]+ of [0-9]+ bytes are free there", "; ... bytes are free there", told.err) == (
        "orthros-admin: The change is stored, but its key could not be written. "
        "(billing.key cannot be written: No space left on device; ... bytes are free there)\n"
        "remedy: Nothing is lost: run `orthros-admin key export billing --out FILE`.\n"
        "code: key-not-written\n"
    )
    assert bench.files() == set()
    bench.ok("key export billing --out billing.key")
    assert Keytab.load("billing.key").as_key().kvno == 1


def test_closed_standard_output_loses_no_key(bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as closed, open("/dev/full", "w", encoding="ascii") as full:
        closed.setattr(sys, "stdout", full)
        told = bench.run("principal add billing --out -")
    assert told.code == 1
    assert "run `orthros-admin key export billing --out FILE`" in told.err
    assert "code: key-not-written" in told.err


@pytest.mark.parametrize(
    ("name", "code"),
    [("Billing", "name-invalid"), ("a..b", "name-invalid"), ("kdc/evil", "conflict"), ("billing", "already-exists")],
)
def test_refused_name_leaves_no_file(bench: AdminBench, name: str, code: str) -> None:
    bench.ok("principal add billing --out first.key")
    before = bench.snapshot()
    told = bench.run(f"principal add {name} --out second.key --output json")
    assert (told.code, told.error["code"]) == (1, code)
    assert bench.files() == {"first.key"}
    assert bench.snapshot() == before


def test_recreated_principal_is_somebody_else(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    bench.ok("group add callers")
    bench.ok("group add-member callers billing")
    bench.ok("policy allow billing orders --scope read --jwt")
    bench.ok("jwt enable billing")
    bench.ok("principal limit billing --max-ticket-s 90")
    bench.ok("principal delete billing --yes")
    (bench.folder / "billing.key").rename(bench.folder / "old.key")
    bench.ok("principal add billing")
    (row,) = bench.rows("principal show billing")
    assert row["uid"] == 18
    assert (row["groups"], row["rules"], row["jwt_keys"], row["jwt_alg"], row["max_ticket_s"]) == (
        [],
        [],
        [],
        None,
        None,
    )
    assert bench.run("policy explain billing orders").code == 3
    assert Keytab.load("old.key").as_key().kid not in {bytes.fromhex(key["kid_as"]) for key in row["keys"]}


def test_shown_principal_has_its_keys_groups_and_rules(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    bench.ok("group add callers")
    bench.ok("group add-member callers billing")
    bench.ok("policy allow group:callers orders --scope read")
    bench.ok("jwt enable billing")
    shown = bench.ok("principal show billing").out.splitlines()
    assert shown[0].startswith("billing (uid 16), enabled, since 20")
    assert shown[1:4] == [
        "limits: tickets without a limit of its own, JWTs without a limit of its own",
        "asks from: anywhere",
        "groups: callers",
    ]
    assert shown[4].startswith("key 1: active, since 20")
    assert shown[5] == "jwt: HS256 for audience billing@corp.example"
    assert shown[7:] == ["oauth: not enabled", "rule 1: group:callers -> orders [read]"]
    assert "no rule names it" not in bench.ok("principal show orders").out


def test_disabled_principal_is_listed_as_such(bench: AdminBench) -> None:
    bench.add("billing")
    assert bench.ok("principal disable billing").out == "principal billing disabled\n"
    assert bench.ok("principal disable billing").out == "principal billing was disabled already\n"
    assert [row["state"] for row in bench.rows("principal list")] == ["disabled"]
    assert bench.rows("principal enable billing") == [{"name": "billing", "state": "enabled", "changed": True}]


def test_limit_that_is_not_named_stays(bench: AdminBench) -> None:
    bench.ok("principal add billing --max-ticket-s 15m --max-jwt-s 60")
    assert "tickets at most 3600 s, JWTs at most 60 s" in bench.ok("principal limit billing --max-ticket-s 1h").out
    (row,) = bench.rows("principal limit billing --max-jwt-s none")
    assert (row["max_ticket_s"], row["max_jwt_s"]) == (3600, None)
    assert bench.run("principal limit billing").code == 1


@pytest.mark.parity("H5")
def test_networks_are_limited_replaced_and_lifted(bench: AdminBench) -> None:
    """An IP rule per principal, in canonical form."""
    bench.add("billing")
    told = bench.ok("principal limit billing --from 2001:DB8::/32 --from ::ffff:10.0.0.0/104 --max-jwt-s 5m")
    assert told.out == (
        "billing: tickets without a limit of its own, JWTs at most 300 s\n"
        "billing may ask from 10.0.0.0/8 2001:db8::/32\n"
    )
    assert bench.rows("principal limit billing --max-jwt-s none")[0]["sources"] == ["10.0.0.0/8", "2001:db8::/32"]
    assert "asks from: 10.0.0.0/8 2001:db8::/32\n" in bench.ok("principal show billing").out
    assert bench.rows("principal limit billing --from 192.0.2.7")[0]["sources"] == ["192.0.2.7/32"]
    assert bench.rows("principal limit billing --from any")[0]["sources"] == []
    (capped,) = bench.rows("audit tail -n 1 --event principal.capped")
    assert capped["facts"]["sources"] == ""


@pytest.mark.parametrize("line", ["--from 10.0.0.1/8", "--from nowhere", "--from any --from 10.0.0.0/8", "--from ''"])
def test_network_with_a_slip_of_the_pen_changes_nothing(bench: AdminBench, line: str) -> None:
    bench.add("billing")
    bench.ok("principal limit billing --from 10.1.0.0/16")
    before = bench.snapshot()
    told = bench.run(f"principal limit billing {line} --output json")
    assert (told.code, told.error["code"]) == (1, "value-invalid")
    assert bench.snapshot() == before


def test_shown_client_tells_all_but_its_secrets(bench: AdminBench) -> None:
    bench.add("billing")
    bench.ok("oauth enable billing")
    bench.ok("jwt enable billing --alg opaque --claim tenant")
    (row,) = bench.rows("principal show billing")
    (held,) = row["oauth_secrets"]
    assert (row["oauth"], row["token_claims"], set(held)) == (True, ["tenant"], {"secret_id", "created"})
    shown = bench.ok("principal show billing").out
    assert "oauth: client\n" in shown
    assert f"client secret {held['secret_id']}: since 20" in shown


def test_more_principals_than_a_page_are_all_listed(bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orthros_tools.admin.principal._PAGE", 2)
    bench.add("a", "b", "c", "d", "e")
    assert [row["name"] for row in bench.rows("principal list")] == ["a", "b", "c", "d", "e"]


def test_interrupted_command_says_where_to_look(bench: AdminBench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient:
        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            raise KeyboardInterrupt

    bench.add("billing")
    monkeypatch.setattr(sys, "stdin", Impatient())
    told = bench.run("principal delete billing")
    assert told.code == 1
    assert told.err.endswith(
        "orthros-admin: Interrupted; a change that had begun was made whole or not at all.\n"
        "remedy: See `orthros-admin audit tail`; a key that was not written yet: `orthros-admin key export`.\n"
        "code: interrupted\n"
    )
