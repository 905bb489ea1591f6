"""The messages of the local API about tickets at hand: reports of refusals, renewing and forgetting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_client.errors import Failure
from orthros_client.local.api.failures import FailureItems
from orthros_client.local.api.messages import decode_reply, decode_request, encode_reply, encode_request
from orthros_client.local.api.values import (
    REPORTED,
    AnyRequest,
    CacheEntry,
    ForgetRequest,
    Forgotten,
    Op,
    Renewal,
    Renewed,
    RenewRequest,
    Reply,
    Reported,
    ReportOutcome,
    ReportRequest,
)
from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.names import Principal
from tests.support.changed import changed

ORDERS = Principal("test.realm", "orders")
ENTRY = CacheEntry(
    kind=0, target=ORDERS, asked=None, scopes=("read",), remaining_ms=5, ttl_s=6, flags=0, kvno=1, renew_ms=2
)
NOT_GRANTED = Failure.refused("not-granted", retry_s=3)
TICKET = b"the SHA-256 of a ticket, say so."

realms = st.none() | st.just("other.realm")
u32 = st.integers(0, 2**32 - 1)
requests = (
    st.builds(
        ReportRequest,
        target=st.sampled_from([ORDERS, Principal("other.realm", "team/billing")]),
        ticket=st.binary(min_size=32, max_size=32),
        code=st.sampled_from(sorted(REPORTED)),
        time=st.integers(0, 2**60),
    )
    | st.builds(RenewRequest, target=st.just("orders"), realm=realms, timeout_ms=u32)
    | st.builds(ForgetRequest, target=st.none() | st.just("orders"), realm=realms)
)


@given(requests)
def test_requests_survive_the_way(request: AnyRequest) -> None:
    assert decode_request(encode_request(request)) == request


@pytest.mark.parametrize(
    ("op", "reply"),
    [
        *[(Op.REPORT, Reported(outcome=outcome, retry_s=10)) for outcome in ReportOutcome],
        (Op.RENEW, Renewed(renewals=(Renewal(ENTRY), Renewal(ENTRY, FailureItems.of(NOT_GRANTED))), others=7)),
        (Op.FORGET, Forgotten(dropped=3, kept=1)),
        (Op.REPORT, NOT_GRANTED),
    ],
)
def test_replies_survive_the_way(op: Op, reply: Reply) -> None:
    assert decode_reply(op, encode_reply(op, reply)) == reply


def test_sixty_four_long_renewals_fit_a_frame() -> None:
    """With the scopes and the details that the desk leaves in."""
    failure = Failure.refused("not-granted", "d" * 200)
    row = Renewal(changed(ENTRY, target=Principal("r" * 63, "o" * 120)), FailureItems.of(failure))
    reply = Renewed(renewals=(row,) * 64, others=0)
    assert len(encode_reply(Op.RENEW, reply)) + 16 * 1024 < 64 * 1024


@pytest.mark.parametrize(
    "body",
    [
        encode("test.realm", "orders", TICKET, "not-granted", 0),  # no code that another ticket may mend
        encode("test.realm", "orders", TICKET[:31], "revoked", 0),
        encode("test.realm", "orders", TICKET, "revoked"),
        encode("test.realm", "Orders", TICKET, "revoked", 0),
    ],
)
def test_a_report_of_another_shape_is_malformed(body: bytes) -> None:
    decode_request(encode(2, 8, encode("test.realm", "orders", TICKET, "revoked", 0)))
    with pytest.raises(Malformed):
        decode_request(encode(2, 8, body))


def test_an_unknown_outcome_is_malformed() -> None:
    with pytest.raises(Malformed):
        decode_reply(Op.REPORT, encode(2, 0, 8, encode(9, 0)))
    with pytest.raises(Malformed):
        decode_request(encode(2, 11, encode()))
    with pytest.raises(LocalMisuse):
        encode_request(ReportRequest(target=ORDERS, ticket=b"short", code="revoked", time=0))
