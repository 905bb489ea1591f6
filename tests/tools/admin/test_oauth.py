"""OAuth clients on the command line: a secret leaves once, into a file or a pipe, and never comes in."""

import re
import sqlite3
import stat
import sys
from contextlib import closing

import pytest

from tests.tools.admin.bench import AdminBench

SECRET = r"ort1s_[a-z2-7]{58}"


def test_secret_goes_to_a_file_of_its_own_and_nowhere_else(bench: AdminBench) -> None:
    bench.add("shop/orders")
    told = bench.ok("oauth enable shop/orders")
    path = bench.folder / "shop-orders.oauth-secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.fullmatch(SECRET + "\n", path.read_text())
    (client,) = bench.rows("oauth list")
    (held,) = client["secrets"]
    assert told.out == (
        f"client secret {held['secret_id']} of shop/orders written to shop-orders.oauth-secret\n"
        "shop/orders is an OAuth client now, client id shop/orders\n"
    )
    assert path.read_text().strip() in bench.secrets_of("shop/orders")


def test_secret_on_standard_output_is_alone_there(bench: AdminBench) -> None:
    bench.add("billing")
    told = bench.ok("oauth enable billing --out -", secret=True)
    assert re.fullmatch(SECRET + "\n", told.out)
    assert told.out.strip() not in told.err
    assert "written to standard output" in told.err
    assert bench.run("oauth secret billing --out - --output json").code == 1
    assert len(bench.rows("oauth list billing")[0]["secrets"]) == 1


@pytest.mark.parity("L2", "L3")
@pytest.mark.parametrize("command", ["oauth enable", "oauth secret"])
def test_no_option_takes_a_secret(bench: AdminBench, command: str) -> None:
    """Secrets are made here, 256 bits of chance; there is no way to choose one."""
    bench.add("billing")
    if command == "oauth secret":
        bench.ok("oauth enable billing --out first")
    before = bench.snapshot()
    options = set(re.findall(r"--[a-z-]+", bench.ok(f"{command} --help").out.partition("EXAMPLES")[0]))
    assert options - {"--default-audience"} == {
        "--out", "--help", "--config", "--store", "--master-key-file", "--next-master-key-file",
        "--output", "--quiet", "--actor",
    }  # fmt: skip
    assert bench.run(f"{command} billing hunter2").code == 1
    assert bench.run(f"{command} billing --secret hunter2").code == 1
    assert bench.snapshot() == before


def test_rotation_keeps_two_until_one_is_retired(bench: AdminBench) -> None:
    bench.add("billing")
    (first,) = bench.rows("oauth enable billing")
    told = bench.ok("oauth secret billing --out new.secret")
    (client,) = bench.rows("oauth list billing")
    second = client["secrets"][0]["secret_id"]
    assert [held["secret_id"] for held in client["secrets"]] == [second, first["secret_id"]]
    assert told.out == (
        f"client secret {second} of billing written to new.secret\n"
        f"the secret before it, {first['secret_id']}, stays good\n"
        "next: install the new one everywhere, then run orthros-admin oauth retire billing "
        f"--id {first['secret_id']}\n"
    )
    assert bench.rows(f"oauth retire billing --id {first['secret_id']}") == [
        {"name": "billing", "secret_id": first["secret_id"], "left": 1}
    ]
    assert bench.ok(f"oauth retire billing --id {second}").out == (
        f"client secret {second} of billing retired\n"
        "billing has no client secret left: orthros-admin oauth secret billing makes one\n"
    )
    assert bench.ok("oauth list").out == "billing: no secret\n"


def test_disabled_client_keeps_its_key_file_and_loses_its_secrets(bench: AdminBench) -> None:
    bench.add("billing")
    bench.ok("oauth enable billing")
    assert (
        bench.ok("oauth disable billing --yes").out == "billing is no OAuth client any more, its secrets are erased\n"
    )
    (row,) = bench.rows("principal show billing")
    assert (row["oauth"], row["oauth_secrets"], row["keys"][0]["state"]) == (False, [], "active")
    assert bench.ok("oauth list").out == "no OAuth client\n"


def test_secret_that_could_not_be_written_can_be_replaced_without_harm(
    bench: AdminBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one in use must not be pushed out by two attempts."""
    bench.add("billing")
    (used,) = bench.rows("oauth enable billing")
    with monkeypatch.context() as closed, open("/dev/full", "w", encoding="ascii") as full:
        closed.setattr(sys, "stdout", full)
        told = bench.run("oauth secret billing --out -")
    assert (told.code, "code: key-not-written" in told.err) == (1, True)
    (advice,) = re.findall(r"run `(.*)`", told.err)
    for command in advice.split(" && "):
        bench.ok(command.removeprefix("orthros-admin ").replace("FILE", "again.secret"))
    (client,) = bench.rows("oauth list billing")
    assert (len(client["secrets"]), client["secrets"][1]["secret_id"]) == (2, used["secret_id"])


def test_every_change_is_one_entry_of_the_audit_log(bench: AdminBench) -> None:
    bench.add("billing")
    bench.ok("oauth enable billing")
    (second,) = bench.rows("oauth secret billing --out b")
    bench.ok(f"oauth retire billing --id {second['secret_id']}")
    bench.ok("oauth disable billing --yes")
    entries = [entry for entry in bench.rows("audit tail -n 100") if str(entry.get("change")).startswith("oauth.")]
    assert [entry["change"] for entry in entries] == [
        "oauth.enabled", "oauth.secret-added", "oauth.secret-retired", "oauth.disabled",
    ]  # fmt: skip
    assert entries[2]["facts"]["secret_id"] == second["secret_id"]


@pytest.mark.parametrize(
    ("line", "exit_code", "code"),
    [
        ("oauth enable nobody", 5, "not-found"),
        ("oauth enable orders --out x", 1, "already-exists"),
        ("oauth enable billing --out orders.key", 1, "file-exists"),
        ("oauth enable billing --out missing/x", 1, "file-unreadable"),
        ("oauth secret orders", 1, "file-exists"),
        ("oauth secret billing", 5, "not-found"),
        ("oauth retire orders --id 0000000000000000", 5, "not-found"),
        ("oauth retire orders", 1, "usage"),
        ("oauth disable billing", 5, "not-found"),
        ("oauth list billing", 5, "not-found"),
        ("oauth enable billing --default-audience nobody", 5, "not-found"),
        ("oauth audience orders nobody", 5, "not-found"),
        ("oauth audience billing orders", 5, "not-found"),
        ("oauth audience orders", 1, "usage"),
        ("oauth audience orders billing --none", 1, "usage"),
    ],
)
def test_refused_command_changes_nothing(bench: AdminBench, line: str, exit_code: int, code: str) -> None:
    bench.add("orders", "billing")
    bench.ok("oauth enable orders")
    before = bench.snapshot()
    told = bench.run(f"{line} --output json")
    assert (told.code, told.out, told.error["code"]) == (exit_code, "", code)
    assert bench.snapshot() == before
    assert bench.files() == {"orders.key", "billing.key", "orders.oauth-secret"}


def test_default_target_is_set_changed_shown_and_removed(bench: AdminBench) -> None:
    bench.add("billing", "orders", "ledger")
    told = bench.ok("oauth enable billing --default-audience orders")
    assert told.out.splitlines()[-1] == "requests of billing that name no target are for orders"
    assert bench.ok("oauth list billing").out.splitlines()[-1] == "billing: default target orders"
    assert "oauth: client, default target orders\n" in bench.ok("principal show billing").out
    assert bench.rows("principal show billing")[0]["default_audience"] == "orders"
    assert bench.rows("oauth audience billing ledger") == [{"name": "billing", "default_audience": "ledger"}]
    (row,) = bench.rows("oauth list billing")
    assert (row["default_audience"], row["default_is_gone"]) == ("ledger", False)
    assert bench.ok("oauth audience billing --none").out == "requests of billing that name no target are refused\n"
    assert bench.rows("oauth list billing")[0]["default_audience"] is None
    entries = [entry for entry in bench.rows("audit tail -n 100") if str(entry.get("change")).startswith("oauth.")]
    assert [(entry["change"], entry["facts"].get("target")) for entry in entries] == [
        ("oauth.enabled", "orders"), ("oauth.audience-changed", "ledger"), ("oauth.audience-changed", None),
    ]  # fmt: skip


def test_default_target_that_is_deleted_is_told_at_once_and_later(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    bench.ok("oauth enable billing --default-audience orders")
    said = bench.ok("principal delete orders --yes").out
    assert "it was the default target of billing; next: orthros-admin oauth audience billing TARGET\n" in said
    assert "default target" not in bench.ok("oauth list billing").out
    with closing(sqlite3.connect(bench.folder / "realm" / "kdc.db")) as connection, connection:  # as it was once left
        connection.execute("UPDATE principals SET default_audience = 'orders' WHERE name = 'billing'")
    shown = bench.ok("oauth list billing").out
    assert "default target orders; there is no such principal: orthros-admin oauth audience billing TARGET" in shown
    assert bench.rows("oauth list billing")[0]["default_is_gone"] is True
