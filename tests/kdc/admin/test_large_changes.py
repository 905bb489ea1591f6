"""What is large holds the database's write lock for as short as it can: it is planned before, and written in one go."""

import sqlite3
from collections import Counter
from contextlib import closing
from typing import Any

import pytest
import trio
from attrs import define, evolve

from orthros_kdc.admin import groups, keys, principals, realm_file, rules
from orthros_kdc.audit import AdminAuditLog
from orthros_kdc.policy.model import Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.store.base import TOMBSTONE_S
from orthros_protocol.errors import Misconfigured

NAMES = ("a", "b", "c")


@pytest.fixture
async def logged(admin):
    """An administrator whose changes are recorded in the database, in a realm with three principals."""
    made = evolve(admin, audit=AdminAuditLog())
    for name in NAMES:
        await principals.add(made, name)
    return made


def document(count):
    """A realm file with `count` rules between two principals."""
    text = 'version = 1\n[realm]\nname = "example.org"\n'
    rules_of_it = (
        Rule(rule_id=0, client=Selector("a"), target=Selector("b"), scopes=(f"s{number}",)) for number in range(count)
    )
    return evolve(realm_file.read(text), rules=tuple(rules_of_it))


async def statements(store, step):
    """What the writing connection was asked to do, by the words that statements begin with."""
    seen: list[str] = []
    store._writer.set_trace_callback(seen.append)
    try:
        await step()
    finally:
        store._writer.set_trace_callback(None)
    return Counter(" ".join(statement.split()[:3]) for statement in seen)


ONE_FOR_EACH = {"INSERT INTO rules", "INSERT INTO admin_log", "INSERT INTO changes", "DELETE FROM rules"}


async def test_what_is_done_under_the_lock_is_one_write_for_each_row(logged, store):
    """To apply 29,850 rules of one pair held the lock for 15.9 s: each one read all that were there before."""

    async def counted(count):
        filled = await statements(store, lambda: realm_file.apply(logged, document(count)))
        emptied = await statements(store, lambda: realm_file.apply(logged, document(0), most_removals=count))
        for found, kind in ((filled, "INSERT INTO rules"), (emptied, "DELETE FROM rules")):
            assert {one: found[one] for one in ONE_FOR_EACH if one in found} == {
                kind: count, "INSERT INTO admin_log": count, "INSERT INTO changes": count,
            }  # fmt: skip
        return [sum(found[one] for one in found if one not in ONE_FOR_EACH) for found in (filled, emptied)]

    few = await counted(10)
    assert await counted(200) == few
    assert max(few) < 20


async def deny(admin):
    await rules.deny(admin, "group:g", "c")


async def delete_group(admin):
    await groups.delete(admin, "g")


async def delete_principal(admin):
    await principals.delete(admin, "c")


@pytest.mark.parametrize("step", [deny, delete_group, delete_principal], ids=lambda one: one.__name__)
async def test_what_removes_many_rules_asks_no_more_than_what_removes_few(logged, store, step):
    await groups.add(logged, "g")
    for name in NAMES:
        await groups.add_member(logged, "g", name)
    others = []
    for count in (3, 60):
        if count > 3 and step is not deny:
            await (groups.add(logged, "g") if step is delete_group else principals.add(logged, "c"))
        for number in range(count):
            await rules.allow(logged, "group:g", "c", scopes=(f"s{number}",))
        found = await statements(store, lambda: step(logged))
        assert await rules.listed(logged) == ()
        others.append(sum(found[one] for one in found if one not in ONE_FOR_EACH))
    assert others[1] <= others[0] < 30


async def test_many_tombstones_are_erased_as_few_are(logged, store, clock):
    """After a month in which every principal had a new key, the next rotation of any key erases what is left of all."""
    others = []
    for count in (2, 20):
        for number in range(count):
            name = f"rotated-{count}-{number}"
            await principals.add(logged, name)
            await keys.rotate(logged, name)
            await keys.activate(logged, name)
            await keys.retire(logged, name, 1)
        clock.seconds += TOMBSTONE_S + 1
        found = await statements(store, lambda: keys.erase_tombstones(logged))
        assert found["DELETE FROM keys"] == count
        each = ("DELETE FROM keys", "INSERT INTO changes")
        others.append(sum(found[one] for one in found if one not in each))
    assert others[1] <= others[0] < 15


@define
class AfterLooking:
    """A store that runs `then` after each read."""

    store: Any
    then: Any

    async def read(self, work):
        found = await self.store.read(work)
        await self.then()
        return found

    async def change(self, work):
        return await self.store.change(work)


async def test_a_realm_that_changes_meanwhile_is_planned_for_anew(logged, store):
    """What was found without the lock is not made of another realm than it was found in."""
    interfered: list[int] = []

    async def once():
        if not interfered:
            interfered.append(1)
            await rules.allow(logged, "a", "b", scopes=("s0",))
            await rules.allow(logged, "b", "a")

    plan = await realm_file.apply(evolve(logged, store=AfterLooking(store, once)), document(2))
    assert [str(change) for change in plan.changes] == ["+ rule a -> b [s1]", "- rule 2: b -> a [no scopes]"]
    assert [rule.scopes for rule in await rules.listed(logged)] == [("s0",), ("s1",)]


async def test_a_realm_that_never_rests_is_planned_for_under_the_lock(logged, store):
    changed: list[int] = []

    async def always():
        changed.append(len(changed))
        await groups.add(logged, f"g{len(changed)}")

    await realm_file.apply(evolve(logged, store=AfterLooking(store, always)), document(2), most_removals=9)
    assert len(changed) == 5
    assert len(await rules.listed(logged)) == 2
    assert await groups.listed(logged) == {}


async def test_what_takes_long_to_plan_is_not_planned_under_the_lock(logged, store, mock_clock):
    """In a realm of 100,000 rules that never rested, the last plan held the lock for 4 s and came to nothing."""

    async def always():
        mock_clock.jump(2)
        await groups.add(logged, f"g{trio.current_time()}")

    with pytest.raises(Misconfigured) as caught:
        await realm_file.apply(evolve(logged, store=AfterLooking(store, always)), document(2), most_removals=9)
    assert (caught.value.code, "repeat the command" in caught.value.detail) == ("conflict", True)
    assert await rules.listed(logged) == ()


async def test_who_only_looks_needs_no_lock(logged, store, tmp_path):
    """`realm export`, `realm diff` and `audit verify` go on while another process writes."""
    with closing(sqlite3.connect(tmp_path / "realm.sqlite3", isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert set((await realm_file.state(logged)).principals) == set(NAMES)
        assert len((await realm_file.diff(logged, document(2))).changes) == 2
        assert await rules.listed(logged) == ()
