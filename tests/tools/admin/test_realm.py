"""The realm's own page, and its limits."""

import pytest

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
    assert "limit of JWTs: 120 s" in bench.ok("realm limit --max-jwt-s 2m").out
    (row,) = bench.rows("realm limit --max-ticket-s 30m --max-tgt-s 8h")
    assert (row["max_ticket_s"], row["max_tgt_s"], row["max_jwt_s"]) == (1800, 28800, 120)
    bench.add("a", "b")
    bench.ok("policy allow a b --scope read")
    assert "granted: read, 1800 s" in bench.ok("policy explain a b").out


@pytest.mark.parametrize("options", ["", "--max-ticket-s 0", "--max-jwt-s none", "--max-tgt-s 1w"])
def test_limit_without_a_sense_is_refused(bench: AdminBench, options: str) -> None:
    before = bench.snapshot()
    told = bench.run(f"realm limit {options} --output json")
    assert (told.code, told.error["code"]) == (1, "usage")
    assert bench.snapshot() == before
