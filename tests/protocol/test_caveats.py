"""Caveats only deny, and whoever holds a tail cannot go back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol import (
    Access,
    ExpiresCaveat,
    LocalMisuse,
    Malformed,
    Misconfigured,
    Refused,
    ScopesCaveat,
    Timestamp,
    add_caveat,
    join_caveats,
    parse_caveat,
    pop_key_of,
    split_caveats,
    tail_after,
    tail_of,
)
from tests.support import naive
from tests.support.naive import enc

NOW = Timestamp(1_800_000_000_500)
SECOND = 1_800_000_000
KEY = bytes(range(0x40, 0x60))


def test_caveats_come_back_from_their_bytes() -> None:
    for caveat in (ExpiresCaveat(SECOND), ScopesCaveat(("read", "write")), ScopesCaveat(())):
        assert parse_caveat(caveat.to_bytes()) == caveat


def test_expires_denies_from_its_second_on() -> None:
    assert ExpiresCaveat(SECOND + 1).prohibits(Access(now=NOW)) is None
    assert ExpiresCaveat(SECOND).prohibits(Access(now=NOW))
    assert ExpiresCaveat(SECOND).narrow(("read",)) == ("read",)


@given(st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
def test_scopes_only_ever_take_away(held: set[str], allowed: set[str]) -> None:
    caveat = ScopesCaveat(tuple(sorted(allowed)))
    assert set(caveat.narrow(tuple(sorted(held)))) == held & allowed
    assert caveat.prohibits(Access(now=NOW)) is None


def test_a_scopes_caveat_is_written_in_canonical_order() -> None:
    assert ScopesCaveat(("write", "read", "read")).to_bytes() == enc(2, ["read", "write"])
    with pytest.raises(Misconfigured, match="scope-invalid"):
        ScopesCaveat(("Read",)).to_bytes()
    with pytest.raises(LocalMisuse):
        ScopesCaveat(tuple(f"{n}" + "x" * 60 for n in range(9))).to_bytes()


@pytest.mark.parametrize("kind", [0, 5, 8, 9, 10, 255, 2**40])
def test_a_type_that_cannot_be_evaluated_refuses(kind: int) -> None:
    """Section 17: caveat unknown."""
    with pytest.raises(Refused, match=f"caveat-unsupported.*type {kind}"):
        parse_caveat(enc(kind, "x"))


@pytest.mark.parametrize(
    "encoded",
    [
        enc(), enc(1), enc(1, 2, 3), enc(2), enc(2, ["read"], 1), enc(2, "read"), enc(1, "1"), enc(1, True),
        enc(True, 1), enc("1", 1), enc(None, 1), enc(2, [True]), enc(2, ["b", "a"]), enc(2, ["a", "a"]), enc(2, ["A"]),
        enc(1, None), enc(1, -1), b"", b"\x01", enc(1, 5) + b"\0", b"\x92\x01\xcc\x05", enc(1, b"x" * 512),
    ],
)  # fmt: skip
def test_a_caveat_of_another_shape_is_malformed(encoded: bytes) -> None:
    """Section 17: wrong arity, bool for int."""
    with pytest.raises(Malformed):
        parse_caveat(encoded)


@given(st.lists(st.binary(min_size=1, max_size=512), max_size=16))
def test_a_list_of_caveats_comes_back(caveats: list[bytes]) -> None:
    blob = join_caveats(caveats)
    assert split_caveats(blob) == tuple(caveats)
    assert blob == (enc(*caveats) if caveats else b"")


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
    """Section 17: caveat dropped, reordered, edited."""
    start = tail_of(KEY, b"ticket")
    lists = [[], [b"a"], [b"b"], [b"a", b"b"], [b"b", b"a"], [b"ab"], [b"a", b"b", b"c"], [b"a", b"a"]]
    tails = [tail_after(start, one) for one in lists]
    assert len({*tails, tail_of(KEY, b"other"), tail_of(bytes(32), b"ticket")}) == len(lists) + 2
    assert add_caveat(tails[1], b"b") == tails[3]
    assert pop_key_of(start) != start
