from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.primitives.instants import Timestamp, UnixSeconds, seconds_of, timestamp_of


@given(st.integers(0, 2**52))
def test_a_moment_lies_in_its_second(now: int) -> None:
    second = seconds_of(Timestamp(now))
    assert timestamp_of(second) <= now < timestamp_of(UnixSeconds(second + 1))
