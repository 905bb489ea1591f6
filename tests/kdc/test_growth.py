"""A realm while it changes: services join under load, services move, rules shrink."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from orthros_client.verifier import Verifier
from orthros_kdc.admin import principals, rules
from orthros_protocol.errors import PeerMisbehaved, Refused
from orthros_protocol.exchanges.ap_exchange import USE_RAW, ApRequest, TargetRefusal, open_ap_reply, sign_ap_request
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.exchanges.wants import Granted
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.tickets.access import parse_address
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from tests.client.world import elapse, open_world
from tests.support.kdc_bench import KdcBench, open_bench

ENDPOINT = "orders/submit"


@pytest.fixture
async def bench() -> KdcBench:
    bench = await open_bench()
    await bench.add("billing", "orders")
    await rules.allow(bench.admin, "billing", "orders", scopes=("read", "write"), max_ttl_s=600)
    return bench


def verifier_of(bench: KdcBench, keytab: Keytab) -> Verifier:
    return Verifier(keytab.verify_only(), clock=bench.clock.now, monotonic_ms=bench.clock.now, entropy=bench.entropy)


def call(bench: KdcBench, granted: Granted, verifier: Verifier, *, peer: str = "10.0.0.1") -> frozenset[str]:
    """One call as a client makes it, first contact included; the scopes that the target saw."""
    assert granted.session_key is not None
    pop_key, epoch = pop_key_of(tail_of(granted.session_key, granted.credential)), None
    for _ in range(2):
        request = ApRequest(
            use=USE_RAW, ticket=granted.credential, bind=bind_raw(ENDPOINT), ts=bench.clock.now(),
            nonce=bench.entropy(16), epoch=epoch,
        )  # fmt: skip
        pending = sign_ap_request(request, pop_key)
        try:
            caller = verifier.accept(pending.message, ENDPOINT, peer=parse_address(peer))
        except Refused as refusal:
            with pytest.raises(TargetRefusal, match="epoch-required") as told:
                open_ap_reply(pending, refusal.reply or b"")
            epoch = told.value.epoch
        else:
            open_ap_reply(pending, caller.reply)
            return caller.scopes
    raise AssertionError("the target wanted two epochs")


@pytest.mark.parity("L22")
async def test_services_join_under_load_without_touching_any_other(bench: KdcBench) -> None:
    """N services are N keys: each new one works at once, no call fails, and no other key file changes."""
    orders = verifier_of(bench, bench.keytabs["orders"])
    keys_before = await bench.store.read(lambda tx: tx.keys_of(bench.keytabs["orders"].uid))
    login = await bench.log_in("billing")
    done, calls = trio.Event(), 0

    async def go_on_calling() -> None:
        nonlocal calls
        while not done.is_set():
            granted = await bench.ask_one(login, "orders")
            assert isinstance(granted, Granted)
            assert call(bench, granted, orders) == {"read", "write"}
            calls += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on_calling)
        for number in range(20):
            name, before = f"shard-{number}", calls
            await bench.add(name)
            await rules.allow(bench.admin, "billing", name, scopes=("read",))
            granted = await bench.ask_one(login, name)
            assert isinstance(granted, Granted)
            assert call(bench, granted, verifier_of(bench, bench.keytabs[name])) == {"read"}
            while calls == before:
                await trio.lowlevel.checkpoint()
        done.set()
    assert calls >= 20
    assert await bench.store.read(lambda tx: tx.keys_of(bench.keytabs["orders"].uid)) == keys_before


@pytest.mark.parity("L25")
async def test_whoever_moves_takes_its_name_along(bench: KdcBench) -> None:
    """Names, not addresses: on another host the same key file accepts the same ticket, from wherever its client
    calls now, and the KDC is not asked; on no host does another service's."""
    login = await bench.log_in("billing")
    granted = await bench.ask_one(login, "orders")
    assert isinstance(granted, Granted)
    issued = len(bench.ledger.events)
    for address in ("10.0.0.7", "2001:db8::7"):
        moved = verifier_of(bench, bench.keytabs["orders"])
        assert call(bench, granted, moved, peer=address) == {"read", "write"}
    assert len(bench.ledger.events) == issued
    await bench.add("impostor")
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        call(bench, granted, verifier_of(bench, bench.keytabs["impostor"]))
    bench.address = "198.51.100.9"  # and where the client asks the KDC from is nothing that a ticket knows
    elsewhere = await bench.ask_one(login, "orders")
    assert isinstance(elsewhere, Granted)
    assert call(bench, elsewhere, verifier_of(bench, bench.keytabs["orders"])) == {"read", "write"}


@pytest.mark.parity("Z2")
async def test_the_next_ticket_follows_the_rules_of_its_moment(bench: KdcBench) -> None:
    """What is asked for again is decided again, by the policy whose number the reply carries."""
    login = await bench.log_in("billing")
    before = await bench.ask_one(login, "orders")
    (rule,) = await rules.deny(bench.admin, "billing", "orders")
    await rules.allow(bench.admin, "billing", "orders", scopes=("read",), max_ttl_s=rule.max_ttl_s)
    after = await bench.ask_one(login, "orders")
    assert isinstance(before, Granted)
    assert isinstance(after, Granted)
    assert (before.scopes, after.scopes) == (("read", "write"), ("read",))
    numbers: Sequence[Any] = [event.to_dict()["policy_seq"] for event in bench.ledger.named("tgs-issued")]
    assert numbers == sorted(set(numbers))
    orders = verifier_of(bench, bench.keytabs["orders"])
    assert call(bench, before, orders) == {"read", "write"}  # offline, until it ends
    bench.clock.advance(before.ttl_s)
    with pytest.raises(AssertionError, match="epoch-required"):
        call(bench, before, orders)


@pytest.mark.parity("Z2")
async def test_a_daemon_serves_what_was_revoked_for_one_life_at_most(autojump_clock: trio.testing.MockClock) -> None:
    """Renewal reads permissions anew, so that the staleness is the life of a ticket and no more."""
    async with open_world() as world:
        world.realm.allow("web", "orders", "read", "write", max_ttl_s=600)
        held = await world.agent.obtain(world.key("orders"), timeout_s=10)
        world.realm.allow("web", "orders", "read", max_ttl_s=600)
        assert held.credential.scopes == ("read", "write")
        await elapse(600)
        assert (await world.agent.obtain(world.key("orders"), timeout_s=10)).credential.scopes == ("read",)


@pytest.mark.parity("L22")
async def test_a_removed_principal_takes_its_rules_along(bench: KdcBench) -> None:
    """Leaving is as local as joining."""
    await bench.add("shard")
    await rules.allow(bench.admin, "billing", "shard")
    await principals.delete(bench.admin, "shard")
    assert [str(rule.target) for rule in await rules.listed(bench.admin)] == ["orders"]
