from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_client.errors import FAMILIES, Failure
from orthros_client.local_api.messages import (
    decode_reply,
    decode_request,
    encode_failure,
    encode_reply,
    encode_request,
)
from orthros_client.local_api.session import MAX_REQUEST_BYTES, ServerSession, exchange
from orthros_client.local_api.values import (
    Entry,
    Grant,
    KdcLine,
    Listing,
    Op,
    Pong,
    Reply,
    Request,
    Status,
    WantRequest,
)
from orthros_protocol import REASONS, Malformed, Note, PeerMisbehaved, Principal, Reason, frame, reason_for

ORDERS = Principal("test.realm", "orders")
WEB = Principal("test.realm", "web")
DOCUMENT = Path(__file__).parents[2] / "docs" / "local-api.md"

scopes = st.lists(st.from_regex(r"[a-z0-9][a-z0-9._:/-]{0,10}", fullmatch=True), unique=True, max_size=4).map(
    lambda found: tuple(sorted(found, key=lambda scope: (len(scope), scope)))
)
u32 = st.integers(0, 2**32 - 1)
wants = st.builds(
    WantRequest,
    op=st.sampled_from([Op.TICKET, Op.TOKEN]),
    target=st.sampled_from(["orders", "team/billing"]),
    realm=st.none() | st.just("other.realm"),
    scopes=st.none() | scopes,
    ttl_s=u32,
    flags=u32,
    timeout_ms=u32,
)
requests = wants | st.builds(Request, op=st.just(Op.PING)) | st.builds(Request, op=st.just(Op.LIST), argument=u32)
notes = st.lists(st.builds(Note, u32, u32, st.none() | u32), max_size=4).map(tuple)
grants = st.builds(
    Grant,
    target=st.just(ORDERS),
    target_uid=u32,
    client=st.just(WEB),
    credential=st.binary(min_size=16, max_size=400),
    tail=st.none() | st.binary(min_size=32, max_size=32),
    remaining_ms=st.integers(0, 2**60),
    ttl_s=u32,
    flags=u32,
    kvno=u32,
    scopes=scopes,
    notes=notes,
    fresh_ms=st.integers(0, 2**60),
    offset_ms=st.integers(-(2**60), 2**60),
)
failures = st.builds(
    Failure,
    family=st.sampled_from(FAMILIES),
    reason=st.sampled_from(REASONS),
    detail=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300),
    retry_s=u32,
    remaining_s=u32,
    ref=st.sampled_from(["", "00ff00ff00ff00ff"]),
)
ENTRY = Entry(kind=0, target=ORDERS, asked=None, scopes=("read",), remaining_ms=5, ttl_s=6, flags=0, kvno=1, renew_ms=2)
STATUS = Status(
    client=WEB,
    uid=16,
    kvno=1,
    newest_kvno=2,
    code="kdc-unreachable",
    detail="down",
    tgt_remaining_s=9,
    cached=3,
    offset_ms=-7,
    kdcs=(KdcLine("tcp://a:1", 4, None), KdcLine("tcp://b:1", None, "refused")),
    uptime_s=100,
    version="1.2.3",
)


@given(requests)
def test_requests_survive_the_way(request: Request | WantRequest) -> None:
    """K4: one encoding each."""
    assert decode_request(encode_request(request)) == request


@given(grants)
def test_grants_survive_the_way(grant: Grant) -> None:
    """K4, B7: the remaining life is in every answer."""
    assert decode_reply(Op.TICKET, encode_reply(Op.TICKET, grant)) == grant


@given(failures)
def test_failures_survive_the_way(failure: Failure) -> None:
    """B2: code, detail, retry, remaining life and reference."""
    assert decode_reply(Op.TOKEN, encode_failure(Op.TOKEN, failure)) == failure


@pytest.mark.parametrize(
    ("op", "reply"),
    [
        (Op.PING, Pong()),
        (Op.LIST, Listing(entries=(ENTRY,), following=64)),
        (Op.LIST, Listing(entries=(), following=None)),
        (Op.STATUS, STATUS),
    ],
)
def test_other_replies_survive_the_way(op: Op, reply: Reply) -> None:
    """K4."""
    assert decode_reply(op, encode_reply(op, reply)) == reply


def test_a_code_of_a_newer_daemon_is_shown_as_it_is() -> None:
    """B2: an unknown code is still a code."""
    failure = Failure(family="refused", reason=Reason(99, "moon-phase", "c", "r"))
    seen = decode_reply(Op.TICKET, encode_failure(Op.TICKET, failure))
    assert isinstance(seen, Failure)
    assert (seen.reason.name, seen.reason.number) == ("moon-phase", 99)
    assert seen.to_error().code == "moon-phase"


def test_words_of_the_system_are_made_to_fit() -> None:
    """B2: an error of the operating system may speak any language and be long."""
    failure = Failure.unavailable("kdc-unreachable", "Verbindung verweigert für ü\n" * 100)
    seen = decode_reply(Op.TICKET, encode_failure(Op.TICKET, failure))
    assert isinstance(seen, Failure)
    assert seen.detail.startswith("Verbindung verweigert f?r ??")
    assert len(seen.detail) == 1000


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_malformed_or_a_request(data: bytes) -> None:
    """K4: nothing half-built, no other exception."""
    try:
        request = decode_request(data)
    except Malformed:
        return
    assert encode_request(request) == data


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_reply_may_arrive_in_pieces(size: int) -> None:
    """K4: sans-IO; how the bytes are cut does not matter."""
    talk = exchange(Request(op=Op.STATUS))
    assert next(talk).startswith(b"\0\0\0")
    data = ServerSession().reply(Op.STATUS, STATUS)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert all(talk.send(piece) == b"" for piece in pieces[:-1])
    with pytest.raises(StopIteration) as done:
        talk.send(pieces[-1])
    assert done.value.value == STATUS


@pytest.mark.parametrize("received", [b"", b"\0\0\0\x05ab", frame(b"\x93\x01\x00\x02"), b"\xff\xff\xff\xff"])
def test_a_broken_answer_is_an_error(received: bytes) -> None:
    """K4: end of stream, half a frame, nonsense, or a length beyond the cap."""
    talk = exchange(Request(op=Op.PING))
    next(talk)
    with pytest.raises(PeerMisbehaved):  # noqa: PT012  # half a frame needs its end of stream
        talk.send(received)
        talk.send(b"")


def test_an_answer_to_another_question_is_refused() -> None:
    """K4."""
    with pytest.raises(Malformed):
        decode_reply(Op.LIST, encode_reply(Op.PING, Pong()))


def test_the_daemon_reads_pipelined_requests_in_order_and_caps_them() -> None:
    """K4: bounded before anything is understood."""
    session = ServerSession()
    data = frame(encode_request(Request(op=Op.PING))) + frame(encode_request(Request(op=Op.LIST)))
    assert [request.op for request in session.received(data)] == [Op.PING, Op.LIST]
    with pytest.raises(PeerMisbehaved, match="frame-too-large"):
        list(session.received((MAX_REQUEST_BYTES + 1).to_bytes(4, "big")))


def test_the_documented_errors_are_the_errors() -> None:
    """B2: docs/local-api.md lists every code a local caller can meet, with its meaning and retry."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.+?) \| (yes|no) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(rows) > 15
    for name, number, cause, retry in rows:
        reason = reason_for(name)
        assert (int(number), cause, retry) == (reason.number, reason.cause, "yes" if reason.retry else "no")
    from_kdc = {reason.name for reason in REASONS if 10 <= reason.number < 40}
    local = {
        "bad-local-request", "daemon-unreachable", "header-required", "kdc-unreachable", "key-missing",
        "name-invalid", "not-found", "peer-not-allowed", "scope-invalid", "timeout", "unauthenticated-refusal",
    }  # fmt: skip
    assert {name for name, *_ in rows} == from_kdc | local
