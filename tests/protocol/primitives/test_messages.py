"""The shared envelopes: signed requests, boxed replies, sealed errors and the one NAK."""

import pytest

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.messages import (
    KdcRefusal,
    build_nak,
    open_reply_box,
    outer_reply,
    parse_signed,
    seal_error,
)
from orthros_protocol.primitives.sealing import seal
from tests.support.naive import enc
from tests.support.specimens import collect_specimens

MESSAGES = collect_specimens().messages
KEY, ERROR_KEY = bytes(range(32)), bytes(range(1, 33))
NOW = Timestamp(1_800_000_000_000)


def open_it(data: bytes, *, context: bytes = b"context") -> bytes:
    return open_reply_box(
        data, reply_key=KEY, reply_label="as-rep", error_key=ERROR_KEY, error_label="as-err", context=context
    )


def sealed_error(code: str = "rate-limited", **options: object) -> bytes:
    given: dict[str, object] = {"now": NOW, "retry_s": 7, "detail": "slow down", "entropy": bytes(24)} | options
    return seal_error(ERROR_KEY, "as-err", b"context", code, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "kind"), [("as-req", 1), ("tgs-req", 2), ("ap-req", 3)])
def test_the_kind_of_a_request_is_seen_before_its_body_is_judged(name: str, kind: int) -> None:
    signed = parse_signed(MESSAGES[name])
    assert signed.kind == kind
    assert enc(signed.body, signed.mac) == signed.whole == MESSAGES[name]


def test_a_long_body_has_its_kind_behind_a_longer_header() -> None:
    assert parse_signed(enc(enc(1, 4, *range(20)), bytes(32))).kind == 4


@pytest.mark.parametrize(
    "body",
    [
        b"\xc0\xc0\xc0\xc0",
        enc(2, 1, 0, 0),
        enc("1", 1, 0),
        b"\x91\x01\xc0"[:1] * 4,
        b"\xdc\0\x10\x02",
        b"\xdc\0\x10\x01",
    ],
)
def test_a_body_of_another_version_or_no_array_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse_signed(enc(body, bytes(32)))


@pytest.mark.parametrize(
    "message",
    [
        enc(b"body", b""), enc(b"body", bytes(31)), enc(b"body", bytes(33)), enc(b"body", "m" * 32), enc(b"body", None),
        enc(b"body"), enc("body", bytes(32)), enc(b"bod", bytes(32)), enc(b"body", bytes(32), 1), b"",
    ],
)  # fmt: skip
def test_a_mac_of_another_length_or_type_is_malformed(message: bytes) -> None:
    """Section 17: truncated or empty MAC, MAC as str."""
    with pytest.raises(Malformed):
        parse_signed(message)


def test_a_boxed_reply_opens_for_its_request_only() -> None:
    reply = outer_reply(seal(KEY, "as-rep", b"context", b"plain", entropy=bytes(24)))
    assert open_it(reply) == b"plain"
    with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
        open_it(reply, context=b"another request")


def test_a_sealed_error_says_why_and_when_to_retry() -> None:
    with pytest.raises(KdcRefusal, match=r"rate-limited.*slow down") as caught:
        open_it(sealed_error())
    assert (caught.value.kdc_time, caught.value.retry_s) == (NOW, 7)


def test_a_sealed_error_is_not_a_reply_and_a_reply_is_not_an_error() -> None:
    for box, kind in ((seal(KEY, "as-rep", b"context", b"plain", entropy=bytes(24)), 1), (b"x" * 90, 0)):
        with pytest.raises(PeerMisbehaved, match="reply-mismatch"):
            open_it(enc(1, kind, box))


def test_an_error_of_a_newer_kdc_is_still_a_refusal() -> None:
    plain = enc(999, NOW, 0, None, [])
    with pytest.raises(KdcRefusal, match="code-999"):
        open_it(enc(1, 1, seal(ERROR_KEY, "as-err", b"context", plain, entropy=bytes(24))))


@pytest.mark.parametrize(
    "plain", [b"", enc(10), enc(10, NOW, 0, "", []), enc(10, NOW, 0, "a\nb", []), enc(65536, NOW, 0, None, [])]
)
def test_a_sealed_error_of_another_shape_is_malformed(plain: bytes) -> None:
    with pytest.raises(Malformed):
        open_it(enc(1, 1, seal(ERROR_KEY, "as-err", b"context", plain, entropy=bytes(24))))


def test_a_reason_that_never_travels_cannot_be_sealed() -> None:
    with pytest.raises(LocalMisuse, match="never travels"):
        sealed_error("malformed")


def test_overlong_details_and_waits_are_cut() -> None:
    with pytest.raises(KdcRefusal) as caught:
        open_it(sealed_error(detail="x" * 500, retry_s=2**40))
    assert len(caught.value.detail) == 200
    assert caught.value.retry_s == 2**32 - 1


def test_a_nak_has_one_shape() -> None:
    assert build_nak(b"12345678") == enc(1, 2, b"12345678")
    with pytest.raises(PeerMisbehaved, match=r"unauthenticated-refusal.*3132333435363738"):
        open_it(build_nak(b"12345678"))
    for size in (0, 7, 9):
        with pytest.raises(LocalMisuse):
            build_nak(bytes(size))
    with pytest.raises(Malformed, match="8 bytes"):
        open_it(enc(1, 2, b"123456789"))


@pytest.mark.parametrize(
    "data", [b"", enc(1, 3, b"12345678"), enc(2, 0, b"x" * 80), enc(1, 0), enc(1, True, b"x" * 80)]
)
def test_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        open_it(data)
