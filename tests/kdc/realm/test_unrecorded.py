"""A change that somebody writes into the database past `orthros-admin` is in force, and is told by every record."""

import sqlite3
from contextlib import closing

import pytest
import trio
from attrs import evolve
from structlog.testing import capture_logs

from orthros_kdc.admin import audit_logs, groups, keys, principals, realm, realm_file, rules
from orthros_kdc.audit import AdminAuditLog, AuditLog
from orthros_kdc.audit.admin_lines import all_unnamed, changes_of, lines_backwards, unnamed
from orthros_kdc.config import KDC_SETTINGS
from orthros_kdc.process.kdc import open_kdc
from orthros_kdc.realm.realm_log import record_unrecorded
from orthros_kdc.realm.snapshot import Unrecorded
from orthros_kdc.realm.view import RealmView
from orthros_protocol.errors import Misconfigured
from tests.support.kdc_bench import open_bench

SNEAKED = """
    INSERT INTO rules (client_uid, target_uid, terms)
        SELECT c.uid, t.uid, '{"scopes":["admin"]}' FROM principals c, principals t
        WHERE c.name = 'billing' AND t.name = 'orders';
    INSERT INTO changes (seq, kind, key) SELECT change_seq + 1, 'rule', (SELECT max(rule_id) FROM rules) FROM meta;
    UPDATE meta SET change_seq = change_seq + 1, seq = seq + 1;
"""


@pytest.fixture
async def bench():
    """A realm whose changes are recorded in the database."""
    made = await open_bench()
    made.admin = evolve(made.admin, audit=AdminAuditLog(now_ms=made.clock.now))
    await made.add("billing", "orders")
    return made


def sneak(bench):
    """What somebody does who can write the database, and knows how changes are found."""
    with closing(sqlite3.connect(bench.store._path)) as connection:
        connection.executescript(SNEAKED)


async def seen_by(bench, told):
    view = RealmView(bench.store, bench.admin.vault, unrecorded=told.append)
    await view.loader.look()
    return view


async def newest(bench):
    return (await bench.store.read(lambda tx: tx.head())).seq


async def test_a_rule_that_nobody_recorded_is_told_when_it_comes_into_force(bench):
    told: list[Unrecorded] = []
    view = await seen_by(bench, told)
    await rules.allow(bench.admin, "billing", "orders", scopes=("read",))
    sneak(bench)
    await view.loader.look()
    number = await newest(bench)
    assert told == [Unrecorded(first=number, last=number, what=("rule 2",))]
    scopes = await view.settled(
        lambda moment: [rule.scopes for rule in moment.facts.policy.rules_for("billing", "orders")]
    )
    assert scopes == [("read",), ("admin",)]


async def test_what_is_recorded_before_and_behind_it_does_not_hide_it(bench):
    told: list[Unrecorded] = []
    view = await seen_by(bench, told)
    await groups.add(bench.admin, "a")
    sneak(bench)
    first = await newest(bench)
    await groups.add(bench.admin, "b")
    sneak(bench)
    sneak(bench)
    await view.loader.look()
    assert [(one.first, one.last, one.what) for one in told] == [
        (first, first, ("rule 1",)), (first + 2, first + 3, ("rule 2", "rule 3")),
    ]  # fmt: skip


async def test_it_is_told_at_a_start_as_well(bench):
    """While no KDC ran, somebody was at the database, and an administrator changed something afterwards."""
    sneak(bench)
    await groups.add(bench.admin, "a")
    told: list[Unrecorded] = []
    await seen_by(bench, told)
    assert [one.what for one in told] == [("rule 1",)]


async def test_it_is_told_when_so_much_has_changed_that_everything_is_read(bench, monkeypatch):
    told: list[Unrecorded] = []
    view = await seen_by(bench, told)
    monkeypatch.setattr("orthros_kdc.store.statements.CHANGES_KEPT", 2)
    sneak(bench)
    number = await newest(bench)
    for name in ("a", "b", "c"):
        await groups.add(bench.admin, name)
    await view.loader.look()
    assert told == [Unrecorded(first=number, last=number, what=())]  # its entry is not kept any more


async def test_a_step_that_cannot_be_told_is_not_taken(bench):
    def full(_):
        raise RuntimeError("the queue is full")

    view = RealmView(bench.store, bench.admin.vault, unrecorded=full)
    await view.loader.look()
    sneak(bench)
    with pytest.raises(RuntimeError, match="the queue is full"):
        await view.loader.look()
    assert await view.settled(lambda moment: moment.facts.policy.rules_for("billing", "orders")) == ()


async def test_the_audit_log_and_the_log_of_the_process_say_so(bench, tmp_path):
    log = AuditLog(tmp_path / "audit", "kdc-1", bench.store, now_ms=bench.clock.now)
    async with trio.open_nursery() as nursery:
        await nursery.start(log.serve)
        with capture_logs() as lines:
            record_unrecorded("kdc-1", log, Unrecorded(first=7, last=9, what=("rule 2", "realm")))
        log.close()
    (written,) = (tmp_path / "audit").glob("kdc-1.*.jsonl")
    assert '"event":"change-unrecorded","first":7,"kdc_id":"kdc-1","last":9' in written.read_text()
    assert '"what":"rule 2, realm"' in written.read_text()
    (line,) = lines
    assert (line["log_level"], line["first"], line["last"]) == ("critical", 7, 9)


async def test_a_kdc_tells_it_to_its_audit_log(bench, tmp_path):
    sneak(bench)
    settings = {"listen.tcp": "", "listen.unix": str(tmp_path / "s"), "audit.directory": str(tmp_path / "audit")}
    async with open_kdc(KDC_SETTINGS.load(None, {}, settings), bench.store, bench.admin.vault):
        pass
    (log,) = (tmp_path / "audit").glob("kdc-1.*.jsonl")
    assert [line.count("change-unrecorded") for line in log.read_text().splitlines()].count(1) == 1


async def test_a_rule_without_a_number_is_not_told_and_waits_for_a_start(bench, tmp_path):
    """What is not found until rows carry MACs."""
    told: list[Unrecorded] = []
    view = await seen_by(bench, told)
    with closing(sqlite3.connect(bench.store._path)) as connection:
        connection.executescript(SNEAKED.partition(";")[0])
    await groups.add(bench.admin, "a")
    await view.loader.look()
    assert await view.settled(lambda moment: moment.facts.policy.rules_for("billing", "orders")) == ()
    started = await seen_by(bench, told)
    assert len(await started.settled(lambda moment: moment.facts.policy.rules_for("billing", "orders"))) == 1
    assert (told, (await verified(bench, tmp_path)).problem) == ([], None)


async def verified(bench, folder):
    (report,) = await audit_logs.verify(bench.admin, folder)
    return report


async def test_verify_reports_it_until_an_operator_answers_for_it(bench, tmp_path):
    assert (await verified(bench, tmp_path)).problem is None
    with pytest.raises(Misconfigured, match="wrong-state"):
        await audit_logs.accept_unrecorded(bench.admin, "nothing to accept")
    sneak(bench)
    number = await newest(bench)
    report = await verified(bench, tmp_path)
    assert (report.problem, report.broken) == ("unrecorded", True)
    assert report.detail == f"no line names change {number} of the realm: written past `orthros-admin`"
    await groups.add(bench.admin, "a")  # what comes later does not hide it
    sneak(bench)
    report = await verified(bench, tmp_path)
    assert (report.problem, report.detail[: 21 + len(str(number))]) == ("unrecorded", f"no line names change {number}")
    line = await audit_logs.accept_unrecorded(bench.admin, "repaired by hand, ticket 4711")
    report = await verified(bench, tmp_path)
    assert (report.problem, report.head.seq) == (None, line)
    told: list[Unrecorded] = []
    await seen_by(bench, told)
    assert told == []
    sneak(bench)
    assert (await verified(bench, tmp_path)).broken


async def test_every_change_of_administration_names_its_numbers(bench, tmp_path):
    """In one transaction or in many: no use case looks like somebody who went past it."""
    told: list[Unrecorded] = []
    view = await seen_by(bench, told)
    for step in (
        lambda: groups.add(bench.admin, "g"),
        lambda: groups.add_member(bench.admin, "g", "billing"),
        lambda: rules.allow(bench.admin, "group:g", "orders", scopes=("read",)),
        lambda: rules.deny(bench.admin, "group:g", "orders"),
        lambda: keys.rotate(bench.admin, "orders"),
        lambda: keys.export(bench.admin, "orders"),
        lambda: keys.activate(bench.admin, "orders"),
        lambda: keys.retire(bench.admin, "orders", 1),
        lambda: realm.rotate_keys(bench.admin),
        lambda: realm_file.apply(
            bench.admin,
            realm_file.read("version = 1\n[realm]\nname = 'corp.test'\n[principals.web]\n[groups]\ng = ['web']\n"),
            most_removals=9,
        ),
        lambda: principals.delete(bench.admin, "billing"),
    ):
        await step()
        await view.loader.look()
    assert told == []
    assert (await verified(bench, tmp_path)).problem is None


async def test_a_record_from_before_it_named_changes_is_not_doubted(bench, tmp_path):
    """What an earlier version recorded does not say which numbers it took."""
    lines = await bench.store.read(lambda tx: [row.line for row in lines_backwards(tx)])
    assert all_unnamed(99, [line.replace(b'"changes":', b'"other":') for line in lines]) == ()
    assert unnamed(range(1, 4), [b'{"changes":[2,2]}', b"{}"]) == (range(1, 2), range(3, 4))


def test_no_text_of_a_line_looks_like_numbers_of_changes():
    assert changes_of(b'{"facts":{"reason":"\\"changes\\":[1,9]"}}') == range(0)
    assert changes_of(b'{"facts":{"accepts":"3-5","reason":"accepts\\":\\"1-9"}}') == range(3, 6)
