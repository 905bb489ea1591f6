"""A realm with hundreds of rules that have nothing to do with anybody, and its loader at work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from orthros_kdc.policy.model import Selector
from orthros_kdc.policy.rule import Rule
from orthros_kdc.realm.vault import Vault
from orthros_kdc.realm.view import RealmView
from orthros_kdc.store.base import Store, Transaction
from tests.support.kdc_bench import KdcBench

__all__ = ["OTHERS", "add_others", "in_force", "served"]

OTHERS = 400


async def add_others(bench: KdcBench, *, first: int = 0, last: int = OTHERS) -> None:
    """Principals with a rule and a place in `others` each."""

    def work(tx: Transaction) -> None:
        if not first:
            tx.add_group("others")
        for number in range(first, last):
            name = f"other/{number}"
            tx.add_principal(name=name, created=1)
            tx.add_member("others", name)
            tx.add_rules([Rule(rule_id=0, client=Selector(name), target=Selector("orders"), scopes=("read",))])

    await bench.store.change(work)


@asynccontextmanager
async def served(store: Store, vault: Vault) -> AsyncIterator[RealmView]:
    """A view whose loader runs, as in a KDC."""
    view = RealmView(store, vault)
    async with trio.open_nursery() as nursery:
        scope = await nursery.start(view.loader.serve)
        yield view
        scope.cancel()


async def in_force(view: RealmView, store: Store) -> None:
    """Until what the store holds now is in force."""
    head = await store.read(lambda tx: tx.head())
    await view.loader.reached(head.seq)
