"""Whole or not at all, seen or not seen, and the head that tells of changes: on every store."""

import pytest
import trio
import trio.testing

from orthros_kdc.policy.model import Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.store.base import AdminLine, AuditAnchor
from orthros_protocol.errors import LocalMisuse, Misconfigured


def names(tx):
    return [principal.name for principal in tx.principals()]


async def test_a_change_that_raises_changes_nothing(store, realm_record, key_of):
    def fill(tx):
        tx.create_realm(realm_record)
        billing = tx.add_principal(name="billing", created=1)
        tx.add_key(key_of(billing.uid, 1, 1))
        tx.add_group("callers")
        tx.add_member("callers", "billing")
        tx.add_rules([Rule(rule_id=0, client=Selector("billing"), target=Selector("billing"), scopes=("a",))])
        tx.set_anchor(AuditAnchor(writer="kdc-1", seq=1, head="aa"))
        return billing.uid

    def everything(tx):
        return tx.realm(), tx.principals(), tx.keys_of(uid), tx.policy(), tx.anchors(), tx.realm_keys()

    uid = await store.change(fill)
    before = await store.read(everything)
    generation = store.peek_head()

    def fail(tx):
        tx.set_anchor(AuditAnchor(writer="kdc-1", seq=2, head="bb"))
        tx.add_principal(name="payroll", created=1)
        tx.delete_group("callers")
        tx.delete_principal(uid)
        assert names(tx) == ["payroll"]
        raise ValueError("the last step fails")

    with pytest.raises(ValueError, match="the last step fails"):
        await store.change(fail)
    assert await store.read(everything) == before
    assert store.peek_head() == generation


async def test_a_change_sees_itself(store):
    def work(tx):
        tx.add_principal(name="billing", created=1)
        return names(tx)

    assert await store.change(work) == ["billing"]


async def test_a_refusal_inside_a_change_can_be_handled(store):
    def work(tx):
        tx.add_principal(name="billing", created=1)
        with pytest.raises(Misconfigured, match="already-exists"):
            tx.add_principal(name="billing", created=1)
        tx.add_principal(name="payroll", created=1)

    await store.change(work)
    assert await store.read(names) == ["billing", "payroll"]


async def test_a_read_cannot_write(store):
    with pytest.raises(LocalMisuse, match="wrong-state"):
        await store.read(lambda tx: tx.add_principal(name="billing", created=1))
    with pytest.raises(LocalMisuse, match="wrong-state"):
        await store.read(lambda tx: tx.set_anchor(AuditAnchor(writer="kdc-1", seq=1, head="aa")))
    assert await store.read(names) == []


async def test_a_transaction_that_leaks_cannot_write_any_more(store):
    leaked = await store.change(lambda tx: tx)
    with pytest.raises(LocalMisuse, match="wrong-state"):
        leaked.add_principal(name="billing", created=1)
    assert await store.read(names) == []


async def test_changes_at_the_same_time_take_turns(store):
    seen = []

    async def add(name):
        def work(tx):
            before = len(names(tx))
            tx.add_principal(name=name, created=1)
            return before

        seen.append(await store.change(work))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(add, f"p{number}")
    assert sorted(seen) == list(range(20))


async def test_reads_at_the_same_time_all_answer(store):
    await store.change(lambda tx: tx.add_principal(name="billing", created=1))
    answers = []

    async def ask():
        answers.append(await store.read(names))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert answers == [["billing"]] * 20


async def test_a_change_that_is_cancelled_before_it_begins_does_not_happen(store):
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.change(lambda tx: tx.add_principal(name="billing", created=1))
    assert scope.cancelled_caught
    assert await store.read(names) == []


async def test_the_generation_moves_with_changes_only(store, clock):
    first = store.peek_head()
    await store.read(names)
    await store.change(names)
    assert store.peek_head() == first
    await store.change(lambda tx: tx.add_principal(name="billing", created=1))
    assert store.peek_head() != first


async def test_the_sequence_follows_the_clock_and_never_goes_back(store, clock):
    """Seq = max(last + 1, now_ms), so that a restored backup never goes back."""
    await store.change(lambda tx: tx.add_group("a"))
    first = (await store.read(lambda tx: tx.policy())).seq
    assert first == clock.ms
    clock.ms -= 60_000
    await store.change(lambda tx: tx.add_group("b"))
    assert (await store.read(lambda tx: tx.policy())).seq == first + 1
    clock.ms += 120_000
    await store.change(lambda tx: tx.add_group("c"))
    assert (await store.read(lambda tx: tx.policy())).seq == clock.ms


async def test_one_change_counts_once_and_its_policy_carries_the_new_number(store, clock):
    def work(tx):
        tx.add_group("a")
        first = tx.policy().seq
        tx.add_group("b")
        return first, tx.policy().seq

    assert await store.change(work) == (clock.ms, clock.ms)


async def test_an_anchor_is_kept_but_does_not_count_as_a_change(store):
    """Every audit line moves an anchor; no cache of policy may be dropped for it."""
    await store.change(lambda tx: tx.add_group("a"))
    before = store.peek_head()
    for seq, head in ((1, "aa"), (2, "bb")):
        anchor = AuditAnchor(writer="kdc-1", seq=seq, head=head)
        await store.change(lambda tx, anchor=anchor: tx.set_anchor(anchor))
        assert await store.read(lambda tx: tx.anchor("kdc-1")) == anchor
    await store.change(lambda tx: tx.set_anchor(AuditAnchor(writer="admin", seq=1, head="cc")))
    assert [anchor.writer for anchor in await store.read(lambda tx: tx.anchors())] == ["admin", "kdc-1"]
    assert store.peek_head() == before


@pytest.mark.parametrize("anchor_first", [True, False])
async def test_an_anchor_beside_a_change_does_not_hide_it(store, anchor_first):
    def work(tx):
        steps = [lambda: tx.set_anchor(AuditAnchor(writer="k", seq=1, head="a")), lambda: tx.add_group("a")]
        for step in steps if anchor_first else reversed(steps):
            step()

    before = store.peek_head()
    await store.change(work)
    assert store.peek_head() != before


async def test_a_refused_write_does_not_count_as_a_change(store):
    def work(tx):
        with pytest.raises(Misconfigured):
            tx.delete_rules([1])
        with pytest.raises(Misconfigured):
            tx.add_principal(name="kdc/tgt", created=1)

    before = store.peek_head()
    await store.change(work)
    assert store.peek_head() == before


async def test_a_closed_store_says_so_and_closes_twice(store):
    await store.aclose()
    await store.aclose()
    with pytest.raises(LocalMisuse, match="wrong-state"):
        await store.read(names)
    with pytest.raises(LocalMisuse, match="wrong-state"):
        await store.change(names)
    with pytest.raises(LocalMisuse, match="wrong-state"):
        store.peek_head()


async def test_closing_waits_for_the_change_that_runs(store):
    finished = []

    async def change():
        await store.change(lambda tx: tx.add_principal(name="billing", created=1))
        finished.append("change")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change)
        await trio.testing.wait_all_tasks_blocked()
        await store.aclose()
        finished.append("close")
    assert finished == ["change", "close"]


@pytest.mark.parity("K16")
async def test_entries_of_administration_are_only_added_and_count_as_no_change(store):
    """The record is in the transaction of the change, which alone counts."""
    lines = [AdminLine(seq=seq, hash=f"{seq:02x}", at=seq, line=b"{}\n") for seq in range(5, 12)]
    before = store.peek_head()

    def add(tx):
        assert tx.admin_head() is None
        for line in lines:
            tx.add_admin_lines([line])

    await store.change(add)
    assert store.peek_head() == before
    assert await store.read(lambda tx: tx.admin_head()) == lines[-1]
    assert await store.read(lambda tx: tx.admin_lines()) == tuple(lines)
    assert await store.read(lambda tx: tx.admin_lines(after=6, most=2)) == tuple(lines[2:4])
    with pytest.raises(Misconfigured, match="conflict"):
        await store.change(lambda tx: tx.add_admin_lines([lines[-1]]))
    with pytest.raises(LocalMisuse, match="wrong-state"):
        await store.read(lambda tx: tx.add_admin_lines([lines[-1]]))
