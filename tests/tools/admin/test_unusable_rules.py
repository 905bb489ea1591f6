"""A rule row that cannot be read is shown with its cause, grants nothing, can be removed, and stops no other rule."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.tools.admin.bench import AdminBench

DAMAGE = {
    "garbage": ("%%", "its terms are not what a rule is stored as"),
    "no scope": ('{"scopes":["Read All"]}', "'Read All'"),
    "two that exclude each other": (
        '{"deny_via":["web"],"require_via":["web"],"scopes":[]}',
        "web is both in deny_via and in require_via",
    ),
    "another form": ('{"scopes": ["read"]}', "its terms are not in their one form"),
    "of a later version": ('{"moon":"full","scopes":["read"]}', "this version does not know moon"),
}
EXPECTED = '[[expect]]\nclient = "web"\ntarget = "orders"\ngranted = ["read"]\n'


def damage(bench: AdminBench, rule: int, terms: str) -> None:
    with closing(sqlite3.connect(bench.folder / "realm" / "kdc.db")) as connection, connection:
        connection.execute("UPDATE rules SET terms = ? WHERE rule_id = ?", (terms, rule))


@pytest.fixture(params=DAMAGE)
def cause(request: pytest.FixtureRequest, bench: AdminBench) -> str:
    """Of rules 1 to 3 the second cannot be used; why."""
    bench.add("billing", "orders", "web")
    for pair in ("billing orders", "web orders", "web billing"):
        bench.ok(f"policy allow {pair} --scope read")
    terms, cause = DAMAGE[request.param]
    damage(bench, 2, terms)
    return cause


def test_it_is_listed_with_its_cause_beside_the_others(bench: AdminBench, cause: str) -> None:
    rows = bench.rows("policy list")
    assert [(row["rule"], row["client"], row["target"], row.get("unusable")) for row in rows] == [
        (1, "billing", "orders", None),
        (2, "web", "orders", cause),
        (3, "web", "billing", None),
    ]
    told = bench.ok("policy list --client web").out.splitlines()
    assert told[0].endswith("UNUSABLE")
    assert told[1].endswith(cause)
    assert told[-1] == f"rule 2 grants nothing: {cause}; remove it with `orthros-admin policy deny --rule 2`"


@pytest.mark.parametrize("how", ["--rule 2", "web orders"])
@pytest.mark.usefixtures("cause")
def test_it_is_removed_by_number_and_by_pair(bench: AdminBench, how: str) -> None:
    assert bench.ok(f"policy deny {how}").out.startswith("removed rule 2: web -> orders [")
    assert [row["rule"] for row in bench.rows("policy list")] == [1, 3]
    removed = json.loads(bench.ok("audit export").out.splitlines()[-1])
    assert (removed["change"], removed["facts"]["rules"], removed["facts"]["client"]) == ("rule.removed", "2", "web")


def test_it_grants_nothing_and_the_explanation_says_why(bench: AdminBench, cause: str) -> None:
    told = bench.run("policy explain web orders")
    assert told.code == 3
    assert f"  rule 2: condition: {cause}\n" in told.out
    bench.ok("policy explain billing orders --scope read")
    bench.ok("policy allow web orders --scope read --max-ttl 60")
    assert "granted: read, 60 s (by rule 4)\n" in bench.ok("policy explain web orders --scope read").out
    (bench.folder / "expected.toml").write_text(EXPECTED)
    assert bench.ok("policy test expected.toml").out == "1 expectations hold\n"


def test_a_realm_file_is_not_written_with_it_and_takes_it_away(bench: AdminBench, cause: str) -> None:
    """An export that left it out would be taken for the whole policy."""
    told = bench.run("realm export --output json")
    assert (told.code, told.error["code"]) == (1, "conflict")
    assert told.error["detail"].startswith("rule 2: web -> orders [")
    assert cause.rpartition(" ")[2] in told.error["detail"]
    bench.ok("policy deny --rule 2")
    (bench.folder / "realm.toml").write_text(bench.ok("realm export").out)
    bench.ok("policy allow web orders --scope read")
    damage(bench, 4, "%%")
    assert "- rule 4: web -> orders [no scopes] (its terms are not what" in bench.run("realm diff realm.toml").out
    bench.ok("realm apply realm.toml --yes")
    assert [row["rule"] for row in bench.rows("policy list")] == [1, 3]


def test_its_principals_are_shown_limited_and_deleted(bench: AdminBench, cause: str) -> None:
    (shown,) = bench.rows("principal show web")
    assert [row.get("unusable") for row in shown["rules"]] == [cause, None]
    bench.ok("realm limit --max-ticket-s 600 --yes")
    bench.ok("principal delete web --yes")
    assert [row["rule"] for row in bench.rows("policy list")] == [1]


def test_one_whose_client_is_gone_can_be_removed(bench: AdminBench) -> None:
    """Another program deletes a principal and leaves its rule behind."""
    bench.add("billing", "orders")
    bench.ok("policy allow billing orders")
    with closing(sqlite3.connect(bench.folder / "realm" / "kdc.db")) as connection, connection:
        connection.execute("DELETE FROM principals WHERE name = 'billing'")
    (row,) = bench.rows("policy list")
    assert (row["client"], row["target"], row["unusable"]) == ("kdc/gone", "orders", "its client or target is gone")
    bench.ok("policy deny --rule 1")
