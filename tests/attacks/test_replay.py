"""A captured request is worth nothing: here, later, elsewhere, after a restart, under another clock."""

import threading
from collections.abc import Callable

import pytest

from orthros_protocol.errors import LocalMisuse, PeerMisbehaved, Refused
from orthros_protocol.exchanges.acceptance import build_ap_reply
from orthros_protocol.exchanges.ap_exchange import TargetRefusal, open_ap_reply
from orthros_protocol.exchanges.epochs import Repetition
from orthros_protocol.exchanges.replay import ReplaySet
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing.fakes import ManualClock, ManualStore
from tests.support.exchange_pair import ExchangePair, Instance, refusal_code


def test_replayed_in_the_same_process() -> None:
    """Section 17: replayed AP-REQ (same process)."""
    pair = ExchangePair()
    message = pair.request(pair.issue()).message
    pair.target.accept(message)
    for _attempt in range(3):
        with pytest.raises(Refused, match="replayed"):
            pair.target.accept(message)


def test_replayed_at_every_moment_of_the_window() -> None:
    """Section 17: replayed AP-REQ (same process). CVE-2018-1128: no moment at which it works again."""
    pair = ExchangePair()
    message = pair.request(pair.issue()).message
    pair.target.accept(message)
    for _step in range(140):
        pair.realm.clock.advance(0.5)
        with pytest.raises(Refused, match="replayed"):
            pair.target.accept(message)


def test_mit_file2_entry_aged_out_at_insertion_plus_skew() -> None:
    """Section 18: retention from arrival time. A request stamped 5 s ahead lives 5 s longer than its arrival."""
    pair = ExchangePair()
    message = pair.request(pair.issue(), ts=Timestamp(pair.now + 5_000)).message
    pair.target.accept(message)
    pair.realm.clock.advance(64)
    with pytest.raises(Refused, match="replayed"):
        pair.target.accept(message)


def test_replayed_after_restart() -> None:
    """Section 17: replayed AP-REQ (after restart). RFC 4120 3.2.3, gokrb5: an empty cache must not accept at once."""
    pair = ExchangePair()
    message = pair.request(pair.issue()).message
    pair.target.accept(message)
    with pytest.raises(Refused, match="epoch-required"):
        pair.another_instance().accept(message)


def test_replayed_on_another_worker() -> None:
    """Section 17: replayed AP-REQ (on another worker). Section 18: private replay caches under several workers."""
    pair = ExchangePair()
    workers = [pair.another_instance() for _ in range(4)]
    message = pair.request(pair.issue()).message
    pair.target.accept(message)
    for worker in workers:
        with pytest.raises(Refused, match="epoch-required"):
            worker.accept(message)


def test_replayed_after_a_fork() -> None:
    """Section 17: replayed AP-REQ (on another worker); the child inherited the parent's memory before the call."""
    pair = ExchangePair()
    message = pair.request(pair.issue()).message
    pair.target.store.after_fork()
    with pytest.raises(Refused, match="epoch-required"):
        pair.target.accept(message)


@pytest.mark.parametrize("step", [-2, -30, -60, -61, -3600, -86_400])
def test_replayed_after_the_clock_stepped_back(step: int) -> None:
    """Section 17: replayed AP-REQ (after a clock step back)."""
    pair = ExchangePair()
    clock, elapsed = ManualClock(), ManualClock()
    target = pair.target = pair.another_instance(clock=clock, elapsed=elapsed)
    message = pair.request(pair.issue()).message
    target.accept(message)
    for each in (clock, elapsed):
        each.advance(90)
    clock.advance(step - 90)
    with pytest.raises(Refused):
        target.accept(message)


def test_replayed_while_the_clock_creeps_back() -> None:
    """Section 17: replayed AP-REQ (after a clock step back), in steps too small to be noticed as such."""
    pair = ExchangePair()
    clock, elapsed = ManualClock(), ManualClock()
    target = pair.target = pair.another_instance(clock=clock, elapsed=elapsed)
    message = pair.request(pair.issue()).message
    target.accept(message)
    clock.advance(100)
    elapsed.advance(100)
    for _step in range(200):
        clock.advance(-0.9)
        with pytest.raises(Refused):
            target.accept(message)


def test_replayed_after_a_forward_glitch_emptied_its_bucket() -> None:
    """Section 17: replayed AP-REQ (after a clock step back): the way back from a glitch is such a step."""
    pair = ExchangePair()
    clock, elapsed = ManualClock(), ManualClock()
    target = pair.target = pair.another_instance(clock=clock, elapsed=elapsed)
    issued = pair.issue()
    message = pair.request(issued).message
    target.accept(message)
    clock.advance(600)
    pair.realm.clock.advance(600)
    with pytest.raises(Refused, match="replayed"):
        target.accept(message)
    target.accept(pair.request(issued).message)
    clock.advance(-600)
    pair.realm.clock.advance(-600)
    with pytest.raises(Refused, match="epoch-required"):
        target.accept(message)
    target.accept(pair.request(issued).message)


def early(pair: ExchangePair) -> tuple[bytes, Callable[[], None]]:
    """A request refused as too early, which the network delivers again when its time has come."""
    message = pair.request(pair.issue(), ts=Timestamp(pair.now + 20_000)).message
    return message, lambda: pair.realm.clock.advance(20)


def epochless(pair: ExchangePair) -> tuple[bytes, Callable[[], None]]:
    """A request refused for lack of an epoch, delivered again."""
    return pair.request(pair.issue(), epoch=None).message, lambda: None


@pytest.mark.parametrize("story", [early, epochless])
def test_refused_then_retried_then_the_first_copy_arrives_again(
    story: Callable[[ExchangePair], tuple[bytes, Callable[[], None]]],
) -> None:
    """Section 17: replayed AP-REQ (after a SKEW or EPOCH refusal and a successful retry): it would run twice."""
    pair = ExchangePair()
    first, later = story(pair)
    with pytest.raises(Refused, match=r"clock-skew|epoch-required"):
        pair.target.accept(first)
    pair.target.accept(pair.request(pair.issue()).message)
    later()
    with pytest.raises(Refused, match="replayed"):
        pair.target.accept(first, repetition=Repetition.ALLOWED)


def test_refused_as_busy_is_not_burnt_and_still_not_run_twice() -> None:
    """Section 7: full: refuse, never evict. What was refused as busy was never remembered, and never accepted."""
    pair = ExchangePair()
    issued, tiny = pair.issue(), ManualStore(lambda: pair.now, pair.target.epoch, burnt=ReplaySet(capacity=1))
    first, second = pair.request(issued).message, pair.request(issued).message
    pair.target.accept(first, replay=tiny)
    for message, code in ((second, "busy"), (first, "replayed"), (second, "busy")):
        with pytest.raises(Refused, match=code):
            pair.target.accept(message, replay=tiny)


def test_the_same_request_a_hundred_times_at_once() -> None:
    """gokrb5: check-then-add without one lock lets two equal requests at once both pass."""
    pair = ExchangePair()
    message = pair.request(pair.issue()).message
    barrier = threading.Barrier(100)
    outcomes: list[str] = []

    def deliver() -> None:
        barrier.wait()
        try:
            pair.target.accept(message)
            outcomes.append("accepted")
        except Refused as refusal:
            outcomes.append(refusal_code(refusal))

    threads = [threading.Thread(target=deliver) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["accepted"] + ["replayed"] * 99


def test_two_clients_with_the_same_millisecond_are_no_replay() -> None:
    """Hadoop, spring-security-kerberos#189: false "Request is a replay (34)" when the timestamp is the tag."""
    pair = ExchangePair()
    issued = pair.issue()
    for _call in range(50):
        pair.target.accept(pair.request(issued).message)
    pair.target.accept(pair.request(pair.realm.issue("orders", "payroll")).message)


def test_one_captured_request_cannot_be_given_a_new_time_or_nonce() -> None:
    """CVE-2020-25660: an authoriser replayed with another challenge; every field is under the MAC."""
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    pair.target.accept(pending.message)
    later = Timestamp(pair.now + 1)
    for old, new in ((pair.now.to_bytes(8, "big"), later.to_bytes(8, "big")), (pending.request.nonce, bytes(16))):
        changed = pending.message.replace(old, new)
        assert changed != pending.message
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            pair.target.accept(changed)


def test_a_replay_learns_nothing_about_the_caller() -> None:
    """MUNGE test 0098: unmunge prints uid and payload of a replayed credential; here nothing comes back but a code."""
    pair = ExchangePair()
    pending = pair.request(pair.issue())
    pair.target.accept(pending.message)
    with pytest.raises(Refused, match="replayed") as caught:
        pair.target.accept(pending.message)
    assert "billing" not in str(caught.value)
    with pytest.raises(TargetRefusal, match="replayed"):
        open_ap_reply(pending, caught.value.reply or b"")


def test_a_captured_answer_serves_no_other_call() -> None:
    """Section 17: AP-REP of another request."""
    pair = ExchangePair()
    issued = pair.issue()
    one, two = pair.request(issued), pair.request(issued)
    answer = build_ap_reply(pair.target.accept(one.message), now=pair.now)
    open_ap_reply(one, answer)
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        open_ap_reply(two, answer)


def test_an_unbound_authenticator_cannot_even_be_built() -> None:
    """Project Zero 2021-10-20: an AP-REQ for one service relayed to another; there are no unbound presence tokens."""
    pair = ExchangePair()
    with pytest.raises(LocalMisuse):
        pair.request(pair.issue(), bind=None)
    relayed = pair.request(pair.issue()).message
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        Instance(pair.realm, "orders").accept(relayed)
