from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orthros_client.daemon.tickets.cache import CacheKey, HeldCredential, TicketCache, plan_renewal
from orthros_protocol.exchanges.wants import WANT_JWT
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.credential import Credential, Life

ORDERS = Principal("test.realm", "orders")
KEY = CacheKey(kind=0, target=ORDERS)
CAPACITY = 4


def held(key: CacheKey = KEY, *, now: float = 0.0, ttl_s: int = 100, chance: float = 0.5) -> HeldCredential:
    return HeldCredential(
        key=key,
        credential=Credential(
            ticket=b"ticket of 16 byt",
            tail=b"k" * 32,
            target=key.target,
            client=Principal("test.realm", "web"),
            life=Life(ttl_s, now + ttl_s),
        ),
        renew_at=plan_renewal(now, ttl_s, chance=chance),
    )


@pytest.mark.parity("K5")
@given(st.floats(0, 1, exclude_max=True), st.integers(1, 86_400))
def test_renewal_is_planned_at_70_to_85_percent_of_the_life(chance: float, ttl_s: int) -> None:
    """Renewal ahead of expiry with jitter."""
    assert 1000 + 0.70 * ttl_s <= plan_renewal(1000, ttl_s, chance=chance) <= 1000 + 0.85 * ttl_s


@pytest.mark.parity("K5")
def test_every_part_of_the_question_is_part_of_the_key() -> None:
    """An answer to another question is never served, whatever the target."""
    questions: list[dict[str, Any]] = [
        {"kind": WANT_JWT},
        {"target": Principal("test.realm", "billing")},
        {"target": Principal("other.realm", "orders")},
        {"scopes": ()},
        {"scopes": ("read",)},
        {"ttl_s": 60},
        {"flags": 1},
        {"behalf": b"evidence"},
        {"limits": b"caveats"},
    ]
    cache = TicketCache()
    cache.put(held(), 0.0)
    assert cache.get(KEY, 1.0) is not None
    assert [question for question in questions if cache.get(evolve(KEY, **question), 1.0) is not None] == []


@pytest.mark.parity("K5")
def test_a_dying_ticket_is_not_served() -> None:
    """It would expire on its way; short lives keep nine tenths."""
    cache = TicketCache()
    cache.put(held(ttl_s=100), 0.0)
    cache.put(held(evolve(KEY, ttl_s=2), ttl_s=2), 0.0)
    assert cache.get(KEY, 94.9) is not None
    assert cache.get(KEY, 95.0) is None
    assert cache.get(evolve(KEY, ttl_s=2), 1.7) is not None
    assert cache.get(evolve(KEY, ttl_s=2), 1.9) is None


@pytest.mark.parity("B7")
def test_a_postponed_renewal_keeps_the_ticket() -> None:
    """A failed renewal takes nothing away."""
    cache = TicketCache()
    cache.put(held(), 0.0)
    assert cache.due(80.0, idle_after_s=1000) == [KEY]
    cache.postpone(KEY, 90.0)
    assert cache.due(80.0, idle_after_s=1000) == []
    assert cache.next_due(80.0, idle_after_s=1000) == 90.0
    assert cache.get(KEY, 80.0) is not None


@pytest.mark.parity("K5")
def test_what_nobody_uses_is_not_renewed_for_ever() -> None:
    """A cache that renews everything it ever held grows into a load of its own."""
    cache = TicketCache()
    cache.put(held(), 0.0)
    cache.put(held(now=75.0), 75.0, used=False)
    assert cache.due(160.0, idle_after_s=200) == [KEY]
    assert cache.due(160.0, idle_after_s=100) == []


@pytest.mark.parity("B7")
def test_the_longest_life_for_a_target_is_known_whatever_was_asked() -> None:
    """Remaining life in every answer."""
    cache = TicketCache()
    cache.put(held(ttl_s=100), 0.0)
    cache.put(held(evolve(KEY, scopes=("read",)), ttl_s=300), 0.0)
    assert cache.remaining_for(ORDERS, 50.0) == 250.0
    assert cache.remaining_for(Principal("test.realm", "payroll"), 50.0) == 0.0


@pytest.mark.parity("B7")
def test_keys_do_not_show() -> None:
    """No key byte in any repr."""
    one = held()
    shown = repr(one) + repr(TicketCache())
    assert not any(
        secret.hex() in shown or repr(secret)[2:-1] in shown for secret in (b"k" * 32, one.credential.pop_key)
    )


@pytest.mark.parity("K5")
class CacheAgainstNaiveModel(RuleBasedStateMachine):
    """The bounded LRU does what a list in order of use would do."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.cache = TicketCache(CAPACITY)
        self.model: list[HeldCredential] = []

    def alive(self) -> list[HeldCredential]:
        return [one for one in self.model if one.is_servable(self.now)]

    @rule(number=st.integers(0, 7), ttl_s=st.integers(1, 300))
    def put(self, number: int, ttl_s: int) -> None:
        one = held(evolve(KEY, flags=number), now=self.now, ttl_s=ttl_s)
        before = [other for other in self.model if other.key != one.key]
        if len(before) == CAPACITY:
            before = [other for other in before if other.is_servable(self.now)]
        self.model = [*before[-(CAPACITY - 1) :], one]
        self.cache.put(one, self.now)

    @rule(number=st.integers(0, 7))
    def get(self, number: int) -> None:
        key = evolve(KEY, flags=number)
        expected = next((one for one in self.alive() if one.key == key), None)
        self.model = [one for one in self.model if one.key != key] + ([expected] if expected else [])
        assert self.cache.get(key, self.now) == expected

    @rule()
    def purge(self) -> None:
        self.cache.purge(self.now)
        self.model = self.alive()

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def same_entries_in_the_same_order(self) -> None:
        assert list(self.cache.entries(self.now)) == self.alive()
        assert len(self.cache) <= CAPACITY


TestCacheAgainstNaiveModel = CacheAgainstNaiveModel.TestCase
