"""How long a credential lives by two clocks, and what a JWT among credentials does not have."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse
from orthros_protocol.tickets.attenuation import pop_key_of, tail_after
from orthros_protocol.tickets.caveats import ScopesCaveat
from orthros_protocol.tickets.credential import Credential, Life
from tests.support.exchange_pair import principal

READ = ScopesCaveat(("read",)).to_bytes()


def credential(tail: bytes | None = b"t" * 32) -> Credential:
    return Credential(
        ticket=b"a ticket of 20 bytes", tail=tail, target=principal("orders"), client=principal("web"), life=Life(60)
    )


def test_the_earlier_of_both_ends_counts() -> None:
    life = Life(60, boot_end=1060.0, realm_end=5050.0, ahead_s=4000.0)
    assert (life.end, life.left_s(1000.0), life.left_s(2000.0)) == (1050.0, 50.0, 0.0)
    assert life.seen(3900.0).end == 1060.0
    assert life.seen(3990.0).second == 5050
    assert life.no_later(boot_end=1010.0).end == life.no_later(realm_end=5010.0).end == 1010.0


def test_a_life_that_came_in_a_message_counts_from_its_moment() -> None:
    """And never for more than a day, whatever the message says."""
    assert Life.left(1500, 60).since(1000.0, 4000.0).end == 1001.5
    assert Life.until(5050, 60).since(1000.0, 4000.0).end == 1050.0
    assert Life.until(10**15, 60).since(1000.0, 4000.0).end == 1000.0 + 86_400


@given(st.integers(0, 2**63 - 1))
def test_a_second_of_the_realm_comes_through_unchanged(second: int) -> None:
    assert Life.until(second, 60).second == second


@given(st.floats(0, 1e6), st.integers(10**9, 2 * 10**9))
def test_the_second_of_an_end_is_never_a_later_one(end: float, ahead_s: int) -> None:
    """To the millisecond, which is what clocks are compared by."""
    assert Life(60, boot_end=end, ahead_s=ahead_s).second <= end + ahead_s + 0.001


def test_only_a_ticket_has_a_key_and_can_be_narrowed() -> None:
    ticket, token = credential(), credential(tail=None)
    narrowed = ticket.with_caveats([READ], scopes=("read",))
    assert (narrowed.caveats, narrowed.scopes) == ((READ,), ("read",))
    assert narrowed.pop_key == pop_key_of(tail_after(b"t" * 32, [READ]))
    with pytest.raises(LocalMisuse, match="key-misuse"):
        _ = token.pop_key
    with pytest.raises(LocalMisuse, match="key-misuse"):
        token.with_caveats([READ])
    with pytest.raises(LocalMisuse, match="17 caveats, at most 16"):
        ticket.with_caveats([READ] * 17)


def test_a_credential_is_neither_shown_nor_pickled() -> None:
    assert "tttt" not in repr(credential())
    assert "20 bytes" not in repr(credential())
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps(credential())
