"""Key versions: a rotation step by step, and the ways in which it is refused."""

import sqlite3
import stat
from contextlib import closing

import pytest

from orthros_protocol.keys.keytab import Keytab
from tests.tools.admin.bench import AdminBench


def states(bench: AdminBench, name: str = "orders") -> dict[int, str]:
    return {row["kvno"]: row["state"] for row in bench.rows(f"key list {name}")}


def test_rotation_names_each_next_step(bench: AdminBench) -> None:
    bench.add("orders")
    told = bench.ok("key rotate orders --out orders.key.new")
    assert told.out == (
        "version 2 of orders prepared, key file written to orders.key.new\n"
        "next: install it on every host of orders, then run orthros-admin key activate orders\n"
    )
    assert Keytab.load("orders.key.new").kvnos == (1, 2)
    assert states(bench) == {1: "active", 2: "prepared"}
    told = bench.ok("key activate orders")
    assert told.out == (
        "new tickets for orders are sealed under version 2\n"
        "next: once the tickets under version 1 have ended, run orthros-admin key retire orders 1\n"
    )
    assert states(bench) == {1: "draining", 2: "active"}
    assert bench.ok("key retire orders 1").out == "version 1 of orders retired\n"
    assert states(bench) == {1: "retired", 2: "active"}
    bench.ok("key export orders --out now.key")
    assert Keytab.load("now.key").kvnos == (2,)


def test_rotation_that_has_no_place_for_its_file_prepares_nothing(bench: AdminBench) -> None:
    bench.add("orders")
    before = bench.snapshot()
    for out in ("orders.key", "missing/orders.key"):
        assert bench.run(f"key rotate orders --out {out}").code == 1
    assert states(bench) == {1: "active"}
    assert bench.snapshot() == before


@pytest.mark.parametrize(
    ("line", "exit_code", "code"),
    [
        ("key activate orders", 5, "not-found"),
        ("key retire orders 7", 5, "not-found"),
        ("key retire orders 1", 1, "conflict"),
        ("key list nobody", 5, "not-found"),
        ("key export nobody --out x.key", 5, "not-found"),
        ("key retire orders zero", 1, "usage"),
        ("key retire orders 0", 1, "usage"),
        ("key export orders", 1, "usage"),
    ],
)
def test_refused_step_changes_nothing(bench: AdminBench, line: str, exit_code: int, code: str) -> None:
    bench.add("orders")
    before = bench.snapshot()
    told = bench.run(f"{line} --output json")
    assert (told.code, told.out, told.error["code"]) == (exit_code, "", code)
    assert (states(bench), bench.files()) == ({1: "active"}, {"orders.key"})
    assert bench.snapshot() == before


def test_second_rotation_waits_for_the_first(bench: AdminBench) -> None:
    bench.add("orders")
    bench.ok("key rotate orders --out 2.key")
    assert bench.run("key rotate orders --out 3.key").code == 1
    assert bench.files() == {"orders.key", "2.key"}


def test_active_version_is_retired_only_by_force(bench: AdminBench) -> None:
    bench.add("orders")
    bench.ok("key retire orders 1 --force --yes")
    assert states(bench) == {1: "retired"}
    told = bench.run("key export orders --out again.key --output json")
    assert (told.code, told.error["code"]) == (1, "key-missing")


def test_export_can_leave_the_login_out(bench: AdminBench) -> None:
    bench.add("orders")
    bench.ok("key export orders --verify-only --out verify.key")
    assert Keytab.load("verify.key").is_verify_only
    assert stat.S_IMODE((bench.folder / "verify.key").stat().st_mode) == 0o600
    text = bench.ok("key export orders --verify-only --out -", secret=True).out
    assert Keytab.from_text(text).is_verify_only


def test_every_export_leaves_an_event(bench: AdminBench) -> None:
    bench.add("orders")
    bench.ok("key export orders --out a.key")
    bench.ok("key export orders --verify-only --out b.key")
    kinds = [row["facts"]["kind"] for row in bench.rows("audit tail --event key.exported")]
    assert kinds == ["full", "verify-only"]


def test_key_list_shows_versions_as_a_table(bench: AdminBench) -> None:
    bench.add("orders")
    heading, row = bench.ok("key list orders").out.splitlines()
    assert heading.split() == ["KVNO", "STATE", "CREATED", "RETIRED", "KID_AS", "KID_TICKET"]
    assert row.split()[:2] == ["1", "active"]


def test_old_tombstones_are_erased_by_command(bench: AdminBench) -> None:
    bench.add("orders")
    bench.ok("key rotate orders --out orders.key.new")
    bench.ok("key activate orders")
    bench.ok("key retire orders 1")
    assert bench.ok("key erase-tombstones").out == "tombstones erased: 0\n"
    with closing(sqlite3.connect(bench.folder / "realm" / "kdc.db")) as connection, connection:
        connection.execute("UPDATE keys SET retired = retired - 31 * 24 * 3600 WHERE retired IS NOT NULL")
    assert bench.rows("key erase-tombstones") == [{"erased": 1}]
    assert states(bench) == {2: "active"}
    assert bench.rows("audit tail -n 1")[0]["change"] == "key.tombstones-erased"
