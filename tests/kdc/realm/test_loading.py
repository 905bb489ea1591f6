"""The realm is loaded once and then followed, change by change: counted in reads, rows and steps of the database."""

import os
import sqlite3
from operator import methodcaller

import pytest
import trio
import trio.testing

from orthros_kdc.admin import groups, keys, principals, realm, rules
from orthros_kdc.config import KDC_SETTINGS
from orthros_kdc.process.kdc import open_kdc
from orthros_kdc.realm.principal_cache import PrincipalCache
from orthros_kdc.realm.view import RealmView
from orthros_protocol.errors import Misconfigured, Unavailable
from orthros_protocol.exchanges.as_exchange import build_as_request
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.primitives.names import Principal
from tests.kdc.realm.large_realm import OTHERS, add_others, in_force, served
from tests.support.kdc_bench import REALM, open_bench, service_over
from tests.support.row_counts import CountingStore


@pytest.fixture
async def bench():
    made = await open_bench()
    await made.add("billing", "orders")
    await rules.allow(made.admin, "billing", "orders", scopes=("read",))
    await add_others(made)
    return made


def served_by(bench, view):
    bench.service = service_over(view, bench.ledger, bench.clock, bench.entropy)


@pytest.mark.parity("O4")
async def test_a_change_reads_what_it_names_and_nothing_else(bench):
    """A change of anything once made every request read all of policy."""
    counting = CountingStore(bench.store)
    view = RealmView(counting, bench.admin.vault)
    await view.loader.look()
    assert counting.rows > 2 * OTHERS
    told = []
    for change in (
        lambda: realm.change(bench.admin, limits={"max_ticket_s": 600}),
        lambda: rules.allow(bench.admin, "orders", "billing", scopes=("read",)),
        lambda: groups.add_member(bench.admin, "others", "billing"),
        lambda: groups.remove_member(bench.admin, "others", "billing"),
        lambda: principals.disable(bench.admin, "billing"),
        lambda: keys.rotate(bench.admin, "billing"),
        lambda: rules.deny(bench.admin, "orders", "billing"),
    ):
        await change()
        counting.reads = counting.rows = 0
        await view.loader.look()
        told.append((counting.reads, counting.rows <= 12))
    assert told == [(1, True)] * 7


async def test_what_the_database_does_for_a_change_does_not_grow_with_the_realm(bench):
    """Rows that are only passed over count as well: by the steps of SQLite's own machine."""

    async def steps():
        view = RealmView(bench.store, bench.admin.vault)
        await view.loader.look()
        await rules.allow(bench.admin, "orders", "billing", scopes=("read",))
        await groups.add_member(bench.admin, "others", "billing")
        await groups.remove_member(bench.admin, "others", "billing")
        await rules.deny(bench.admin, "orders", "billing")
        counted = []
        for connection in bench.store._connections:
            connection.set_progress_handler(lambda: counted.append(1), 1)
        await view.loader.look()
        for connection in bench.store._connections:
            connection.set_progress_handler(None, 0)
        return len(counted)

    few = await steps()
    await add_others(bench, first=OTHERS, last=5 * OTHERS)
    assert 0 < await steps() < few * 1.2


@pytest.mark.parity("O4")
async def test_many_logins_after_a_change_read_each_principal_once_and_no_policy(bench):
    """24 logins after `realm limit` took six seconds at 4,000 rules."""
    names = [f"service/{number}" for number in range(24)]
    await bench.add(*names)
    counting = CountingStore(bench.store)
    async with served(counting, bench.admin.vault) as view:
        served_by(bench, view)
        await realm.change(bench.admin, limits={"max_ticket_s": 600})
        await in_force(view, bench.store)
        counting.reads = counting.rows = 0
        async with trio.open_nursery() as nursery:
            for name in names * 3:
                nursery.start_soon(bench.log_in, name)
        assert (counting.reads, counting.rows < 6 * len(names)) == (len(names), True)


async def test_strangers_cost_the_store_nothing(bench):
    """100 packets with a wrong MAC after one admin command held up everybody for 26 seconds."""
    counting = CountingStore(bench.store)
    nobody = Keytab.of(RootKey(os.urandom(32), principal=Principal(REALM, "nobody"), uid=99, kvno=1)).as_key()
    async with served(counting, bench.admin.vault) as view:
        served_by(bench, view)
        await bench.log_in("billing")
        await realm.change(bench.admin, limits={"max_ticket_s": 600})
        await in_force(view, bench.store)
        counting.reads = 0
        for key in (bench.as_key("billing"), nobody) * 50:
            asked = build_as_request(
                key, service="kdc/tgt", ttl_s=0, instance=bytes(16), now=bench.clock.now(), nonce=bytes(16)
            )
            forged = asked.message[:-1] + bytes([asked.message[-1] ^ 1])
            assert len(await bench.send(forged)) < 32  # a NAK
        assert counting.reads == 0


async def test_who_waits_for_the_same_principal_waits_for_one_read(bench):
    counting = CountingStore(bench.store)
    async with served(counting, bench.admin.vault) as view:
        counting.reads = 0
        found = []

        async def ask():
            found.append(await view.settled(lambda moment: (moment.target("orders"), moment.target("nobody"))))

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
        assert counting.reads == 2
    assert {(target and target.principal.name, nobody) for target, nobody in found} == {("orders", None)}


async def test_whoever_is_behind_by_more_than_the_log_holds_reads_everything(bench, monkeypatch):
    monkeypatch.setattr("orthros_kdc.store.statements.CHANGES_KEPT", 2)
    counting = CountingStore(bench.store)
    view = RealmView(counting, bench.admin.vault)
    await view.loader.look()
    await view.settled(lambda moment: moment.target("orders"))
    await principals.disable(bench.admin, "orders")
    for name in ("a", "b", "c"):
        await groups.add(bench.admin, name)
    await rules.deny(bench.admin, "billing", "orders")
    counting.rows = 0
    await view.loader.look()
    assert counting.rows > 2 * OTHERS
    target, found = await view.settled(
        lambda moment: (moment.target("orders"), moment.facts.policy.rules_for("billing", "orders"))
    )
    assert target is not None
    assert (target.principal.disabled, found) == (True, ())


@pytest.mark.parametrize("key", ["seventeen", "", "17 billing"])
async def test_an_entry_that_nobody_can_read_has_everything_read(bench, key):
    view = RealmView(bench.store, bench.admin.vault)
    await view.loader.look()
    await rules.deny(bench.admin, "billing", "orders")
    await bench.store.change(
        lambda tx: tx._run("UPDATE changes SET key = ? WHERE seq = (SELECT max(seq) FROM changes)", key)
    )
    await view.loader.look()
    assert await view.settled(lambda moment: moment.facts.policy.rules_for("billing", "orders")) == ()


async def test_a_damaged_key_stops_its_principal_and_nobody_else(bench):
    view = RealmView(bench.store, bench.admin.vault)
    await view.loader.look()
    uid = (await principals.show(bench.admin, "orders")).record.uid
    await keys.rotate(bench.admin, "orders")
    await bench.store.change(lambda tx: tx._run("UPDATE keys SET state = 'lost' WHERE uid = ?", uid))
    await view.loader.look()
    with pytest.raises(Misconfigured, match="database-invalid"):
        await view.settled(lambda moment: moment.client(uid))
    assert await view.settled(lambda moment: moment.target("billing")) is not None


async def test_a_store_that_goes_back_is_read_as_a_whole(bench):
    """A backup is written over the database of a KDC that runs."""
    view = RealmView(bench.store, bench.admin.vault)
    held = sqlite3.connect(":memory:")
    bench.store._writer.backup(held)
    await rules.deny(bench.admin, "billing", "orders")
    await view.loader.look()
    assert await view.settled(lambda moment: moment.facts.policy.rules_for("billing", "orders")) == ()
    held.backup(bench.store._writer)
    held.close()
    await view.loader.look()
    assert len(await view.settled(lambda moment: moment.facts.policy.rules_for("billing", "orders"))) == 1


async def test_nobody_is_let_in_before_the_realm_has_been_loaded(bench, tmp_path):
    """It once said that it was ready, and answered 18 seconds later."""
    socket = tmp_path / "kdc.sock"
    settings = {"listen.tcp": "", "listen.unix": str(socket), "audit.directory": str(tmp_path / "audit")}
    slow = Slow(bench.store)
    said = []

    async def run():
        async with open_kdc(KDC_SETTINGS.load(None, {}, settings), slow, bench.admin.vault) as kdc:
            said.append(kdc.loader.snapshot.facts.policy.rules_for("billing", "orders"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await slow.asked.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert (said, socket.exists()) == ([], False)
        slow.go.set()
    assert len(said[0]) == 1


class Slow:
    """A store whose loader has to wait."""

    def __init__(self, store):
        self.store, self.asked, self.go = store, trio.Event(), trio.Event()

    def __getattr__(self, name):
        return getattr(self.store, name)

    async def read(self, work):
        rows = await self.store.read(work)
        if hasattr(rows, "snapshot"):
            self.asked.set()
            await self.go.wait()
        return rows


async def test_a_snapshot_that_cannot_be_confirmed_is_used_for_two_seconds_and_no_longer(bench, mock_clock):
    """What was revoked must not go on because the database cannot be reached."""
    view = RealmView(bench.store, bench.admin.vault)
    await view.loader.look()
    await view.settled(lambda moment: moment.target("orders"))
    await bench.store.change(lambda tx: tx._connection.execute("ALTER TABLE meta RENAME TO gone"))
    with pytest.raises(Unavailable, match="kdc-fault"):
        await view.loader.look()
    mock_clock.jump(1.9)
    assert await view.settled(lambda moment: moment.target("orders")) is not None
    mock_clock.jump(0.2)
    refused = []

    async def ask():
        with pytest.raises(Unavailable, match="kdc-fault"):
            await view.settled(lambda moment: moment.target("orders"))
        refused.append("orders")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Unavailable, match="kdc-fault"):
            await view.loader.look()
    assert refused == ["orders"]


async def test_a_change_is_in_force_within_a_tenth_of_a_second(bench, mock_clock):
    """The loader looks by itself: no request and no signal tells it of a change by another process."""
    async with served(bench.store, bench.admin.vault) as view:
        await rules.deny(bench.admin, "billing", "orders")
        head = await bench.store.read(lambda tx: tx.head())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(view.loader.reached, head.seq)
            await trio.testing.wait_all_tasks_blocked()
            before = view.loader._looked
            mock_clock.jump(0.1)
            await trio.testing.wait_all_tasks_blocked()
            assert view.loader._looked is not before  # else what follows would wait for ever


async def test_only_so_many_principals_are_at_hand(bench):
    view = RealmView(bench.store, bench.admin.vault, capacity=5)
    await view.loader.look()
    for number in range(20):
        await view.settled(methodcaller("principal", f"other/{number}"))
    at_hand: PrincipalCache = view._at_hand
    assert (len(at_hand), len(at_hand._uids), view.is_at_hand("other/19"), view.is_at_hand("other/14")) == (
        5, 5, True, False,
    )  # fmt: skip
