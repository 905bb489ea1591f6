from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import asdict
from hypothesis import given
from hypothesis import strategies as st

from orthros_client.errors import FAMILIES, Failure
from orthros_client.local.api.messages import (
    _decode_own,
    decode_reply,
    decode_request,
    encode_failure,
    encode_reply,
    encode_request,
)
from orthros_client.local.api.session import MAX_REQUEST_BYTES, ServerSession, exchange
from orthros_client.local.api.values import (
    MAX_LIMITS_BYTES,
    AnyRequest,
    CacheEntry,
    CredentialGrant,
    KdcLine,
    Listing,
    ListRequest,
    LoginGrant,
    LoginRequest,
    LoginTarget,
    Op,
    Ping,
    Pong,
    ReceiveRequest,
    Reply,
    Status,
    StatusRequest,
    WantRequest,
)
from orthros_client.reasons import DAEMON_BUSY, KDC_UNREACHABLE, reason_named
from orthros_client.reasons import REASONS as CLIENT_REASONS
from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved
from orthros_protocol.exchanges.http_profile import encode_base64url
from orthros_protocol.exchanges.wants import Want, read_wants, wants_field
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.framing import frame
from orthros_protocol.primitives.limits import MAX_WANTS
from orthros_protocol.primitives.names import Principal
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import REASONS
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.caveats import AppCaveat, ExpiresCaveat, ScopesCaveat
from orthros_protocol.tickets.credential import Credential, Life
from orthros_protocol.tickets.evidence import Behalf
from orthros_protocol.tickets.notes import Note
from orthros_protocol.tickets.ticket import Subject
from tests.support.changed import changed

ORDERS = Principal("test.realm", "orders")
WEB = Principal("test.realm", "web")
DOCUMENT = Path(__file__).parents[3] / "docs" / "local-api.md"

scopes = st.lists(st.from_regex(r"[a-z0-9][a-z0-9._:/-]{0,10}", fullmatch=True), unique=True, max_size=4).map(
    lambda found: tuple(sorted(found, key=lambda scope: (len(scope), scope)))
)
u32 = st.integers(0, 2**32 - 1)
caveats = st.lists(
    st.builds(ExpiresCaveat, u32).map(ExpiresCaveat.to_bytes) | st.just(ScopesCaveat(("read",)).to_bytes()), max_size=3
).map(tuple)
key_bytes = st.binary(min_size=32, max_size=32)
behalves = st.builds(
    Behalf, evidence=st.binary(min_size=16, max_size=400), proof=key_bytes, caveats=caveats.map(join_caveats)
) | st.builds(Behalf, subject=st.sampled_from([ORDERS, WEB]))
whose: st.SearchStrategy[dict[str, Any]] = (
    st.just({})
    | st.fixed_dictionaries({"behalf": behalves})
    | st.fixed_dictionaries({"subject": st.sampled_from(["alice", "team/bob"])})
)
wants = st.builds(
    lambda who, limits, **fields: WantRequest(
        **fields, **who, limits=join_caveats(limits) if fields["op"] is Op.TICKET else b""
    ),
    who=whose,
    limits=caveats,
    op=st.sampled_from([Op.TICKET, Op.TOKEN]),
    target=st.sampled_from(["orders", "team/billing"]),
    realm=st.none() | st.just("other.realm"),
    scopes=st.none() | scopes,
    ttl_s=u32,
    flags=u32,
    timeout_ms=u32,
)
login_targets = st.builds(LoginTarget, st.none() | st.just("other.realm"), st.sampled_from(["orders", "web"]))
logins = st.builds(
    LoginRequest,
    targets=st.lists(login_targets, min_size=1, max_size=32).map(tuple),
    scopes=st.none() | scopes,
    lifetime_s=u32,
    timeout_ms=u32,
)
requests = (
    wants
    | logins
    | st.builds(Ping)
    | st.builds(ListRequest, first=u32)
    | st.builds(ReceiveRequest, hand_over=st.binary(min_size=16, max_size=6000))
)
codes = st.integers(1, 255)
notes = st.lists(st.builds(Note, codes, codes, st.none() | st.integers(0, 31)), max_size=4).map(tuple)
credentials = st.builds(
    Credential,
    target=st.just(ORDERS),
    target_uid=u32,
    client=st.just(WEB),
    ticket=st.binary(min_size=16, max_size=400),
    tail=st.none() | st.binary(min_size=32, max_size=32),
    life=st.builds(Life.left, st.integers(0, 2**50), u32),
    flags=u32,
    kvno=u32,
    scopes=scopes,
    notes=notes,
    subject=st.none() | st.builds(Subject, st.just(WEB), u32, st.sampled_from([1, 2])),
    demands=st.lists(st.binary(min_size=1, max_size=300), max_size=4).map(tuple),
    caveats=caveats,
)
grants = st.builds(
    CredentialGrant,
    credential=credentials,
    fresh_ms=st.integers(0, 2**60),
    offset_ms=st.integers(-(2**60), 2**60),
    sender=st.none() | st.just(WEB),
)
failures = st.builds(
    Failure,
    family=st.sampled_from(FAMILIES),
    reason=st.sampled_from(REASONS + CLIENT_REASONS),
    detail=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300),
    retry_s=u32,
    remaining_s=u32,
    ref=st.sampled_from(["", "00ff00ff00ff00ff"]),
)
ENTRY = CacheEntry(
    kind=0, target=ORDERS, asked=None, scopes=("read",), remaining_ms=5, ttl_s=6, flags=0, kvno=1, renew_ms=2
)
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


@pytest.mark.parity("K4")
@given(requests)
def test_requests_survive_the_way(request: AnyRequest) -> None:
    """One encoding each."""
    assert decode_request(encode_request(request)) == request


@pytest.mark.parity("K4", "B7")
@given(grants)
def test_grants_survive_the_way(grant: CredentialGrant) -> None:
    """The remaining life is in every answer."""
    got = decode_reply(Op.TICKET, encode_reply(Op.TICKET, grant))
    assert isinstance(got, CredentialGrant)
    assert asdict(cast(Any, got)) == asdict(cast(Any, grant))


@pytest.mark.parity("B2")
@given(failures)
def test_failures_survive_the_way(failure: Failure) -> None:
    """Code, detail, retry, remaining life and reference."""
    assert decode_reply(Op.TOKEN, encode_failure(Op.TOKEN, failure)) == failure


@pytest.mark.parity("K4")
@pytest.mark.parametrize(
    ("op", "reply"),
    [
        (Op.PING, Pong()),
        (Op.LIST, Listing(entries=(ENTRY,), following=64)),
        (Op.LIST, Listing(entries=(), following=None)),
        (Op.STATUS, STATUS),
        (Op.STATUS, changed(STATUS, login_file="/run/worker/login")),
        (Op.LOGIN, LoginGrant(content=b"ORTHROSL and more")),
    ],
)
def test_other_replies_survive_the_way(op: Op, reply: Reply) -> None:
    assert decode_reply(op, encode_reply(op, reply)) == reply


@pytest.mark.parity("B2")
def test_a_code_of_a_newer_daemon_is_shown_as_it_is() -> None:
    """An unknown code is still a code."""
    failure = Failure(family="refused", reason=Reason(99, "moon-phase", "c", "r"))
    seen = decode_reply(Op.TICKET, encode_failure(Op.TICKET, failure))
    assert isinstance(seen, Failure)
    assert (seen.reason.name, seen.reason.number) == ("moon-phase", 99)
    assert seen.to_error().code == "moon-phase"


@pytest.mark.parity("B2")
def test_words_of_the_system_are_made_to_fit() -> None:
    """An error of the operating system may speak any language and be long."""
    failure = Failure.unavailable(KDC_UNREACHABLE, "Verbindung verweigert für ü\n" * 100)
    seen = decode_reply(Op.TICKET, encode_failure(Op.TICKET, failure))
    assert isinstance(seen, Failure)
    assert seen.detail.startswith("Verbindung verweigert f?r ??")
    assert len(seen.detail) == 1000


@pytest.mark.parity("K4")
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_malformed_or_a_request(data: bytes) -> None:
    """Nothing half-built, no other exception."""
    try:
        request = decode_request(data)
    except Malformed:
        return
    assert encode_request(request) == data


LIMITS = join_caveats([ScopesCaveat(("read",)).to_bytes()])
LONGEST_LIMITS = join_caveats([AppCaveat("a/b", bytes(number)).to_bytes() for number in (360, 360, 261)])
EVIDENCE, PROOF = b"evidence of 32 bytes, not opened", b"the proof that nobody shall see!"
ON_BEHALF = WantRequest(op=Op.TICKET, target="orders", behalf=Behalf(evidence=EVIDENCE, proof=PROOF))


@pytest.mark.parity("B7")
def test_what_proves_something_is_neither_shown_nor_remembered() -> None:
    """The daemon remembers how it decoded own questions; never evidence, hand-overs or logins."""
    for request in (
        ON_BEHALF,
        ReceiveRequest(hand_over=EVIDENCE + PROOF),
        LoginRequest(targets=(LoginTarget(None, "orders"),)),
    ):
        message = encode_request(request)
        before = _decode_own.cache_info()
        first, second = decode_request(message), decode_request(message)
        assert first == second == request
        assert first is not second
        assert _decode_own.cache_info() == before
        assert "nobody shall see" not in repr(request)
        with pytest.raises(LocalMisuse, match="secret-not-exported"):
            pickle.dumps(ON_BEHALF)
    own = encode_request(WantRequest(op=Op.TICKET, target="orders"))
    assert decode_request(own) is decode_request(own)


@pytest.mark.parity("B7")
def test_grants_show_no_secret() -> None:
    """Neither tails nor logins nor demands."""
    credential = Credential(
        target=ORDERS, client=WEB, ticket=EVIDENCE, tail=PROOF, life=Life.left(1, 1), demands=(PROOF,)
    )
    grant = CredentialGrant(credential=credential, fresh_ms=0, offset_ms=0)
    shown = repr(grant) + repr(LoginGrant(content=PROOF))
    assert not any(words in shown for words in ("nobody shall see", PROOF.hex(), encode_base64url(PROOF)))


@pytest.mark.parity("K4")
@pytest.mark.parametrize(
    "behalf",
    [
        [None, None, b"", None, None],
        [EVIDENCE, None, b"", None, None],
        [None, PROOF, b"", None, None],
        [EVIDENCE, PROOF, b"", None, "alice"],
        [EVIDENCE, PROOF, b"\x90", None, None],
        [EVIDENCE, PROOF, b"not caveats", None, None],
        [None, None, encode(b"c"), None, "alice"],
        [None, None, b"", "test.realm", None],
        [EVIDENCE, PROOF[:31], b"", None, None],
        [bytes(8193), PROOF, b"", None, None],
        [None, None, b"", None, "Alice"],
    ],
)
def test_a_behalf_is_evidence_with_its_proof_or_a_subject(behalf: list[object]) -> None:
    """Everything else is malformed, before anybody is asked."""
    body = encode(None, "orders", None, 0, 0, 1000)
    with pytest.raises(Malformed):
        decode_request(encode(2, 2, body, behalf))


@pytest.mark.parity("K4")
def test_only_tickets_and_tokens_are_on_behalf_of_somebody() -> None:
    for op in (Op.PING, Op.LIST, Op.STATUS, Op.RECEIVE, Op.LOGIN):
        with pytest.raises(Malformed):
            decode_request(encode(2, int(op), encode(0), [None, None, b"", None, "alice"]))
    with pytest.raises(LocalMisuse, match="value-invalid"):
        encode_request(changed(ON_BEHALF, subject="alice"))


@pytest.mark.parity("K4")
def test_what_a_request_does_not_say_has_no_place_in_it() -> None:
    """One encoding each; only limits and a behalf make a request longer."""
    plain = WantRequest(op=Op.TICKET, target="orders", scopes=("read",))
    body = encode(None, "orders", ["read"], 0, 0, 10_000)
    assert encode_request(plain) == encode(2, 2, body)
    named = [None, None, b"", None, "alice"]
    assert encode_request(changed(plain, subject="alice")) == encode(2, 2, body, named)
    assert encode_request(changed(plain, limits=LIMITS)) == encode(2, 2, body, None, LIMITS)
    assert encode_request(changed(plain, subject="alice", limits=LIMITS)) == encode(2, 2, body, named, LIMITS)


@pytest.mark.parity("K4", "L7")
@pytest.mark.parametrize(
    "items",
    [
        [2, None, b""],
        [2, None, None],
        [2, None, b"\x90"],
        [2, None, b"no caveats"],
        [2, None, encode(encode(2, "read"))],
        [2, None, LONGEST_LIMITS + b"\0"],
        [2, [None, None, b"", None, None], LIMITS],
        [2, None, LIMITS, b""],
        [3, None, LIMITS],
        [1, None, LIMITS],
    ],
)
def test_limits_are_caveats_of_a_ticket(items: list[Any]) -> None:
    """Malformed before anybody is asked, also a known kind in a wrong shape, which the KDC would answer in the
    clear to everybody in the same batch."""
    op, *more = items
    with pytest.raises(Malformed):
        decode_request(encode(2, op, encode(None, "orders", None, 0, 0, 1000), *more))


@pytest.mark.parity("L23")
def test_limits_have_the_room_that_the_kdc_gives_them() -> None:
    """What fits here fits the request to the KDC, and a token has no place for them."""
    assert len(LONGEST_LIMITS) == MAX_LIMITS_BYTES
    wants = [Want(target=ORDERS, limits=LONGEST_LIMITS)] * MAX_WANTS
    assert [want.limits for want in read_wants(wants_field(wants))] == [LONGEST_LIMITS] * MAX_WANTS
    with pytest.raises(LocalMisuse):
        wants_field([Want(target=ORDERS, limits=LONGEST_LIMITS + b"\0")])
    with pytest.raises(LocalMisuse, match="token"):
        encode_request(WantRequest(op=Op.TOKEN, target="orders", limits=LIMITS))


@pytest.mark.parity("K4")
def test_the_longest_evidence_fits() -> None:
    """A full ticket with all the caveats that there can be, every scope, and the longest limits."""
    largest = join_caveats([b"c" * 512] * 16)
    wanted = tuple(f"{number:02}" + "s" * 62 for number in range(32))
    request = changed(
        ON_BEHALF,
        scopes=wanted,
        behalf=Behalf(evidence=bytes(8192), proof=PROOF, caveats=largest),
        limits=LONGEST_LIMITS,
    )
    message = encode_request(request)
    assert list(ServerSession().received(frame(message))) == [request]
    assert len(message) < MAX_REQUEST_BYTES


@pytest.mark.parity("K4")
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_reply_may_arrive_in_pieces(size: int) -> None:
    """sans-IO; how the bytes are cut does not matter."""
    talk = exchange(StatusRequest())
    assert next(talk).startswith(b"\0\0\0")
    data = ServerSession().reply(Op.STATUS, STATUS)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert all(talk.send(piece) == b"" for piece in pieces[:-1])
    with pytest.raises(StopIteration) as done:
        talk.send(pieces[-1])
    assert done.value.value == STATUS


@pytest.mark.parity("K4")
@pytest.mark.parametrize("received", [b"", b"\0\0\0\x05ab", frame(b"\x93\x02\x00\x02"), b"\xff\xff\xff\xff"])
def test_a_broken_answer_is_an_error(received: bytes) -> None:
    """End of stream, half a frame, nonsense, or a length beyond the cap."""
    talk = exchange(Ping())
    next(talk)
    with pytest.raises(PeerMisbehaved):  # noqa: PT012  # half a frame needs its end of stream
        talk.send(received)
        talk.send(b"")


@pytest.mark.parity("K4")
def test_an_answer_to_another_question_is_refused() -> None:
    with pytest.raises(Malformed):
        decode_reply(Op.LIST, encode_reply(Op.PING, Pong()))


@pytest.mark.parity("K4")
def test_the_daemon_reads_pipelined_requests_in_order_and_caps_them() -> None:
    """Bounded before anything is understood."""
    session = ServerSession()
    data = frame(encode_request(Ping())) + frame(encode_request(ListRequest()))
    assert [request.op for request in session.received(data)] == [Op.PING, Op.LIST]
    with pytest.raises(PeerMisbehaved, match="frame-too-large"):
        list(session.received((MAX_REQUEST_BYTES + 1).to_bytes(4, "big")))


@pytest.mark.parity("B2")
def test_the_documented_errors_are_the_errors() -> None:
    """docs/local-api.md lists every code a local caller can meet, with its meaning and retry."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \| (.+?) \| (yes|no) \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(rows) > 15
    for name, number, cause, retry in rows:
        reason = DAEMON_BUSY if name == DAEMON_BUSY.name else reason_named(name)
        assert reason is not None, name
        assert (int(number), cause, retry) == (reason.number, reason.cause, "yes" if reason.retry else "no")
    from_kdc = {reason.name for reason in REASONS if 10 <= reason.number < 40}
    local = {
        "bad-local-request", "busy", "daemon-unreachable", "header-required", "kdc-unreachable", "key-missing",
        "login-expired", "name-invalid", "not-found", "peer-not-allowed", "scope-invalid", "timeout",
        "unauthenticated-refusal",
    }  # fmt: skip
    assert {name for name, *_ in rows} == from_kdc | local
