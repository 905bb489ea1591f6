"""The replay set against a model that forgets nothing, under a clock that goes wherever it likes."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.authenticators import check_window
from orthros_protocol.exchanges.replay import Admission, Entry, ReplaySet
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.limits import WINDOW_FUTURE_MS, WINDOW_PAST_MS

START = 1_800_000_000_000
tags = st.integers(0, 11).map(lambda number: number.to_bytes(16, "big"))
CLIENTS = st.sampled_from(["billing", "orders", "mallory"])


class ReplayModel(RuleBasedStateMachine):
    """The model keeps every burnt (tag, second) for ever and computes the rest from its list."""

    def __init__(self) -> None:
        super().__init__()
        self.real = ReplaySet(capacity=8, per_client=4)
        self.now = START
        self.latest = 0
        self.burnt: dict[tuple[str, bytes, int], str] = {}

    @property
    def floor(self) -> int:
        return max(0, (self.latest - WINDOW_PAST_MS) // 1000)

    def kept(self) -> list[str]:
        return [client for (_, _, second), client in self.burnt.items() if second >= self.floor]

    @rule(tag=tags, offset=st.integers(-70, 12), client=CLIENTS)
    def admit(self, tag: bytes, offset: int, client: str) -> None:
        ts = self.now + offset * 1000
        self.latest = max(self.latest, self.now)
        second = ts // 1000
        if second < self.floor:
            expected = Admission.STALE
        elif (client, tag, second) in self.burnt:
            expected = Admission.SEEN
        elif self.kept().count(client) >= 4:
            expected = Admission.QUOTA
        elif len(self.kept()) >= 8:
            expected = Admission.FULL
        else:
            expected = Admission.FRESH
            self.burnt[client, tag, second] = client
        assert self.real.admit(Entry(tag, Timestamp(ts), client), Timestamp(self.now)) is expected

    @rule(ms=st.integers(0, 30_000))
    def wait(self, ms: int) -> None:
        self.now += ms

    @rule(ms=st.integers(1, 200_000))
    def clock_steps_back(self, ms: int) -> None:
        self.now -= ms

    @precondition(lambda self: bool(self.burnt))
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        client, tag, second = data.draw(st.sampled_from(sorted(self.burnt)))
        self.latest = max(self.latest, self.now)
        answer = self.real.admit(Entry(tag, Timestamp(second * 1000 + 999), client), Timestamp(self.now))
        assert answer is (Admission.STALE if second < self.floor else Admission.SEEN)

    @invariant()
    def size_is_bounded(self) -> None:
        assert len(self.real) <= 8


ReplayModel.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestReplayModel = ReplayModel.TestCase


@given(st.integers(-WINDOW_FUTURE_MS, WINDOW_PAST_MS), st.integers(0, 200_000))
def test_what_the_window_accepts_is_still_remembered(age: int, later: int) -> None:
    """MIT file2, gokrb5: an entry aged out at insertion + skew, while its timestamp stayed acceptable longer."""
    replay, ts = ReplaySet(), Timestamp(START - age)
    assert replay.admit(Entry(b"t" * 16, ts, "billing"), Timestamp(START)) is Admission.FRESH
    again = replay.admit(Entry(b"t" * 16, ts, "billing"), Timestamp(START + later))
    assert again in {Admission.SEEN, Admission.STALE}
    if again is Admission.STALE:
        with pytest.raises(Refused, match="clock-skew"):
            check_window(ts, Timestamp(START + later))


def test_a_timestamp_in_the_far_future_is_kept_until_its_own_time() -> None:
    replay, ts = ReplaySet(ahead_ms=None), Timestamp(START + 3_600_000)
    assert replay.admit(Entry(b"t" * 16, ts, "billing"), Timestamp(START)) is Admission.FRESH
    for later in (60_000, 3_600_000, 3_660_000):
        assert replay.admit(Entry(b"t" * 16, ts, "billing"), Timestamp(START + later)) is Admission.SEEN
    assert replay.admit(Entry(b"t" * 16, ts, "billing"), Timestamp(START + 3_661_000)) is Admission.STALE


def test_one_client_cannot_use_up_the_share_of_another() -> None:
    replay = ReplaySet(capacity=10, per_client=3)
    now = Timestamp(START)
    answers = [replay.admit(Entry(bytes([n]) * 16, now, "mallory"), now) for n in range(5)]
    assert answers == [Admission.FRESH] * 3 + [Admission.QUOTA] * 2
    assert replay.admit(Entry(b"x" * 16, now, "billing"), now) is Admission.FRESH


def test_a_full_set_refuses_and_never_evicts() -> None:
    replay = ReplaySet(capacity=2)
    now = Timestamp(START)
    for tag in (b"a" * 16, b"b" * 16):
        assert replay.admit(Entry(tag, now, "billing"), now) is Admission.FRESH
    assert replay.admit(Entry(b"c" * 16, now, "orders"), now) is Admission.FULL
    assert replay.admit(Entry(b"a" * 16, now, "billing"), now) is Admission.SEEN


def test_what_was_refused_for_lack_of_room_does_not_trip_the_next_pruning() -> None:
    """A refused client leaves nothing behind, neither memory nor an unbalanced count."""
    replay = ReplaySet(capacity=1)
    now = Timestamp(START)
    assert replay.admit(Entry(b"a" * 16, now, "billing"), now) is Admission.FRESH
    for second in range(5):
        ts = Timestamp(START + second * 1000)
        assert replay.admit(Entry(b"b" * 16, ts, f"mallory{second}"), now) is Admission.FULL
    later = Timestamp(START + 120_000)
    assert replay.admit(Entry(b"c" * 16, later, "orders"), later) is Admission.FRESH
    assert len(replay) == 1


def test_time_gives_the_room_back() -> None:
    replay = ReplaySet(capacity=50, per_client=50)
    for minute in range(10):
        now = Timestamp(START + minute * 61_000)
        for n in range(50):
            assert replay.admit(Entry(bytes([n]) * 16, now, "billing"), now) is Admission.FRESH
    assert len(replay) == 50


def test_of_a_hundred_equal_requests_at_once_one_is_fresh() -> None:
    """gokrb5: check-then-add without one lock let two equal requests pass."""
    replay = ReplaySet()
    answers: list[tuple[int, Admission]] = []
    barrier, now = threading.Barrier(20), Timestamp(START)

    def admit() -> None:
        barrier.wait()
        answers.extend((tag, replay.admit(Entry(bytes([tag]) * 16, now, "billing"), now)) for tag in range(50))

    threads = [threading.Thread(target=admit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = [tag for tag, answer in answers if answer is Admission.FRESH]
    assert sorted(fresh) == list(range(50))
    assert len(answers) == 1000


def test_a_client_keeps_the_rest_of_its_share_when_some_of_it_ages_out() -> None:
    replay = ReplaySet(capacity=9, per_client=2)
    now = Timestamp(START)
    for offset in (0, 30_000):
        assert replay.admit(Entry(b"t" * 16, Timestamp(START + offset), "billing"), now) is Admission.FRESH
    later = Timestamp(START + 70_000)
    assert replay.admit(Entry(b"u" * 16, later, "billing"), later) is Admission.FRESH
    assert replay.admit(Entry(b"v" * 16, later, "billing"), later) is Admission.QUOTA
    assert len(replay) == 2


@pytest.mark.parametrize(("ahead_ms", "answer"), [(365_000, Admission.FRESH), (365_001, Admission.AHEAD)])
def test_what_is_dated_too_far_ahead_takes_no_room(ahead_ms: int, answer: Admission) -> None:
    """A delegate cannot fill the store with dates near the ticket's end."""
    replay = ReplaySet()
    entry = Entry(b"t" * 16, Timestamp(START + ahead_ms), "billing")
    assert replay.admit(entry, Timestamp(START)) is answer
    assert len(replay) == (answer is Admission.FRESH)


def test_what_was_too_far_ahead_is_fresh_when_its_time_has_come() -> None:
    replay = ReplaySet()
    entry = Entry(b"t" * 16, Timestamp(START + 400_000), "billing")
    assert replay.admit(entry, Timestamp(START)) is Admission.AHEAD
    assert replay.admit(entry, Timestamp(START + 400_000)) is Admission.FRESH


def test_one_ticket_cannot_use_up_the_share_of_its_client() -> None:
    replay, now = ReplaySet(capacity=10, per_client=5, per_ticket=2), Timestamp(START)
    stolen, own = b"a" * 16, b"b" * 16
    answers = [replay.admit(Entry(bytes([n]) * 16, now, "billing", stolen), now) for n in range(3)]
    assert answers == [Admission.FRESH, Admission.FRESH, Admission.QUOTA]
    assert replay.admit(Entry(b"x" * 16, now, "billing", own), now) is Admission.FRESH


def test_shares_that_have_expired_do_not_count() -> None:
    replay, now = ReplaySet(capacity=4, per_client=2, per_ticket=1), Timestamp(START)
    later = Timestamp(START + 61_000)
    assert replay.admit(Entry(b"a" * 16, now, "billing", b"t"), now) is Admission.FRESH
    assert replay.admit(Entry(b"b" * 16, now, "billing", b"t"), now) is Admission.QUOTA
    assert replay.admit(Entry(b"b" * 16, later, "billing", b"t"), later) is Admission.FRESH
