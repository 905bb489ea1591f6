"""What a request sees was true at one moment, whatever changes while it waits for a row."""

import pytest
import trio
import trio.testing

from orthros_kdc.admin import principals, rules
from tests.kdc.realm.large_realm import in_force, served
from tests.support.kdc_bench import open_bench


class Slow:
    """A store that holds back one read of a principal: before it, or with the rows in its hands."""

    def __init__(self, store, *, before):
        self.store, self.before = store, before
        self.asked, self.go = trio.Event(), trio.Event()
        self.is_held = False

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def read(self, work):
        if self.is_held and self.before:
            await self._hold()
        rows = await self.store.read(work)
        if self.is_held and isinstance(rows, tuple):
            await self._hold()
        return rows

    async def _hold(self):
        self.is_held = False
        self.asked.set()
        await self.go.wait()


@pytest.fixture
async def bench():
    made = await open_bench()
    await made.add("billing", "orders")
    return made


def pair(moment):
    target = moment.target("orders")
    is_open = target is not None and not target.principal.disabled
    return bool(moment.facts.policy.rules_for("billing", "orders")), is_open


async def seen_while(bench, *changes, before):
    """What a request sees that waits for `orders` while the changes come into force."""
    slow = Slow(bench.store, before=before)
    found = []
    async with served(slow, bench.admin.vault) as view, trio.open_nursery() as nursery:

        async def ask():
            found.append(await view.settled(pair))

        slow.is_held = True
        nursery.start_soon(ask)
        await slow.asked.wait()
        for change in changes:
            await change()
        await in_force(view, bench.store)
        slow.go.set()
    return found[0]


async def test_a_new_row_does_not_meet_an_old_rule(bench):
    """The rule was removed before the target was enabled, so nobody may ever call it."""
    await rules.allow(bench.admin, "billing", "orders", scopes=("read",))
    await principals.disable(bench.admin, "orders")
    assert await seen_while(
        bench,
        lambda: rules.deny(bench.admin, "billing", "orders"),
        lambda: principals.enable(bench.admin, "orders"),
        before=True,
    ) == (False, True)


async def test_an_old_row_does_not_meet_a_new_rule(bench):
    """The target was disabled before the rule came, so nobody may call it."""
    assert await seen_while(
        bench,
        lambda: principals.disable(bench.admin, "orders"),
        lambda: rules.allow(bench.admin, "billing", "orders", scopes=("read",)),
        before=False,
    ) == (True, False)


async def test_that_there_was_nobody_is_not_held_against_who_came(bench):
    await principals.delete(bench.admin, "orders")

    async def come():
        await bench.add("orders")
        await rules.allow(bench.admin, "billing", "orders", scopes=("read",))

    assert await seen_while(bench, come, before=False) == (True, True)


async def test_a_row_that_is_newer_than_the_snapshot_waits_for_it(bench):
    """Here the loader has not heard of the change when the row is read."""
    slow = Slow(bench.store, before=True)
    from orthros_kdc.realm.view import RealmView

    view = RealmView(slow, bench.admin.vault)
    await view.loader.look()
    found = []

    async def ask():
        found.append(await view.settled(pair))

    async with trio.open_nursery() as nursery:
        slow.is_held = True
        nursery.start_soon(ask)
        await slow.asked.wait()
        await rules.allow(bench.admin, "billing", "orders", scopes=("read",))
        slow.go.set()
        while view._reads:
            assert found == []
            await trio.testing.wait_all_tasks_blocked()
            await view.loader.look()
    assert found == [(True, True)]


async def test_whoever_waits_for_a_reader_that_goes_away_reads_himself(bench):
    slow = Slow(bench.store, before=True)
    found = []
    async with served(slow, bench.admin.vault) as view, trio.open_nursery() as nursery:

        async def ask():
            found.append(await view.settled(pair))

        slow.is_held = True
        with trio.CancelScope() as impatient:
            async with trio.open_nursery() as first:
                first.start_soon(view.settled, pair)
                await slow.asked.wait()
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
                impatient.cancel()
    assert found == [(False, True)]
