"""A whole KDC as an operation: messages in, answers and audit events out.

Each version runs its own copy of this file over its own `tests.support`; what stays the same is the JSON. Realm, clock
and entropy are the same in every case, and nothing is kept from one case to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import trio
from attrs import frozen

from orthros_kdc.admin import Admin, groups, jwt_keys, keys, principals, realm, rules
from orthros_kdc.policy.rule_caveats import RequiredDischarge
from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.realm.vault import Vault
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.testing import CountingEntropy, ManualClock
from tests.support.kdc_bench import REALM, Ledger, service_over
from tests.support.realm_views import PromptView
from tests.support.stores import scratch_store

Inputs = dict[str, Any]
START: Final = 1_800_000_000_000  # ms
NAMES: Final = ("web", "orders", "ledger", "vault", "approvals", "stopped")


@frozen(eq=False)
class Realm:
    """What all cases have in common."""

    view: PromptView
    roots: list[RootKey]


async def _founded() -> Realm:
    """A realm with a rule of every kind, which has been looked at once. Its store takes no time from the machine: the
    number of a change is made from it."""
    clock, entropy, ledger = ManualClock(START), CountingEntropy(), Ledger()
    store = scratch_store(now_ms=clock.now)
    vault = Vault(realm=REALM, master=MasterKey(entropy(32), number=1), entropy=entropy)
    admin = Admin(store=store, vault=vault, audit=ledger, now_ms=clock.now, actor="tester")
    await realm.init(admin)
    held = [await principals.add(admin, name) for name in NAMES]
    await rules.allow(admin, "web", "orders", scopes=("read", "write"), delegable=True, jwt=True, subjects=("user/*",))
    await rules.allow(admin, "web", "approvals", scopes=("ask",), max_ttl_s=60, sources=("192.0.2.0/24",))
    await rules.allow(admin, "web", "stopped", scopes=("read",))
    await rules.allow(admin, "orders", "ledger", scopes=("read",), delegable=True, behalf=("*",))
    await rules.allow(admin, "orders", "orders", scopes=("read",), behalf=("*",), callbacks=True)
    path: dict[str, Any] = {"require_via": ("web",), "deny_via": ("vault",), "max_depth": 2}
    await rules.allow(admin, "ledger", "vault", scopes=("read", "write"), behalf=("user/*", "web"), **path)
    demanded: dict[str, Any] = {"discharges": (RequiredDischarge("approvals", "four-eyes"),)}
    await rules.allow(admin, "vault", "ledger", scopes=("pay",), **demanded)
    written: dict[str, Any] = {"methods": ("GET", "PUT"), "path": "/public", "peers": ("10.0.0.0/8",)}
    await rules.allow(admin, "web", "vault", scopes=("read", "pay"), delegable=True, **written)
    both: dict[str, Any] = {
        "discharges": (RequiredDischarge("approvals", "four-eyes"), RequiredDischarge("stopped", "no-one"))
    }
    await rules.allow(admin, "vault", "orders", scopes=("read",), **both)
    await groups.add(admin, "callers")
    await groups.add_member(admin, "callers", "web")
    await rules.allow(admin, "group:callers", "ledger", scopes=("read",), delegable=True, subjects=("*",))
    await jwt_keys.enable(admin, "orders")
    await principals.disable(admin, "stopped")
    # Of `orders` two versions live; of `ledger` the first is retired.
    for name in ("orders", "ledger"):
        held.append(await keys.rotate(admin, name))
        await keys.activate(admin, name)
    await keys.retire(admin, "ledger", 1)
    view = PromptView(store, vault)
    await view.loader.look()
    roots = {(key.uid, key.kvno): key for keytab in held for key in _roots_in(keytab)}
    return Realm(view, list(roots.values()))


def _roots_in(keytab: Keytab) -> list[RootKey]:
    return [entry.key for entry in keytab.entries if isinstance(entry.key, RootKey)]


@cache
def _realm() -> Realm:
    return trio.run(_founded)


def facts(_given: Inputs) -> Inputs:
    """The keys of the realm, with which cases are made: they must be the same in both versions."""
    realm_keys = _realm().view.loader.snapshot.facts.keys
    parties = [
        {"root": root.material.hex(), "realm": REALM, "name": root.principal.name, "uid": root.uid, "kvno": root.kvno}
        for root in _realm().roots
    ]
    tgt, mark = realm_keys.newest_tgt, realm_keys.newest_mac
    return {
        "now": START, "parties": parties,
        "tgt_key": {"key": tgt.material.hex(), "type": 1, "realm": REALM, "name": tgt.principal.name, "uid": tgt.uid,
                    "kvno": tgt.kvno},
        "mac_no": mark.number, "mac_key": mark.material.hex(),
    }  # fmt: skip


def answers(given: Inputs) -> Inputs:
    """`messages` in order to a KDC that has just started, at `now`, in milliseconds, from `address`."""
    ledger, clock = Ledger(), ManualClock(given["now"])
    service = service_over(_realm().view, ledger, clock, CountingEntropy())

    async def answered() -> list[str]:
        sent = map(bytes.fromhex, given["messages"])
        return [(await service.answer(one, given["address"], given["address"])).message.hex() for one in sent]

    replies = trio.run(answered)
    service.sum_up(clock.now(), all_of_them=True)
    events = [event.to_dict() for event in ledger.events]
    said = [f"{one['event']}/{one['code']}" if "code" in one else one["event"] for one in events]
    return {"answers": replies, "events": events, "said": said}


OPERATIONS: Final[dict[str, Callable[[Inputs], Inputs]]] = {"kdc-facts": facts, "kdc": answers}
