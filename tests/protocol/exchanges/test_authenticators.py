"""Freshness, binding, and what a peer's clock may teach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, Refused
from orthros_protocol.exchanges.authenticators import bind_raw, check_window, measure_offset
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import MAX_TARGET_OFFSET_MS
from tests.support.naive import enc, raw_bind, sha256

NOW = Timestamp(1_800_000_000_000)


@pytest.mark.parametrize("age", [60_000, 59_999, 0, -1, -5_000])
def test_sixty_seconds_past_and_five_ahead_are_fresh(age: int) -> None:
    check_window(Timestamp(NOW - age), NOW)


@pytest.mark.parametrize(
    ("age", "said"), [(60_001, "old"), (61_000, "61.0 s old"), (-5_001, "ahead"), (-6_000, "6.0 s")]
)
def test_one_millisecond_more_is_not(age: int, said: str) -> None:
    """Section 17: timestamp 6 s ahead, 61 s old."""
    with pytest.raises(Refused, match=f"clock-skew.*{said}"):
        check_window(Timestamp(NOW - age), NOW)


def test_bind_is_the_digest_of_endpoint_channel_and_payload() -> None:
    assert bind_raw("orders/submit", b"body") == raw_bind("orders/submit", b"body")
    with_channel = sha256(enc("raw/1", "orders/submit", b"c" * 32, sha256(b"")))
    assert bind_raw("orders/submit", channel_binding=b"c" * 32) == with_channel


def test_no_two_calls_share_a_bind() -> None:
    binds = {
        bind_raw("a", b"b"), bind_raw("ab", b""), bind_raw("a", b""), bind_raw("a", channel_binding=b"b"),
        bind_raw("a", b"", channel_binding=b""),
    }  # fmt: skip
    assert len(binds) == 5


@pytest.mark.parametrize("endpoint", ["", "é", "a\n", "a\0", "x" * 256])
def test_an_endpoint_is_printable_ascii(endpoint: str) -> None:
    with pytest.raises(LocalMisuse, match="value-invalid"):
        bind_raw(endpoint)


@given(st.integers(-10_000_000, 10_000_000), st.integers(0, 4_999))
def test_an_offset_is_learnt_within_half_a_round_trip(ahead: int, round_trip: int) -> None:
    peer = Timestamp(NOW + round_trip // 2 + ahead)
    assert measure_offset(peer, sent=NOW, round_trip_ms=round_trip) == ahead


@pytest.mark.parametrize("round_trip", [5_000, 6_000, -1])
def test_a_slow_answer_teaches_nothing(round_trip: int) -> None:
    """Section 17: sealed time with a 6 s round trip."""
    assert measure_offset(Timestamp(NOW + 9_000), sent=NOW, round_trip_ms=round_trip) is None


def test_a_target_cannot_pull_its_clients_far_away() -> None:
    """A target's time is capped at 300 s; beyond that nothing is learnt."""
    for ahead in (-MAX_TARGET_OFFSET_MS, MAX_TARGET_OFFSET_MS):
        peer = Timestamp(NOW + ahead)
        assert measure_offset(peer, sent=NOW, round_trip_ms=0, most_ms=MAX_TARGET_OFFSET_MS) == ahead
    for ahead in (-MAX_TARGET_OFFSET_MS - 1, MAX_TARGET_OFFSET_MS + 1):
        peer = Timestamp(NOW + ahead)
        assert measure_offset(peer, sent=NOW, round_trip_ms=0, most_ms=MAX_TARGET_OFFSET_MS) is None
