from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_client.backoff import Backoff
from orthros_client.daemon.tickets.cache import CacheKey
from orthros_client.daemon.tickets.refusal_memory import RefusalMemory
from orthros_client.errors import Failure, TicketRefused
from orthros_protocol.primitives.names import Principal

KEY = CacheKey(kind=0, target=Principal("test.realm", "payroll"))
REFUSED = Failure.refused("not-granted")


@pytest.mark.parity("K6")
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=60))
def test_delays_double_to_the_cap_and_keep_at_least_half(chances: list[float]) -> None:
    """back-off with jitter on every failure."""
    backoff = Backoff(first_s=0.5, most_s=30.0)
    for at, chance in enumerate(chances):
        whole = min(0.5 * 2**at, 30.0)
        assert whole / 2 <= backoff.failed(100.0, chance=chance) - 100.0 <= whole
    backoff.succeeded()
    assert backoff.wait_s(100.0) == 0.0
    assert backoff.failed(100.0, chance=0.0) == 100.25


@pytest.mark.parity("K6")
def test_a_longer_pause_asked_for_under_seal_counts() -> None:
    """The KDC knows its load better than we do."""
    assert Backoff().failed(0.0, chance=0.0, at_least_s=17.0) == 17.0


@pytest.mark.parity("K5")
def test_a_refusal_stands_for_a_while_and_longer_each_time() -> None:
    """A loop of callers cannot hammer the KDC with what it refused."""
    memory = RefusalMemory(first_s=2.0, most_s=60.0)
    assert memory.remember(KEY, REFUSED, 0.0, chance=0.0) == 1.0
    recalled = memory.recall(KEY, 0.2)
    assert recalled is not None
    assert recalled.retry_s == 1
    assert memory.recall(KEY, 1.0) is None
    assert memory.remember(KEY, REFUSED, 1.0, chance=0.0) == 3.0
    memory.forget(KEY)
    assert memory.recall(KEY, 1.5) is None


@pytest.mark.parity("K5")
def test_the_memory_is_bounded() -> None:
    """Whoever asks for many names does not fill the daemon."""
    memory = RefusalMemory(capacity=3)
    for number in range(10):
        memory.remember(CacheKey(kind=0, target=KEY.target, flags=number), REFUSED, 0.0, chance=0.0)
    assert len(memory) == 3


@pytest.mark.parity("K5")
def test_each_waiting_caller_gets_an_exception_of_its_own() -> None:
    """One failure, many callers; a shared exception would collect their tracebacks."""
    first, second = REFUSED.to_error(), REFUSED.to_error()
    assert first is not second
    assert isinstance(first, TicketRefused)
    assert Failure.of(first) is REFUSED
