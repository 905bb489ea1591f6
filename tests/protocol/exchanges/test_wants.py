"""One row for each target: what is asked for, and what comes back."""

import pickle
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.tgs_exchange import TgsReply
from orthros_protocol.exchanges.wants import (
    EXACT,
    WANT_DELEGABLE,
    WANT_JWT,
    Granted,
    NotGranted,
    Want,
    check_result,
    demands_as,
    read_wants,
    wants_field,
)
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal
from orthros_protocol.reasons.table import reason_for
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.caveats import MethodsCaveat, ScopesCaveat
from orthros_protocol.tickets.notes import Note
from orthros_protocol.tickets.ticket import BY_ASSERTION, Subject
from tests.support.exchange_pair import principal
from tests.support.naive import enc
from tests.support.third_parties import ThirdParties

PAYROLL = principal("payroll")
words = st.text("abcdef", min_size=1, max_size=8)


def granted(*, demands: Sequence[bytes] = (), **changes: Any) -> Granted:
    given: dict[str, Any] = {
        "target": PAYROLL, "target_uid": 17, "credential": b"t" * 40, "session_key": b"k" * 32, "ttl_s": 9,
        "ext": demands_as(demands),
    } | changes  # fmt: skip
    return Granted(**given)


def returned(result: Granted | NotGranted, want: Want | None = None) -> Granted | NotGranted:
    """The result once it has been written and read."""
    [read] = TgsReply.decode(reply_with(result)).results
    check_result(read, want or Want(target=PAYROLL))
    return read


def reply_with(result: Granted | NotGranted) -> bytes:
    return TgsReply(nonce=bytes(16), kdc_time=Timestamp(0), kdc_id="kdc", policy_seq=0, results=(result,)).encode()


@given(
    st.sampled_from([0, 1]), st.none() | st.sets(words, max_size=5), st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1), st.lists(st.binary(min_size=1, max_size=60), max_size=16),
)  # fmt: skip
def test_any_want_comes_back(kind: int, scopes: set[str] | None, ttl_s: int, flags: int, limits: list[bytes]) -> None:
    asked = Want(
        target=PAYROLL, kind=kind, scopes=None if scopes is None else tuple(scopes), ttl_s=ttl_s, flags=flags,
        limits=join_caveats(limits),
    )  # fmt: skip
    if len(asked.limits) > 1016:
        with pytest.raises(LocalMisuse):
            wants_field([asked])
        return
    assert read_wants(wants_field([asked])) == (asked,)


def test_limits_travel_as_extension_1_of_a_want() -> None:
    limits = join_caveats([MethodsCaveat(("GET",)).to_bytes()])
    limited, plain = (
        Want(target=PAYROLL, flags=EXACT | WANT_DELEGABLE, limits=limits),
        Want(target=PAYROLL, kind=WANT_JWT),
    )
    row = [0, "test.realm", "payroll", None, 0, 3, [[1, limits]]]
    assert wants_field([limited, plain]) == enc(row, [1, "test.realm", "payroll", None, 0, 0, []])
    for ext in ([[2, b"new"]], [[1, b""]]):
        assert read_wants(enc([*row[:6], ext]))[0].limits == b""


@pytest.mark.parametrize("limits", [b"x", enc(), enc(b""), enc(*[b"x"] * 17), enc(b"x" * 513), enc(1)])
def test_limits_that_are_no_caveats_are_told_as_what_is_wrong(limits: bytes) -> None:
    """They are found before anything is decided, so that one want of a stranger's shape is not a fault of the KDC."""
    row = [0, "test.realm", "payroll", None, 0, 0, [[1, limits]]]
    with pytest.raises(Refused, match="want-invalid") as caught:
        read_wants(enc([*row[:6], []], row))
    assert caught.value.detail == "want 1: limits"


@pytest.mark.parametrize("count", [0, 33])
def test_no_wants_and_too_many_are_not_written(count: int) -> None:
    with pytest.raises(LocalMisuse):
        wants_field([Want(target=PAYROLL)] * count)


@given(
    st.sets(words, max_size=5), st.integers(0, 2**32 - 1), st.lists(st.binary(min_size=1, max_size=900), max_size=4),
    st.none() | st.builds(Subject, st.just(principal("alice")), st.integers(0, 99), st.sampled_from([1, 2])),
)  # fmt: skip
def test_any_result_comes_back(scopes: set[str], ttl_s: int, demands: list[bytes], subject: Subject | None) -> None:
    result = granted(
        scopes=tuple(sorted(scopes, key=lambda one: (len(one), one))), ttl_s=ttl_s, demands=tuple(demands),
        subject=subject, notes=(Note(1, 1, 3), Note(2, 5)), flags=2, kvno=3,
    )  # fmt: skip
    assert returned(result) == result


def test_four_demands_of_the_longest_names_fit_one_result() -> None:
    """A rule may demand four discharges, whatever names and predicates are: the reply must hold them."""
    pair = ThirdParties()
    long = Principal("r" * 128, "n" * 128)
    cids = tuple(pair.by_kdc(about=long, predicate="p" * 200).cid for _ in range(4))
    result = granted(demands=tuple(cid + bytes(len("r" * 128 + "n" * 128)) for cid in cids))
    assert returned(result) == result
    with pytest.raises(LocalMisuse, match="value-invalid"):
        reply_with(granted(demands=(bytes(1030),) * 4))


def test_demands_travel_as_extension_1_of_a_result() -> None:
    result = granted(demands=(b"one", b"two"))
    assert result.to_items()[12] == [[1, enc(b"one", b"two")]]
    assert result.demands == (b"one", b"two")
    unknown = returned(granted(ext=((2, b"new"),)))
    assert isinstance(unknown, Granted)
    assert unknown.demands == ()


@pytest.mark.parametrize("blob", [enc(*[b"x"] * 5), enc("x"), enc(1), b"\xc0", b"x", enc([b"x"])])
def test_demands_of_another_shape_are_malformed(blob: bytes) -> None:
    with pytest.raises(Malformed):
        returned(granted(ext=((1, blob),)))


def test_a_refused_want_comes_back() -> None:
    no = NotGranted(target=PAYROLL, reason=reason_for("caveat-not-carried"), retry_s=3, ref=b"r" * 8)
    assert returned(no) == no


def test_a_result_is_compared_with_what_was_asked() -> None:
    for want in (Want(target=principal("orders")), Want(target=Principal("other.realm", "payroll"))):
        with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
            returned(granted(), want)
    with pytest.raises(PeerMisbehaved, match="another kind"):
        returned(granted(), Want(target=PAYROLL, kind=WANT_JWT))
    with pytest.raises(PeerMisbehaved, match="another kind"):
        returned(granted(session_key=None))


def test_a_result_keeps_its_secrets() -> None:
    """A session key, a ticket and what is demanded show nowhere and are not pickled."""
    pair = ThirdParties()
    made = pair.by_kdc()
    result = granted(demands=(made.cid,), subject=Subject(principal("alice"), 0, BY_ASSERTION))
    for secret in (b"k" * 32, b"t" * 40, made.cid):
        assert repr(secret)[2:20] not in repr(result)
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps(result)


def test_what_does_not_fit_a_row_is_not_sent() -> None:
    for changes in ({"flags": 2**32}, {"ttl_s": -1}, {"kind": 2}, {"limits": bytes(1100)}):
        with pytest.raises(LocalMisuse):
            wants_field([Want(target=PAYROLL, **changes)])
    assert Want(target=PAYROLL, limits=join_caveats([ScopesCaveat(()).to_bytes()])).limits
