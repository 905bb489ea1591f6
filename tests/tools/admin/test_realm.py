"""The realm's own page, its limits, its own keys, and its master key."""

import os
import stat

import pytest

from orthros_kdc.realm.master_key import create_master_key_file, load_master_key
from tests.tools.admin.bench import AdminBench


def test_realm_shows_itself_and_none_of_its_keys(bench: AdminBench) -> None:
    lines = bench.ok("realm show").out.splitlines()
    assert lines[0].startswith("realm corp.example, since 20")
    assert lines[1:5] == [
        "issuer: https://corp.example",
        "limit of service tickets: 3600 s",
        "limit of ticket-granting tickets: 3600 s",
        "limit of JWTs: 300 s",
    ]
    (row,) = bench.rows("realm show")
    assert [(key["role"], key["name"], key["number"]) for key in row["keys"]] == [
        ("kdcmac", "kdc", 1), ("tgt", "kdc/tgt", 1), ("ticket", "kdc/admin", 1), ("ticket", "kdc/keys", 1),
    ]  # fmt: skip


def test_limit_that_is_not_named_stays(bench: AdminBench) -> None:
    assert "limit of JWTs: 120 s" in bench.ok("realm limit --max-jwt-s 2m --yes").out
    (row,) = bench.rows("realm limit --max-ticket-s 30m --max-tgt-s 8h --yes")
    assert (row["max_ticket_s"], row["max_tgt_s"], row["max_jwt_s"]) == (1800, 28800, 120)
    bench.add("a", "b")
    bench.ok("policy allow a b --scope read")
    assert "granted: read, 1800 s" in bench.ok("policy explain a b").out


def test_issuer_changes_and_says_what_that_does(bench: AdminBench) -> None:
    told = bench.ok("realm issuer https://kdc.corp.example:8443").out
    assert told == (
        "issuer: https://kdc.corp.example:8443\ntokens that carry https://corp.example are refused from now on\n"
    )
    assert bench.rows("realm show")[0]["issuer"] == "https://kdc.corp.example:8443"
    assert bench.ok("realm issuer https://kdc.corp.example:8443").out == "issuer: https://kdc.corp.example:8443\n"
    assert bench.run("realm issuer kdc.corp.example --output json").error["code"] == "value-invalid"
    (entry, *_) = [one for one in bench.rows("audit tail -n 100") if one.get("change") == "realm.changed"]
    assert entry["facts"]["issuer"] == "https://kdc.corp.example:8443"


@pytest.mark.parametrize("options", ["", "--max-ticket-s 0", "--max-jwt-s none", "--max-tgt-s 1w"])
def test_limit_without_a_sense_is_refused(bench: AdminBench, options: str) -> None:
    before = bench.snapshot()
    told = bench.run(f"realm limit {options} --output json")
    assert (told.code, told.error["code"]) == (1, "usage")
    assert bench.snapshot() == before


def key_numbers(bench: AdminBench) -> set[int]:
    return {key["number"] for key in bench.rows("realm show")[0]["keys"]}


def test_own_keys_are_rotated_and_old_ones_erased_when_no_ticket_needs_them(bench: AdminBench) -> None:
    bench.add("billing", "orders")
    assert bench.ok("realm rotate-keys").out == (
        "the realm's own keys have number 2 now\n"
        "next: in 3600 s and a little, when older tickets have ended, run orthros-admin realm erase-old-keys\n"
    )
    assert bench.rows("realm rotate-keys") == [{"number": 3}]
    assert bench.ok("realm erase-old-keys").out == "old keys of the realm erased: 0\n"
    assert key_numbers(bench) == {1, 2, 3}
    bench.kdc_refuses("billing", "orders")  # under seal, hence with keys that open


@pytest.mark.parity("K13")
def test_master_key_is_changed_step_by_step(bench: AdminBench) -> None:
    """The steps of docs/operations.md."""
    bench.add("billing", "orders")
    before = bench.snapshot()
    assert bench.ok("realm new-master-key --out next.key").out == (
        "master key 2 written to next.key\n"
        "next: name it as store.next_master_key_file to every KDC and restart them, "
        "then run orthros-admin realm rewrap\n"
    )
    assert bench.snapshot() == before
    made = bench.folder / "next.key"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert load_master_key(made, environ={}).number == 2
    assert bench.ok("realm rewrap --next-master-key-file next.key").out == (
        "master key 2 counts now, records sealed anew: 6\n"
        "next: make its file store.master_key_file everywhere, restart the KDCs, back up, "
        "and destroy the old key when no backup needs it\n"
    )
    told = bench.run("principal list --output json")
    assert (told.code, told.error["code"]) == (1, "master-key-wrong")
    assert "new-master-key" in told.error["remedy"]
    bench.ok("principal list --next-master-key-file next.key")
    made.replace(bench.folder / "realm" / "master.key")
    bench.kdc_refuses("billing", "orders")
    for event in ("realm.rewrap-started", "realm.master-key-changed"):
        assert [row["facts"]["number"] for row in bench.rows(f"audit tail --event {event}")] == [2]


def test_next_key_may_be_named_by_configuration_and_environment(
    bench: AdminBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.ok("realm new-master-key --out next.key --quiet")
    monkeypatch.setenv("ORTHROS_STORE_NEXT_MASTER_KEY_FILE", "missing.key")
    assert bench.run("principal list --output json").error["code"] == "master-key-missing"
    monkeypatch.delenv("ORTHROS_STORE_NEXT_MASTER_KEY_FILE")
    text = bench.config.read_text().replace("[listen]", 'next_master_key_file = "../next.key"\n[listen]')
    bench.config.write_text(text)
    assert bench.rows("realm rewrap") == [{"number": 2, "resealed": 4}]
    (bench.folder / "next.key").replace(bench.folder / "realm" / "master.key")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("realm rewrap", "conflict"),
        ("realm rewrap --next-master-key-file missing.key", "master-key-missing"),
        ("realm rewrap --next-master-key-file realm/master.key", "master-key-wrong"),
        ("realm rewrap --next-master-key-file billing.key", "master-key-invalid"),
        ("realm new-master-key", "usage"),
        ("realm new-master-key --out -", "usage"),
        ("realm new-master-key --out realm/master.key", "file-exists"),
        ("realm new-master-key --out missing/next.key", "file-unreadable"),
        ("realm new-master-key --out next.key --next-master-key-file third.key", "master-key-wrong"),
        ("realm new-master-key --out next.key --next-master-key-file second.key", "conflict"),
    ],
)
def test_change_of_the_master_key_that_cannot_be_changes_nothing(bench: AdminBench, line: str, code: str) -> None:
    bench.add("billing")
    for name, number in (("second.key", 2), ("third.key", 3)):
        create_master_key_file(bench.folder / name, entropy=os.urandom, number=number)
    before, files = bench.snapshot(), bench.files()
    key = (bench.folder / "realm" / "master.key").read_bytes()
    told = bench.run(f"{line} --output json")
    assert (told.code, told.out, told.error["code"]) == (1, "", code)
    assert (bench.snapshot(), bench.files()) == (before, files)
    assert (bench.folder / "realm" / "master.key").read_bytes() == key


def test_wrong_next_key_after_the_beginning_is_refused(bench: AdminBench) -> None:
    bench.add("billing")
    bench.ok("realm new-master-key --out next.key")
    bench.ok("realm new-master-key --out wrong.key")
    bench.begin_rewrap("next.key")
    before = bench.snapshot()
    for options in ("", "--next-master-key-file wrong.key"):
        for command in ("principal list", "principal add orders", "realm rewrap", "realm new-master-key --out 3.key"):
            assert bench.run(f"{command} {options} --output json").error["code"] == "master-key-wrong"
    assert bench.snapshot() == before
    bench.ok("realm rewrap --next-master-key-file next.key")
    (bench.folder / "next.key").replace(bench.folder / "realm" / "master.key")
