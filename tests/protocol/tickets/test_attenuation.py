"""The chain of keys: whoever holds a tail can narrow further, and cannot drop, edit or reorder what came before."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.primitives.limits import MAX_CAVEATS_BLOB_BYTES
from orthros_protocol.tickets.attenuation import (
    add_caveat,
    join_caveats,
    mix_discharges,
    pop_key_of,
    split_caveats,
    tail_after,
    tail_of,
)
from orthros_protocol.tickets.caveats import Caveat, ExpiresCaveat, ScopesCaveat
from tests.support import naive
from tests.support.exchange_pair import ENDPOINT, ExchangePair
from tests.support.naive import enc

KEY = bytes(range(0x40, 0x60))
PAIR = ExchangePair()
ISSUED = PAIR.issue()
HELD: list[Caveat] = [
    ScopesCaveat(("read",)), ScopesCaveat(("read", "write")), ScopesCaveat(()), ScopesCaveat(("admin",)),
    ExpiresCaveat(PAIR.second + 60), ExpiresCaveat(PAIR.second + 30), ExpiresCaveat(PAIR.second),
]  # fmt: skip
lists = st.lists(st.sampled_from([one.to_bytes() for one in HELD]), max_size=5)


@given(st.lists(st.binary(min_size=1, max_size=512), max_size=16))
def test_a_list_of_caveats_comes_back(caveats: list[bytes]) -> None:
    blob = join_caveats(caveats)
    assert split_caveats(blob) == tuple(caveats)
    assert blob == (enc(*caveats) if caveats else b"")
    assert len(blob) <= MAX_CAVEATS_BLOB_BYTES


def test_the_longest_field_has_sixteen_caveats_of_512_bytes() -> None:
    blob = join_caveats([b"x" * 512] * 16)
    assert len(blob) == MAX_CAVEATS_BLOB_BYTES
    assert len(split_caveats(blob)) == 16


@pytest.mark.parametrize("caveats", [[b"x"] * 17, [b""], [b"x" * 513]])
def test_seventeen_or_overlong_caveats_are_not_written(caveats: list[bytes]) -> None:
    with pytest.raises(LocalMisuse):
        join_caveats(caveats)


@pytest.mark.parametrize(
    "blob",
    [enc(), enc(*[b"x"] * 17), enc(b""), enc(b"x" * 513), enc("x"), enc(1), enc([b"x"]), enc(None), b"x", b"\xc0"],
)
def test_a_field_that_is_no_list_of_caveats_is_malformed(blob: bytes) -> None:
    """Section 17: 17th caveat."""
    with pytest.raises(Malformed):
        split_caveats(blob)


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5))
def test_tails_are_the_chain_of_the_specification(caveats: list[bytes]) -> None:
    tail = tail_after(tail_of(KEY, b"ticket"), caveats)
    assert pop_key_of(tail) == naive.pop_key(KEY, b"ticket", tuple(caveats))


def test_every_change_of_the_list_changes_the_key() -> None:
    """Caveat dropped, reordered, edited."""
    start = tail_of(KEY, b"ticket")
    written = [[], [b"a"], [b"b"], [b"a", b"b"], [b"b", b"a"], [b"ab"], [b"a", b"b", b"c"], [b"a", b"a"]]
    tails = [tail_after(start, one) for one in written]
    assert len({*tails, tail_of(KEY, b"other"), tail_of(bytes(32), b"ticket")}) == len(written) + 2
    assert add_caveat(tails[1], b"b") == tails[3]
    assert pop_key_of(start) != start


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=4))
def test_discharges_are_mixed_in_their_order(tails: list[bytes]) -> None:
    """Then KD(K_pop, "mix", D) for each discharge tail D in order."""
    expected = pop_key_of(KEY)
    for tail in tails:
        expected = naive.kd(expected, "mix", tail)
    assert mix_discharges(pop_key_of(KEY), tails) == expected
    assert mix_discharges(pop_key_of(KEY), tails[::-1]) == expected or len(set(tails)) > 1


@pytest.mark.parity("L7")
@given(lists, lists)
def test_who_holds_a_tail_presents_what_came_before_and_nothing_else(held: list[bytes], shown: list[bytes]) -> None:
    """Removing, reordering or editing any caveat fails, and so does adding one beside the chain."""
    assume(held != shown)
    key = pop_key_of(tail_after(tail_of(ISSUED.session_key, ISSUED.ticket), held))
    forged = naive.ap_request(
        key, ISSUED.ticket, caveats=join_caveats(shown), ts=PAIR.now, epoch=PAIR.target.epoch, bind=bind_raw(ENDPOINT)
    )
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        PAIR.target.accept(forged)


def granted(caveats: list[bytes]) -> frozenset[str]:
    """The scopes with which a call under these caveats is accepted; none if it is refused."""
    try:
        return frozenset(PAIR.target.accept(PAIR.request(ISSUED, caveats=tuple(caveats)).message).scopes)
    except Refused as refusal:
        return frozenset() if refusal.code == "caveat-refused" else frozenset({refusal.code})


@pytest.mark.parity("L7")
@given(lists, st.sampled_from(HELD), st.integers(0, 5))
def test_one_more_caveat_never_lets_more_through(held: list[bytes], added: Caveat, at: int) -> None:
    """The whole way through, from the client's request to the target's answer."""
    assert granted([*held[:at], added.to_bytes(), *held[at:]]) <= granted(held)


@pytest.mark.parity("L7")
def test_a_delegate_narrows_what_it_was_given_with_the_tail_alone() -> None:
    """No round trip and no session key."""
    first, second = HELD[1].to_bytes(), HELD[0].to_bytes()
    handed = add_caveat(tail_of(ISSUED.session_key, ISSUED.ticket), first)
    key = pop_key_of(add_caveat(handed, second))
    assert key == naive.pop_key(ISSUED.session_key, ISSUED.ticket, (first, second))
    assert granted([first, second]) == {"read"}
