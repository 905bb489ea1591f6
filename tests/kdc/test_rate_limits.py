import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.rate_limits import NOT_GRANTED_COST, RateLimiter, source_key
from orthros_protocol.errors import LocalMisuse

rates = st.floats(0.1, 10_000)
bursts = st.integers(1, 10_000)
costs = st.integers(1, 400)
pauses = st.floats(0, 50)


@pytest.mark.parity("H6")
def test_a_burst_then_the_rate() -> None:
    """A principal has its share, and is told when to come back."""
    limiter = RateLimiter(per_s=2, burst=3)
    assert [limiter.charge("a", 1, 100.0) for _ in range(4)] == [0, 0, 0, pytest.approx(0.5)]
    assert limiter.charge("b", 3, 100.0) == 0
    assert limiter.charge("a", 1, 100.5) == 0
    assert limiter.charge("a", 2, 100.5) == pytest.approx(1.0)


def test_a_refused_charge_takes_nothing() -> None:
    """Vault 22575: a client that hammers is not punished for ever, and gains nothing either."""
    limiter = RateLimiter(per_s=1, burst=1)
    limiter.charge("a", 1, 0.0)
    assert {limiter.charge("a", 1, 0.5) for _ in range(100)} == {0.5}
    assert limiter.charge("a", 1, 1.0) == 0


@pytest.mark.parity("H6")
def test_guessing_names_costs_ten_times() -> None:
    """100 tokens are 100 wants, or ten guesses."""
    limiter = RateLimiter(per_s=1, burst=100)
    for _ in range(10):
        assert limiter.charge("a", 1, 0.0) == 0
        limiter.surcharge("a", NOT_GRANTED_COST - 1, 0.0)
    assert limiter.charge("a", 1, 0.0) == pytest.approx(1.0)


def test_a_penalty_ends() -> None:
    """Lockout is a lever for denial of service: the debt is bounded by one burst."""
    limiter = RateLimiter(per_s=1, burst=10)
    for _ in range(1000):
        limiter.surcharge("a", 10, 0.0)
    assert limiter.charge("a", 1, 0.0) == pytest.approx(11.0)
    assert limiter.charge("a", 1, 11.0) == 0


@pytest.mark.parity("H6")
@given(rates, bursts, st.lists(st.tuples(costs, pauses), max_size=40))
def test_never_more_than_burst_plus_rate_times_time(per_s, burst, charges) -> None:
    """Whatever the pattern, over any span from the start."""
    limiter = RateLimiter(per_s=per_s, burst=burst)
    now, spent = 1000.0, 0
    for cost, pause in charges:
        now += pause
        if limiter.charge("a", cost, now) == 0:
            spent += min(cost, burst)
        assert spent <= burst + per_s * (now - 1000.0) + 1e-3 * (1 + per_s)


@pytest.mark.parity("K17")
@given(rates, bursts, st.lists(costs, min_size=1, max_size=20))
def test_who_waits_as_told_is_let_in(per_s, burst, charges) -> None:
    """retry-after is the truth."""
    limiter = RateLimiter(per_s=per_s, burst=burst)
    now = 1000.0
    for cost in charges:
        wait = limiter.charge("a", cost, now)
        now += wait
        assert wait == 0 or limiter.charge("a", cost, now) == 0


@pytest.mark.parity("H6")
def test_memory_is_bounded_and_recovered_keys_go_first() -> None:
    """A full bucket and no bucket are the same thing."""
    limiter = RateLimiter(per_s=1, burst=10, max_keys=100)
    limiter.charge("debtor", 10, 0.0)
    for number in range(1000):
        limiter.charge(number, 1, 2.0 + number / 1000)
        assert len(limiter) <= 100
    assert limiter.charge("debtor", 10, 3.0) > 0


@pytest.mark.parity("H6")
def test_a_full_table_does_not_reset_the_one_who_filled_it() -> None:
    """Many cheap keys cannot push out one's own overdrawn bucket, as they would with LRU."""
    limiter = RateLimiter(per_s=0.001, burst=100, max_keys=64)
    assert limiter.charge("attacker", 100, 0.0) == 0
    for number in range(10_000):
        limiter.charge(number, 1, 1.0)
    assert limiter.charge("attacker", 1, 1.0) > 0


@pytest.mark.parity("P16")
def test_what_is_owed_survives_new_numbers() -> None:
    """SIGHUP is no amnesty."""
    limiter = RateLimiter(per_s=1, burst=10)
    limiter.charge("a", 10, 0.0)
    limiter.reconfigure(per_s=2, burst=10)
    assert limiter.charge("a", 1, 0.0) > 0
    for numbers in ({"per_s": 0, "burst": 1}, {"per_s": 1, "burst": 0}, {"per_s": float("nan"), "burst": 1}):
        with pytest.raises(LocalMisuse):
            limiter.reconfigure(**numbers)


@pytest.mark.parity("H5", "H6")
@pytest.mark.parametrize(
    ("peer", "key"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        (1000, "uid:1000"),
    ],
)
def test_sources_are_counted_by_what_one_party_holds(peer, key) -> None:
    """An IPv6 customer has a /64, so that is one source."""
    assert source_key(peer) == key


def test_a_source_that_is_no_address_is_a_bug() -> None:
    with pytest.raises(LocalMisuse, match="not an IP address"):
        source_key("example.org")


def test_a_limiter_without_room_is_a_bug() -> None:
    with pytest.raises(LocalMisuse):
        RateLimiter(per_s=1, burst=1, max_keys=0)
