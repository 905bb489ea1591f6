"""Attenuation: what was taken away cannot be taken back."""

import pytest

from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.testing import IssuedTicket
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.caveats import ExpiresCaveat, ScopesCaveat
from tests.support.exchange_pair import ExchangePair
from tests.support.naive import ap_request, enc, kd, pop_key, raw_bind, sha256

READ = ScopesCaveat(("read",)).to_bytes()
WRITE = ScopesCaveat(("write",)).to_bytes()
LONG = ExpiresCaveat(1_800_003_000).to_bytes()


def present(pair: ExchangePair, issued: IssuedTicket, *, key: bytes, shown: bytes) -> bytes:
    """An AP-REQ that shows `shown` and proves `key`."""
    return ap_request(
        key, issued.ticket, caveats=shown, ts=pair.now, epoch=pair.target.epoch, bind=raw_bind("payroll/run"),
        nonce=pair.realm.entropy(16),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("held", "shown"),
    [
        ((READ,), ()),
        ((READ, LONG), (LONG,)),
        ((READ, LONG), (READ,)),
        ((READ, LONG), (LONG, READ)),
        ((READ,), (WRITE,)),
        ((READ,), (READ, READ)),
        ((READ,), (ScopesCaveat(("read", "write")).to_bytes(),)),
        ((LONG,), (ExpiresCaveat(1_800_009_000).to_bytes(),)),
    ],
    ids=["dropped", "first-dropped", "last-dropped", "reordered", "edited", "doubled", "widened", "prolonged"],
)
def test_a_holder_of_a_later_tail_cannot_change_what_came_before(
    held: tuple[bytes, ...], shown: tuple[bytes, ...]
) -> None:
    """Section 17: caveat dropped, reordered, edited."""
    pair = ExchangePair()
    issued = pair.issue()
    key = pop_key(issued.session_key, issued.ticket, held)
    pair.target.accept(present(pair, issued, key=key, shown=join_caveats(held)))
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        pair.target.accept(present(pair, issued, key=key, shown=join_caveats(shown)))


def test_the_proof_key_of_a_delegate_is_not_a_tail() -> None:
    """Tail as bearer would let a delegate strip caveats: from K_pop one can compute neither tails nor siblings."""
    pair = ExchangePair()
    issued = pair.issue()
    narrowed = pop_key(issued.session_key, issued.ticket, (READ,))
    for guess in (
        kd(narrowed, "pop"),
        kd(narrowed, "chain0", sha256(issued.ticket)),
        kd(kd(narrowed, "cav", LONG), "pop"),
    ):
        for shown in (b"", join_caveats([READ, LONG])):
            with pytest.raises(PeerMisbehaved, match="wrong-mac"):
                pair.target.accept(present(pair, issued, key=guess, shown=shown))


def test_the_session_key_itself_proves_nothing() -> None:
    """Section 9: everything hangs off the tail, also with zero caveats; no path uses k32 directly."""
    pair = ExchangePair()
    issued = pair.issue()
    for key in (
        issued.session_key,
        kd(issued.session_key, "pop"),
        kd(issued.session_key, "chain0", sha256(issued.ticket)),
    ):
        with pytest.raises(PeerMisbehaved, match="wrong-mac"):
            pair.target.accept(present(pair, issued, key=key, shown=b""))


def shown_with(pair: ExchangePair, issued: IssuedTicket, *caveats: bytes) -> bytes:
    return present(pair, issued, key=pop_key(issued.session_key, issued.ticket, caveats), shown=enc(*caveats))


def test_the_seventeenth_caveat() -> None:
    """Section 17: caveat ... 17th."""
    pair = ExchangePair()
    issued = pair.issue()
    assert pair.target.accept(shown_with(pair, issued, *[READ] * 16)).scopes == ("read",)
    with pytest.raises(Malformed):
        pair.target.accept(shown_with(pair, issued, *[READ] * 17))


@pytest.mark.parametrize("caveat", [enc(0), enc(10), enc(10, "a/b", b""), enc(200)])
def test_an_unknown_caveat(caveat: bytes) -> None:
    """Section 17: caveat ... unknown. Types are always critical; ignoring one would widen rights."""
    pair = ExchangePair()
    with pytest.raises(Refused, match="caveat-unsupported"):
        pair.target.accept(shown_with(pair, pair.issue(), caveat))


@pytest.mark.parametrize(
    "caveat",
    [
        enc(1),
        enc(1, 2, 3),
        enc(2, []) + b"\0",
        enc(1, True),
        enc(True, 1_900_000_000),
        enc(2, [True]),
        enc(1, None),
        enc(3, ["GET"], []),
        enc(3, True),
        enc(4),
        enc(4, True),
        enc(6, b""),
        enc(6, [True]),
        enc(7),
        enc(7, bytes(31)),
    ],
)
def test_a_caveat_of_wrong_arity_or_with_bool_for_int(caveat: bytes) -> None:
    """Section 17: wrong arity, bool for int."""
    pair = ExchangePair()
    with pytest.raises(Malformed):
        pair.target.accept(shown_with(pair, pair.issue(), caveat))


def test_a_caveat_never_adds_a_scope() -> None:
    """Caveats only ever deny; they are never shown as facts."""
    pair = ExchangePair()
    accepted = pair.target.accept(shown_with(pair, pair.issue(), ScopesCaveat(("admin", "read")).to_bytes()))
    assert accepted.scopes == ("read",)
    later = pair.target.accept(shown_with(pair, pair.issue(lifetime_s=60), ExpiresCaveat(2**40).to_bytes()))
    assert later.ticket.exp == pair.second + 60


def test_an_expired_caveat_on_a_living_ticket() -> None:
    """Section 9: expires is judged at the target, from its second on."""
    pair = ExchangePair()
    issued, caveat = pair.issue(), ExpiresCaveat(pair.second + 10).to_bytes()
    pair.target.accept(shown_with(pair, issued, caveat))
    pair.realm.clock.advance(10)
    with pytest.raises(Refused, match="caveat-refused"):
        pair.target.accept(shown_with(pair, issued, caveat))


def test_a_cached_opened_ticket_is_not_another_list_of_caveats() -> None:
    """Section 18: LRU hits. Caveat lists that share bytes but not structure have different keys."""
    pair = ExchangePair()
    issued = pair.issue()
    assert enc(READ) != enc(READ, LONG)
    one = pair.target.accept(shown_with(pair, issued, READ))
    two = pair.target.accept(shown_with(pair, issued, WRITE))
    assert (one.scopes, two.scopes) == (("read",), ("write",))
    assert one.pop_key != two.pop_key
