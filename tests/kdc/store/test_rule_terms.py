"""Rules as one value: those of earlier columns are in force as they were, and what is not understood grants nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orthros_kdc.policy.ask_and_grant import Ask, Circumstances, Denial, TargetFacts
from orthros_kdc.policy.decide import decide
from orthros_kdc.policy.holding import holding
from orthros_kdc.policy.model import Selector
from orthros_kdc.policy.rule import CONDITIONS, JUDGES, Rule, stated
from orthros_kdc.policy.rule_caveats import RequiredDischarge
from orthros_kdc.store.migrations import APPLICATION_ID
from orthros_kdc.store.rule_rows import RuleRow, opened, row_of
from orthros_kdc.store.sqlite import SqliteStore
from orthros_protocol.errors import Misconfigured

EARLIER = Path(__file__).with_name("version_7.sql")
"""What the last version with a column for each condition wrote, by its own commands."""
KEPT = (
    Rule(rule_id=1, client=Selector("billing"), target=Selector("orders"), scopes=()),
    Rule(
        rule_id=2,
        client=Selector("edge", is_group=True),
        target=Selector("orders"),
        scopes=("read", "write"),
        max_ttl_s=600,
        jwt=True,
        delegable=True,
        subjects=("ada", "users/*"),
        sources=("10.0.0.0/8", "2001:db8::/32"),
    ),
    Rule(
        rule_id=3,
        client=Selector("orders"),
        target=Selector("billing"),
        scopes=("read",),
        behalf=("*",),
        deny_via=("group:edge", "web@other.example"),
        require_via=("billing",),
        max_depth=0,
        callbacks=True,
        methods=("GET", "HEAD"),
        path="/a",
        peers=("192.0.2.7/32",),
        discharges=(RequiredDischarge("approvals", "four-eyes"), RequiredDischarge("approvals", "seen")),
    ),
)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    path = tmp_path / "kdc.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(EARLIER.read_text())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 7")
        connection.execute("PRAGMA journal_mode = WAL")
    path.chmod(0o600)
    return path


def looked(path: Path, statement: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement).fetchall()


async def test_rules_of_columns_are_in_force_as_they_were(earlier: Path) -> None:
    store = SqliteStore.open(earlier)
    await store.upgrade()
    assert (await store.read(lambda tx: tx.policy())).rules == KEPT
    (added,) = await store.change(lambda tx: tx.add_rules([KEPT[0]]))
    assert added == 5  # the number of a rule that was removed before is not used again
    await store.aclose()
    assert looked(earlier, "SELECT terms FROM rules WHERE rule_id IN (1, 2)") == [
        ('{"scopes":[]}',),
        (
            '{"delegable":true,"from":["10.0.0.0/8","2001:db8::/32"],"jwt":true,"max_ttl_s":600,'
            '"scopes":["read","write"],"subjects":["ada","users/*"]}',
        ),
    ]


@pytest.mark.parametrize(
    "damage",
    ["deny_via = 'Web'", "scopes = 'Read All'", "max_depth = 99", "path = 'a'", "discharges = 'approvals'"],
)
async def test_a_rule_that_cannot_be_read_stops_the_upgrade_and_nothing_is_changed(earlier: Path, damage: str) -> None:
    looked(earlier, f"UPDATE rules SET {damage} WHERE rule_id = 3")
    before = looked(earlier, "SELECT * FROM rules"), looked(earlier, "SELECT name, sql FROM sqlite_schema")
    store = SqliteStore.open(earlier)
    with pytest.raises(Misconfigured, match=r"database-invalid.*rule 3"):
        await store.upgrade()
    await store.aclose()
    assert (looked(earlier, "SELECT * FROM rules"), looked(earlier, "SELECT name, sql FROM sqlite_schema")) == before
    assert looked(earlier, "PRAGMA user_version") == [(7,)]


def of(terms: str) -> RuleRow:
    return RuleRow(7, "billing", "orders", terms)


@pytest.mark.parametrize("rule", KEPT)
def test_a_rule_comes_back_from_its_row(rule: Rule) -> None:
    assert opened(row_of(rule)) == rule


def test_a_condition_of_a_later_version_makes_its_rule_grant_nothing_and_is_shown() -> None:
    """Fail closed: a rule that this version understands in part would grant more than was meant."""
    later = opened(of('{"moon":"full","scopes":["read"]}'))
    assert (later.unknown, str(later)) == (("moon",), "rule 7: billing -> orders [read] (unknown: moon)")
    known = Circumstances(address=None, target=TargetFacts(), remaining_tgt_s=60)
    refused = decide(Ask(target="orders"), [later], known)
    assert isinstance(refused, Denial)
    assert refused.code == "not-granted"
    assert [str(one) for one in refused.objections] == ["rule 7: condition: this version does not know moon"]
    plain = opened(RuleRow(8, "billing", "orders", '{"scopes":["write"]}'))
    assert holding(Ask(target="orders"), [later, plain], known).rules == [plain]


@pytest.mark.parametrize(
    "terms",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"scopes":"read"}',
        '{"scopes":["write","read"]}',
        '{"scopes": ["read"]}',
        '{"jwt":false,"scopes":[]}',
        '{"jwt":1,"scopes":[]}',
        '{"max_depth":true,"scopes":[]}',
        '{"max_depth":8,"scopes":[]}',
        '{"jwt":true,"jwt":true,"scopes":[]}',
        '{"path":null,"scopes":[]}',
        '{"from":["10.0.0.1/8"],"scopes":[]}',
        '{"scopes":[],"subjects":[3]}',
        "[" * 100_000,
    ],
)
def test_terms_in_any_other_form_are_no_rule(terms: str) -> None:
    rule = opened(of(terms))
    assert (str(rule.client), str(rule.target), rule.scopes) == ("billing", "orders", ())
    assert rule.unusable
    refused = decide(Ask(target="orders"), [rule], Circumstances(address=None, target=TargetFacts()))
    assert isinstance(refused, Denial)
    assert refused.code == "not-granted"
    with pytest.raises(Misconfigured, match=r"conflict.*cannot write what it does not know"):
        row_of(rule)


def test_each_row_of_the_table_says_what_every_place_needs() -> None:
    """A row without a word would be a condition that one place loses."""
    assert len({row.key for row in CONDITIONS}) == len({row.option for row in CONDITIONS}) == len(CONDITIONS)
    for row in CONDITIONS:
        assert hasattr(Rule, row.attribute), row.key
        assert row.judge in {None, *(judge.name for judge in JUDGES)}, row.key
        assert row.help, row.key
        assert row.sample, row.key
    assert stated(KEPT[0]) == []


def test_the_rules_of_columns_use_every_column(earlier: Path) -> None:
    columns = {name for _, name, *_ in looked(earlier, "PRAGMA table_info(rules)")}
    said = {row.attribute for rule in KEPT for row in stated(rule)}
    assert said == {row.attribute for row in CONDITIONS} & columns
